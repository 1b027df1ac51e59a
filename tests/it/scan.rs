//! `minidvodb import --scan`: databases that are found by looking.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use xtask::dvo::Shape;

use super::ipp::{Ipp, connect};
use super::world::World;

const DRY: [&str; 1] = ["--dry-run"];

fn scan(world: &World, further: &[&str]) -> super::world::Ran {
    let source = world.root.join("source");
    world.run(&[&["minidvodb", "import", "--scan", source.as_str(), "--group", "ThreePi"], further].concat())
}

/// (id, path) of every minidvodb.
fn known(world: &World) -> Vec<(String, String)> {
    let listed = world.ok(&["minidvodb", "list"]).stdout;
    let lines = listed.lines().skip(1);
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0].to_owned(), words[3].to_owned())
        })
        .collect()
}

#[test]
fn what_is_found_is_previewed_taken_in_and_copied() {
    let world = World::new();
    world.make("a/ThreePi.2", Shape::tiny());
    world.make("ThreePi.1", Shape::tiny());
    let preview = scan(&world, &DRY).expect(0);
    assert_eq!(preview.stdout.lines().count(), 2, "{}", preview.stdout);
    assert!(preview.stdout.contains("would be taken in as minidvodb 1 of ThreePi"), "{}", preview.stdout);
    assert!(!world.state().exists(), "a preview makes nothing");
    let taken = scan(&world, &[]).expect(0);
    assert_eq!(taken.stdout, preview.stdout.replace("would be taken in", "taken in"));
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2"]);
    world.expect_arrived("ThreePi.1");
}

#[test]
fn known_ones_keep_their_ids_and_new_ones_get_the_next() {
    let world = World::new();
    let old = world.make("ThreePi.b", Shape::tiny());
    world.import(&[(17, "ThreePi", &old)]);
    let new = world.make("ThreePi.a", Shape::tiny());
    scan(&world, &[]).expect(0);
    assert_eq!(known(&world), [("17".to_owned(), old.to_string()), ("18".to_owned(), new.to_string())]);
    assert_eq!(scan(&world, &[]).expect(0).stdout, "", "nothing is new");
}

#[test]
fn new_ids_follow_those_of_copies() {
    let world = World::new();
    world.prepare("localhost", 3);
    world.ok(&["run"]).is_silent();
    let new = world.make("more/ThreePi.9", Shape::tiny());
    scan(&world, &[]).expect(0);
    assert_eq!(known(&world).last().unwrap(), &("4".to_owned(), new.to_string()));
}

#[test]
fn symlinks_hidden_folders_and_what_lies_in_a_database_are_not_looked_into() {
    let world = World::new();
    let real = world.make("ThreePi.1", Shape::tiny());
    world.make("ThreePi.1/deeper/ThreePi.x", Shape::tiny());
    world.make(".minidvodbcopy/0123/ThreePi.2", Shape::tiny());
    let elsewhere = world.root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("Images.dat"), "x").unwrap();
    symlink(&elsewhere, world.source("linked")).unwrap();
    // What this scan finds anyway, or has nothing, is not named.
    symlink(&real, world.source("again")).unwrap();
    symlink(world.there(), world.source("empty")).unwrap();
    symlink("nowhere", world.source("dangling")).unwrap();
    fs::create_dir(world.source("pretends")).unwrap();
    symlink(real.join("Images.dat"), world.source("pretends").join("Images.dat")).unwrap();
    fs::create_dir_all(world.source("folder/Images.dat")).unwrap();
    let ran = scan(&world, &DRY).expect(1);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    assert!(ran.stdout.starts_with(real.as_str()), "{}", ran.stdout);
    let link = world.source("linked");
    let named = format!("passed over: '{link}' is a symlink to a database: name it in a list");
    assert!(ran.stderr.contains(&named), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("passed over").count(), 1, "{}", ran.stderr);
    // Named in a list it is known, and no scan speaks of it again.
    world.import(&[(7, "ThreePi", &link)]);
    assert_eq!(scan(&world, &DRY).expect(0).stderr, "");
}

