//! Full copies that are looked at again: damaged for real, in every way that a disk or a person damages them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use expect_test::expect;
use serde_json::Value;
use xtask::dvo::{self, Shape};
use xtask::processes::{self, Signal};

use super::ipp::Site;
use super::mounts::{Mount, is_root};
use super::slow::{self, Gate, Hold, write_program};
use super::world::{ALIASES, World, finish};

const HOST: &str = "ipp0222";
const HERE: &str = "localhost";
const QUICK: &[&str] = &["audit"];
const CHECKSUM: &[&str] = &["audit", "--checksum"];

/// Full copies of `ThreePi.1` to `ThreePi.COUNT`.
#[track_caller]
fn full(host: &str, count: u64) -> World {
    let world = if host == HERE { World::new() } else { World::with_sshd() };
    world.prepare(host, count);
    world.ok(&["run"]).is_silent();
    world
}

fn copied(world: &World) -> Utf8PathBuf {
    world.there().join("ThreePi.1")
}

/// Some file in a region folder of a copy, by its path below it.
#[track_caller]
fn a_file(world: &World) -> Utf8PathBuf {
    let entries = xtask::tree::list(copied(world)).unwrap();
    let found = entries.into_iter().find(|entry| entry.path.extension() == Some(OsStr::new("cpt")));
    Utf8PathBuf::try_from(found.unwrap().path).unwrap()
}

