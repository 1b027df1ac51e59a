//! What goes to other machines: the binary, and a tar of it with completions, units, README, licence and sums.
//!
//! Invariant: nothing is packed but a binary that was found to be static, and nothing in the tar speaks of the machine
//! that it was made on; from the same binary, files and time it is the same, byte for byte.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use crate::elf;
use crate::pack::{self, Item};

/// The program's file.
pub const PROGRAM: &str = "minidvodbcopy";
/// Where the units of the tar look for the binary; `minidvodbcopy crontab --systemd` prints them for any other place.
pub const INSTALLED: &str = "/usr/local/bin/minidvodbcopy";
/// The state folder of the tar's units, which systemd makes for their user.
pub const STATE_DIR: &str = "/var/lib/minidvodbcopy";
/// What the tar's services have beyond those that are printed: they are the system's, and must not run as root.
const OF_THE_SYSTEM: [(&str, &str); 2] = [
    ("[Unit]\n", "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"),
    ("[Service]\n", "[Service]\nUser=ipp\nStateDirectory=minidvodbcopy\nStateDirectoryMode=0700\n"),
];

const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "minidvodbcopy.bash"), ("zsh", "_minidvodbcopy"), ("fish", "minidvodbcopy.fish")];
const UNITS: [(&str, &str); 4] = [
    ("service", "minidvodbcopy.service"),
    ("timer", "minidvodbcopy.timer"),
    ("audit-service", "minidvodbcopy-audit.service"),
    ("audit-timer", "minidvodbcopy-audit.timer"),
];

/// A file that was put into its place.
#[derive(Debug)]
pub struct Placed {
    /// Where it is.
    pub file: Utf8PathBuf,
    /// Its size.
    pub bytes: usize,
    /// Its SHA-256, in hexadecimal.
    pub sum: String,
}

/// Puts the binary and the tar into a folder; the other files are those of the repository at `root`, and all of them are
/// of the time `time_s`.
///
/// # Errors
/// Where the binary is not static or does not print what is to be packed, or a file can't be read or written.
pub fn write(
    binary: &Utf8Path,
    root: &Utf8Path,
    folder: &Utf8Path,
    time_s: u64,
) -> anyhow::Result<[Placed; 2]> {
    let bytes = fs::read(binary).with_context(|| format!("{binary}: cannot be read"))?;
    elf::check_static(&bytes).map_err(|reason| {
        anyhow::anyhow!("{binary}: {reason}; is `+crt-static` still in .cargo/config.toml, or RUSTFLAGS set?")
    })?;
    fs::create_dir_all(folder).with_context(|| format!("{folder}: cannot be made"))?;
    // By this name the program knows itself.
    let folder = folder.canonicalize_utf8()?;
    let program = place(folder.join(PROGRAM), &bytes, true)?;
    let top = format!("{PROGRAM}-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let tar = pack::pack(&top, items(&program.file, bytes, root)?, time_s)?;
    Ok([program, place(folder.join(format!("{top}.tar.gz")), &tar, false)?])
}

/// Everything that goes into the tar.
fn items(binary: &Utf8Path, bytes: Vec<u8>, root: &Utf8Path) -> anyhow::Result<Vec<Item>> {
    let text = |path: String, bytes: Vec<u8>| Item { path, bytes, is_program: false };
    let mut items = vec![Item { path: PROGRAM.to_owned(), bytes, is_program: true }];
    for file in ["README.md", "LICENSE"] {
        let from = root.join(file);
        let bytes = fs::read(&from).with_context(|| format!("{from}: cannot be read"))?;
        items.push(text(file.to_owned(), bytes));
    }
    for (shell, name) in COMPLETIONS {
        let printed = printed(binary, &["completions", shell])?;
        items.push(text(format!("completions/{name}"), printed.into_bytes()));
    }
    for (unit, name) in UNITS {
        let mut printed =
            printed(binary, &["crontab", "--systemd", unit])?.replace(binary.as_str(), INSTALLED);
        if name.ends_with(".service") {
            printed = OF_THE_SYSTEM.iter().fold(printed, |unit, (section, more)| unit.replace(section, more));
        }
        ensure!(!printed.contains(root.as_str()), "{name} speaks of this checkout:\n{printed}");
        items.push(text(format!("systemd/{name}"), printed.into_bytes()));
    }
    Ok(items)
}

/// What the binary prints, whoever builds and wherever.
fn printed(binary: &Utf8Path, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(binary)
        .args(["--state-dir", STATE_DIR])
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .with_context(|| format!("{binary}: cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{PROGRAM} {}` failed: {}", words.join(" "), said.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// Puts a file into its place at once, or not at all.
fn place(file: Utf8PathBuf, bytes: &[u8], is_program: bool) -> anyhow::Result<Placed> {
    use std::os::unix::fs::PermissionsExt as _;
    let incoming = Utf8PathBuf::from(format!("{file}.incoming"));
    fs::write(&incoming, bytes).with_context(|| format!("{incoming}: cannot be written"))?;
    let mode = if is_program { 0o755 } else { 0o644 };
    fs::set_permissions(&incoming, fs::Permissions::from_mode(mode))?;
    fs::rename(&incoming, &file).with_context(|| format!("{file}: cannot be replaced"))?;
    Ok(Placed { file, bytes: bytes.len(), sum: pack::sum(bytes) })
}
