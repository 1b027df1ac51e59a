//! `test` and `ci`: what decides whether a change lands.
//!
//! Invariant: the first step that fails ends the task; nothing is skipped.

use std::time::Instant;

use anyhow::Context;
use argh::FromArgs;
use xshell::cmd;
use xtask::setup::{self, Tool};

use super::{cargo, dist, shell};

/// install what is missing, then format, lints and every test
#[derive(FromArgs)]
#[argh(subcommand, name = "test")]
pub(crate) struct Test {}

/// the same as `test`, then `dist`
#[derive(FromArgs)]
#[argh(subcommand, name = "ci")]
pub(crate) struct Ci {}

impl Test {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (shell, cargo) = (shell()?, cargo());
        step("tools", || Ok(setup::ensure_tools(&Tool::ALL)?))?;
        step("rustfmt and clippy", || Ok(setup::ensure_rust_components()?))?;
        step("format", || {
            cmd!(shell, "{cargo} fmt --all --check")
                .run()
                .context("type `cargo fmt --all`, then look at the change")
        })?;
        step("lints", || Ok(cmd!(shell, "{cargo} clippy --workspace --all-targets -- -D warnings").run()?))?;
        step("tests", || Ok(cmd!(shell, "{cargo} test --workspace").run()?))
    }
}

impl Ci {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        Test {}.run()?;
        step("dist", || dist::Dist::default().run())
    }
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("--- {name}");
    let began = Instant::now();
    work().with_context(|| format!("step `{name}` failed"))?;
    println!("--- {name}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
