//! What makes a copy full: whole, equal, flushed, under a name that nobody had.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::{self, Shape};
use xtask::processes::Signal;

use super::slow::{self, Gate, Hold};
use super::world::{World, finish};

const TINY: Shape = Shape { regions: 1, files_per_region: 4, rows_per_file: 2 };

fn quick_target(world: &World, host: &str) {
    world.ok(&["target", "add", "ThreePi", host, world.there().as_str(), "--verify", "quick"]);
}

#[test]
fn a_target_with_quick_verification_says_so_of_its_copies() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    quick_target(&world, "ipp0222");
    world.ok(&["run"]).is_silent();
    assert_eq!(world.copy(1)["verified"], "quick");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_resumed_attempt_is_verified_by_checksum_even_where_quick_is_asked() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    quick_target(&world, "ipp0222");
    let pass = slow::start_and_meet(&world, &["run"]);
    slow::signal(pass, Signal::TERM).expect(143);
    slow::copy_now(&world, "ipp0222").expect(0);
    assert_eq!(world.copy(1)["verified"], "checksum");
    slow::expect_only(&world, &["ThreePi.1"]);
}

/// A pass cut off in the middle; one byte of what has arrived is then not what was sent.
fn damaged_in_staging(world: &World, host: &str) -> Utf8PathBuf {
    slow::prepare(world, host, 1);
    let pass = slow::start_and_meet(world, &["run"]);
    slow::signal(pass, Signal::INT).expect(130);
    let file = slow::staged(world, "ThreePi.1").join("Images.dat");
    dvo::flip_byte(&file).unwrap();
    file
}

