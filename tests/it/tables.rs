//! What `list`, `show` and `faults` print: for people, for programs, and for no terminal to obey.

use std::collections::BTreeMap;

use camino::Utf8Path;
use expect_test::expect;
use serde_json::{Value, json};
use xtask::dvo::Shape;

use super::shown::{queue, shown};
use super::world::World;

/// Five copies, nothing of them sent over a network: 1 full, 2 with fault 201 and 4 new, at localhost; 3 and 5
/// new, of other groups, to another host; 5 is parked.
fn mixed() -> World {
    let world = World::new();
    world.prepare("localhost", 2);
    std::fs::remove_file(world.source("ThreePi.2").join("Images.dat")).unwrap();
    world.run(&["run"]).expect(1);
    world.import(&[
        (3, "ThreePi", Utf8Path::new("/data/ThreePi.3")),
        (4, "Other", Utf8Path::new("/data/Other.4")),
    ]);
    world.ok(&["target", "add", "Other", "ipp022", "/data/other"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.import(&[(5, "Gone", Utf8Path::new("/data/Gone.5"))]);
    world.ok(&["target", "add", "Gone", "ipp022", "/data/gone"]);
    world.ok(&["run"]);
    world.ok(&["target", "del", "ipp022", "Gone"]);
    world
}

/// The text with its folder, times and sizes, which are not always the same, replaced; and so with no more
/// than two blanks between columns.
fn steady(world: &World, text: &str) -> String {
    let word = |word: &str| {
        let is_number = word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if is_number { "#.##".to_owned() } else { word.to_owned() }
    };
    let mut steady: String =
        shown(world, text).split(' ').map(word).collect::<Vec<_>>().join(" ").replace("   ", "  ");
    while steady.contains("   ") {
        steady = steady.replace("   ", "  ");
    }
    steady
}

fn ids(world: &World, words: &[&str]) -> Vec<u64> {
    let words = [&["list", "--format", "json"], words].concat();
    let copies = world.ok(&words).json();
    copies.as_array().unwrap().iter().map(|copy| copy["minidvodbcopy_id"].as_u64().unwrap()).collect()
}

#[test]
fn filters_of_a_list_are_joined_by_and() {
    let world = mixed();
    let which = |words: &[&str]| ids(&world, words);
    assert_eq!(which(&[]), [1, 2, 3, 4, 5]);
    assert_eq!(which(&["--host", "localhost"]), [1, 2, 4]);
    assert_eq!(which(&["--host", "ipp"]), [0; 0]);
    assert_eq!(which(&["--group", "ThreePi"]), [1, 2, 4]);
    assert_eq!(which(&["--group", "Gone"]), [5]);
    assert_eq!(which(&["--state", "full"]), [1]);
    assert_eq!(which(&["--state", "new"]), [2, 3, 4, 5]);
    assert_eq!(which(&["--pending"]), [2, 3, 4, 5]);
    assert_eq!(which(&["--faulted"]), [2]);
    assert_eq!(which(&["--id", "4"]), [4]);
    assert_eq!(which(&["--id", "99"]), [0; 0]);
    assert_eq!(which(&["--id", "4", "--state", "full"]), [0; 0]);
    assert_eq!(which(&["--limit", "2"]), [1, 2]);
    assert_eq!(which(&["--limit", "0"]), [0; 0]);
    assert_eq!(which(&["--limit", "99"]), [1, 2, 3, 4, 5]);
    assert_eq!(which(&["--host", "localhost", "--pending", "--limit", "1"]), [2]);
    assert_eq!(which(&["--pending", "--group", "ThreePi", "--faulted"]), [2]);
    assert_eq!(which(&["--state", "full", "--pending"]), [0; 0]);
}

#[test]
fn the_few_that_are_not_full_are_found_among_many() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp0222", 40);
    let set = |words: &[&str]| world.ok(&[&["minidvodbtool", "-updateminidvodbcopy"], words].concat());
    set(&["-state", "new", "-set_state", "full"]);
    assert_eq!(ids(&world, &["--pending"]), [0u64; 0]);
    for id in ["33", "7", "21"] {
        world.ok(&["update", "--id", id, "--set-state", "new", "--set-fault", "201"]);
    }
    world.ok(&["update", "--id", "21", "--set-fault", "0"]);
    for filter in [&["--pending"][..], &["--state", "new"], &["--pending", "--host", "ipp0222"]] {
        assert_eq!(ids(&world, filter), [7, 21, 33], "{filter:?}");
    }
    assert_eq!(ids(&world, &["--pending", "--limit", "2"]), [7, 21]);
    assert_eq!(ids(&world, &["--pending", "--host", "ipp022"]), [0u64; 0]);
    assert_eq!(ids(&world, &["--faulted"]), [7, 33]);
    // What an audit has found is shown by copies that are full.
    world.ok(&["update", "--id", "9", "--set-fault", "251"]);
    assert_eq!(ids(&world, &["--faulted"]), [7, 9, 33]);
    let reverted = world.ok(&["revert", "--fault", "201"]);
    assert_eq!(reverted.stdout.matches("cleared 201").count(), 2, "{}", reverted.stdout);
    assert_eq!(ids(&world, &["--faulted"]), [9]);
    set(&["-state", "new", "-set_state", "full"]);
    assert_eq!(ids(&world, &["--pending"]), [0u64; 0]);
    assert_eq!(ids(&world, &["--state", "full"]).len(), 40);
}

#[test]
fn a_limit_of_0_limits_a_single_copy_too() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    assert_eq!(ids(&world, &["--id", "1", "--limit", "0"]), [0; 0]);
}

