//! `minidvodbtool`: the four modes as the predecessor's users type them, its formats read back, its exit codes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use camino::Utf8Path;
use xtask::dvo::Shape;

use super::ipp::{Site, standings};
use super::shown::queue;
use super::world::{Ran, World, finish, names_in};

const EPOCH: &str = "'2011-05-02 03:04:05'";

/// The fields of a row and their types, in their order, as the description has them.
const FIELDS: [(&str, &str); 9] = [
    ("minidvodbcopy_id", "S64"),
    ("minidvodb_id", "S64"),
    ("minidvodb_rsync_path", "STR"),
    ("destination_host", "STR"),
    ("fault", "S16"),
    ("state", "STR"),
    ("epoch", "TAI"),
    ("dtime", "F32"),
    ("minidvodb_path", "STR"),
];

/// A row's values, in the order of [`FIELDS`].
type Row = [String; 9];

/// Reads METADATA by its description alone, and refuses whatever the description does not say.
#[track_caller]
fn read_metadata(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    if text.is_empty() {
        return rows;
    }
    let mut lines = text.split('\n');
    assert_eq!(lines.next(), Some("minidvodbCopy MULTI"));
    loop {
        assert_eq!(lines.next(), Some(""), "a blank line comes before each row, and last");
        match lines.next() {
            Some("minidvodbCopy  METADATA  ") => {}
            // What is behind the last line feed.
            Some("") if lines.next().is_none() && !rows.is_empty() => return rows,
            other => panic!("neither a row nor the end: {other:?} in\n{text}"),
        }
        rows.push(FIELDS.map(|field| read_field(lines.next().unwrap(), field)));
        assert_eq!(lines.next(), Some("END"));
    }
}

/// Reads a field: three blanks, then `%-15s  %-8s  %-15s`, and one blank more behind a string.
#[track_caller]
fn read_field(line: &str, (name, kind): (&str, &str)) -> String {
    let (front, value) = (format!("   {}  {}  ", padded(name, 15), padded(kind, 8)), line.trim_end());
    let value = value.strip_prefix(&front).unwrap_or_else(|| panic!("no {name} in {line:?}"));
    let end = if kind == "STR" { " " } else { "" };
    assert_eq!(line, format!("{front}{}{end}", padded(value, 15)));
    value.to_owned()
}

fn padded(text: &str, width: usize) -> String {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', width.saturating_sub(text.chars().count())));
    padded
}

fn fixture(name: &str) -> String {
    let folder = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/minidvodbtool");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[track_caller]
fn tool(world: &World, words: &[&str]) -> Ran {
    world.run(&[&["minidvodbtool"], words].concat())
}

/// Runs a mode that must succeed; gives the rows that it prints.
#[track_caller]
fn rows(world: &World, words: &[&str]) -> Vec<Row> {
    read_metadata(&tool(world, words).expect(0).stdout)
}

/// minidvodb_id, destination_host, state and fault of rows.
fn brief(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| format!("{} {} {} {}", row[1], row[3], row[5], row[4])).collect()
}

/// The words that queue for a host and path.
fn define<'a>(host: &'a str, path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let needed = ["-definebyquery", "-set_destination_host", host, "-set_minidvodb_rsync_path", path];
    [&needed[..], more].concat()
}

fn import(world: &World, ids: std::ops::RangeInclusive<u64>, group: &str, state: &str) {
    let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
    for id in ids {
        list.push_str(&format!("{id},{group}.{id},{group},/data/{group}.{id},{state}\n"));
    }
    world.import_text(&list).expect(0);
}

