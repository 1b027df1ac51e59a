//! Passes that are killed at chosen and at random moments, again and again, and an independent reckoning after
//! each round: is everything there, once, whole, and nothing else?
//!
//! Invariant: a round is made by its number alone, so that one that failed can be repeated (but for the exact
//! moment of each kill, which the machine has a say in); what is checked is checked without the program's own
//! code. Everything happens below one temporary folder, against a private sshd.

mod ledger;
mod round;
mod strike;
mod witness;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::sshd::{Sshd, SshdOptions};
use round::Round;

/// The name that the private sshd answers to.
const ALIAS: &str = "ipp0222";

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Torture {
    /// The program.
    pub binary: Utf8PathBuf,
    /// The number of the first round.
    pub seed: u64,
    /// How many rounds.
    pub rounds: u64,
    /// How many at once.
    pub workers: u64,
}

/// What was survived.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Rounds.
    pub rounds: u64,
    /// Strikes by what the pass was doing.
    pub strikes: BTreeMap<&'static str, u64>,
    /// Strikes by what was killed.
    pub victims: BTreeMap<String, u64>,
    /// Passes that ended before they could be struck.
    pub missed: u64,
    /// Copies that were sent again.
    pub recopies: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.missed += other.missed;
        self.recopies += other.recopies;
        for (place, count) in other.strikes {
            *self.strikes.entry(place).or_default() += count;
        }
        for (victim, count) in other.victims {
            *self.victims.entry(victim).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.strikes.values().sum();
        writeln!(
            f,
            "{} rounds survived, {} recopies, {all} kills (of {} passes that ended first):",
            self.rounds, self.recopies, self.missed
        )?;
        for (place, count) in &self.strikes {
            writeln!(f, "  {count:>5}  {place}")?;
        }
        writeln!(f, "what was killed:")?;
        for (victim, count) in &self.victims {
            writeln!(f, "  {count:>5}  {victim}")?;
        }
        Ok(())
    }
}

impl Torture {
    /// All rounds; `told` hears of each that is over.
    ///
    /// # Errors
    /// The first round that failed, with how to repeat it.
    pub fn run(&self, told: &(dyn Fn(u64) + Sync)) -> anyhow::Result<Tally> {
        let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let results = Mutex::new((Tally::default(), None));
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| {
                    let worked = self.work(&next, &is_over, told);
                    is_over.fetch_or(worked.1.is_some(), Ordering::Relaxed);
                    if let Ok(mut results) = results.lock() {
                        results.0.add(worked.0);
                        results.1 = results.1.take().or(worked.1);
                    }
                });
            }
        });
        let (tally, failed) = results.into_inner().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        match failed {
            Some(error) => Err(error),
            None => Ok(tally),
        }
    }

    fn work(
        &self,
        next: &AtomicU64,
        is_over: &AtomicBool,
        told: &(dyn Fn(u64) + Sync),
    ) -> (Tally, Option<anyhow::Error>) {
        let mut tally = Tally::default();
        let mut work = || -> anyhow::Result<()> {
            let folder = tempfile::Builder::new().prefix("minidvodbcopy-torture.").tempdir()?;
            let folder = Utf8Path::from_path(folder.path())
                .context("the temporary folder is not UTF-8")?
                .canonicalize_utf8()?;
            let path = slow_tools(&folder.join("tools"))?;
            let options = SshdOptions::known_as(&[ALIAS]).server_line(&format!("SetEnv \"PATH={path}\""));
            let sshd = Sshd::start(&folder, options)?;
            while !is_over.load(Ordering::Relaxed) {
                let round = next.fetch_add(1, Ordering::Relaxed);
                if round >= self.rounds {
                    break;
                }
                let number = self.seed + round;
                tally.add(self.round(&folder, &sshd, &path, number).with_context(|| {
                    format!("round {number} (again with `cargo xtask torture --rounds 1 --seed {number}`)")
                })?);
                told(number);
            }
            Ok(())
        };
        let result = work().err();
        (tally, result)
    }

    fn round(&self, folder: &Utf8Path, sshd: &Sshd, path: &str, number: u64) -> anyhow::Result<Tally> {
        let top = folder.join(format!("round-{number}"));
        std::fs::create_dir(&top)?;
        // Every third one is on this machine, without ssh.
        let sshd = (!number.is_multiple_of(3)).then_some(sshd);
        let tally = Round::new(&self.binary, &top, sshd, path, number).run()?;
        std::fs::remove_dir_all(&top)?;
        Ok(tally)
    }
}

/// The real sync and mv, which take a moment before they begin, so that there is a moment to strike in; a PATH
/// that leads to them first.
fn slow_tools(folder: &Utf8Path) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder)?;
    let path = std::env::var("PATH").context("PATH is not set")?;
    for (tool, seconds) in [("sync", "0.3"), ("mv", "0.03")] {
        let real = path
            .split(':')
            .map(|place| Utf8Path::new(place).join(tool))
            .find(|file| file.is_file())
            .with_context(|| format!("{tool} is not in PATH"))?;
        let file = folder.join(tool);
        std::fs::write(&file, format!("#!/bin/sh\nsleep {seconds}\nexec '{real}' \"$@\"\n"))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(format!("{folder}:{path}"))
}