/// Everything at the destination with all that a change of it would change.
fn everything(world: &World) -> Vec<(std::path::PathBuf, u64, i64, i64, i64, i64)> {
    let entries = xtask::tree::list(world.there()).unwrap();
    let all = entries.into_iter().map(|entry| {
        let meta = fs::symlink_metadata(world.there().as_std_path().join(&entry.path)).unwrap();
        (entry.path, meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    });
    all.collect()
}

#[track_caller]
fn json(world: &World, words: &[&str], code: i32) -> Value {
    world.run(&[words, &["--json"]].concat()).expect(code).json()
}

/// What the log has of a text.
#[track_caller]
fn logged(world: &World, text: &str) -> usize {
    world.ok(&["log", "show", "-n", "1000"]).stdout.lines().filter(|line| line.contains(text)).count()
}

#[track_caller]
fn shown(world: &World) -> String {
    world.ok(&["show", "1"]).stdout
}

#[test]
fn what_is_as_it_was_sent_is_silent_and_nothing_is_touched_there() {
    for host in [HERE, HOST] {
        let world = full(host, 3);
        let before = everything(&world);
        assert!(!shown(&world).contains("audited"));
        world.ok(QUICK).is_silent();
        assert!(shown(&world).contains("by the manifest's sizes and times"), "{}", shown(&world));
        world.ok(CHECKSUM).is_silent();
        assert!(shown(&world).contains("by the manifest's checksums"), "{}", shown(&world));
        assert_eq!(everything(&world), before);
        assert_eq!(world.standing(1), "full 0");
        world.ok(&["ledger", "check"]);
        world.ok(&["run"]).is_silent();
    }
}

#[test]
fn the_report_as_json() {
    let world = full(HERE, 2);
    let file = a_file(&world);
    fs::remove_file(copied(&world).join(&file)).unwrap();
    let report = world.run(&["audit", "--json"]).expect(1).stdout;
    let report = report.replace(world.root.as_str(), "ROOT").replace(file.as_str(), "FILE");
    expect![[r#"
        {
          "audited": 2,
          "clean": 1,
          "missing": 1,
          "differing": 0,
          "content_not_compared": 0,
          "source_changed": 0,
          "not_audited": 0,
          "unexplained_folders": 0,
          "found": [
            {
              "minidvodbcopy_id": 1,
              "minidvodb_id": 1,
              "name": "ThreePi.1",
              "minidvodb_group": "ThreePi",
              "destination_host": "localhost",
              "outcome": "missing",
              "fault": 251,
              "fault_name": "missing-there",
              "compared": "quick",
              "message": "FILE is missing there"
            }
          ],
          "closed": [],
          "unexplained": []
        }
    "#]]
    .assert_eq(&report);
}

/// Something that happens to what is there.
type Damage = fn(&Utf8Path, &Utf8Path);

/// Damage, the fault, and what is said of the file.
const DAMAGES: &[(Damage, &str, &str)] = &[
    (|top, file| fs::remove_file(top.join(file)).unwrap(), "251", "is missing there"),
    (|top, _| fs::remove_dir_all(top).unwrap(), "251", "is gone"),
    (
        |top, file| {
            let times = fs::metadata(top.join(file)).unwrap().modified().unwrap();
            let file = fs::File::options().write(true).open(top.join(file)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(times).unwrap();
        },
        "252",
        "differs in size",
    ),
    (
        |top, file| {
            let file = fs::File::options().write(true).open(top.join(file)).unwrap();
            file.set_modified(std::time::SystemTime::now()).unwrap();
        },
        "252",
        "differs in time",
    ),
    (
        |top, file| {
            fs::remove_file(top.join(file)).unwrap();
            symlink("../Images.dat", top.join(file)).unwrap();
        },
        "252",
        "is no longer what it was",
    ),
    (
        |top, file| {
            fs::remove_file(top.join(file)).unwrap();
            assert!(Command::new("mkfifo").arg(top.join(file)).status().unwrap().success());
        },
        "252",
        "is no longer what it was",
    ),
    (
        |top, file| {
            fs::remove_file(top.join(file)).unwrap();
            fs::create_dir(top.join(file)).unwrap();
        },
        "252",
        "is no longer what it was",
    ),
];

/// A damaged copy is found, said once, kept as a fault, and mended by a recopy, whose copy is clean again.
#[track_caller]
fn found_and_mended(host: &str, words: &[&str], damage: Damage, code: &str, said: &str) {
    let world = full(host, 2);
    let file = a_file(&world);
    damage(&copied(&world), &file);
    let ran = world.run(words).expect(1);
    let found = format!("ThreePi.1 to {host} (copy 1): fault {code} ");
    assert!(ran.stderr.contains(&found) && ran.stderr.contains(said), "{said}: {}", ran.stderr);
    assert!(ran.stderr.contains("`minidvodbcopy recopy 1` sends it again"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert_eq!(world.standing(1), format!("full {code}"));
    assert_eq!(world.standing(2), "full 0");
    assert!(shown(&world).contains(said), "{}", shown(&world));
    assert_eq!(logged(&world, &format!("first fault {code}")), 1);
    let faulted = world.ok(&["list", "--faulted", "--format", "json"]).json();
    assert_eq!(faulted.as_array().unwrap().len(), 1);
    assert_eq!(faulted[0]["fault_class"], "person");
    // Found again: no news, but still an exit code.
    world.run(words).expect(1).is_silent();
    world.ok(&["run"]).is_silent();
    world.ok(&["recopy", "1"]).says("recovered from 25");
    slow::expect_only(&world, &["ThreePi.1", "ThreePi.2"]);
    assert_eq!(world.standing(1), "full 0");
    assert_eq!(logged(&world, &format!("has recovered from fault {code}")), 1);
    world.ok(CHECKSUM).is_silent();
    world.ok(&["ledger", "check"]);
}

#[test]
fn every_damage_is_found_by_size_and_time_and_mended_by_a_recopy() {
    for &(damage, code, said) in DAMAGES {
        found_and_mended(HERE, QUICK, damage, code, said);
    }
}

#[test]
fn the_same_over_ssh_and_with_checksums() {
    for &(damage, code, said) in DAMAGES {
        found_and_mended(HOST, CHECKSUM, damage, code, said);
    }
}

#[test]
fn a_byte_that_no_size_and_no_time_shows_is_found_by_its_checksum_only() {
    for host in [HERE, HOST] {
        let flip: Damage = |top, file| dvo::flip_byte(&top.join(file)).unwrap();
        let world = full(host, 1);
        flip(&copied(&world), &a_file(&world));
        world.ok(QUICK).is_silent();
        assert_eq!(world.standing(1), "full 0");
        found_and_mended(host, CHECKSUM, flip, "252", "differs in content");
    }
}

#[test]
fn a_quick_audit_does_not_take_a_fault_away_that_only_checksums_show() {
    let world = full(HERE, 1);
    dvo::flip_byte(&copied(&world).join(a_file(&world))).unwrap();
    world.run(CHECKSUM).expect(1).says("fault 252");
    world.run(QUICK).expect(1).is_silent();
    assert_eq!(world.standing(1), "full 252");
    dvo::flip_byte(&copied(&world).join(a_file(&world))).unwrap();
    world.run(QUICK).expect(1).is_silent();
    world.ok(CHECKSUM).says("as it was sent; recovered from 252");
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn what_was_put_back_is_clean_again_and_said_once() {
    let world = full(HERE, 1);
    let away = world.root.join("away");
    fs::rename(copied(&world), &away).unwrap();
    world.run(QUICK).expect(1).says("fault 251 missing-there").says("is gone");
    fs::rename(&away, copied(&world)).unwrap();
    world.ok(QUICK).says("ThreePi.1 to localhost (copy 1): as it was sent; recovered from 251 missing-there");
    world.ok(QUICK).is_silent();
    assert_eq!(world.standing(1), "full 0");
    assert_eq!(logged(&world, "has recovered from fault 251"), 1);
}

#[test]
fn passes_repeat_once_a_day_what_audits_have_found() {
    let mut world = full(HERE, 2);
    fs::remove_dir_all(copied(&world)).unwrap();
    world.run(QUICK).expect(1);
    world.ok(&["run"]).is_silent();
    for shift in ["86400", "172800"] {
        world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", shift);
        let ran = world.ok(&["run"]);
        let said = "ThreePi to localhost: audits have found full copies damaged: 251 missing-there (1)";
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        world.ok(&["run"]).is_silent();
    }
    world.ok(&["recopy", "1"]);
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "259200");
    world.ok(&["run"]).is_silent();
}

#[test]
fn a_recopy_of_a_copy_that_is_gone_survives_a_kill_at_its_rename() {
    for hold in [Hold::Before, Hold::After] {
        let world = full(HERE, 1);
        fs::remove_dir_all(copied(&world)).unwrap();
        world.run(QUICK).expect(1).says("fault 251");
        let gate = Gate::closed(&world, "mv", "*' -nT '*", &hold);
        let mut command = world.command(&["recopy", "1"]);
        let pass = command.env("PATH", gate.path()).spawn().unwrap();
        gate.wait(1);
        let children = processes::descendants(pass.id());
        slow::kill_alone(pass);
        slow::expect_gone(&world, &children, None);
        gate.open();
        assert_eq!(world.standing(1), "full 251");
        world.ok(&["run"]).says("recovered from 251");
        slow::expect_only(&world, &["ThreePi.1"]);
        assert_eq!(world.standing(1), "full 0");
    }
}

#[test]
fn something_extra_in_a_copy_is_a_fault_and_moved_away_it_is_none() {
    let world = full(HERE, 1);
    let extra = copied(&world).join("n0000/precious");
    fs::write(&extra, "not ours").unwrap();
    world.run(QUICK).expect(1).says("fault 252").says("n0000/precious is extra there");
    world.run(&["recopy", "1"]).expect(1).says("precious");
    assert_eq!(fs::read_to_string(&extra).unwrap(), "not ours");
    world.ok(&["recopy", "1", "--cancel"]);
    fs::remove_file(&extra).unwrap();
    world.ok(QUICK).says("recovered from 252");
}

#[test]
fn a_symlink_in_place_of_the_folder_is_not_followed() {
    for host in [HERE, HOST] {
        let world = full(host, 1);
        let elsewhere = world.root.join("elsewhere");
        fs::rename(copied(&world), &elsewhere).unwrap();
        symlink(&elsewhere, copied(&world)).unwrap();
        world.run(CHECKSUM).expect(1).says("fault 252").says("is no folder any more").says("symbolic link");
        assert_eq!(world.standing(1), "full 252");
        world.run(&["recopy", "1"]).expect(1).says("is not the folder that this ledger published");
        assert!(elsewhere.join("Images.dat").exists());
    }
}

#[test]
fn a_source_that_changed_since_is_said_apart_and_is_no_fault() {
    let world = full(HERE, 2);
    dvo::update(&world.source("ThreePi.1"), 7).unwrap();
    world.ok(CHECKSUM).is_silent();
    assert_eq!(world.standing(1), "full 0");
    assert!(shown(&world).contains("the source has changed since it was copied"), "{}", shown(&world));
    let report = json(&world, QUICK, 0);
    assert_eq!((&report["clean"], &report["source_changed"]), (&2.into(), &1.into()));
    assert_eq!(report["found"][0]["outcome"], "source changed");
    world.ok(&["-v", "audit"]).says("its source has changed since; `minidvodbcopy recopy 1` sends it again");
    // Both at once are both.
    fs::remove_file(copied(&world).join(a_file(&world))).unwrap();
    world.run(QUICK).expect(1).says("fault 251").says("its source has changed since, too");
}

#[test]
fn a_source_that_is_long_gone_hinders_no_audit() {
    for (host, verify) in [(HERE, "checksum"), (HOST, "checksum"), (HOST, "quick")] {
        let world = if host == HERE { World::new() } else { World::with_sshd() };
        world.prepare(host, 2);
        world.ok(&["target", "add", "ThreePi", host, world.there().as_str(), "--verify", verify]);
        world.ok(&["run"]).is_silent();
        fs::remove_dir_all(world.root.join("source")).unwrap();
        let report = json(&world, CHECKSUM, 0);
        assert_eq!((&report["clean"], &report["content_not_compared"]), (&2.into(), &0.into()), "{report}");
        dvo::flip_byte(&copied(&world).join("Images.dat")).unwrap();
        world.ok(QUICK).is_silent();
        world.run(CHECKSUM).expect(1).says("Images.dat differs in content");
        fs::remove_file(copied(&world).join("Images.dat")).unwrap();
        world.run(QUICK).expect(1).says("fault 251").says("Images.dat is missing there");
    }
}

#[test]
fn a_copy_without_a_manifest_is_compared_with_its_source_and_else_only_seen() {
    let world = full(HERE, 1);
    let manifest = world.state().join("manifests/1.tsv.gz");
    fs::remove_file(&manifest).unwrap();
    world.ok(QUICK).is_silent();
    assert!(shown(&world).contains("by the source's sizes and times"), "{}", shown(&world));
    world.ok(CHECKSUM).says("its content was not compared: no manifest was kept of it");
    let file = copied(&world).join(a_file(&world));
    let kept = fs::read(&file).unwrap();
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "x").unwrap();
    world.run(QUICK).expect(1).says("fault 252").says("it may be the source that changed");
    fs::write(&file, kept).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    world.ok(QUICK).says("recovered from 252");
    fs::remove_dir_all(world.source("ThreePi.1")).unwrap();
    let report = json(&world, QUICK, 0);
    assert_eq!(report["clean"], 1);
    assert!(shown(&world).contains("only that it is there"), "{}", shown(&world));
    fs::remove_dir_all(copied(&world)).unwrap();
    world.run(QUICK).expect(1).says("fault 251").says("is gone");
    // Half a manifest is none.
    fs::write(&manifest, "half").unwrap();
    world.run(QUICK).expect(1).is_silent();
}

#[test]
fn a_copy_called_full_by_hand_may_be_what_was_sent_or_what_the_source_is() {
    let world = full(HERE, 1);
    let (source, there) = (world.source("ThreePi.1"), copied(&world));
    world.ok(&["update", "--id", "1", "--set-state", "new"]);
    dvo::update(&source, 9).unwrap();
    // Somebody copies it with another program, and says so.
    fs::remove_dir_all(&there).unwrap();
    assert!(Command::new("cp").arg("-a").arg(&source).arg(&there).status().unwrap().success());
    world.ok(&["update", "--id", "1", "--set-state", "full"]);
    world.ok(QUICK).is_silent();
    fs::remove_file(there.join(a_file(&world))).unwrap();
    let ran = world.run(QUICK).expect(1).says("fault 251");
    assert!(ran.stderr.contains("this ledger did not publish it"), "{}", ran.stderr);
    // The advice is one that works.
    fs::remove_dir_all(&there).unwrap();
    world.ok(&["update", "--id", "1", "--set-state", "new", "--set-fault", "0"]);
    world.ok(&["run"]);
    world.ok(CHECKSUM).is_silent();
    world.expect_arrived("ThreePi.1");
}

#[test]
fn folders_that_no_copy_explains_are_named_and_are_no_fault() {
    let world = full(HERE, 2);
    for folder in ["stranger", "lost+found", ".minidvodbcopy/0123456789abcdef/x", "other/ThreePi"] {
        fs::create_dir_all(world.there().join(folder)).unwrap();
    }
    fs::create_dir(world.there().as_std_path().join(OsStr::from_bytes(b"odd\xff\n\x1b[31m"))).unwrap();
    fs::write(world.there().join("a file"), "x").unwrap();
    symlink("stranger", world.there().join("a link")).unwrap();
    world.ok(&["target", "add", "Other", HERE, world.there().join("other/ThreePi").as_str()]);
    world.ok(QUICK).is_silent();
    let report = json(&world, QUICK, 0);
    assert_eq!(report["unexplained_folders"], 2, "{report}");
    let mut names: Vec<_> = report["unexplained"]
        .as_array()
        .unwrap()
        .iter()
        .map(|folder| folder["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["odd\u{fffd}\\n\\u{1b}[31m", "stranger"]);
    let told = world.ok(&["-v", "audit"]).told();
    let line = format!("stranger in {} at localhost is of no copy in this ledger", world.there());
    assert!(told.contains(&line) && !told.contains('\u{1b}'), "{told}");
}

#[test]
fn a_budget_goes_round_from_the_oldest_audit_to_the_youngest() {
    let mut world = full(HERE, 3);
    let audited = |world: &World| -> Vec<bool> {
        let ids = ["1", "2", "3"];
        ids.iter().map(|id| world.ok(&["show", id]).stdout.contains("\naudited")).collect()
    };
    let one = ["audit", "--limit", "1"];
    for expected in [[true, false, false], [true, true, false], [true, true, true]] {
        world.ok(&one).is_silent();
        assert_eq!(audited(&world), expected);
    }
    fs::remove_dir_all(copied(&world)).unwrap();
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "60");
    world.run(&one).expect(1).says("(copy 1): fault 251");
    world.ok(&one).is_silent();
    // A clock that is set back leaves audits in the future, which count as none.
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "-86400");
    world.run(&one).expect(1).is_silent();
    assert_eq!(json(&world, &["audit", "--limit", "0"], 0)["audited"], 0);
}

#[test]
fn only_the_host_and_the_group_that_are_named_are_audited() {
    let world = World::with_sshd();
    world.prepare(HERE, 1);
    let other = world.make("Other.2", Shape::tiny());
    world.import(&[(2, "Other", &other)]);
    let there = world.root.join("there2");
    fs::create_dir(&there).unwrap();
    world.ok(&["target", "add", "Other", HOST, there.as_str()]);
    world.ok(&["host", "add", HOST]);
    world.ok(&["run"]).is_silent();
    let audited = |words: &[&str]| json(&world, &[QUICK, words].concat(), 0)["audited"].clone();
    assert_eq!(audited(&[]), 2);
    assert_eq!(audited(&["--host", HERE]), 1);
    assert_eq!(audited(&["--group", "Other"]), 1);
    assert_eq!(audited(&["--host", HERE, "--group", "Other"]), 0);
    // A host that is off is left alone, unless it is named.
    world.ok(&["host", "del", HOST]);
    assert_eq!(audited(&[]), 1);
    assert_eq!(audited(&["--host", HOST]), 1);
    world.ok(&["-v", "audit"]).says("ipp0222 is off, and was not audited");
    // One of which nothing is known is more likely a typing error.
    let ran = world.run(&["audit", "--host", "ipp0223"]).expect(2);
    ran.says("no target and no copy to ipp0223 is known").says("target show` lists what goes where");
    world.run(&["audit", "--group", "other"]).expect(2).says("no target and no copy of other is known");
    // Copies that nothing goes to any more are known.
    world.ok(&["target", "del", HOST, "Other"]);
    assert_eq!(audited(&["--host", HOST, "--group", "Other"]), 1);
}

#[test]
fn a_host_that_is_away_is_said_once_and_the_others_are_audited() {
    let mut world = World::with_sshd();
    world.prepare(HOST, 3);
    world.ok(&["run"]).is_silent();
    let there = world.root.join("there2");
    fs::create_dir(&there).unwrap();
    world.ok(&["target", "add", "ThreePi", HERE, there.as_str()]);
    world.ok(&["host", "add", HERE]);
    world.ok(&["run"]).is_silent();
    world.sshd().stop();
    // A budget is not eaten up by a host that does not answer.
    let ran = world.run(&["audit", "--limit", "3", "--json"]).expect(1);
    assert_eq!(ran.stderr.matches("host ipp0222 cannot be audited: fault 211").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("check ipp0222` looks what is wrong there"), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!((&report["audited"], &report["clean"]), (&3.into(), &3.into()), "{report}");
    assert_eq!(report["closed"][0]["fault"], 211);
    for id in 1..=6 {
        assert_eq!(world.standing(id), "full 0", "it is no fault of the copies");
    }
    // A pass that has met it has said it.
    let more = world.make("ThreePi.4", Shape::tiny());
    world.import(&[(4, "ThreePi", &more)]);
    world.run(&["run"]).expect(1).says("fault 211");
    world.run(QUICK).expect(1).is_silent();
    world.sshd().restart().unwrap();
    world.ok(QUICK).is_silent();
}

#[test]
fn a_path_that_is_away_or_on_another_disk_is_no_fault_of_the_copies() {
    let world = full(HERE, 2);
    let away = world.root.join("away");
    fs::rename(world.there(), &away).unwrap();
    let ran = world.run(QUICK).expect(1);
    let said = format!("{} at localhost cannot be audited: fault 221", world.there());
    assert_eq!(ran.stderr.matches(&said).count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("check localhost` looks what is wrong there"), "{}", ran.stderr);
    assert_eq!((world.standing(1), world.standing(2)), ("full 0".to_owned(), "full 0".to_owned()));
    fs::rename(&away, world.there()).unwrap();
    world.ok(QUICK).is_silent();
    if !is_root() {
        return;
    }
    let mut disk = Mount::tmpfs(&world.there(), "size=1m");
    world.run(QUICK).expect(1).says("cannot be audited: fault 227");
    assert_eq!(world.standing(1), "full 0");
    // Where no target says which disk is right, the device must be the one that it was put on.
    world.ok(&["target", "del", HERE, "ThreePi"]);
    world.run(QUICK).expect(1).says("fault 227").says("another device");
    assert_eq!(world.standing(1), "full 0");
    disk.unmount();
    world.ok(QUICK).is_silent();
}

#[test]
fn a_pass_under_way_is_not_disturbed_and_disturbs_no_audit() {
    let world = full(HERE, 2);
    let more = world.make("ThreePi.3", Shape::tiny());
    world.import(&[(3, "ThreePi", &more)]);
    let gate = Gate::closed(&world, "rsync", "*' --partial-dir='*", &Hold::Before);
    let pass = world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    let report = json(&world, CHECKSUM, 0);
    assert_eq!((&report["clean"], &report["unexplained_folders"]), (&2.into(), &0.into()), "{report}");
    gate.open();
    finish(pass).expect(0).is_silent();
    assert_eq!(world.standing(3), "full 0");
}

#[test]
fn a_copy_that_is_being_sent_again_is_left_to_the_next_audit() {
    let world = full(HERE, 2);
    fs::remove_file(copied(&world).join(a_file(&world))).unwrap();
    let gate = Gate::closed(&world, "rsync", "*' --partial-dir='*", &Hold::Before);
    let pass = world.command(&["recopy", "1"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    assert_eq!(json(&world, QUICK, 0)["audited"], 1, "the other one");
    gate.open();
    finish(pass).expect(0);
    assert_eq!(world.standing(1), "full 0");
    world.ok(QUICK).is_silent();
}

#[test]
fn a_copy_that_changed_in_the_ledger_while_it_was_looked_at_is_left_to_the_next_audit() {
    let world = full(HERE, 1);
    fs::remove_file(copied(&world).join(a_file(&world))).unwrap();
    let gate = Gate::closed(&world, "find", "*' -printf '*", &Hold::After);
    let audit = world.command(&["audit", "--json"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    world.ok(&["recopy", "1"]);
    gate.open();
    let report = finish(audit).expect(0).json();
    assert_eq!((&report["audited"], &report["not_audited"]), (&0.into(), &1.into()), "{report}");
    assert_eq!(world.standing(1), "full 0");
    world.ok(CHECKSUM).is_silent();
}

#[test]
fn ended_by_sigint_what_was_found_by_then_is_kept() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -1)] {
        let world = full(HERE, 3);
        fs::remove_dir_all(copied(&world)).unwrap();
        // The third copy is held: its folder is slow to list.
        let gate = Gate::closed(&world, "stat", "*' ./ThreePi.3 '*", &Hold::Before);
        let audit = world.command(QUICK).env("PATH", gate.path()).spawn().unwrap();
        gate.wait(1);
        let children = processes::descendants(audit.id());
        let ran = slow::signal(audit, signal);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        slow::expect_gone(&world, &children, None);
        gate.open();
        assert_eq!(world.standing(1), "full 251");
        assert!(!world.ok(&["show", "3"]).stdout.contains("audited"));
        if code > 0 {
            assert!(world.ok(&["show", "2"]).stdout.contains("audited"), "what was clean, too");
            assert!(ran.stderr.contains("the next audit goes on from here"), "{}", ran.stderr);
        }
        world.ok(&["ledger", "check"]);
        world.run(QUICK).expect(1).is_silent();
        assert!(world.ok(&["show", "3"]).stdout.contains("audited"));
    }
}

#[test]
fn odd_names_of_files_are_compared_and_shown_escaped() {
    for host in [HERE, HOST] {
        let world = World::with_sshd();
        let source = super::names::make_odd(&world);
        let long: Vec<u8> = (0..255u32).map(|n| if n % 2 == 0 { 0xff } else { b'\n' }).collect();
        fs::write(source.as_std_path().join(OsStr::from_bytes(&long)), "long").unwrap();
        world.import(&[(1, "ThreePi", &source)]);
        world.ok(&["copy", "ThreePi", host, world.there().as_str()]);
        let words = ["audit", "--checksum", "--host", host];
        let report = json(&world, &words, 0);
        assert_eq!((&report["clean"], &report["content_not_compared"]), (&1.into(), &0.into()), "{report}");
        let there = world.there().join("odd");
        fs::remove_file(there.as_std_path().join(OsStr::from_bytes(&long))).unwrap();
        fs::remove_file(there.join("bell\u{7} and escape\u{1b}[31m")).unwrap();
        dvo::flip_byte(&there.join("-rf")).unwrap();
        let ran = world.run(&words).expect(1).says("fault 251").says("escape\\u{1b}[31m is missing there");
        assert!(ran.stderr.contains("-rf differs in content"), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
        assert_eq!(world.standing(1), "full 251");
    }
}

#[test]
fn a_name_and_a_path_that_look_like_code_are_looked_at_and_nothing_is_executed() {
    for host in [HERE, HOST] {
        let world = World::with_sshd();
        let name = "it's $(touch pwned) `touch pwned`; touch pwned *[x] -rf";
        let source = world.make(name, Shape::tiny());
        let there = world.there().join("a 'quoted' $(touch pwned) [path]");
        fs::create_dir(&there).unwrap();
        world.import(&[(1, "ThreePi", &source)]);
        world.ok(&["copy", "ThreePi", host, there.as_str()]);
        let words = ["audit", "--checksum", "--host", host];
        assert_eq!(json(&world, &words, 0)["clean"], 1);
        dvo::flip_byte(&there.join(name).join("Images.dat")).unwrap();
        world.run(&words).expect(1).says("Images.dat differs in content");
        for folder in [world.root.clone(), world.there(), there.clone(), there.join(name), "/".into()] {
            assert!(!folder.join("pwned").exists(), "in {folder}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_listed_whole_differs_and_is_not_called_missing() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.prepare(HERE, 1);
    slow::give_away(&world);
    world.ok(&["run"]).is_silent();
    let folder = copied(&world).join(a_file(&world)).parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    world
        .run(QUICK)
        .expect(1)
        .says("fault 252")
        .says("not all of it can be read there")
        .says("Permission denied");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let file = copied(&world).join(a_file(&world));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    world.run(CHECKSUM).expect(1).is_silent();
    assert!(shown(&world).contains("can't be read there"), "{}", shown(&world));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    world.ok(CHECKSUM).says("recovered from 252");
}

#[test]
fn a_tool_that_is_killed_there_says_nothing_of_the_copy() {
    // Each call of stat on the folder is killed once, and so is find, with half a list.
    let calls = [("stat", "'-c %F -- ./'*"), ("stat", "'-c %d %i -- ./'*"), ("find", "'. -printf '*")];
    for (tool, call) in calls {
        let world = full(HERE, 1);
        let (folder, mark) = (world.root.join("deadly"), world.root.join("killed"));
        fs::create_dir(&folder).unwrap();
        let real = slow::real(tool);
        let deadly = format!(
            "#!/bin/sh\ncase \"$*\" in {call}) [ -e {mark} ] || {{ : > {mark}; [ {tool} = stat ] || {real} \"$@\" | head -c 300; kill -KILL $$; }};; esac\nexec {real} \"$@\"\n"
        );
        write_program(&folder.join(tool), &deadly);
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
        let ran = finish(world.command(QUICK).env("PATH", path).spawn().unwrap());
        assert!(mark.exists(), "{tool} {call} was not called");
        assert_eq!(world.standing(1), "full 0", "{tool} {call}: {}", ran.stderr);
        ran.expect(1).says("signal 9");
        world.ok(QUICK).is_silent();
    }
}

#[test]
fn a_copy_that_is_listed_without_sense_keeps_no_other_from_its_turn() {
    let world = full(HERE, 3);
    let folder = world.root.join("odd");
    fs::create_dir(&folder).unwrap();
    let real = slow::real("find");
    let odd =
        format!("#!/bin/sh\ncase $PWD in */ThreePi.1) printf 'odd\\0'; exit 0;; esac\nexec {real} \"$@\"\n");
    write_program(&folder.join("find"), &odd);
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let audit = || world.command(&["audit", "--limit", "1"]).env("PATH", &path).spawn().unwrap();
    finish(audit()).expect(1).says("ThreePi.1 to localhost (copy 1) cannot be audited: fault 214");
    assert!(world.ok(&["show", "2"]).stdout.contains("by the manifest's sizes"));
    assert!(shown(&world).contains("nothing could be compared"), "{}", shown(&world));
    assert_eq!(world.standing(1), "full 0");
    // Its turn comes again behind all others.
    finish(audit()).expect(0).is_silent();
    assert!(world.ok(&["show", "3"]).stdout.contains("by the manifest's sizes"));
    world.ok(QUICK).is_silent();
    assert!(shown(&world).contains("by the manifest's sizes"), "{}", shown(&world));
}

/// A host whose tool of that name is another program.
#[track_caller]
fn with_tool(tool: &str, script: &str) -> World {
    let mut world = World::with_sshd_options(xtask::sshd::SshdOptions::known_as(&ALIASES));
    world.prepare(HOST, 1);
    world.ok(&["run"]).is_silent();
    let bin = world.root.join("other-tools");
    fs::create_dir(&bin).unwrap();
    write_program(&bin.join(tool), script);
    let path = format!("SetEnv PATH={bin}:{}", std::env::var("PATH").unwrap());
    world.sshd().restart_with(&[&path]).unwrap();
    world
}

#[test]
fn a_host_that_prints_without_end_is_given_up_and_costs_no_memory() {
    let item = "exec yes '>f+++++++++ d41d8cd98f00b204e9800998ecf8427e 1 x'";
    for (tool, words, act) in [("find", QUICK, "exec tr '\\0' x </dev/zero"), ("rsync", CHECKSUM, item)] {
        let real = slow::real(tool);
        let script = format!("#!/bin/sh\ncase $1 in --version|--server) exec {real} \"$@\";; esac\n{act}\n");
        let world = with_tool(tool, &script);
        let mut audit = world.start(words);
        let peak = super::trust::peak_bytes(&mut audit);
        let ran = finish(audit).expect(1).says("ThreePi.1 to ipp0222 (copy 1) cannot be audited: fault 214");
        assert!(peak < 48 << 20, "{act}: {peak} bytes of memory");
        assert!(ran.stderr.len() < 2_000, "{act}: {}", ran.stderr);
        assert_eq!(world.standing(1), "full 0", "{act}");
    }
}

#[test]
fn an_rsync_there_that_cannot_make_the_checksums_is_named_and_the_source_is_asked_while_it_is_there() {
    let real = slow::real("rsync");
    let refuses = format!(
        "#!/bin/sh\ncase \" $* \" in *' --checksum-choice='*) echo 'unknown checksum name: xxh128' >&2; exit 4;; esac\nexec {real} \"$@\"\n"
    );
    let world = with_tool("rsync", &refuses);
    let report = json(&world, CHECKSUM, 0);
    assert_eq!((&report["clean"], &report["content_not_compared"]), (&1.into(), &0.into()), "{report}");
    assert!(shown(&world).contains("checksums"), "{}", shown(&world));
    dvo::flip_byte(&copied(&world).join("Images.dat")).unwrap();
    world.run(CHECKSUM).expect(1).says("fault 252").says("Images.dat differs");
    dvo::flip_byte(&copied(&world).join("Images.dat")).unwrap();
    world.ok(CHECKSUM).says("recovered from 252");
    fs::remove_dir_all(world.source("ThreePi.1")).unwrap();
    let ran = world.run(&["audit", "--checksum", "--json"]).expect(0).says("ThreePi.1 to ipp0222 (copy 1)");
    let ran = ran.says("its content was not compared: rsync there ended with code 4: unknown checksum name");
    assert_eq!(ran.json()["content_not_compared"], 1);
    assert!(shown(&world).contains("sizes and times"), "{}", shown(&world));
}

#[test]
fn a_disk_that_lost_everything_is_some_messages_and_a_number() {
    let world = World::new();
    let count = 25;
    let folder = world.make("ThreePi.1", Shape { regions: 1, files_per_region: 1, rows_per_file: 1 });
    for id in 2..=count {
        let status =
            Command::new("cp").arg("-a").arg(&folder).arg(world.source(&format!("ThreePi.{id}"))).status();
        assert!(status.unwrap().success());
    }
    let folders: Vec<_> = (1..=count).map(|id| world.source(&format!("ThreePi.{id}"))).collect();
    let rows: Vec<_> = (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    world.ok(&["copy", "ThreePi", HERE, world.there().as_str()]).is_silent();
    for name in world.names_there() {
        fs::remove_dir_all(world.there().join(name)).unwrap();
    }
    let ran = world.run(&["audit", "--host", HERE]).expect(1);
    assert_eq!(ran.stderr.matches("is gone").count(), 20, "{}", ran.stderr);
    let rest =
        "ThreePi to localhost: fault 251 missing-there of 5 copies more; see `minidvodbcopy list --faulted";
    assert!(ran.stderr.contains(rest), "{}", ran.stderr);
    assert_eq!(world.ok(&["list", "--faulted", "--format", "json"]).json().as_array().unwrap().len(), 25);
    assert_eq!(logged(&world, "first fault 251"), 1);
}

#[test]
fn the_fault_of_an_audit_goes_to_the_database_and_leaves_it_again() {
    let site = Site::prepared(1);
    site.ok(&["run"]).is_silent();
    let kept = site.world.root.join("kept");
    fs::rename(copied(&site.world), &kept).unwrap();
    site.world.run(QUICK).expect(1).says("fault 251");
    site.sync();
    assert_eq!(site.standings_there(), ["1 localhost full 251"]);
    site.expect_in_step();
    fs::rename(&kept, copied(&site.world)).unwrap();
    site.world.ok(QUICK).says("recovered");
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
    assert!(shown(&site.world).contains("audited"), "a sync keeps what an audit found");
}

#[test]
fn without_a_ledger_or_a_full_copy_there_is_nothing_to_audit() {
    let world = World::new();
    world.run(QUICK).expect(78).says("there is no ledger");
    world.prepare(HERE, 1);
    world.ok(QUICK).is_silent();
    assert_eq!(json(&world, CHECKSUM, 0)["audited"], 0);
    assert!(world.names_there().is_empty());
}

/// What README shows is what is printed.
#[test]
fn the_words_of_a_terminal() {
    let world = full(HERE, 3);
    dvo::update(&world.source("ThreePi.2"), 7).unwrap();
    fs::remove_file(world.there().join("ThreePi.3/Photcodes.dat")).unwrap();
    let told = world.run(&["-v", "audit"]).expect(1).told();
    expect![[r#"
        minidvodbcopy: ThreePi.1 to localhost (copy 1): as it was sent, by the manifest's sizes and times
        minidvodbcopy: ThreePi.2 to localhost (copy 2): as it was sent, and its source has changed since; `minidvodbcopy recopy 2` sends it again
        minidvodbcopy: ThreePi.3 to localhost (copy 3): fault 251 missing-there: Photcodes.dat is missing there
          waits for a person: find out who did it; a clean audit takes the fault away, and `minidvodbcopy recopy 3` sends it again
        minidvodbcopy: audit: 3 audited, 2 as they were sent, 1 missing, 0 differing, 0 not audited
    "#]]
    .assert_eq(&told);
}
