//! What the ends of ssh and rsync mean: exit code and messages, under `LC_ALL=C`, become a fault.
//!
//! Invariant: pure; tested on what the real programs printed (`testdata/ssh`, `testdata/rsync`). A code that
//! cannot be told apart stays the program's own, and waits for a person.

use super::Halt;
use super::process::Ended;
use crate::faults::{Fault, Met};
use crate::model::Host;

/// Codes from here on are shells' way to say that a signal ended a command.
const SIGNAL_BASE: i32 = 128;
/// The highest number of a signal.
const SIGNAL_MAX: i32 = 64;
/// rsync's code for having been ended by a signal.
const RSYNC_SIGNALLED: i32 = 20;

/// How a connection's end is to be understood; `output` is what came unasked on standard output.
pub(super) fn of_connection(host: &Host, ended: &Ended, output: &str) -> Halt {
    if let Some(signal) = ended.signal {
        return Halt::Cut(format!("the connection to {host} was ended here by signal {signal}"));
    }
    let said = [ended.messages.as_str(), output].join("\n").trim().to_owned();
    let message = if said.is_empty() {
        format!("the connection to {host} ended, and ssh said nothing")
    } else {
        said.clone()
    };
    match ended.code {
        Some(255) => classify_ssh(&ended.messages, &message),
        Some(code) if code > SIGNAL_BASE => Halt::Cut(message),
        // The login shell ran and refused, or has no /bin/sh.
        _ => Halt::fault(Fault::HostTools, message),
    }
}

fn classify_ssh(messages: &str, message: &str) -> Halt {
    let has = |text: &str| messages.contains(text);
    let fault = if messages.lines().any(|line| line.starts_with("ssh: connect to host")) {
        Fault::HostUnreachable
    } else if has("HOST IDENTIFICATION HAS CHANGED")
        || has("Host key verification failed")
        || has("REVOKED HOST KEY")
        || has("host key is known for")
    {
        Fault::HostKey
    } else if has("Bad configuration option")
        || has("bad configuration options")
        || has("Can't open user config file")
        || has("Bad owner or permissions on")
    {
        return Halt::Error(
            crate::error::Error::configuration(format!("ssh cannot read its configuration: {message}"))
                .hint("mend ~/.ssh/config, or the file that MINIDVODBCOPY_SSH_CONFIG names"),
        );
    } else if has(": Permission denied (") || has("Too many authentication failures") || has("has expired") {
        Fault::HostRefused
    } else {
        Fault::HostUnreachable
    };
    Halt::fault(fault, message)
}

/// The signal that ended the last command of a script, as its shell tells it; whoever sent it, that command did
/// not fail.
pub(super) fn signal_of(status: i32) -> Option<i32> {
    (SIGNAL_BASE + 1..=SIGNAL_BASE + SIGNAL_MAX).contains(&status).then(|| status - SIGNAL_BASE)
}

/// How rsync's end is to be understood. `None`: it did all it was asked.
///
/// The caller looks after the connection first: an rsync that lost it says little of the cause.
pub(super) fn of_rsync(ended: &Ended) -> Option<Halt> {
    if let Some(signal) = ended.signal {
        return Some(Halt::Cut(format!("rsync was ended here by signal {signal}")));
    }
    let code = ended.code.unwrap_or(0);
    if code == 0 {
        return None;
    }
    let message = match ended.messages.trim() {
        "" => format!("rsync ended with code {code} and said nothing"),
        said => said.to_owned(),
    };
    if code == RSYNC_SIGNALLED || code > SIGNAL_BASE && code < 255 {
        return Some(Halt::Cut(message));
    }
    let fault = classify_lines(&message).unwrap_or(match code {
        24 => Fault::SourceChanged,
        30 => Fault::Stalled,
        126 | 127 => Fault::HostTools,
        2 if message.contains("is your shell clean") => Fault::HostTools,
        code => Fault::Foreign(i16::try_from(code).unwrap_or(255)),
    });
    Some(Halt::fault(fault, message))
}

/// Whether rsync's end leaves open what happened: it may have been the connection, or a full disk that the
/// far end could not speak of any more.
pub(super) fn is_unclear(met: &Met) -> bool {
    matches!(met.fault, Fault::Foreign(10 | 11 | 12 | 23 | 255))
}

/// The first line that tells the cause: who met which error.
fn classify_lines(messages: &str) -> Option<Fault> {
    let faults: Vec<Fault> = messages.lines().filter_map(classify_line).collect();
    // A file that can't be read needs a person, whatever vanished beside it.
    let is_there = |fault: Fault| faults.contains(&fault).then_some(fault);
    is_there(Fault::SourceUnreadable).or_else(|| is_there(Fault::NoRoom)).or_else(|| faults.first().copied())
}

