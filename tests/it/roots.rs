//! The folders that minidvodbs may be copied from: `source add`, `source del`, `source show`, fault 204.

use std::fs;
use std::os::unix::fs::symlink;

use xtask::dvo::Shape;

use super::world::World;

/// A minidvodb outside the folder `source`, where lists and databases have no business to lead to.
fn with_one_outside() -> World {
    let world = World::new();
    world.prepare("localhost", 1);
    fs::rename(world.make("Private.2", Shape::tiny()), world.root.join("Private.2")).unwrap();
    world.import(&[(2, "ThreePi", &world.root.join("Private.2"))]);
    world
}

#[test]
fn while_no_folder_is_named_everything_may_be_copied() {
    let world = with_one_outside();
    world.ok(&["source", "show"]).says("anywhere");
    world.ok(&["run"]);
    assert_eq!(world.names_there(), ["Private.2", "ThreePi.1"]);
}

#[test]
fn once_a_folder_is_named_what_lies_elsewhere_is_refused_by_name() {
    let world = with_one_outside();
    world.ok(&["source", "add", world.root.join("source").as_str()]);
    let preview = world.run(&["run", "--dry-run"]).expect(0).stdout;
    assert!(preview.contains("204 source-outside"), "{preview}");
    world.run(&["run"]).expect(1).says("204 source-outside").says("Private.2");
    assert_eq!((world.standing(1), world.standing(2)), ("full 0".into(), "new 204".into()));
    assert_eq!(world.names_there(), ["ThreePi.1"]);
    world.ok(&["source", "add", world.root.as_str()]);
    world.ok(&["revert", "--fault", "source-outside"]);
    world.ok(&["run"]);
    assert_eq!(world.standing(2), "full 0");
}

#[test]
fn a_symlink_under_a_named_folder_is_judged_by_where_it_leads() {
    let world = with_one_outside();
    let (link, outside) = (world.source("ThreePi.3"), world.root.join("Private.2"));
    symlink(&outside, &link).unwrap();
    world.import(&[(3, "ThreePi", &link)]);
    world.ok(&["source", "add", world.root.join("source").as_str()]);
    world.run(&["run"]).expect(1).says(outside.as_str());
    assert_eq!(world.standing(2), "new 204");
    assert_eq!(world.copy(3)["fault"], 204);
}

#[test]
fn a_named_folder_may_be_a_symlink_and_a_name_that_begins_alike_is_outside() {
    let world = with_one_outside();
    symlink(world.root.join("source"), world.root.join("alias")).unwrap();
    fs::rename(world.root.join("Private.2"), world.root.join("source-too")).unwrap();
    world.import(&[(2, "ThreePi", &world.root.join("source-too"))]);
    world.ok(&["source", "add", world.root.join("alias").as_str()]);
    world.run(&["run"]).expect(1);
    assert_eq!((world.standing(1), world.standing(2)), ("full 0".into(), "new 204".into()));
}

#[test]
fn folders_are_named_shown_and_taken_away() {
    let world = World::new();
    world.ok(&["source", "show"]).says("no ledger");
    let (one, two) = (world.root.join("source"), world.there());
    world.ok(&["source", "add", one.as_str()]);
    world.ok(&["source", "add", two.as_str()]);
    world.ok(&["source", "add", one.as_str()]);
    assert_eq!(world.ok(&["source", "show"]).stdout, format!("{one}\n{two}\n"));
    world.ok(&["source", "del", one.as_str()]).is_silent();
    world.run(&["source", "del", one.as_str()]).expect(2).says("not one of the folders");
    world.ok(&["source", "del", two.as_str()]).says("anywhere");
    world.run(&["source", "add", "/no/such/folder"]).expect(2).says("no folder");
    world.run(&["source", "add", "relative"]).expect(2);
}