#[test]
fn the_same_filters_hold_for_every_format() {
    let world = mixed();
    for words in
        [&["--pending"][..], &["--host", "ipp022"], &["--limit", "2"], &["--faulted"], &["--id", "99"]]
    {
        let wanted = ids(&world, words).len();
        for format in ["table", "csv"] {
            let lines = world.ok(&[&["list", "--format", format], words].concat()).stdout.lines().count();
            assert_eq!(lines, wanted + 1, "a header, and a line for each: {words:?} as {format}");
        }
    }
}

#[test]
fn a_list_as_a_table() {
    let world = mixed();
    let text = steady(&world, &world.ok(&["list"]).stdout);
    expect![[r#"
        ID  MINIDVODB  GROUP  HOST  PATH  STATE  FAULT  SIZE  TIME (S)  EPOCH (UTC)  NOTES
         1  ThreePi.1  ThreePi  localhost  ROOT/there  full  -  #.## KiB  #.##  TIME  verified: checksum
         2  ThreePi.2  ThreePi  localhost  ROOT/there  new  201 source-missing  -  #.##  TIME  person, 1 attempt
         3  Other.4  Other  ipp022  /data/other  new  -  -  #.##  TIME
         4  ThreePi.3  ThreePi  localhost  ROOT/there  new  -  -  #.##  TIME
         5  Gone.5  Gone  ipp022  /data/gone  new  -  -  #.##  TIME  parked: no target
    "#]].assert_eq(&text);
}

#[test]
fn a_list_as_csv() {
    let world = mixed();
    let text = world.ok(&["list", "--format", "csv"]).stdout;
    assert_eq!(
        text.lines().next(),
        Some("minidvodbcopy_id,minidvodb_id,minidvodb_rsync_path,destination_host,fault,state,epoch,dtime")
    );
    // The time that the two attempts took stands last.
    let without_dtime: String =
        shown(&world, &text).lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned() + "\n").collect();
    expect![[r#"
        minidvodbcopy_id,minidvodb_id,minidvodb_rsync_path,destination_host,fault,state,epoch
        1,1,ROOT/there,localhost,0,full,TIME
        2,2,ROOT/there,localhost,201,new,TIME
        3,4,/data/other,ipp022,0,new,TIME
        4,3,ROOT/there,localhost,0,new,TIME
        5,5,/data/gone,ipp022,0,new,TIME
    "#]]
    .assert_eq(&without_dtime);
    assert!(text.lines().skip(3).all(|line| line.ends_with(",0")), "dtime of what was not begun: {text}");
}

#[test]
fn csv_quotes_what_must_be_quoted() {
    let world = World::new();
    world.import(&[(1, "G", Utf8Path::new("/data/G.1"))]);
    world.ok(&["target", "add", "G", "ipp022", "/data/a, \"b\" é"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    let text = shown(&world, &world.ok(&["list", "--format", "csv"]).stdout);
    assert_eq!(text.lines().nth(1), Some("1,1,\"/data/a, \"\"b\"\" é\",ipp022,0,new,TIME,0"));
}

/// The keys of a JSON object as they stand in the text.
fn keys_in_order(object: &str) -> Vec<String> {
    let value: serde_json::Map<String, Value> = serde_json::from_str(object).unwrap();
    let mut keys: Vec<String> = value.keys().cloned().collect();
    keys.sort_by_key(|key| object.find(&format!("\"{key}\":")).unwrap());
    keys
}

#[test]
fn the_keys_of_json_stand_in_the_documented_order() {
    let world = mixed();
    let text = world.ok(&["list", "--format", "json"]).stdout;
    let objects: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  {"))
        .map(|line| line.trim().trim_end_matches(','))
        .collect();
    assert_eq!(objects.len(), 5);
    for object in objects {
        assert_eq!(
            keys_in_order(object),
            [
                "minidvodbcopy_id",
                "minidvodb_id",
                "minidvodb_rsync_path",
                "destination_host",
                "fault",
                "state",
                "epoch",
                "dtime",
                "minidvodb_name",
                "minidvodb_group",
                "minidvodb_path",
                "machine",
                "fault_name",
                "fault_class",
                "verified",
                "parked",
                "attempts",
                "next_try",
                "bytes",
                "files",
            ]
        );
    }
}

#[test]
fn a_list_as_json() {
    let world = mixed();
    let mut copies = world.list();
    for copy in &mut copies {
        let epoch = copy["epoch"].as_str().unwrap();
        assert!(epoch.contains('T') && shown(&world, epoch) == "TIME", "RFC 3339 in UTC: {copy}");
        copy["epoch"] = json!("TIME");
    }
    let full = &mut copies[0];
    assert!(full["dtime"].as_f64().unwrap() > 0.0);
    full["dtime"] = json!("SECONDS");
    assert_eq!(
        copies[0],
        json!({
            "minidvodbcopy_id": 1, "minidvodb_id": 1, "minidvodb_rsync_path": world.there().as_str(),
            "destination_host": "localhost", "fault": 0, "state": "full", "epoch": "TIME", "dtime": "SECONDS",
            "minidvodb_name": "ThreePi.1", "minidvodb_group": "ThreePi", "minidvodb_path": world.source("ThreePi.1").as_str(),
            "machine": "localhost", "fault_name": null, "fault_class": null, "verified": "checksum",
            "parked": false, "attempts": 1, "next_try": null,
            "bytes": size_of(&world.source("ThreePi.1")).0, "files": size_of(&world.source("ThreePi.1")).1,
        })
    );
    let faulted = &copies[1];
    assert_eq!(
        [
            &faulted["fault"],
            &faulted["fault_name"],
            &faulted["fault_class"],
            &faulted["next_try"],
            &faulted["verified"]
        ],
        [&json!(201), &json!("source-missing"), &json!("person"), &Value::Null, &Value::Null]
    );
    assert_eq!(
        copies[4],
        json!({
            "minidvodbcopy_id": 5, "minidvodb_id": 5, "minidvodb_rsync_path": "/data/gone",
            "destination_host": "ipp022", "fault": 0, "state": "new", "epoch": "TIME", "dtime": 0.0,
            "minidvodb_name": "Gone.5", "minidvodb_group": "Gone", "minidvodb_path": "/data/Gone.5",
            "machine": "ipp022", "fault_name": null, "fault_class": null, "verified": null,
            "parked": true, "attempts": 0, "next_try": null, "bytes": null, "files": null,
        })
    );
}

/// Bytes and number of the regular files below a folder.
fn size_of(folder: &Utf8Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0, 0);
    for entry in folder.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        let (more_bytes, more_files) = match entry.file_type().unwrap().is_dir() {
            true => size_of(entry.path()),
            false => (entry.metadata().unwrap().len(), 1),
        };
        bytes += more_bytes;
        files += more_files;
    }
    (bytes, files)
}

#[test]
fn a_long_list_has_one_header_and_straight_columns() {
    let world = World::new();
    let count = 10_002;
    queue(&world, "ThreePi", "ipp022", count);
    assert_eq!(ids(&world, &[]), (1..=count).collect::<Vec<_>>());
    let text = world.ok(&["list"]).stdout;
    assert_eq!(text.lines().count() as u64, count + 1);
    assert_eq!(text.matches("EPOCH").count(), 1);
    let csv = world.ok(&["list", "--format", "csv"]).stdout;
    assert_eq!((csv.lines().count() as u64, csv.matches("epoch").count()), (count + 1, 1));
    assert_eq!(ids(&world, &["--limit", "10001"]).len(), 10_001);
    assert_eq!(ids(&world, &["--limit", "10000"]).len(), 10_000);
    let places: std::collections::BTreeSet<_> =
        text.lines().skip(1).map(|line| line.find("ipp022")).collect();
    assert_eq!(places.len(), 1, "the columns of all rows stand under each other");
}

#[test]
fn a_name_that_is_not_known_is_null() {
    let world = World::new();
    world
        .import_text(
            "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n1,,G,/data/G.1,merged\n",
        )
        .expect(0);
    world.ok(&["target", "add", "G", "ipp022", "/data/there"]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    assert_eq!(world.copy(1)["minidvodb_name"], Value::Null);
}

#[test]
fn a_copy_is_shown_with_its_attempts_and_what_they_said() {
    let world = mixed();
    let show = |id: &str| steady(&world, &world.ok(&["show", id]).stdout);
    expect![[r#"
        copy  1
        minidvodb  1 ThreePi.1 (ThreePi)
        source  ROOT/source/ThreePi.1
        destination  localhost:ROOT/there/ThreePi.1
        machine  localhost
        state  full, verified by checksum
        size  #.## KiB in 19 files
        epoch  TIME UTC
        dtime  #.## s
        manifest  ROOT/state/manifests/1.tsv.gz
        attempts  1
          1  TIME UTC  #.## s  #.## KiB sent  full
    "#]]
    .assert_eq(&show("1"));
    expect![[r#"
        copy  2
        minidvodb  2 ThreePi.2 (ThreePi)
        source  ROOT/source/ThreePi.2
        destination  localhost:ROOT/there/ThreePi.2
        machine  localhost
        state  new
        fault  201 source-missing, class person
        advice  look for the minidvodb on this machine; if it has moved, import the list again with its new path, then revert the copy
        epoch  TIME UTC
        dtime  #.## s
        attempts  1
          1  TIME UTC  #.## s  0 B sent  fault 201 source-missing while connecting
          | the source ROOT/source/ThreePi.2 holds no Images.dat, so it is no DVO database
    "#]].assert_eq(&show("2"));
    expect![[r#"
        copy  5
        minidvodb  5 Gone.5 (Gone)
        source  /data/Gone.5
        destination  ipp022:/data/gone/Gone.5
        machine  ipp022
        state  new, parked: it has no target
        epoch  TIME UTC
        dtime  0 s
        attempts  0
    "#]]
    .assert_eq(&show("5"));
    let unknown = world.run(&["show", "6"]).expect(2);
    expect![[r#"
        minidvodbcopy: there is no copy 6
          hint: `minidvodbcopy list` lists them
    "#]]
    .assert_eq(&unknown.stderr);
}

#[test]
fn every_attempt_of_a_copy_is_shown() {
    let world = mixed();
    world.ok(&["stage", "on"]);
    world.ok(&["revert", "--id", "2"]);
    world.run(&["run", "--host", "localhost", "--limit", "1"]).expect(1);
    let text = world.ok(&["show", "2"]).stdout;
    assert!(text.contains("attempts      2\n"), "{text}");
    assert_eq!(text.matches("fault 201 source-missing while").count(), 2, "{text}");
}

/// The table of the contract, as it stands there.
const FAULTS: &str = "
201 | source-missing | person | copy
202 | source-unreadable | person | copy
203 | source-changed | retry | copy
204 | source-outside | person | copy
211 | host-unreachable | retry | host
212 | host-refused | person | host
213 | host-key | person | host
214 | host-tools | configuration | host
221 | path-missing | person | target
222 | path-denied | person | target
223 | over-limit | retry | target
224 | no-room | retry | copy
225 | path-taken | person | copy
226 | name-collision | person | copy
227 | filesystem-changed | person | target
231 | verify-mismatch | retry | copy
241 | deadline | retry | copy
242 | stalled | retry | copy
251 | missing-there | person | copy
252 | differs-there | person | copy
";

#[test]
fn the_table_of_faults_is_the_one_of_the_contract() {
    let world = World::new();
    let text = world.ok(&["faults"]).stdout;
    let mut rows: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(rows.insert(words[0].parse().unwrap(), words[1..4].to_vec()).is_none(), "{line}");
        assert!(words.len() > 5, "when it is met: {line}");
    }
    let mut own = 0;
    for line in FAULTS.trim().lines() {
        let row: Vec<&str> = line.split(" | ").collect();
        assert_eq!(rows[&row[0].parse().unwrap()], row[1..], "{line}");
        own += 1;
    }
    assert_eq!(rows.range(200..=254).count(), own, "no code of its own that the contract does not know");
    for (code, row) in rows.iter().filter(|(code, _)| !(200..=254).contains(*code)) {
        assert!((1..=35).contains(code) || (124..=127).contains(code) || *code == 255, "{code}");
        assert_eq!(row[1..], ["person", "copy"], "{code}");
    }
    for code in [1, 10, 11, 12, 20, 23, 24, 25, 30, 35, 124, 125, 126, 127, 255] {
        assert!(rows.contains_key(&code), "{code}");
    }
    assert!(rows.keys().is_sorted());
    assert!(!world.state().exists(), "the table of faults needs no ledger");
}

#[test]
fn every_fault_is_explained_by_its_code_and_by_its_name() {
    let world = World::new();
    for line in FAULTS.trim().lines() {
        let row: Vec<&str> = line.split(" | ").collect();
        let by_code = world.ok(&["faults", row[0]]).stdout;
        assert_eq!(world.ok(&["faults", row[1]]).stdout, by_code);
        assert!(
            by_code.starts_with(&format!("fault   {} {}\nclass   {}", row[0], row[1], row[2])),
            "{by_code}"
        );
        assert!(by_code.contains(&format!("of      a {}", row[3])), "{by_code}");
        assert!(by_code.contains("advice  "), "{by_code}");
    }
}

#[test]
fn some_faults_explained() {
    let world = World::new();
    let explain = |fault: &str| world.ok(&["faults", fault]).stdout;
    expect![[r#"
        fault   225 path-taken
        class   person (waits for an operator's revert)
        of      a copy
        when    PATH/NAME is there, and this ledger did not put it there
        advice  look at what is there; `minidvodbcopy revert --id ID --adopt` lets the next attempt complete and verify it; or move it away, then revert the copy
    "#]]
    .assert_eq(&explain("225"));
    expect![[r#"
        fault   221 path-missing
        class   person (an operator is asked to act; looked at again by itself)
        of      a target
        when    the target's path is not there; it is never created
        advice  mount the disk or make the folder at the host, or correct the path with `minidvodbcopy target add`; the next probe then goes on by itself
    "#]].assert_eq(&explain("path-missing"));
    expect![[r#"
        fault   227 filesystem-changed
        class   person (waits to be accepted by an operator)
        of      a target
        when    the target's path now lies on another file system than before
        advice  mount the right disk at the host; then, or if the change was meant, accept what is there by typing `minidvodbcopy target add` again
    "#]].assert_eq(&explain("227"));
    expect![[r#"
        fault   231 verify-mismatch
        class   retry (tried again by itself)
        of      a copy
        when    what arrived differs from the source
        advice  find out what damages files on the way or on the host's disk before anything else is trusted to it, then revert the copy
    "#]].assert_eq(&explain("231"));
    expect![[r#"
        fault   23 rsync-23
        class   person (waits for an operator's revert)
        of      a copy
        when    rsync: partial transfer due to error
        advice  read what rsync and ssh said with `minidvodbcopy show ID`, mend the cause, then revert the copy
    "#]].assert_eq(&explain("23"));
    expect![[r#"
        fault   99 unknown
        class   person (waits for an operator's revert)
        of      a copy
        when    a code that this program does not know
        advice  read what rsync and ssh said with `minidvodbcopy show ID`, mend the cause, then revert the copy
    "#]].assert_eq(&explain("99"));
    expect![[r#"
        minidvodbcopy: '0' is no fault's code or name
          hint: `minidvodbcopy help faults` shows what can be typed
    "#]]
    .assert_eq(&world.run(&["faults", "0"]).expect(2).stderr);
    expect![[r#"
        minidvodbcopy: 'path taken' is no fault's code or name
          hint: `minidvodbcopy help faults` shows what can be typed
    "#]]
    .assert_eq(&world.run(&["faults", "path taken"]).expect(2).stderr);
}

/// Fails where anything that a terminal obeys is in the text.
#[track_caller]
fn assert_is_tame(text: &str) {
    let wild: Vec<char> =
        text.chars().filter(|&c| c != '\n' && (c.is_control() || c == '\u{202e}')).collect();
    assert!(wild.is_empty(), "{wild:?} in {text:?}");
}

#[test]
fn what_was_typed_or_read_never_moves_the_cursor() {
    let world = World::new();
    let evil = "a\u{1b}]0;owned\u{7}\u{1b}[2Jb\r\u{9b}31mc\u{202e}d";
    world.ok(&["stage", "on"]);
    for words in [
        &["host", "add", evil][..],
        &["target", "add", evil, "ipp022", "/data"],
        &["target", "add", "G", "ipp022", evil],
        &["target", "add", "G", "ipp022", "/data", "--bwlimit", evil],
        &["list", "--state", evil],
        &["list", "--limit", evil],
        &["list", evil],
        &[evil],
        &["help", evil],
        &["faults", evil],
        &["show", evil],
        &["minidvodb", "import", evil],
        &["ledger", "restore", evil],
        &["ledger", "backup", "/nowhere/\u{1b}[2J"],
        &["--state-dir", "/dev/null/\u{1b}[2J", "stage", "on"],
    ] {
        let ran = world.run(words);
        assert_ne!(ran.code, 0, "{words:?}");
        assert_is_tame(&ran.stdout);
        assert_is_tame(&ran.stderr);
    }
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state";
    for list in [
        format!("{header}\n1,{evil},G,/data/a,merged\n"),
        format!("{header}\n{evil},a,G,/data/a,merged\n"),
        format!("{header}\n1,a,{evil},/data/a,merged\n"),
        format!("{header}\n1,a,G,/data/{evil},merged\n"),
        format!("{header}\n1,a,G,/data/a,{evil}\n"),
        format!("{header},fault\n1,a,G,/data/a,merged,{evil}\n"),
        format!("{header},state{evil}\n{evil}"),
        format!("{evil}\n"),
    ] {
        let ran = world.import_text(&list).expect(2);
        assert_is_tame(&ran.stderr);
    }
}

#[test]
fn a_backup_with_control_characters_in_its_name_is_shown_escaped() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let file = world.root.join("back\u{1b}[2Jup");
    let ran = world.ok(&["ledger", "backup", file.as_str()]);
    assert_is_tame(&ran.stdout);
    let ran = world.ok(&["ledger", "restore", file.as_str()]);
    assert_is_tame(&ran.stdout);
}

#[test]
fn names_that_reverse_the_text_are_shown_escaped() {
    let world = World::new();
    let name = "x\u{202e}gpj.exe";
    world
        .import_text(&format!(
            "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n1,{name},G,/data/G.1,merged\n"
        ))
        .expect(0);
    let text = world.ok(&["minidvodb", "list"]).stdout;
    assert!(text.contains(r"x\u{202e}gpj.exe"), "{text}");
    assert_is_tame(&text);
}

#[test]
fn what_rsync_says_is_shown_without_its_control_characters() {
    let world = World::new();
    let folder = world.make("ThreePi.1", Shape::tiny());
    // Names that clear a terminal: whatever is said of them is escaped.
    let wild = folder.join("n\u{1b}[2J\u{9b}x");
    std::os::unix::fs::symlink("/nowhere/\u{1b}[2J", &wild).unwrap();
    std::fs::remove_file(folder.join("Images.dat")).unwrap();
    world.import(&[(1, "ThreePi", &folder)]);
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    let ran = world.run(&["run", "-v"]).expect(1);
    assert_is_tame(&ran.stderr);
    assert_is_tame(&world.ok(&["show", "1"]).stdout);
    assert_is_tame(&world.ok(&["list"]).stdout);
}

#[test]
fn the_operators_log_is_shown_as_json() {
    let mut world = World::new();
    assert_eq!(world.ok(&["log", "show", "--json"]).json(), json!([]));
    world.set("LOGNAME", "ipp");
    let wild = "disk \"a\"\nis new \u{1b}[2J";
    world.ok(&["log", "add", "first"]);
    world.ok(&["log", "add", wild]);
    let entries = world.ok(&["log", "show", "--json"]).json();
    let keys: Vec<&String> = entries[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["at", "minidvodbcopy_id", "text", "who"]);
    assert_eq!((&entries[0]["text"], &entries[1]["text"]), (&json!("first"), &json!(wild)));
    assert_eq!((&entries[1]["who"], &entries[1]["minidvodbcopy_id"]), (&json!("ipp"), &json!(null)));
    let at = entries[1]["at"].as_str().unwrap();
    assert!(at.len() == 20 && at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    assert_eq!(world.ok(&["log", "show", "--json", "-n", "1"]).json(), json!([entries[1]]));
}
