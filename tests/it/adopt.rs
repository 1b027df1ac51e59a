//! What is at PATH/NAME already becomes the copy, when an operator says so: completed, verified, and never
//! deleted or overwritten.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::{self, Shape};
use xtask::processes::{self, Signal};
use xtask::tree::Kind;

use super::mounts::{Mount, is_root};
use super::slow::{self, Gate, Hold};
use super::world::{Ran, World, finish};

const HOST: &str = "ipp0222";
const HERE: &str = "localhost";

/// What somebody did to a folder that is there.
type Change = fn(&Utf8Path);
/// What somebody put there.
type Put = fn(&World);
/// A thing that was there before: its inode, and its content or where it leads to.
type Kept = (u64, Vec<u8>);

/// A minidvodb whose place is taken by what somebody else put there.
struct Taken {
    world: World,
    before: BTreeMap<Utf8PathBuf, Kept>,
}

impl Taken {
    /// `put` makes what is there; the first pass finds it, and an operator has said that it may be completed.
    #[track_caller]
    fn new(host: &str, shape: Shape, put: impl FnOnce(&World)) -> Self {
        let world = if host == HERE { World::new() } else { World::with_sshd() };
        let source = world.make("ThreePi.1", shape);
        world.import(&[(1, "ThreePi", &source)]);
        world.ok(&["target", "add", "ThreePi", host, world.there().as_str()]);
        world.ok(&["host", "add", host]);
        put(&world);
        world.run(&["run"]).expect(1).says("fault 225");
        assert_eq!(world.standing(1), "new 225");
        let ran = world.ok(&["revert", "--id", "1", "--adopt"]);
        assert!(ran.stdout.contains("completes what is there"), "{}", ran.stdout);
        assert_eq!(world.standing(1), "new 0");
        let before = everything_in(&world.there());
        Self { world, before }
    }

    /// A copy of the source that `change` has been at.
    #[track_caller]
    fn changed(host: &str, change: impl FnOnce(&Utf8Path)) -> Self {
        Self::new(host, Shape::tiny(), |world| {
            copy_tree(&world.source("ThreePi.1"), &world.there().join("ThreePi.1"));
            change(&world.there().join("ThreePi.1"));
        })
    }

    fn there(&self) -> Utf8PathBuf {
        self.world.there().join("ThreePi.1")
    }

    /// Fails unless all that was there before is there as it was.
    #[track_caller]
    fn expect_kept(&self) {
        let after = everything_in(&self.world.there());
        for (path, kept) in &self.before {
            let now = after.get(path).unwrap_or_else(|| panic!("{path} is gone"));
            assert!(now == kept, "{path} is another one now");
        }
        self.world.ok(&["ledger", "check"]);
    }

    /// Fails unless the pass makes it the copy.
    #[track_caller]
    fn expect_adopted(&self) {
        let world = &self.world;
        let ran = world.ok(&["run"]);
        assert_eq!(ran.stdout, "");
        self.expect_full();
    }

    #[track_caller]
    fn expect_full(&self) {
        let world = &self.world;
        assert_eq!(world.standing(1), "full 0");
        assert_eq!(world.copy(1)["verified"], "checksum");
        slow::expect_only(world, &["ThreePi.1"]);
        self.expect_kept();
        let log = world.ok(&["log", "show"]).stdout;
        assert_eq!(log.matches("already, completed and verified").count(), 1, "{log}");
        assert!(world.state().join("manifests/1.tsv.gz").exists());
        // Somebody else's folder is not replaced, whoever completed it.
        world.run(&["recopy", "1"]).expect(2).says("not published by this ledger");
        world.ok(&["run"]).is_silent();
    }

