//! Several copying machines on one database: each with a ledger of its own, none in another's way.

use std::process::Child;

use xtask::dvo::Shape;

use super::ipp::{Site, connect, standings};
use super::slow::{self, Gate, Hold};
use super::world::{World, eventually, finish};

const OLD: &str = "'2011-05-02 03:04:05'";

/// Another machine with a ledger of its own for the same database, target and sources.
#[track_caller]
fn second(site: &Site) -> World {
    let world = World::new();
    connect(&world, &site.ipp.url());
    world.ok(&["target", "add", "ThreePi", "localhost", site.world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world
}

/// Starts a pass over what is queued on both sides, and holds it when it begins to send a minidvodb.
#[track_caller]
fn hold_at(site: &Site, name: &str) -> (Child, Gate) {
    site.queue();
    let gate = Gate::closed(&site.world, "rsync", &format!("*{name}*"), &Hold::Before);
    let pass = site.world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    (pass, gate)
}

#[test]
fn each_copy_is_written_when_it_is_made_and_not_at_the_end_of_the_pass() {
    let site = Site::prepared(2);
    let (pass, gate) = hold_at(&site, "ThreePi.2");
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost new 0"]);
    // Others see it, and what a sync makes of it meanwhile.
    let other = second(&site);
    other.ok(&["sync"]);
    assert_eq!(standings(&other), ["1 localhost full 0", "2 localhost new 0"]);
    site.ok(&["sync"]);
    gate.open();
    finish(pass).expect(0).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_host_and_group_that_another_machine_serves_are_locked() {
    let site = Site::prepared(1);
    let other = second(&site);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    let there = site.world.there();
    other.run(&["copy", "ThreePi", "localhost", there.as_str()]).expect(75);
    let summary = other.ok(&["run", "--json"]).json();
    assert_eq!((summary["skipped"].as_u64(), summary["copied"].as_u64()), (Some(1), Some(0)), "{summary}");
    other.ok(&["run"]).is_silent();
    gate.open();
    finish(pass).expect(0).is_silent();
    // The lock goes with the pass, and then there is nothing left to do.
    let ran = other.ok(&["copy", "ThreePi", "localhost", there.as_str(), "--json"]);
    assert_eq!(ran.json()["copied"].as_u64(), Some(0), "{}", ran.stdout);
    assert_eq!(standings(&other), ["1 localhost full 0"]);
    assert_eq!(site.ipp.copies().len(), 1);
    site.world.expect_arrived("ThreePi.1");
}

#[test]
fn another_group_and_another_host_are_not_locked() {
    let site = Site::prepared(1);
    let other = second(&site);
    let folder = site.world.make("SAS.7", Shape::tiny());
    site.ipp.add_merged(7, "SAS", &folder);
    other.ok(&["target", "add", "SAS", "localhost", site.world.there().as_str()]);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    other.ok(&["copy", "SAS", "localhost", site.world.there().as_str()]);
    assert!(standings(&other).contains(&"7 localhost full 0".to_owned()), "{:?}", standings(&other));
    gate.open();
    finish(pass).expect(0);
    site.ok(&["sync"]);
    assert_eq!(site.standings_there(), ["1 localhost full 0", "7 localhost full 0"]);
}

#[test]
fn another_database_on_the_same_server_is_not_locked() {
    let (site, stranger) = (Site::prepared(1), Site::prepared(1));
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    stranger.ok(&["copy", "ThreePi", "localhost", stranger.world.there().as_str()]);
    assert_eq!(stranger.standings_there(), ["1 localhost full 0"]);
    gate.open();
    finish(pass).expect(0);
}

#[test]
fn the_lock_of_a_machine_that_died_goes_by_itself() {
    let site = Site::prepared(2);
    let other = second(&site);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    slow::kill_alone(pass);
    let there = site.world.there();
    eventually("the lock is free", || other.run(&["copy", "ThreePi", "localhost", there.as_str()]).code == 0);
    gate.open();
    assert_eq!(standings(&other), ["1 localhost full 0", "2 localhost full 0"]);
    // The one that died finds what the other has done, and sends nothing.
    let ran = site.ok(&["run", "--json"]);
    assert_eq!(ran.json()["copied"].as_u64(), Some(0), "{}", ran.stdout);
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    assert_eq!(site.ipp.copies().len(), 2);
    site.expect_in_step();
    site.world.expect_arrived("ThreePi.1");
    site.world.expect_arrived("ThreePi.2");
}

/// While a pass sends `ThreePi.1`, the row of `ThreePi.2` is changed; says how both stand after the pass.
#[track_caller]
fn changed_meanwhile(change: impl Fn(&Site)) -> Site {
    let site = Site::prepared(2);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    change(&site);
    gate.open();
    finish(pass).expect(0);
    assert_eq!(site.world.names_there(), ["ThreePi.1"], "what changed is not sent");
    assert_eq!(site.standings_there()[0], "1 localhost full 0");
    site.ok(&["sync"]);
    site
}

#[test]
fn a_copy_that_another_machine_made_meanwhile_is_passed_over() {
    let site = changed_meanwhile(|site| {
        site.ipp.change(2, "localhost", "state = 'full', dtime = 9, epoch = '2037-01-01 00:00:00'");
    });
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    assert_eq!(site.world.copy(2)["attempts"], 0);
    site.expect_in_step();
}

#[test]
fn a_copy_that_got_a_fault_meanwhile_is_passed_over() {
    let site = changed_meanwhile(|site| site.ipp.change(2, "localhost", "fault = 12"));
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost new 12"]);
    site.expect_in_step();
}

#[test]
fn a_copy_whose_minidvodb_went_back_from_merged_is_passed_over_by_the_next_pass() {
    let site = Site::prepared(2);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    site.ipp.sql("UPDATE minidvodbRun SET state = 'active' WHERE minidvodb_id = 2");
    site.ok(&["sync"]);
    gate.open();
    finish(pass).expect(0);
    assert_eq!(site.world.names_there(), ["ThreePi.1"]);
    site.expect_in_step();
}

#[test]
fn a_row_deleted_meanwhile_leaves_one_row_at_most() {
    let site = Site::prepared(2);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id = 2");
    gate.open();
    finish(pass).expect(0);
    site.ok(&["run"]);
    site.ok(&["sync"]);
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    site.expect_in_step();
    site.world.expect_arrived("ThreePi.2");
}

#[test]
fn the_row_of_the_copy_under_way_deleted_meanwhile_loses_no_copy() {
    let site = Site::prepared(1);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    site.ipp.sql("DELETE FROM minidvodbCopy");
    gate.open();
    let ran = finish(pass);
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    site.world.expect_arrived("ThreePi.1");
    site.run(&["sync", "--accept-deletions"]).expect(0);
    site.expect_in_step();
}

#[test]
fn the_row_of_the_copy_under_way_changed_meanwhile_is_a_conflict_that_the_verified_copy_wins() {
    let site = Site::prepared(1);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    site.ipp.change(1, "localhost", "fault = 12, epoch = '2037-01-01 00:00:00'");
    gate.open();
    finish(pass).expect(0);
    site.ok(&["sync"]);
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
    assert_eq!(site.conflicts(), 1, "{:#?}", site.log());
}

#[test]
fn a_row_written_by_the_predecessor_meanwhile_makes_no_duplicate() {
    let (site, proxy) = Site::behind_proxy(3);
    site.sync();
    proxy.cut_before(1);
    site.ok(&["run", "--limit", "1"]);
    site.ipp.add_copy(&format!("1, {}, 'localhost', 0, 'new', {OLD}, 0", site.there()));
    site.ipp.add_copy(&format!("2, {}, 'localhost', 12, 'new', {OLD}, 0", site.there()));
    proxy.mend();
    site.ok(&["run"]);
    let expected = ["1 localhost full 0", "2 localhost new 12", "3 localhost full 0"];
    assert_eq!(site.standings_there(), expected);
    assert_eq!(site.world.names_there(), ["ThreePi.1", "ThreePi.3"]);
    site.expect_in_step();
}

#[test]
fn two_machines_that_race_for_the_same_minidvodbs_copy_each_of_them_once() {
    let site = Site::prepared(12);
    let other = second(&site);
    let is_done = || {
        let there = site.standings_there();
        there.len() == 12 && there.iter().all(|row| row.ends_with("full 0"))
    };
    for _ in 0..40 {
        if is_done() {
            break;
        }
        let passes = [&site.world, &other].map(|world| world.start(&["run", "--limit", "2"]));
        for pass in passes {
            finish(pass).expect(0).is_silent();
        }
    }
    let full: Vec<String> = (1..=12).map(|id| format!("{id} localhost full 0")).collect();
    assert_eq!(site.standings_there(), full);
    for world in [&site.world, &other] {
        world.ok(&["sync"]);
        world.ok(&["sync"]).is_silent();
        assert_eq!(standings(world), full);
    }
    let attempts: u64 = [&site.world, &other]
        .iter()
        .flat_map(|world| world.list())
        .map(|copy| copy["attempts"].as_u64().unwrap())
        .sum();
    assert_eq!(attempts, 12, "each was tried once, by one of them");
    assert_eq!(site.world.names_there().len(), 12);
}

#[test]
fn two_machines_that_queue_at_the_same_moment_make_no_duplicate() {
    for _ in 0..5 {
        let site = Site::new();
        site.add_bare(1, 60);
        site.add_target();
        let other = second(&site);
        for world in [&site.world, &other] {
            world.ok(&["stage", "off", "load"]);
        }
        let passes = [&site.world, &other].map(|world| world.start(&["run"]));
        for pass in passes {
            finish(pass).expect(0);
        }
        for world in [&site.world, &other] {
            world.ok(&["run"]);
        }
        let twice = "SELECT COUNT(*) FROM (SELECT 1 FROM minidvodbCopy
            GROUP BY minidvodb_id, destination_host HAVING COUNT(*) > 1) AS twice";
        assert_eq!(site.ipp.number(twice), 0);
        assert_eq!(site.ipp.copies().len(), 60);
    }
}

#[test]
fn two_syncs_at_the_same_moment_make_no_duplicate() {
    for _ in 0..5 {
        // Both worked without the database, for the same machine.
        let (site, other) = (Site::new(), World::new());
        site.add_bare(1, 60);
        site.add_target();
        site.sync();
        connect(&other, &site.ipp.url());
        other.ok(&["target", "add", "ThreePi", "localhost", site.world.there().as_str()]);
        other.ok(&["host", "add", "localhost"]);
        other.ok(&["sync"]);
        let proxy = site.add_proxy();
        connect(&other, &site.ipp.url_at(proxy.port()));
        proxy.cut_before(1);
        for world in [&site.world, &other] {
            world.ok(&["stage", "off", "load"]);
            world.ok(&["run"]);
            assert_eq!(world.list().len(), 60);
        }
        proxy.mend();
        let syncs = [&site.world, &other].map(|world| world.start(&["sync"]));
        for sync in syncs {
            let ran = finish(sync);
            assert!(ran.code == 0 || ran.code == 75, "{ran:?}");
        }
        for world in [&site.world, &other] {
            world.ok(&["sync"]);
            world.ok(&["sync"]).is_silent();
        }
        assert_eq!(site.ipp.copies().len(), 60, "one for each");
        site.expect_in_step();
    }
}

#[test]
fn two_names_of_one_machine_are_served_by_one_at_a_time() {
    let world = World::with_sshd();
    let site = Site::of(world, super::ipp::Ipp::shared());
    let folder = site.world.make("ThreePi.1", Shape::tiny());
    site.ipp.add_merged(1, "ThreePi", &folder);
    let there = site.world.there();
    site.ok(&["target", "add", "ThreePi", "ipp022", there.as_str()]);
    site.ok(&["host", "add", "ipp022"]);
    let mut other = World::new();
    other.set("MINIDVODBCOPY_SSH_CONFIG", site.world.sshd.as_ref().unwrap().config_path().as_str());
    connect(&other, &site.ipp.url());
    other.ok(&["target", "add", "ThreePi", "ipp0222", there.as_str()]);
    other.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    other.run(&["copy", "ThreePi", "ipp0222", there.as_str()]).expect(75);
    gate.open();
    finish(pass).expect(0).is_silent();
    let ran = other.ok(&["copy", "ThreePi", "ipp0222", there.as_str(), "--json"]);
    assert_eq!(ran.json()["copied"].as_u64(), Some(0), "{}", ran.stdout);
    assert_eq!(site.standings_there(), ["1 ipp022 full 0"]);
    assert_eq!(standings(&other), ["1 ipp022 full 0"]);
}

#[test]
fn a_machine_that_lost_its_database_and_got_it_back_yields_to_the_other_one() {
    let (site, proxy) = Site::behind_proxy(3);
    let other = second(&site);
    site.ok(&["sync"]);
    let (pass, gate) = hold_at(&site, "ThreePi.1");
    // Its connection, and its lock with it, are lost; another machine takes over.
    proxy.cut_before(1);
    site.ipp.kill_connections();
    proxy.mend();
    let there = site.world.there();
    let other_gate = Gate::closed(&other, "rsync", "*ThreePi.*", &Hold::Before);
    let other_pass = other
        .command(&["copy", "ThreePi", "localhost", there.as_str()])
        .env("PATH", other_gate.path())
        .spawn()
        .unwrap();
    other_gate.wait(1);
    gate.open();
    finish(pass);
    other_gate.open();
    finish(other_pass);
    for _ in 0..2 {
        site.run(&["run"]);
        other.run(&["run"]);
    }
    // ThreePi.1 was sent by both; it is there once, and nobody has overwritten it.
    for id in 1..=3 {
        site.world.expect_arrived(&format!("ThreePi.{id}"));
    }
    assert_eq!(site.ipp.copies().len(), 3);
    let full: Vec<String> = (2..=3).map(|id| format!("{id} localhost full 0")).collect();
    assert_eq!(site.standings_there()[1..], full);
    for world in [&site.world, &other] {
        world.ok(&["sync"]);
        world.ok(&["sync"]).is_silent();
        assert_eq!(standings(world).len(), 3);
    }
}
