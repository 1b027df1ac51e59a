//! `run --jobs`: several machines served at once, each by one job.

use std::fs;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde_json::Value;
use xtask::dvo::Shape;
use xtask::processes::{self, Signal};

use super::ipp::{Ipp, Site, standings};
use super::progress::Terminal;
use super::slow::{self, Gate, Hold};
use super::world::{Ran, World, eventually, finish};

/// In the order in which they are told of.
const HOSTS: [&str; 2] = ["ipp0222", "ipp031"];
/// Holds whatever sends.
const SENDING: &str = "*partial-dir*";

/// Where copies go to on a host.
fn there(world: &World, host: &str) -> Utf8PathBuf {
    world.root.join(format!("there-{host}"))
}

/// A target of the group to a host, which is switched on, into a folder of its own.
#[track_caller]
fn add_target(world: &World, group: &str, host: &str, more: &[&str]) {
    let there = there(world, host);
    fs::create_dir_all(&there).unwrap();
    world.ok(&[&["target", "add", group, host, there.as_str()], more].concat());
    world.ok(&["host", "add", host]);
}

/// Minidvodbs of this shape, `ThreePi.1` to `ThreePi.COUNT`, with targets to two hosts.
#[track_caller]
fn world_of(shape: Shape, count: u64, more: &[&str]) -> World {
    let world = World::with_sshd();
    let folders: Vec<_> = (1..=count).map(|id| world.make(&format!("ThreePi.{id}"), shape)).collect();
    let rows: Vec<_> =
        (1..=count).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    HOSTS.iter().for_each(|host| add_target(&world, "ThreePi", host, more));
    world
}

#[track_caller]
fn expect_arrived(world: &World, host: &str, name: &str) {
    let to = there(world, host).join(name);
    assert_eq!(xtask::tree::differences(world.source(name), to).unwrap(), Vec::<String>::new(), "{host}");
}

/// Host, minidvodb and outcome of what a pass has done, in its order.
#[track_caller]
fn done(summary: &Value) -> Vec<String> {
    let deeds = summary["done"].as_array().unwrap().iter();
    deeds
        .map(|deed| {
            let text = |key: &str| deed[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("destination_host"), text("name"), text("outcome"))
        })
        .collect()
}

#[track_caller]
fn expect_all_full(world: &World) {
    assert_eq!(standings(world), ["1 ipp0222 full 0", "1 ipp031 full 0"]);
    HOSTS.iter().for_each(|host| expect_arrived(world, host, "ThreePi.1"));
}

