//! What is sent begins with streams of tars, as many as are worth while, and is read back meanwhile: what arrives is what rsync
//! alone would have made of it, whatever happens on the way.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use xtask::processes;
use xtask::tree::Kind;

use super::slow::{self, Gate, Hold};
use super::world::{World, eventually, finish};

const HOST: &str = "ipp0222";
/// More than it takes to make a stream worth while.
const FILES: usize = 1200;
/// What a file of [`many_files`] has at most.
const FILE_BYTES: usize = 3000;

/// A minidvodb of many small files in a few folders; says its folder.
fn many_files(world: &World) -> Utf8PathBuf {
    let folder = world.source("ThreePi.1");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Images.dat"), "images").unwrap();
    for number in 0..FILES {
        let region = folder.join(format!("n{:04}", number % 7));
        fs::create_dir_all(&region).unwrap();
        let bytes: Vec<u8> = (0..number * 37 % FILE_BYTES).map(|at| (at * number) as u8).collect();
        let file = region.join(format!("{number:05}.cpm"));
        fs::write(&file, bytes).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_300_000_000 + number as u64, 123_456_789);
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    }
    age_folders(&folder);
    folder
}

/// Makes all folders of a minidvodb old, as real ones are: rsync compares times by whole seconds, and leaves a
/// folder alone that was made and sent within one.
fn age_folders(top: &Utf8Path) {
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_300_000_000, 5);
    let all = xtask::tree::list(top).unwrap();
    let folders = all.iter().filter(|entry| entry.kind == Kind::Folder);
    for path in folders.map(|entry| top.as_std_path().join(&entry.path)).chain([top.into()]) {
        File::open(path).unwrap().set_modified(old).unwrap();
    }
}

/// Such a minidvodb, in the list, with a target at the host.
fn world() -> World {
    let world = World::with_sshd();
    let folder = many_files(&world);
    prepare(&world, &folder);
    world
}

/// Puts a minidvodb into the list, with a target at the host.
fn prepare(world: &World, folder: &Utf8Path) {
    world.import(&[(1, "ThreePi", folder)]);
    world.ok(&["target", "add", "ThreePi", HOST, world.there().as_str()]);
    world.ok(&["host", "add", HOST]);
}

/// Whether the file log tells of a stream, and of how many bytes.
fn streamed_bytes(world: &World) -> Vec<u64> {
    let log = world.file_log();
    log.lines()
        .filter_map(|line| line.split_once(" stream: ")?.1.split_once(" bytes of files")?.0.parse().ok())
        .collect()
}

#[track_caller]
fn expect_full(world: &World, verified: &str) {
    assert_eq!(world.standing(1), "full 0");
    assert_eq!(world.copy(1)["verified"], verified);
    slow::expect_only(world, &["ThreePi.1"]);
}

#[test]
fn many_small_files_arrive_by_a_stream() {
    let world = world();
    world.ok(&["run"]).is_silent();
    expect_full(&world, "checksum");
    assert_eq!(streamed_bytes(&world), [slow::source_bytes(&world, "ThreePi.1")]);
    let attempts = slow::attempts(&world, 1);
    assert!(attempts[0].sent_bytes > 1_000_000.0, "{}", attempts[0].sent_bytes);
    // rsync has nothing to send, and the source is not read again.
    expect_read_back(&world, FILES + 1);
    assert!(!world.file_log().contains("started: rsync -a"), "{}", world.file_log());
}

/// Fails unless the host has read back so many files, and all were equal, while others were sent or after that.
#[track_caller]
fn expect_read_back(world: &World, files: usize) {
    let log = world.file_log();
    let equal = log.lines().filter_map(|line| {
        let (_, count) =
            line.split_once("read back: ").or_else(|| line.split_once("read back while more was sent: "))?;
        count.split_once(" files equal")?.0.parse::<usize>().ok()
    });
    assert_eq!(equal.sum::<usize>(), files, "{log}");
    assert!(!log.contains(" files equal, "), "{log}");
}

