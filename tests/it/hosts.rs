//! Hosts that are down, that refuse, that are strangers, that hang, that lack something; and how it heals.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use expect_test::{Expect, expect};
use serde_json::Value;
use xtask::dvo::Shape;
use xtask::sshd::{Sshd, SshdOptions};

use super::mounts::is_root;
use super::slow;
use super::world::{ALIASES, Ran, World, eventually, finish, names_in};

/// A text with everything that differs from run to run replaced: folders, ports, times, sizes of waits.
pub fn plain(world: &World, text: &str) -> String {
    let text = without_user(&text.replace(world.root.as_str(), "[ROOT]"));
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        if is_time(rest) {
            plain.push_str("[TIME]");
            rest = &rest[19..];
        } else if let Some(after) = rest.strip_prefix("port ") {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            plain.push_str(if digits > 0 { "port [PORT]" } else { "port " });
            rest = &after[digits..];
        } else {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    plain
}

/// Who logs in is another one on each machine.
fn without_user(text: &str) -> String {
    const AT: &str = "@127.0.0.1";
    let mut parts = text.split(AT).peekable();
    let mut plain = String::new();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            plain.push_str(part.trim_end_matches(|c: char| !c.is_whitespace()));
            plain.push_str("[USER]@[HOST]");
        } else {
            plain.push_str(part);
        }
    }
    plain
}

/// Whether a text begins with a time such as `2026-01-31 23:59:59`.
fn is_time(text: &str) -> bool {
    let form = b"dddd-dd-dd dd:dd:dd";
    text.len() >= form.len()
        && form.iter().zip(text.bytes()).all(|(form, byte)| match form {
            b'd' => byte.is_ascii_digit(),
            other => *other == byte,
        })
}

/// Fails unless standard error is so, once normalised, and standard output is empty.
#[track_caller]
pub fn expect_said(world: &World, ran: &Ran, expected: &Expect) {
    expected.assert_eq(&plain(world, &ran.stderr));
    assert_eq!(ran.stdout, "");
}

/// An operator's pass for ThreePi to ipp0222, now.
pub fn copy_now(world: &World) -> Ran {
    world.run(&["copy", "ThreePi", "ipp0222", world.there().as_str()])
}

/// Gives the target ThreePi to ipp0222 other settings.
#[track_caller]
pub fn set_target(world: &World, settings: &[&str]) {
    let there = world.there();
    world.ok(&[&["target", "add", "ThreePi", "ipp0222", there.as_str()], settings].concat());
}

/// Bytes of files in the staging folder below `path`.
pub fn staged_bytes(path: &Utf8Path) -> u64 {
    // While rsync works there, files come and go under the eyes of the one who counts.
    let entries = xtask::tree::list(path.join(".minidvodbcopy")).unwrap_or_default();
    entries.iter().map(|entry| entry.bytes).sum()
}

/// A folder with everything that PATH leads to but the tools named.
pub fn path_without(world: &World, hidden: &[&str]) -> String {
    let folder = world.root.join(format!("tools-without-{}", hidden.join("-")));
    std::fs::create_dir(&folder).unwrap();
    let path = std::env::var("PATH").unwrap();
    for from in path.split(':').filter(|from| from.starts_with('/')) {
        for tool in Utf8Path::new(from).read_dir_utf8().into_iter().flatten().flatten() {
            if !hidden.contains(&tool.file_name()) {
                // The first of a name is the one that PATH would find.
                let _ = symlink(tool.path(), folder.join(tool.file_name()));
            }
        }
    }
    folder.into_string()
}

/// Fails unless every copy is full, without a fault, and has arrived.
#[track_caller]
pub fn expect_all_full(world: &World, count: u64) {
    for id in 1..=count {
        assert_eq!(world.standing(id), "full 0");
        world.expect_arrived(&format!("ThreePi.{id}"));
    }
    let names: Vec<String> = (1..=count).map(|id| format!("ThreePi.{id}")).collect();
    assert_eq!(world.names_there(), names, "nothing else is there");
}

/// A standing fault of the host ipp0222, as `host show --json` has it.
#[track_caller]
pub fn host_fault(world: &World) -> Value {
    let shown = world.ok(&["host", "show", "--json"]).json();
    shown.as_array().unwrap().iter().find(|host| host["host"] == "ipp0222").unwrap()["fault"].clone()
}