#[test]
fn names_that_no_table_holds_are_passed_over_by_name_and_the_rest_is_taken_in() {
    let world = World::new();
    world.make("ThreePi.1", Shape::tiny());
    world.make("it's $(id)", Shape::tiny());
    let long = "l".repeat(200);
    let deep = world.source(&format!("{long}/{long}"));
    let bytes = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(
        &[world.source("").as_str().as_bytes(), b"caf\xe9"].concat(),
    ));
    let japanese = world.source("\u{65e5}\u{672c}");
    let control = world.source("a\u{1b}[2Jb");
    for folder in [deep.as_std_path(), bytes.as_path(), japanese.as_std_path(), control.as_std_path()] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("Images.dat"), "x").unwrap();
    }
    let ran = scan(&world, &[]).expect(1);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    assert_eq!(ran.stderr.matches("passed over: ").count(), 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("caf") && ran.stderr.contains("UTF-8") && ran.stderr.contains("latin1"));
    assert!(!ran.stderr.contains('\u{1b}'));
    assert_eq!(known(&world).len(), 2);
}

#[test]
fn one_that_is_known_in_another_group_stays_there() {
    let world = World::new();
    let folder = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(5, "SAS", &folder)]);
    let ran = scan(&world, &[]).expect(1);
    assert!(ran.stderr.contains("minidvodb 5 of the group SAS: scan with --group SAS"), "{}", ran.stderr);
    assert!(world.ok(&["minidvodb", "list"]).stdout.contains("SAS"));
}

#[test]
fn where_a_database_gives_the_ids_a_folder_gives_none() {
    let world = World::new();
    world.make("ThreePi.1", Shape::tiny());
    connect(&world, "mysql://ipp@ippdb01/gpc1");
    for further in [&DRY[..], &[]] {
        let ran = scan(&world, further).expect(2);
        assert!(
            ran.stderr.contains("mysql://ipp@ippdb01/gpc1") && ran.stderr.contains("import FILE"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(world.ok(&["minidvodb", "list"]).stdout, "");
}

#[test]
fn where_a_scan_has_given_ids_no_database_can_be_set() {
    let world = World::new();
    world.make("ThreePi.1", Shape::tiny());
    scan(&world, &[]).expect(0);
    let ipp = Ipp::shared();
    let ran = world.run(&["database", "set", &ipp.url()]).expect(2);
    assert!(ran.stderr.contains("--scan") && ran.stderr.contains("--state-dir"), "{}", ran.stderr);
    world.run(&["sync"]).expect(78);
}

#[test]
fn what_does_not_go_together_is_said() {
    let world = World::new();
    fs::write(world.root.join("file"), "").unwrap();
    for (words, says) in [
        (&["--group", "G"][..], "--scan DIR"),
        (&["--scan", "source"], "--group"),
        (&["x.csv", "--scan", "source", "--group", "G"], "cannot go together"),
        (&["x.csv", "--dry-run"], "--scan"),
        (&["x.csv", "--group", "G"], "--scan"),
        (&["--scan", "no/such", "--group", "G"], "cannot look into"),
        (&["--scan", "no/such", "--group", "G"], "hint: name a folder on this machine"),
        (
            &["--scan", "file", "--group", "G"],
            "file: it is not a folder\n  hint: name a folder on this machine",
        ),
        (&["--scan", "", "--group", "G"], "no folder"),
    ] {
        world.run(&[&["minidvodb", "import"], words].concat()).expect(2).says(says);
    }
    world
        .ok(&["minidvodb", "import", "--scan", "source", "--group", "G"])
        .says("no folder with an Images.dat");
    assert!(!world.state().exists());
}

#[test]
fn a_tree_that_is_known_by_another_path_is_not_taken_in_again() {
    let world = World::new();
    world.make("ThreePi.1", Shape::tiny());
    scan(&world, &[]).expect(0);
    let link = world.root.join("link");
    symlink(world.root.join("source"), &link).unwrap();
    let again = ["minidvodb", "import", "--scan", link.as_str(), "--group", "ThreePi"];
    assert_eq!(world.ok(&again).stdout, "");
    assert_eq!(known(&world).len(), 1);
    world
        .run(&["minidvodb", "import", "--scan", link.as_str(), "--group", "Other"])
        .expect(1)
        .says("known as");
}

#[test]
fn copies_on_this_machine_are_not_taken_for_minidvodbs() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["run"]).is_silent();
    let all = ["minidvodb", "import", "--scan", world.root.as_str(), "--group", "ThreePi"];
    world.run(&all).expect(1).says("is where copies go to on this machine").says("scan another folder");
    assert_eq!(known(&world).len(), 1);
}
