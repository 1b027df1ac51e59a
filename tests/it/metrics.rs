//! `metrics`, and `run --metrics FILE`: what Prometheus's textfile collector gets, also when the pass went wrong.

use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;
use xtask::dvo::Shape;
use xtask::processes::{Signal, signal};

use super::shown::queue;
use super::slow::{self, Gate, Hold};
use super::world::{World, eventually, finish, names_in};

/// The number of a sample, by its name with its labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[track_caller]
fn expect_sample(text: &str, name: &str, wanted: f64) {
    assert_eq!(sample(text, name), Some(wanted), "{name} in:\n{text}");
}

/// Every sample belongs to a family whose HELP and TYPE stand before it, once.
#[track_caller]
fn expect_well_formed(text: &str) {
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!families.contains(&name) && help.len() > 10, "{line}");
            families.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(families.last(), Some(&name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(families.last(), Some(&name), "{line}");
            assert!(name.starts_with("minidvodbcopy_"), "{line}");
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        }
    }
    assert!(!families.is_empty() && text.ends_with('\n'));
}

fn read(file: &Utf8Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    expect_well_formed(&text);
    text
}

#[test]
fn without_a_ledger_they_are_valid_and_say_so_and_make_none() {
    let world = World::new();
    let ran = world.ok(&["metrics"]);
    assert_eq!(ran.stderr, "");
    expect_well_formed(&ran.stdout);
    expect_sample(&ran.stdout, "minidvodbcopy_ledger_readable", 0.0);
    assert!(!ran.stdout.contains("last_pass_timestamp"), "what is not known is left out");
    assert!(!world.state().exists());
}

#[test]
fn they_are_what_the_passes_did() {
    let world = World::new();
    world.prepare("localhost", 3);
    std::fs::remove_file(world.source("ThreePi.3").join("Images.dat")).unwrap();
    world.run(&["run"]).expect(1);
    let text = world.ok(&["metrics"]).stdout;
    expect_well_formed(&text);
    let of = |kind: &str, state: &str| {
        format!(
            "minidvodbcopy_copies{{group=\"ThreePi\",host=\"localhost\",kind=\"{kind}\",state=\"{state}\"}}"
        )
    };
    expect_sample(&text, &of("full", "full"), 2.0);
    expect_sample(&text, &of("person", "new"), 1.0);
    let fault =
        "{class=\"person\",code=\"201\",group=\"ThreePi\",host=\"localhost\",name=\"source-missing\"}";
    expect_sample(&text, &format!("minidvodbcopy_faulted_copies{fault}"), 1.0);
    let full = "{code=\"\",host=\"localhost\",outcome=\"full\"}";
    expect_sample(&text, &format!("minidvodbcopy_attempts_total{full}"), 2.0);
    let bytes: u64 = world.list().iter().filter_map(|copy| copy["bytes"].as_u64()).sum();
    expect_sample(&text, &format!("minidvodbcopy_sent_bytes_total{full}"), bytes as f64);
    assert!(sample(&text, &format!("minidvodbcopy_attempt_seconds_total{full}")).unwrap() > 0.0);
    expect_sample(&text, "minidvodbcopy_minidvodbs", 3.0);
    expect_sample(&text, "minidvodbcopy_host_on{host=\"localhost\",machine=\"localhost\"}", 1.0);
    expect_sample(&text, "minidvodbcopy_stage_on{stage=\"run\"}", 1.0);
    expect_sample(&text, "minidvodbcopy_database_set", 0.0);
    expect_sample(&text, "minidvodbcopy_ledger_readable", 1.0);
    expect_sample(&text, "minidvodbcopy_last_pass_exit_code", 1.0);
    assert!(!text.contains("last_success_timestamp"), "there was none yet");
}

#[test]
fn a_pass_that_faults_is_the_last_one_and_no_success() {
    let mut world = World::new();
    world.prepare("localhost", 1);
    let file = world.root.join("minidvodbcopy.prom");
    world.ok(&["run", "--metrics", "minidvodbcopy.prom"]).is_silent();
    let good = read(&file);
    let (last, success) =
        ("minidvodbcopy_last_pass_timestamp_seconds", "minidvodbcopy_last_success_timestamp_seconds");
    assert_eq!(sample(&good, last), sample(&good, success));
    expect_sample(&good, "minidvodbcopy_last_pass_exit_code", 0.0);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o644,
        "the collector reads it"
    );

    let names = names_in(&world.root);
    world.import(&[(2, "ThreePi", Utf8Path::new("/nowhere/ThreePi.2"))]);
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "3600");
    world.run(&["run", "--metrics", file.as_str()]).expect(1);
    let bad = read(&file);
    assert_eq!(sample(&bad, success), sample(&good, success));
    assert!(sample(&bad, last).unwrap() >= sample(&good, last).unwrap() + 3600.0);
    expect_sample(&bad, "minidvodbcopy_last_pass_exit_code", 1.0);
    assert_eq!(names_in(&world.root), names, "nothing is left beside it");
}