/// Copies but for their next try, which is the next probe where a fault of the host is shown.
fn without_next_try(mut copies: Vec<Value>) -> Vec<Value> {
    for copy in &mut copies {
        copy.as_object_mut().unwrap().remove("next_try");
    }
    copies
}

/// Breaks something of the host, and looks at what is promised of a fault of a host: said once with advice,
/// the queue left alone, healed by a pass that finds the cause gone.
#[track_caller]
fn check(
    options: SshdOptions,
    break_it: impl FnOnce(&mut Sshd),
    said: &Expect,
    mend: impl FnOnce(&mut Sshd),
) {
    let mut world = World::with_sshd_options(options);
    world.prepare("ipp0222", 3);
    break_it(world.sshd());
    let ran = world.run(&["run"]).expect(1);
    expect_said(&world, &ran, said);
    let met = world.copy(1);
    assert_eq!(met["attempts"], 0, "its attempt is not counted");
    assert_eq!(met["fault"], host_fault(&world));
    for shown in [world.ok(&["show", "1"]), world.ok(&["list"]), world.ok(&["host", "show"])] {
        let has_control = shown.stdout.chars().any(|c| c.is_control() && c != '\n');
        assert!(!has_control, "{:?}", shown.stdout);
    }
    for id in [2, 3] {
        assert_eq!((world.standing(id).as_str(), &world.copy(id)["attempts"]), ("new 0", &Value::from(0)));
    }

    let before = world.list();
    world.ok(&["run"]).is_silent();
    assert_eq!(world.list(), before, "the probe is not due");
    copy_now(&world).expect(1).is_silent();
    assert_eq!(
        without_next_try(world.list()),
        without_next_try(before),
        "a probe that fails changes no copy"
    );

    mend(world.sshd());
    let ran = copy_now(&world).expect(0);
    assert_eq!(ran.stderr.matches("recovered from fault").count(), 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    expect_all_full(&world, 3);
    assert_eq!(host_fault(&world), 0);
    world.ok(&["run"]).is_silent();
}

#[test]
fn a_host_that_is_down_is_said_once_and_heals_when_it_is_back() {
    let said = expect![[r#"
        minidvodbcopy: host ipp0222: fault 211 host-unreachable: ssh: connect to host 127.0.0.1 port [PORT]: Connection refused
          nothing to do if the host is down for a while; else try `ssh HOST` by hand as the user of the cron job; looked at again after [TIME] UTC
    "#]];
    check(SshdOptions::known_as(&ALIASES), Sshd::stop, &said, |sshd| sshd.restart().unwrap());
}

#[test]
fn a_host_that_denies_the_key_heals_when_the_key_is_back() {
    let said = expect![[r#"
        minidvodbcopy: host ipp0222: fault 212 host-refused: [USER]@[HOST]: Permission denied (publickey).
          put this user's public key into ~/.ssh/authorized_keys at the host; the next probe then goes on by itself; looked at again by itself after [TIME] UTC
    "#]];
    check(
        SshdOptions::known_as(&ALIASES),
        |sshd| sshd.revoke_key().unwrap(),
        &said,
        |sshd| sshd.restore_key().unwrap(),
    );
}

#[test]
fn a_host_with_another_key_than_before_is_not_trusted_until_somebody_says_so() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    world.sshd().change_host_key().unwrap();
    let ran = world.run(&["run"]).expect(1).says("fault 213 host-key").says("IDENTIFICATION HAS CHANGED");
    assert!(ran.stderr.contains("known_hosts"), "there is advice:\n{}", ran.stderr);
    assert_eq!(world.standing(1), "new 213");
    assert!(world.names_there().is_empty());
    world.ok(&["run"]).is_silent();
    world.sshd().trust_host_key().unwrap();
    copy_now(&world).expect(0).says("recovered from fault 213");
    expect_all_full(&world, 1);
}

#[test]
fn a_host_whose_key_nobody_knows_is_not_trusted() {
    let said = expect![[r#"
        minidvodbcopy: host ipp0222: fault 213 host-key: No ED25519 host key is known for ipp0222 and you have requested strict checking.
        Host key verification failed.
          make sure that the host is the right one, then put its key into ~/.ssh/known_hosts; the next probe then goes on by itself; looked at again by itself after [TIME] UTC
    "#]];
    check(
        SshdOptions::known_as(&ALIASES),
        |sshd| sshd.forget_host_key().unwrap(),
        &said,
        |sshd| sshd.trust_host_key().unwrap(),
    );
}

#[test]
fn a_login_that_prints_before_it_obeys_is_shown_with_its_control_characters_escaped() {
    let said = expect![[r#"
        minidvodbcopy: host ipp0222: fault 214 host-tools: the login shell of ipp0222 prints, unasked: \u{1b}[31mWelcome\u{7} to ipp0222
          install what is missing at the host, or make its login scripts (.bashrc, .cshrc) silent for sessions without a terminal, or let its sshd allow 2 sessions a connection (MaxSessions); the next probe then goes on by itself; looked at again by itself after [TIME] UTC
    "#]];
    let line =
        r#"ForceCommand printf '\033[31mWelcome\007 to ipp0222\n'; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND""#;
    check(
        SshdOptions::known_as(&ALIASES),
        |sshd| sshd.restart_with(&[line]).unwrap(),
        &said,
        |sshd| sshd.restart_with(&[]).unwrap(),
    );
}

#[test]
fn a_startup_script_of_the_login_shell_that_prints_is_a_fault_of_the_host() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let startup = world.root.join("startup");
    std::fs::write(&startup, "echo fortune: all is well\n").unwrap();
    let line = format!(r#"ForceCommand SHLVL=5 BASH_ENV={startup} exec bash -c "$SSH_ORIGINAL_COMMAND""#);
    world.sshd().restart_with(&[&line]).unwrap();
    world.run(&["run"]).expect(1).says("fault 214 host-tools").says("fortune: all is well");
    assert!(world.names_there().is_empty());
    std::fs::write(&startup, "").unwrap();
    copy_now(&world).expect(0).says("recovered from fault 214");
    expect_all_full(&world, 1);
}

#[test]
fn rubbish_after_the_greeting_is_not_taken_for_an_answer() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    // In the background of the session, all the time; on standard error, where a login may say what it likes.
    let line = r#"ForceCommand echo "You have mail" >&2; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND""#;
    world.sshd().restart_with(&[line]).unwrap();
    world.ok(&["run"]).is_silent();
    expect_all_full(&world, 1);
}

#[test]
fn a_login_that_prints_without_end_is_cut_short() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    world.sshd().restart_with(&["ForceCommand exec yes 'fortune: all is well'"]).unwrap();
    // So much memory is enough for a pass, and not for what an endless login prints.
    let mut command = Command::new("prlimit");
    let program = world.command(&["run"]);
    command.arg("--as=400000000").arg(program.get_program()).args(program.get_args()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(&world.root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap()).expect(1).says("fault 214 host-tools").says("all is well");
    assert!(ran.stderr.len() < 10_000, "{} bytes are said", ran.stderr.len());
}

#[test]
fn no_folder_for_a_connections_socket_is_left_behind() {
    if !is_root() {
        return;
    }
    let world = World::with_sshd();
    // One attempt may be lucky.
    world.prepare("ipp0222", 8);
    // The pass sees a /tmp of its own, where nobody else makes such folders, with this test's folder in it.
    let own = world.root.join("own-tmp");
    let inner = own.join(world.root.strip_prefix("/tmp").unwrap());
    std::fs::create_dir_all(&inner).unwrap();
    let script = r#"mount --bind "$1" "$2" && mount --rbind "$3" /tmp && shift 3 && exec "$@""#;
    let program = world.command(&["run"]);
    // Wherever it was built, there it is seen.
    let copied = world.root.join("program");
    slow::copy_program(program.get_program(), &copied);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh", world.root.as_str(), inner.as_str(), own.as_str()]);
    command.arg(&copied).args(program.get_args()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap()).expect(0);
    expect_all_full(&world, 8);
    let left: Vec<String> = names_in(&own).into_iter().filter(|name| name.starts_with("mdvc")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_login_that_refuses_every_command_is_a_fault_with_its_words() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let line = "ForceCommand echo 'This account is currently not available.'; exit 1";
    world.sshd().restart_with(&[line]).unwrap();
    world.run(&["run"]).expect(1).says("fault 214 host-tools").says("currently not available");
}

#[test]
fn a_program_that_is_missing_there_is_named() {
    for tool in ["rsync", "mv", "sync"] {
        let mut world = World::with_sshd();
        world.prepare("ipp0222", 1);
        let line = format!("SetEnv PATH={} HOME={}", path_without(&world, &[tool]), world.root.join("home"));
        world.sshd().restart_with(&[&line]).unwrap();
        let ran = world.run(&["run"]).expect(1).says("fault 214 host-tools");
        assert!(ran.stderr.contains(&format!("missing at the host: {tool}\n")), "{}", ran.stderr);
        assert!(world.names_there().is_empty());
        world.ok(&["run"]).is_silent();
        world.sshd().restart_with(&[]).unwrap();
        copy_now(&world).expect(0).says("recovered from fault 214");
        expect_all_full(&world, 1);
    }
}

#[test]
fn rsync_or_ssh_missing_here_is_no_fault_of_any_copy() {
    for tool in ["rsync", "ssh"] {
        let mut world = World::with_sshd();
        world.prepare("ipp0222", 2);
        let path = std::env::var("PATH").unwrap();
        let poor = path_without(&world, &[tool]);
        world.set("PATH", &poor);
        // More often than a copy may be interrupted before that is a fault.
        for _ in 0..9 {
            world.run(&["run"]).expect(78).says(tool).says("install");
        }
        assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 0", "new 0"), "{tool}");
        assert_eq!(host_fault(&world), 0);
        world.set("PATH", &path);
        world.ok(&["run"]).is_silent();
        expect_all_full(&world, 2);
    }
}

#[test]
fn an_ssh_configuration_that_is_missing_or_broken_is_no_fault_of_any_copy() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    let good = world.sshd().config_path();
    let broken = world.root.join("broken_config");
    std::fs::write(&broken, "Host *\n    NoSuchOption yes\n").unwrap();
    for config in ["missing_config", "broken_config"] {
        // A relative path is meant from where the program was started.
        world.set("MINIDVODBCOPY_SSH_CONFIG", config);
        for _ in 0..9 {
            world.run(&["run"]).expect(78).says(config).says("MINIDVODBCOPY_SSH_CONFIG");
        }
        assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 0", "new 0"), "{config}");
        assert_eq!(host_fault(&world), 0);
    }
    world.set("MINIDVODBCOPY_SSH_CONFIG", good.as_str());
    world.ok(&["run"]).is_silent();
    expect_all_full(&world, 2);
}

/// A world whose only host is a listener on loopback that is no sshd.
fn with_listener() -> (World, TcpListener) {
    let mut world = World::new();
    world.prepare("ipp0222", 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = world.root.join("ssh_config");
    std::fs::write(&config, format!("Host *\n    HostName 127.0.0.1\n    Port {port}\n")).unwrap();
    world.set("MINIDVODBCOPY_SSH_CONFIG", config.as_str());
    world.set("MINIDVODBCOPY_CONNECT_SECONDS", "1");
    world.set("MINIDVODBCOPY_ANSWER_SECONDS", "3");
    (world, listener)
}

#[test]
fn a_listener_that_never_speaks_is_given_up() {
    let (world, _listener) = with_listener();
    world.run(&["run"]).expect(1).says("fault 211 host-unreachable");
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 211", "new 0"));
}

#[test]
fn a_listener_that_closes_at_once_is_unreachable() {
    let (world, listener) = with_listener();
    let closer = std::thread::spawn(move || drop(listener.accept().unwrap()));
    world.run(&["run"]).expect(1).says("fault 211 host-unreachable");
    closer.join().unwrap();
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 211", "new 0"));
}

#[test]
fn a_host_that_logs_in_and_then_hangs_is_given_up() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.set("MINIDVODBCOPY_CONNECT_SECONDS", "1");
    world.set("MINIDVODBCOPY_ANSWER_SECONDS", "1");
    world.sshd().restart_with(&["ForceCommand exec cat >/dev/null"]).unwrap();
    world.run(&["run"]).expect(1).says("fault 211 host-unreachable").says("did not answer");
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 211", "new 0"));
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let options = SshdOptions::known_as(&ALIASES).client_line("Host nowhere\n    HostName nowhere.invalid");
    let world = World::with_sshd_options(options);
    world.prepare("nowhere", 1);
    world.run(&["run"]).expect(1).says("fault 211 host-unreachable");
    assert_eq!(world.standing(1), "new 211");
}

#[test]
fn a_host_that_freezes_in_mid_copy_is_stalled_and_the_copy_goes_on_later() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    set_target(&world, &["--bwlimit", "50"]);
    world.set("MINIDVODBCOPY_STALL_SECONDS", "3");
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 0);
    assert!(world.sshd().freeze_sessions().unwrap() > 0);
    finish(pass).expect(1).says("fault 242 stalled").says("tried again after");
    assert_eq!(world.standing(1), "new 242");
    let copy = world.copy(1);
    assert_eq!((&copy["fault_class"], copy["next_try"].is_string()), (&Value::from("retry"), true));
    assert!(staged_bytes(&world.there()) > 0, "what has arrived is kept");
    assert_eq!(host_fault(&world), 0, "a stall is the copy's own");
    world.sshd().thaw_sessions().unwrap();
    assert!(world.sshd().wait_until_idle(Duration::from_secs(30)));
    set_target(&world, &["--bwlimit", "0"]);
    copy_now(&world).expect(0).says("recovered from 242 stalled");
    expect_all_full(&world, 1);
}

#[test]
fn what_wakes_up_after_the_copy_was_finished_without_it_does_not_touch_it() {
    let mut world = World::with_sshd();
    // One large file, so that the receiver sleeps with a part of it.
    let folder = world.make("ThreePi.1", Shape { regions: 1, files_per_region: 1, rows_per_file: 3000 });
    world.import(&[(1, "ThreePi", &folder)]);
    world.ok(&["host", "add", "ipp0222"]);
    set_target(&world, &["--bwlimit", "50"]);
    world.set("MINIDVODBCOPY_STALL_SECONDS", "3");
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 50_000);
    assert!(world.sshd().freeze_sessions().unwrap() > 0);
    finish(pass).expect(1).says("fault 242 stalled");
    set_target(&world, &["--bwlimit", "0"]);
    copy_now(&world).expect(0);
    expect_all_full(&world, 1);
    world.sshd().thaw_sessions().unwrap();
    assert!(world.sshd().wait_until_idle(Duration::from_secs(30)));
    expect_all_full(&world, 1);
}

#[test]
fn a_connection_that_breaks_in_mid_copy_is_the_hosts_fault_and_the_copy_goes_on_later() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    set_target(&world, &["--bwlimit", "50"]);
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 50_000);
    assert!(world.sshd().kill_sessions() > 0);
    finish(pass).expect(1).says("host ipp0222: fault 211 host-unreachable");
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 211", "new 0"));
    assert!(staged_bytes(&world.there()) > 0, "what has arrived is kept");
    world.ok(&["run"]).is_silent();
    set_target(&world, &["--bwlimit", "0"]);
    copy_now(&world).expect(0).says("host ipp0222: recovered from fault 211");
    expect_all_full(&world, 2);
}

#[test]
fn a_host_that_is_down_does_not_keep_another_waiting() {
    let options = SshdOptions::known_as(&ALIASES).client_line("Host ipp022\n    Port 1");
    let world = World::with_sshd_options(options);
    // In the order of names, the host that is down comes first.
    world.prepare("ipp0222", 1);
    let other = world.make("SAS.1", Shape::tiny());
    world.import(&[(2, "SAS", &other)]);
    let elsewhere = world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    world.ok(&["target", "add", "SAS", "ipp022", elsewhere.as_str()]);
    world.ok(&["host", "add", "ipp022"]);
    let ran = world.run(&["run"]).expect(1).says("host ipp022: fault 211");
    assert_eq!(ran.stderr.matches("fault").count(), 1, "{}", ran.stderr);
    let states: Vec<String> = world
        .list()
        .iter()
        .map(|copy| format!("{} {} {}", copy["destination_host"], copy["state"], copy["fault"]))
        .collect();
    assert_eq!(states, [r#""ipp022" "new" 211"#, r#""ipp0222" "full" 0"#]);
    world.expect_arrived("ThreePi.1");
}

#[test]
fn an_sshd_that_allows_one_session_is_a_clear_fault() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.sshd().restart_with(&["MaxSessions 1"]).unwrap();
    world.run(&["run"]).expect(1).says("fault 214 host-tools").says("MaxSessions");
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 214", "new 0"));
    world.ok(&["run"]).is_silent();
    world.sshd().restart_with(&[]).unwrap();
    copy_now(&world).expect(0).says("recovered from fault 214");
    expect_all_full(&world, 2);
}

#[test]
fn a_fault_that_only_sending_shows_is_not_healed_by_a_probe() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    world.sshd().restart_with(&["MaxSessions 1"]).unwrap();
    world.run(&["run"]).expect(1).says("fault 214");
    // The cause is still there, though a probe's one session goes through: nothing is said to be over.
    let ran = copy_now(&world).expect(1);
    assert_eq!(ran.stderr, "");
    assert_eq!((world.standing(1).as_str(), host_fault(&world)), ("new 214", Value::from(214)));
}

#[test]
fn a_host_that_breaks_the_connection_whenever_it_is_sent_to_is_said_once() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 2);
    // Shells are served; at rsync's the whole connection goes.
    let line = r#"ForceCommand case "$SSH_ORIGINAL_COMMAND" in rsync*) kill -9 $PPID;; *) exec $SSH_ORIGINAL_COMMAND;; esac"#;
    world.sshd().restart_with(&[line]).unwrap();
    let ran = world.run(&["run"]).expect(1).says("host ipp0222: fault 211 host-unreachable");
    assert_eq!(ran.stderr.matches("fault").count(), 1, "{}", ran.stderr);
    let ran = copy_now(&world).expect(1);
    assert_eq!(ran.stderr, "", "it is still the same fault");
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("new 211", "new 0"));
    world.sshd().restart_with(&[]).unwrap();
    let ran = copy_now(&world).expect(0);
    assert_eq!(ran.stderr.matches("recovered from fault 211").count(), 1, "{}", ran.stderr);
    expect_all_full(&world, 2);
}