#[test]
fn two_hosts_are_served_at_once_and_told_of_in_order() {
    let world = world_of(Shape::tiny(), 1, &[]);
    let gate = Gate::closed(&world, "rsync", SENDING, &Hold::Before);
    let mut pass = world.command(&["run", "--jobs", "2", "--json"]);
    let pass = pass.env("PATH", gate.path()).spawn().unwrap();
    eventually("both hosts are sent to at once", || gate.reached() == 2);
    let status = world.ok(&["status", "--json"]).json();
    let running = status["ledger"]["running"].as_array().unwrap();
    let hosts: Vec<&str> = running.iter().map(|pass| pass["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, HOSTS);
    assert!(running.iter().all(|each| each["pid"] == pass.id()), "{status}");
    gate.open();
    let summary = finish(pass).expect(0).json();
    assert_eq!(done(&summary), ["ipp0222 ThreePi.1 full", "ipp031 ThreePi.1 full"]);
    let counts = ["queued", "copied", "faulted", "waiting", "skipped"].map(|key| summary[key].as_u64());
    assert_eq!(counts, [Some(2), Some(2), Some(0), Some(0), Some(0)]);
    expect_all_full(&world);
    world.ok(&["run", "--jobs", "2"]).is_silent();
}

#[test]
fn a_host_that_is_held_up_does_not_keep_the_other_one_waiting() {
    let world = world_of(Shape::tiny(), 1, &[]);
    // The first in order is the slow one.
    let gate = Gate::closed(&world, "rsync", "*partial-dir*ipp0222:*", &Hold::Before);
    let pass = world.command(&["run", "--jobs", "2", "--json"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    eventually("the other one is done", || standings(&world) == ["1 ipp0222 new 0", "1 ipp031 full 0"]);
    assert!(processes::is_running(pass.id()));
    gate.open();
    let summary = finish(pass).expect(0).json();
    assert_eq!(done(&summary), ["ipp0222 ThreePi.1 full", "ipp031 ThreePi.1 full"]);
    expect_all_full(&world);
}

/// A pass that is in the midst of sending to both hosts, with all its descendants.
#[track_caller]
fn meet(world: &World) -> (std::process::Child, Vec<u32>) {
    let pass = world.start(&["run", "--jobs", "2"]);
    let staged = |host: &str| {
        let entries = xtask::tree::list(there(world, host).join(".minidvodbcopy")).unwrap_or_default();
        entries.iter().map(|entry| entry.bytes).sum::<u64>()
    };
    eventually("both are sent", || HOSTS.iter().all(|host| staged(host) >= slow::FIRST_BYTES));
    let children = processes::descendants(pass.id());
    let guards = children.iter().filter(|&&pid| slow::command_line(pid).contains("guard-process-group"));
    assert_eq!(guards.count(), 2, "each job has its own");
    (pass, children)
}

/// After that, the next pass makes both full.
#[track_caller]
fn expect_resumed(world: &mut World) {
    assert!(world.sshd().wait_until_idle(Duration::from_secs(30)));
    assert_eq!(standings(world), ["1 ipp0222 new 0", "1 ipp031 new 0"]);
    HOSTS.iter().for_each(|host| add_target(world, "ThreePi", host, &["--bwlimit", "0"]));
    world.ok(&["run", "--jobs", "2"]).is_silent();
    for id in [1, 2] {
        assert_eq!(slow::outcomes(world, id), ["interrupted while sending", "full"]);
    }
    expect_all_full(world);
}

#[test]
fn after_sigkill_the_children_of_all_jobs_are_gone() {
    let mut world = world_of(slow::SHAPE, 1, &["--bwlimit", slow::RATE]);
    let (pass, children) = meet(&world);
    slow::kill_alone(pass);
    slow::expect_gone(&world, &children, None);
    expect_resumed(&mut world);
}

#[test]
fn sigterm_ends_the_children_of_all_jobs_and_exits_143() {
    let mut world = world_of(slow::SHAPE, 1, &["--bwlimit", slow::RATE]);
    let (pass, children) = meet(&world);
    slow::signal(pass, Signal::TERM).expect(143);
    slow::expect_gone(&world, &children, None);
    expect_resumed(&mut world);
}

#[test]
fn a_fault_at_one_host_is_said_once_and_stops_no_other() {
    let world = world_of(Shape::tiny(), 2, &[]);
    fs::remove_dir(there(&world, "ipp0222")).unwrap();
    let ran = world.run(&["run", "--jobs", "2"]).expect(1);
    assert_eq!(ran.stderr.matches("fault 221 path-missing").count(), 1, "{}", ran.stderr);
    for line in ran.stderr.lines() {
        assert!(line.starts_with("minidvodbcopy: ") || line.starts_with("  "), "{line:?}");
    }
    assert_eq!(
        standings(&world),
        ["1 ipp0222 new 221", "1 ipp031 full 0", "2 ipp0222 new 0", "2 ipp031 full 0"]
    );
    world.ok(&["run", "--jobs", "2"]).is_silent();
}

#[test]
fn a_host_that_another_pass_serves_is_passed_over() {
    let world = world_of(Shape::tiny(), 1, &[]);
    let gate = Gate::closed(&world, "rsync", SENDING, &Hold::Before);
    let first = world.command(&["run", "--host", "ipp0222"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    let summary = world.ok(&["run", "--jobs", "2", "--json"]).json();
    assert_eq!((summary["skipped"].as_u64(), summary["copied"].as_u64()), (Some(1), Some(1)));
    assert_eq!(done(&summary), ["ipp031 ThreePi.1 full"]);
    gate.open();
    finish(first).expect(0).is_silent();
    expect_all_full(&world);
}

#[test]
fn two_names_of_one_machine_are_served_one_after_the_other() {
    let world = World::with_sshd();
    let (first, second) = (world.make("First.1", Shape::tiny()), world.make("Second.2", Shape::tiny()));
    world.import(&[(1, "First", &first), (2, "Second", &second)]);
    add_target(&world, "First", "ipp022", &[]);
    add_target(&world, "Second", "ipp0222", &[]);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    let summary = world.ok(&["run", "--jobs", "8", "--json"]).json();
    assert_eq!(done(&summary), ["ipp022 First.1 full", "ipp0222 Second.2 full"]);
    let log = world.file_log();
    let of = |group: &str| {
        let lines = log.lines().enumerate().filter(|(_, line)| line.contains(&format!("group={group} ")));
        lines.map(|(number, _)| number).collect::<Vec<_>>()
    };
    let (first, second) = (of("First"), of("Second"));
    assert!(!first.is_empty() && first.last() < second.first(), "both at once in:\n{log}");
}

#[test]
fn the_limit_is_for_all_jobs_together() {
    let world = world_of(Shape::tiny(), 3, &[]);
    for (limit, full) in [("1", 1), ("3", 4), ("9", 6)] {
        world.ok(&["run", "--jobs", "2", "--limit", limit]).is_silent();
        let standings = standings(&world);
        assert_eq!(standings.iter().filter(|line| line.ends_with("full 0")).count(), full, "{standings:?}");
    }
}

#[test]
fn a_dry_run_is_the_same_with_any_number_of_jobs() {
    let world = world_of(Shape::tiny(), 1, &[]);
    // How much is free changes from moment to moment.
    let would = |words: &[&str]| {
        let text = world.ok(words).stdout;
        text.lines().filter(|line| line.contains(": would ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let one = would(&["run", "--dry-run"]);
    assert_eq!(one.len(), 2);
    assert_eq!(would(&["run", "--dry-run", "--jobs", "64"]), one);
    assert_eq!(world.list().len(), 0);
}

#[test]
fn a_number_of_jobs_that_makes_no_sense_is_refused() {
    let world = World::new();
    let refused = |number: &str| -> Ran { world.run(&["run", "--jobs", number]).expect(2) };
    for number in ["0", "65", "-1", "two", "", "99999999999999999999"] {
        let said = format!("the number of jobs '{number}' is not a whole number from 1 to 64");
        assert!(refused(number).stderr.contains(&said), "{said:?} is not in {}", refused(number).stderr);
    }
}

#[test]
fn a_terminal_shows_a_line_for_each_job_and_one_for_each_copy_that_is_made() {
    let world = world_of(slow::SHAPE, 1, &["--bwlimit", slow::RATE]);
    // Jobs that queue at once give ids as it comes.
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.ok(&["stage", "on"]);
    let mut terminal = Terminal::start(&world, &["run", "--jobs", "2"], &[]);
    terminal.until("ThreePi.1 to ipp0222 (copy 1): sending");
    terminal.until("ThreePi.1 to ipp031 (copy 2): sending");
    terminal.until("of 2 copies");
    let left = terminal.end();
    left.expect_clean();
    for said in ["ThreePi.1 to ipp0222 (copy 1): full", "ThreePi.1 to ipp031 (copy 2): full", "2 copied"] {
        assert_eq!(left.last.matches(said).count(), 1, "{said:?} in:\n{}", left.last);
    }
}

#[test]
fn each_job_tells_the_database_of_its_copies() {
    let site = Site::of(World::with_sshd(), Ipp::shared());
    for id in [1, 2] {
        let folder = site.world.make(&format!("ThreePi.{id}"), Shape::tiny());
        site.ipp.add_merged(id, "ThreePi", &folder);
    }
    HOSTS.iter().for_each(|host| add_target(&site.world, "ThreePi", host, &[]));
    let gate = Gate::closed(&site.world, "rsync", SENDING, &Hold::Before);
    let pass = site.world.command(&["run", "--jobs", "2"]).env("PATH", gate.path()).spawn().unwrap();
    eventually("both hosts are sent to at once", || gate.reached() == 2);
    gate.open();
    finish(pass).expect(0).is_silent();
    assert_eq!(
        site.standings_there(),
        ["1 ipp0222 full 0", "1 ipp031 full 0", "2 ipp0222 full 0", "2 ipp031 full 0"]
    );
    site.expect_in_step();
}