#[test]
fn a_byte_that_is_not_what_was_sent_is_found_never_published_and_healed() {
    let world = World::with_sshd();
    damaged_in_staging(&world, "ipp0222");
    slow::copy_now(&world, "ipp0222").expect(1).says("fault 231").says("Images.dat");
    assert_eq!(world.standing(1), "new 231");
    assert_eq!(world.copy(1)["fault_class"], "retry");
    assert!(!world.there().join("ThreePi.1").exists());
    slow::copy_now(&world, "ipp0222").expect(0).says("recovered");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_damaged_byte_is_found_where_quick_verification_is_asked() {
    let world = World::new();
    damaged_in_staging(&world, "localhost");
    quick_target(&world, "localhost");
    slow::copy_now(&world, "localhost").expect(1).says("fault 231");
    slow::copy_now(&world, "localhost").expect(0);
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_copy_that_is_damaged_again_and_again_waits_for_a_person() {
    let world = World::new();
    let source = world.make("ThreePi.1", TINY);
    world.import(&[(1, "ThreePi", &source)]);
    let target = world.there();
    let copy = ["copy", "ThreePi", "localhost", target.as_str()];
    for (attempt, class) in [(1, "retry"), (2, "person")] {
        // Between the sending and the comparison.
        let gate = Gate::closed(&world, "rsync", "*' -n '*", &Hold::Before);
        let reached = gate.reached();
        let pass = world.command(&copy).env("PATH", gate.path()).spawn().unwrap();
        gate.wait(reached + 1);
        dvo::flip_byte(&slow::staged(&world, "ThreePi.1").join("Images.dat")).unwrap();
        gate.open();
        finish(pass).expect(1).says("fault 231");
        assert_eq!(world.copy(1)["fault_class"], class, "attempt {attempt}");
    }
    assert_eq!(world.standing(1), "new 231");
    world.ok(&copy).is_silent();
    assert_eq!(world.copy(1)["attempts"], 2, "it waits");
    world.ok(&["revert", "--id", "1"]);
    world.run(&copy);
    // A reverted copy need not suspect what is staged: then it is found once more, and healed.
    world.ok(&copy);
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn what_somebody_else_puts_into_the_staging_folder_is_not_published() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let pass = slow::start_and_meet(&world, &["run"]);
    slow::signal(pass, Signal::TERM).expect(143);
    let staged = slow::staged(&world, "ThreePi.1");
    fs::write(staged.join("extra"), "x").unwrap();
    fs::create_dir_all(staged.join("n0000/extra folder/.minidvodbcopy-partial")).unwrap();
    fs::create_dir_all(staged.join(".minidvodbcopy-partial")).unwrap();
    fs::write(staged.join(".minidvodbcopy-partial/extra"), "x").unwrap();
    slow::copy_now(&world, "ipp0222").expect(0);
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn what_somebody_puts_there_after_the_sending_is_found() {
    for extra in ["extra", ".minidvodbcopy-partial/extra"] {
        let world = World::new();
        let source = world.make("ThreePi.1", TINY);
        world.import(&[(1, "ThreePi", &source)]);
        let gate = Gate::closed(&world, "rsync", "*' -n '*", &Hold::Before);
        let target = world.there();
        let copy = ["copy", "ThreePi", "localhost", target.as_str()];
        let pass = world.command(&copy).env("PATH", gate.path()).spawn().unwrap();
        gate.wait(1);
        let path = slow::staged(&world, "ThreePi.1").join(extra);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        gate.open();
        finish(pass).expect(1).says("fault 231").says("extra");
        assert_eq!(world.standing(1), "new 231");
        world.ok(&copy);
        slow::expect_only(&world, &["ThreePi.1"]);
    }
}

/// Header and lines (kind, size, checksum by path) of a copy's manifest.
fn manifest(world: &World, id: u64) -> (serde_json::Value, BTreeMap<String, (String, u64, String)>) {
    let file = fs::File::open(world.state().join(format!("manifests/{id}.tsv.gz"))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let header = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(lines.next_back(), Some("end"));
    let lines = lines.map(|line| {
        let fields: Vec<&str> = line.splitn(5, '\t').collect();
        (fields[4].to_owned(), (fields[0].to_owned(), fields[1].parse().unwrap(), fields[3].to_owned()))
    });
    (header, lines.collect())
}

/// Fails unless the manifest has every file with its size and a checksum that is right.
#[track_caller]
fn expect_manifest(world: &World, id: u64, name: &str) {
    let (header, lines) = manifest(world, id);
    assert_eq!(header["minidvodbcopy_id"], id);
    assert_eq!(header["final_path"], world.there().join(name).as_str());
    let algorithm = header["checksum"].as_str().unwrap();
    let mut files = 0;
    for entry in xtask::tree::list(world.source(name)).unwrap() {
        let path = entry.path.to_str().unwrap();
        let (kind, size, checksum) = lines.get(path).unwrap_or_else(|| panic!("{path} is missing"));
        if entry.kind != xtask::tree::Kind::File {
            assert_eq!(kind, "d", "{path}");
            continue;
        }
        files += 1;
        assert_eq!((kind.as_str(), *size), ("f", entry.bytes), "{path}");
        let content = fs::read(world.source(name).join(path)).unwrap();
        match algorithm {
            "xxh128" => {
                let sum = xxhash_rust::xxh3::xxh3_128(&content);
                assert_eq!(*checksum, format!("{sum:032x}"), "{path}");
            }
            // An older rsync; then the length is all that is looked at.
            other => assert!(checksum.len() >= 16, "{path}: {other} {checksum}"),
        }
    }
    assert_eq!(lines.values().filter(|(kind, ..)| kind == "f").count(), files);
}

#[test]
fn the_manifest_of_a_full_copy_has_every_file_with_size_and_checksum() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    fs::write(world.source("ThreePi.1").join("empty"), "").unwrap();
    world.ok(&["run"]).is_silent();
    expect_manifest(&world, 1, "ThreePi.1");
}

#[test]
fn the_manifest_of_a_quickly_verified_copy_has_checksums_too() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    fs::write(world.source("ThreePi.1").join("empty"), "").unwrap();
    quick_target(&world, "ipp0222");
    world.ok(&["run"]).is_silent();
    expect_manifest(&world, 1, "ThreePi.1");
}

#[test]
fn the_manifest_of_a_resumed_copy_is_complete() {
    let world = World::new();
    slow::prepare(&world, "localhost", 1);
    quick_target(&world, "localhost");
    let pass = slow::start_and_meet(&world, &["run"]);
    slow::signal(pass, Signal::TERM).expect(143);
    slow::copy_now(&world, "localhost").expect(0);
    expect_manifest(&world, 1, "ThreePi.1");
}

/// Everything that can be known of what is at a path, symlinks not followed.
fn fingerprint(path: &Utf8Path) -> Vec<String> {
    let of = |path: &std::path::Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        let content = if meta.is_file() {
            fs::read(path).unwrap()
        } else if meta.is_symlink() {
            fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        format!("{} {} {:o} {times:?} {content:?}", path.display(), meta.ino(), meta.mode())
    };
    let mut all = vec![of(path.as_std_path())];
    if fs::symlink_metadata(path).unwrap().is_dir() {
        let below = xtask::tree::list(path).unwrap();
        all.extend(below.iter().map(|entry| of(&path.as_std_path().join(&entry.path))));
    }
    all
}

#[test]
fn whatever_has_the_final_name_already_is_left_as_it_is() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 6);
    let there = |id: u64| world.there().join(format!("ThreePi.{id}"));
    fs::write(there(1), "somebody's file").unwrap();
    dvo::make(&there(2), TINY, 9).unwrap();
    fs::create_dir(there(3)).unwrap();
    fs::create_dir(world.root.join("elsewhere")).unwrap();
    symlink(world.root.join("elsewhere"), there(4)).unwrap();
    symlink("/nowhere/at all", there(5)).unwrap();
    let before: Vec<_> = (1..=5).map(|id| fingerprint(&there(id))).collect();
    world.run(&["run"]).expect(1).says("fault 225");
    for id in 1..=5 {
        assert_eq!(world.standing(id), "new 225");
        assert_eq!(fingerprint(&there(id)), before[id as usize - 1]);
    }
    assert_eq!(world.standing(6), "full 0");
    world.expect_arrived("ThreePi.6");
    assert_eq!(super::world::names_in(&world.root.join("elsewhere")), Vec::<String>::new());
    // Moved away and reverted, it is copied.
    fs::remove_file(there(1)).unwrap();
    world.ok(&["revert", "--id", "1"]);
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn what_takes_the_final_name_during_the_copy_is_left_as_it_is() {
    for make in [
        |path: &Utf8Path| fs::create_dir(path).unwrap(),
        |path: &Utf8Path| fs::write(path, "x").unwrap(),
        |path: &Utf8Path| symlink("/nowhere/at all", path).unwrap(),
    ] {
        let world = World::new();
        let source = world.make("ThreePi.1", TINY);
        world.import(&[(1, "ThreePi", &source)]);
        // After all looking, in the last instant before the rename.
        let gate = Gate::closed(&world, "mv", "*", &Hold::Before);
        let target = world.there();
        let copy = ["copy", "ThreePi", "localhost", target.as_str()];
        let pass = world.command(&copy).env("PATH", gate.path()).spawn().unwrap();
        gate.wait(1);
        let path = world.there().join("ThreePi.1");
        make(&path);
        let before = fingerprint(&path);
        gate.open();
        finish(pass).expect(1).says("fault 225");
        assert_eq!(world.standing(1), "new 225");
        assert_eq!(fingerprint(&path), before);
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        world.ok(&["revert", "--id", "1"]);
        world.ok(&copy);
        slow::expect_only(&world, &["ThreePi.1"]);
    }
}

#[test]
fn of_two_minidvodbs_with_one_final_name_the_first_arrives_and_the_second_is_a_fault() {
    let world = World::with_sshd();
    let first = world.make("ThreePi.1", TINY);
    let second = world.make("other/ThreePi.1", TINY);
    world.import(&[(1, "ThreePi", &first), (2, "ThreePi", &second)]);
    world.run(&["copy", "ThreePi", "ipp0222", world.there().as_str()]).expect(1).says("fault 226");
    assert_eq!((world.standing(1), world.standing(2)), ("full 0".into(), "new 226".into()));
    slow::expect_only(&world, &["ThreePi.1"]);
    // Nor in a later pass, nor by another group, nor by another name of the path.
    let third = world.make("third/ThreePi.1", TINY);
    world.import(&[(3, "Other", &third)]);
    let path = format!("{}//", world.there());
    world.run(&["copy", "Other", "ipp0222", &path]).expect(1).says("fault 226");
    assert_eq!(world.standing(3), "new 226");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_reader_never_sees_a_copy_before_it_is_complete() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let (there, source) = (world.there().join("ThreePi.1"), world.source("ThreePi.1"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if there.symlink_metadata().is_ok() {
                    return xtask::tree::differences(&source, &there).unwrap();
                }
                std::thread::yield_now();
            }
            vec!["it was never seen".to_owned()]
        });
        let ran = world.run(&["run"]);
        is_over.store(true, Ordering::Relaxed);
        let seen = reader.join().unwrap();
        ran.expect(0);
        assert_eq!(seen, Vec::<String>::new(), "complete when seen first");
    });
}

