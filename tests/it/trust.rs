//! What the program trusts, and what it does not: the state folder, destinations, databases, the environment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::{Child, Command};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::Shape;
use xtask::mariadb::MariaDbOptions;
use xtask::processes;
use xtask::sshd::SshdOptions;

use super::ipp::{Ipp, PASSWORD, Site};
use super::mounts::is_root;
use super::slow::{Gate, Hold, write_program};
use super::world::{ALIASES, Ran, World, eventually, finish};

/// Commands of every kind: reading, changing, copying.
const COMMANDS: [&[&str]; 8] = [
    &["list"],
    &["show", "1"],
    &["ledger", "check"],
    &["ledger", "backup"],
    &["host", "add", "ipp031"],
    &["run"],
    &["run", "--dry-run"],
    &["log", "show"],
];

/// A file elsewhere that nobody may write to by way of the state folder.
fn precious(world: &World) -> Utf8PathBuf {
    let file = world.root.join("precious");
    fs::write(&file, "precious").unwrap();
    file
}

#[test]
fn a_symlink_planted_in_the_state_folder_is_refused_and_not_followed() {
    for name in ["ledger.redb", "locks", "backup", "manifests"] {
        let world = World::new();
        world.prepare("localhost", 1);
        let (place, elsewhere) = (world.state().join(name), world.root.join("elsewhere"));
        fs::rename(&place, &elsewhere).unwrap();
        symlink(&elsewhere, &place).unwrap();
        let before = xtask::tree::list(&elsewhere).ok();
        for words in COMMANDS {
            world.run(words).expect(78).says(&format!("{place} is a symlink, which is not followed"));
        }
        assert_eq!(xtask::tree::list(&elsewhere).ok(), before, "{name}");
        assert!(world.names_there().is_empty());
        fs::remove_file(&place).unwrap();
        fs::rename(&elsewhere, &place).unwrap();
        world.ok(&["run"]).is_silent();
        world.expect_arrived("ThreePi.1");
    }
}

#[test]
fn a_symlink_planted_in_place_of_a_lock_is_refused_and_not_written_to() {
    let world = World::new();
    world.prepare("localhost", 1);
    let file = precious(&world);
    let folder = world.state().join("locks/localhost");
    fs::create_dir_all(&folder).unwrap();
    symlink(&file, folder.join("ThreePi.lock")).unwrap();
    world.run(&["run"]).expect(78).says("ThreePi.lock is a symlink, which is not followed");
    fs::remove_file(folder.join("ThreePi.lock")).unwrap();
    fs::remove_dir(&folder).unwrap();
    let elsewhere = world.root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    world.run(&["run"]).expect(78).says("locks/localhost is a symlink, which is not followed");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(&folder).unwrap();
    world.ok(&["run"]).is_silent();
}

#[test]
fn a_pipe_in_place_of_a_lock_keeps_nobody_waiting() {
    let world = World::new();
    world.prepare("localhost", 1);
    let folder = world.state().join("locks/localhost");
    fs::create_dir_all(&folder).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("Other.lock")).status().unwrap().success());
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.1");
    world.ok(&["ledger", "backup", world.root.join("kept").as_str()]);
    world.ok(&["ledger", "restore", world.root.join("kept").as_str()]);
}

#[test]
fn a_state_folder_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.prepare("localhost", 1);
    for place in [world.state(), world.state().join("ledger.redb"), world.state().join("locks")] {
        chown(&place, Some(65_534), Some(65_534)).unwrap();
        for words in COMMANDS {
            let ran = finish(world.own_command(words).spawn().unwrap());
            ran.expect(78).says(&format!("{place} belongs to another user, of id 65534"));
        }
        chown(&place, Some(0), Some(0)).unwrap();
    }
    assert!(world.names_there().is_empty());
    world.ok(&["run"]).is_silent();
}

#[test]
fn what_others_can_write_in_the_state_folder_is_refused() {
    let world = World::new();
    world.prepare("localhost", 1);
    for (name, mode) in [("ledger.redb", 0o600), ("locks", 0o700), ("backup", 0o700), ("manifests", 0o700)] {
        let place = world.state().join(name);
        for more in [0o020, 0o002] {
            fs::set_permissions(&place, fs::Permissions::from_mode(mode | more)).unwrap();
            world.run(&["list"]).expect(78).says(&format!("type: chmod go-w {place}"));
            world.run(&["run"]).expect(78);
        }
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
    }
    world.ok(&["run"]).is_silent();
}