#[test]
fn what_a_tar_cannot_say_and_what_a_shell_could_misread_arrives_as_it_is() {
    let world = World::with_sshd();
    let folder = many_files(&world);
    let deep = folder.join(format!("deep/{}/{}/{}", "a".repeat(200), "b".repeat(200), "c".repeat(200)));
    fs::create_dir_all(&deep).unwrap();
    let not_utf8 = OsString::from_vec([&b"\xff\xe9\n"[..], &[b'x'; 252]].concat());
    let names = [
        OsStr::new("-rf"),
        OsStr::new("--to-command=touch x"),
        OsStr::new("with a  'blank' and \"quotes\""),
        OsStr::new("$(touch x)`touch x`;touch x"),
        OsStr::new("new\nline\\012\\"),
        OsStr::new(" ."),
        OsStr::new("ready"),
        &not_utf8,
    ];
    for name in names {
        for folder in [folder.as_std_path(), deep.as_std_path()] {
            fs::write(folder.join(name), name.as_bytes()).unwrap();
        }
    }
    fs::create_dir(folder.join("empty folder")).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("large"), vec![7; 3_000_000]).unwrap();
    fs::hard_link(folder.join("empty"), folder.join("another name")).unwrap();
    File::create(folder.join("sparse")).unwrap().set_len(500_000).unwrap();
    symlink("../../../etc", folder.join("symlink")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    let old = File::create(folder.join("older than time")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(100_000)).unwrap();
    for (name, mode) in [("-rf", 0o400), ("ready", 0o6751), ("n0003", 0o550), ("empty folder", 0o2755)] {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    age_folders(&folder);
    prepare(&world, &folder);
    world.ok(&["run"]).is_silent();
    expect_full(&world, "checksum");
    assert_eq!(streamed_bytes(&world).len(), 1);
}

#[test]
fn verified_quickly_the_manifest_has_the_checksums_that_rsync_would_have_given() {
    let manifest = |is_streamed: bool| {
        let world = world();
        let there = world.there();
        let words = ["target", "add", "ThreePi", HOST, there.as_str(), "--verify", "quick"];
        world.ok(&words);
        if !is_streamed {
            world.ok(&[&words[..], &["--bwlimit", "100000"]].concat());
        }
        world.ok(&["run"]);
        expect_full(&world, "quick");
        assert_eq!(streamed_bytes(&world).len(), usize::from(is_streamed));
        let output = std::process::Command::new("zcat")
            .arg(world.state().join("manifests/1.tsv.gz"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().next().unwrap().contains("\"checksum\":\"xxh128\""), "{text}");
        text.lines()
            .skip(1)
            .filter(|line| line.starts_with('f'))
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                (fields[4].to_owned(), fields[3].to_owned())
            })
            .collect::<Vec<_>>()
    };
    let (streamed, by_rsync) = (manifest(true), manifest(false));
    assert_eq!(streamed.len(), FILES + 1);
    assert!(streamed.iter().all(|(_, checksum)| checksum.len() == 32));
    assert_eq!(streamed, by_rsync);
}

#[test]
fn where_the_host_has_no_tar_rsync_sends_everything() {
    for script in ["#!/bin/sh\necho 'bsdtar 3.6.2 - libarchive 3.6.2'\n", "#!/bin/sh\nexit 127\n"] {
        let mut world = world();
        let bin = world.root.join("other-tar");
        fs::create_dir(&bin).unwrap();
        slow::write_program(&bin.join("tar"), script);
        world.set_path_there(&format!("{bin}:{}", std::env::var("PATH").unwrap()));
        world.ok(&["run"]).is_silent();
        expect_full(&world, "checksum");
        assert!(streamed_bytes(&world).is_empty());
    }
}

/// A world whose host has a stand-in for tar.
#[track_caller]
fn with_tar_that(does: &str) -> World {
    let mut world = world();
    let_tar(&mut world, does);
    world
}

