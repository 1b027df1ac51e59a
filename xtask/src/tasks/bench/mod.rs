//! `bench`: figures for the goals that the design was made for.
//!
//! Invariant: what is compared is measured in turn, on the same machine, in the same run; every sample is shown.

mod delay_line;
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

use super::{build_release, target_dir};

/// measure: without a name all that has to do with speed, one after the other; `bench transfer` against rsync,
/// fpsync, rclone and tar, `bench idle` for the start and passes with nothing to do, `bench ledger` for a huge
/// ledger against a small one, `bench sync` against what the database server alone needs, `bench resources` for
/// memory
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Bench {
    #[argh(subcommand)]
    what: Option<What>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum What {
    Transfer(transfer::Transfer),
    Idle(idle::Idle),
    Ledger(ledger::Ledger),
    Sync(sync::Sync),
    Resources(resources::Resources),
    DelayLine(delay_line::DelayLine),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            None => run_all(),
            Some(What::Transfer(transfer)) => transfer.run(),
            Some(What::Idle(idle)) => idle.run(),
            Some(What::Ledger(ledger)) => ledger.run(),
            Some(What::Sync(sync)) => sync.run(),
            Some(What::Resources(resources)) => resources.run(),
            Some(What::DelayLine(delay_line)) => delay_line.run(),
        }
    }
}

/// Everything that has to do with speed, as it is without options.
fn run_all() -> anyhow::Result<()> {
    usual::<idle::Idle>()?.run()?;
    usual::<ledger::Ledger>()?.run()?;
    usual::<transfer::Transfer>()?.run()
}

/// A part as it is when nothing is said about it.
fn usual<Part: FromArgs>() -> anyhow::Result<Part> {
    Part::from_args(&["bench"], &[]).map_err(|exit| anyhow::anyhow!(exit.output))
}

/// The program that is named, else the release build of it, made now.
fn program_or_build(program: Option<&Utf8Path>) -> anyhow::Result<Utf8PathBuf> {
    match program {
        Some(program) => program.canonicalize_utf8().with_context(|| format!("{program}: cannot be found")),
        None => build_release(),
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