/// The most memory that a process has had, while it runs.
pub fn peak_bytes(child: &mut Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// Fails if a terminal would obey any of it, or show it in another order than it is.
#[track_caller]
fn assert_is_tame(what: &str, text: &str) {
    let is_wild = |c: char| {
        c != '\n'
            && (c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    let wild: BTreeSet<char> = text.chars().filter(|&c| is_wild(c)).collect();
    assert!(wild.is_empty(), "{what}: {wild:?}");
}

/// At the destination a program is a hostile one: the pass ends with a fault, in bounded memory, with few
/// words, none of which a terminal obeys; nothing is published; and when the host is well again, all goes on.
#[track_caller]
fn check_hostile(tool: &str, script: &str) {
    let what = format!("{tool}: {script}");
    let mut world = World::with_sshd_options(SshdOptions::known_as(&ALIASES));
    world.set("MINIDVODBCOPY_ANSWER_SECONDS", "5");
    world.set("MINIDVODBCOPY_STALL_SECONDS", "5");
    world.prepare("ipp0222", 1);
    let bin = world.root.join("hostile");
    fs::create_dir(&bin).unwrap();
    let real = super::slow::real(tool);
    write_program(&bin.join(tool), &format!("#!/bin/sh\nreal={real}\n{script}\n"));
    let path = format!("SetEnv PATH={bin}:{}", std::env::var("PATH").unwrap());
    world.sshd().restart_with(&[&path]).unwrap();
    let mut pass = world.start(&["run"]);
    let peak = peak_bytes(&mut pass);
    let Ran { code, stdout, stderr } = finish(pass);
    assert_eq!((code, stdout.as_str()), (1, ""), "{what}: {stderr}");
    assert!(peak < 48 << 20, "{what}: {peak} bytes of memory");
    // Of what is said 8 KiB are kept, and a byte takes at most six when it is escaped.
    assert!(stderr.len() < 60_000, "{what}: {} bytes are said", stderr.len());
    let log = world.file_log();
    assert!(log.len() < 200_000, "{what}: {} bytes of log", log.len());
    assert!(!stderr.contains("bug") && !log.contains("panicked"), "{what}: {stderr}");
    let shown = ["show 1", "list", "host show", "target show", "log show", "list --format mdc"];
    let shown = shown.map(|words| world.ok(&words.split(' ').collect::<Vec<_>>()).stdout);
    for text in [&stderr, &log].into_iter().chain(&shown) {
        assert_is_tame(&what, text);
        assert!(text.len() < 200_000, "{what}");
    }
    assert!(!world.there().join("ThreePi.1").exists(), "{what}");
    world.sshd().restart_with(&[]).unwrap();
    let reverted = world.run(&["revert", "--all"]);
    let copied = world.ok(&["copy", "ThreePi", "ipp0222", world.there().as_str()]);
    assert!(world.there().join("ThreePi.1").exists(), "{what}: {reverted:?} {copied:?} {}", world.file_log());
    world.expect_arrived("ThreePi.1");
}

/// Colours, a title, a cleared screen, a line that overwrites itself, marks that turn the order around.
const WILD: &str =
    r#"printf '\033[31m\033]0;owned\007\033[2J\rdf: \342\200\256 evil \342\201\246\302\233 \377\n'"#;

#[test]
fn a_destination_that_answers_without_end_is_given_up_in_bounded_memory() {
    for tool in ["df", "stat", "mv"] {
        check_hostile(tool, "exec yes 'fortune: all is well'");
        check_hostile(tool, "exec tr '\\0' x </dev/zero");
    }
}

#[test]
fn a_destination_that_answers_without_sense_is_a_fault() {
    for tool in ["df", "stat"] {
        check_hostile(tool, WILD);
        check_hostile(tool, &format!("{WILD} >&2; exit 1"));
        check_hostile(tool, "echo '18446744073709551616 99999999999999999999 -1'");
        check_hostile(tool, "head -c 900000 /dev/urandom");
    }
}

#[test]
fn an_rsync_there_that_floods_its_messages_or_lies_is_a_fault() {
    const SERVER: &str = r#"case " $* " in *' --server '*) ;; *) exec $real "$@";; esac"#;
    for act in [
        format!("{WILD} >&2; exit 12"),
        format!("{WILD}; exit 0"),
        "head -c 300000000 /dev/zero | tr '\\0' '\\033' >&2; exit 1".to_owned(),
        "head -c 300000000 /dev/urandom; exit 1".to_owned(),
        "yes 'rsync: all is well' | head -c 300000000 >&2; exit 23".to_owned(),
    ] {
        check_hostile("rsync", &format!("{SERVER}\n{act}"));
    }
}

#[test]
fn an_rsync_there_that_always_breaks_off_is_an_interruption_at_first_and_a_fault_in_the_end() {
    let mut world = World::with_sshd_options(SshdOptions::known_as(&ALIASES));
    world.prepare("ipp0222", 1);
    let bin = world.root.join("hostile");
    fs::create_dir(&bin).unwrap();
    let real = super::slow::real("rsync");
    let script = format!("#!/bin/sh\ncase \" $* \" in *' --server '*) exit 0;; esac\nexec {real} \"$@\"\n");
    write_program(&bin.join("rsync"), &script);
    let path = format!("SetEnv PATH={bin}:{}", std::env::var("PATH").unwrap());
    world.sshd().restart_with(&[&path]).unwrap();
    let mut runs = 1;
    while world.run(&["run"]).code == 0 && runs < 20 {
        runs += 1;
    }
    let shown = world.ok(&["show", "1"]).stdout;
    // The first has made the staging folder, which is progress.
    assert!(matches!(runs, 8 | 9), "{runs}: {shown}");
    assert_eq!(world.standing(1), "new 241");
    assert!(!world.there().join("ThreePi.1").exists());
}

#[test]
fn a_destination_that_only_says_that_it_has_renamed_is_not_believed() {
    check_hostile("mv", "exit 0");
    check_hostile("mv", &format!("{WILD} >&2; exit 1"));
}

/// Stand-ins for rsync and ssh that write down their environment, and then are the real ones.
fn recording_environment(world: &mut World) -> Utf8PathBuf {
    let bin = world.root.join("recording-environment");
    let record = world.root.join("environments");
    fs::create_dir(&bin).unwrap();
    for tool in ["rsync", "ssh", "sync"] {
        let script = format!(
            "#!/bin/bash -p\ncat /proc/$$/environ >>{record}; printf '\\0' >>{record}\nexec {} \"$@\"\n",
            super::slow::real(tool)
        );
        write_program(&bin.join(tool), &script);
    }
    world.set("PATH", &format!("{bin}:{}", std::env::var("PATH").unwrap()));
    record
}

#[test]
fn children_get_the_documented_part_of_the_environment_and_no_more() {
    for host in ["localhost", "ipp0222"] {
        let mut world = World::with_sshd();
        let record = recording_environment(&mut world);
        for name in ["USER", "LOGNAME"] {
            world.set(name, "ipp");
        }
        for name in [
            "MYSQL_PWD",
            "RSYNC_RSH",
            "RSYNC_PASSWORD",
            "RSYNC_OLD_ARGS",
            "RSYNC_PROTECT_ARGS",
            "BASH_ENV",
            "ENV",
            "IFS",
            "CDPATH",
            "GLOBIGNORE",
            "SSH_ASKPASS",
            "SSH_ASKPASS_REQUIRE",
            "LC_ALL",
            "LANG",
            "A_SECRET",
        ] {
            world.set(name, "hostile");
        }
        world.prepare(host, 1);
        world.ok(&["run"]).is_silent();
        world.expect_arrived("ThreePi.1");
        let bytes = fs::read(record).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("hostile") && text.contains("LC_ALL=C\0"), "{text:?}");
        let names: BTreeSet<&str> =
            text.split('\0').filter_map(|variable| Some(variable.split_once('=')?.0)).collect();
        // What a shell sets by itself, and rsync for its remote shell.
        let known = ["PATH", "HOME", "USER", "LOGNAME", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"];
        let other: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
        assert!(other.is_empty(), "{other:?} for {host}");
    }
}

/// Fails if the password is in some bytes.
#[track_caller]
fn assert_no_password(what: &str, bytes: &[u8]) {
    let is_there = bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
    assert!(!is_there, "the password is in {what}");
}

/// Fails if the password is in the command line or the environment of a process below `pid`.
fn look_at_children(pid: u32) -> usize {
    let children = processes::descendants(pid);
    for child in &children {
        for file in ["cmdline", "environ"] {
            assert_no_password(file, &fs::read(format!("/proc/{child}/{file}")).unwrap_or_default());
        }
    }
    children.len()
}

#[test]
fn the_database_s_password_is_in_no_command_line_log_ledger_export_or_error() {
    let mut site = Site::of(World::new(), Ipp::own(MariaDbOptions::default()));
    site.prepare(2);
    site.ok(&["database", "set", &site.ipp.url()]);
    site.world.set("MYSQL_PWD", PASSWORD);
    let gate = Gate::closed(&site.world, "rsync", "*' --partial-dir='*", &Hold::Before);
    let mut command = site.world.command(&["-v", "run"]);
    let pass = command.env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    let pid = pass.id();
    eventually("the pass has children", || look_at_children(pid) >= 3);
    assert_no_password("the pass's command line", &fs::read(format!("/proc/{pid}/cmdline")).unwrap());
    gate.open();
    let mut said = vec![finish(pass).expect(0)];
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    for format in ["csv", "json", "sql", "mdc"] {
        said.push(site.ok(&["export", "--format", format]));
    }
    for words in [&["database", "show"][..], &["-v", "sync"], &["log", "show"], &["sync", "--dry-run"]] {
        said.push(site.ok(words));
    }
    // Errors: a wrong user, a server that is away, a URL that has it.
    let (url, url_with_it) = (site.ipp.url(), format!("mysql://ipp:{PASSWORD}@127.0.0.1/gpc1"));
    said.push(site.run(&["database", "set", &url_with_it]));
    assert_ne!(said.last().unwrap().code, 0);
    site.ok(&["database", "set", &url.replace(&site.ipp.user, "stranger")]);
    said.push(site.run(&["-v", "sync"]));
    assert_ne!(said.last().unwrap().code, 0);
    site.ok(&["database", "set", &url]);
    site.ipp.own_server().stop().unwrap();
    said.push(site.run(&["-v", "sync"]).expect(75));
    said.push(site.run(&["-v", "run"]));
    for Ran { stdout, stderr, .. } in &said {
        assert_no_password("standard output", stdout.as_bytes());
        assert_no_password("standard error", stderr.as_bytes());
    }
    for entry in xtask::tree::list(site.world.state()).unwrap() {
        let file = site.world.state().as_std_path().join(&entry.path);
        assert_no_password(&file.to_string_lossy(), &fs::read(&file).unwrap_or_default());
    }
}

#[test]
fn a_database_that_names_folders_of_the_system_gets_nothing_of_them() {
    let site = Site::prepared(1);
    let (private, link) = (site.world.root.join("private"), site.world.source("link"));
    xtask::dvo::make(&private, Shape::tiny(), 1).unwrap();
    symlink(&private, &link).unwrap();
    let wanted = ["/etc", "/root/.ssh", "/", "/proc/self", private.as_str(), link.as_str()];
    for (id, path) in (2..).zip(wanted) {
        site.ipp.add_merged(id, "ThreePi", Utf8Path::new(path));
    }
    site.ok(&["source", "add", site.world.root.join("source").as_str()]);
    site.run(&["run"]).expect(1).says("fault 204");
    let mut standings = site.standings();
    assert_eq!(standings.remove(0), "1 localhost full 0");
    assert!(standings.len() >= 5, "{standings:?}");
    for standing in standings {
        // What is not there is no more than missing.
        let is_refused = [" new 204", " new 201"].iter().any(|end| standing.ends_with(end));
        assert!(is_refused, "{standing}");
    }
    assert_eq!(site.world.names_there(), ["ThreePi.1"]);
}
