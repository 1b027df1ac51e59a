//! What a pass does, in which order, for which targets, and what it says; stages, limits, reverts, deadlines.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use expect_test::expect;
use serde_json::{Value, json};
use xtask::dvo::Shape;
use xtask::processes::{Signal, signal};

use super::hosts::{copy_now, expect_all_full, path_without, plain, set_target, staged_bytes};
use super::world::{World, eventually, finish, names_in};

/// A world with `count` minidvodbs for a target to `localhost`, where nothing is about ssh.
fn local(count: u64) -> World {
    let world = World::new();
    world.prepare("localhost", count);
    world
}

/// States of all copies, by id.
#[track_caller]
fn standings(world: &World) -> Vec<String> {
    world.list().iter().map(|copy| format!("{} {}", copy["state"].as_str().unwrap(), copy["fault"])).collect()
}

/// Names of all copies, in order of id, with what became of them.
#[track_caller]
fn named(world: &World) -> Vec<String> {
    world
        .list()
        .iter()
        .map(|copy| {
            let path = copy["minidvodb_path"].as_str().unwrap();
            let name = path.rsplit('/').next().unwrap();
            format!("{name} {} {}", copy["state"].as_str().unwrap(), copy["fault"])
        })
        .collect()
}

/// The only thing in the staging folder below a path.
#[track_caller]
fn staging_of(path: &Utf8Path, name: &str) -> Utf8PathBuf {
    let top = path.join(".minidvodbcopy");
    top.join(names_in(&top).remove(0)).join(name)
}

/// Begins a copy of ThreePi.1 to ipp0222, and has it cut off in the middle.
#[track_caller]
fn begun() -> World {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    set_target(&world, &["--bwlimit", "50"]);
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 30_000);
    signal(pass.id(), Signal::TERM).unwrap();
    finish(pass).expect(143);
    wait_until_idle(&world);
    assert_eq!((world.standing(1).as_str(), &world.copy(1)["attempts"]), ("new 0", &json!(1)));
    world
}

/// Waits until the far end has noticed that nobody is there any more, and has kept the part that it has.
#[track_caller]
fn wait_until_idle(world: &World) {
    assert!(world.sshd.as_ref().unwrap().wait_until_idle(Duration::from_secs(30)));
}

#[test]
fn with_load_off_a_pass_only_queues() {
    let world = local(2);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["new 0", "new 0"]);
    assert!(world.names_there().is_empty());
    world.ok(&["stage", "on"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["full 0", "full 0"]);
}

#[test]
fn with_queue_off_a_pass_copies_what_is_queued_and_queues_nothing() {
    let world = local(1);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.ok(&["stage", "on", "load"]);
    world.ok(&["stage", "off", "queue"]);
    let tree = world.make("ThreePi.2", Shape::tiny());
    world.import(&[(2, "ThreePi", &tree)]);
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["full 0"]);
    assert_eq!(world.names_there(), ["ThreePi.1"]);
}