/// From now on the host has a stand-in for tar that does something to what it is sent; TAR is the real one.
#[track_caller]
fn let_tar(world: &mut World, does: &str) {
    let bin = world.root.join("bad-tar");
    fs::create_dir(&bin).unwrap();
    let real = slow::real("tar");
    let script = format!("#!/bin/sh\ncase $1 in --version) exec {real} --version;; esac\n{does}\n");
    slow::write_program(&bin.join("tar"), &script.replace("TAR", real.as_str()));
    world.set_path_there(&format!("{bin}:{}", std::env::var("PATH").unwrap()));
}

#[test]
fn what_a_broken_stream_leaves_is_made_whole_by_rsync() {
    for does in [
        // It ends in the middle, having taken all or not.
        "head -c 700000 | TAR \"$@\"",
        "head -c 700001 | TAR \"$@\"; exit 0",
        "head -c 900000 >/dev/null; kill -9 $$",
        "cat >/dev/null; exit 0",
        "exit 2",
        // It leaves what nobody sent.
        "TAR \"$@\"; echo surprise > n0001/surprise; rm n0002/*1.cpm; mkdir n0003/folder",
        // It says a lot.
        "yes tar | head -c 10000000; TAR \"$@\"",
    ] {
        let world = with_tar_that(does);
        world.ok(&["run"]);
        expect_full(&world, "checksum");
    }
}

#[test]
fn a_byte_that_the_far_end_changes_is_found_and_mended() {
    // The last file: it is whole there no sooner than all others, and so read back after that.
    let world = with_tar_that(
        "TAR \"$@\"; f=n0006/01196.cpm; t=$(stat -c @%.9Y $f); printf x | dd of=$f bs=1 seek=5 conv=notrunc 2>/dev/null; touch -d $t $f",
    );
    world.run(&["run"]).expect(1).says("231");
    // Nothing else gives it away.
    assert!(world.file_log().contains(" files equal, n0006/01196.cpm not\n"), "{}", world.file_log());
    assert!(!world.file_log().contains("started: rsync -a -s -8 --timeout"));
    assert!(!world.there().join("ThreePi.1").exists());
    world.ok(&["revert", "--all"]);
    world.ok(&["run"]);
    expect_full(&world, "checksum");
}

#[test]
fn a_file_too_many_that_nothing_else_gives_away_is_removed() {
    let world = with_tar_that(
        "TAR \"$@\"; t=$(stat -c @%.9Y n0001); echo surprise > n0001/surprise; touch -d $t n0001",
    );
    world.ok(&["run"]);
    expect_full(&world, "checksum");
}

#[test]
fn where_the_host_cannot_read_back_both_sides_are_compared() {
    let mut world = world();
    let real = slow::real("rsync");
    let bin = world.root.join("old-rsync");
    fs::create_dir(&bin).unwrap();
    let script = format!("#!/bin/sh\ncase $* in *--checksum-choice*) exit 1;; esac\nexec {real} \"$@\"\n");
    slow::write_program(&bin.join("rsync"), &script);
    world.set_path_there(&format!("{bin}:{}", std::env::var("PATH").unwrap()));
    world.ok(&["run"]).is_silent();
    expect_full(&world, "checksum");
    let log = world.file_log();
    assert!(log.contains("read back: 0 files equal; without its end\n"), "{log}");
    assert!(log.contains("started: rsync -a -s -8 -n -c"), "{log}");
}

/// A pass with the tars that it has started at the far end, which wait.
struct Met {
    world: World,
    gate: Gate,
    pass: std::process::Child,
}

/// The far end's only tar has written everything.
fn meet() -> Met {
    meet_in(world(), "*' -x '*", &Hold::After, 1)
}

/// Starts a pass, and meets so many calls of tar at the far end that match a pattern.
#[track_caller]
fn meet_in(world: World, pattern: &str, hold: &Hold, calls: usize) -> Met {
    let gate = Gate::closed(&world, "tar", pattern, hold);
    meet_at(world, gate, calls)
}

