//! `bench`: figures for the goals that the design was made for.
//!
//! Invariant: what is compared is measured in turn, on the same machine, in the same run; every sample is shown.

mod figures;
mod idle;
mod ledger;
mod resources;
mod sync;
mod transfer;

use std::fs;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};

use super::target_dir;

/// measure: `bench transfer` against rsync alone, `bench idle` for passes with nothing to do, `bench sync`
/// against what the database server alone needs, `bench resources` for memory, `bench ledger` for a huge ledger
/// against a small one
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Bench {
    #[argh(subcommand)]
    what: What,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum What {
    Transfer(transfer::Transfer),
    Idle(idle::Idle),
    Ledger(ledger::Ledger),
    Sync(sync::Sync),
    Resources(resources::Resources),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            What::Transfer(transfer) => transfer.run(),
            What::Idle(idle) => idle.run(),
            What::Ledger(ledger) => ledger.run(),
            What::Sync(sync) => sync.run(),
            What::Resources(resources) => resources.run(),
        }
    }
}

/// TMPDIR where it is set, else the target folder: /tmp may be small, or not a disk at all.
fn place() -> anyhow::Result<Utf8PathBuf> {
    let place = std::env::var("TMPDIR").map_or_else(|_| target_dir(), |dir| Ok(Utf8PathBuf::from(dir)))?;
    fs::create_dir_all(&place).with_context(|| format!("{place}: cannot be made"))?;
    Ok(place)
}

/// Refuses a disk without room for this much, naming the options that ask for less.
fn check_room(top: &Utf8Path, needed_bytes: u64, options: &str) -> anyhow::Result<()> {
    let there = rustix::fs::statvfs(top.as_std_path())?;
    let free_bytes = there.f_bavail * there.f_frsize;
    ensure!(
        free_bytes > needed_bytes,
        "{top}: {free_bytes} bytes are free and {needed_bytes} are needed: set TMPDIR to a larger disk, or give \
         smaller {options}"
    );
    Ok(())
}
