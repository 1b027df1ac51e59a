//! `dist`: the one file to copy to another machine, and a tar of it with all that goes with it.
//!
//! Invariant: the tar is the same, byte for byte, from the same commit and binary.

use anyhow::Context;
use argh::FromArgs;
use camino::Utf8PathBuf;
use xshell::cmd;
use xtask::dist::{self, Placed};

use super::{build_release, root, shell, target_dir};

/// build the release binary, check that it is static, and put it into target/dist, also as a tar with completions,
/// units, README, licence and sums
#[derive(Default, FromArgs)]
#[argh(subcommand, name = "dist")]
pub(crate) struct Dist {
    /// pack this binary instead of building one
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
    /// put both into this folder
    #[argh(option, arg_name = "DIR")]
    output: Option<Utf8PathBuf>,
}

impl Dist {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let binary = self.binary.clone().map_or_else(build_release, Ok)?;
        let folder = match &self.output {
            Some(folder) => folder.clone(),
            None => target_dir()?.join("dist"),
        };
        for Placed { file, bytes, sum } in dist::write(&binary, &root()?, &folder, commit_time()?)? {
            println!("{file}: {bytes} bytes ({:.1} MB)\nSHA-256 {sum}", bytes as f64 / 1e6);
        }
        Ok(())
    }
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