#[test]
fn with_run_off_a_pass_says_what_it_would_copy_and_copies_nothing() {
    let world = local(2);
    world.ok(&["stage", "off", "run"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["new 0", "new 0"]);
    let ran = world.ok(&["-v", "run"]);
    assert!(ran.stderr.contains("would copy ThreePi.1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("would copy ThreePi.2"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(world.names_there().is_empty());
    assert_eq!(world.copy(1)["attempts"], 0);
}

#[test]
fn a_limit_is_of_copies_tried_and_counts_no_others() {
    let world = local(4);
    world.ok(&["run", "--limit", "2"]).is_silent();
    assert_eq!(standings(&world), ["full 0", "full 0", "new 0", "new 0"], "all of them are queued");
    world.ok(&["run", "--limit", "0"]).is_silent();
    assert_eq!(standings(&world), ["full 0", "full 0", "new 0", "new 0"]);
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str(), "--limit", "1"]).is_silent();
    assert_eq!(standings(&world), ["full 0", "full 0", "full 0", "new 0"]);
}

#[test]
fn a_collision_in_the_queue_does_not_use_up_the_limit() {
    let world = local(1);
    let twin = world.root.join("elsewhere/ThreePi.1");
    xtask::dvo::make(&twin, Shape::tiny(), 5).unwrap();
    world.import(&[(2, "ThreePi", &twin)]);
    world.run(&["run", "--limit", "1"]).expect(1).says("fault 226 name-collision");
    assert_eq!(standings(&world), ["full 0", "new 226"]);
}

/// Three groups of one minidvodb each, to two hosts: ThreePi and SAS to localhost, SAS to ipp0222.
fn with_targets() -> World {
    let world = World::with_sshd();
    world.prepare("localhost", 1);
    let sas = world.make("SAS.1", Shape::tiny());
    world.import(&[(2, "SAS", &sas)]);
    let elsewhere = world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    world.ok(&["target", "add", "SAS", "localhost", world.there().as_str()]);
    world.ok(&["target", "add", "SAS", "ipp0222", elsewhere.as_str()]);
    world.ok(&["host", "add", "ipp0222"]);
    world
}

#[test]
fn a_pass_may_be_for_one_host_or_one_group() {
    let world = with_targets();
    world.ok(&["run", "--group", "ThreePi"]).is_silent();
    assert_eq!((world.names_there(), world.list().len()), (vec!["ThreePi.1".to_owned()], 1));
    world.ok(&["run", "--host", "ipp0222"]).is_silent();
    assert_eq!(names_in(&world.root.join("elsewhere")), ["SAS.1"]);
    assert_eq!((world.names_there(), world.list().len()), (vec!["ThreePi.1".to_owned()], 2));
    world.ok(&["run", "--host", "localhost", "--group", "SAS"]).is_silent();
    assert_eq!(world.names_there(), ["SAS.1", "ThreePi.1"]);
    assert_eq!(standings(&world), ["full 0", "full 0", "full 0"]);
}

#[test]
fn a_host_or_group_of_which_nothing_is_known_is_refused() {
    let world = with_targets();
    for (words, unknown) in [
        (&["--host", "ipp0223"][..], "to ipp0223"),
        (&["--group", "Threepi"], "of Threepi"),
        (&["--host", "localhost", "--group", "Threepi"], "of Threepi"),
        (&["--dry-run", "--host", "ipp0223"], "to ipp0223"),
    ] {
        let ran = world.run(&[&["run"], words].concat()).expect(2);
        let ran = ran.says(&format!("no target and no copy {unknown} is known, and nothing was done"));
        ran.says("target show` lists what goes where");
    }
    assert_eq!(world.list().len(), 0);
    // One that is off is known, and so is one with copies that nothing goes to any more.
    world.ok(&["run"]).is_silent();
    world.ok(&["host", "del", "ipp0222"]);
    world.ok(&["run", "--host", "ipp0222"]).is_silent();
    world.ok(&["target", "del", "ipp0222", "SAS"]);
    world.ok(&["run", "--host", "ipp0222"]).is_silent();
}

#[test]
fn a_minidvodb_goes_to_every_host_that_has_a_target_for_it() {
    let world = with_targets();
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["full 0", "full 0", "full 0"]);
    let there = world.root.join("elsewhere/SAS.1");
    assert_eq!(xtask::tree::differences(world.source("SAS.1"), there).unwrap(), Vec::<String>::new());
    world.expect_arrived("SAS.1");
}

#[test]
fn a_host_that_is_off_is_served_by_copy_and_not_by_run() {
    let world = local(1);
    world.ok(&["host", "del", "localhost"]);
    world.ok(&["run"]).is_silent();
    assert!(world.list().is_empty(), "nothing is queued for it either");
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]).is_silent();
    assert_eq!(standings(&world), ["full 0"]);
    let shown = world.ok(&["host", "show", "--json"]).json();
    assert_eq!(shown[0]["on"], false, "it stays off");
}

#[test]
fn copy_remembers_its_target() {
    let world = World::new();
    let tree = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(1, "ThreePi", &tree)]);
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]).is_silent();
    assert_eq!(standings(&world), ["full 0"]);
    let shown = world.ok(&["target", "show", "--json"]).json();
    assert_eq!(shown[0]["path"], world.there().as_str());
    assert_eq!(shown[0]["on"], false, "a host is switched on by `host add` alone");
}

