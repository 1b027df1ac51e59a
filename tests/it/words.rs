//! The words of the wiki page: typed in a shell one by one, and in scripts as pantasks' input files have them.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use expect_test::{Expect, expect};
use xtask::dvo::Shape;
use xtask::processes::{self, Signal};

use super::ipp::Site;
use super::shown::{run_with_input, shown};
use super::slow;
use super::world::{Ran, World, finish, names_in};

/// The page's own example, each command on its line.
const EXAMPLE: &str = "\
add.minidvodb.copy ThreePi ipp0222 /data/ipp022.0/gpc1/mini-catdirs/ThreePi
add.minidvodb.host ipp0222
";

/// The path of the page's example, which stands for the folder of a test.
const PAGE_PATH: &str = "/data/ipp022.0/gpc1/mini-catdirs/ThreePi";

/// A text of the page for a world: its path there.
fn here(world: &World, text: &str) -> String {
    text.replace(PAGE_PATH, world.there().as_str())
}

/// Makes and imports `ThreePi.1` to `ThreePi.COUNT`; nothing is said of where they go.
fn known(world: &World, count: u64) {
    let folders: Vec<_> = (1..=count).map(|id| world.make(&format!("ThreePi.{id}"), Shape::tiny())).collect();
    let rows: Vec<_> = (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
}

/// A world that can copy to `localhost`, with minidvodbs.
fn local(count: u64) -> World {
    let world = World::new();
    known(&world, count);
    world
}

/// Writes a script.
fn script(world: &World, content: impl AsRef<[u8]>) -> Utf8PathBuf {
    let file = world.root.join("ThreePi.pro");
    std::fs::write(&file, content).unwrap();
    file
}

/// Runs a script from a file.
#[track_caller]
fn run_script(world: &World, content: impl AsRef<[u8]>) -> Ran {
    world.run(&["script", script(world, content).as_str()])
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

fn on(world: &World) -> String {
    world.ok(&["show.minidvodb.host"]).stdout
}

fn targets(world: &World) -> String {
    world.ok(&["show.minidvodb.copy"]).stdout
}

fn stages(world: &World) -> String {
    world.ok(&["stage", "show"]).stdout.replace('\n', " ")
}

#[test]
fn the_page_s_example_typed_as_a_shell_script_copies() {
    let world = World::with_sshd();
    known(&world, 2);
    let lines = ["server module minidvodbcopy.pro"].into_iter().chain(EXAMPLE.lines());
    let typed: String = lines.map(|line| format!("minidvodbcopy {line}\n")).collect();
    world.shell(&here(&world, &typed)).expect(0).is_silent();
    for (id, name) in [(1, "ThreePi.1"), (2, "ThreePi.2")] {
        assert_eq!(world.standing(id), "full 0");
        world.expect_arrived(name);
    }
    slow::expect_only(&world, &["ThreePi.1", "ThreePi.2"]);
    assert_eq!((targets(&world).as_str(), on(&world).as_str()), ("ipp0222.ThreePi\n", "ipp0222\n"));
    // Typed again it finds nothing to do.
    world.shell(&here(&world, &typed)).expect(0).is_silent();
    assert_eq!(world.list().len(), 2);
}

#[test]
fn the_page_s_example_in_a_script_file_copies() {
    let world = World::with_sshd();
    known(&world, 2);
    let content = format!("server module minidvodbcopy.pro\n{EXAMPLE}");
    run_script(&world, here(&world, &content)).expect(0).is_silent();
    for name in ["ThreePi.1", "ThreePi.2"] {
        world.expect_arrived(name);
    }
}

#[test]
fn the_page_s_example_on_standard_input_copies() {
    let world = World::with_sshd();
    known(&world, 1);
    // As it is pasted from a shell, without a newline at its end.
    let typed: Vec<String> = EXAMPLE.lines().map(|line| format!("minidvodbcopy {line}")).collect();
    run_with_input(&world, &["script", "-"], here(&world, &typed.join("\n")).as_bytes())
        .expect(0)
        .is_silent();
    assert_eq!(world.standing(1), "full 0");
    world.expect_arrived("ThreePi.1");
}

#[test]
fn what_is_added_to_a_host_that_is_off_is_queued_and_not_copied() {
    // Nobody answers to this name, and nobody is asked.
    let world = local(2);
    world.ok(&["add.minidvodb.copy", "ThreePi", "ipp0222", "/data/there"]).is_silent();
    let states: Vec<String> = (1..=2).map(|id| world.standing(id)).collect();
    assert_eq!(states, ["new 0", "new 0"]);
    assert_eq!(world.copy(1)["attempts"], 0);
    assert_eq!(on(&world), "");
    let ran = world.ok(&["-v", "add.minidvodb.copy", "ThreePi", "ipp031", "/data/there"]);
    expect![[r#"
        minidvodbcopy: target added: ThreePi to ipp031 at /data/there
        minidvodbcopy: ipp031 is off: `minidvodbcopy host add ipp031` lets `run` serve it
        minidvodbcopy: queued 2 minidvodbs of ThreePi for ipp031
        minidvodbcopy: pass: 2 queued, 0 copied, 0 faulted, 2 waiting, 0 skipped
    "#]]
    .assert_eq(&ran.stderr);
}

#[test]
fn what_is_added_to_a_host_that_is_on_is_copied_and_nothing_else() {
    let world = local(1);
    let other = world.root.join("other");
    std::fs::create_dir(&other).unwrap();
    let folder = world.make("Other.2", Shape::tiny());
    world.import(&[(2, "Other", &folder)]);
    world.ok(&["target", "add", "Other", "localhost", other.as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world.ok(&["add.minidvodb.copy", "ThreePi", "localhost", world.there().as_str()]).is_silent();
    world.expect_arrived("ThreePi.1");
    assert_eq!(world.list().len(), 1, "the other group is another pass's business");
    // A host that is switched on gets everything that goes to it.
    world.ok(&["add.minidvodb.host", "localhost"]).is_silent();
    assert_eq!(names_in(&other), ["Other.2"]);
}

#[test]
fn what_is_added_queues_what_the_ipp_database_has_and_its_row_is_written_there() {
    let site = Site::new();
    let folder = site.world.make("ThreePi.1", Shape::tiny());
    site.ipp.add_merged(1, "ThreePi", &folder);
    site.world.ok(&["add.minidvodb.copy", "ThreePi", "localhost", site.world.there().as_str()]).is_silent();
    assert_eq!(site.world.standing(1), "new 0");
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy WHERE state = 'new'"), 1);
    site.world.ok(&["add.minidvodb.host", "localhost"]).is_silent();
    site.world.expect_arrived("ThreePi.1");
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy WHERE state = 'full'"), 1);
}

#[test]
fn one_machine_gets_one_copy_whichever_of_its_names_is_added() {
    let world = local(1);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    world.ok(&["host", "del", "ipp0222"]);
    world.ok(&["add.minidvodb.copy", "ThreePi", "ipp0222", "/data/there"]);
    world.ok(&["add.minidvodb.copy", "ThreePi", "ipp022", "/data/there"]);
    let hosts: Vec<_> = world.list().iter().map(|copy| copy["destination_host"].clone()).collect();
    assert_eq!(hosts, ["ipp0222"]);
}

#[test]
fn a_fault_of_the_first_copy_exits_1_and_the_settings_stay() {
    let world = World::with_sshd();
    known(&world, 1);
    let missing = world.root.join("missing");
    world.ok(&["add.minidvodb.copy", "ThreePi", "ipp0222", missing.as_str()]).is_silent();
    world.run(&["add.minidvodb.host", "ipp0222"]).expect(1).says("fault 221 path-missing");
    assert_eq!((targets(&world).as_str(), on(&world).as_str()), ("ipp0222.ThreePi\n", "ipp0222\n"));
    // It is said once: what is typed again waits for the probe, as cron's pass does.
    world.ok(&["add.minidvodb.host", "ipp0222"]).is_silent();
}

#[test]
fn a_target_that_another_pass_has_is_passed_over() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let pass = world.start(&["run"]);
    slow::until_staged(&world, "ThreePi.1", 1);
    world.ok(&["add.minidvodb.host", "ipp0222"]).is_silent();
    let ran = world.ok(&["-v", "add.minidvodb.copy", "ThreePi", "ipp0222", world.there().as_str()]);
    let ran = ran.says("is served by");
    assert!(ran.stderr.contains("1 skipped"), "{}", ran.stderr);
    finish(pass).expect(0);
    world.expect_arrived("ThreePi.1");
}

#[test]
fn an_interrupt_ends_the_first_pass_safely_and_the_next_one_goes_on() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    world.ok(&["del.minidvodb.host", "ipp0222"]);
    let file = script(&world, "add.minidvodb.host ipp0222 # now\n");
    let pass = world.start(&["script", file.as_str()]);
    slow::until_staged(&world, "ThreePi.1", slow::FIRST_BYTES);
    processes::signal(pass.id(), Signal::INT).unwrap();
    finish(pass).expect(130);
    assert_eq!(world.standing(1), "new 0");
    world.ok(&["run"]);
    world.expect_arrived("ThreePi.1");
    assert_eq!(world.copy(1)["attempts"], 2);
}

#[test]
fn each_switch_word_turns_what_it_names() {
    let world = World::new();
    for (word, expected) in [
        ("minidvodb.copy.off", "queue off load off run off "),
        ("minidvodb.copy.load.on", "queue off load on run off "),
        ("minidvodb.copy.queue.on", "queue on load on run off "),
        ("minidvodb.copy.run.on", "queue on load on run on "),
        ("minidvodb.copy.load.off", "queue on load off run on "),
        ("minidvodb.copy.queue.off", "queue off load off run on "),
        ("minidvodb.copy.run.off", "queue off load off run off "),
        ("minidvodb.copy.on", "queue on load on run on "),
    ] {
        world.ok(&[word]).is_silent();
        assert_eq!(stages(&world), expected, "{word}");
    }
}

#[test]
fn a_stage_that_is_off_is_not_made_by_an_added_word_either() {
    let world = local(1);
    world.ok(&["minidvodb.copy.run.off"]);
    world.ok(&["add.minidvodb.copy", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["add.minidvodb.host", "localhost"]).is_silent();
    assert_eq!(world.standing(1), "new 0");
    world.ok(&["minidvodb.copy.off"]);
    world.ok(&["add.minidvodb.copy", "ThreePi", "ipp031", "/data/there"]);
    assert_eq!(world.list().len(), 1);
    world.ok(&["minidvodb.copy.on"]).is_silent();
    world.ok(&["run"]);
    world.expect_arrived("ThreePi.1");
}

#[test]
fn what_is_shown_is_what_the_page_says() {
    let world = World::new();
    for word in ["show.minidvodb.copy", "show.minidvodb.host"] {
        let ran = world.ok(&[word]).says("there is no ledger in");
        assert_eq!(ran.stdout, "");
    }
    assert!(!world.state().exists(), "looking makes no ledger");
    for line in [
        "add.minidvodb.copy Three.Pi ipp031 /data/a",
        "add.minidvodb.copy MD04 ipp031 /data/b",
        "add.minidvodb.copy MD04 ipp@ipp022 /data/b",
        "host add ipp032",
        "host del ipp032",
        "host add ipp031",
    ] {
        world.ok(&words(line));
    }
    assert_eq!(targets(&world), "ipp031.MD04\nipp031.Three.Pi\nipp@ipp022.MD04\n");
    assert_eq!(on(&world), "ipp031\n");
}

#[test]
fn what_is_deleted_is_what_the_page_says() {
    let world = local(1);
    world.ok(&["add.minidvodb.copy", "ThreePi", "ipp0222", "/data/there"]);
    world.ok(&["host", "add", "ipp0222"]);
    world.ok(&["del.minidvodb.copy", "ipp0222", "ThreePi"]).says("1 new copy is parked");
    assert_eq!(targets(&world), "");
    assert_eq!(world.copy(1)["parked"], true);
    world.ok(&["del.minidvodb.host", "ipp0222"]).is_silent();
    assert_eq!(on(&world), "");
    // What is not there is refused as `target del` and `host del` refuse it.
    for (word, ours) in [
        (
            ["del.minidvodb.copy", "ipp0222", "ThreePi"].as_slice(),
            ["target", "del", "ipp0222", "ThreePi"].as_slice(),
        ),
        (&["del.minidvodb.host", "ipp099"], &["host", "del", "ipp099"]),
    ] {
        assert_eq!(world.run(word).expect(2).stderr, world.run(ours).expect(2).stderr);
    }
}

#[test]
fn a_wrong_number_of_arguments_prints_the_page_s_usage_line_alone() {
    let world = World::new();
    for (typed, usage) in [
        ("add.minidvodb.copy", "add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)"),
        (
            "add.minidvodb.copy ThreePi ipp0222",
            "add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)",
        ),
        ("add.minidvodb.copy G h /p x", "add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)"),
        (
            "add.minidvodb.copy --dry-run h /p",
            "add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)",
        ),
        ("add.minidvodb.host", "add.minidvodb.host (host)"),
        ("add.minidvodb.host a b", "add.minidvodb.host (host)"),
        ("del.minidvodb.host", "del.minidvodb.host (host)"),
        ("del.minidvodb.copy ThreePi", "del.minidvodb.copy (host) (minidvodb_group)"),
        ("show.minidvodb.host x", "show.minidvodb.host"),
        ("show.minidvodb.copy ThreePi", "show.minidvodb.copy"),
        ("minidvodb.copy.on now", "minidvodb.copy.on"),
        ("minidvodb.copy.off now", "minidvodb.copy.off"),
        ("minidvodb.copy.load.on 1", "minidvodb.copy.load.on"),
        ("minidvodb.copy.load.off 1", "minidvodb.copy.load.off"),
        ("minidvodb.copy.queue.on 1", "minidvodb.copy.queue.on"),
        ("minidvodb.copy.queue.off 1", "minidvodb.copy.queue.off"),
        ("minidvodb.copy.run.on 1", "minidvodb.copy.run.on"),
        ("minidvodb.copy.run.off 1", "minidvodb.copy.run.off"),
        ("server module", "server module (module)"),
    ] {
        let ran = world.run(&words(typed)).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr), ("", format!("USAGE: {usage}\n")), "{typed}");
    }
    assert!(!world.state().exists());
}

#[test]
fn a_value_is_refused_with_the_sentence_that_target_add_has() {
    let world = World::new();
    let sentence = |ran: Ran| ran.expect(2).stderr.lines().next().unwrap().to_owned();
    for (group, host, path) in [
        ("ThreePi", "a/b", "/data"),
        ("ThreePi", "ipp0222", "data"),
        ("ThreePi", "ipp0222", "/data/../x"),
        ("ThreePi", "ipp0222", "/data/.minidvodbcopy"),
        ("Three/Pi", "ipp0222", "/data"),
        ("", "ipp0222", "/data"),
    ] {
        let word = sentence(world.run(&["add.minidvodb.copy", group, host, path]));
        assert_eq!(word, sentence(world.run(&["target", "add", group, host, path])), "{group} {host} {path}");
    }
    assert!(!world.state().exists());
}

#[test]
fn the_module_is_built_in_and_another_one_is_refused_by_name() {
    let world = World::new();
    for typed in ["server module minidvodbcopy.pro", "module minidvodbcopy.pro"] {
        world.ok(&words(typed)).is_silent();
    }
    assert!(!world.state().exists());
    let ran = world.run(&["server", "module", "addstar.pro"]).expect(2);
    expect![[r#"
        minidvodbcopy: the module 'addstar.pro' is not known here: minidvodbcopy.pro alone is, and it is built in
          hint: `minidvodbcopy help module` shows what can be typed
    "#]]
    .assert_eq(&ran.stderr);
}

#[test]
fn help_explains_each_word_and_lists_them_all() {
    let world = World::new();
    let all = world.ok(&["help"]).stdout;
    for word in [
        "add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)",
        "del.minidvodb.copy (host) (minidvodb_group)",
        "minidvodb.copy.queue.off",
        "server module (module)",
    ] {
        assert!(all.contains(&format!("\n  {word}\n")), "{all}");
        let name = word.split(' ').next().unwrap();
        let told = world.ok(&["help", name]).stdout;
        assert!(told.starts_with(&format!("Usage: minidvodbcopy {word}\n\n")), "{told}");
        assert_eq!(world.ok(&[name, "--help"]).stdout, told);
    }
    assert!(all.contains("script"), "{all}");
    assert!(!world.ok(&["help", "run"]).stdout.contains("wiki page"));
}

#[test]
fn what_is_named_twice_is_said_in_the_order_of_the_script() {
    let world = World::new();
    let content = "add.minidvodb.copy MD04 ipp031 /data/md04\nadd.minidvodb.host ipp031\n\
                   minidvodb.copy.load.off\ndel.minidvodb.host ipp031\ndel.minidvodb.copy ipp031 MD04\n";
    let ran = world.ok(&["-v", "script", script(&world, content).as_str()]);
    expect![[r#"
        minidvodbcopy: target added: MD04 to ipp031 at /data/md04
        minidvodbcopy: ipp031 is off: `minidvodbcopy host add ipp031` lets `run` serve it
        minidvodbcopy: ipp031 (machine ipp031) is on
        minidvodbcopy: nothing goes there yet: `minidvodbcopy target add GROUP ipp031 PATH`
        minidvodbcopy: queue on, load off, run on
        minidvodbcopy: ipp031 is off; its copies are kept
        minidvodbcopy: target deleted: MD04 to ipp031
        minidvodbcopy: pass: 0 queued, 0 copied, 0 faulted, 0 waiting, 0 skipped
    "#]]
    .assert_eq(&ran.stderr);
}

/// A bad script is refused with these words, and nothing of it is done, whether there is a ledger or none.
#[track_caller]
fn check_refused(content: impl AsRef<[u8]>, expected: &Expect) {
    let fresh = World::new();
    let ran = run_script(&fresh, &content).expect(2);
    assert_eq!(ran.stdout, "");
    assert!(!fresh.state().exists(), "a bad script makes no ledger");
    let world = World::new();
    world.ok(&["target", "add", "MD04", "ipp031", "/data/md04"]);
    world.ok(&["host", "add", "ipp031"]);
    let before = std::fs::read(world.state().join("ledger.redb")).unwrap();
    let again = run_script(&world, &content).expect(2);
    assert!(std::fs::read(world.state().join("ledger.redb")).unwrap() == before, "the ledger is as it was");
    expected.assert_eq(&shown(&fresh, &ran.stderr));
    assert_eq!(shown(&world, &again.stderr), shown(&fresh, &ran.stderr));
}

#[test]
fn a_script_with_a_wrong_number_of_arguments_is_refused_with_its_line() {
    check_refused(
        "# ThreePi\nadd.minidvodb.host ipp0222\nadd.minidvodb.copy ThreePi ipp0222\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:3: USAGE: add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
}

#[test]
fn a_script_with_a_bad_value_is_refused_with_its_line() {
    check_refused(
        "add.minidvodb.copy ThreePi ipp0222 /data/a\r\n\r\nadd.minidvodb.copy ThreePi ipp031 data/a\r\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:3: the path 'data/a' must be absolute
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
    check_refused(
        "add.minidvodb.copy ThreePi ipp0222 /data/a\nadd.minidvodb.host -oProxyCommand=x",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:2: USAGE: add.minidvodb.host (host)
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
    check_refused(
        "add.minidvodb.copy ThreePi 'ipp0222;id' /data/a",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:1: the host 'ipp0222;id' is not a host: letters, digits, '.', '_' and '-', a letter or digit first, and an optional user@ of that form
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
}

#[test]
fn a_script_with_a_mistyped_word_is_answered_with_the_nearest_one() {
    check_refused(
        "add.minidvodb.copy ThreePi ipp0222 /data/a\nadd.minidvodb.hosts ipp0222\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:2: there is no word 'add.minidvodb.hosts'; the nearest is add.minidvodb.host
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
    check_refused(
        "minidvodbcopy run\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:1: 'run' is no word of the wiki page
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
    let typed = World::new().run(&["add.minidvodb.hots", "ipp0222"]).expect(2);
    expect![[r#"
        minidvodbcopy: there is no word 'add.minidvodb.hots'; the nearest is add.minidvodb.host
          hint: `minidvodbcopy help` shows what can be typed
    "#]]
    .assert_eq(&typed.stderr);
}

#[test]
fn a_script_for_another_module_is_refused_with_its_line() {
    check_refused(
        "module minidvodbcopy.pro\nserver module addstar.pro\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:2: the module 'addstar.pro' is not known here: minidvodbcopy.pro alone is, and it is built in
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
}

#[test]
fn a_script_that_is_no_text_is_refused_with_its_line() {
    check_refused(
        b"add.minidvodb.host ipp0222\n# caf\xe9\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:2: it is not UTF-8
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
    check_refused(
        b"add.minidvodb.host ipp0222\n\n\0\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:3: it has a NUL byte: is this a text file?
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
    check_refused(
        "add.minidvodb.copy ThreePi ipp0222 '/data/a\nadd.minidvodb.host ipp0222'\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:1: a quote is not closed, or a backslash ends the line
              hint: nothing of the script was done; mend the line and type it again
        "#]],
    );
}

#[test]
fn a_script_that_deletes_what_is_not_there_is_refused_with_its_line() {
    check_refused(
        "add.minidvodb.copy ThreePi ipp0222 /data/a\n\ndel.minidvodb.copy ipp0222 MD04\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:3: there is no target MD04 to ipp0222
              hint: `minidvodbcopy target show` lists them
        "#]],
    );
    check_refused(
        "minidvodb.copy.off\ndel.minidvodb.host ipp0222\n",
        &expect![[r#"
            minidvodbcopy: ROOT/ThreePi.pro:2: the host ipp0222 is not known
              hint: `minidvodbcopy host show` lists them
        "#]],
    );
}

#[test]
fn a_script_that_cannot_be_read_is_refused() {
    let world = World::new();
    let missing = world.root.join("missing.pro");
    let long = world.root.join("long.pro");
    std::fs::write(&long, "# a comment that says the same again and again\n".repeat(23_000)).unwrap();
    let check = |file: &Utf8Path, expected: &Expect| {
        expected.assert_eq(&shown(&world, &world.run(&["script", file.as_str()]).expect(2).stderr));
    };
    check(
        &missing,
        &expect![[r#"
            minidvodbcopy: cannot read the script ROOT/missing.pro: No such file or directory (os error 2)
              hint: name a file with the wiki page's words, or - for standard input
        "#]],
    );
    check(
        &world.root,
        &expect![[r#"
            minidvodbcopy: cannot read the script ROOT: it is a folder
              hint: name a file with the wiki page's words, or - for standard input
        "#]],
    );
    let too_long = expect![[r#"
        minidvodbcopy: cannot read the script ROOT/long.pro: it is longer than 1048576 bytes
          hint: name a file with the wiki page's words, or - for standard input
    "#]];
    check(&long, &too_long);
    check(
        Utf8Path::new("/dev/zero"),
        &expect![[r#"
            minidvodbcopy: cannot read the script /dev/zero: it is longer than 1048576 bytes
              hint: name a file with the wiki page's words, or - for standard input
        "#]],
    );
    let ran = run_with_input(&world, &["script", "-"], b"add.minidvodb.host a b\n").expect(2);
    expect![[r#"
        minidvodbcopy: standard input:1: USAGE: add.minidvodb.host (host)
          hint: nothing of the script was done; mend the line and type it again
    "#]]
    .assert_eq(&ran.stderr);
    assert!(!world.state().exists());
}

#[test]
fn a_script_without_any_word_does_nothing() {
    let world = World::new();
    for content in ["", "\n", "# nothing\n\t # at all", "\u{feff}", "module minidvodbcopy.pro\r\n"] {
        run_script(&world, content).expect(0).is_silent();
    }
    assert!(!world.state().exists());
}

#[test]
fn a_script_makes_all_its_settings_in_order_and_then_one_pass() {
    let world = local(1);
    let odd = world.root.join("three pi; $(touch trap) #1");
    std::fs::create_dir(&odd).unwrap();
    let content = format!(
        "add.minidvodb.copy ThreePi ipp031 /data/first\n\
         add.minidvodb.copy ThreePi ipp031 /data/second # changed again\n\
         add.minidvodb.copy MD04 ipp032 /data/md04\n\
         show.minidvodb.copy\n\
         del.minidvodb.copy ipp032 MD04\n\
         add.minidvodb.host localhost\n\
         add.minidvodb.host ipp031\n\
         show.minidvodb.host\n\
         del.minidvodb.host ipp031\n\
         add.minidvodb.copy ThreePi localhost \"{odd}\"\n\
         show.minidvodb.copy\n"
    );
    let file = script(&world, content.replace('$', "\\$"));
    let ran = world.ok(&["-v", "script", file.as_str()]);
    assert_eq!(
        ran.stdout,
        "ipp031.ThreePi\nipp032.MD04\nipp031\nlocalhost\nipp031.ThreePi\nlocalhost.ThreePi\n"
    );
    // ipp031 is off again: it was queued for, and not asked for anything.
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 0", "full 0"));
    assert_eq!(world.copy(1)["minidvodb_rsync_path"], "/data/second");
    assert_eq!(names_in(&odd), ["ThreePi.1"]);
    assert!(!world.root.join("trap").exists());
    let said = &ran.stderr;
    assert!(said.contains("pass: 2 queued, 1 copied, 0 faulted, 1 waiting, 0 skipped"), "{said}");
    assert!(!said.contains("nothing goes there yet"), "{said}");
    assert_eq!(said.matches("minidvodbcopy: pass: ").count(), 1, "{said}");
}

#[test]
fn a_script_under_a_pass_changes_no_path_and_nothing_else_either() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let pass = world.start(&["run"]);
    slow::until_staged(&world, "ThreePi.1", 1);
    let content = "minidvodb.copy.off\nadd.minidvodb.copy ThreePi ipp0222 /data/elsewhere\n";
    run_script(&world, content)
        .expect(75)
        .says("ThreePi.pro:2: the path of ThreePi to ipp0222 cannot change");
    assert_eq!(stages(&world), "queue on load on run on ");
    finish(pass).expect(0);
    world.expect_arrived("ThreePi.1");
}

#[test]
fn a_word_is_read_by_a_process_without_anything_attached() {
    // As cron and at start it: no standard input, output or error.
    let world = local(1);
    let mut command: Command = world.command(&["add.minidvodb.copy", "ThreePi", "ipp0222", "/data/there"]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    assert!(command.status().unwrap().success());
    assert_eq!(world.standing(1), "new 0");
}
