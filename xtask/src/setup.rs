//! The programs of the machine that the tasks need, installed where they are missing and that is allowed.
//!
//! Invariant: nothing is installed that is there already, and nothing at all unless we are root; otherwise the
//! error holds the one command to type.

use std::env;
use std::io;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

/// A program that the tests and the other tasks start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Copies.
    Rsync,
    /// The ssh client.
    Ssh,
    /// The ssh server.
    Sshd,
    /// Makes keys for both.
    SshKeygen,
    /// The database server.
    MariaDbServer,
    /// Makes the server's first data.
    MariaDbInstall,
    /// The stock database client.
    MariaDbClient,
    /// Writes a database out as statements; a yardstick of the benchmarks.
    MariaDbDump,
    /// Completes what is typed into it.
    Zsh,
    /// Likewise.
    Fish,
    /// Reads units as systemd does.
    SystemdAnalyze,
    /// Shows the report as people see it.
    Chromium,
    /// Reads metrics as Prometheus does.
    Promtool,
    /// Several rsyncs at once; a peer of the benchmarks.
    Fpsync,
    /// Copies by sftp; likewise.
    Rclone,
    /// Makes the network namespace that the benchmarks copy into.
    Ip,
}

impl Tool {
    /// What copying to a private ssh server needs.
    pub const COPYING: [Tool; 4] = [Tool::Rsync, Tool::Ssh, Tool::Sshd, Tool::SshKeygen];

    /// What comparing with a private database server needs.
    pub const COMPARING: [Tool; 4] =
        [Tool::MariaDbServer, Tool::MariaDbInstall, Tool::MariaDbClient, Tool::MariaDbDump];

    /// What looking at the report and the metrics needs.
    pub const SHOWING: [Tool; 2] = [Tool::Chromium, Tool::Promtool];

    /// What the benchmarks compare with and copy into, as far as it can be had.
    pub const COMPETING: [Tool; 3] = [Tool::Fpsync, Tool::Rclone, Tool::Ip];

    /// Everything that the tests need.
    pub const ALL: [Tool; 10] = [
        Tool::Rsync,
        Tool::Ssh,
        Tool::Sshd,
        Tool::SshKeygen,
        Tool::MariaDbServer,
        Tool::MariaDbInstall,
        Tool::MariaDbClient,
        Tool::Zsh,
        Tool::Fish,
        Tool::SystemdAnalyze,
    ];

    /// The program's file name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Tool::Rsync => "rsync",
            Tool::Ssh => "ssh",
            Tool::Sshd => "sshd",
            Tool::SshKeygen => "ssh-keygen",
            Tool::MariaDbServer => "mariadbd",
            Tool::MariaDbInstall => "mariadb-install-db",
            Tool::MariaDbClient => "mariadb",
            Tool::MariaDbDump => "mariadb-dump",
            Tool::Zsh => "zsh",
            Tool::Fish => "fish",
            Tool::SystemdAnalyze => "systemd-analyze",
            Tool::Chromium => "chromium",
            Tool::Promtool => "promtool",
            Tool::Fpsync => "fpsync",
            Tool::Rclone => "rclone",
            Tool::Ip => "ip",
        }
    }

    /// The Debian package that brings it. Of MariaDB the `-core` packages: the programs alone, while
    /// `mariadb-server` would also enable and start a service of the machine; `systemd` alone does not become its
    /// init.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Tool::Rsync => "rsync",
            Tool::Ssh | Tool::SshKeygen => "openssh-client",
            Tool::Sshd => "openssh-server",
            Tool::MariaDbServer | Tool::MariaDbInstall => "mariadb-server-core",
            Tool::MariaDbClient => "mariadb-client-core",
            Tool::MariaDbDump => "mariadb-client",
            Tool::Zsh => "zsh",
            Tool::Fish => "fish",
            Tool::SystemdAnalyze => "systemd",
            Tool::Chromium => "chromium",
            Tool::Promtool => "prometheus",
            Tool::Fpsync => "fpart",
            Tool::Rclone => "rclone",
            Tool::Ip => "iproute2",
        }
    }

    /// Where it is: in a folder of PATH, or of the system programs that PATH often leaves out.
    #[must_use]
    pub fn find(self) -> Option<Utf8PathBuf> {
        find_program(self.program())
    }

    /// As [`Tool::find`], for a program that must be there.
    ///
    /// # Errors
    /// When it is not; the message names the package.
    pub fn require(self) -> io::Result<Utf8PathBuf> {
        self.find().ok_or_else(|| {
            let (program, package) = (self.program(), self.package());
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{program} is missing: install package {package}"),
            )
        })
    }
}

/// Makes sure that the tools are there, installing what is missing where we are root.
///
/// # Errors
/// When a tool is missing and we are not root, or its installation fails; the message says what to type.
pub fn ensure_tools(tools: &[Tool]) -> io::Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = packages(&missing);
    let names = missing.iter().map(|tool| tool.program()).collect::<Vec<_>>().join(", ");
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if find_program("apt-get").is_none() {
        let packages = packages.join(", ");
        return Err(other(format!(
            "{names} missing, and there is no apt-get here: install what Debian calls {packages}"
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(other(format!("{names} missing: type `sudo {command}`")));
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat())?;
    match self::missing(tools).first() {
        None => Ok(()),
        Some(tool) => {
            let program = tool.program();
            Err(other(format!("{program} is still missing after `{command}`: look at its output above")))
        }
    }
}

/// Makes sure that `cargo fmt` and `cargo clippy` work.
///
/// # Errors
/// When one of them does not; the message says what to type.
pub fn ensure_rust_components() -> io::Result<()> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    for (task, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let works =
            Command::new(&cargo).args([task, "--version"]).output().is_ok_and(|out| out.status.success());
        if !works {
            return Err(other(format!(
                "`cargo {task}` does not work: type `rustup component add {component}`"
            )));
        }
    }
    Ok(())
}

/// The first executable file of this name in PATH, /usr/local/sbin, /usr/sbin or /sbin.
#[must_use]
pub fn find_program(name: &str) -> Option<Utf8PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"])
        .map(|folder| Utf8Path::new(folder).join(name))
        .find(|file| file.is_file())
}

fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools.iter().copied().filter(|tool| tool.find().is_none()).collect()
}

fn packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.package()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt_get(args: &[&str]) -> io::Result<()> {
    let command = format!("apt-get {}", args.join(" "));
    let status =
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status().map_err(
            |error| io::Error::new(error.kind(), format!("`{command}` cannot be started: {error}")),
        )?;
    if status.success() {
        Ok(())
    } else {
        Err(other(format!("`{command}` failed ({status}): see its output above, then type it yourself")))
    }
}

fn other(message: String) -> io::Error {
    io::Error::other(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_outside_of_path_are_found_and_absent_ones_are_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }

    #[test]
    fn each_package_is_named_once() {
        let expected = [
            "fish",
            "mariadb-client-core",
            "mariadb-server-core",
            "openssh-client",
            "openssh-server",
            "rsync",
            "systemd",
            "zsh",
        ];
        assert_eq!(packages(&Tool::ALL), expected);
        assert_eq!(packages(&Tool::COPYING), ["openssh-client", "openssh-server", "rsync"]);
    }
}