/// The numbers of a pass's JSON, and what was done with which fault.
fn numbers(json: &Value) -> (Value, Vec<String>) {
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["copied", "done", "faulted", "queued", "skipped", "waiting"]);
    let counts = ["queued", "copied", "faulted", "waiting", "skipped"].map(|key| json[key].clone());
    let done = json["done"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let done = done
        .iter()
        .map(|deed| format!("{} {} {}", text(&deed["name"]), text(&deed["outcome"]), deed["fault"]));
    (json!(counts), done.collect())
}

#[test]
fn the_json_of_a_pass_is_one_object_whatever_happened() {
    let world = local(2);
    std::fs::remove_dir_all(world.source("ThreePi.1")).unwrap();
    let ran = world.run(&["run", "--json"]).expect(1);
    let (counts, done) = numbers(&ran.json());
    assert_eq!(counts, json!([2, 1, 1, 1, 0]));
    assert_eq!(done, ["ThreePi.1 faulted 201", "ThreePi.2 full 0"]);
    assert!(ran.stderr.contains("fault 201"), "what must be said is said beside it:\n{}", ran.stderr);
    let full = &ran.json()["done"][1];
    assert_eq!((&full["minidvodbcopy_id"], &full["minidvodb_id"]), (&json!(2), &json!(2)));
    assert_eq!(
        (&full["minidvodb_group"], &full["destination_host"]),
        (&json!("ThreePi"), &json!("localhost"))
    );
    assert!(full["bytes"].as_u64().unwrap() > 100_000);

    let ran = world.ok(&["run", "--json"]);
    assert_eq!(numbers(&ran.json()), (json!([0, 0, 0, 1, 0]), vec![]), "nothing was done");
    assert_eq!(ran.stderr, "");
    let ran = world.ok(&["copy", "ThreePi", "localhost", world.there().as_str(), "--json"]);
    assert_eq!(numbers(&ran.json()), (json!([0, 0, 0, 1, 0]), vec![]));
}

#[test]
fn the_json_of_a_pass_lists_the_fault_of_a_probe() {
    let world = local(1);
    std::fs::remove_dir(world.there()).unwrap();
    let ran = world.run(&["run", "--json"]).expect(1);
    assert_eq!(numbers(&ran.json()), (json!([1, 0, 1, 1, 0]), vec!["ThreePi.1 faulted 221".to_owned()]));
    let ran = world.run(&["copy", "ThreePi", "localhost", world.there().as_str(), "--json"]).expect(1);
    assert_eq!(numbers(&ran.json()), (json!([0, 0, 1, 1, 0]), vec!["- faulted 221".to_owned()]));
}

#[test]
fn a_target_that_another_pass_has_is_skipped_by_run_and_refused_to_copy() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    set_target(&world, &["--bwlimit", "100"]);
    let pass = world.start(&["run", "--limit", "1"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 0);
    let ran = world.ok(&["run", "--json"]);
    assert_eq!(numbers(&ran.json()), (json!([0, 0, 0, 2, 1]), vec![]));
    assert_eq!(ran.stderr, "");
    copy_now(&world).expect(75).says("under way");
    let elsewhere = world.root.join("elsewhere");
    world.run(&["target", "add", "ThreePi", "ipp0222", elsewhere.as_str()]).expect(75).says("under way");
    finish(pass).expect(0).is_silent();
    assert_eq!(standings(&world), ["full 0", "new 0"]);
}

