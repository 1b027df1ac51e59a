//! Target paths that are not what they should be, disks that are full, fill up, or are another one; dry runs.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use camino::{Utf8Path, Utf8PathBuf};
use expect_test::expect;
use serde_json::Value;
use xtask::dvo::Shape;
use xtask::sshd::SshdOptions;

use super::hosts::{copy_now, expect_all_full, expect_said, plain, set_target, staged_bytes};
use super::mounts::{BLOCK_BYTES, Mount, is_root};
use super::world::{ALIASES, Ran, World, eventually, finish, names_in};

/// A user and group that own nothing.
const NOBODY: u32 = 65534;

/// What a target's fault is, by `target show --json`.
#[track_caller]
pub fn target_fault(world: &World, group: &str) -> Value {
    let shown = world.ok(&["target", "show", "--json"]).json();
    shown.as_array().unwrap().iter().find(|target| target["minidvodb_group"] == group).unwrap().clone()
}

/// A file's or folder's mode, inode, time and content.
type Look = (u32, u64, (i64, i64), Vec<u8>);

/// Files, folders and symlinks below a folder with all that is in them; the whole of it, byte for byte.
fn everything_in(folder: &Utf8Path) -> BTreeMap<Utf8PathBuf, Look> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else { continue };
        for entry in entries {
            let path = entry.unwrap().path().to_owned();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (meta.mode(), meta.ino(), (meta.mtime(), meta.mtime_nsec()), content));
        }
    }
    found
}

#[test]
fn a_path_that_is_missing_is_never_made_and_heals_when_it_is_there() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let sas = world.make("SAS.1", Shape::tiny());
    world.import(&[(3, "SAS", &sas)]);
    let elsewhere = world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    world.ok(&["target", "add", "SAS", "ipp0222", elsewhere.as_str()]);
    // A third target, behind the one with the fault.
    let tree = world.make("Zeta.1", Shape::tiny());
    world.import(&[(4, "Zeta", &tree)]);
    world.ok(&["target", "add", "Zeta", "ipp0222", elsewhere.as_str()]);
    std::fs::remove_dir(world.there()).unwrap();

    let ran = world.run(&["run"]).expect(1);
    expect_said(
        &world,
        &ran,
        &expect![[r#"
        minidvodbcopy: target ThreePi to ipp0222 at [ROOT]/there: fault 221 path-missing: the target's path [ROOT]/there: stat: cannot statx '[ROOT]/there': No such file or directory
          mount the disk or make the folder at the host, or correct the path with `minidvodbcopy target add`; the next probe then goes on by itself; looked at again by itself after [TIME] UTC
    "#]],
    );
    assert!(!world.there().exists(), "it is never created");
    assert_eq!(names_in(&elsewhere), ["SAS.1", "Zeta.1"], "other targets of the host go on");
    let met: Vec<String> = world
        .list()
        .iter()
        .filter(|copy| copy["minidvodb_group"] == "ThreePi")
        .map(|copy| format!("{} {}", copy["fault"], copy["attempts"]))
        .collect();
    assert_eq!(met, ["221 0", "0 0"]);
    world.ok(&["run"]).is_silent();
    copy_now(&world).expect(1).is_silent();
    assert!(!world.there().exists(), "not by a probe either");

    std::fs::create_dir(world.there()).unwrap();
    copy_now(&world).expect(0).says("recovered from fault 221 path-missing");
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2"]);
    assert_eq!(target_fault(&world, "ThreePi")["fault"], 0);
    assert!(world.list().iter().all(|copy| copy["fault"] == 0 && copy["state"] == "full"));
    world.ok(&["run"]).is_silent();
}

#[test]
fn a_path_that_is_a_file_is_missing_and_left_alone() {
    for content in ["", "precious"] {
        let world = World::with_sshd();
        world.prepare("ipp0222", 1);
        std::fs::remove_dir(world.there()).unwrap();
        std::fs::write(world.there(), content).unwrap();
        world.run(&["run"]).expect(1).says("fault 221 path-missing").says("file");
        assert_eq!(std::fs::read_to_string(world.there()).unwrap(), content);
        std::fs::remove_file(world.there()).unwrap();
        std::fs::create_dir(world.there()).unwrap();
        copy_now(&world).expect(0).says("recovered from fault 221");
        expect_all_full(&world, 1);
    }
}

#[test]
fn a_path_below_a_missing_folder_is_missing_here_too() {
    let world = World::new();
    world.prepare("localhost", 1);
    std::fs::remove_dir(world.there()).unwrap();
    world.run(&["run"]).expect(1).says("fault 221 path-missing");
    assert!(!world.there().exists());
    std::fs::create_dir(world.there()).unwrap();
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]).says("recovered from fault 221");
    expect_all_full(&world, 1);
}

