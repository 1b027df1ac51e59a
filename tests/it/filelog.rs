//! The file log: what a pass did, as it can be read afterwards, whatever was in the way of writing it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use expect_test::expect;
use fs2::FileExt as _;
use xtask::dvo::{self, Shape};
use xtask::processes::Signal;
use xtask::sshd::SshdOptions;

use super::mounts::{Mount, is_root};
use super::slow;
use super::world::{ALIASES, World, finish, names_in};

const NAME: &str = "minidvodbcopy.log";
const FILE_MAX_BYTES: usize = 4 << 20;

/// A line of the log.
#[derive(Clone, Debug)]
struct Entry {
    level: String,
    pid: u32,
    place: String,
    text: String,
}

fn folder(world: &World) -> Utf8PathBuf {
    world.state().join("log")
}

fn newest(world: &World) -> Utf8PathBuf {
    folder(world).join(NAME)
}

/// A line such as `2026-11-24T00:19:53.123Z INFO 4711 copy=3 attempt=1: sending`; none where it is not so.
fn parse(line: &str) -> Option<Entry> {
    let is_tame = !line.chars().any(|c| c.is_control() || c == '\u{202e}');
    let (at, rest) = line.split_once(' ')?;
    let _: jiff::Timestamp = at.parse().ok().filter(|_| is_tame && at.len() == 24 && at.ends_with('Z'))?;
    let (level, rest) = rest.split_once(' ').filter(|(level, _)| matches!(*level, "INFO" | "WARN"))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (pid, rest) = (rest[..digits].parse().ok()?, &rest[digits..]);
    let (place, text) = rest.split_once(": ").filter(|(place, _)| place.is_empty() || place.contains('='))?;
    Some(Entry { level: level.into(), pid, place: place.trim_start().into(), text: text.into() })
}

/// All lines of a file, each of which must be whole.
#[track_caller]
fn entries_of(file: &Utf8Path) -> Vec<Entry> {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.ends_with('\n'), "{file} does not end with a whole line");
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("not a whole line: {line:?}"))).collect()
}

#[track_caller]
fn entries(world: &World) -> Vec<Entry> {
    entries_of(&newest(world))
}

#[track_caller]
fn entry(entries: &[Entry], part: &str) -> Entry {
    let found = entries.iter().find(|entry| entry.text.contains(part));
    found.unwrap_or_else(|| panic!("no {part:?} in {entries:#?}")).clone()
}

/// The command line of the first child whose command line has `part`, with its id.
#[track_caller]
fn command_line(entries: &[Entry], part: &str) -> (u32, String) {
    let started = entries.iter().find(|entry| entry.text.contains(" started: ") && entry.text.contains(part));
    let text = &started.unwrap_or_else(|| panic!("no child with {part:?} in {entries:#?}")).text;
    let (child, line) = text.split_once(" started: ").unwrap();
    (child.strip_prefix("child ").unwrap().parse().unwrap(), line.to_owned())
}

/// The words that a shell reads in a command line.
#[track_caller]
fn words(line: &str) -> Vec<Vec<u8>> {
    let output = Command::new("bash").arg("-c").arg(format!("printf '%s\\0' {line}")).output().unwrap();
    output.stdout.split_inclusive(|&b| b == 0).map(|word| word[..word.len() - 1].to_vec()).collect()
}

/// Numbers that are not the same in each run replaced.
fn steady(world: &World, text: &str) -> String {
    let text = text.replace(world.root.as_str(), "ROOT");
    let ledger = text.split_once("/.minidvodbcopy/").and_then(|(_, rest)| rest.get(..16));
    let text = ledger.map_or_else(|| text.clone(), |ledger| text.replace(ledger, "LEDGER"));
    let mut steady = String::new();
    let mut is_number = false;
    for c in text.chars() {
        if c.is_ascii_digit() {
            steady.push_str(if is_number { "" } else { "#" });
        } else {
            steady.push(c);
        }
        is_number = c.is_ascii_digit();
    }
    steady
}