#[track_caller]
fn meet_at(mut world: World, gate: Gate, calls: usize) -> Met {
    world.set_path_there(&gate.path());
    let pass = world.start(&["run"]);
    gate.wait(calls);
    Met { world, gate, pass }
}

#[test]
fn a_pass_killed_during_the_stream_goes_on_from_what_has_arrived() {
    let Met { mut world, gate, pass } = meet();
    let children = processes::descendants(pass.id());
    slow::kill_alone(pass);
    slow::expect_gone(&world, &children, None);
    slow::log_rsync(&mut world);
    // What waits there belongs to nobody any more, and is ended before anything is sent.
    let ran = world.run(&["run"]);
    gate.open();
    ran.expect(0);
    assert_eq!(slow::outcomes(&world, 1)[1..], ["full"]);
    expect_full(&world, "checksum");
    let (sent, whole) = (slow::wire_bytes(&world)[0], slow::source_bytes(&world, "ThreePi.1"));
    assert!(sent < whole / 4, "{sent} of {whole} bytes were sent again");
}

#[test]
fn a_pass_asked_to_end_during_the_stream_ends_soon_and_is_an_interruption() {
    let Met { world, gate, pass } = meet();
    slow::signal(pass, processes::Signal::TERM).expect(143);
    gate.open();
    assert!(slow::outcomes(&world, 1)[0].starts_with("interrupted"));
    world.ok(&["run"]);
    expect_full(&world, "checksum");
}

#[test]
fn a_killed_session_of_the_stream_is_no_persons_business() {
    let Met { mut world, gate, pass } = meet();
    assert!(world.sshd().kill_sessions() > 0);
    gate.open();
    let ran = finish(pass);
    assert!(matches!(ran.code, 0 | 1), "{ran:?}");
    let copy = world.copy(1);
    assert!(copy["fault_class"].is_null() || copy["fault_class"] == "retry", "{copy}");
    assert!(world.sshd().wait_until_idle(Duration::from_secs(60)));
    world.ok(&["copy", "ThreePi", HOST, world.there().as_str()]);
    expect_full(&world, "checksum");
}

/// The far end's tar is left alone with a part of the stream, and stands still: it must not write when rsync has
/// made everything whole.
#[test]
fn a_tar_that_has_lost_its_stream_is_ended_before_rsync_begins() {
    let world = with_tar_that(
        "head -c 600000 > part; exec 3<part; rm part; sh -c 'kill -9 $PPID; sleep 2; exec TAR -x -p -f - <&3' &\nsleep 9",
    );
    world.run(&["run"]);
    world.ok(&["copy", "ThreePi", HOST, world.there().as_str()]);
    expect_full(&world, "checksum");
    std::thread::sleep(Duration::from_secs(3));
    expect_full(&world, "checksum");
}

#[test]
fn a_killed_client_of_the_stream_is_made_good_by_rsync_and_its_tar_does_not_come_back() {
    let Met { mut world, gate, pass } = meet_in(world(), "*' -x '*", &Hold::Before, 1);
    let client = slow::child_with(&pass, "EscapeChar=none -- ipp0222").unwrap();
    processes::signal(client, processes::Signal::KILL).unwrap();
    finish(pass).expect(0);
    expect_full(&world, "checksum");
    gate.open();
    assert!(world.sshd().wait_until_idle(Duration::from_secs(30)));
    expect_full(&world, "checksum");
}

#[test]
fn a_stream_whose_end_nobody_knows_is_verified_by_checksum() {
    let mut world = with_tar_that("TAR \"$@\"; exit 1");
    world.ok(&["target", "add", "ThreePi", HOST, world.there().as_str(), "--verify", "quick"]);
    world.ok(&["run"]);
    expect_full(&world, "checksum");
    let _ = world.sshd();
}

