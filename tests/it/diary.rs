//! The operators' log: their own words, and the program's about what is unusual, once and not for every pass.

use std::fs;

use xtask::dvo;
use xtask::processes::Signal;

use super::ipp::Site;
use super::slow::{self, Gate, Hold};
use super::world::{World, finish};

const HOST: &str = "ipp0222";
const HERE: &str = "localhost";

#[track_caller]
fn log(world: &World) -> Vec<String> {
    world.ok(&["log", "show", "-n", "20000"]).stdout.lines().map(str::to_owned).collect()
}

/// The entries that have a text.
#[track_caller]
fn entries(world: &World, text: &str) -> Vec<String> {
    log(world).into_iter().filter(|line| line.contains(text)).collect()
}

/// How many entries have a text.
#[track_caller]
fn count(world: &World, text: &str) -> usize {
    entries(world, text).len()
}

#[track_caller]
fn copy_now(world: &World, host: &str) -> super::world::Ran {
    world.run(&["copy", "ThreePi", host, world.there().as_str()])
}

#[test]
fn what_operators_write_is_shown_in_its_order_with_who_and_when() {
    let world = World::new();
    for text in ["first", "-- second", " third "] {
        world.ok(&["log", "add", "--", text]).is_silent();
    }
    let log = log(&world);
    assert_eq!(log.len(), 3);
    assert!(log[0].ends_with("  first") && log[2].ends_with("   third "), "{log:#?}");
    assert!(log[0].contains(" UTC  "), "{log:#?}");
    let last = world.ok(&["log", "show", "-n", "1"]).stdout;
    assert_eq!(last.trim_end_matches('\n'), log[2]);
    world.ok(&["log", "show", "-n", "0"]).is_silent();
    for text in ["", "  ", &"x".repeat(4001)] {
        world.run(&["log", "add", text]).expect(2);
    }
    world.ok(&["log", "add", &"x".repeat(4000)]);
    world.ok(&["ledger", "check"]);
}

#[test]
fn control_characters_are_shown_escaped_and_an_entry_is_one_line() {
    let world = World::new();
    world.ok(&["log", "add", "bell\u{7} red\u{1b}[31m\nnext\tline\u{9b}"]);
    let log = log(&world);
    assert_eq!(log.len(), 1, "{log:#?}");
    assert!(!log[0].contains(|c: char| c.is_control()), "{log:#?}");
    for part in ["bell\\u{7}", "\\u{1b}[31m\\nnext", "\\u{9b}"] {
        assert!(log[0].contains(part), "no {part} in {}", log[0]);
    }
}

#[test]
fn before_there_is_a_ledger_the_log_is_empty() {
    let world = World::new();
    assert_eq!(world.ok(&["log", "show"]).stdout, "");
    assert!(!world.state().join("ledger.redb").exists());
}

/// Copies of `count` minidvodbs whose sources change each time while they are compared.
#[track_caller]
fn run_while_sources_change(world: &World, count: u64, seed: u64) {
    let gate = Gate::closed(world, "rsync", "*' -n '*", &Hold::Before);
    let first = gate.reached();
    let there = world.there();
    let words = ["copy", "ThreePi", HERE, there.as_str()];
    let pass = world.command(&words).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(first + 1);
    for id in 1..=count {
        dvo::update(&world.source(&format!("ThreePi.{id}")), seed + id).unwrap();
    }
    gate.open();
    let ran = finish(pass);
    assert!(ran.code == 1 || ran.code == 0, "{ran:?}");
}

