//! `dist`: the one file to copy to another machine.
//!
//! Invariant: `target/dist/minidvodbcopy` is replaced only by a binary that was found to be static.

use std::fs;

use anyhow::Context;
use argh::FromArgs;
use camino::Utf8Path;
use xshell::cmd;
use xtask::elf;

use super::{build_release, shell, target_dir};

/// build the release binary, check that it is static, and put it into target/dist
#[derive(FromArgs)]
#[argh(subcommand, name = "dist")]
pub(crate) struct Dist {}

impl Dist {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let built = build_release()?;
        check_static(&built)?;
        let folder = target_dir()?.join("dist");
        fs::create_dir_all(&folder).with_context(|| format!("{folder}: cannot be made"))?;
        let placed = folder.join("minidvodbcopy");
        let incoming = folder.join(".minidvodbcopy.incoming");
        fs::copy(&built, &incoming).with_context(|| format!("{incoming}: cannot be written"))?;
        fs::rename(&incoming, &placed).with_context(|| format!("{placed}: cannot be replaced"))?;
        describe(&placed)
    }
}

fn check_static(binary: &Utf8Path) -> anyhow::Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("{binary}: cannot be read"))?;
    elf::check_static(&bytes).map_err(|reason| {
        anyhow::anyhow!("{binary}: {reason}; is `+crt-static` still in .cargo/config.toml, or RUSTFLAGS set?")
    })
}

fn describe(binary: &Utf8Path) -> anyhow::Result<()> {
    let bytes = fs::metadata(binary)?.len();
    println!("{binary}: static, {bytes} bytes ({:.1} MB)", bytes as f64 / 1e6);
    // The sum is a service: a machine without sha256sum can still build.
    let shell = shell()?;
    match cmd!(shell, "sha256sum -- {binary}").quiet().ignore_stderr().read() {
        Ok(line) => println!("SHA-256 {}", line.split(' ').next().unwrap_or_default()),
        Err(_) => println!("SHA-256 not known: there is no sha256sum here"),
    }
    Ok(())
}