/// A world whose sshd works there as a user who owns nothing; root only.
fn with_poor_user() -> World {
    let line = format!(
        r#"ForceCommand exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups /bin/sh -c "$SSH_ORIGINAL_COMMAND""#
    );
    let world = World::with_sshd_options(SshdOptions::known_as(&ALIASES).server_line(&line));
    std::fs::set_permissions(&world.root, std::fs::Permissions::from_mode(0o755)).unwrap();
    world
}

#[test]
fn a_path_that_cannot_be_written_is_denied_and_heals() {
    if !is_root() {
        return;
    }
    let world = with_poor_user();
    world.prepare("ipp0222", 2);
    let ran = world.run(&["run"]).expect(1);
    expect_said(
        &world,
        &ran,
        &expect![[r#"
        minidvodbcopy: target ThreePi to ipp0222 at [ROOT]/there: fault 222 path-denied: the target's path [ROOT]/there: it is not writable: Permission denied or read-only
          let the user at the host write there; the next probe then goes on by itself; looked at again by itself after [TIME] UTC
    "#]],
    );
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 222", "new 0"));
    assert!(world.names_there().is_empty());
    world.ok(&["run"]).is_silent();
    copy_now(&world).expect(1).is_silent();
    chown(world.there(), Some(NOBODY), Some(NOBODY)).unwrap();
    let ran = copy_now(&world).expect(0);
    assert_eq!(ran.stderr.matches("recovered from fault 222").count(), 1, "{}", ran.stderr);
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("full 0", "full 0"));
}

#[test]
fn a_path_that_cannot_be_reached_is_denied() {
    if !is_root() {
        return;
    }
    let world = with_poor_user();
    world.prepare("ipp0222", 1);
    let inner = world.there().join("inner");
    std::fs::create_dir(&inner).unwrap();
    chown(&inner, Some(NOBODY), Some(NOBODY)).unwrap();
    set_path(&world, &inner);
    std::fs::set_permissions(world.there(), std::fs::Permissions::from_mode(0o700)).unwrap();
    world.run(&["run"]).expect(1).says("fault 222 path-denied");
    std::fs::set_permissions(world.there(), std::fs::Permissions::from_mode(0o755)).unwrap();
    world.ok(&["copy", "ThreePi", "ipp0222", inner.as_str()]).says("recovered from fault 222");
    assert_eq!(world.standing(1), "full 0");
}

#[track_caller]
fn set_path(world: &World, path: &Utf8Path) {
    world.ok(&["target", "add", "ThreePi", "ipp0222", path.as_str()]);
}

#[test]
fn a_file_system_that_is_read_only_is_denied_and_heals() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let mount = Mount::tmpfs(&world.there(), "size=2m");
    mount.remount("ro");
    world.run(&["run"]).expect(1).says("fault 222 path-denied");
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 222", "new 0"));
    world.ok(&["run"]).is_silent();
    mount.remount("rw");
    copy_now(&world).expect(0).says("recovered from fault 222");
    expect_all_full(&world, 2);
}

