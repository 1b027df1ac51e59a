//! Little of everything: memory, file handles, room under the ledger, names; and much of what is sent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::dvo::Shape;

use super::mounts::{Mount, is_root};
use super::slow::{self, Gate, Hold, write_program};
use super::world::{Ran, World, finish};

/// Runs the binary with a limit of the kernel's.
#[track_caller]
fn run_limited(world: &World, limit: &str, arguments: &[&str]) -> Ran {
    let program = world.command(arguments);
    let mut command = Command::new("prlimit");
    command.arg(limit).arg(program.get_program()).args(program.get_args()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(&world.root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

#[test]
fn sixty_four_file_handles_are_enough_for_a_whole_pass() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 3);
    run_limited(&world, "--nofile=64", &["run"]).expect(0).is_silent();
    slow::expect_only(&world, &["ThreePi.1", "ThreePi.2", "ThreePi.3"]);
    run_limited(&world, "--nofile=64", &["recopy", "1"]).expect(0);
    run_limited(&world, "--nofile=64", &["list"]).expect(0);
}

/// Too few handles are no copy's fault, and cost nothing but time.
#[test]
fn with_too_few_file_handles_nothing_is_lost() {
    let world = World::new();
    world.prepare("localhost", 1);
    for handles in 4..24 {
        let ran = run_limited(&world, &format!("--nofile={handles}"), &["run"]);
        assert!(matches!(ran.code, 0 | 1 | 78 | 127 | -1), "{handles}: {ran:?}");
        assert!(!ran.stderr.contains("bug"), "{handles}: {}", ran.stderr);
        world.ok(&["ledger", "check"]);
    }
    world.ok(&["revert", "--all"]);
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]);
    world.expect_arrived("ThreePi.1");
}

/// The disk of the state folder is full when the pass is at a gate: the pass ends with 78 and its reason; with
/// room again nothing is lost, and the next pass goes on.
#[track_caller]
fn check_full_disk(tool: &str, pattern: &str, hold: &Hold) {
    if !is_root() {
        return;
    }
    let world = World::new();
    fs::create_dir(world.state()).unwrap();
    let mount = Mount::tmpfs(&world.state(), "size=4m,mode=700");
    world.prepare("localhost", 3);
    let gate = Gate::closed(&world, tool, pattern, hold);
    let mut command = world.command(&["run"]);
    let pass = command.env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    mount.fill_up();
    gate.open();
    let ran = finish(pass).expect(78);
    assert!(ran.stderr.contains("No space left") || ran.stderr.contains("os error 28"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("damaged") && !ran.stderr.contains("bug"), "{}", ran.stderr);
    // Looking needs no room.
    assert_eq!(world.list().len(), 3);
    world.ok(&["ledger", "check"]);
    mount.empty();
    assert_eq!(world.copy(1)["state"], "new");
    world.ok(&["run"]);
    for id in 1..=3 {
        assert_eq!(world.standing(id), "full 0");
    }
    slow::expect_only(&world, &["ThreePi.1", "ThreePi.2", "ThreePi.3"]);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_full_disk_under_the_state_folder_while_sending_ends_the_pass_and_loses_nothing() {
    check_full_disk("rsync", "*' --partial-dir='*", &Hold::Before);
}

#[test]
fn a_full_disk_under_the_state_folder_while_verifying_ends_the_pass_and_loses_nothing() {
    check_full_disk("rsync", "*' -n '*", &Hold::After);
}

#[test]
fn a_full_disk_under_the_state_folder_in_mid_transaction_leaves_what_was_before() {
    if !is_root() {
        return;
    }
    let world = World::new();
    fs::create_dir(world.state()).unwrap();
    let mount = Mount::tmpfs(&world.state(), "size=4m,mode=700");
    world.prepare("localhost", 2);
    world.ok(&["run"]).is_silent();
    let copies = world.list();
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n";
    let rows: String = (100..60_000).map(|id| format!("{id},a,Big,/data/{id},merged\n")).collect();
    let ran = world.import_text(&format!("{header}{rows}")).expect(78);
    assert!(!ran.stderr.contains("damaged") && ran.stderr.contains("os error 28"), "{}", ran.stderr);
    // Without any room the ledger may not even be looked at, and says why.
    let looked = world.run(&["ledger", "check"]);
    assert!(looked.code == 0 || (looked.code == 78 && looked.stderr.contains("No space left")), "{looked:?}");
    mount.remount("size=64m");
    assert_eq!(world.list(), copies);
    assert_eq!(world.ok(&["minidvodb", "list", "--group", "Big"]).stdout, "");
    world.ok(&["ledger", "check"]);
    world.import_text(&format!("{header}{rows}")).expect(0);
    world.ok(&["ledger", "check"]);
}

#[test]
fn names_of_255_bytes_that_are_not_utf_8_arrive_over_ssh() {
    let world = World::with_sshd();
    let source = world.make("ThreePi.1", Shape::tiny());
    let top = source.as_std_path();
    for byte in [0xff, 0x80, b'\n', b' '] {
        let name = [byte; 255];
        fs::write(top.join(OsStr::from_bytes(&name)), "content").unwrap();
    }
    let folder = top.join(OsStr::from_bytes(&[0xfe; 255]));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(OsStr::from_bytes(&[0xc3; 255])), vec![b'x'; 300_000]).unwrap();
    // rsync compares times by whole seconds: one of its own within the same second would stay.
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_304_305_445);
    for path in [&folder, &top.to_owned()] {
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    world.import(&[(1, "ThreePi", &source)]);
    world.ok(&["target", "add", "ThreePi", "ipp0222", world.there().as_str()]);
    world.ok(&["host", "add", "ipp0222"]);
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.1");
    // A path that is too long for the database's column is refused by its line, not cut.
    let longest = format!("{}/{}", world.root.join("source"), "N".repeat(255));
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state";
    world.import_text(&format!("{header}\n2,a,ThreePi,{longest},merged\n")).expect(2).says("255");
}

#[test]
fn a_child_that_prints_gigabytes_costs_no_memory() {
    let mut world = World::new();
    world.prepare("localhost", 1);
    let bin = world.root.join("talkative");
    fs::create_dir(&bin).unwrap();
    let real = slow::real("rsync");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' --partial-dir'*) head -c 1500000000 /dev/zero; head -c 1500000000 /dev/zero >&2;; esac\nexec {real} \"$@\"\n"
    );
    write_program(&bin.join("rsync"), &script);
    world.set("PATH", &format!("{bin}:{}", std::env::var("PATH").unwrap()));
    let ran = run_limited(&world, "--as=150000000", &["run"]);
    assert!(matches!(ran.code, 0 | 1), "{ran:?}");
    assert!(ran.stderr.len() < 12_000);
}

#[test]
fn a_file_of_100_gib_that_does_not_fit_is_refused_at_once_and_nothing_is_sent() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.prepare("localhost", 1);
    fs::File::create(world.source("ThreePi.1").join("huge.cpt")).unwrap().set_len(100 << 30).unwrap();
    let _mount = Mount::tmpfs(&world.there(), "size=64m");
    let began = Instant::now();
    let ran = run_limited(&world, "--as=150000000", &["run", "--dry-run"]);
    assert!(ran.stdout.contains("100") && ran.stdout.contains("GiB"), "{}", ran.stdout);
    run_limited(&world, "--as=150000000", &["run"]).expect(1).says("fault 224");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(world.standing(1), "new 224");
    assert_eq!(world.names_there(), [""; 0]);
}
