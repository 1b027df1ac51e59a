//! Names that a shell, rsync or a terminal could take for something else: each arrives under exactly that name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::{self, Shape};
use xtask::tree::Kind;

use super::slow;
use super::world::World;

/// Small: these tests are about names.
const SHAPE: Shape = Shape { regions: 1, files_per_region: 1, rows_per_file: 1 };

/// What a name that is executed makes, somewhere.
fn trap() -> String {
    format!("x{:09}", std::process::id())
}

/// Names that are legal for a NAME, a group and a path alike.
fn bad_names() -> Vec<String> {
    let trap = trap();
    [
        "with a  'blank' and \"quotes\"",
        "it's",
        "$(touch TRAP)`touch TRAP`;touch TRAP;",
        "a&touch TRAP&b|touch TRAP >TRAP",
        "$HOME back\\slash\\#012\\",
        "-rf",
        "--delete",
        "*[a]?{b,c}",
        "~!x#y",
        "host:%n é",
    ]
    .map(|name| name.replace("TRAP", &trap))
    .into()
}

#[track_caller]
fn expect_nothing_executed(world: &World) {
    let trap = trap();
    let home = std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
    for folder in [Utf8Path::new("/"), Utf8Path::new(&home), Utf8Path::new("/tmp")] {
        assert!(!folder.join(&trap).exists(), "{trap} was made in {folder}");
    }
    for entry in xtask::tree::list(&world.root).unwrap() {
        assert_ne!(entry.path.file_name(), Some(OsStr::new(&trap)), "{:?}", entry.path);
    }
}

/// A minidvodb whose NAME, group and target path are one and the same bad name, for each of them.
#[track_caller]
fn copy_each_under_its_name(world: &World, host: &str) {
    let names = bad_names();
    for (id, name) in (1..).zip(&names) {
        let (source, there) = (world.source(name), world.there().join(name));
        dvo::make(&source, SHAPE, id).unwrap();
        fs::create_dir(&there).unwrap();
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let list = format!(
            "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n{id},{q},{q},{},merged\n",
            quoted(source.as_str()),
            q = quoted(name),
        );
        world.import_text(&list).expect(0);
        world.ok(&["target", "add", "--", name, host, there.as_str()]);
    }
    world.ok(&["host", "add", host]);
    world.ok(&["run"]).is_silent();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(world.names_there(), expected);
    for name in &names {
        let there = world.there().join(name);
        let differences = xtask::tree::differences(world.source(name), there.join(name)).unwrap();
        assert_eq!(differences, Vec::<String>::new(), "{name}");
        assert_eq!(super::world::names_in(&there), [name.as_str()], "nothing else is there");
    }
    assert!(world.list().iter().all(|copy| copy["state"] == "full"));
    expect_nothing_executed(world);
}

#[test]
fn any_legal_name_group_and_path_is_copied_over_ssh_under_exactly_that_name() {
    let world = World::with_sshd();
    copy_each_under_its_name(&world, "ipp0222");
}

#[test]
fn any_legal_name_group_and_path_is_copied_to_localhost_under_exactly_that_name() {
    let world = World::new();
    copy_each_under_its_name(&world, "localhost");
}