#[test]
fn a_pass_that_finds_everything_in_other_hands_is_no_success() {
    let mut world = World::new();
    world.prepare("localhost", 2);
    world.ok(&["run", "--limit", "1"]).is_silent();
    let (last, success) =
        ("minidvodbcopy_last_pass_timestamp_seconds", "minidvodbcopy_last_success_timestamp_seconds");
    let first = sample(&world.ok(&["metrics"]).stdout, success).unwrap();
    let gate = Gate::closed(&world, "rsync", "*' --partial-dir='*", &Hold::Before);
    let pass = world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "3600");
    world.ok(&["run"]).is_silent();
    let text = world.ok(&["metrics"]).stdout;
    assert!(sample(&text, last).unwrap() >= first + 3500.0, "{text}");
    expect_sample(&text, "minidvodbcopy_last_pass_exit_code", 0.0);
    expect_sample(&text, success, first);
    // One that serves another target meanwhile is.
    let (folder, there) = (world.make("SAS.1", Shape::tiny()), world.root.join("there2"));
    std::fs::create_dir(&there).unwrap();
    world.import(&[(3, "SAS", &folder)]);
    world.ok(&["target", "add", "SAS", "localhost", there.as_str()]);
    world.ok(&["run"]).is_silent();
    assert!(sample(&world.ok(&["metrics"]).stdout, success).unwrap() >= first + 3500.0);
    gate.open();
    finish(pass).expect(0);
}

#[test]
fn the_oldest_copy_is_one_that_waits_for_no_person_and_a_later_attempt_makes_it_no_younger() {
    let mut world = World::new();
    let folders = ["ThreePi.1", "ThreePi.2"].map(|name| world.make(name, slow::SHAPE));
    world.ok(&["host", "add", "localhost"]);
    let target = ["target", "add", "ThreePi", "localhost", world.there().as_str()].map(str::to_owned);
    let target: Vec<&str> = target.iter().map(String::as_str).collect();
    world.ok(&[&target[..], &["--bwlimit", "20", "--deadline", "2"]].concat());
    let oldest = |world: &World| {
        let of = "{group=\"ThreePi\",host=\"localhost\"}";
        sample(&world.ok(&["metrics"]).stdout, &format!("minidvodbcopy_oldest_pending_timestamp_seconds{of}"))
    };
    std::fs::remove_file(folders[0].join("Images.dat")).unwrap();
    world.import(&[(1, "ThreePi", &folders[0])]);
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "-3600");
    world.run(&["run"]).expect(1).says("fault 201");
    assert_eq!(oldest(&world), None, "it waits for a person");
    world.import(&[(2, "ThreePi", &folders[1])]);
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "0");
    world.run(&["run"]).expect(1).says("fault 241");
    let first = oldest(&world).unwrap();
    let last = |world: &World| {
        sample(&world.ok(&["metrics"]).stdout, "minidvodbcopy_last_pass_timestamp_seconds").unwrap()
    };
    assert!((last(&world) - first).abs() < 60.0, "not since the other one waits");
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "7200");
    world.run(&["run"]).expect(1);
    assert!(last(&world) >= first + 7200.0 && world.copy(2)["attempts"] == 2, "{}", world.copy(2));
    assert_eq!(oldest(&world).map(f64::floor), Some(first.floor()));
}

#[test]
fn a_copy_behind_a_fault_of_its_host_waits_for_no_person() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.sshd().revoke_key().unwrap();
    world.run(&["run"]).expect(1).says("fault 212");
    let text = world.ok(&["metrics"]).stdout;
    let of = |kind: &str| {
        format!("minidvodbcopy_copies{{group=\"ThreePi\",host=\"ipp0222\",kind=\"{kind}\",state=\"new\"}}")
    };
    expect_sample(&text, &of("retry"), 1.0);
    expect_sample(&text, &of("new"), 1.0);
    assert_eq!(sample(&text, &of("person")), None, "{text}");
    let fault = "class=\"person\",code=\"212\",group=\"\",host=\"ipp0222\",name=\"host-refused\"";
    let since = format!("minidvodbcopy_standing_fault_since_timestamp_seconds{{{fault}}}");
    assert!(sample(&text, &since).is_some(), "{text}");
}