#[test]
fn the_first_fault_of_a_kind_is_logged_then_its_recovery_then_the_first_again() {
    let world = World::new();
    world.prepare(HERE, 1);
    for seed in [10, 20, 30] {
        run_while_sources_change(&world, 1, seed);
        assert_eq!(world.standing(1), "new 203");
    }
    assert_eq!(count(&world, "first fault 203 source-changed of ThreePi to localhost"), 1);
    copy_now(&world, HERE).expect(0);
    let recovered = entries(&world, "has recovered from fault 203");
    assert_eq!(recovered.len(), 1);
    assert!(recovered[0].contains("  minidvodbcopy  ThreePi.1 to localhost (copy 1)"), "{recovered:?}");
    world.ok(&["run"]);
    assert_eq!(count(&world, "203"), 2);
    let second = world.make("ThreePi.2", dvo::Shape::tiny());
    world.import(&[(2, "ThreePi", &second)]);
    let gate = Gate::closed(&world, "rsync", "*' -n '*", &Hold::Before);
    let reached = gate.reached();
    let pass = world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(reached + 1);
    dvo::update(&second, 7).unwrap();
    gate.open();
    finish(pass).expect(1);
    assert_eq!(count(&world, "first fault 203"), 2, "it is the first one again");
}

#[test]
fn a_fault_of_many_copies_is_one_entry_for_each_target() {
    let world = World::new();
    world.prepare(HERE, 5);
    let other = world.root.join("other");
    fs::create_dir(&other).unwrap();
    for id in 1..=5 {
        fs::create_dir(world.there().join(format!("ThreePi.{id}"))).unwrap();
        fs::create_dir(other.join(format!("ThreePi.{id}"))).unwrap();
    }
    world.run(&["run"]).expect(1);
    assert!(world.list().iter().all(|copy| copy["fault"] == 225));
    let first = entries(&world, "first fault 225 path-taken of ThreePi to localhost: ThreePi.1 to localhost");
    assert_eq!(first.len(), 1, "{:#?}", log(&world));
    assert_eq!(log(&world).len(), 1, "{:#?}", log(&world));
    // Reverted without its cause, it is met again: that is news.
    world.ok(&["revert", "--all"]);
    world.run(&["run"]).expect(1);
    assert_eq!(count(&world, "first fault 225"), 2);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_host_that_goes_down_is_two_entries_however_long_it_is_away() {
    let mut world = World::with_sshd();
    world.prepare(HOST, 3);
    let sas = world.make("SAS.1", dvo::Shape::tiny());
    world.import(&[(4, "SAS", &sas)]);
    let there = world.there();
    world.ok(&["target", "add", "SAS", HOST, there.as_str()]);
    world.sshd().stop();
    world.run(&["run"]).expect(1);
    for _ in 0..3 {
        copy_now(&world, HOST).expect(1);
        world.ok(&["run"]);
    }
    let down = entries(&world, "host ipp0222: fault 211 host-unreachable");
    assert_eq!((down.len(), log(&world).len()), (1, 1), "{:#?}", log(&world));
    world.sshd().restart().unwrap();
    copy_now(&world, HOST).expect(0);
    world.ok(&["run"]);
    assert_eq!(count(&world, "host ipp0222: recovered from fault 211 host-unreachable (since "), 1);
    assert_eq!(log(&world).len(), 2, "{:#?}", log(&world));
    // And again.
    world.sshd().stop();
    let again = world.make("ThreePi.9", dvo::Shape::tiny());
    world.import(&[(9, "ThreePi", &again)]);
    world.run(&["run"]).expect(1);
    assert_eq!(count(&world, "host ipp0222: fault 211 host-unreachable"), 2);
}

#[test]
fn a_target_whose_path_is_missing_is_an_entry_and_its_recovery_another() {
    let world = World::new();
    world.prepare(HERE, 2);
    fs::remove_dir(world.there()).unwrap();
    world.run(&["run"]).expect(1);
    copy_now(&world, HERE).expect(1);
    fs::create_dir(world.there()).unwrap();
    copy_now(&world, HERE).expect(0);
    let log = log(&world);
    assert_eq!(log.len(), 2, "{log:#?}");
    assert!(
        log[0].contains("fault 221 path-missing") && log[1].contains("recovered from fault 221"),
        "{log:#?}"
    );
}

#[test]
fn a_killed_pass_is_logged_by_the_next_one_and_one_that_was_told_to_end_by_itself() {
    let world = World::new();
    slow::prepare(&world, HERE, 1);
    slow::kill_alone(slow::start_and_meet(&world, &["run"]));
    assert_eq!(log(&world), Vec::<String>::new());
    let pass = world.start(&["run"]);
    super::world::eventually("the next pass has logged it", || count(&world, "was cut off") == 1);
    let killed = entries(&world, "attempt 1 of ThreePi.1 to localhost (copy 1) was cut off while sending");
    assert!(killed.len() == 1 && killed[0].contains("the pass was killed"), "{:#?}", log(&world));
    slow::signal(pass, Signal::TERM).expect(143);
    let ended = entries(&world, "attempt 2 of ThreePi.1 to localhost (copy 1) was cut off while ");
    assert!(ended.len() == 1 && ended[0].contains("ended by a signal"), "{:#?}", log(&world));
    slow::copy_now(&world, HERE).expect(0);
    assert_eq!(log(&world).len(), 2, "{:#?}", log(&world));
}

#[test]
fn a_pass_with_nothing_unusual_writes_nothing() {
    let world = World::new();
    world.prepare(HERE, 3);
    world.ok(&["run"]);
    world.ok(&["run"]);
    assert_eq!(log(&world), Vec::<String>::new());
}

#[test]
fn what_came_from_the_database_and_what_both_changed_is_logged() {
    let site = Site::prepared(2);
    let there = site.there();
    site.ipp.add_copy(&format!("1, {there}, 'ipp031', 0, 'full', '2011-05-02 03:04:05', 1.5"));
    site.ok(&["run"]);
    let name = &site.ipp.database;
    assert_eq!(count(&site.world, &format!("took 1 copy in from the database {name}")), 1);
    site.ok(&["run"]);
    assert_eq!(count(&site.world, "took 1 copy in"), 1);
    let of_031 = site.world.list().iter().find(|copy| copy["destination_host"] == "ipp031").unwrap().clone();
    let id = of_031["minidvodbcopy_id"].to_string();
    site.ok(&["update", "--id", &id, "--set-fault", "251"]);
    site.ipp.change(1, "ipp031", "state = 'new', epoch = '2031-01-01 00:00:00'");
    site.ok(&["sync"]);
    let conflicts = entries(&site.world, "both changed");
    assert_eq!(conflicts.len(), 1, "{:#?}", log(&site.world));
    assert!(conflicts[0].contains("251") && conflicts[0].contains("new"), "{conflicts:?}");
    site.ok(&["ledger", "check"]);
}

#[test]
fn a_fault_that_an_operator_has_cleared_by_hand_is_the_first_one_again() {
    let world = World::new();
    world.prepare(HERE, 1);
    fs::create_dir(world.there().join("ThreePi.1")).unwrap();
    world.run(&["run"]).expect(1);
    world.ok(&["update", "--id", "1", "--set-fault", "0"]);
    world.run(&["run"]).expect(1);
    assert_eq!(count(&world, "first fault 225"), 2, "{:#?}", log(&world));
}

#[test]
fn names_in_the_programs_own_entries_are_escaped_too() {
    let world = World::new();
    world.prepare(HERE, 1);
    let odd = world.source("ThreePi.1").join("esc\u{1b}[31m\nred");
    fs::write(&odd, "x").unwrap();
    let gate = Gate::closed(&world, "rsync", "*' -n '*", &Hold::Before);
    let pass = world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    fs::write(&odd, "changed").unwrap();
    gate.open();
    finish(pass).expect(1);
    let log = log(&world);
    assert_eq!(log.len(), 1, "{log:#?}");
    assert!(log[0].contains("esc") && !log[0].contains('\u{1b}'), "{log:#?}");
}
