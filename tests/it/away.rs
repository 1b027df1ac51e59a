//! A database that is away, hangs, dies or comes back: it never stops or fails a copy, and the next sync catches up.

use std::time::{Duration, Instant};

use xtask::mariadb::MariaDbOptions;
use xtask::proxy::Proxy;

use super::ipp::{Ipp, Session, Site};
use super::slow::{Gate, Hold};
use super::world::{World, eventually, finish};

/// Far beyond every limit of the program, far below for ever.
const PATIENCE: Duration = Duration::from_secs(180);

/// A site with a server of its own.
fn with_own_server(count: u64) -> Site {
    let site = Site::of(World::new(), Ipp::own(MariaDbOptions::default()));
    site.prepare(count);
    site
}

#[test]
fn a_sync_with_a_database_that_is_away_is_to_be_tried_again() {
    let mut site = with_own_server(1);
    site.sync();
    site.ipp.own_server().kill();
    let ran = site.run(&["sync"]).expect(75);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("127.0.0.1"), "{ran:?}");
    // Who asks for a sync is told each time.
    assert_ne!(site.run(&["sync"]).expect(75).stderr, "");
    assert_ne!(site.run(&["sync", "--dry-run"]).expect(75).stderr, "");
    site.ipp.own_server().start_again().unwrap();
    site.expect_at_rest();
}

#[test]
fn a_pass_goes_on_without_its_database_and_says_so_once() {
    let mut site = with_own_server(3);
    site.queue();
    site.ok(&["run", "--limit", "1"]).is_silent();
    site.ipp.own_server().stop().unwrap();
    let ran = site.ok(&["run", "--limit", "1"]);
    assert_eq!(ran.stdout, "");
    assert_ne!(ran.stderr, "", "the first one says so");
    assert_eq!(ran.stderr.matches("127.0.0.1").count(), 1, "once:\n{}", ran.stderr);
    site.ok(&["run"]).is_silent();
    for id in 1..=3 {
        site.world.expect_arrived(&format!("ThreePi.{id}"));
    }
    let full = ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"];
    assert_eq!(site.standings(), full);
    site.ipp.own_server().start_again().unwrap();
    let rest = ["1 localhost full 0", "2 localhost new 0", "3 localhost new 0"];
    assert_eq!(site.standings_there(), rest, "as it was left");
    site.sync();
    assert_eq!(site.standings_there(), full);
    site.expect_in_step();
}

#[test]
fn a_pass_that_finds_the_database_still_away_and_has_nothing_to_do_commits_nothing() {
    let mut site = with_own_server(1);
    site.ok(&["run"]).is_silent();
    site.ipp.own_server().stop().unwrap();
    assert_ne!(site.ok(&["run"]).stderr, "");
    let before = site.ledger_bytes();
    site.ok(&["run"]).is_silent();
    site.ok(&["run"]).is_silent();
    assert!(site.ledger_bytes() == before, "nothing is committed");
}

#[test]
fn a_pass_and_a_sync_with_nothing_to_do_commit_nothing() {
    let site = Site::prepared(2);
    site.ok(&["run"]).is_silent();
    // The first one may still note what the pass has written.
    site.ok(&["sync"]);
    site.ok(&["run"]).is_silent();
    let (before, raw) = (site.ledger_bytes(), site.ipp.raw());
    site.ok(&["sync"]).is_silent();
    site.ok(&["run"]).is_silent();
    site.ok(&["run", "--dry-run"]);
    site.ok(&["sync", "--dry-run"]).is_silent();
    assert!(site.ledger_bytes() == before, "nothing is committed");
    assert_eq!(site.ipp.raw(), raw);
}

#[test]
fn an_outage_that_comes_again_is_said_again() {
    let mut site = with_own_server(2);
    site.ok(&["run", "--limit", "1"]).is_silent();
    site.ipp.own_server().stop().unwrap();
    assert_ne!(site.ok(&["run", "--limit", "0"]).stderr, "");
    site.ok(&["run", "--limit", "0"]).is_silent();
    site.ipp.own_server().start_again().unwrap();
    site.ok(&["run"]);
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
    site.ipp.own_server().stop().unwrap();
    assert_ne!(site.ok(&["run"]).stderr, "");
    site.ok(&["run"]).is_silent();
}

