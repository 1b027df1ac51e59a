//! The command lines of what a pass is compared with.
//!
//! Invariant: they are what an operator would type, in favour of the other program where there is a choice, and
//! lead to the private server only.

use std::process::{Command, Stdio};

use camino::Utf8Path;
use xtask::dvo::Made;
use xtask::sshd::Sshd;

use super::lab::{HOST, NAME};

/// A cipher that processors have instructions for; ssh's own first choice is chacha20.
const FAST_CIPHER: &str = "aes128-gcm@openssh.com";

/// From where to where.
pub(super) struct Route<'a> {
    pub(super) sshd: &'a Sshd,
    /// The minidvodb's folder here.
    pub(super) source: &'a Utf8Path,
    /// The folder that it is to be in there.
    pub(super) destination: &'a Utf8Path,
    /// For what a program needs besides.
    pub(super) scratch: &'a Utf8Path,
}

#[derive(Clone, Copy)]
pub(super) enum Cipher {
    Usual,
    Fast,
}

impl Route<'_> {
    pub(super) fn rsync(&self, options: &str, cipher: Cipher) -> Command {
        let mut command = Command::new("rsync");
        command
            .args([options, "--", self.source.as_str(), &format!("{HOST}:{}/", self.destination)])
            .env("RSYNC_RSH", self.remote_shell(cipher))
            .stdin(Stdio::null());
        command
    }

    /// Its own options for rsync. Left to itself it would make one part of a minidvodb: the jobs get eight. What it
    /// says is not kept: without a terminal each job complains of that.
    pub(super) fn fpsync(&self, made: Made) -> Command {
        let mut command = Command::new("fpsync");
        let eighth = |count: u64| (count / 8).max(1).to_string();
        command
            .args(["-n", "4", "-f", &eighth(made.files), "-s", &eighth(made.bytes)])
            .args(["-t", self.scratch.join("fpsync").as_str()])
            .args([&format!("{}/", self.source), &format!("{HOST}:{}/{NAME}/", self.destination)])
            .env("RSYNC_RSH", self.remote_shell(Cipher::Usual))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// With the usual four transfers at once. Comparing sums after each file is left out, which rsync does not do
    /// either; neither permissions nor the times of folders arrive.
    pub(super) fn rclone(&self) -> Command {
        let mut command = Command::new("rclone");
        command
            .args(["copy", "--config", "", "--ignore-checksum", "--sftp-disable-hashcheck"])
            .args(["--sftp-host", &self.sshd.address().to_string()])
            .args(["--sftp-port", &self.sshd.port().to_string()])
            .args(["--sftp-user", self.sshd.user()])
            .args(["--sftp-key-file", self.sshd.client_key_path().as_str()])
            .args(["--cache-dir", self.scratch.join("rclone").as_str()])
            .args(["--", self.source.as_str(), &format!(":sftp:{}/{NAME}", self.destination)])
            .stdin(Stdio::null());
        command
    }

    pub(super) fn tar(&self, cipher: Cipher) -> Command {
        let parent = self.source.parent().unwrap_or(self.source);
        let unpack = format!("tar -xpf - -C '{}'", self.destination);
        let mut command = piped("tar -C \"$2\" -cf - -- \"$3\"");
        command.args([&self.remote_command(cipher, &unpack), parent.as_str(), NAME]);
        command
    }

    pub(super) fn channel(&self, bytes: u64) -> Command {
        let mut command = piped("dd if=/dev/zero bs=1M iflag=count_bytes count=\"$2\" status=none");
        command.args([self.remote_command(Cipher::Usual, "cat >/dev/null"), bytes.to_string()]);
        command
    }

    pub(super) fn cp(&self) -> Command {
        let mut command = Command::new("cp");
        command.args(["-a", "--", self.source.as_str(), &format!("{}/", self.destination)]);
        command
    }

    pub(super) fn flush(&self) -> Command {
        let mut command = Command::new("sync");
        command.args(["-f", "--", self.destination.as_str()]);
        command
    }

    fn remote_shell(&self, cipher: Cipher) -> String {
        let cipher = match cipher {
            Cipher::Usual => String::new(),
            Cipher::Fast => format!(" -c {FAST_CIPHER}"),
        };
        format!("ssh -F '{}'{cipher}", self.sshd.config_path())
    }

    fn remote_command(&self, cipher: Cipher, command: &str) -> String {
        format!("{} {HOST} \"{command}\"", self.remote_shell(cipher))
    }
}

/// A pipe from the producer into the command that is the first argument still to be given.
fn piped(producer: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{producer} | eval \"$1\""), "sh"]).stdin(Stdio::null());
    command
}
