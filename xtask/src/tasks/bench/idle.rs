//! `bench idle`: what it costs to start, and what a pass costs that finds nothing to do in a large ledger.
//!
//! Invariant: every pass that is timed ends with exit code 0 and changes no copy.

use std::fs;
use std::io::{BufWriter, Write};
use std::process::Stdio;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use xtask::setup::{self, Tool};

use super::figures::{Sample, Spread, mebibytes, met, time};
use super::program_or_build;
use crate::tasks::program::Program;

/// time the start, and passes that have nothing to do
#[derive(FromArgs)]
#[argh(subcommand, name = "idle")]
pub(crate) struct Idle {
    /// copies in the ledger (100000)
    #[argh(option, default = "100_000")]
    copies: u64,
    /// of these, copies that wait for a person, in a ledger of their own (2000)
    #[argh(option, default = "2_000")]
    faulted: u64,
    /// starts and passes that are timed in each situation (20)
    #[argh(option, default = "20")]
    runs: u32,
    /// the program; else the release build of it is made
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

pub(super) const GROUP: &str = "Idle";
pub(super) const HOST: &str = "localhost";
const SOURCE_MISSING: i64 = 201;
/// What the start and a pass with nothing to do may take, by the median.
const GOAL_START_MS: f64 = 2.0;
const GOAL_PASS_MS: f64 = 10.0;

impl Idle {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COPYING)?;
        ensure!(self.runs > 0, "--runs 0 measures nothing: give at least 1");
        let binary = program_or_build(self.binary.as_deref())?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-bench.").tempdir()?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        let program = prepare(&top.join("resting"), binary.clone(), self.copies)?;
        println!(
            "\n  {:<52} {:>10} {:>10} {:>10}",
            "passes with nothing to do", "median ms", "max ms", "peak MiB"
        );
        self.measure("`--version`", GOAL_START_MS, || {
            time(program.command(&["--version"]).stdout(Stdio::null()), 0)
        })?;
        queue_all(&program, self.copies)?;
        self.measure_passes(&program, &format!("{} copies queued, load and run switched off", self.copies))?;
        rest_all(&program, top)?;
        self.measure_passes(&program, &format!("{} copies at rest, all switched on", self.copies))?;
        println!("  the ledger has {:.1} MiB", mebibytes(ledger_bytes(&program.state_dir)?));
        let program = prepare(&top.join("faulted"), binary, self.faulted)?;
        let prepared = fault_all(&program, self.faulted)?;
        self.measure_passes(
            &program,
            &format!("{} copies wait for a person, all switched on", self.faulted),
        )?;
        println!(
            "  the pass that gave {} copies their fault took {:.1} s and at most {:.1} MiB",
            self.faulted,
            prepared.wall_s,
            mebibytes(prepared.peak_bytes)
        );
        Ok(temp.close()?)
    }

    fn measure_passes(&self, program: &Program, situation: &str) -> anyhow::Result<()> {
        self.measure(situation, GOAL_PASS_MS, || pass(program, 0))
    }

    fn measure(
        &self,
        situation: &str,
        goal_ms: f64,
        once: impl Fn() -> anyhow::Result<Sample>,
    ) -> anyhow::Result<()> {
        once()?;
        let samples = (0..self.runs).map(|_| once()).collect::<anyhow::Result<Vec<_>>>()?;
        let wall = Spread::of(samples.iter().map(|sample| sample.wall_s * 1e3));
        let peak = samples.iter().map(|sample| sample.peak_bytes).max().unwrap_or_default();
        let met = met(wall.median <= goal_ms);
        println!(
            "  {situation:<52} {:10.1} {:10.1} {:10.1}   goal {goal_ms} ms: {met}",
            wall.median,
            wall.max,
            mebibytes(peak)
        );
        Ok(())
    }
}

/// A ledger that knows this many minidvodbs, none of which is there, and one target on this machine.
pub(super) fn prepare(top: &Utf8Path, binary: Utf8PathBuf, count: u64) -> anyhow::Result<Program> {
    let destination = top.join("there");
    fs::create_dir_all(&destination)?;
    let ssh_config = top.join("ssh_config");
    fs::write(&ssh_config, "Host *\n    ProxyCommand false\n")?;
    let program = Program { binary, state_dir: top.join("state"), ssh_config };
    let list = top.join("minidvodbs.csv");
    let mut lines = BufWriter::new(fs::File::create(&list)?);
    writeln!(lines, "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state")?;
    for id in 1..=count {
        writeln!(lines, "{id},{GROUP}.{id},{GROUP},{top}/here/{GROUP}.{id},merged")?;
    }
    lines.into_inner()?;
    program.quietly(&["minidvodb", "import", list.as_str()])?;
    program.quietly(&["target", "add", GROUP, HOST, destination.as_str()])?;
    program.quietly(&["host", "add", HOST])?;
    Ok(program)
}

pub(super) fn queue_all(program: &Program, count: u64) -> anyhow::Result<()> {
    program.quietly(&["stage", "off", "load"])?;
    program.quietly(&["stage", "off", "run"])?;
    pass(program, 0)?;
    let queued = program.count_copies("new", 0)?;
    ensure!(queued == count, "{queued} copies are queued, not {count}");
    Ok(())
}

/// Takes the copies' target away and gives the host another one, so that with all stages on a pass finds as
/// many copies that need nothing as there are.
fn rest_all(program: &Program, top: &Utf8Path) -> anyhow::Result<()> {
    program.quietly(&["target", "del", HOST, GROUP])?;
    program.quietly(&["target", "add", "Other", HOST, top.join("resting/there").as_str()])?;
    program.quietly(&["stage", "on"])
}

/// Lets a pass try every copy; their sources are missing, and that waits for a person.
pub(super) fn fault_all(program: &Program, count: u64) -> anyhow::Result<Sample> {
    program.quietly(&["stage", "on"])?;
    let sample = pass(program, 1)?;
    let faulted = program.count_copies("new", SOURCE_MISSING)?;
    ensure!(faulted == count, "{faulted} copies show fault {SOURCE_MISSING}, not {count}");
    Ok(sample)
}

/// One pass, as cron would run it, without what it says.
pub(super) fn pass(program: &Program, code: i32) -> anyhow::Result<Sample> {
    time(program.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()), code)
}

pub(super) fn ledger_bytes(state_dir: &Utf8Path) -> anyhow::Result<u64> {
    let ledger = state_dir.join("ledger.redb");
    Ok(fs::metadata(&ledger).with_context(|| format!("{ledger}: cannot be read"))?.len())
}