/// A database whose rows came to the ledger: six at ipp031, then those of the fixtures at ipp0222.
fn site() -> Site {
    let site = Site::new();
    for id in 117..=126 {
        site.ipp.add_merged(id, "ThreePi", Utf8Path::new(&format!("/data/ipp004.0/ThreePi.{id}")));
    }
    for id in 117..=122 {
        site.ipp.add_copy(&format!("{id}, '/data/ipp031.0/x', 'ipp031', 0, 'full', {EPOCH}, 1.5"));
    }
    site.ipp.add_copy(&format!("123, '/data/ipp022.0/x', 'ipp0222', 0, 'new', {EPOCH}, 0"));
    site.ipp.add_copy(&format!("124, '/data/ipp022.0/a b', 'ipp0222', 0, 'full', {EPOCH}, 1234.56789"));
    site.ipp.add_copy("125, '/é', 'ipp0222', 0, 'full', '0000-00-00 00:00:00', NULL");
    site.ipp.add_copy(&format!("126, '/data/ipp022.0/x', 'ipp0222', 4, 'new', {EPOCH}, 1e-5"));
    site.ok(&["target", "add", "ThreePi", "ipp0222", "/data/ipp022.0/x"]);
    site.sync();
    site
}

#[test]
fn the_example_of_the_description_comes_out_byte_for_byte() {
    let site = site();
    let listed = tool(&site.world, &["-listminidvodbcopy", "-minidvodb_id", "123"]).expect(0);
    assert_eq!(listed.stdout, fixture("one-row.txt"));
    assert_eq!(listed.stderr, "");
}

#[test]
fn rows_of_every_kind_are_the_fixtures_bytes_and_are_read_back() {
    let site = site();
    let words = ["-listminidvodbcopy", "-destination_host", "ipp0222"];
    let listed =
        tool(&site.world, &words).expect(0).says("1 row with a fault is hidden: -faulted lists them");
    assert_eq!(listed.stdout, fixture("rows.txt"));
    let simple = tool(&site.world, &[&words[..], &["-simple"]].concat()).expect(0);
    assert_eq!(simple.stdout, fixture("rows-simple.txt"));

    let read = read_metadata(&listed.stdout);
    assert_eq!(brief(&read), ["123 ipp0222 new 0", "124 ipp0222 full 0", "125 ipp0222 full 0"]);
    assert_eq!(read[1][2], "/data/ipp022.0/a b");
    assert_eq!((read[1][7].as_str(), read[2][6].as_str(), read[2][7].as_str()), ("1234.568", "NULL", "nan"));
    let faulted = rows(&site.world, &[&words[..], &["-faulted"]].concat());
    assert_eq!(brief(&faulted), ["126 ipp0222 new 4"]);
    assert_eq!(faulted[0][7], "1e-05");
}

#[test]
fn list_and_export_print_the_same_metadata() {
    let site = site();
    let all = site.ok(&["list", "--format", "mdc"]).stdout;
    assert_eq!(read_metadata(&all).len(), 10);
    assert_eq!(site.ok(&["export", "--format", "mdc"]).stdout, all);
    site.ok(&["export", "--format", "mdc", "--output", "out.mdc"]).is_silent();
    assert_eq!(std::fs::read_to_string(site.world.root.join("out.mdc")).unwrap(), all);
    assert_eq!(site.ok(&["list", "--format", "mdc", "--id", "7"]).stdout, fixture("one-row.txt"));
    assert_eq!(site.ok(&["list", "--format", "mdc", "--host", "ipp032"]).stdout, "");
}

