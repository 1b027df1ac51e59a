//! Ledgers that were written by the programs of every earlier schema, kept in testdata/ledgers.

use std::fs;
use std::process::Command;

use super::world::{World, names_in};

/// A world with a ledger of testdata; says its bytes.
#[track_caller]
fn world_with(name: &str) -> (World, Vec<u8>) {
    let world = World::new();
    let packed = format!("{}/testdata/ledgers/{name}.redb.gz", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("zcat").arg(packed).output().unwrap();
    assert!(output.status.success());
    fs::create_dir(world.state()).unwrap();
    fs::write(world.state().join("ledger.redb"), &output.stdout).unwrap();
    (world, output.stdout)
}

/// All were made the same way: four minidvodbs, the first full, two with faults, one not begun.
#[track_caller]
fn expect_rows(world: &World, standings: [&str; 4]) {
    for (id, standing) in (1..).zip(standings) {
        assert_eq!(world.standing(id), standing);
        let copy = world.copy(id);
        assert_eq!(copy["minidvodb_id"], id);
        assert_eq!(copy["destination_host"], "localhost");
        assert_eq!(copy["machine"], "ipp022");
        assert_eq!(copy["minidvodb_rsync_path"], "/data/ipp022.0/ThreePi");
        assert_eq!(copy["minidvodb_path"], format!("/data/ipp004.0/minidvodbs/ThreePi.{id}"));
    }
    assert_eq!(world.list().len(), 4);
    assert_eq!(world.copy(1)["verified"], "checksum");
    assert!(world.ok(&["show", "1"]).stdout.contains("full"));
    world.ok(&["ledger", "check"]);
}

/// How the second copy stands: from schema 3 on it could be reverted so that it adopts what is there.
fn second_of(name: &str) -> &'static str {
    if matches!(name, "schema-1" | "schema-2") { "new 225" } else { "new 0" }
}

/// The ledger is backed up byte for byte before it is brought up to date, whoever opens it first.
#[track_caller]
fn check_older(name: &str, first: &[&str]) -> World {
    let (world, bytes) = world_with(name);
    world.ok(first);
    let backup = world.state().join("backup");
    let kept = names_in(&backup).into_iter().find(|name| name.contains("before-schema-5")).unwrap();
    assert_eq!(fs::read(backup.join(kept)).unwrap(), bytes, "{name} is kept as it was");
    expect_rows(&world, ["full 0", second_of(name), "new 201", "new 0"]);
    // What is new can be done with it, and that lasts.
    world.ok(&["source", "add", world.root.as_str()]);
    world.ok(&["log", "add", "brought up to date"]);
    world.ok(&["revert", "--id", "2", "--adopt"]);
    expect_rows(&world, ["full 0", "new 0", "new 201", "new 0"]);
    world
}

#[test]
fn a_ledger_of_each_earlier_schema_is_kept_and_gone_on_with() {
    for name in ["schema-1", "schema-2", "schema-3", "schema-4"] {
        for first in [&["list"][..], &["stage", "on"], &["ledger", "check"]] {
            check_older(name, first);
        }
    }
}

#[test]
fn a_backup_of_an_earlier_schema_is_restored_and_brought_up_to_date() {
    for name in ["schema-1", "schema-2", "schema-3", "schema-4"] {
        let (from, _) = world_with(name);
        let world = World::new();
        world.ok(&["stage", "off"]);
        world.ok(&["ledger", "restore", from.state().join("ledger.redb").as_str()]);
        expect_rows(&world, ["full 0", second_of(name), "new 201", "new 0"]);
    }
}

#[test]
fn a_ledger_of_the_present_schema_is_what_it_was() {
    let (world, bytes) = world_with("schema-5");
    expect_rows(&world, ["full 0", "new 0", "new 201", "new 0"]);
    assert_eq!(fs::read(world.state().join("ledger.redb")).unwrap(), bytes, "looking at it changes nothing");
    assert_eq!(world.ok(&["source", "show"]).stdout, "/data/ipp004.0\n");
    assert!(world.ok(&["log", "show"]).stdout.contains("the operators' own words"));
}