#[test]
fn a_pass_that_is_ended_by_a_signal_writes_them_too() {
    let world = World::new();
    let folder = world.make("ThreePi.1", Shape::tiny());
    std::fs::write(folder.join("more.dat"), vec![7; 4_000_000]).unwrap();
    world.import(&[(1, "ThreePi", &folder)]);
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str(), "--bwlimit", "100"]);
    world.ok(&["host", "add", "localhost"]);
    let file = world.root.join("minidvodbcopy.prom");
    let pass = world.start(&["run", "--metrics", file.as_str()]);
    eventually("the pass copies", || {
        sample(&world.ok(&["metrics"]).stdout, "minidvodbcopy_served_targets") == Some(1.0)
            && !names_in(&world.there()).is_empty()
    });
    signal(pass.id(), Signal::TERM).unwrap();
    finish(pass).expect(143);
    let text = read(&file);
    expect_sample(&text, "minidvodbcopy_last_pass_exit_code", 143.0);
    expect_sample(&text, "minidvodbcopy_served_targets", 0.0);
}

#[test]
fn a_file_that_cannot_be_written_is_said_and_the_pass_is_done_all_the_same() {
    let world = World::new();
    world.prepare("localhost", 1);
    let ran = world.run(&["run", "--metrics", "missing/minidvodbcopy.prom"]).expect(78);
    ran.says("the folder of missing/minidvodbcopy.prom is not there");
    assert_eq!(world.standing(1), "full 0");
    world.expect_arrived("ThreePi.1");
    // A folder too is no file; the code is the same.
    world.run(&["run", "--metrics", "there"]).expect(78).says("there is a folder");
    world.run(&["copy", "ThreePi", "localhost", world.there().as_str(), "--metrics", "there"]).expect(78);
    let ran = world.run(&["run", "--metrics", ""]).expect(2);
    ran.says("'' is no file's name");
}

#[test]
fn a_dry_run_is_no_pass_and_has_no_metrics() {
    let world = World::new();
    world.prepare("localhost", 1);
    let there = world.there();
    for words in [&["run"][..], &["copy", "ThreePi", "localhost", there.as_str()]] {
        let words = [words, &["--dry-run", "--metrics", "out.prom"]].concat();
        world.run(&words).expect(2).says("--dry-run makes no pass");
    }
    assert!(!world.root.join("out.prom").exists());
    assert!(!world.state().join("last_pass").exists());
}

#[test]
fn a_ledger_that_is_damaged_is_a_number_too() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["run"]);
    std::fs::write(world.state().join("ledger.redb"), b"no ledger at all").unwrap();
    let file = world.root.join("minidvodbcopy.prom");
    world.run(&["run", "--metrics", file.as_str()]).expect(78).says("is damaged");
    let text = read(&file);
    expect_sample(&text, "minidvodbcopy_ledger_readable", 0.0);
    expect_sample(&text, "minidvodbcopy_last_pass_exit_code", 78.0);
    assert!(text.contains("minidvodbcopy_last_success_timestamp_seconds "));
    let printed = world.run(&["metrics"]).expect(78).says("is damaged").stdout;
    expect_well_formed(&printed);
    assert_eq!(printed, text, "the same as in the file");
}

#[test]
fn a_hostile_name_stays_within_its_label() {
    let world = World::new();
    let group = r#"a"b\c{x="y"} 1"#;
    world.ok(&["target", "add", group, "ipp022", "/there"]);
    let text = world.ok(&["metrics"]).stdout;
    expect_well_formed(&text);
    let labels = r#"{group="a\"b\\c{x=\"y\"} 1",host="ipp022"}"#;
    expect_sample(&text, &format!("minidvodbcopy_target_used_limit_ratio{labels}"), 0.97);
}

#[test]
fn an_idle_pass_writes_them_and_leaves_the_ledger_as_it_is() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["run"]);
    let before = std::fs::read(world.state().join("ledger.redb")).unwrap();
    world.ok(&["run", "--metrics", "out.prom"]).is_silent();
    assert_eq!(std::fs::read(world.state().join("ledger.redb")).unwrap(), before);
    expect_sample(&read(&world.root.join("out.prom")), "minidvodbcopy_last_pass_exit_code", 0.0);
}

#[test]
fn the_oldest_copy_waits_since_it_was_queued() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    let text = world.ok(&["metrics"]).stdout;
    let since =
        sample(&text, "minidvodbcopy_oldest_pending_timestamp_seconds{group=\"ThreePi\",host=\"ipp022\"}");
    let last = sample(&text, "minidvodbcopy_last_pass_timestamp_seconds").unwrap();
    assert!((last - since.unwrap()).abs() < 60.0);
}