#[test]
fn a_pass_leaves_its_story() {
    let mut world = World::new();
    world.set("LOGNAME", "ipp");
    world.prepare("localhost", 1);
    world.ok(&["run"]).is_silent();
    let story: Vec<String> = entries(&world)
        .iter()
        .map(|entry| steady(&world, &format!("{} {}: {}\n", entry.level, entry.place, entry.text)))
        .collect();
    expect![[r#"
        INFO : began: minidvodbcopy #.#.#, user ipp: minidvodbcopy run
        INFO group=ThreePi host=localhost: served: ROOT/there
        INFO group=ThreePi host=localhost: queued # minidvodb of ThreePi for localhost
        INFO group=ThreePi host=localhost: child # started: rsync --version
        INFO group=ThreePi host=localhost: child # (rsync) ended: exit # after #.# s
        INFO group=ThreePi host=localhost copy=# attempt=#: begins: minidvodb # from ROOT/source/ThreePi.# to ROOT/there/ThreePi.#
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: connecting
        INFO group=ThreePi host=localhost copy=# attempt=#: child # started: /proc/self/exe guard-process-group
        INFO group=ThreePi host=localhost copy=# attempt=#: child # started: /bin/sh -s
        INFO group=ThreePi host=localhost copy=# attempt=#: script greeting after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: source: # files, # bytes
        INFO group=ThreePi host=localhost copy=# attempt=#: script look after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: space
        INFO group=ThreePi host=localhost copy=# attempt=#: to send: # bytes, # inodes
        INFO group=ThreePi host=localhost copy=# attempt=#: script make-staging after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: sending
        INFO group=ThreePi host=localhost copy=# attempt=#: script flush-meanwhile after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: child # started: rsync -a -s -# --timeout=# --partial-dir=.minidvodbcopy-partial --delete --no-whole-file --info=stats# --debug=nstr -- ROOT/source/ThreePi.#/ ROOT/there/.minidvodbcopy/LEDGER/ThreePi.#/
        INFO group=ThreePi host=localhost copy=# attempt=#: child # (rsync) ended: exit # after #.# s
        INFO group=ThreePi host=localhost copy=# attempt=#: sent: # bytes of files
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: verifying
        INFO group=ThreePi host=localhost copy=# attempt=#: child # started: rsync -a -s -# -n -c -i -i --delete --debug=nstr '--out-format=%i %C %l %n' -- ROOT/source/ThreePi.#/ ROOT/there/.minidvodbcopy/LEDGER/ThreePi.#/
        INFO group=ThreePi host=localhost copy=# attempt=#: child # (rsync) ended: exit # after #.# s
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: flushing
        INFO group=ThreePi host=localhost copy=# attempt=#: script flush after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: publishing
        INFO group=ThreePi host=localhost copy=# attempt=#: script publish after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: phase: recording
        INFO group=ThreePi host=localhost copy=# attempt=#: script tidy after #.# s: status #
        INFO group=ThreePi host=localhost copy=# attempt=#: child # (exe) was ended by the pass: signal # after #.# s
        INFO group=ThreePi host=localhost copy=# attempt=#: child # (sh) was ended by the pass: signal # after #.# s
        INFO group=ThreePi host=localhost copy=# attempt=#: ThreePi.# to localhost (copy #): full, # files, #.# KiB in #.# s, verified by checksum
        INFO : pass: # queued, # copied, # faulted, # skipped
        INFO : ended: exit # after #.# s
    "#]]
    .assert_eq(&story.concat());
}

#[test]
fn the_commands_of_a_pass_over_ssh_are_in_the_log_with_their_ends() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let pass = world.start(&["run", "--host", "ipp0222"]);
    let pid = pass.id();
    finish(pass).expect(0).is_silent();
    let entries = entries(&world);
    assert!(entries.iter().all(|entry| entry.pid == pid));
    let began = entry(&entries, "began: ").text;
    assert!(began.contains(env!("CARGO_PKG_VERSION")) && began.ends_with("minidvodbcopy run --host ipp0222"));
    for part in ["ControlMaster=yes", "--partial-dir", "--out-format", "guard-process-group"] {
        let (child, line) = command_line(&entries, part);
        let end = entry(&entries, &format!("child {child} (")).text;
        assert!(
            end.contains(" after ") && (end.contains(": exit ") || end.contains(": signal ")),
            "{line} {end}"
        );
    }
    let (rsync, _) = command_line(&entries, "--partial-dir");
    assert!(entry(&entries, &format!("child {rsync} (rsync) ended: exit 0 after ")).place.contains("copy=1"));
    for part in ["script look after ", "script publish after ", "full, 19 files", "ended: exit 0 after "] {
        entry(&entries, part);
    }
    assert_eq!(fs::metadata(folder(&world)).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(newest(&world)).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_pass_with_nothing_to_do_leaves_one_line_and_a_command_that_only_looks_none() {
    let world = World::new();
    world.prepare("localhost", 1);
    for words in [&["list"][..], &["run", "--dry-run"], &["-v", "run", "--dry-run"], &["stage", "show"]] {
        world.ok(words);
        assert!(!folder(&world).exists(), "{words:?}");
    }
    world.ok(&["run"]).is_silent();
    let before = entries(&world).len();
    world.ok(&["run"]).is_silent();
    let after = entries(&world);
    assert_eq!(after.len(), before + 1);
    assert!(after[before].text.starts_with("nothing to do: minidvodbcopy "), "{:?}", after[before]);
}

#[test]
fn no_folder_is_made_for_a_log_alone_and_what_comes_before_it_is_kept() {
    let world = World::new();
    world.run(&["run"]).expect(78);
    assert!(!world.state().exists());
    world.ok(&["copy", "ThreePi", "localhost", world.there().as_str()]);
    let entries = entries(&world);
    assert!(entries[0].text.starts_with("began: "), "{entries:?}");
    entry(&entries, "target added");
}

#[test]
fn faults_errors_and_signals_are_in_the_log() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    fs::remove_file(world.source("ThreePi.1").join("Images.dat")).unwrap();
    world.run(&["run"]).expect(1);
    let fault = entry(&entries(&world), "fault 201 source-missing");
    assert_eq!(fault.level, "WARN");
    entry(&entries(&world), "pass: 2 queued, 1 copied, 1 faulted, 0 skipped");
    entry(&entries(&world), "ended: exit 1 after ");
    world.sshd().stop();
    let third = world.make("ThreePi.3", Shape::tiny());
    world.import(&[(3, "ThreePi", &third)]);
    world.run(&["run"]).expect(1);
    entry(&entries(&world), "fault 211 host-unreachable");
    fs::write(world.state().join("ledger.redb"), "no ledger").unwrap();
    world.run(&["run"]).expect(78);
    let last = entries(&world).pop().unwrap();
    assert!(last.level == "WARN" && last.text.starts_with("ended: exit 78 after "), "{last:?}");
}

#[test]
fn a_command_line_pasted_into_a_shell_gives_the_words_that_the_child_got() {
    let mut world = World::with_sshd();
    let (bin, seen) = (world.root.join("bin"), world.root.join("seen"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&seen).unwrap();
    for tool in ["rsync", "ssh"] {
        let real = slow::real(tool);
        let script = format!("#!/bin/sh\nprintf '%s\\0' {tool} \"$@\" >'{seen}'/$$\nexec {real} \"$@\"\n");
        slow::write_program(&bin.join(tool), &script);
    }
    world.set("PATH", &format!("{bin}:{}", std::env::var("PATH").unwrap()));
    // No name of a minidvodb or path can have a line feed, but this can.
    let config = world.root.join("it's a\n\u{202e}config\u{1b}\u{9b}7");
    fs::copy(world.sshd().config_path(), &config).unwrap();
    world.set("MINIDVODBCOPY_SSH_CONFIG", config.as_str());
    let names =
        ["a  b", "it's", "\"$(id)\"", "`id`;|&", "back\\slash\\#012", "-rf", "*[a]?{b}~", "é", "$'\\n'"];
    for (id, name) in (1..).zip(names) {
        let shape = Shape { regions: 1, files_per_region: 1, rows_per_file: 1 };
        dvo::make(&world.source(name), shape, id).unwrap();
        let source = world.source(name);
        world.import(&[(id, "ThreePi", &source)]);
    }
    for host in ["localhost", "ipp0222"] {
        let there = world.there().join(host).join("it's $there");
        fs::create_dir_all(&there).unwrap();
        world.ok(&["target", "add", "ThreePi", host, there.as_str()]);
        world.ok(&["host", "add", host]);
    }
    world.ok(&["run"]).is_silent();
    let entries = entries(&world);
    let mut compared = 0;
    for file in names_in(&seen) {
        let got = fs::read(seen.join(&file)).unwrap();
        let got: Vec<Vec<u8>> = got.split_inclusive(|&b| b == 0).map(|w| w[..w.len() - 1].to_vec()).collect();
        let start = format!("child {file} started: ");
        // The far end's rsync is no child of the pass, and the ssh that rsync starts is its own.
        let Some(started) = entries.iter().find_map(|entry| entry.text.strip_prefix(&start)) else {
            continue;
        };
        assert_eq!(words(started), got, "{started}");
        compared += 1;
    }
    // For each name: to send and to compare, here and there, and one connection.
    assert!(compared >= 5 * names.len(), "{compared}");
}

#[test]
fn after_a_kill_the_log_is_whole_and_goes_on_in_a_fresh_line() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    slow::kill_alone(slow::start_and_meet(&world, &["run"]));
    let before = entries(&world);
    assert_eq!(before.last().unwrap().text.split(' ').next(), Some("child"), "rsync was under way");
    // As a kill in the middle of a write leaves it.
    File::options().append(true).open(newest(&world)).unwrap().write_all(b"2026-11-25T00:00:0").unwrap();
    slow::copy_now(&world, "ipp0222").expect(0);
    let text = fs::read_to_string(newest(&world)).unwrap();
    let torn: Vec<&str> = text.lines().filter(|line| parse(line).is_none()).collect();
    assert_eq!(torn, ["2026-11-25T00:00:0"]);
    assert!(text.contains("ThreePi.1 to ipp0222 (copy 1) was interrupted before"), "{text}");
}

#[test]
fn a_pass_that_a_signal_ends_says_so() {
    let world = World::new();
    slow::prepare(&world, "localhost", 1);
    let pass = slow::start_and_meet(&world, &["run"]);
    slow::signal(pass, Signal::TERM).expect(143);
    let entries = entries(&world);
    entry(&entries, "(rsync) ended: exit 20 after ");
    entry(&entries, "(sh) was ended by the pass: signal 9 after ");
    assert!(entries.last().unwrap().text.starts_with("ended: exit 143 after "), "{entries:#?}");
}

/// Fills the newest file with lines, up to so many bytes before its limit.
#[track_caller]
fn fill(world: &World, room_bytes: usize, mark: &str) -> usize {
    let line = format!("2026-11-24T00:00:00.000Z INFO 1: {mark} {}\n", "x".repeat(400));
    let count = (FILE_MAX_BYTES - room_bytes) / line.len();
    fs::create_dir_all(folder(world)).unwrap();
    fs::set_permissions(folder(world), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(newest(world), line.repeat(count)).unwrap();
    count
}

#[test]
fn a_full_file_is_put_aside_and_so_many_are_kept() {
    let world = World::new();
    world.prepare("localhost", 1);
    let old = |number: u32| folder(&world).join(format!("{NAME}.{number}"));
    fill(&world, 1000, "newest");
    for number in 1..=9 {
        fs::write(old(number), format!("{number}\n")).unwrap();
    }
    world.ok(&["run"]).is_silent();
    assert_eq!(names_in(&folder(&world)).len(), 10);
    for number in 2..=9 {
        assert_eq!(fs::read_to_string(old(number)).unwrap(), format!("{}\n", number - 1));
    }
    let aside = fs::read_to_string(old(1)).unwrap();
    assert!(aside.len() <= FILE_MAX_BYTES && aside.contains("newest"), "{}", aside.len());
    let written = [entries_of(&old(1)), entries(&world)].concat();
    entry(&written, "began: ");
    entry(&written, "ended: exit 0");
}

#[test]
fn a_gap_that_a_kill_left_among_the_files_is_filled_first() {
    let world = World::new();
    world.prepare("localhost", 1);
    let old = |number: u32| folder(&world).join(format!("{NAME}.{number}"));
    fill(&world, 1000, "newest");
    for number in [1, 3, 9] {
        fs::write(old(number), format!("{number}\n")).unwrap();
    }
    world.ok(&["run"]).is_silent();
    let numbers = [(2, "1\n"), (3, "3\n"), (9, "9\n")];
    for (number, text) in numbers {
        assert_eq!(fs::read_to_string(old(number)).unwrap(), text);
    }
    assert!(fs::read_to_string(old(1)).unwrap().contains("newest"));
}

#[test]
fn many_passes_at_once_lose_no_line_while_the_file_is_put_aside() {
    let world = World::with_sshd();
    world.prepare("ipp022", 3);
    let there = world.root.join("there2");
    fs::create_dir(&there).unwrap();
    world.ok(&["target", "add", "ThreePi", "ipp031", there.as_str()]);
    world.ok(&["host", "add", "ipp031"]);
    world.ok(&["target", "add", "Nothing", "ipp031", there.as_str()]);
    let filled = fill(&world, 6000, "before");
    // Two that work, and many that find nothing.
    let mut passes: Vec<_> = ["ipp022", "ipp031"].map(|host| world.start(&["run", "--host", host])).into();
    passes.extend((0..30).map(|_| world.start(&["run", "--group", "Nothing"])));
    let pids: Vec<u32> = passes.iter().map(std::process::Child::id).collect();
    passes.into_iter().for_each(|pass| drop(finish(pass).expect(0)));
    assert_eq!(names_in(&folder(&world)), [NAME.to_owned(), format!("{NAME}.1")]);
    let all = [entries_of(&folder(&world).join(format!("{NAME}.1"))), entries(&world)].concat();
    let count = |part: &str| all.iter().filter(|entry| entry.text.starts_with(part)).count();
    assert_eq!((count("before"), count("nothing to do"), count("began"), count("ended")), (filled, 30, 2, 2));
    assert!(pids.iter().all(|&pid| all.iter().any(|entry| entry.pid == pid)));
    assert_eq!(all.iter().filter(|entry| entry.text.contains(": full, ")).count(), 6);
}

#[test]
fn a_stopped_process_that_has_the_logs_lock_keeps_nobody_waiting_for_long() {
    let world = World::new();
    world.prepare("localhost", 1);
    fill(&world, 1000, "before");
    let held = File::open(folder(&world)).unwrap();
    held.lock_exclusive().unwrap();
    let began = Instant::now();
    world.ok(&["run"]).is_silent();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world.expect_arrived("ThreePi.1");
    entry(&entries(&world), "ended: exit 0");
    assert_eq!(names_in(&folder(&world)), [NAME], "it is nobody's to put aside");
    drop(held);
    world.ok(&["run"]).is_silent();
    assert_eq!(names_in(&folder(&world)), [NAME.to_owned(), format!("{NAME}.1")]);
}

/// Plants something in the way of the log, which must hinder no copy, and is told only to who watches.
#[track_caller]
fn expect_no_hindrance(plant: impl Fn(&World)) {
    let world = World::new();
    world.prepare("localhost", 2);
    plant(&world);
    world.ok(&["run", "--limit", "1"]).is_silent();
    world.expect_arrived("ThreePi.1");
    let ran = world.ok(&["-v", "run"]);
    world.expect_arrived("ThreePi.2");
    assert_eq!(ran.stderr.matches("cannot be written, all else goes on: ").count(), 1, "{}", ran.stderr);
}

#[test]
fn what_is_planted_in_the_way_of_the_log_hinders_no_copy_and_is_not_written_to() {
    expect_no_hindrance(|world| fs::write(folder(world), "a file").unwrap());
    expect_no_hindrance(|world| symlink("/nowhere/at/all", folder(world)).unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    expect_no_hindrance(|world| symlink(elsewhere.path(), folder(world)).unwrap());
    let file = elsewhere.path().join("file");
    fs::write(&file, "precious").unwrap();
    let plant = |world: &World, mode: u32| {
        fs::create_dir(folder(world)).unwrap();
        fs::set_permissions(folder(world), fs::Permissions::from_mode(mode)).unwrap();
    };
    expect_no_hindrance(|world| {
        plant(world, 0o700);
        symlink(&file, newest(world)).unwrap();
    });
    expect_no_hindrance(|world| {
        plant(world, 0o700);
        fs::create_dir(newest(world)).unwrap();
    });
    expect_no_hindrance(|world| {
        plant(world, 0o700);
        assert!(Command::new("mkfifo").arg(newest(world)).status().unwrap().success());
    });
    expect_no_hindrance(|world| plant(world, 0o777));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_under_the_log_hinders_no_copy_and_leaves_whole_lines() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.prepare("localhost", 1);
    fs::create_dir(folder(&world)).unwrap();
    let mount = Mount::tmpfs(&folder(&world), "size=4k,mode=700");
    let ran = world.ok(&["-v", "run"]);
    world.expect_arrived("ThreePi.1");
    assert_eq!(ran.stderr.matches("cannot be written, all else goes on: ").count(), 1, "{}", ran.stderr);
    assert!(!entries(&world).is_empty());
    fs::remove_file(newest(&world)).unwrap();
    mount.remount("ro");
    let second = world.make("ThreePi.2", Shape::tiny());
    world.import(&[(2, "ThreePi", &second)]);
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.2");
}

/// Fails if a terminal would obey any of it.
#[track_caller]
fn assert_is_tame(text: &str) {
    let wild: Vec<char> =
        text.chars().filter(|&c| c != '\n' && (c.is_control() || c == '\u{202e}')).collect();
    assert!(wild.is_empty(), "{wild:?} in {text:?}");
}

#[test]
fn what_hosts_and_names_have_of_control_characters_is_escaped_in_the_log_and_with_v() {
    let line =
        r#"ForceCommand printf '\033[2J\n\001fake\r\302\233' >&2; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND""#;
    let mut world = World::with_sshd_options(SshdOptions::known_as(&ALIASES).server_line(line));
    let source = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(1, "ThreePi", &source)]);
    world.ok(&["target", "add", "ThreePi", "ipp0222", world.there().as_str()]);
    world.ok(&["host", "add", "ipp0222"]);
    // Only who runs it can have a name with such characters.
    world.set("LOGNAME", "i\u{1b}[2J\n\u{202e}pp");
    let ran = world.ok(&["-v", "run"]);
    assert_is_tame(&ran.stderr);
    assert!(ran.stderr.contains(r"\u{1b}[2J"), "{}", ran.stderr);
    let text = fs::read_to_string(newest(&world)).unwrap();
    assert_is_tame(&text);
    entry(&entries(&world), r"\u{1b}[2J");
    assert!(entries(&world)[0].text.contains(r"user $'i\033[2J\n\342\200\256pp': minidvodbcopy -v run"));
}

#[test]
fn a_host_that_floods_its_messages_fills_no_disk() {
    let line = r#"ForceCommand head -c 50000000 /dev/zero | tr '\0' '\033' >&2; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND""#;
    let world = World::with_sshd_options(SshdOptions::known_as(&ALIASES).server_line(line));
    world.prepare("ipp0222", 1);
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.1");
    assert_eq!(names_in(&folder(&world)), [NAME]);
    let text = fs::read_to_string(newest(&world)).unwrap();
    assert!(text.len() < 200_000 && text.lines().all(|line| line.len() < 16_000), "{}", text.len());
    entries(&world);
}

#[test]
fn with_v_standard_error_has_what_the_log_has() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let ran = world.ok(&["-v", "run"]);
    assert_eq!(ran.stdout, "");
    for entry in entries(&world) {
        // The sums are told with what is counted only for who watches.
        let is_told = ran.stderr.contains(&entry.text) || entry.text.starts_with("pass: ");
        assert!(is_told, "no {entry:?} in:\n{}", ran.stderr);
    }
    for told in ["full, 19 files", "queued 1 minidvodb of ThreePi", "pass: 1 queued, 1 copied"] {
        assert_eq!(ran.stderr.matches(told).count(), 1, "{told} in:\n{}", ran.stderr);
    }
}

#[test]
fn nothing_of_the_environment_is_in_the_log() {
    let mut world = World::with_sshd();
    world.set("MYSQL_PWD", "a-password-of-the-environment");
    world.prepare("ipp0222", 1);
    world.ok(&["-v", "run"]);
    let text = fs::read(newest(&world)).unwrap();
    let secret = std::ffi::OsStr::new("a-password-of-the-environment").as_bytes();
    assert!(!text.windows(secret.len()).any(|part| part == secret));
}
