//! The tasks, a file each, and what they share: where the repository is, how cargo is started, the binary.
//!
//! Invariant: a task builds and reads this repository, and writes only to its target folder and to temporary
//! folders that it removes.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod dist;
pub(crate) mod fuzz;
mod program;
pub(crate) mod test;
pub(crate) mod test_report;
pub(crate) mod torture;

use std::env;

use anyhow::Context;
use camino::Utf8PathBuf;
use xshell::{Shell, cmd};

/// The target that `.cargo/config.toml` names, which puts its output into a folder of its own.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A shell at the top of the repository.
fn shell() -> anyhow::Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(root()?);
    Ok(shell)
}

/// The top of the repository, as cargo tells it to the programs that it starts.
fn root() -> anyhow::Result<Utf8PathBuf> {
    let manifest = env::var("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: start this as `cargo xtask TASK`")?;
    let manifest = Utf8PathBuf::from(manifest);
    manifest.parent().map(Into::into).with_context(|| format!("{manifest} has no folder above it"))
}

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn target_dir() -> anyhow::Result<Utf8PathBuf> {
    let root = root()?;
    Ok(env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), |dir| root.join(dir)))
}

/// Builds the release binary and returns its path.
fn build_release() -> anyhow::Result<Utf8PathBuf> {
    let (shell, cargo) = (shell()?, cargo());
    cmd!(shell, "{cargo} build --release --package minidvodbcopy --bin minidvodbcopy").run()?;
    let binary = target_dir()?.join(TARGET).join("release/minidvodbcopy");
    anyhow::ensure!(binary.is_file(), "{binary}: not there after the build; is CARGO_TARGET_DIR right?");
    Ok(binary)
}