/// A tmpfs of which a percent is larger than a minidvodb, and its blocks for 97 and 98 percent.
fn percents(world: &World) -> (Mount, u64, u64) {
    const BLOCKS: u64 = 5000;
    let mount = Mount::tmpfs(&world.there(), &format!("size={}", BLOCKS * BLOCK_BYTES));
    (mount, BLOCKS * 97 / 100, BLOCKS * 97 / 100 + 1)
}

#[test]
fn ninety_seven_percent_used_passes_and_ninety_eight_waits_for_room() {
    if !is_root() {
        return;
    }
    for host in ["ipp0222", "localhost"] {
        let world = World::with_sshd();
        world.prepare(host, 2);
        let (mount, passes, waits) = percents(&world);
        mount.fill_to(waits);
        assert_eq!(mount.used_percent(), 98);
        let ran =
            world.run(&["run"]).expect(1).says("fault 223 over-limit").says("98 % used, the limit is 97 %");
        assert_eq!(ran.stderr.matches("fault").count(), 1, "{}", ran.stderr);
        assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 223", "new 0"));
        assert_eq!(names_in(&world.there()), ["filler"]);
        world.ok(&["run"]).is_silent();

        mount.fill_to(passes);
        assert_eq!(mount.used_percent(), 97);
        let ran = world.ok(&["copy", "ThreePi", host, world.there().as_str(), "--limit", "1"]);
        assert!(ran.stderr.contains("recovered from fault 223"), "{}", ran.stderr);
        assert_eq!(world.standing(1), "full 0");
        world.expect_arrived("ThreePi.1");
    }
}

#[test]
fn the_limit_is_the_targets_own() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let (mount, _, waits) = percents(&world);
    mount.fill_to(waits);
    world.run(&["run"]).expect(1).says("fault 223");
    set_target(&world, &["--max-used", "98"]);
    world.ok(&["run", "--limit", "1"]);
    assert_eq!(world.standing(1), "full 0");
    mount.empty();
    set_target(&world, &["--max-used", "1"]);
    world.run(&["run"]).expect(1).says("fault 223").says("2 % used, the limit is 1 %");
    std::fs::remove_dir_all(world.there().join("ThreePi.1")).unwrap();
    copy_now(&world).expect(0).says("recovered from fault 223");
    assert_eq!(world.standing(2), "full 0");
}

#[test]
fn what_has_no_room_says_the_numbers_and_waits_for_room() {
    if !is_root() {
        return;
    }
    for host in ["ipp0222", "localhost"] {
        let world = World::with_sshd();
        world.prepare(host, 2);
        let mount = Mount::tmpfs(&world.there(), "size=1000k");
        mount.fill(900 * 1024);
        let ran = world.run(&["run"]).expect(1);
        let first: Vec<&str> = ran.stderr.lines().take(1).collect();
        assert!(first[0].contains("fault 224 no-room"), "{}", ran.stderr);
        assert!(first[0].contains("100 KiB are free"), "{}", ran.stderr);
        assert!(first[0].contains("needs 2") && first[0].contains(" KiB"), "{}", ran.stderr);
        // It is the copy's own fault: the next one may be smaller.
        assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 224", "new 224"));
        assert_eq!(world.copy(1)["fault_class"], "retry");
        assert_eq!(names_in(&world.there()), ["filler"], "nothing was begun");
        world.ok(&["run"]).is_silent();
        mount.empty();
        world.ok(&["copy", "ThreePi", host, world.there().as_str()]).says("recovered from 224 no-room");
        assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("full 0", "full 0"));
    }
}

#[test]
fn what_could_never_fit_asks_a_person() {
    if !is_root() {
        return;
    }
    for (options, what) in [("size=100k", "100 KiB"), ("size=2m,nr_inodes=12", "inodes")] {
        let world = World::with_sshd();
        world.prepare("ipp0222", 1);
        let _mount = Mount::tmpfs(&world.there(), options);
        world.run(&["run"]).expect(1).says("fault 224 no-room").says(what).says("never fit").says("person");
        assert_eq!(world.copy(1)["fault_class"], "person");
        copy_now(&world).expect(0);
        assert_eq!(world.copy(1)["attempts"], 1, "it is not tried again");
        assert!(world.names_there().is_empty());
    }
}