/// Something that is not ours in place of the staging folder: a fault, nothing is written through it, and when
/// it is gone the copy goes on.
#[track_caller]
fn staging_is_refused(plant: impl FnOnce(&World), remove: impl FnOnce(&World)) {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let elsewhere = world.root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    plant(&world);
    let (before, top) = (fingerprint(&elsewhere), fingerprint(&world.there()));
    world.run(&["run"]).expect(1).says("fault 22");
    assert!(["new 221", "new 222"].contains(&world.standing(1).as_str()), "{}", world.standing(1));
    assert_eq!((fingerprint(&elsewhere), fingerprint(&world.there())), (before, top));
    remove(&world);
    world.ok(&["copy", "ThreePi", "ipp0222", world.there().as_str()]);
    assert_eq!(world.standing(1), "full 0");
    slow::expect_only(&world, &["ThreePi.1"]);
}

fn staging_top(world: &World) -> Utf8PathBuf {
    world.there().join(".minidvodbcopy")
}

#[test]
fn a_symlink_in_place_of_the_staging_folder_is_not_followed() {
    staging_is_refused(
        |world| symlink(world.root.join("elsewhere"), staging_top(world)).unwrap(),
        |world| fs::remove_file(staging_top(world)).unwrap(),
    );
}

#[test]
fn a_dangling_symlink_in_place_of_the_staging_folder_is_not_followed() {
    staging_is_refused(
        |world| symlink(world.root.join("elsewhere/not there"), staging_top(world)).unwrap(),
        |world| fs::remove_file(staging_top(world)).unwrap(),
    );
}

