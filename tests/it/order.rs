//! The order of things at a destination, by a record of the calls there with what the ledger says at each; and
//! ledgers that are lost or older than what is there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::sshd::SshdOptions;

use super::slow;
use super::world::{ALIASES, World};

/// A call of a program at the destination, and what the ledger says of copy 1 when it begins and when it ends.
#[derive(Debug)]
struct Call {
    program: String,
    arguments: String,
    began: String,
    ended: String,
}

/// Stand-ins for a PATH that record what becomes of a call, and let the real program do the work.
fn recording(world: &World) -> Utf8PathBuf {
    let bin = world.root.join("recording");
    fs::create_dir(&bin).unwrap();
    let program = env!("CARGO_BIN_EXE_minidvodbcopy");
    for tool in ["rsync", "sync", "mv"] {
        let script = format!(
            "#!/bin/sh
case \" $* \" in *' --version '*) exec {real} \"$@\";; esac
state() {{ MINIDVODBCOPY_STATE_DIR={state} {program} show 1 2>&1 | sed -n 's/^state *//p'; }}
began=$(state)
{real} \"$@\"
status=$?
printf '%s|%s|%s|%s\\n' {tool} \"$*\" \"$began\" \"$(state)\" >>{calls}
exit $status
",
            real = slow::real(tool),
            state = world.state(),
            calls = world.root.join("calls"),
        );
        slow::write_program(&bin.join(tool), &script);
    }
    bin
}

/// The calls in the order of their ends.
#[track_caller]
fn calls(world: &World) -> Vec<Call> {
    let text = fs::read_to_string(world.root.join("calls")).unwrap();
    let parse = |line: &str| {
        let mut parts = line.split('|').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        Call { program: next(), arguments: next(), began: next(), ended: next() }
    };
    text.lines().map(parse).collect()
}

/// Fails unless everything was flushed before the rename, and the ledger said full only after it.
#[track_caller]
fn expect_order(calls: &[Call]) {
    let place = |program: &str, part: &str| {
        let found = calls.iter().position(|call| call.program == program && call.arguments.contains(part));
        found.unwrap_or_else(|| panic!("no {program} with {part:?} in {calls:#?}"))
    };
    let of_rsync = |call: &Call| call.program == "rsync";
    let sent = place("rsync", "");
    let compared = calls.iter().rposition(of_rsync).unwrap();
    let flushed =
        calls.iter().rposition(|call| call.program == "sync" && call.arguments.contains("ThreePi.1"));
    let renamed = place("mv", "-nT");
    let lasting = place("sync", "-f -- .");
    let lasting = calls.iter().rposition(|call| call.arguments == "-f -- .").unwrap_or(lasting);
    let flushed = flushed.unwrap();
    assert!(sent < compared && compared < renamed, "{calls:#?}");
    assert!(sent < flushed && flushed < renamed && renamed < lasting, "{calls:#?}");
    for (number, call) in calls.iter().enumerate() {
        // It is recorded that the rename is to come before it comes, and is known as no more than that until
        // the rename, too, is on the disk.
        let expected = if number < renamed { "new" } else { "new, about to be published" };
        assert_eq!(
            (call.began.as_str(), call.ended.as_str()),
            (expected, expected),
            "{call:?} of {calls:#?}"
        );
    }
}

#[test]
fn all_is_flushed_before_the_rename_and_the_ledger_says_full_only_after_it() {
    let mut world = World::new();
    world.prepare("localhost", 1);
    let bin = recording(&world);
    world.set("PATH", &format!("{bin}:{}", std::env::var("PATH").unwrap()));
    world.ok(&["run"]).is_silent();
    expect_order(&calls(&world));
    assert!(world.ok(&["show", "1"]).stdout.contains("full, verified by checksum"));
}

#[test]
fn the_order_over_ssh_is_the_same() {
    let mut world = World::with_sshd_options(SshdOptions::known_as(&ALIASES));
    let bin = recording(&world);
    let path = format!("SetEnv PATH={bin}:{}", std::env::var("PATH").unwrap());
    world.sshd().restart_with(&[&path]).unwrap();
    world.prepare("ipp0222", 1);
    world.ok(&["run"]).is_silent();
    expect_order(&calls(&world));
    assert!(world.ok(&["show", "1"]).stdout.contains("full, verified by checksum"));
}

/// Three copies at a destination over ssh; what goes over the wire from now on is counted.
fn three_there(world: &mut World) {
    slow::prepare(world, "ipp0222", 3);
    slow::set_rate(world, "ipp0222", "0");
    world.ok(&["run", "--limit", "1"]).is_silent();
    world.ok(&["ledger", "backup", world.root.join("kept.redb").as_str()]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2", "ThreePi.3"]);
    slow::log_rsync(world);
}

/// Device, inode and time of everything at the destination.
fn marks(world: &World) -> Vec<(Utf8PathBuf, u64, i64, i64)> {
    let entries = xtask::tree::list(world.there()).unwrap();
    let mark = |path: &std::path::Path| {
        let path = Utf8Path::from_path(path).unwrap().to_owned();
        let meta = fs::symlink_metadata(world.there().join(&path)).unwrap();
        (path, meta.ino(), meta.mtime(), meta.mtime_nsec())
    };
    entries.iter().map(|entry| mark(&entry.path)).collect()
}

/// With a ledger that does not know of `unknown`: the next pass finds their places taken, and with what its
/// advice says to type they are taken over; nothing is sent, and nothing there is touched.
#[track_caller]
fn expect_taken_over(world: &World, unknown: &[u64]) {
    let before = marks(world);
    world.run(&["run"]).expect(1).says("fault 225");
    for id in unknown {
        assert_eq!(world.standing(*id), "new 225");
    }
    assert_eq!(marks(world), before, "a place that is taken is left alone");
    world.ok(&["revert", "--all", "--adopt"]);
    world.ok(&["run"]);
    for id in 1..=3 {
        assert_eq!(world.standing(id), "full 0");
        assert_eq!(world.copy(id)["verified"], "checksum");
    }
    let (sent, all) = (slow::wire_bytes(world).iter().sum::<u64>(), slow::source_bytes(world, "ThreePi.1"));
    assert!(sent > 0 && sent < all / 50, "{sent} bytes of {all} went over the wire");
    slow::expect_only(world, &["ThreePi.1", "ThreePi.2", "ThreePi.3"]);
    assert_eq!(marks(world), before, "what is there is as it was");
    world.ok(&["ledger", "check"]);
    world.ok(&["run"]).is_silent();
}

#[test]
fn after_an_old_backup_is_restored_nothing_is_copied_twice() {
    let mut world = World::with_sshd();
    three_there(&mut world);
    fs::write(world.state().join("ledger.redb"), b"lost").unwrap();
    world.run(&["run"]).expect(78);
    world.ok(&["ledger", "restore", world.root.join("kept.redb").as_str()]);
    expect_taken_over(&world, &[2, 3]);
}

#[test]
fn with_a_new_ledger_nothing_is_copied_twice() {
    let mut world = World::with_sshd();
    three_there(&mut world);
    fs::remove_dir_all(world.state()).unwrap();
    let folders: Vec<_> = (1..=3).map(|id| world.source(&format!("ThreePi.{id}"))).collect();
    let rows: Vec<_> = (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    slow::set_rate(&world, "ipp0222", "0");
    world.ok(&["host", "add", "ipp0222"]);
    expect_taken_over(&world, &[1, 2, 3]);
}
