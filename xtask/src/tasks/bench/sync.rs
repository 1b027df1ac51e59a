//! `bench sync`: keeping a ledger and the IPP database in step, against what the server alone needs for it.
//!
//! Invariant: both sides of a comparison take turns on one server with the same rows, and a figure counts only
//! when its command did what it was timed for.

mod goals;
mod lab;
mod tables;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use xtask::setup::{self, Tool};

use super::figures::mebibytes;
use super::{check_room, place, program_or_build};
use crate::tasks::program::Program;
use goals::{Comparison, Goal, Memory};
use lab::{Lab, Taken};
use tables::{CHANGED, GROUPS, HOST, Size};

/// time syncs and queueing against the database server alone
#[derive(FromArgs)]
#[argh(subcommand, name = "sync")]
pub(crate) struct Sync {
    /// rows of each of the three tables (1000000)
    #[argh(option, default = "1_000_000")]
    rows: u64,
    /// rounds of each comparison (3)
    #[argh(option, default = "3")]
    runs: u32,
    /// the program; else the release build of it is made
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

/// Tables, logs and ledgers together stay below this for each row.
const DISK_BYTES_A_ROW: u64 = 6_000;
const MEMORY_BYTES_A_ROW: u64 = 1_000;
/// Syncs of sides in step are short, and the server's scan in each differs from the next one's by more than what is
/// looked for: of these so many are made for each round of the others.
const SYNCS_IN_STEP: u32 = 5;

impl Sync {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COMPARING)?;
        ensure!(self.runs > 0, "--runs 0 measures nothing: give at least 1");
        let size = Size::new(self.rows)?;
        let binary = program_or_build(self.binary.as_deref())?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-bench.").tempdir_in(place()?)?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        println!("everything is in {top}, which is removed at the end");
        check_room(top, size.rows * DISK_BYTES_A_ROW + (1 << 30), "--rows")?;
        let lab = Lab::open(top, binary, size)?;
        println!("three tables of {} rows, in {GROUPS} groups of {}", size.rows, size.of_group());
        let bench = Bench { lab, size, runs: self.runs };
        let comparisons = bench.compare()?;
        drop(bench);
        let met = goals::judge(&comparisons, size.rows);
        println!(
            "  (a peak of up to {:.1} MiB may be this benchmark's own, not the program's)",
            mebibytes(own_peak_bytes()?)
        );
        temp.close().context("the benchmark's folder cannot be removed")?;
        println!("\ngoals: {}", if met { "all met" } else { "not all met" });
        Ok(())
    }
}

struct Bench {
    lab: Lab,
    size: Size,
    runs: u32,
}

impl Bench {
    fn compare(&self) -> anyhow::Result<Vec<Comparison>> {
        let (queueing, queued) = self.queueing()?;
        let push = self.push(&queued)?;
        self.lab.forget(&queued)?;
        let (pull, pulled) = self.pull()?;
        let [still, changed, after] = self.in_step(&pulled)?;
        self.find_changes_by_hand(&pulled)?;
        Ok(vec![pull, push, still, changed, after, queueing])
    }

    /// One group is queued in a ledger whose other groups are, and on the server the predecessor asks which ones
    /// it would queue. Also returns the ledger in which everything is queued.
    fn queueing(&self) -> anyhow::Result<(Comparison, Program)> {
        let (lab, last) = (&self.lab, tables::group(GROUPS));
        let before = self.all_but_one_group_queued()?;
        lab.fill_copies(GROUPS - 1)?;
        let mut rounds = Vec::new();
        let mut queued = None;
        for _ in 0..self.runs {
            let ledger = lab.copy_of(&before)?;
            let (ours, said) = lab.time(ledger.command(&["run", "--group", &last, "--json"]))?;
            self.check_queued(&said, self.size.of_group())?;
            let (theirs, said) = lab.time(lab.client(&tables::uncopied(&last))?)?;
            let found = said.lines().count() as u64;
            ensure!(
                found == self.size.of_group(),
                "the predecessor's query finds {found} minidvodbs of {last}"
            );
            rounds.push((ours, theirs));
            if let Some(older) = queued.replace(ledger) {
                lab.forget(&older)?;
            }
        }
        lab.forget(&before)?;
        let comparison = Comparison {
            title: "queueing a group",
            yardstick: "the predecessor's query for it",
            goal: Goal::Faster,
            memory: None,
            rounds,
        };
        comparison.show_rounds();
        Ok((comparison, queued.context("no round was run")?))
    }

    /// A ledger that has pulled all minidvodbs, and queued those of all groups but the last one.
    fn all_but_one_group_queued(&self) -> anyhow::Result<Program> {
        let (lab, last) = (&self.lab, tables::group(GROUPS));
        let ledger = lab.ledger()?;
        lab.play(&ledger, &["sync"])?;
        lab.play(&ledger, &["database", "del"])?;
        lab.play(&ledger, &["stage", "off", "load", "run"])?;
        lab.play(&ledger, &["host", "add", HOST])?;
        lab.play(&ledger, &["target", "del", HOST, &last])?;
        let said = lab.play(&ledger, &["run", "--json"])?;
        self.check_queued(&said, self.size.rows - self.size.of_group())?;
        lab.play(&ledger, &["target", "add", &last, HOST, &tables::destination(GROUPS)])?;
        Ok(ledger)
    }

    fn check_queued(&self, said: &str, expected: u64) -> anyhow::Result<()> {
        let pass: Value = serde_json::from_str(said).context("`run --json` printed no JSON")?;
        let queued = pass.get("queued").and_then(Value::as_u64);
        ensure!(queued == Some(expected), "the pass queued {queued:?} copies, not {expected}");
        Ok(())
    }