#[test]
fn too_few_inodes_wait_for_room() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let _mount = Mount::tmpfs(&world.there(), "size=2m,nr_inodes=50");
    let taken = world.there().join("taken");
    std::fs::create_dir(&taken).unwrap();
    for number in 0..40 {
        std::fs::write(taken.join(number.to_string()), "").unwrap();
    }
    world.run(&["run"]).expect(1).says("fault 224 no-room").says("inodes").says("8 are free");
    assert_eq!(world.copy(1)["fault_class"], "retry");
    std::fs::remove_dir_all(taken).unwrap();
    copy_now(&world).expect(0).says("recovered from 224");
    expect_all_full(&world, 1);
}

#[test]
fn a_disk_that_fills_up_in_mid_copy_is_no_room_and_the_copy_goes_on_from_there() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let mount = Mount::tmpfs(&world.there(), "size=2m");
    set_target(&world, &["--bwlimit", "50"]);
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 60_000);
    mount.fill_up();
    finish(pass).expect(1).says("fault 224 no-room");
    assert_eq!(
        (world.standing(1).as_str(), world.copy(1)["fault_class"].as_str()),
        ("new 224", Some("retry"))
    );
    assert!(staged_bytes(&world.there()) > 0, "what has arrived is kept");
    let inodes = |folder: &Utf8Path| -> BTreeMap<_, u64> {
        let files = xtask::tree::list(folder).unwrap().into_iter().map(|entry| entry.path);
        files
            .map(|path| (path.clone(), std::fs::metadata(folder.as_std_path().join(path)).unwrap().ino()))
            .collect()
    };
    let staging = world.there().join(".minidvodbcopy");
    let ledger = names_in(&staging).remove(0);
    let before = inodes(&staging.join(ledger).join("ThreePi.1"));
    mount.empty();
    set_target(&world, &["--bwlimit", "0"]);
    copy_now(&world).expect(0).says("recovered from 224");
    expect_all_full(&world, 1);
    let after = inodes(&world.there().join("ThreePi.1"));
    let whole = before.iter().filter(|(path, inode)| after.get(*path) == Some(*inode)).count();
    assert!(whole > 3, "files that had arrived are not sent again: {before:?} {after:?}");
}

#[test]
fn an_ext4_that_fills_up_in_mid_copy_is_no_room_and_the_copy_goes_on_from_there() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let mount = Mount::ext4(&world.there(), 4);
    std::fs::remove_dir(world.there().join("lost+found")).unwrap();
    set_target(&world, &["--bwlimit", "50"]);
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 60_000);
    mount.fill_up();
    finish(pass).expect(1).says("fault 224 no-room");
    mount.empty();
    set_target(&world, &["--bwlimit", "0"]);
    copy_now(&world).expect(0).says("recovered from 224");
    expect_all_full(&world, 1);
}