#[test]
fn the_far_accounts_own_options_for_tar_are_not_used() {
    let mut world = world();
    world.sshd().restart_with(&["SetEnv \"TAR_OPTIONS=--strip-components=1 -C /tmp\""]).unwrap();
    world.ok(&["run"]);
    expect_full(&world, "checksum");
    assert_eq!(streamed_bytes(&world), [slow::source_bytes(&world, "ThreePi.1")]);
}

#[test]
fn a_source_that_changes_during_the_stream_is_a_retry() {
    let Met { world, gate, pass } = meet_in(world(), "*' -x '*", &Hold::Before, 1);
    for number in [1100, 1101, 1102, 1103] {
        let file = world.source("ThreePi.1").join(format!("n{:04}/{number:05}.cpm", number % 7));
        fs::write(file, "shorter").unwrap();
    }
    gate.open();
    finish(pass).expect(1);
    assert_eq!(world.standing(1), "new 203");
    world.ok(&["revert", "--all"]);
    world.ok(&["run"]);
    expect_full(&world, "checksum");
}

#[test]
fn the_far_end_does_nothing_in_a_folder_that_is_another_one_now() {
    let Met { world, gate, pass } = meet_in(world(), "*--version*", &Hold::Before, 1);
    // It has looked by then, and holds the folder open: what it unpacks goes nowhere else.
    let staged = slow::staged(&world, "ThreePi.1");
    let aside = staged.with_file_name("aside");
    fs::rename(&staged, &aside).unwrap();
    fs::create_dir(&staged).unwrap();
    gate.open();
    let ran = finish(pass);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(world.copy(1)["state"], "new");
    eventually("the far end rests", || world.sshd.as_ref().unwrap().wait_until_idle(Duration::ZERO));
}

/// What a file of [`large_files`] has: so much of a file is worth a connection of its own.
const LARGE_BYTES: u64 = 40 << 20;

/// A world with a minidvodb of three large files, and a few small ones, in the list.
fn large_files() -> World {
    let world = World::with_sshd();
    let folder = world.source("ThreePi.1");
    fs::create_dir_all(folder.join("n0000")).unwrap();
    fs::write(folder.join("Images.dat"), "images").unwrap();
    fs::write(folder.join("n0000/small.cpm"), "small").unwrap();
    for number in 0..3u8 {
        // Its end differs from all that is before it, and from the others.
        let file = File::create(folder.join(format!("n0000/large{number}.cpm"))).unwrap();
        file.set_len(LARGE_BYTES - 16).unwrap();
        let mut file =
            File::options().append(true).open(folder.join(format!("n0000/large{number}.cpm"))).unwrap();
        std::io::Write::write_all(&mut file, &[number + 1; 16]).unwrap();
    }
    age_folders(&folder);
    prepare(&world, &folder);
    world
}

/// How many streams went out to their end.
fn streams(world: &World) -> usize {
    let log = world.file_log();
    log.lines().filter(|line| line.contains("one of the streams ended: Done")).count()
}

#[test]
fn large_files_go_out_over_several_connections_as_many_as_the_target_allows() {
    for (words, expected) in [(&[][..], 3), (&["--streams", "2"], 2), (&["--streams", "1"], 1)] {
        let mut world = large_files();
        let_tar(&mut world, "sleep 2\nexec TAR \"$@\"");
        let there = world.there();
        world.ok(&[&["target", "add", "ThreePi", HOST, there.as_str()], words].concat());
        world.ok(&["run"]).is_silent();
        expect_full(&world, "checksum");
        assert_eq!(streams(&world), expected, "{words:?}");
        assert_eq!(streamed_bytes(&world), [slow::source_bytes(&world, "ThreePi.1")]);
    }
}

/// What the host's tar does when it has two of the large files: no more comes before both have been read back.
const UNTIL_TWO_ARE_READ: &str =
    "n=0; until [ $(grep -c large READ) = 2 ] || [ $n = 300 ]; do sleep 0.1; n=$((n+1)); done";