#[test]
fn a_file_in_place_of_the_staging_folder_is_left_alone() {
    staging_is_refused(
        |world| fs::write(staging_top(world), "x").unwrap(),
        |world| fs::remove_file(staging_top(world)).unwrap(),
    );
}

#[test]
fn a_staging_folder_of_another_user_is_not_used() {
    if !slow::is_root() {
        return;
    }
    staging_is_refused(
        |world| {
            fs::create_dir(staging_top(world)).unwrap();
            std::os::unix::fs::chown(staging_top(world), Some(65_534), Some(65_534)).unwrap();
        },
        |world| fs::remove_dir(staging_top(world)).unwrap(),
    );
}

#[test]
fn a_symlink_in_place_of_a_begun_staging_folder_is_not_followed() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let pass = slow::start_and_meet(&world, &["run"]);
    slow::signal(pass, Signal::TERM).expect(143);
    let staged = slow::staged(&world, "ThreePi.1");
    let elsewhere = world.root.join("elsewhere");
    fs::rename(&staged, &elsewhere).unwrap();
    symlink(&elsewhere, &staged).unwrap();
    let before = fingerprint(&elsewhere);
    slow::copy_now(&world, "ipp0222").expect(1);
    assert!(world.standing(1).starts_with("new 22"), "{}", world.standing(1));
    assert_eq!(fingerprint(&elsewhere), before);
}

#[test]
fn the_staging_folder_of_another_ledger_is_left_alone() {
    let world = World::new();
    world.prepare("localhost", 1);
    let other = staging_top(&world).join("0123456789abcdef/ThreePi.1");
    dvo::make(&other, TINY, 3).unwrap();
    let before = fingerprint(&other);
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.1");
    assert_eq!(fingerprint(&other), before);
    assert_eq!(super::world::names_in(&staging_top(&world)), ["0123456789abcdef"]);
}

#[test]
fn partial_files_that_nobody_needs_any_more_leave_no_trace_in_the_times_of_folders() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let pass = slow::start_and_meet(&world, &["run"]);
    slow::signal(pass, Signal::TERM).expect(143);
    // As it is left of a file that has vanished from the source since.
    let parts = slow::staged(&world, "ThreePi.1").join("n0000/.minidvodbcopy-partial");
    fs::create_dir_all(&parts).unwrap();
    fs::write(parts.join("gone.cpm"), "part").unwrap();
    slow::copy_now(&world, "ipp0222").expect(0);
    slow::expect_only(&world, &["ThreePi.1"]);
}