    /// All copies of a ledger go into an empty table; then the same rows go there from a file.
    fn push(&self, queued: &Program) -> anyhow::Result<Comparison> {
        let (lab, file) = (&self.lab, self.lab.rows_file());
        lab.set_database(queued)?;
        let mut rounds = Vec::new();
        for round in 0..self.runs {
            let ledger = lab.copy_of(queued)?;
            lab.empty_copies()?;
            let ours = self.sync(&ledger, &format!("{} went", self.size.rows))?;
            lab.forget(&ledger)?;
            let sum = lab.sql(&tables::sum_of_copies())?;
            if round == 0 {
                lab.sql(&tables::write_copies(file.as_str()))?;
            }
            lab.empty_copies()?;
            let (theirs, _) = lab.time(lab.client(&tables::load_copies(file.as_str()))?)?;
            let loaded = lab.sql(&tables::sum_of_copies())?;
            ensure!(sum == loaded, "pushed {sum:?}, loaded {loaded:?} (rows and their sum)");
            rounds.push((ours, theirs));
        }
        let comparison = Comparison {
            title: "push of all copies",
            yardstick: "LOAD DATA LOCAL INFILE",
            goal: Goal::AtMostTimes(2.0),
            memory: Some(Memory::BelowBytesARow(MEMORY_BYTES_A_ROW)),
            rounds,
        };
        comparison.show_rounds();
        Ok(comparison)
    }

    /// Everything comes into an empty ledger. Also returns that ledger.
    fn pull(&self) -> anyhow::Result<(Comparison, Program)> {
        let lab = &self.lab;
        lab.fill_copies(GROUPS)?;
        let mut rounds = Vec::new();
        let mut pulled = None;
        for _ in 0..self.runs {
            let ledger = lab.ledger()?;
            let rows = self.size.rows;
            let ours = self.sync(&ledger, &format!("{rows} minidvodbs and {rows} copies came"))?;
            let (theirs, _) = lab.time(lab.dump()?)?;
            rounds.push((ours, theirs));
            if let Some(older) = pulled.replace(ledger) {
                lab.forget(&older)?;
            }
        }
        let comparison = Comparison {
            title: "first pull of everything",
            yardstick: "mariadb-dump",
            goal: Goal::AtMostTimes(2.0),
            memory: Some(Memory::BelowBytesARow(MEMORY_BYTES_A_ROW)),
            rounds,
        };
        comparison.show_rounds();
        Ok((comparison, pulled.context("no round was run")?))
    }

    /// A sync with nothing to do against a scan on the server; one with some rows changed, and the one behind that,
    /// against the one with nothing to do.
    fn in_step(&self, ledger: &Program) -> anyhow::Result<[Comparison; 3]> {
        let lab = &self.lab;
        self.sync(ledger, "")?;
        let (mut still, mut changed, mut after) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs * SYNCS_IN_STEP {
            let (scan, _) = lab.time(lab.client(&tables::scan())?)?;
            let nothing = self.sync(ledger, "")?;
            lab.sql(&tables::change_some(self.size))?;
            let some = self.sync(ledger, &format!("{CHANGED} changed here"))?;
            let behind = self.sync(ledger, "")?;
            still.push((nothing, scan));
            changed.push((some, nothing));
            after.push((behind, nothing));
        }
        let of = |title, yardstick, goal, rounds| {
            let comparison = Comparison { title, yardstick, goal, memory: Some(Memory::Shown), rounds };
            comparison.show_rounds();
            comparison
        };
        let nothing = "a sync with nothing to do";
        Ok([
            of(nothing, "a scan of the tables on the server", Goal::AtMostTimes(1.5), still),
            of("a sync with 100 changed rows", nothing, Goal::AtMostMoreMs(200.0), changed),
            of("the sync behind that one", nothing, Goal::Shown, after),
        ])
    }

    /// A row deleted, and a row edited without its epoch: the sync that was timed finds both.
    fn find_changes_by_hand(&self, ledger: &Program) -> anyhow::Result<()> {
        const PATH: &str = "/data/ipp022.1/by.hand";
        let (lab, deleted, edited) = (&self.lab, 1, self.size.of_group());
        lab.sql(&tables::change_by_hand(deleted, edited, PATH))?;
        let said = lab.play(ledger, &["sync"])?;
        ensure!(said.contains("1 changed here") && said.contains("1 gone there"), "the sync said {said:?}");
        let said = lab.play(ledger, &["list", "--group", &tables::group(1), "--format", "csv"])?;
        let row_of = |id: u64| {
            let id = id.to_string();
            said.lines().find(|line| line.split(',').nth(1) == Some(id.as_str()))
        };
        ensure!(row_of(deleted).is_none(), "the copy whose row was deleted is still there");
        let row = row_of(edited).context("the copy whose row was edited is gone")?;
        ensure!(row.contains(PATH), "the copy whose row was edited is {row:?}");
        let copies = said.lines().count() as u64 - 1;
        ensure!(copies == self.size.of_group() - 1, "the first group has {copies} copies");
        self.sync(ledger, "")?;
        println!("\na row deleted by hand and a row edited without its epoch were found");
        Ok(())
    }

    /// Times a sync, which must say this much; nothing at all where `expected` is empty.
    fn sync(&self, ledger: &Program, expected: &str) -> anyhow::Result<Taken> {
        let (taken, said) = self.lab.time(ledger.command(&["sync"]))?;
        let is_expected = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
        ensure!(is_expected, "the sync said {said:?}, expected {expected:?}");
        Ok(taken)
    }
}

/// The most memory that this process had, which counts as that of the commands that it starts.
fn own_peak_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