    /// Fails unless the pass leaves everything as it was, for a person, and names `what`.
    #[track_caller]
    fn expect_left_alone(&self, fault: u16, what: &str) {
        let world = &self.world;
        let ran = world.run(&["run"]).expect(1).says(&format!("fault {fault}"));
        assert!(ran.stderr.contains(what), "no {what:?} in:\n{}", ran.stderr);
        assert_eq!(world.standing(1), format!("new {fault}"));
        assert_eq!(world.copy(1)["fault_class"], "person");
        self.expect_kept();
        let names = world.names_there();
        assert!(!names.contains(&".minidvodbcopy".to_owned()), "{names:?}");
        world.ok(&["run"]).is_silent();
        self.expect_kept();
    }
}

#[track_caller]
fn copy_tree(from: &Utf8Path, to: &Utf8Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Files, folders and symlinks below a folder, symlinks not followed.
#[track_caller]
fn everything_in(folder: &Utf8Path) -> BTreeMap<Utf8PathBuf, Kept> {
    let entries = xtask::tree::list(folder).unwrap();
    let kept = entries.into_iter().map(|entry| {
        let path = folder.join(Utf8PathBuf::try_from(entry.path).unwrap());
        let content = match entry.kind {
            Kind::File => fs::read(&path).unwrap(),
            Kind::Symlink => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            Kind::Folder | Kind::Other => Vec::new(),
        };
        let inode = fs::symlink_metadata(&path).unwrap().ino();
        (path, (inode, content))
    });
    kept.collect()
}

/// The files of a minidvodb with an ending, by their full path.
#[track_caller]
fn files_with(folder: &Utf8Path, ending: &str) -> Vec<Utf8PathBuf> {
    let entries = xtask::tree::list(folder).unwrap();
    let paths = entries.into_iter().map(|entry| folder.join(Utf8PathBuf::try_from(entry.path).unwrap()));
    let found: Vec<_> = paths.filter(|path| path.is_file() && path.as_str().ends_with(ending)).collect();
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found
}

/// Some folder in a minidvodb.
#[track_caller]
fn a_folder_in(folder: &Utf8Path) -> Utf8PathBuf {
    let found = files_with(folder, ".cpm");
    found.first().unwrap().parent().unwrap().to_owned()
}

#[test]
fn a_complete_folder_is_verified_and_nothing_is_sent() {
    for host in [HERE, HOST] {
        let taken = Taken::changed(host, |_| {});
        taken.expect_adopted();
        assert_eq!(slow::attempts(&taken.world, 1).last().unwrap().sent_bytes, 0.0);
    }
}

#[test]
fn what_a_folder_lacks_is_sent_and_what_it_has_is_kept() {
    let changes: [(&str, Change); 4] = [
        ("files", |there| files_with(there, ".cpt").iter().for_each(|file| fs::remove_file(file).unwrap())),
        ("a folder", |there| fs::remove_dir_all(a_folder_in(there)).unwrap()),
        ("the files at its top", |there| {
            files_with(there, ".dat").iter().for_each(|file| fs::remove_file(file).unwrap());
        }),
        ("everything", |there| {
            fs::remove_dir_all(there).unwrap();
            fs::create_dir(there).unwrap();
        }),
    ];
    for host in [HERE, HOST] {
        for (what, change) in changes {
            let taken = Taken::changed(host, change);
            taken.expect_adopted();
            assert!(slow::attempts(&taken.world, 1).last().unwrap().sent_bytes > 0.0, "{what}");
        }
    }
}

#[test]
fn what_differs_from_the_source_is_left_as_it_is_for_a_person() {
    let changes: [(&str, Change, &str); 9] = [
        (
            "a half file",
            |there| {
                let file = files_with(there, ".cpm").remove(0);
                let time = fs::metadata(&file).unwrap().modified().unwrap();
                let open = fs::File::options().write(true).open(&file).unwrap();
                open.set_len(100).unwrap();
                open.set_modified(time).unwrap();
            },
            ".cpm differs",
        ),
        ("an empty file", |there| fs::write(there.join("Images.dat"), "").unwrap(), "Images.dat differs"),
        ("an extra file", |there| fs::write(there.join("notes"), "mine").unwrap(), "notes is extra there"),
        ("an extra folder", |there| fs::create_dir(there.join("mine")).unwrap(), "mine is extra there"),
        (
            "a file with another byte",
            |there| dvo::flip_byte(&there.join("Images.dat")).unwrap(),
            "Images.dat",
        ),
        (
            "a file of another time",
            |there| {
                let file = fs::File::options().write(true).open(there.join("Images.dat")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            },
            "Images.dat differs",
        ),
        (
            "a symlink in place of a folder",
            |there| {
                let folder = a_folder_in(there);
                let away = there.parent().unwrap().parent().unwrap().join("away");
                fs::rename(&folder, &away).unwrap();
                symlink(away, folder).unwrap();
            },
            "differs",
        ),
        (
            "a symlink in place of a file",
            |there| {
                fs::remove_file(there.join("Images.dat")).unwrap();
                symlink("/etc/hostname", there.join("Images.dat")).unwrap();
            },
            "Images.dat differs",
        ),
        (
            "a folder in place of a file",
            |there| {
                fs::remove_file(there.join("Images.dat")).unwrap();
                fs::create_dir(there.join("Images.dat")).unwrap();
            },
            "Images.dat differs",
        ),
    ];
    for (what, change, named) in changes {
        let taken = Taken::changed(HERE, |there| {
            // It lacks something, too.
            fs::remove_file(files_with(there, ".cps").remove(0)).unwrap();
            change(there);
        });
        let away = taken.world.root.join("away");
        let elsewhere = away.exists().then(|| everything_in(&away));
        taken.expect_left_alone(231, named);
        assert_eq!(away.exists().then(|| everything_in(&away)), elsewhere, "{what}");
    }
}

#[test]
fn over_ssh_a_file_with_another_byte_is_left_as_it_is() {
    let taken = Taken::changed(HOST, |there| dvo::flip_byte(&there.join("Images.dat")).unwrap());
    taken.expect_left_alone(231, "Images.dat");
    // The way out, as it is said: moved away, then reverted.
    fs::rename(taken.there(), taken.world.root.join("away")).unwrap();
    taken.world.ok(&["revert", "--id", "1"]);
    taken.world.ok(&["run"]);
    slow::expect_only(&taken.world, &["ThreePi.1"]);
    taken.world.ok(&["recopy", "1"]);
}

#[test]
fn what_is_no_folder_is_never_adopted() {
    let puts: [Put; 4] = [
        |world| {
            copy_tree(&world.source("ThreePi.1"), &world.root.join("away"));
            symlink(world.root.join("away"), world.there().join("ThreePi.1")).unwrap();
        },
        |world| symlink(world.source("ThreePi.1"), world.there().join("ThreePi.1")).unwrap(),
        |world| symlink("/nowhere/at/all", world.there().join("ThreePi.1")).unwrap(),
        |world| fs::write(world.there().join("ThreePi.1"), "precious").unwrap(),
    ];
    for host in [HERE, HOST] {
        for put in puts {
            let taken = Taken::new(host, Shape::tiny(), put);
            taken.expect_left_alone(225, "is no folder");
        }
    }
}

#[test]
fn a_folder_that_is_gone_by_then_is_copied_and_published_like_any_other() {
    let taken = Taken::changed(HERE, |_| {});
    fs::remove_dir_all(taken.there()).unwrap();
    taken.world.ok(&["run"]);
    slow::expect_only(&taken.world, &["ThreePi.1"]);
    assert_eq!(taken.world.standing(1), "full 0");
    taken.world.ok(&["recopy", "1"]);
}

/// A large minidvodb of which only the small things are there, and a pass in the middle of completing it.
#[track_caller]
fn cut_off(host: &str, end: impl FnOnce(std::process::Child) -> Option<Ran>) {
    let mut taken = Taken::new(host, slow::SHAPE, |world| {
        let there = world.there().join("ThreePi.1");
        copy_tree(&world.source("ThreePi.1"), &there);
        files_with(&there, ".cpm").iter().for_each(|file| fs::remove_file(file).unwrap());
    });
    slow::set_rate(&taken.world, host, "1500");
    let pass = taken.world.start(&["run"]);
    slow::until_staged(&taken.world, "ThreePi.1", 400_000);
    let children = processes::descendants(pass.id());
    let _ = end(pass);
    slow::expect_gone(&taken.world, &children, None);
    if taken.world.sshd.is_some() {
        assert!(taken.world.sshd().wait_until_idle(std::time::Duration::from_secs(30)));
    }
    let source = everything_in(&taken.world.source("ThreePi.1"));
    for (path, (_, content)) in everything_in(&taken.there()) {
        let own = taken.world.source("ThreePi.1").join(path.strip_prefix(taken.there()).unwrap());
        let whole = source.get(&own).unwrap_or_else(|| panic!("{path} is not in the source"));
        assert!(whole.1 == content, "half of {path} has its name");
    }
    slow::set_rate(&taken.world, host, "0");
    taken.expect_adopted();
    let outcomes = slow::outcomes(&taken.world, 1);
    assert!(outcomes[1].starts_with("interrupted while sending"), "{outcomes:?}");
}

#[test]
fn killed_in_the_middle_no_half_file_has_its_name_and_the_next_pass_goes_on() {
    for host in [HERE, HOST] {
        cut_off(host, |pass| {
            slow::kill_alone(pass);
            None
        });
    }
}

#[test]
fn ended_by_sigterm_in_the_middle_the_next_pass_goes_on() {
    cut_off(HERE, |pass| Some(slow::signal(pass, Signal::TERM).expect(143)));
}

#[test]
fn a_source_that_changes_meanwhile_is_a_retry_and_what_was_there_stays() {
    let taken = Taken::changed(HERE, |there| fs::remove_file(there.join("Images.dat")).unwrap());
    let gate = Gate::closed(&taken.world, "rsync", "*' -n '*", &Hold::Before);
    let pass = taken.world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    fs::write(taken.world.source("ThreePi.1").join("late.dat"), "late").unwrap();
    gate.open();
    finish(pass).expect(1).says("fault 203");
    taken.expect_kept();
    taken.world.ok(&["copy", "ThreePi", HERE, taken.world.there().as_str()]);
    taken.expect_full();
}

#[test]
fn what_comes_in_another_ones_place_meanwhile_is_not_called_full() {
    let taken = Taken::changed(HERE, |_| {});
    let gate = Gate::closed(&taken.world, "rsync", "*' -n '*", &Hold::After);
    let pass = taken.world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    fs::rename(taken.there(), taken.world.root.join("away")).unwrap();
    fs::create_dir(taken.there()).unwrap();
    gate.open();
    finish(pass).expect(1).says("fault 225");
    assert_eq!(taken.world.standing(1), "new 225");
    assert_eq!(taken.world.names_there(), ["ThreePi.1"]);
}

#[test]
fn a_disk_too_full_for_what_is_lacking_is_a_retry() {
    if !is_root() {
        return;
    }
    let world_mount = std::cell::OnceCell::new();
    let taken = Taken::new(HERE, Shape::tiny(), |world| {
        let _ = world_mount.set(Mount::tmpfs(&world.there(), "size=600k"));
        copy_tree(&world.source("ThreePi.1"), &world.there().join("ThreePi.1"));
        let there = world.there().join("ThreePi.1");
        files_with(&there, ".cpm").iter().for_each(|file| fs::remove_file(file).unwrap());
    });
    let mount = world_mount.get().unwrap();
    taken.world.ok(&["target", "add", "ThreePi", HERE, taken.world.there().as_str(), "--max-used", "100"]);
    mount.fill_to(148);
    taken.world.run(&["run"]).expect(1).says("fault 224");
    assert_eq!(taken.world.copy(1)["fault_class"], "retry");
    taken.expect_kept();
    mount.empty();
    taken.world.ok(&["copy", "ThreePi", HERE, taken.world.there().as_str()]);
    taken.expect_full();
    drop(world_mount);
}

/// A folder that lacks a file, in a world of a user without privileges; `own` says whose it is.
#[track_caller]
fn unprivileged(is_own: bool) -> (World, Ran) {
    let world = World::new();
    let folders = [1, 2].map(|id| world.make(&format!("ThreePi.{id}"), Shape::tiny()));
    world.import(&[(1, "ThreePi", &folders[0]), (2, "ThreePi", &folders[1])]);
    let there = world.there().join("ThreePi.1");
    copy_tree(&folders[0], &there);
    fs::remove_file(there.join("Images.dat")).unwrap();
    slow::give_away(&world);
    let mut all = vec![there.clone()];
    all.extend(everything_in(&there).into_keys());
    for path in all {
        if path.is_dir() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        if !is_own {
            lchown(path, Some(0), Some(0)).unwrap();
        }
    }
    let copy = ["copy", "ThreePi", HERE, world.there().as_str()].map(str::to_owned);
    let copy = copy.each_ref().map(String::as_str);
    slow::run_unprivileged(&world, &copy).expect(1).says("fault 225");
    slow::run_unprivileged(&world, &["revert", "--id", "1", "--adopt"]).expect(0);
    // The second one is to be copied behind it.
    fs::remove_dir_all(world.there().join("ThreePi.2")).unwrap();
    slow::run_unprivileged(&world, &["update", "--id", "2", "--set-state", "new"]).expect(0);
    let ran = slow::run_unprivileged(&world, &copy);
    (world, ran)
}

#[test]
fn a_read_only_folder_of_ones_own_is_completed() {
    let (world, ran) = unprivileged(true);
    ran.expect(0);
    world.expect_arrived("ThreePi.1");
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_folder_of_somebody_else_that_cannot_be_written_is_that_copys_fault_alone() {
    if !is_root() {
        return;
    }
    let (world, ran) = unprivileged(false);
    ran.expect(1);
    let copy = world.copy(1);
    assert_eq!((copy["state"].as_str(), copy["fault_class"].as_str()), (Some("new"), Some("person")));
    assert_eq!(world.standing(2), "full 0", "the queue behind it goes on: {copy}");
    assert!(!world.there().join("ThreePi.1/Images.dat").exists());
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2"]);
    let targets = world.ok(&["target", "show", "--json"]).json();
    assert_eq!(targets[0]["fault"], 0, "{targets}");
}

#[test]
fn only_where_the_place_is_taken_may_it_be_completed() {
    let world = World::new();
    world.prepare(HERE, 2);
    fs::create_dir(world.there().join("ThreePi.1")).unwrap();
    fs::rename(world.source("ThreePi.2"), world.root.join("away")).unwrap();
    world.run(&["run"]).expect(1);
    assert_eq!((world.standing(1), world.standing(2)), ("new 225".to_owned(), "new 201".to_owned()));
    let dry = world.ok(&["revert", "--all", "--adopt", "--dry-run"]);
    assert!(dry.stdout.contains("would clear 225 path-taken of copy 1"), "{}", dry.stdout);
    assert_eq!((world.standing(1), world.standing(2)), ("new 225".to_owned(), "new 201".to_owned()));
    world.ok(&["revert", "--all", "--adopt"]);
    assert_eq!((world.standing(1), world.standing(2)), ("new 0".to_owned(), "new 201".to_owned()));
    world.run(&["revert", "--id", "2", "--adopt"]).expect(0).says("nothing was cleared");
    assert_eq!(world.standing(2), "new 201");
}

#[test]
fn a_later_revert_without_it_takes_the_word_back() {
    let taken = Taken::changed(HERE, |there| fs::write(there.join("extra"), "x").unwrap());
    taken.expect_left_alone(231, "extra");
    taken.world.ok(&["revert", "--id", "1"]);
    taken.world.run(&["run"]).expect(1).says("fault 225");
    taken.expect_kept();
    fs::remove_file(taken.there().join("extra")).unwrap();
    taken.world.ok(&["revert", "--id", "1", "--adopt"]);
    taken.world.ok(&["run"]);
    assert_eq!(taken.world.standing(1), "full 0");
}