#[test]
fn two_groups_of_one_host_share_its_fault_and_its_recovery() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let sas = world.make("SAS.1", Shape::tiny());
    world.import(&[(2, "SAS", &sas)]);
    set_target(&world, &[]);
    world.ok(&["target", "add", "SAS", "ipp0222", world.there().as_str()]);
    world.sshd().stop();
    let ran = world.run(&["run"]).expect(1);
    assert_eq!(ran.stderr.matches("fault 211").count(), 1, "{}", ran.stderr);
    // SAS comes first and met it; ThreePi was queued and left alone.
    let standings = || {
        let mut standings: Vec<String> = world
            .list()
            .iter()
            .map(|copy| format!("{} {} {}", copy["minidvodb_group"], copy["state"], copy["fault"]))
            .collect();
        standings.sort();
        standings
    };
    assert_eq!(standings(), [r#""SAS" "new" 211"#, r#""ThreePi" "new" 0"#]);
    drop(world.ok(&["run"]).is_silent());
    world.sshd.as_mut().unwrap().restart().unwrap();
    let ran = world.ok(&["copy", "ThreePi", "ipp0222", world.there().as_str()]);
    assert_eq!(ran.stderr.matches("recovered from fault 211").count(), 1, "{}", ran.stderr);
    let mut copies: Vec<String> = world
        .list()
        .iter()
        .map(|copy| format!("{} {} {}", copy["minidvodb_group"], copy["state"], copy["fault"]))
        .collect();
    copies.sort();
    assert_eq!(copies, [r#""SAS" "new" 0"#, r#""ThreePi" "full" 0"#], "no copy shows the code any more");
    world.ok(&["run"]).is_silent();
    world.expect_arrived("SAS.1");
}

/// Starts a pass over two slow copies, does something while the first one is sent, and lets the pass end.
#[track_caller]
fn in_mid_pass(act: &[&str]) -> World {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    set_target(&world, &["--bwlimit", "100"]);
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 0);
    world.ok(act);
    finish(pass).expect(0).is_silent();
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("full 0", "new 0"));
    assert_eq!(world.copy(2)["attempts"], 0);
    set_target(&world, &["--bwlimit", "0"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(2), "new 0", "it lasts");
    world
}

#[test]
fn a_host_switched_off_during_a_pass_gets_no_further_copy() {
    let world = in_mid_pass(&["host", "del", "ipp0222"]);
    world.ok(&["host", "add", "ipp0222"]);
    world.ok(&["run"]).is_silent();
    expect_all_full(&world, 2);
}

#[test]
fn a_stage_switched_off_during_a_pass_lets_it_end_after_the_present_copy() {
    for stage in ["run", "load"] {
        let world = in_mid_pass(&["stage", "off", stage]);
        world.ok(&["stage", "on", stage]);
        world.ok(&["run"]).is_silent();
        expect_all_full(&world, 2);
    }
}

#[test]
fn a_target_deleted_during_a_pass_gets_no_further_copy() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    set_target(&world, &["--bwlimit", "100"]);
    let pass = world.start(&["run"]);
    eventually("something has arrived", || staged_bytes(&world.there()) > 0);
    world.ok(&["target", "del", "ipp0222", "ThreePi"]).says("parked");
    finish(pass).expect(0).is_silent();
    assert_eq!((world.standing(1).as_str(), world.standing(2).as_str()), ("full 0", "new 0"));
    assert_eq!(world.copy(2)["parked"], true);
}