#[test]
fn a_list_shows_what_is_asked_for_and_says_what_it_hides() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 6);
    world.ok(&["update", "--id", "2", "--set-state", "full"]);
    world.ok(&["update", "--id", "3", "--set-fault", "23"]);
    world.ok(&["update", "--id", "4", "--set-state", "full", "--set-fault", "251"]);
    let list = |words: &[&str]| tool(&world, &[&["-listminidvodbcopy"], words].concat()).expect(0);
    let ids = |words: &[&str]| -> String {
        let ids: Vec<String> =
            read_metadata(&list(words).stdout).into_iter().map(|row| row[0].clone()).collect();
        ids.join(" ")
    };
    let of_group = ["-minidvodb_group", "ThreePi"];
    let with = |more: &[&'static str]| [&of_group[..], more].concat();

    assert_eq!(ids(&of_group), "1 2 5 6");
    list(&of_group).says("2 rows with a fault are hidden: -faulted lists them");
    assert_eq!(ids(&with(&["-pending"])), "1 5 6");
    list(&with(&["-pending"])).says("1 row with a fault is hidden");
    assert_eq!(ids(&with(&["-faulted"])), "3 4");
    assert_eq!(list(&with(&["-faulted"])).stderr, "");
    assert_eq!(ids(&with(&["-pending", "-faulted"])), "3", "it was always empty once");
    assert_eq!(ids(&with(&["-limit", "2"])), "1 2");
    list(&with(&["-limit", "2"])).says("2 rows with a fault are hidden");
    assert_eq!(ids(&with(&["-limit", "0"])), "1 2 5 6");
    assert_eq!(ids(&with(&["-faulted", "-limit", "1"])), "3");

    assert_eq!(ids(&["-minidvodbcopy_id", "5"]), "5");
    assert_eq!(ids(&["-minidvodb_id", "6"]), "6");
    assert_eq!(ids(&["-destination_host", "ipp022", "-minidvodb_id", "1"]), "1");
    for nothing in [
        &["-minidvodbcopy_id", "99"][..],
        &["-minidvodb_id", "99"],
        &["-minidvodb_group", "SAS"],
        &["-destination_host", "ipp031"],
        &["-minidvodbcopy_id", "5", "-minidvodb_id", "6"],
    ] {
        list(nothing).is_silent();
        list(&[nothing, &["-simple"]].concat()).is_silent();
    }
    assert_eq!(ids(&["-minidvodbcopy_id", "3"]), "");
    list(&["-minidvodbcopy_id", "3"]).says("1 row with a fault is hidden");
}

#[test]
fn what_is_queued_is_what_a_pass_would_queue_and_is_copied_by_one() {
    let world = World::new();
    world.prepare("localhost", 3);
    let there = world.there();
    let words = define("localhost", there.as_str(), &["-minidvodb_group", "ThreePi"]);
    let queued = tool(&world, &words).expect(0);
    assert_eq!(queued.stdout, "");
    assert_eq!(
        queued.stderr,
        format!(
            "minidvodbcopy: queued 3 minidvodbs of ThreePi for localhost at {there}: ThreePi.1, ThreePi.2, ThreePi.3\n"
        )
    );
    let listed = rows(&world, &["-listminidvodbcopy", "-destination_host", "localhost", "-pending"]);
    assert_eq!(brief(&listed), ["1 localhost new 0", "2 localhost new 0", "3 localhost new 0"]);
    assert_eq!(listed[0][2], there.as_str());
    assert_eq!((listed[0][7].as_str(), listed[0][8].as_str()), ("0", world.source("ThreePi.1").as_str()));

    tool(&world, &words).expect(0).is_silent();
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"]);
    world.expect_arrived("ThreePi.2");
    world.ok(&["ledger", "check"]);
}

