//! Clocks that are wrong: set back, set forward by years, at the beginning of time, in another zone.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::world::{Ran, World};

const YEAR_S: i64 = 365 * 24 * 3600;

/// A command with the clock shifted.
#[track_caller]
fn at(world: &World, shift_s: i64, words: &[&str]) -> Ran {
    let mut command = world.command(words);
    command.env("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", shift_s.to_string());
    super::world::finish(command.spawn().unwrap())
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// A copy that waits, because its source changes all the time.
fn with_a_retry_fault(world: &World, shift_s: i64) {
    world.prepare("localhost", 1);
    let images = world.source("ThreePi.1").join("Images.dat");
    let aside = world.root.join("Images.dat");
    // What vanishes between the list and the sending is a fault that is tried again.
    let gate = super::slow::Gate::closed(world, "rsync", "*--partial-dir*", &super::slow::Hold::Before);
    let mut command = world.command(&["run"]);
    command.env("PATH", gate.path()).env("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", shift_s.to_string());
    let pass = command.spawn().unwrap();
    gate.wait(1);
    fs::rename(&images, &aside).unwrap();
    gate.open();
    super::world::finish(pass).expect(1).says("203 source-changed");
    fs::rename(&aside, &images).unwrap();
    assert_eq!(world.standing(1), "new 203");
}

#[test]
fn a_retry_comes_when_its_time_has_come_and_not_before() {
    let world = World::new();
    with_a_retry_fault(&world, 0);
    at(&world, 200, &["run"]).expect(0);
    assert_eq!(world.standing(1), "new 203");
    at(&world, 400, &["run"]).expect(0);
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_clock_that_was_years_ahead_and_is_right_again_keeps_no_copy_waiting() {
    let world = World::new();
    with_a_retry_fault(&world, 10 * YEAR_S);
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_clock_that_was_at_the_beginning_of_time_and_is_right_again_keeps_no_copy_waiting() {
    let world = World::new();
    with_a_retry_fault(&world, -now_s());
    assert!(world.copy(1)["epoch"].as_str().unwrap().starts_with("1970-01-01T00:0"), "{}", world.copy(1));
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_clock_that_is_set_back_makes_no_time_negative() {
    let world = World::new();
    world.prepare("localhost", 2);
    at(&world, YEAR_S, &["run", "--limit", "1"]).expect(0);
    at(&world, -YEAR_S, &["run"]).expect(0);
    for copy in world.list() {
        assert!(copy["dtime"].as_f64().unwrap() > 0.0 && copy["state"] == "full", "{copy}");
    }
    world.ok(&["ledger", "check"]);
    world.ok(&["show", "2"]);
}

#[test]
fn a_host_that_was_down_while_the_clock_was_ahead_is_probed_at_once() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    world.sshd().stop();
    at(&world, 10 * YEAR_S, &["run"]).expect(1).says("211");
    world.sshd().restart().unwrap();
    world.ok(&["run"]).says("recovered");
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn the_daily_backup_is_made_whichever_way_the_clock_goes() {
    let world = World::new();
    world.prepare("localhost", 1);
    let count = || {
        let backups = super::world::names_in(&world.state().join("backup"));
        backups.iter().filter(|name| name.starts_with("ledger-")).count()
    };
    for shift_s in [0, YEAR_S, -YEAR_S, 0, 2 * 24 * 3600] {
        at(&world, shift_s, &["run"]).expect(0);
        assert!((1..=7).contains(&count()), "{}", count());
    }
}

#[test]
fn times_are_utc_whatever_the_zone() {
    let mut world = World::new();
    world.set("TZ", "Pacific/Honolulu");
    world.prepare("localhost", 1);
    world.ok(&["run"]);
    let epoch = world.copy(1)["epoch"].as_str().unwrap().to_owned();
    let day_s = now_s().rem_euclid(24 * 3600);
    let clock = &epoch["2026-01-01T".len()..epoch.len() - 1];
    let parts: Vec<i64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    let shown_s = parts[0] * 3600 + parts[1] * 60 + parts[2];
    assert!((day_s - shown_s).rem_euclid(24 * 3600) < 60, "{epoch} at {day_s} s of the day");
}
