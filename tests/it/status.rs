//! `status`: what is known at a glance, in an empty state folder, in the middle of a pass, and in trouble.

use std::process::Stdio;

use expect_test::expect;
use serde_json::Value;
use xtask::dvo::Shape;
use xtask::processes::{self, Signal};

use super::mounts::{Mount, is_root};
use super::shown::{queue, shown};
use super::slow;
use super::world::{World, eventually, finish};

/// `status --json`.
#[track_caller]
fn json(world: &World) -> Value {
    world.shell("minidvodbcopy status --json").expect(0).json()
}

/// `status`, which has no line of more than 80 columns and no control character.
#[track_caller]
fn text(world: &World) -> String {
    let text = world.shell("minidvodbcopy status").expect(0).stdout;
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    text
}

/// Text as it was before it was cut into lines.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn running(world: &World) -> Value {
    json(world)["ledger"]["running"].clone()
}

#[test]
fn in_an_empty_state_folder_it_says_what_to_do_next() {
    let world = World::new();
    expect![[r#"
        there is no ledger in ROOT/state yet

        what to do next:
          minidvodbcopy check
              tries what a pass needs, and says what is missing
          minidvodbcopy minidvodb import FILE
              says which minidvodbs there are, by a list
          minidvodbcopy minidvodb import --scan DIR --group GROUP
              or by the folders under one
          minidvodbcopy database set URL
              or by the IPP database
          minidvodbcopy target add GROUP HOST PATH
              says which group goes where
          minidvodbcopy host add HOST
              lets passes serve the host
          minidvodbcopy run
              makes a pass
          minidvodbcopy crontab
              prints the lines that let cron make them
    "#]]
    .assert_eq(&shown(&world, &text(&world)));
    assert!(!world.state().exists(), "looking makes no state folder");
    let report = json(&world);
    assert_eq!((&report["version"], &report["ledger"]), (&Value::from(1), &Value::Null));
    assert_eq!(report["next"].as_array().unwrap().len(), 8);
}

#[test]
fn what_is_to_be_typed_names_the_state_folder_that_was_typed() {
    let world = World::new();
    let state = world.root.join("a state");
    let ran = world.shell(&format!("minidvodbcopy --state-dir '{state}' status"));
    let wanted = format!("\n  minidvodbcopy --state-dir '{state}' host add HOST\n");
    assert!(ran.stdout.contains(&wanted), "{}", ran.stdout);
}

#[test]
fn what_is_missing_is_said_until_it_is_there() {
    let world = World::new();
    let next = || -> Vec<String> {
        let steps = json(&world)["next"].as_array().unwrap().clone();
        steps.iter().map(|step| step["command"].as_str().unwrap().to_owned()).collect()
    };
    let folder = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(1, "ThreePi", &folder)]);
    let begin = ["minidvodbcopy run", "minidvodbcopy crontab"];
    let with = |first: &[&'static str]| [first, &begin].concat();
    assert_eq!(next(), with(&["minidvodbcopy target add GROUP HOST PATH", "minidvodbcopy host add HOST"]));
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    assert_eq!(next(), with(&["minidvodbcopy host add HOST"]));
    world.ok(&["host", "add", "localhost"]);
    assert_eq!(next(), begin);
    world.ok(&["stage", "off", "load", "run"]);
    assert_eq!(next(), with(&["minidvodbcopy stage on load run"]));
    world.ok(&["stage", "on"]);
    world.ok(&["run"]);
    assert_eq!(next(), [""; 0]);
}

#[test]
fn after_a_pass_it_shows_hosts_room_and_rates() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    world.ok(&["run"]);
    let report = json(&world);
    let ledger = &report["ledger"];
    let host = &ledger["hosts"][0];
    assert_eq!(
        (&host["host"], &host["machine"], &host["on"]),
        (&"ipp0222".into(), &"ipp022".into(), &true.into())
    );
    assert_eq!((&host["copies"]["full"], &host["copies"]["new"]), (&2.into(), &0.into()));
    assert_eq!(host["queue"]["empty"]["is"], "now");
    let room = &ledger["rooms"][0];
    let (total, free) = (room["total_bytes"].as_u64().unwrap(), room["free_bytes"].as_u64().unwrap());
    assert!(total >= free && free > 0, "{room}");
    assert_eq!(room["limit_percent"], 97);
    assert!(room["seen_at"].is_string() && room["mount_point"].is_string(), "{room}");
    let copied = ledger["copied"].as_array().unwrap();
    assert_eq!(copied.len(), 3);
    for period in copied {
        assert_eq!((&period["full"], &period["faulted"]), (&2.into(), &0.into()));
        let sent = slow::source_bytes(&world, "ThreePi.1") + slow::source_bytes(&world, "ThreePi.2");
        assert_eq!(period["sent_bytes"], sent);
        assert!(period["rate_bytes_per_s"].as_u64().unwrap() > 0);
    }
    let text = text(&world);
    for part in ["ipp0222  ipp022   on     2", " 97 %", "last 2 days", "last month", "queue       empty"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn the_room_is_the_one_that_is_left_after_the_last_copy() {
    if !is_root() {
        return;
    }
    for host in ["localhost", "ipp0222"] {
        let world = World::with_sshd();
        let mount = Mount::tmpfs(&world.there(), "size=64m");
        let folder = world.make("ThreePi.1", Shape::tiny());
        std::fs::write(folder.join("large.dat"), vec![1; 32 << 20]).unwrap();
        world.import(&[(1, "ThreePi", &folder)]);
        world.ok(&["target", "add", "ThreePi", host, world.there().as_str()]);
        world.ok(&["host", "add", host]);
        world.ok(&["run"]);
        let report = json(&world);
        let room = &report["ledger"]["rooms"][0];
        let stats = rustix::fs::statvfs(world.there().as_std_path()).unwrap();
        assert_eq!(room["free_bytes"], stats.f_bavail * stats.f_frsize, "{host}");
        assert_eq!(room["used_percent"], mount.used_percent(), "{host}");
        assert_eq!(room["mount_point"], world.there().as_str(), "{host}");
        assert!(matches!(room["limit"]["is"].as_str(), Some("at")), "{room}");
    }
}

#[test]
fn a_queue_that_does_not_fit_is_said_before_it_is_copied() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _mount = Mount::tmpfs(&world.there(), "size=64m");
    let folders = ["ThreePi.1", "ThreePi.2", "ThreePi.3"].map(|name| {
        let folder = world.make(name, Shape::tiny());
        std::fs::write(folder.join("large.dat"), vec![1; 24 << 20]).unwrap();
        folder
    });
    let rows: Vec<_> = (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world.ok(&["run", "--limit", "1"]);
    let report = json(&world);
    let room = &report["ledger"]["rooms"][0];
    assert_eq!(room["queue_fits"], false, "{room}");
    let text = unwrapped(&text(&world));
    assert!(text.contains("is at its limit before the queue is empty"), "{text}");
}

#[test]
fn a_pass_under_way_is_shown_and_not_disturbed() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    assert_eq!(running(&world), Value::Array(Vec::new()));
    let pass = slow::start_and_meet(&world, &["run"]);
    let mut done = 0;
    eventually("the pass has sent something", || {
        let seen = running(&world)[0].clone();
        done = seen["done_bytes"].as_u64().unwrap_or_default();
        seen["phase"] == "sending" && done > 0
    });
    let seen = running(&world)[0].clone();
    assert_eq!(seen["total_bytes"], slow::source_bytes(&world, "ThreePi.1"));
    assert_eq!((&seen["name"], &seen["minidvodbcopy_id"]), (&"ThreePi.1".into(), &1.into()));
    assert_eq!((&seen["pid"], &seen["attempt"]), (&pass.id().into(), &1.into()));
    assert!(seen["rate_bytes_per_s"].as_u64().unwrap() > 0, "{seen}");
    let text = text(&world);
    assert!(text.contains("ThreePi.1 (copy 1)"), "{text}");
    finish(pass).expect(0).is_silent();
    world.expect_arrived("ThreePi.1");
    assert_eq!(running(&world), Value::Array(Vec::new()));
}

#[test]
fn however_often_it_is_asked_no_pass_finds_its_target_taken() {
    let world = World::new();
    world.prepare("localhost", 1);
    let mut askers: Vec<_> = (0..2)
        .map(|_| {
            let typed = "while :; do \"$0\" status >/dev/null || exit 1; done";
            let mut command = std::process::Command::new("/bin/sh");
            let like = world.own_command(&[]);
            command.args(["-c", typed]).arg(like.get_program()).env_clear().current_dir(&world.root);
            command.envs(like.get_envs().filter_map(|(key, value)| Some((key, value?))));
            command.stdin(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for _ in 0..20 {
        let ran = world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]);
        ran.is_silent();
    }
    for asker in &mut askers {
        assert!(asker.try_wait().unwrap().is_none(), "a status failed");
        asker.kill().unwrap();
        asker.wait().unwrap();
    }
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_killed_pass_is_not_under_way() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let pass = slow::start_and_meet(&world, &["run"]);
    let pid = pass.id();
    processes::signal(pid, Signal::KILL).unwrap();
    // Also in the very moment of its end.
    for _ in 0..5 {
        world.ok(&["status"]);
    }
    finish(pass);
    assert_eq!(running(&world), Value::Array(Vec::new()));
    assert_eq!(json(&world)["ledger"]["hosts"][0]["copies"]["new"], 1);
}

#[test]
fn a_fault_of_a_host_is_shown_with_its_next_probe_and_the_copy_behind_it_waits() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.sshd().revoke_key().unwrap();
    world.run(&["run"]).expect(1);
    let report = json(&world);
    let ledger = &report["ledger"];
    let fault = &ledger["faults"][0];
    assert_eq!((&fault["of"], &fault["fault"]), (&"host".into(), &212.into()));
    assert!(fault["since"].is_string() && fault["next_probe"].is_string(), "{fault}");
    let copies = &ledger["hosts"][0]["copies"];
    assert_eq!((&copies["new"], &copies["retry"], &copies["person"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(ledger["queue"]["empty"]["is"], "unknown");
    let text = unwrapped(&text(&world));
    assert!(text.contains("212 host-refused") && text.contains("the host has a fault"), "{text}");
    assert!(text.contains("class person, since "), "{text}");
    assert!(text.contains("`minidvodbcopy faults 212` says what to do"), "{text}");
}

#[test]
fn what_needs_a_person_is_counted_and_pointed_at() {
    let world = World::new();
    world.prepare("localhost", 2);
    std::fs::create_dir(world.there().join("ThreePi.1")).unwrap();
    world.run(&["run"]).expect(1);
    let report = json(&world);
    let copies = &report["ledger"]["hosts"][0]["copies"];
    assert_eq!((&copies["full"], &copies["person"]), (&1.into(), &1.into()));
    assert_eq!(report["ledger"]["queue"]["copies"], 0);
    let text = unwrapped(&text(&world));
    assert!(text.contains("for a person 1 copy: `minidvodbcopy list --faulted`"), "{text}");
}

#[test]
fn a_queue_is_forecast_by_the_rate_and_mean_size_of_what_was_copied() {
    let world = World::new();
    world.prepare("localhost", 3);
    world.ok(&["run", "--limit", "1"]);
    let report = json(&world);
    let queue = &report["ledger"]["queue"];
    assert_eq!(queue["copies"], 2);
    let one = slow::source_bytes(&world, "ThreePi.1");
    assert_eq!(queue["bytes"], 2 * one, "by the mean size of one");
    assert_eq!(queue["empty"]["is"], "at", "{queue}");
    let text = unwrapped(&text(&world));
    assert!(text.contains("; empty in about "), "{text}");
    world.ok(&["host", "del", "localhost"]);
    let report = json(&world);
    assert_eq!(report["ledger"]["queue"]["empty"]["why"], "localhost: the host is off");
}

#[test]
fn what_nobody_can_know_is_said_to_be_unknown() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp0222", 3);
    world.ok(&["stage", "on"]);
    let report = json(&world);
    let ledger = &report["ledger"];
    assert_eq!(ledger["queue"]["bytes"], Value::Null);
    assert_eq!(ledger["queue"]["empty"]["is"], "unknown");
    assert_eq!(ledger["rooms"][0]["limit"]["is"], "unknown");
    expect![[r#"
        ledger      ROOT/state
        stages      queue on, load on, run on
        minidvodbs  3
        queue       3 copies, of unknown size; when it is empty is unknown: ipp0222: no
                    minidvodb was sized yet

        HOST     MACHINE  IS  FULL  NEW  RETRY  PERSON  EMPTY IN
        ipp0222  ipp0222  on     0    3      0       0  unknown

        HOST     FILE SYSTEM  USED   MAX  FREE  SEEN (UTC)  AT MAX IN
        ipp0222  ?               ?  97 %     ?  not yet     unknown
    "#]]
    .assert_eq(&shown(&world, &text(&world)));
}

#[test]
fn how_far_the_database_is_behind_is_said_though_it_is_away() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["database", "set", "mysql://ipp@127.0.0.1:1/gpc1"]);
    world.ok(&["run"]);
    let report = json(&world);
    let database = &report["ledger"]["database"];
    assert_eq!((&database["behind"], &database["synced_at"]), (&1.into(), &Value::Null));
    assert!(database["away_since"].is_string(), "{database}");
    let text = unwrapped(&text(&world));
    assert!(text.contains("1 copy behind, never synced; away since"), "{text}");
}

#[test]
fn long_names_stay_within_eighty_columns() {
    let world = World::new();
    let host = format!("{}.example.org", "x".repeat(200));
    let group = "a group with blanks and a name of sixty-four bytes at the most..";
    world.ok(&["target", "add", group, &host, &format!("/{}", "data/".repeat(40))]);
    world.ok(&["host", "add", &host]);
    world.ok(&["target", "add", "ThreePi", "user@ipp0222", "/data"]);
    let text = text(&world);
    assert!(text.contains("user@ipp0222"), "{text}");
}

#[test]
fn the_shape_of_the_json_is_the_documented_one() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 2);
    world.ok(&["database", "set", "mysql://ipp@127.0.0.1:1/gpc1"]);
    std::fs::create_dir(world.there().join("ThreePi.2")).unwrap();
    let pass = slow::start_and_meet(&world, &["run"]);
    let report = json(&world);
    finish(pass);
    let mut keys = Vec::new();
    collect_keys("", &report, &mut keys);
    keys.sort();
    keys.dedup();
    expect![[r#"
        at
        ledger
        ledger.copied
        ledger.copied.faulted
        ledger.copied.full
        ledger.copied.interrupted
        ledger.copied.period
        ledger.copied.rate_bytes_per_s
        ledger.copied.seconds
        ledger.copied.sent_bytes
        ledger.copied.since
        ledger.database
        ledger.database.away_because
        ledger.database.away_since
        ledger.database.behind
        ledger.database.synced_at
        ledger.database.url
        ledger.faults
        ledger.hosts
        ledger.hosts.copies
        ledger.hosts.copies.again
        ledger.hosts.copies.full
        ledger.hosts.copies.full_faulted
        ledger.hosts.copies.new
        ledger.hosts.copies.parked
        ledger.hosts.copies.person
        ledger.hosts.copies.retry
        ledger.hosts.host
        ledger.hosts.machine
        ledger.hosts.on
        ledger.hosts.queue
        ledger.hosts.queue.bytes
        ledger.hosts.queue.copies
        ledger.hosts.queue.empty
        ledger.hosts.queue.empty.is
        ledger.hosts.queue.empty.why
        ledger.hosts.rate_bytes_per_s
        ledger.hosts.targets
        ledger.minidvodbs
        ledger.queue
        ledger.queue.bytes
        ledger.queue.copies
        ledger.queue.empty
        ledger.queue.empty.is
        ledger.queue.empty.why
        ledger.rooms
        ledger.rooms.free_bytes
        ledger.rooms.groups
        ledger.rooms.host
        ledger.rooms.limit
        ledger.rooms.limit.is
        ledger.rooms.limit.why
        ledger.rooms.limit_percent
        ledger.rooms.mount_point
        ledger.rooms.queue_fits
        ledger.rooms.seen_at
        ledger.rooms.total_bytes
        ledger.rooms.used_percent
        ledger.running
        ledger.running.attempt
        ledger.running.done_bytes
        ledger.running.group
        ledger.running.host
        ledger.running.minidvodbcopy_id
        ledger.running.name
        ledger.running.phase
        ledger.running.phase_seconds
        ledger.running.pid
        ledger.running.rate_bytes_per_s
        ledger.running.total_bytes
        ledger.stages
        ledger.stages.load
        ledger.stages.queue
        ledger.stages.run
        next
        state_dir
        version"#]]
    .assert_eq(&keys.join("\n"));
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once("## Looking at it: status").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    for key in keys.iter().filter_map(|key| key.rsplit(['.', ' ']).next()) {
        assert!(section.contains(&format!("`{key}`")), "the README does not explain {key}");
    }
}

/// Every key, with the way to it.
fn collect_keys(way: &str, value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let way = if way.is_empty() { key.clone() } else { format!("{way}.{key}") };
                keys.push(way.clone());
                collect_keys(&way, value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(way, value, keys)),
        _ => {}
    }
}