#[test]
fn what_the_ledger_is_ahead_of_the_database_is_shown() {
    let mut site = with_own_server(3);
    site.queue();
    site.ok(&["run", "--limit", "1"]).is_silent();
    let shown = |site: &Site| site.ok(&["database", "show"]).stdout;
    let behind = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("behind")).map(str::to_owned).collect()
    };
    let in_step = shown(&site);
    site.ipp.own_server().stop().unwrap();
    site.ok(&["run"]);
    let away = shown(&site);
    assert_eq!(behind(&away).len(), 1, "{away}");
    assert!(behind(&away)[0].contains('2'), "{away}");
    assert!(away.contains("away"), "since when:\n{away}");
    // A sync that cannot be made says the same.
    site.run(&["sync"]).expect(75).says("2 copies");
    site.ipp.own_server().start_again().unwrap();
    site.sync();
    let again = shown(&site);
    assert!(!behind(&again).iter().any(|line| line.contains('2')), "{again}");
    assert!(!again.contains("away") || in_step.contains("away"), "{again}");
}

#[test]
fn a_database_that_hangs_holds_up_no_pass_for_long() {
    let mut site = with_own_server(2);
    site.ok(&["run", "--limit", "1"]).is_silent();
    site.ipp.own_server().pause().unwrap();
    let began = Instant::now();
    site.run(&["sync"]).expect(75);
    let ran = site.ok(&["run"]);
    assert_ne!(ran.stderr, "");
    site.ok(&["run"]).is_silent();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    site.ipp.own_server().resume().unwrap();
    site.sync();
    site.expect_in_step();
}

/// Starts a pass over two minidvodbs and holds it when it begins to send the second one.
#[track_caller]
fn held_at_the_second(site: &Site) -> (std::process::Child, Gate) {
    let gate = Gate::closed(&site.world, "rsync", "*ThreePi.2*", &Hold::Before);
    let pass = site.world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    (pass, gate)
}