/// What has arrived is read back in the middle of the sending, and the rest when all is there, as the log tells.
#[track_caller]
fn expect_read_meanwhile(world: &World, meanwhile: &str, then: &str) {
    let log = world.file_log();
    assert!(log.contains(&format!("read back while more was sent: {meanwhile}")), "{log}");
    assert!(log.contains(&format!("read back: {then}\n")), "{log}");
}

/// A world with large files that go out by one stream, through something at the host's end before its tar has them.
fn by_one_stream_through(does: &str) -> World {
    let mut world = large_files();
    let read = world.root.join("read");
    fs::write(&read, "").unwrap();
    let_tar(&mut world, &format!("{{ {does}; cat; }} | TAR \"$@\"").replace("READ", read.as_str()));
    // What the host's rsync tells of single files.
    let real = slow::real("rsync");
    let script = format!(
        "case $* in *--files-from*) {real} \"$@\" | tee -a {read}; exit;; esac\nexec {real} \"$@\"\n"
    );
    slow::write_program(&world.root.join("bad-tar/rsync"), &format!("#!/bin/sh\n{script}"));
    world.ok(&["target", "add", "ThreePi", HOST, world.there().as_str(), "--streams", "1"]);
    world
}

#[test]
fn what_has_arrived_is_read_back_while_more_is_sent_and_once_only() {
    let world = by_one_stream_through(&format!("head -c 90000000; {UNTIL_TWO_ARE_READ}"));
    world.ok(&["run"]).is_silent();
    expect_full(&world, "checksum");
    expect_read_meanwhile(&world, "2 files equal of 2", "3 files equal");
    assert!(!world.file_log().contains("started: rsync -a"), "{}", world.file_log());
}

#[test]
fn verified_quickly_nothing_is_read_back_meanwhile() {
    let world = by_one_stream_through("head -c 90000000; sleep 1");
    world.ok(&[
        "target",
        "add",
        "ThreePi",
        HOST,
        world.there().as_str(),
        "--streams",
        "1",
        "--verify",
        "quick",
    ]);
    world.ok(&["run"]).is_silent();
    expect_full(&world, "quick");
    assert!(!world.file_log().contains("read back"), "{}", world.file_log());
}

#[test]
fn a_byte_that_was_changed_on_the_way_is_found_meanwhile_and_again_when_all_is_there() {
    let world = by_one_stream_through(&format!(
        "head -c 1000000; head -c 1 >/dev/null; printf x; head -c 90000000; {UNTIL_TWO_ARE_READ}"
    ));
    world.run(&["run"]).expect(1).says("231").says("n0000/large0.cpm");
    expect_read_meanwhile(&world, "1 files equal of 2", "3 files equal, n0000/large0.cpm not");
    assert!(!world.there().join("ThreePi.1").exists());
}

#[test]
fn where_reading_back_meanwhile_fails_all_is_read_when_it_is_there() {
    let once_read = "n=0; until [ -e READ.failed ] || [ $n = 300 ]; do sleep 0.1; n=$((n+1)); done";
    let world = by_one_stream_through(&format!("head -c 90000000; {once_read}"));
    let real = slow::real("rsync");
    let once = world.root.join("read.failed");
    let script = format!(
        "#!/bin/sh\ncase $* in *--files-from*) mkdir {once} 2>/dev/null && exit 1;; esac\nexec {real} \"$@\"\n"
    );
    slow::write_program(&world.root.join("bad-tar/rsync"), &script);
    world.ok(&["run"]).is_silent();
    expect_full(&world, "checksum");
    assert!(once.exists());
    expect_read_meanwhile(&world, "0 files equal of ", "5 files equal");
}