#[test]
fn nothing_is_written_where_the_disk_is_not_mounted_any_more() {
    if !is_root() {
        return;
    }
    for host in ["ipp0222", "localhost"] {
        let world = World::with_sshd();
        world.prepare(host, 1);
        let mut mount = Mount::tmpfs(&world.there(), "size=2m");
        world.ok(&["run"]).is_silent();
        let tree = world.make("ThreePi.2", Shape::tiny());
        world.import(&[(2, "ThreePi", &tree)]);
        mount.unmount();

        let copy = ["copy", "ThreePi", host, world.there().as_str()].map(str::to_owned);
        let copy: Vec<&str> = copy.iter().map(String::as_str).collect();
        let ran = world.run(&["run"]).expect(1).says("fault 227 filesystem-changed").says("target add");
        assert_eq!(ran.stderr.matches("fault").count(), 1, "{}", ran.stderr);
        assert_eq!(world.standing(2), "new 227");
        assert!(world.names_there().is_empty(), "nothing is written below it");
        world.ok(&["run"]).is_silent();
        world.run(&copy).expect(1).says("227");
        assert!(world.names_there().is_empty());
        assert_eq!((&world.copy(2)["attempts"], &world.copy(2)["next_try"]), (&Value::from(0), &Value::Null));

        // The disk is back, but only a person knows whether it is the right one.
        let _mount = Mount::tmpfs(&world.there(), "size=2m");
        world.run(&copy).expect(1).says("227");
        assert!(world.names_there().is_empty());
        world.ok(&["target", "add", "ThreePi", host, world.there().as_str()]);
        assert_eq!(world.standing(2), "new 0");
        world.ok(&["run"]).is_silent();
        assert_eq!(
            (world.standing(2), world.names_there()),
            ("full 0".to_owned(), vec!["ThreePi.2".to_owned()])
        );
    }
}

#[test]
fn another_disk_at_the_path_is_not_written_to() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let mut mount = Mount::tmpfs(&world.there(), "size=2m");
    world.ok(&["run"]).is_silent();
    let tree = world.make("ThreePi.2", Shape::tiny());
    world.import(&[(2, "ThreePi", &tree)]);
    mount.unmount();
    let _other = Mount::tmpfs(&world.there(), "size=3m");
    world.run(&["run"]).expect(1).says("fault 227 filesystem-changed");
    assert!(world.names_there().is_empty());
}

#[test]
fn a_disk_that_was_unmounted_and_is_mounted_again_is_the_same_disk() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let mut mount = Mount::ext4(&world.there(), 4);
    world.ok(&["run", "--limit", "1"]).is_silent();
    mount.unmount();
    // Another loop device comes in between, so that the disk is found under another name.
    let between = world.root.join("between");
    std::fs::create_dir(&between).unwrap();
    let _other = Mount::ext4(&between, 1);
    mount.mount_again();
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(2), "full 0");
}

#[test]
fn a_disk_unmounted_between_two_copies_of_a_pass_gets_nothing_more() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let mut mount = Mount::tmpfs(&world.there(), "size=2m");
    // A copy that is queued, seen first on the mounted disk.
    world.ok(&["run", "--limit", "1"]).is_silent();
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("full 0", "new 0"));
    mount.unmount();
    world.run(&["run"]).expect(1).says("fault 227");
    assert_eq!(world.standing(1), "full 0", "what is full stays full");
    assert!(world.names_there().is_empty());
}

#[test]
fn room_is_counted_together_with_another_pass_to_the_same_host() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let sas = world.make("SAS.1", Shape::tiny());
    world.import(&[(2, "SAS", &sas)]);
    world.ok(&["target", "add", "SAS", "ipp0222", world.there().as_str()]);
    // For one of them there is room, for two there is not.
    let _mount = Mount::tmpfs(&world.there(), "size=400k");
    set_target(&world, &["--bwlimit", "50"]);
    let first = world.start(&["run", "--group", "ThreePi"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 0);
    world
        .run(&["run", "--group", "SAS"])
        .expect(1)
        .says("fault 224 no-room")
        .says("of which other running copies need");
    assert_eq!(first_state(&world, "SAS"), "new 224");
    finish(first).expect(0).is_silent();
    assert_eq!(first_state(&world, "ThreePi"), "full 0");
}

#[track_caller]
fn first_state(world: &World, group: &str) -> String {
    let copies = world.list();
    let copy = copies.iter().find(|copy| copy["minidvodb_group"] == group).unwrap();
    format!("{} {}", copy["state"].as_str().unwrap(), copy["fault"])
}