#[test]
fn only_eligible_ones_without_a_copy_on_the_machine_are_queued() {
    let world = World::new();
    import(&world, 1..=3, "ThreePi", "merged");
    import(&world, 4..=4, "ThreePi", "to_be_merged");
    import(&world, 5..=6, "SAS", "merged");
    import(&world, 7..=7, "MD", "merged");
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    tool(&world, &define("ipp022", "/there", &["-minidvodb_id", "2"])).expect(0).says("ThreePi.2");
    let groups = ["-minidvodb_group", "ThreePi", "-minidvodb_group", "SAS"];
    let more = tool(&world, &define("ipp0222", "/there", &groups)).expect(0);
    assert!(more.stderr.contains("queued 2 minidvodbs of ThreePi"), "{}", more.stderr);
    assert!(more.stderr.contains("queued 2 minidvodbs of SAS"), "{}", more.stderr);
    let mut expected = ["1 ipp0222 new 0", "2 ipp022 new 0", "3 ipp0222 new 0"].to_vec();
    expected.extend(["5 ipp0222 new 0", "6 ipp0222 new 0"]);
    assert_eq!(standings(&world), expected);

    for nothing in [
        &["-minidvodb_id", "2"][..],
        &["-minidvodb_id", "4"],
        &["-minidvodb_id", "7", "-minidvodb_group", "SAS"],
    ] {
        tool(&world, &define("ipp0222", "/elsewhere", nothing)).expect(0).is_silent();
    }
    for (unknown, said) in [
        (["-minidvodb_id", "99"], "minidvodb 99 is not known here"),
        (["-minidvodb_group", "threepi"], "no minidvodb of the group threepi is known here"),
    ] {
        let ran = tool(&world, &define("ipp0222", "/there", &unknown)).expect(0).says(said);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(standings(&world), expected);
}

#[test]
fn what_has_no_target_is_parked_and_the_command_to_type_is_said_and_works() {
    let world = World::new();
    let group = "Three Pi's";
    let path = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(1, group, &path)]);
    let there = world.there();
    let queued = tool(&world, &define("localhost", there.as_str(), &["-minidvodb_id", "1"])).expect(0);
    let command = format!("minidvodbcopy target add 'Three Pi'\\''s' localhost {there}");
    let queued = queued.says(&format!("nothing of {group} goes to localhost before `{command}`"));
    assert_eq!(queued.stdout, "");
    world.ok(&["host", "add", "localhost"]);
    world.ok(&["run"]);
    assert_eq!(world.copy(1)["parked"], true);

    let inner = world.command(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command.replacen("minidvodbcopy", "\"$PROGRAM\"", 1)]).env_clear();
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PROGRAM", inner.get_program()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(shell.spawn().unwrap()).expect(0);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn what_is_queued_for_a_path_goes_there_even_where_its_target_goes_elsewhere() {
    let world = World::new();
    world.prepare("localhost", 2);
    let elsewhere = world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    tool(&world, &define("localhost", elsewhere.as_str(), &["-minidvodb_id", "2"])).expect(0);
    world.ok(&["run"]).is_silent();
    assert_eq!(standings(&world), ["1 localhost full 0", "2 localhost full 0"]);
    assert_eq!(names_in(&elsewhere), ["ThreePi.2"]);
    assert_eq!(world.names_there(), ["ThreePi.1"]);
}

#[test]
fn two_that_would_get_one_final_path_are_queued_with_a_fault_and_the_exit_code_says_so() {
    let world = World::new();
    let (a, b) = (Utf8Path::new("/a/ThreePi.1"), Utf8Path::new("/b/ThreePi.1"));
    world.import(&[(1, "ThreePi", a), (2, "ThreePi", b)]);
    let words = define("ipp022", "/there", &["-minidvodb_group", "ThreePi"]);
    let pretended = rows(&world, &[&words[..], &["-pretend"]].concat());
    assert_eq!(brief(&pretended), ["1 ipp022 new 0", "2 ipp022 new 226"]);
    let queued = tool(&world, &words).expect(1).says("fault 226 name-collision");
    assert_eq!(queued.stdout, "");
    assert_eq!(standings(&world), ["1 ipp022 new 0", "2 ipp022 new 226"]);
    tool(&world, &words).expect(0).is_silent();
}

#[test]
fn pretending_prints_the_rows_and_changes_nothing() {
    let site = Site::prepared(2);
    site.sync();
    let before = (site.ledger_bytes(), site.ipp.raw());
    let there = site.world.there();
    let words = define("localhost", there.as_str(), &["-minidvodb_group", "ThreePi", "-pretend"]);
    let pretended = tool(&site.world, &words).expect(0);
    assert_eq!(pretended.stderr, "");
    let read = read_metadata(&pretended.stdout);
    assert_eq!(brief(&read), ["1 localhost new 0", "2 localhost new 0"]);
    for row in &read {
        assert_eq!((row[0].as_str(), row[6].as_str(), row[7].as_str()), ("0", "NULL", "0"));
    }
    let simple = tool(&site.world, &[&words[..], &["-simple"]].concat()).expect(0).stdout;
    let source = site.world.source("ThreePi.1");
    assert_eq!(simple.lines().next().unwrap(), format!("0 1 {there} localhost 0 new NULL 0.000000 {source}"));
    assert_eq!((site.ledger_bytes(), site.ipp.raw()), before);
    let none = define("localhost", there.as_str(), &["-minidvodb_id", "3", "-pretend"]);
    assert_eq!(tool(&site.world, &none).expect(0).says("minidvodb 3 is not known here").stdout, "");
}