#[test]
fn killed_while_what_has_arrived_is_read_back_all_children_go_and_the_next_pass_goes_on() {
    let mut world = large_files();
    let gate = Gate::closed(&world, "rsync", "*--checksum-choice*", &Hold::Before);
    world.set_path_there(&gate.path());
    let pass = world.start(&["run"]);
    gate.wait(1);
    let children = processes::descendants(pass.id());
    slow::kill_alone(pass);
    slow::expect_gone(&world, &children, None);
    gate.open();
    world.ok(&["run"]);
    expect_full(&world, "checksum");
}

/// A world with large files, and a host that takes its time for every answer, as one far away does.
fn far_away(words: &[&str]) -> World {
    let mut world = large_files();
    let_tar(&mut world, "sleep 2\nexec TAR \"$@\"");
    let (real, bin) = (slow::real("stat"), world.root.join("bad-tar"));
    slow::write_program(&bin.join("stat"), &format!("#!/bin/sh\nsleep 0.05\nexec {real} \"$@\"\n"));
    let there = world.there();
    world.ok(&[&["target", "add", "ThreePi", HOST, there.as_str()], words].concat());
    world
}

/// The server's line for a PATH that begins with a folder of the world.
fn path_with(world: &World, folder: &str) -> String {
    format!("SetEnv \"PATH={}:{}\"", world.root.join(folder), std::env::var("PATH").unwrap())
}

/// How many connections of an attempt there were.
fn connections(world: &World) -> usize {
    world.file_log().lines().filter(|line| line.contains(" started: ssh ") && line.contains(" -M ")).count()
}

#[test]
fn to_a_host_far_away_two_sessions_of_one_connection_send_unless_the_target_has_one_stream() {
    for (words, expected) in [(["--streams", "2"], 2), (["--streams", "1"], 1)] {
        let world = far_away(&words);
        world.ok(&["run"]).is_silent();
        expect_full(&world, "checksum");
        assert_eq!((streams(&world), connections(&world)), (expected, 1), "{words:?}");
        assert_eq!(streamed_bytes(&world), [slow::source_bytes(&world, "ThreePi.1")]);
    }
}

#[test]
fn a_server_that_allows_few_sessions_a_connection_gets_everything_by_those() {
    for sessions in 2..=4 {
        let mut world = far_away(&["--streams", "2"]);
        let path = path_with(&world, "bad-tar");
        world.sshd().restart_with(&[&format!("MaxSessions {sessions}"), &path]).unwrap();
        world.ok(&["run"]).is_silent();
        expect_full(&world, "checksum");
        let log = world.file_log();
        assert!(streams(&world) > 0 && !log.contains("started: rsync -a"), "{sessions}: {log}");
        assert_eq!(log.contains("Session open refused by peer"), sessions < 4, "{sessions}: {log}");
    }
}

#[test]
fn where_no_stream_is_needed_after_all_rsync_has_the_session_that_was_begun_for_one() {
    let mut world = large_files();
    // A part of each large file is there: that is for rsync to go on from.
    let gate = Gate::closed(&world, "tar", "*' -x '*", &Hold::Before);
    world.set_path_there(&gate.path());
    let pass = world.start(&["run"]);
    gate.wait(1);
    slow::kill_alone(pass);
    world.sshd().restart_with(&["MaxSessions 2"]).unwrap();
    let staged = slow::staged(&world, "ThreePi.1");
    fs::create_dir_all(staged.join("n0000")).unwrap();
    for number in 0..3 {
        let name = format!("n0000/large{number}.cpm");
        let bytes = fs::read(world.source("ThreePi.1").join(&name)).unwrap();
        fs::write(staged.join(name), &bytes[..1000]).unwrap();
    }
    gate.open();
    world.ok(&["run"]);
    expect_full(&world, "checksum");
    assert!(world.file_log().contains("started: rsync -a"));
    assert_eq!(streams(&world), 0);
}

