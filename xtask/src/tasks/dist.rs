//! `dist`: the one file to copy to another machine, and a tar of it with all that goes with it.
//!
//! Invariant: `target/dist/minidvodbcopy` is replaced only by a binary that was found to be static; the tar is the
//! same, byte for byte, from the same commit and binary.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::cmd;
use xtask::elf;
use xtask::pack::{self, Item};

use super::{build_release, root, shell, target_dir};

/// build the release binary, check that it is static, and put it into target/dist, also as a tar with completions,
/// units, README, licence and sums
#[derive(Default, FromArgs)]
#[argh(subcommand, name = "dist")]
pub(crate) struct Dist {
    /// pack this binary instead of building one
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

/// Where the units of the tar look for the binary and the state folder; `minidvodbcopy crontab --systemd` prints
/// them for any other place.
const INSTALLED: &str = "/usr/local/bin/minidvodbcopy";
const STATE_DIR: &str = "/var/lib/minidvodbcopy";

const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "minidvodbcopy.bash"), ("zsh", "_minidvodbcopy"), ("fish", "minidvodbcopy.fish")];
const UNITS: [(&str, &str); 4] = [
    ("service", "minidvodbcopy.service"),
    ("timer", "minidvodbcopy.timer"),
    ("audit-service", "minidvodbcopy-audit.service"),
    ("audit-timer", "minidvodbcopy-audit.timer"),
];

impl Dist {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let built = match &self.binary {
            Some(binary) => binary.clone(),
            None => build_release()?,
        };
        check_static(&built)?;
        let folder = target_dir()?.join("dist");
        fs::create_dir_all(&folder).with_context(|| format!("{folder}: cannot be made"))?;
        let placed = folder.join("minidvodbcopy");
        let bytes = fs::read(&built).with_context(|| format!("{built}: cannot be read"))?;
        place(&placed, &bytes, true)?;
        println!("{placed}: static, {} bytes ({:.1} MB)", bytes.len(), bytes.len() as f64 / 1e6);
        println!("SHA-256 {}", pack::sum(&bytes));
        let top = format!("minidvodbcopy-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
        let tar = pack::pack(&top, items(&placed, bytes)?, commit_time()?)?;
        let placed = folder.join(format!("{top}.tar.gz"));
        place(&placed, &tar, false)?;
        println!("{placed}: {} bytes\nSHA-256 {}", tar.len(), pack::sum(&tar));
        Ok(())
    }
}

/// Everything that goes into the tar.
fn items(binary: &Utf8Path, bytes: Vec<u8>) -> anyhow::Result<Vec<Item>> {
    let text = |path: String, bytes: Vec<u8>| Item { path, bytes, is_program: false };
    let mut items = vec![Item { path: "minidvodbcopy".to_owned(), bytes, is_program: true }];
    for file in ["README.md", "LICENSE"] {
        let from = root()?.join(file);
        items
            .push(text(file.to_owned(), fs::read(&from).with_context(|| format!("{from}: cannot be read"))?));
    }
    for (shell, name) in COMPLETIONS {
        items.push(text(
            format!("completions/{name}"),
            printed(binary, &["completions", shell])?.into_bytes(),
        ));
    }
    for (unit, name) in UNITS {
        let words = ["--state-dir", STATE_DIR, "crontab", "--systemd", unit];
        let printed = printed(binary, &words)?.replace(binary.as_str(), INSTALLED);
        ensure!(!printed.contains(root()?.as_str()), "{name} speaks of this checkout:\n{printed}");
        items.push(text(format!("systemd/{name}"), printed.into_bytes()));
    }
    Ok(items)
}

/// What the binary prints, whoever builds and wherever.
fn printed(binary: &Utf8Path, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(binary)
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .with_context(|| format!("{binary}: cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`minidvodbcopy {}` failed: {}", words.join(" "), said.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// When the commit was made that is checked out: a tar of it is always of that time.
fn commit_time() -> anyhow::Result<u64> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return time.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let shell = shell()?;
    match cmd!(shell, "git log -1 --format=%ct").quiet().ignore_stderr().read() {
        Ok(time) => time.trim().parse().context("git names no time"),
        // An unpacked archive of the source has no history.
        Err(_) => Ok(0),
    }
}

/// Puts a file into its place at once, or not at all.
fn place(placed: &Utf8Path, bytes: &[u8], is_program: bool) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let incoming = Utf8PathBuf::from(format!("{placed}.incoming"));
    fs::write(&incoming, bytes).with_context(|| format!("{incoming}: cannot be written"))?;
    let mode = if is_program { 0o755 } else { 0o644 };
    fs::set_permissions(&incoming, fs::Permissions::from_mode(mode))?;
    fs::rename(&incoming, placed).with_context(|| format!("{placed}: cannot be replaced"))
}

fn check_static(binary: &Utf8Path) -> anyhow::Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("{binary}: cannot be read"))?;
    elf::check_static(&bytes).map_err(|reason| {
        anyhow::anyhow!("{binary}: {reason}; is `+crt-static` still in .cargo/config.toml, or RUSTFLAGS set?")
    })
}