#[test]
fn what_is_queued_arrives_in_the_database_with_what_was_merged_there_meanwhile() {
    let site = Site::prepared(1);
    site.sync();
    let folder = site.world.make("ThreePi.2", Shape::tiny());
    site.ipp.add_merged(2, "ThreePi", &folder);
    let there = site.world.there();
    let named = ["-minidvodb_group", "ThreePi", "-dbname", site.ipp.database.as_str()];
    tool(&site.world, &define("localhost", there.as_str(), &named)).expect(0).says("queued 2 minidvodbs");
    assert_eq!(site.standings_there(), ["1 localhost new 0", "2 localhost new 0"]);
    site.expect_in_step();
}

#[test]
fn what_is_parked_arrives_in_the_database_too_and_stays() {
    let site = Site::prepared(1);
    site.sync();
    for id in 8..=9 {
        site.ipp.add_merged(id, "SAS", Utf8Path::new(&format!("/data/SAS.{id}")));
    }
    let words = define("ipp031", "/there", &["-minidvodb_group", "SAS"]);
    tool(&site.world, &words).expect(0).says("no minidvodb of the group SAS is known here");
    import(&site.world, 8..=9, "SAS", "merged");
    tool(&site.world, &words).expect(0).says("they are parked: nothing of SAS goes to ipp031 before");
    assert_eq!(site.standings_there(), ["8 ipp031 new 0", "9 ipp031 new 0"]);
    site.expect_in_step();
}

#[test]
fn what_is_set_and_reverted_arrives_in_the_database() {
    let site = Site::prepared(3);
    site.queue();
    let update = ["-updateminidvodbcopy", "-host", "localhost", "-set_fault", "23", "-set_dtime", "2.5"];
    tool(&site.world, &update).expect(0);
    assert_eq!(site.standings_there(), ["1 localhost new 23", "2 localhost new 23", "3 localhost new 23"]);
    tool(&site.world, &["-revertminidvodbcopy", "-minidvodb_id", "2"]).expect(0);
    assert_eq!(site.standings_there(), ["1 localhost new 23", "2 localhost new 0", "3 localhost new 23"]);
    site.expect_in_step();
}

#[test]
fn a_database_that_is_away_fails_no_mode_and_is_said_once() {
    let (site, proxy) = Site::behind_proxy(1);
    site.sync();
    drop(proxy);
    let there = site.world.there();
    let words = define("localhost", there.as_str(), &["-minidvodb_group", "ThreePi"]);
    let queued = tool(&site.world, &words).expect(0).says("queued 1 minidvodb");
    assert_eq!(queued.stderr.matches("is away").count(), 1, "{}", queued.stderr);
    tool(&site.world, &["-updateminidvodbcopy", "-minidvodb_id", "1", "-set_fault", "4"]).expect(0);
    tool(&site.world, &["-revertminidvodbcopy", "-all"]).expect(0);
    let list = tool(&site.world, &["-listminidvodbcopy", "-minidvodb_id", "1"]).expect(0);
    assert_eq!(list.stderr, "");
    assert_eq!(site.standings(), ["1 localhost new 0"]);
    assert_eq!(site.standings_there(), Vec::<String>::new());
}

#[test]
fn a_dbname_must_be_the_database_that_is_set() {
    let site = Site::prepared(1);
    let list = ["-listminidvodbcopy", "-minidvodb_group", "ThreePi", "-dbname"];
    tool(&site.world, &[&list[..], &[site.ipp.database.as_str()]].concat()).expect(0);
    for wrong in ["gpc2", "", "a\u{1b}b", &site.ipp.database.to_uppercase()] {
        let ran = tool(&site.world, &[&list[..], &[wrong]].concat()).expect(3).says("-dbname is '");
        assert!(!ran.stderr.contains('\u{1b}'));
    }
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    let before = std::fs::read(world.state().join("ledger.redb")).unwrap();
    for mode in [
        define("ipp031", "/x", &["-minidvodb_group", "ThreePi"]),
        list[..3].to_vec(),
        vec!["-revertminidvodbcopy", "-all"],
        vec!["-updateminidvodbcopy", "-host", "ipp022", "-set_fault", "4"],
    ] {
        let ran = tool(&world, &[&mode[..], &["-dbname", "gpc1"]].concat()).expect(3);
        ran.says("-dbname is 'gpc1', and no database is set");
    }
    assert_eq!(std::fs::read(world.state().join("ledger.redb")).unwrap(), before);
}