fn classify_line(line: &str) -> Option<Fault> {
    if line.starts_with("file has vanished:") {
        return Some(Fault::SourceChanged);
    }
    if line.starts_with("refusing to follow a symlink") || line.contains("Too many levels of symbolic links")
    {
        return Some(Fault::PathDenied);
    }
    if line.contains("failed verification -- update discarded") {
        return Some(Fault::SourceChanged);
    }
    if line.contains("[sender] write error") || line.contains("Failed to exec") {
        return None;
    }
    if line.contains("Session open refused by peer") {
        // sshd's MaxSessions is too small for a shell and rsync over one connection.
        return Some(Fault::HostTools);
    }
    let is_here = line.contains("[sender]");
    let is_there = ["[receiver]", "[generator]", "[Receiver]"].iter().any(|role| line.contains(role));
    if is_command_missing(line) && line.contains("rsync: ") {
        // rsync went missing since the look. The one here tells its own code, 12, and not the shell's.
        return Some(Fault::HostTools);
    }
    match errno(line)? {
        13 | 1 if is_here => Some(Fault::SourceUnreadable),
        5 if is_here => Some(Fault::SourceUnreadable),
        2 | 20 if is_here && line.contains("change_dir") => Some(Fault::SourceMissing),
        2 | 61 if is_here => Some(Fault::SourceChanged),
        28 if is_there => Some(Fault::NoRoom),
        13 | 30 | 122 if is_there => Some(Fault::PathDenied),
        1 if is_there && !line.contains("chgrp") && !line.contains("chown") => Some(Fault::PathDenied),
        2 if is_there => Some(Fault::PathMissing),
        _ => None,
    }
}

/// The error number that ends a line of rsync: `...: Permission denied (13)`.
fn errno(line: &str) -> Option<u32> {
    line.trim_end().strip_suffix(')')?.rsplit_once('(')?.1.parse().ok()
}

/// What a script there, or a system call here, said of the target's folder.
pub(super) fn of_target_message(message: &str) -> Fault {
    let has = |text: &str| message.contains(text);
    if has("No space left on device") {
        Fault::NoRoom
    } else if message.lines().any(is_command_missing) {
        Fault::HostTools
    } else if has("No such file or directory") || has("Not a directory") || has("cd: can't cd to") {
        // dash does not say why it cannot enter a folder; each was entered by a look a moment ago.
        Fault::PathMissing
    } else {
        Fault::PathDenied
    }
}

/// A shell's `/bin/sh: 3: mv: not found`, or `sh: line 3: mv: command not found`.
fn is_command_missing(line: &str) -> bool {
    let line = line.trim_end();
    line.contains("sh: ") && (line.ends_with(": not found") || line.ends_with(": command not found"))
}

/// What reading the source met: fault 201 or 202, or 203 where something vanished meanwhile.
pub fn classify_local(error: &std::io::Error, is_top: bool) -> Fault {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory if is_top => Fault::SourceMissing,
        std::io::ErrorKind::NotFound => Fault::SourceChanged,
        _ => Fault::SourceUnreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn captured(path: &std::path::Path) -> Ended {
        let bytes = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let first = text.lines().next().unwrap();
        let code = first.strip_prefix("# exit ").unwrap();
        let (code, signal) = match code.strip_prefix("signal ") {
            Some(signal) => (None, Some(signal.trim().parse().unwrap())),
            None => (Some(code.split_whitespace().next().unwrap().parse().unwrap()), None),
        };
        let stderr = text.lines().skip(2).take_while(|line| *line != "# stdout");
        let lines: Vec<&str> =
            stderr.flat_map(|line| line.split('\r')).filter(|line| !line.is_empty()).collect();
        Ended { code, signal, messages: lines.join("\n") }
    }

    fn table(folder: &str, classify: impl Fn(&Ended) -> Option<Halt>) -> String {
        let folder = format!("{}/testdata/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let mut table = String::new();
        for path in paths {
            let what = match classify(&captured(&path)) {
                None => "done".to_owned(),
                Some(Halt::Fault(met)) => met.fault.to_string(),
                Some(Halt::Cut(_)) => "interrupted".to_owned(),
                Some(Halt::Error(error)) => format!("exit {}", error.exit as u8),
                Some(Halt::Signal(_)) => "signal".to_owned(),
            };
            writeln!(table, "{} {what}", path.file_stem().unwrap().to_string_lossy()).unwrap();
        }
        table
    }

    #[test]
    fn what_a_script_there_says_is_understood() {
        for (said, fault) in [
            ("the rename into /data failed: /bin/sh: 9: mv: not found", Fault::HostTools),
            ("/bin/sh: line 9: sync: command not found", Fault::HostTools),
            ("/bin/sh: 3: cd: can't cd to /data", Fault::PathMissing),
            ("mv: cannot stat './a: not found': No such file or directory", Fault::PathMissing),
            ("mkdir: cannot create directory './x': Permission denied", Fault::PathDenied),
            ("mkdir: cannot create directory './x': No space left on device", Fault::NoRoom),
        ] {
            assert_eq!(of_target_message(said), fault, "{said}");
        }
    }

    #[test]
    fn every_captured_end_of_rsync_is_understood() {
        let expected =
            expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/outcomes-rsync.txt")];
        expected.assert_eq(&table("rsync", of_rsync));
    }

    #[test]
    fn every_captured_end_of_ssh_is_understood() {
        let host = Host::parse("ipp0222").unwrap();
        let expected =
            expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/outcomes-ssh.txt")];
        expected.assert_eq(&table("ssh", |ended| {
            (ended.code != Some(0)).then(|| of_connection(&host, ended, ""))
        }));
    }
}