#[test]
fn a_host_that_takes_one_connection_only_gets_everything_over_that_one() {
    let mut world = large_files();
    let (once, config) = (world.root.join("once"), world.root.join("one-connection"));
    let real = world.sshd().config_path().to_owned();
    // Whoever comes second is sent where nobody listens.
    let text = format!("Match exec \"! mkdir {once} 2>/dev/null\"\n  Port 1\nMatch all\nInclude {real}\n");
    fs::write(&config, text).unwrap();
    world.set("MINIDVODBCOPY_SSH_CONFIG", config.as_str());
    world.ok(&["run"]).is_silent();
    expect_full(&world, "checksum");
    // A second session of that one may have sent, too.
    assert!((1..=2).contains(&streams(&world)), "{}", world.file_log());
    assert_eq!(streamed_bytes(&world), [slow::source_bytes(&world, "ThreePi.1")]);
}

#[test]
fn killed_with_several_streams_all_children_go_and_the_next_pass_goes_on_from_what_has_arrived() {
    let world = large_files();
    // So slow that others are worth while.
    let slow_tar = world.root.join("slow-tar");
    let script = format!("case $1 in -x) sleep 2;; esac\nexec {} \"$@\"\n", slow::real("tar"));
    slow::write_program(&slow_tar, &format!("#!/bin/sh\n{script}"));
    let gate = Gate::around(&world, "tar", &slow_tar, "*' -x '*", &Hold::After);
    // The first of the three waits for the others, and sends the folders.
    let Met { mut world, gate, pass } = meet_at(world, gate, 2);
    let children = processes::descendants(pass.id());
    slow::kill_alone(pass);
    slow::expect_gone(&world, &children, None);
    slow::log_rsync(&mut world);
    let ran = world.run(&["run"]);
    gate.open();
    ran.expect(0);
    assert_eq!(slow::outcomes(&world, 1)[1..], ["full"]);
    expect_full(&world, "checksum");
    let sent = slow::wire_bytes(&world)[0];
    assert!(sent < LARGE_BYTES / 4, "{sent} bytes were sent again");
}

#[test]
fn asked_to_end_with_several_streams_it_ends_soon_and_is_an_interruption() {
    let Met { world, gate, pass } = meet_in(large_files(), "*' -x '*", &Hold::Before, 3);
    let children = processes::descendants(pass.id());
    slow::signal(pass, processes::Signal::INT).expect(130);
    slow::expect_gone(&world, &children, None);
    gate.open();
    assert!(slow::outcomes(&world, 1)[0].starts_with("interrupted"));
    world.ok(&["run"]);
    expect_full(&world, "checksum");
}

#[test]
fn one_stream_of_several_that_breaks_off_is_made_good_by_rsync() {
    let mut world = large_files();
    let mark = world.root.join("first");
    let_tar(
        &mut world,
        &format!(
            "sleep 2\nif mkdir {mark} 2>/dev/null; then head -c 9000000 | TAR \"$@\"; exit 2; fi\nexec TAR \"$@\""
        ),
    );
    world.ok(&["target", "add", "ThreePi", HOST, world.there().as_str(), "--verify", "quick"]);
    world.ok(&["run"]);
    // Quick verification is for what went out in one go only.
    expect_full(&world, "checksum");
    assert_eq!(streams(&world), 2);
}

#[test]
fn a_large_file_that_was_cut_off_goes_on_where_it_was() {
    let mut world = large_files();
    let mark = world.root.join("cut");
    let_tar(&mut world, &format!("head -c 30000000 | TAR \"$@\" 2>/dev/null\necho >>{mark}\nsleep 60"));
    let pass = world.start(&["run"]);
    eventually("all streams are cut off", || fs::read(&mark).is_ok_and(|cut| cut.len() == 3));
    slow::kill_alone(pass);
    world.set_path_there(&std::env::var("PATH").unwrap());
    slow::log_rsync(&mut world);
    world.ok(&["run"]);
    expect_full(&world, "checksum");
    let log = world.file_log();
    assert!(log.contains("script keep-parts after"), "{log}");
    let sent = slow::wire_bytes(&world)[0];
    assert!(sent < 3 * (LARGE_BYTES - 25_000_000), "{sent} bytes were sent again");
}