#[test]
fn a_revert_clears_the_faults_that_are_meant_and_no_others() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 6);
    for (id, fault) in [("1", "23"), ("2", "4"), ("3", "23"), ("4", "23"), ("5", "4")] {
        world.ok(&["update", "--id", id, "--set-fault", fault]);
    }
    world.ok(&["update", "--id", "4", "--set-state", "full"]);
    let faults = || world.list().iter().map(|copy| copy["fault"].to_string()).collect::<Vec<_>>().join(" ");
    let revert = |words: &[&str]| {
        let ran = tool(&world, &[&["-revertminidvodbcopy"], words].concat()).expect(0);
        assert_eq!(ran.stdout, "");
        ran
    };
    assert_eq!(faults(), "23 4 23 23 4 0");
    revert(&["-minidvodbcopy_id", "1", "-fault", "4"]).says("nothing was cleared");
    revert(&["-minidvodbcopy_id", "6"]).says("nothing was cleared");
    revert(&["-destination_host", "ipp031"]).says("nothing was cleared");
    assert_eq!(faults(), "23 4 23 23 4 0");
    revert(&["-fault", "23", "-minidvodb_id", "1"])
        .says("cleared 23 rsync-23 of copy 1: ThreePi.1 to ipp022");
    assert_eq!(faults(), "0 4 23 23 4 0");
    revert(&["-fault", "4", "-destination_host", "ipp022"]);
    assert_eq!(faults(), "0 0 23 23 0 0");
    revert(&["-all"]);
    assert_eq!(faults(), "0 0 0 23 0 0", "a full copy's fault is not reverted");
}

#[test]
fn an_update_sets_zeros_and_restricts_by_every_search_option() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 5);
    let update = |words: &[&str]| {
        let ran = tool(&world, &[&["-updateminidvodbcopy"], words].concat()).expect(0);
        assert_eq!(ran.stdout, "");
        ran
    };
    let faults = || world.list().iter().map(|copy| copy["fault"].to_string()).collect::<Vec<_>>().join(" ");
    update(&["-host", "ipp022", "-set_fault", "4", "-set_dtime", "12.5"]);
    update(&["-minidvodb_id", "2", "-set_fault", "23"]).says("copy 2 (ThreePi.2 to ipp022)");
    assert_eq!(faults(), "4 23 4 4 4");
    // The predecessor would have changed all of them.
    update(&["-state", "new", "-fault", "23", "-set_fault", "0", "-set_dtime", "0"]);
    assert_eq!(faults(), "4 0 4 4 4");
    let dtimes: Vec<f64> = world.list().iter().map(|copy| copy["dtime"].as_f64().unwrap()).collect();
    assert_eq!(dtimes, [12.5, 0.0, 12.5, 12.5, 12.5]);

    update(&["-fault", "0", "-set_state", "full"]);
    assert_eq!(world.copy(2)["verified"], "by hand");
    update(&["-state", "full", "-set_minidvodb_rsync_path", "/elsewhere"]);
    update(&["-minidvodb_rsync_path", "/elsewhere/", "-set_state", "new", "-set_destination_host", "ipp031"]);
    let moved = rows(&world, &["-listminidvodbcopy", "-destination_host", "ipp031"]);
    assert_eq!(brief(&moved), ["2 ipp031 new 0"]);
    assert_eq!(moved[0][2], "/elsewhere");
    for nothing in [
        &["-minidvodbcopy_id", "3", "-minidvodb_id", "4"][..],
        &["-minidvodb_id", "2", "-host", "ipp022"],
        &["-minidvodb_rsync_path", "/nowhere"],
        &["-state", "full"],
        &["-fault", "5"],
    ] {
        update(&[nothing, &["-set_fault", "9"]].concat()).says("no copy is meant; nothing was changed");
    }
    assert_eq!(faults(), "4 0 4 4 4");
}