#[test]
fn a_pass_says_nothing_unless_it_is_asked_to() {
    let world = local(2);
    world.ok(&["run"]).is_silent();
    world.ok(&["run"]).is_silent();
    let tree = world.make("ThreePi.3", Shape::tiny());
    world.import(&[(3, "ThreePi", &tree)]);
    let ran = world.ok(&["-v", "run"]);
    assert_eq!(ran.stdout, "");
    expect![[r#"
        minidvodbcopy: queued 1 minidvodb of ThreePi for localhost
        minidvodbcopy: ThreePi.3 to localhost (copy 3): full, 19 files, [N] KiB in [N] s, verified by checksum
        minidvodbcopy: pass: 1 queued, 1 copied, 0 faulted, 0 waiting, 0 skipped
    "#]]
    .assert_eq(&without_numbers(&plain(&world, &ran.told())));
}

#[test]
fn each_target_is_told_what_was_queued_for_it_and_not_for_others() {
    let world = with_targets();
    world.ok(&["stage", "off", "load"]);
    let ran = world.ok(&["-v", "run"]);
    let expected = expect![[r#"
        minidvodbcopy: queued 1 minidvodb of SAS for ipp0222
        minidvodbcopy: queued 1 minidvodb of SAS for localhost
        minidvodbcopy: queued 1 minidvodb of ThreePi for localhost
        minidvodbcopy: pass: 3 queued, 0 copied, 0 faulted, 3 waiting, 0 skipped
    "#]];
    expected.assert_eq(&ran.told());
}

/// Sizes and seconds replaced.
fn without_numbers(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_number = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    words.iter().map(|word| if is_number(word) { "[N]" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_fault_of_one_copy_does_not_keep_the_next_ones_waiting() {
    let world = local(3);
    std::fs::remove_file(world.source("ThreePi.1").join("Images.dat")).unwrap();
    std::fs::create_dir(world.there().join("ThreePi.2")).unwrap();
    let ran = world.run(&["run"]).expect(1).says("fault 201 source-missing").says("fault 225 path-taken");
    assert_eq!(ran.stdout, "");
    assert_eq!(standings(&world), ["new 201", "new 225", "full 0"]);
    assert!(names_in(&world.there().join("ThreePi.2")).is_empty(), "it is left as it was");
    world.ok(&["run"]).is_silent();
}

#[test]
fn a_fault_for_a_person_is_not_tried_again_until_it_is_reverted() {
    let world = local(1);
    let tree = world.source("ThreePi.1");
    let away = world.root.join("away");
    std::fs::rename(&tree, &away).unwrap();
    world.run(&["run"]).expect(1).says("fault 201").says("waits for a person");
    std::fs::rename(&away, &tree).unwrap();
    world.ok(&["run"]).is_silent();
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]);
    assert_eq!((world.standing(1).as_str(), &world.copy(1)["attempts"]), ("new 201", &json!(1)));
    world.ok(&["revert", "--id", "1"]);
    assert_eq!(world.standing(1), "new 0");
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn what_is_reverted_is_what_was_named() {
    let world = with_targets();
    let tree = world.make("ThreePi.3", Shape::tiny());
    world.import(&[(3, "ThreePi", &tree)]);
    for name in ["ThreePi.1", "SAS.1"] {
        std::fs::remove_dir_all(world.source(name)).unwrap();
    }
    std::fs::create_dir(world.there().join("ThreePi.3")).unwrap();
    world.run(&["run"]).expect(1);
    let faulted = ["SAS.1 new 201", "SAS.1 new 201", "ThreePi.1 new 201", "ThreePi.3 new 225"];
    let has = |expected: [&str; 4]| {
        let mut found = named(&world);
        found.sort();
        assert_eq!(found, expected);
    };
    has(faulted);
    let ran = world.ok(&["revert", "--all", "--dry-run"]);
    assert_eq!(ran.stdout.matches("would clear").count(), 4, "{}", ran.stdout);
    has(faulted);
    world.run(&["revert"]).expect(2);
    world.run(&["revert", "--all", "--id", "1"]).expect(2);
    world.ok(&["revert", "--id", "77"]).says("nothing was cleared");
    world.ok(&["revert", "--fault", "231"]).says("nothing was cleared");
    has(faulted);

    let ran = world.ok(&["revert", "--fault", "path-taken"]);
    assert!(ran.stdout.starts_with("cleared 225 path-taken of copy"), "{}", ran.stdout);
    has(["SAS.1 new 201", "SAS.1 new 201", "ThreePi.1 new 201", "ThreePi.3 new 0"]);
    world.ok(&["revert", "--host", "ipp0222"]);
    has(["SAS.1 new 0", "SAS.1 new 201", "ThreePi.1 new 201", "ThreePi.3 new 0"]);
    world.ok(&["revert", "--minidvodb-id", "1"]);
    has(["SAS.1 new 0", "SAS.1 new 201", "ThreePi.1 new 0", "ThreePi.3 new 0"]);
    world.ok(&["revert", "--all"]);
    has(["SAS.1 new 0", "SAS.1 new 0", "ThreePi.1 new 0", "ThreePi.3 new 0"]);
}

#[test]
fn a_copy_cut_off_by_its_deadline_goes_on_pass_by_pass_while_it_makes_progress() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    set_target(&world, &["--bwlimit", "20", "--deadline", "4"]);
    world.run(&["run"]).expect(1).says("fault 241 deadline").says("4 s");
    wait_until_idle(&world);
    let mut sent = staged_bytes(&world.there());
    let (mut has_moved, mut passes) = (sent > 0, 1);
    while copy_now(&world).code != 0 {
        passes += 1;
        assert!(passes < 20, "it never gets full");
        let copy = world.copy(1);
        assert_eq!((&copy["fault"], &copy["fault_class"]), (&json!(241), &json!("retry")), "{copy}");
        // The far end may be at the last file still, and moves it about.
        wait_until_idle(&world);
        let now = staged_bytes(&world.there());
        assert!(now >= sent, "{now} after {sent}: nothing is lost");
        if has_moved {
            // Progress makes the wait the first one again: 5 minutes, and a tenth of jitter.
            let next: jiff::Timestamp = copy["next_try"].as_str().unwrap().parse().unwrap();
            assert!(next.as_second() - jiff::Timestamp::now().as_second() <= 330, "{next}");
        }
        // On a busy machine an attempt may end before it has sent anything.
        (has_moved, sent) = (now > sent, now);
    }
    assert!(passes > 1, "there was something to go on with");
    expect_all_full(&world, 1);
}

#[test]
fn a_deadline_in_mid_file_loses_nothing_of_it() {
    let world = World::with_sshd();
    let tree = world.make("ThreePi.1", Shape { regions: 1, files_per_region: 1, rows_per_file: 2000 });
    world.import(&[(1, "ThreePi", &tree)]);
    world.ok(&["host", "add", "ipp0222"]);
    set_target(&world, &["--bwlimit", "50", "--deadline", "2"]);
    world.run(&["run"]).expect(1).says("fault 241");
    wait_until_idle(&world);
    let sent = staged_bytes(&world.there());
    // What has arrived of the one large file is not sent again: the next ones get farther.
    eventually("more has arrived", || {
        copy_now(&world).expect(1);
        wait_until_idle(&world);
        let now = staged_bytes(&world.there());
        assert!(now >= sent, "{now} after {sent}: nothing is lost");
        now > sent
    });
    set_target(&world, &["--bwlimit", "0", "--deadline", "100"]);
    copy_now(&world).expect(0);
    expect_all_full(&world, 1);
}

#[test]
fn only_merged_minidvodbs_without_a_fault_are_queued_also_later_ones() {
    let world = local(1);
    world.ok(&["run"]).is_silent();
    let mut list = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state,fault\n".to_owned();
    for (id, state, fault) in [(2, "merged", 0), (3, "active", 0), (4, "merged", 3), (5, "to_be_merged", 0)] {
        let tree = world.make(&format!("ThreePi.{id}"), Shape::tiny());
        list.push_str(&format!("{id},ThreePi.{id},ThreePi,{tree},{state},{fault}\n"));
    }
    world.import_text(&list).expect(0);
    world.ok(&["run"]).is_silent();
    assert_eq!(named(&world), ["ThreePi.1 full 0", "ThreePi.2 full 0"]);
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2"]);
    // What becomes merged, or loses its fault, comes along then.
    world.import_text(&list.replace("active", "merged").replace("merged,3", "merged,0")).expect(0);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2", "ThreePi.3", "ThreePi.4"]);
}

#[test]
fn a_minidvodb_that_is_not_merged_any_more_is_not_copied_though_it_is_queued() {
    let world = local(2);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]).is_silent();
    world.ok(&["stage", "on", "load"]);
    let list = format!(
        "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n1,ThreePi.1,ThreePi,{},purged\n",
        world.source("ThreePi.1")
    );
    world.import_text(&list).expect(0);
    let ran = world.ok(&["run", "--json"]);
    assert_eq!(numbers(&ran.json()), (json!([0, 1, 0, 1, 0]), vec!["ThreePi.2 full 0".to_owned()]));
    assert_eq!(standings(&world), ["new 0", "full 0"]);
    world.import_text(&list.replace("purged", "merged")).expect(0);
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["full 0", "full 0"]);
}

#[test]
fn a_pass_with_nothing_to_do_leaves_the_ledger_as_it_is() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    std::fs::remove_dir_all(world.source("ThreePi.2")).unwrap();
    world.run(&["run"]).expect(1);
    let ledger = world.state().join("ledger.redb");
    let look = || {
        let meta = std::fs::metadata(&ledger).unwrap();
        (std::fs::read(&ledger).unwrap(), meta.mtime(), meta.mtime_nsec(), meta.ino())
    };
    // The first pass of the day after a fault may note that it reminded.
    world.ok(&["run"]).is_silent();
    let before = look();
    world.ok(&["run"]).is_silent();
    world.ok(&["run", "--json"]);
    assert!(look() == before, "nothing is committed");
}

#[test]
fn a_pass_over_a_host_that_is_down_leaves_the_ledger_as_it_is_until_the_probe_is_due() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.sshd().stop();
    world.run(&["run"]).expect(1).says("fault 211");
    let ledger = world.state().join("ledger.redb");
    let before = std::fs::read(&ledger).unwrap();
    world.ok(&["run"]).is_silent();
    assert!(std::fs::read(&ledger).unwrap() == before, "nothing is committed");
}