/// Runs something that must change nothing at either end.
#[track_caller]
fn changes_nothing(world: &World, arguments: &[&str]) -> Ran {
    let before = (everything_in(&world.state()), everything_in(&world.there()));
    let ran = world.ok(arguments);
    let after = (everything_in(&world.state()), everything_in(&world.there()));
    let named = |(state, there): &(BTreeMap<Utf8PathBuf, _>, BTreeMap<Utf8PathBuf, _>)| {
        state.keys().chain(there.keys()).cloned().collect::<Vec<_>>()
    };
    assert_eq!(named(&before), named(&after));
    assert!(before == after, "something was rewritten");
    ran
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let _mount = Mount::tmpfs(&world.there(), "size=1000k");
    let elsewhere = world.root.join("elsewhere");
    let (sas, gone) = (world.make("SAS.1", Shape::tiny()), world.source("SAS.2"));
    world.import(&[(2, "SAS", &sas), (3, "SAS", &gone)]);
    world.ok(&["target", "add", "SAS", "ipp0222", elsewhere.as_str()]);
    // One is queued and has no room, one would be queued.
    std::fs::write(world.there().join("filler"), vec![b'x'; 700 * 1024]).unwrap();
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run", "--group", "ThreePi"]);
    world.ok(&["stage", "on", "load"]);
    let tree = world.make("ThreePi.4", Shape::tiny());
    world.import(&[(4, "ThreePi", &tree)]);

    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    expect![[r#"
        SAS to ipp0222 221 path-missing: the target's path [ROOT]/elsewhere: stat: cannot statx '[ROOT]/elsewhere': No such file or directory
        SAS to ipp0222: cannot copy yet SAS.1
        SAS to ipp0222: cannot copy yet SAS.2
        ThreePi to ipp0222: [ROOT]/there, 70 % used of at most 97 %, [N] KiB free
        ThreePi to ipp0222: would copy ThreePi.1, [N] KiB
        ThreePi to ipp0222: would fault 224 no-room ThreePi.4, [N] KiB: needs [N] KiB, and [N] KiB are free
    "#]].assert_eq(&without_sizes(&plain(&world, &ran.stdout)));
    assert_eq!(ran.stderr, "");

    std::fs::create_dir(&elsewhere).unwrap();
    let _other = Mount::tmpfs(&elsewhere, "size=2m");
    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    expect![[r#"
        SAS to ipp0222: [ROOT]/elsewhere, 0 % used of at most 97 %, [N] MiB free
        SAS to ipp0222: would queue and copy SAS.1, [N] KiB
        SAS to ipp0222: would fault 201 source-missing SAS.2: cannot read the source [ROOT]/source/SAS.2: No such file or directory (os error 2)
        ThreePi to ipp0222: [ROOT]/there, 70 % used of at most 97 %, [N] KiB free
        ThreePi to ipp0222: would copy ThreePi.1, [N] KiB
        ThreePi to ipp0222: would fault 224 no-room ThreePi.4, [N] KiB: needs [N] KiB, and [N] KiB are free
    "#]].assert_eq(&without_sizes(&plain(&world, &ran.stdout)));

    let json = changes_nothing(&world, &["run", "--dry-run", "--json"]).json();
    let counts = ["queued", "copied", "faulted", "skipped"].map(|key| json[key].as_u64().unwrap());
    assert_eq!((counts[0], counts[1], counts[3]), (3, 0, 0), "{json}");
    let ran = changes_nothing(&world, &["run", "--dry-run", "--group", "ThreePi", "--limit", "1"]);
    assert!(ran.stdout.contains("ThreePi.1") && !ran.stdout.contains("ThreePi.4"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("SAS"), "{}", ran.stdout);
}

/// A text with sizes such as `187.91 KiB` replaced, and without what follows on those of a lack of room.
fn without_sizes(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').map(|line| line.split(", of which").next().unwrap()).collect();
    let text = lines.join("\n");
    let words: Vec<&str> = text.split(' ').collect();
    let mut plain = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let is_size = word.parse::<f64>().is_ok()
            && words
                .get(index + 1)
                .is_some_and(|unit| ["KiB", "MiB"].iter().any(|known| unit.starts_with(known)));
        plain.push(if is_size { "[N]" } else { word });
    }
    plain.join(" ")
}

#[test]
fn a_dry_run_takes_its_own_copies_off_the_room_and_does_not_call_them_running() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let _mount = Mount::tmpfs(&world.there(), "size=400k");
    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    assert!(ran.stdout.contains("would queue and copy ThreePi.1"), "{}", ran.stdout);
    assert!(ran.stdout.contains("would fault 224 no-room ThreePi.2"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("running"), "nothing is running: {}", ran.stdout);
}

#[test]
fn a_dry_run_names_what_waits_where_it_cannot_look() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.sshd().stop();
    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    assert!(ran.stdout.contains("ThreePi.1") && ran.stdout.contains("ThreePi.2"), "{}", ran.stdout);
}

#[test]
fn a_dry_run_of_a_host_that_is_down_says_so_and_remembers_nothing() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.sshd().stop();
    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    let expected = expect![[r#"
        ThreePi to ipp0222 211 host-unreachable: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused
    "#]];
    expected.assert_eq(&faults(&world, &ran));
    assert_eq!(ran.stderr, "");
    world.run(&["run"]).expect(1).says("fault 211");
    // Now the fault stands, and the probe is not due.
    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    let expected = expect![[r#"
        ThreePi to ipp0222 211 host-unreachable: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused, looked at again after [TIME] UTC
    "#]];
    expected.assert_eq(&faults(&world, &ran));
    let there = world.there();
    changes_nothing(&world, &["copy", "ThreePi", "ipp0222", there.as_str(), "--dry-run"]);
}

/// The lines of a dry run that have a fault of the host, normalised.
fn faults(world: &World, ran: &Ran) -> String {
    let text = plain(world, &ran.stdout);
    text.lines().filter(|line| line.contains("host-")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_dry_run_of_a_copy_for_an_unknown_target_remembers_nothing() {
    let world = World::with_sshd();
    let copy = ["copy", "ThreePi", "ipp0222", world.there().as_str(), "--dry-run"].map(str::to_owned);
    let copy: Vec<&str> = copy.iter().map(String::as_str).collect();
    let ran = world.ok(&copy);
    assert_eq!(plain(&world, &ran.stdout), "ThreePi to ipp0222: nothing to copy\n");
    assert!(!world.state().exists(), "no ledger is made");

    let tree = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(1, "ThreePi", &tree)]);
    let ran = changes_nothing(&world, &copy);
    assert!(ran.stdout.contains("would queue and copy ThreePi.1"), "{}", ran.stdout);
    assert_eq!(world.ok(&["target", "show", "--json"]).json(), Value::Array(Vec::new()));
    assert_eq!(world.ok(&["host", "show", "--json"]).json(), Value::Array(Vec::new()));
    assert!(world.list().is_empty());
}

#[test]
fn a_dry_run_counts_what_has_been_sent_already() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let mount = Mount::tmpfs(&world.there(), "size=400k");
    set_target(&world, &["--bwlimit", "50"]);
    let mut pass = world.start(&["run"]);
    eventually("most has arrived", || staged_bytes(&world.there()) > 130_000);
    pass.kill().unwrap();
    pass.wait().unwrap();
    assert!(world.sshd.as_ref().unwrap().wait_until_idle(std::time::Duration::from_secs(30)));
    // Enough for the rest, and not for the whole.
    let stats = fs2::statvfs(world.there()).unwrap();
    mount.fill(stats.available_space().saturating_sub(150 * 1024) / BLOCK_BYTES * BLOCK_BYTES);
    let ran = changes_nothing(&world, &["run", "--dry-run"]);
    assert!(ran.stdout.contains("would copy ThreePi.1"), "{}", ran.stdout);
    set_target(&world, &["--bwlimit", "0"]);
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
}
