//! The private server and its clients are real: keys, refusals, restarts and what is left of sessions.

use std::process::Output;

use super::*;

struct Fixture {
    sshd: Sshd,
    _temp: tempfile::TempDir,
}

fn start(options: SshdOptions) -> Fixture {
    let temp = tempfile::Builder::new().prefix("a 100% private sshd").tempdir().unwrap();
    let sshd = Sshd::start(Utf8Path::from_path(temp.path()).unwrap(), options).unwrap();
    Fixture { sshd, _temp: temp }
}

fn ssh(sshd: &Sshd, host: &str, command: &str) -> Output {
    let config = sshd.config_path();
    Command::new("ssh").args(["-F", config.as_str(), "--", host, command]).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_command_runs_there_under_every_alias_and_no_other_name_is_trusted() {
    let fixture = start(SshdOptions::known_as(&["ipp022", "ipp0222"]));
    for alias in ["ipp022", "ipp0222"] {
        fixture.sshd.probe(alias).unwrap();
        let output = ssh(&fixture.sshd, alias, "echo here");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n", "{}", stderr(&output));
    }
    let output = ssh(&fixture.sshd, "ipp031", "echo here");
    assert!(stderr(&output).contains("Host key verification failed"), "{}", stderr(&output));
}

#[test]
fn a_revoked_key_is_denied_until_it_is_restored() {
    let fixture = start(SshdOptions::known_as(&["ipp022"]));
    fixture.sshd.revoke_key().unwrap();
    for _ in 0..3 {
        let output = ssh(&fixture.sshd, "ipp022", "true");
        assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    }
    fixture.sshd.restore_key().unwrap();
    fixture.sshd.probe("ipp022").unwrap();
}

#[test]
fn a_changed_host_key_is_refused_until_it_is_trusted() {
    let mut fixture = start(SshdOptions::known_as(&["ipp022"]));
    let port = fixture.sshd.port();
    fixture.sshd.change_host_key().unwrap();
    assert_eq!(fixture.sshd.port(), port);
    let output = ssh(&fixture.sshd, "ipp022", "true");
    assert!(stderr(&output).contains("HAS CHANGED"), "{}", stderr(&output));
    fixture.sshd.trust_host_key().unwrap();
    fixture.sshd.probe("ipp022").unwrap();
    fixture.sshd.forget_host_key().unwrap();
    assert!(fixture.sshd.probe("ipp022").unwrap_err().to_string().contains("Host key verification"));
}

#[test]
fn a_stopped_server_refuses_and_a_restarted_one_answers_on_the_same_port() {
    let mut fixture = start(SshdOptions::known_as(&["ipp022"]).server_line("ForceCommand echo forced"));
    let port = fixture.sshd.port();
    fixture.sshd.stop();
    fixture.sshd.stop();
    let output = ssh(&fixture.sshd, "ipp022", "true");
    assert!(stderr(&output).contains("Connection refused"), "{}", stderr(&output));
    fixture.sshd.restart().unwrap();
    assert_eq!(ssh(&fixture.sshd, "ipp022", "true").stdout, b"forced\n");
    fixture.sshd.restart_with(&["Match User nobody", "ForceCommand false"]).unwrap();
    assert_eq!(fixture.sshd.port(), port);
    assert_eq!(ssh(&fixture.sshd, "ipp022", "echo free").stdout, b"free\n");
}

#[test]
fn killed_sessions_end_and_the_server_goes_on() {
    let fixture = start(SshdOptions::known_as(&["ipp022"]));
    let config = fixture.sshd.config_path();
    let mut client = Command::new("ssh")
        .args(["-F", config.as_str(), "ipp022", "sleep 1000"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = || {
        fixture.sshd.sessions().iter().any(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
        })
    };
    assert!(wait_until(Duration::from_secs(20), sleeps));
    assert!(fixture.sshd.freeze_sessions().unwrap() >= 2);
    assert!(fixture.sshd.thaw_sessions().unwrap() >= 2);
    assert!(fixture.sshd.kill_sessions() >= 2);
    assert_eq!(client.wait().unwrap().code(), Some(255));
    assert!(fixture.sshd.wait_until_idle(Duration::from_secs(20)));
    assert!(fixture.sshd.cpu_seconds().unwrap() > 0.0);
    fixture.sshd.probe("ipp022").unwrap();
}

#[test]
fn a_dropped_server_is_gone() {
    let fixture = start(SshdOptions::known_as(&["ipp022"]));
    let (pid, port) = (fixture.sshd.pid().unwrap(), fixture.sshd.port());
    let guard = fixture.sshd.running.as_ref().unwrap().guard.as_ref().unwrap().id();
    drop(fixture);
    assert!(!processes::is_running(pid) && !processes::is_running(guard));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn the_guard_ends_a_server_whose_owner_died() {
    let mut fixture = start(SshdOptions::known_as(&["ipp022"]));
    let pid = fixture.sshd.pid().unwrap();
    // An owner's death closes the pipe that the guard reads.
    let running = fixture.sshd.running.as_mut().unwrap();
    drop(running.guard.as_mut().unwrap().stdin.take());
    assert!(wait_until(Duration::from_secs(20), || !processes::is_running(pid)));
}

#[test]
fn what_sshd_says_about_a_bad_line_is_in_the_error() {
    let temp = tempfile::tempdir().unwrap();
    let options = SshdOptions::default().server_line("NoSuchOption yes");
    let error = Sshd::start(Utf8Path::from_path(temp.path()).unwrap(), options).unwrap_err();
    assert!(error.to_string().contains("NoSuchOption"), "{error}");
}