/// One minidvodb from `source` to `there`.
#[track_caller]
fn copy_one(world: &World, host: &str, source: &Utf8Path, there: &Utf8Path) {
    world.import(&[(1, "ThreePi", source)]);
    world.ok(&["copy", "ThreePi", host, there.as_str()]).is_silent();
    let arrived = there.join(source.file_name().unwrap());
    assert_eq!(xtask::tree::differences(source, arrived).unwrap(), Vec::<String>::new());
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn blanks_at_the_ends_of_a_name_are_kept() {
    let world = World::with_sshd();
    let source = world.make(" ThreePi.1 ", SHAPE);
    copy_one(&world, "ipp0222", &source, &world.there());
    assert_eq!(world.names_there(), [" ThreePi.1 "]);
}

#[test]
fn a_path_that_ends_in_a_blank_is_the_one_that_is_copied_to() {
    let world = World::new();
    let source = world.make("ThreePi.1", SHAPE);
    // Beside it the folder that a lost blank would lead to.
    let (there, other) = (world.there().join(" mini "), world.there().join(" mini"));
    fs::create_dir(&there).unwrap();
    fs::create_dir(&other).unwrap();
    copy_one(&world, "localhost", &source, &there);
    assert_eq!(super::world::names_in(&other), Vec::<String>::new());
}

#[test]
fn a_path_with_slashes_at_its_end_and_a_symlink_in_it_is_followed() {
    let world = World::with_sshd();
    let source = world.make("ThreePi.1", SHAPE);
    symlink(world.there(), world.root.join("link")).unwrap();
    world.import(&[(1, "ThreePi", &source)]);
    world.ok(&["copy", "ThreePi", "ipp0222", &format!("{}//", world.root.join("link"))]).is_silent();
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_host_with_a_user_is_reached_as_that_user() {
    let world = World::with_sshd();
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    let host = format!("{}@ipp022", String::from_utf8(output.stdout).unwrap().trim());
    world.prepare(&host, 1);
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.1");
    let copy = world.copy(1);
    assert_eq!(copy["destination_host"], host.as_str());
    assert_eq!((copy["machine"].as_str(), copy["state"].as_str()), (Some("ipp022"), Some("full")));
}

/// A minidvodb full of names and things that are easily lost on the way.
pub fn make_odd(world: &World) -> Utf8PathBuf {
    let source = world.make("odd", SHAPE);
    let top = source.as_std_path();
    let file = |name: &[u8], content: &str| {
        let path = top.join(OsStr::from_bytes(name));
        fs::write(&path, content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_300_000_000, 123_456_789);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        path
    };
    let names: [&[u8]; 23] = [
        b"new\nline",
        b"\nfirst",
        b"last\n",
        b"carriage\rreturn",
        b"tab\there",
        b"bell\x07 and escape\x1b[31m",
        b"delete\x7f",
        b"\xff\xfe not utf-8",
        b"latin \xe9",
        b"c1 \xc2\x9b",
        b" leading blank",
        b"trailing blank ",
        b"-rf",
        b"--files-from=x",
        b"*",
        b"host:file",
        b"\\#012",
        b"\\#134#012",
        b"back\\slash\\",
        b">f+++++++++ d41d8cd98f00b204e9800998ecf8427e 1 Images.dat",
        b"*deleting   x",
        b"Client negotiated checksum: md5",
        b"new\n.f           d41d8cd98f00b204e9800998ecf8427e 1 Images.dat\n",
    ];
    for name in names {
        file(name, "content");
    }
    fs::create_dir(top.join("      1,024 100%    1.00MB")).unwrap();
    file(b"      1,024 100%    1.00MB/s    0:00:00", "content");
    file(b"0 empty", "");
    file(b"mode 0600", "x");
    file(b"mode 0444", "x");
    file(b"mode 0755", "x");
    for (name, mode) in [("mode 0600", 0o600), ("mode 0444", 0o444), ("mode 0755", 0o755)] {
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(top.join("Images.dat"), top.join("hard link")).unwrap();
    for folder in [".minidvodbcopy-partial", ".minidvodbcopy", "empty folder", "a folder/in a folder/-x"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    file(b".minidvodbcopy-partial/file", "part");
    file(b".minidvodbcopy/file", "staged");
    file(b"a folder/in a folder/.minidvodbcopy-partial", "a file of that name");
    fs::set_permissions(top.join("empty folder"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("Images.dat", top.join("link to a file")).unwrap();
    symlink("empty folder", top.join("link to a folder")).unwrap();
    symlink("/nowhere/at all", top.join("dangling link")).unwrap();
    symlink("..", top.join("link to above")).unwrap();
    symlink("new\nline \\#012", top.join("link\nto odd")).unwrap();
    // rsync leaves the parts of a second alone where a thing was made in the same second there.
    for entry in xtask::tree::list(top).unwrap().into_iter().filter(|entry| entry.kind != Kind::File) {
        let then = rustix::fs::Timespec { tv_sec: 1_300_000_000, tv_nsec: 987_654_321 };
        let times = rustix::fs::Timestamps { last_access: then, last_modification: then };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, top.join(entry.path), &times, flags).unwrap();
    }
    source
}

#[test]
fn odd_files_arrive_equal_over_ssh() {
    let world = World::with_sshd();
    let source = make_odd(&world);
    copy_one(&world, "ipp0222", &source, &world.there());
    assert_eq!(world.names_there(), ["odd"]);
}

#[test]
fn odd_files_arrive_equal_at_localhost_with_quick_verification_too() {
    let world = World::new();
    let source = make_odd(&world);
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str(), "--verify", "quick"]);
    copy_one(&world, "localhost", &source, &world.there());
    assert_eq!(world.names_there(), ["odd"]);
    assert_eq!(world.copy(1)["verified"], "quick");
}

#[test]
fn names_with_control_characters_are_shown_escaped() {
    let world = World::new();
    let source = world.make("ThreePi.1", SHAPE);
    // Only a fault shows names of files.
    let gate = slow::Gate::closed(&world, "rsync", "*' -n '*", &slow::Hold::Before);
    world.import(&[(1, "ThreePi", &source)]);
    let mut command = world.command(&["copy", "ThreePi", "localhost", world.there().as_str()]);
    let pass = command.env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    fs::write(source.join("esc\u{1b}[31m\nred"), "x").unwrap();
    gate.open();
    let ran = super::world::finish(pass).expect(1).says("fault 203");
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    let shown = world.ok(&["show", "1"]).stdout;
    assert!(shown.contains("esc") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_read_only_minidvodb_arrives_for_a_user_without_privileges() {
    let world = World::new();
    let source = world.make("ThreePi.1", SHAPE);
    world.import(&[(1, "ThreePi", &source)]);
    slow::give_away(&world);
    for entry in xtask::tree::list(&source).unwrap() {
        let path = source.as_std_path().join(&entry.path);
        fs::set_permissions(path, fs::Permissions::from_mode(entry.mode & 0o555)).unwrap();
    }
    fs::set_permissions(&source, fs::Permissions::from_mode(0o555)).unwrap();
    slow::run_unprivileged(&world, &["copy", "ThreePi", "localhost", world.there().as_str()]).expect(0);
    slow::expect_only(&world, &["ThreePi.1"]);
    assert_eq!(fs::metadata(world.there().join("ThreePi.1")).unwrap().permissions().mode() & 0o777, 0o555);
}

#[test]
fn a_name_that_is_a_pattern_for_another_name_is_taken_as_it_is() {
    let world = World::with_sshd();
    let folders: Vec<_> = ["abc", "a[b]c", "a*c", "a?c"].map(|name| world.make(name, Shape::tiny())).into();
    // The folder that the patterns fit is there already, in staging and in its place.
    let rows: Vec<_> = (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    world.ok(&["target", "add", "ThreePi", "ipp0222", world.there().as_str()]);
    let ledger_id = {
        world.ok(&["copy", "ThreePi", "ipp0222", world.there().as_str(), "--limit", "1"]);
        world.expect_arrived("abc");
        let manifest = std::process::Command::new("zcat")
            .arg(world.state().join("manifests/1.tsv.gz"))
            .output()
            .unwrap();
        let text = String::from_utf8(manifest.stdout).unwrap();
        let header: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        header["ledger"].as_str().unwrap().to_owned()
    };
    let decoy = world.there().join(".minidvodbcopy").join(ledger_id).join("abc");
    fs::create_dir_all(&decoy).unwrap();
    fs::write(decoy.join("kept"), "kept").unwrap();
    world.ok(&["copy", "ThreePi", "ipp0222", world.there().as_str()]);
    for name in ["a[b]c", "a*c", "a?c"] {
        world.expect_arrived(name);
    }
    assert_eq!(fs::read_to_string(decoy.join("kept")).unwrap(), "kept");
}