#[test]
fn the_oldest_copies_come_first() {
    let world = World::new();
    // Queued in the order in which they came, not of their ids.
    for id in [30, 2, 11] {
        let tree = world.make(&format!("ThreePi.{id}"), Shape::tiny());
        world.import(&[(id, "ThreePi", &tree)]);
    }
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    let ran = world.ok(&["run", "--json"]);
    let (_, done) = numbers(&ran.json());
    assert_eq!(done, ["ThreePi.30 full 0", "ThreePi.2 full 0", "ThreePi.11 full 0"]);
}

#[test]
fn a_copy_that_was_begun_follows_its_target_to_another_path() {
    let world = begun();
    let elsewhere = world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let ran = world.ok(&[
        "target",
        "add",
        "ThreePi",
        "ipp0222",
        elsewhere.as_str(),
        "--bwlimit",
        "0",
        "--deadline",
        "100",
    ]);
    expect![[r#"
        minidvodbcopy: 1 new copy goes to [ROOT]/elsewhere now
        minidvodbcopy: 1 copy that was begun starts again there; the next pass removes the old staging
    "#]]
    .assert_eq(&plain(&world, &ran.stderr));
    assert!(staged_bytes(&world.there()) > 0, "the next pass removes it, under its lock");
    // An operator's pass for the new path; the old wait is for the old place.
    world.ok(&["copy", "ThreePi", "ipp0222", elsewhere.as_str()]);
    assert!(world.names_there().is_empty(), "the old staging is gone: {:?}", world.names_there());
    assert_eq!(names_in(&elsewhere), ["ThreePi.1"]);
    assert_eq!(world.standing(1), "full 0");
    assert_eq!(
        xtask::tree::differences(world.source("ThreePi.1"), elsewhere.join("ThreePi.1")).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_target_that_goes_back_to_its_old_path_finds_what_was_begun_there() {
    let world = begun();
    let elsewhere = world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let sent = staged_bytes(&world.there());
    world.ok(&["target", "add", "ThreePi", "ipp0222", elsewhere.as_str()]);
    set_target(&world, &["--bwlimit", "0", "--deadline", "100"]);
    assert_eq!(staged_bytes(&world.there()), sent);
    let inode = std::fs::metadata(staging_of(&world.there(), "ThreePi.1")).unwrap().ino();
    copy_now(&world).expect(0);
    expect_all_full(&world, 1);
    assert_eq!(std::fs::metadata(world.there().join("ThreePi.1")).unwrap().ino(), inode);
    assert!(names_in(&elsewhere).is_empty());
}

#[test]
fn a_deleted_target_parks_what_was_begun_and_another_add_goes_on_with_it() {
    let world = begun();
    let inode = std::fs::metadata(staging_of(&world.there(), "ThreePi.1")).unwrap().ino();
    let sent = staged_bytes(&world.there());
    let ran = world.ok(&["target", "del", "ipp0222", "ThreePi"]);
    assert_eq!(ran.stderr, "minidvodbcopy: 1 new copy is parked until the target is added again\n");
    let copy = world.copy(1);
    assert_eq!((&copy["parked"], &copy["state"]), (&json!(true), &json!("new")));
    world.ok(&["run"]).is_silent();
    assert_eq!((&world.copy(1)["attempts"], staged_bytes(&world.there())), (&json!(1), sent));
    set_target(&world, &["--deadline", "100"]);
    assert_eq!(world.copy(1)["parked"], false);
    copy_now(&world).expect(0);
    expect_all_full(&world, 1);
    assert_eq!(std::fs::metadata(world.there().join("ThreePi.1")).unwrap().ino(), inode);
}

#[test]
fn a_path_below_a_symlinked_folder_is_a_path() {
    for host in ["ipp0222", "localhost"] {
        let world = World::with_sshd();
        let disk = world.root.join("disk");
        std::fs::create_dir_all(disk.join("inner")).unwrap();
        symlink("disk", world.root.join("data")).unwrap();
        let tree = world.make("ThreePi.1", Shape::tiny());
        world.import(&[(1, "ThreePi", &tree)]);
        // A folder below a symlink, and a symlink itself.
        for (path, arrived) in [("data/inner", "disk/inner"), ("data", "disk")] {
            let _ = std::fs::remove_dir_all(world.state());
            world.import(&[(1, "ThreePi", &tree)]);
            world.ok(&["copy", "ThreePi", host, world.root.join(path).as_str()]).is_silent();
            let there = world.root.join(arrived).join("ThreePi.1");
            assert_eq!(xtask::tree::differences(&tree, there).unwrap(), Vec::<String>::new());
        }
        assert_eq!(names_in(&disk), ["ThreePi.1", "inner"], "no staging folder is left");
    }
}

#[test]
fn slashes_that_mean_nothing_in_a_path_mean_nothing() {
    for host in ["ipp0222", "localhost"] {
        let world = World::with_sshd();
        world.prepare(host, 2);
        let sloppy = format!("/{}//", world.there());
        world.ok(&["target", "add", "ThreePi", host, &sloppy]);
        world.ok(&["run", "--limit", "1"]).is_silent();
        world.ok(&["copy", "ThreePi", host, world.there().as_str()]);
        world.ok(&["copy", "ThreePi", host, &sloppy]);
        assert_eq!(standings(&world), ["full 0", "full 0"]);
        expect_all_full(&world, 2);
    }
}

#[test]
fn another_spelling_of_a_path_keeps_what_was_begun() {
    let world = begun();
    let inode = std::fs::metadata(staging_of(&world.there(), "ThreePi.1")).unwrap().ino();
    let sloppy = format!("{}/", world.there());
    let settings = ["target", "add", "ThreePi", "ipp0222", &sloppy, "--bwlimit", "0", "--deadline", "100"];
    world.ok(&settings).is_silent();
    world.ok(&["copy", "ThreePi", "ipp0222", &sloppy]);
    expect_all_full(&world, 1);
    assert_eq!(std::fs::metadata(world.there().join("ThreePi.1")).unwrap().ino(), inode);
}

#[test]
fn localhost_needs_no_ssh() {
    let mut world = World::new();
    let path = path_without(&world, &["ssh"]);
    world.set("PATH", &path);
    world.prepare("localhost", 1);
    world.ok(&["run"]).is_silent();
    expect_all_full(&world, 1);
}