#[test]
fn an_update_that_the_ledgers_rules_refuse_for_one_copy_changes_none_and_names_it() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    tool(&world, &define("ipp031", "/there", &["-minidvodb_id", "3"])).expect(0);
    let before = world.list();
    let words = ["-updateminidvodbcopy", "-host", "ipp022", "-set_destination_host", "ipp031"];
    let ran = tool(&world, &words).expect(1).says("copies 3 and 4 would both be of minidvodb 3");
    assert_eq!(ran.stdout, "");
    assert_eq!(world.list(), before);
    world.ok(&["ledger", "check"]);
}

#[test]
fn many_rows_are_updated_at_once_and_the_first_are_said() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 30);
    let ran = tool(&world, &["-updateminidvodbcopy", "-state", "new", "-set_fault", "4"]).expect(0);
    assert_eq!(ran.stderr.matches("\n  is  new, fault 4").count(), 20, "{}", ran.stderr);
    ran.says("10 further copies likewise");
    assert!(world.list().iter().all(|copy| copy["fault"] == 4));
}

/// Runs the program through a link of that name.
fn linked(world: &World, words: &[&OsStr]) -> Ran {
    let link = world.root.join("minidvodbtool");
    let inner = world.command(&[]);
    if !link.is_symlink() {
        symlink(inner.get_program(), &link).unwrap();
    }
    let mut command = Command::new(&link);
    command.args(words).env_clear().current_dir(&world.root).stdin(Stdio::null());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn a_link_of_that_name_is_the_tool() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    let words = ["-listminidvodbcopy", "-minidvodb_group", "ThreePi"];
    let by_link = linked(&world, &words.map(OsStr::new)).expect(0);
    assert_eq!(by_link.stdout, tool(&world, &words).stdout);
    assert_eq!(read_metadata(&by_link.stdout).len(), 2);
    let state = world.state();
    let outer = ["--state-dir", state.as_str(), "-q", "minidvodbtool"];
    assert_eq!(world.ok(&[&outer[..], &words].concat()).stdout, by_link.stdout);
    assert_eq!(linked(&world, &[OsStr::new("-h")]).expect(0).stdout, tool(&world, &["-h"]).stdout);
    linked(&world, &[OsStr::new("list")]).expect(3).says("no mode is given");
}

#[test]
fn the_help_of_all_modes_and_of_one() {
    let world = World::new();
    let all = tool(&world, &["-h"]).expect(0);
    assert_eq!(all.stderr, "");
    for words in [&["help", "minidvodbtool"][..], &["minidvodbtool", "--help"], &["--help", "minidvodbtool"]]
    {
        assert_eq!(world.ok(words).stdout, all.stdout, "{words:?}");
    }
    expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/minidvodbtool/help.txt")]
        .assert_eq(&all.stdout);
    for mode in ["-definebyquery", "-listminidvodbcopy", "-revertminidvodbcopy", "-updateminidvodbcopy"] {
        let one = tool(&world, &[mode, "-h"]).expect(0).stdout;
        assert!(one.contains(&format!("\n{mode}: ")) && one.len() < all.stdout.len(), "{one}");
    }
    assert!(world.ok(&["help"]).stdout.contains("minidvodbtool"));
    assert!(!world.state().exists());
}

#[test]
fn the_version_is_told_whatever_else_is_typed() {
    let world = World::new();
    let version = world.ok(&["--version"]).stdout;
    for words in [&["-version"][..], &["--version"], &["-listminidvodbcopy", "-limit", "--version"]] {
        let ran = tool(&world, words).expect(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (version.as_str(), ""), "{words:?}");
    }
    assert_eq!(linked(&world, &[OsStr::new("--version")]).expect(0).stdout, version);
}

#[test]
fn a_mistyped_mode_or_option_is_answered_with_the_nearest() {
    let world = World::new();
    for (words, says) in [
        (&["-listminidvodbcopi"][..], "is no mode of minidvodbtool; the nearest is -listminidvodbcopy\n"),
        (&["--definebyqery", "-minidvodb_id", "1"], "the nearest is -definebyquery\n"),
        (
            &["-revert", "-all"],
            "'-revert' is no mode of minidvodbtool; the nearest is -revertminidvodbcopy\n",
        ),
        (&["-minidvodb_id", "1", "-up"], "no mode is given; the modes are -definebyquery, "),
        (&["-listminidvodbcopy", "-minidvodb_gruop", "G"], "the nearest is -minidvodb_group\n"),
        (
            &["-listminidvodbcopy", "--limt", "3"],
            "'--limt' is no option of minidvodbtool; the nearest is -limit\n",
        ),
        (&["-listminidvodbcopy", "-x"], "'-x' is no option of minidvodbtool\n"),
        (&["-updateminidvodbcopy", "-fault", "4", "-set_stat", "new"], "the nearest is -set_state\n"),
    ] {
        tool(&world, words).expect(3).says(says);
    }
}

