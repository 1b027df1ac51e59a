//! The one place that makes ssh's command lines.
//!
//! Invariant: nothing is asked on a terminal, no unknown host is trusted, nothing is forwarded, the host is an
//! operand behind `--`. All commands of an attempt go over one connection, whose master is a child of ours in
//! the foreground; a client whose master is gone fails at once instead of making a connection of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use xshell::{Shell, cmd};

use super::Setting;
use crate::error::{Error, IoContext};
use crate::model::Host;

/// The folder for the connection's socket: short, because a socket's path is limited to 107 bytes, and private.
pub(super) fn socket_dir() -> Result<PathBuf, Error> {
    let dir = tempfile::Builder::new()
        .prefix("mdvc")
        .tempdir_in("/tmp")
        .or_configuration("cannot make a folder for the ssh connection's socket in /tmp")?;
    // The guard removes it, also when this process is killed.
    Ok(dir.keep())
}

/// The master connection, with the destination's shell as its session.
pub(super) fn master(host: &Host, socket_dir: &Path, setting: &Setting) -> Result<Command, Error> {
    let shell = Shell::new().or_configuration("cannot find the working folder")?;
    let socket = format!("ControlPath={}/s", socket_dir.display());
    let connect = format!("ConnectTimeout={}", setting.limits.connect.as_secs().max(1));
    let config = config(setting);
    let ciphers: &[&str] = if has_fast_aes() { &["-o", "Ciphers=^aes128-gcm@openssh.com"] } else { &[] };
    let host = host.as_str();
    let command = cmd!(
        shell,
        "ssh {config...} -T -a -x -M -o ControlMaster=yes -o {socket} -o ControlPersist=no -o BatchMode=yes
        -o {connect} -o ConnectionAttempts=1 -o ServerAliveInterval=15 -o ServerAliveCountMax=4
        -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ClearAllForwardings=yes -o PermitLocalCommand=no
        -o RemoteCommand=none -o EscapeChar=none -o Compression=no -o LogLevel=INFO {ciphers...}
        -- {host} '/bin/sh -s'"
    );
    Ok(command.into())
}

/// A second session over a master: a shell that reads its script, and what the script reads, from standard input.
pub(super) fn client(host: &Host, socket_dir: &Path) -> Result<Command, Error> {
    let shell = Shell::new().or_configuration("cannot find the working folder")?;
    let (words, host) = (client_words(socket_dir), host.as_str());
    let command = cmd!(shell, "ssh {words...} -o EscapeChar=none -- {host} '/bin/sh -s'");
    Ok(command.into())
}

/// What rsync is to start as its remote shell: a client of the master, without a way around it. The socket's
/// path has no character that rsync would split at.
pub(super) fn rsync_shell(socket_dir: &Path) -> String {
    format!("ssh {}", client_words(socket_dir).join(" "))
}

/// The options of a client of the master, which makes no connection of its own.
fn client_words(socket_dir: &Path) -> Vec<String> {
    let socket = format!("{}/s", socket_dir.display());
    let before = ["-F", "/dev/null", "-T", "-a", "-x", "-S", socket.as_str()];
    let settings = ["ControlMaster=no", "ProxyCommand=false", "BatchMode=yes", "LogLevel=INFO"];
    before
        .into_iter()
        .chain(settings.into_iter().flat_map(|setting| ["-o", setting]))
        .map(str::to_owned)
        .collect()
}

/// Asks ssh how it would reach a host.
pub(super) fn explain(host: &Host, setting: &Setting) -> Command {
    let mut command = Command::new("ssh");
    command.args(config(setting)).args(["-G", "--", host.as_str()]);
    command
}

/// Asks ssh for its version.
pub(super) fn version() -> Command {
    let mut command = Command::new("ssh");
    command.arg("-V");
    command
}

/// The configuration to use instead of the user's own.
fn config(setting: &Setting) -> Vec<String> {
    setting.ssh_config.iter().flat_map(|path| ["-F".to_owned(), path.to_string()]).collect()
}

/// Whether the processor encrypts AES in hardware; then AES-GCM takes a third less of its time than ssh's
/// default cipher. It is only put first: what the server does not speak is not used.
fn has_fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(not(target_arch = "x86_64"))]
    false
}