#[test]
fn a_database_that_begins_to_hang_in_mid_pass_holds_it_up_for_a_while_only() {
    let mut site = with_own_server(3);
    let (pass, gate) = held_at_the_second(&site);
    site.ipp.own_server().pause().unwrap();
    let began = Instant::now();
    gate.open();
    let ran = finish(pass).expect(0);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_ne!(ran.stderr, "");
    let full = ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"];
    assert_eq!(site.standings(), full);
    site.ipp.own_server().resume().unwrap();
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_server_killed_in_mid_pass_hinders_no_copy() {
    let mut site = with_own_server(3);
    let (pass, gate) = held_at_the_second(&site);
    site.ipp.own_server().kill();
    gate.open();
    let ran = finish(pass).expect(0);
    assert_ne!(ran.stderr, "");
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"]);
    site.ipp.own_server().start_again().unwrap();
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_server_restarted_in_mid_pass_is_taken_up_again_before_the_next_copy() {
    let mut site = with_own_server(3);
    let (pass, gate) = held_at_the_second(&site);
    site.ipp.own_server().kill();
    site.ipp.own_server().start_again().unwrap();
    gate.open();
    finish(pass).expect(0);
    let full = ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"];
    assert_eq!(site.standings(), full);
    assert_eq!(site.standings_there(), full, "by the pass itself");
    site.expect_in_step();
}

#[test]
fn a_connection_ended_by_the_server_is_retaken_before_the_next_copy() {
    let site = Site::prepared(3);
    let (pass, gate) = held_at_the_second(&site);
    site.ipp.kill_connections();
    gate.open();
    finish(pass).expect(0).is_silent();
    let full = ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"];
    assert_eq!(site.standings_there(), full);
    site.expect_in_step();
}

#[test]
fn a_server_that_ends_idle_connections_early_is_no_hindrance() {
    let options = MariaDbOptions { extra: vec!["--wait-timeout=1".to_owned()], ..MariaDbOptions::default() };
    let site = Site::of(World::new(), Ipp::own(options));
    site.prepare(3);
    let (pass, gate) = held_at_the_second(&site);
    let uptime = |site: &Site| {
        site.ipp.number(
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'UPTIME'",
        )
    };
    let began = uptime(&site);
    eventually("the server had time to end it", || uptime(&site) >= began + 4);
    gate.open();
    finish(pass).expect(0).is_silent();
    let full = ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"];
    assert_eq!(site.standings_there(), full);
    site.expect_in_step();
}

/// Gives a site behind a proxy something to write, and lets nobody write.
#[track_caller]
fn lock_writers_out(site: &Site, proxy: &Proxy) -> Session {
    site.ok(&["run", "--limit", "1"]).is_silent();
    for id in 3..=4 {
        let folder = site.world.make(&format!("ThreePi.{id}"), xtask::dvo::Shape::tiny());
        site.ipp.add_merged(id, "ThreePi", &folder);
    }
    site.sync();
    // A row to change and two to insert, and one that was changed there.
    proxy.cut_before(1);
    site.ok(&["run", "--limit", "1"]);
    site.ipp.change(1, "localhost", "fault = 3");
    proxy.mend();
    let mut session = site.ipp.session();
    session.run("LOCK TABLES minidvodbCopy READ, minidvodbRun READ, minidvodbProcessed READ");
    session
}

#[test]
fn a_server_killed_in_the_middle_of_a_sync_leaves_nothing_half_done() {
    let mut site = with_own_server(2);
    let proxy = site.add_proxy();
    let session = lock_writers_out(&site, &proxy);
    let sync = site.world.start(&["sync"]);
    eventually("the sync waits to write", || site.ipp.waiting() > 0);
    site.ipp.own_server().kill();
    drop(session);
    finish(sync).expect(75);
    site.ipp.own_server().start_again().unwrap();
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_connection_ended_in_the_middle_of_a_sync_leaves_nothing_half_done() {
    let site = Site::prepared(2);
    let proxy = site.add_proxy();
    let session = lock_writers_out(&site, &proxy);
    let sync = site.world.start(&["sync"]);
    eventually("the sync waits to write", || site.ipp.waiting() > 0);
    site.ipp.kill_connections();
    finish(sync).expect(75);
    drop(session);
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_sync_killed_while_it_writes_leaves_nothing_half_done() {
    let site = Site::prepared(2);
    let proxy = site.add_proxy();
    let session = lock_writers_out(&site, &proxy);
    let sync = site.world.start(&["sync"]);
    eventually("the sync waits to write", || site.ipp.waiting() > 0);
    super::slow::kill_alone(sync);
    drop(session);
    eventually("the server has noticed", || site.ipp.connections("") == 0);
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_table_that_somebody_keeps_locked_holds_up_no_pass_for_ever() {
    let site = Site::prepared(2);
    site.ok(&["run", "--limit", "1"]).is_silent();
    let mut session = site.ipp.session();
    session.run("LOCK TABLES minidvodbCopy WRITE, minidvodbRun WRITE, minidvodbProcessed WRITE");
    let began = Instant::now();
    let ran = site.run(&["run"]);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    drop(session);
    eventually("the lock is gone", || site.ipp.waiting() == 0);
    site.ok(&["sync"]);
    site.expect_in_step();
}

#[test]
fn a_row_that_somebody_keeps_locked_holds_up_no_pass_for_ever() {
    let site = Site::prepared(2);
    site.queue();
    let mut session = site.ipp.session();
    session.run("BEGIN; UPDATE minidvodbCopy SET dtime = 3 WHERE minidvodb_id = 1");
    let began = Instant::now();
    let ran = site.run(&["run"]);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    // The other one's change is rolled back with its session.
    drop(session);
    eventually("the session is gone", || {
        site.ipp.number("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_modified > 0") == 0
    });
    site.ok(&["sync"]);
    site.expect_in_step();
}