#[test]
fn the_exit_codes_are_the_predecessors() {
    let world = World::new();
    let list = ["-listminidvodbcopy", "-minidvodb_id", "1"];
    // 3 configuration: options, values, and where the ledger is looked for.
    let ran = tool(&world, &list).expect(3).says("there is no ledger in");
    assert_eq!(ran.stdout, "");
    assert!(!world.state().exists());
    tool(&world, &["-listminidvodbcopy"]).expect(3);
    tool(&world, &[]).expect(3).says("no mode is given");
    queue(&world, "ThreePi", "ipp022", 1);
    world
        .run(&["--state-dir", "/dev/null/x", "minidvodbtool", "-listminidvodbcopy", "-minidvodb_id", "1"])
        .expect(3);
    // 2 system: the ledger itself, and the output.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = world.command(&[&["minidvodbtool"][..], &list].concat()).stdout(full).spawn().unwrap();
    finish(child).expect(2).says("cannot write to standard output");
    let ledger = world.state().join("ledger.redb");
    let mut bytes = std::fs::read(&ledger).unwrap();
    let length = bytes.len();
    bytes[..length / 2].fill(0x5a);
    std::fs::write(&ledger, &bytes).unwrap();
    let ran = tool(&world, &list).expect(2).says("damaged");
    assert_eq!(ran.stdout, "");
    assert_eq!(std::fs::read(&ledger).unwrap(), bytes);
}

#[test]
fn whatever_is_typed_a_refusal_changes_nothing_and_prints_no_control_character() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    let before = std::fs::read(world.state().join("ledger.redb")).unwrap();
    let modes: [&[&str]; 4] = [
        &["-definebyquery", "-minidvodb_group", "ThreePi", "-set_destination_host", "ipp031"],
        &["-listminidvodbcopy", "-minidvodb_group", "ThreePi"],
        &["-revertminidvodbcopy", "-all"],
        &["-updateminidvodbcopy", "-host", "ipp022", "-set_fault", "4"],
    ];
    let hostile: [&[u8]; 10] = [
        b"",
        b"x",
        b"-",
        b"--",
        b"\x1b[2J",
        b"a\nb",
        b"\xff\xfe",
        b"99999999999999999999",
        b"-9223372036854775809",
        b"1e999",
    ];
    let options: [&[u8]; 6] =
        [b"-minidvodb_id", b"-limit", b"-fault", b"-set_dtime", b"-unknown", b"-\xff\x1b"];
    for mode in modes {
        for option in options {
            // So many seconds are a value that the table can hold.
            let is_hostile = |value: &&&[u8]| (option, **value) != (b"-set_dtime", b"99999999999999999999");
            for value in hostile.iter().filter(is_hostile).map(Some).chain([None]) {
                let mut words: Vec<OsString> = mode.iter().map(OsString::from).collect();
                words.push(OsStr::from_bytes(option).to_owned());
                words.extend(value.map(|value| OsStr::from_bytes(value).to_owned()));
                let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
                let ran = linked(&world, &words).expect(3);
                assert_eq!(ran.stdout, "", "{words:?}");
                let is_clean = |c: char| c == '\n' || !c.is_control();
                assert!(ran.stderr.chars().all(is_clean), "{words:?}: {:?}", ran.stderr);
                assert!(
                    ran.stderr.starts_with("minidvodbcopy: ") && !ran.stderr.contains("bug"),
                    "{}",
                    ran.stderr
                );
            }
        }
    }
    assert_eq!(std::fs::read(world.state().join("ledger.redb")).unwrap(), before);
}
