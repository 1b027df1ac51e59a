//! `bench transfer`: a whole pass against `rsync -a`, for many small files and for a few big ones.
//!
//! Invariant: the methods take turns, each copy goes into a folder that was never there before, everything
//! earlier is on the disk when the clock starts, and a copy counts only when it was found complete. Old copies
//! are removed only between rounds, because many new files just after a removal can be several times slower.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::{self, Made};
use xtask::setup::{self, Tool};
use xtask::sshd::{Sshd, SshdOptions};

use super::figures::{Sample, Spread, time};
use super::{check_room, place};
use crate::tasks::build_release;
use crate::tasks::program::{Minidvodb, Program, text};

/// time whole passes against rsync alone
#[derive(FromArgs)]
#[argh(subcommand, name = "transfer")]
pub(crate) struct Transfer {
    /// rounds that count, after one that does not (5)
    #[argh(option, default = "5")]
    runs: u32,
    /// files of the tree of small files (40000)
    #[argh(option, default = "40_000")]
    small_files: u64,
    /// bytes of the tree of small files (1100000000)
    #[argh(option, default = "1_100_000_000")]
    small_bytes: u64,
    /// bytes of the tree of 23 big files (2200000000)
    #[argh(option, default = "2_200_000_000")]
    big_bytes: u64,
}

const BIG_FILES: u64 = 23;
const HOST: &str = "ipp0222";
const GROUP: &str = "ThreePi";
const NAME: &str = "ThreePi.1";
/// Sources and copies together stay below this.
const DISK_BYTES: u64 = 20 << 30;
const GOAL_QUICK: f64 = 1.15;
const GOAL_DEFAULT: f64 = 1.05;

impl Transfer {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COPYING)?;
        ensure!(self.runs > 0, "--runs 0 measures nothing: give at least 1");
        let binary = build_release()?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-bench.").tempdir_in(place()?)?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        println!("everything is in {top}, which is removed at the end");
        self.check_room(top)?;
        let mut met = true;
        let mut lab = Lab::open(top, binary)?;
        let source = lab.source();
        let made = dvo::make_many_small_files(&source, self.small_files, self.small_bytes, 1)?;
        met &= self.measure(&mut lab, "small files", made)?;
        lab.clear(&source)?;
        let made = dvo::make_big_files(&source, BIG_FILES, self.big_bytes, 2)?;
        met &= self.measure(&mut lab, "big files", made)?;
        drop(lab);
        temp.close().context("the benchmark's folder cannot be removed")?;
        println!("\ngoals: {}", if met { "all met" } else { "not all met" });
        Ok(())
    }

    /// Room for one tree's source and one round, the least that this works with.
    fn check_room(&self, top: &Utf8Path) -> anyhow::Result<()> {
        let needed = self.small_bytes.max(self.big_bytes) * (METHODS.len() as u64 + 2);
        check_room(top, needed, "--small-bytes and --big-bytes")
    }

    /// Measures one tree, prints its table, and tells whether the goals are met.
    fn measure(&self, lab: &mut Lab, title: &str, made: Made) -> anyhow::Result<bool> {
        println!("\n{title}: {} files, {} bytes; seconds, methods in turn", made.files, made.bytes);
        let mut rounds = Vec::new();
        for round in 0..=self.runs {
            lab.make_room(made)?;
            let samples = lab.round()?;
            let warm_up = if round == 0 { "  (warm-up, not counted)" } else { "" };
            let walls: Vec<_> = samples.iter().map(|sample| format!("{:8.2}", sample.wall_s)).collect();
            println!("  round {round}: {}{warm_up}", walls.join(" "));
            if round > 0 {
                rounds.push(samples);
            }
        }
        Ok(report(&rounds))
    }
}

#[derive(Clone, Copy)]
enum Method {
    Rsync,
    RsyncThenCompare,
    Quick,
    Default,
    RsyncThenFlush,
}

const METHODS: [Method; 5] =
    [Method::Rsync, Method::RsyncThenCompare, Method::Quick, Method::Default, Method::RsyncThenFlush];

impl Method {
    fn title(self) -> &'static str {
        match self {
            Method::Rsync => "a  rsync -a",
            Method::RsyncThenCompare => "b  rsync -a; rsync -anc",
            Method::Quick => "c  minidvodbcopy, --verify quick",
            Method::Default => "d  minidvodbcopy, default",
            // What a copy costs that is on the disk, as a pass's is: no pass can be much faster.
            Method::RsyncThenFlush => "e  rsync -a; sync -f there",
        }
    }
}

/// What follows upon a bare rsync.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Comparison,
    Flush,
}

/// One sample of each method.
type Round = [Measured; METHODS.len()];

/// A sample, and the processor time at the other end.
#[derive(Clone, Copy, Default)]
struct Measured {
    wall_s: f64,
    here_cpu_s: f64,
    there_cpu_s: f64,
}

/// The private server, the source, and the copies so far.
struct Lab {
    top: Utf8PathBuf,
    sshd: Sshd,
    program: Program,
    copies: Vec<Utf8PathBuf>,
    copied: u32,
}

impl Lab {
    fn open(top: &Utf8Path, binary: Utf8PathBuf) -> anyhow::Result<Lab> {
        let sshd = Sshd::start(&top.join("sshd"), SshdOptions::known_as(&[HOST]))?;
        sshd.probe(HOST)?;
        let program = Program { binary, state_dir: top.join("state"), ssh_config: sshd.config_path() };
        Ok(Lab { top: top.to_owned(), sshd, program, copies: Vec::new(), copied: 0 })
    }

    fn source(&self) -> Utf8PathBuf {
        self.top.join("source").join(NAME)
    }

    fn round(&mut self) -> anyhow::Result<Round> {
        let mut round = Round::default();
        for (measured, method) in round.iter_mut().zip(METHODS) {
            let destination = self.fresh_destination()?;
            *measured = match method {
                Method::Rsync => self.rsync(&destination, After::Nothing)?,
                Method::RsyncThenCompare => self.rsync(&destination, After::Comparison)?,
                Method::RsyncThenFlush => self.rsync(&destination, After::Flush)?,
                Method::Quick => self.pass(&destination, &["--verify", "quick"])?,
                Method::Default => self.pass(&destination, &[])?,
            };
        }
        Ok(round)
    }

    fn fresh_destination(&mut self) -> anyhow::Result<Utf8PathBuf> {
        self.copied += 1;
        let destination = self.top.join(format!("there/{}", self.copied));
        fs::create_dir_all(&destination)?;
        self.copies.push(destination.clone());
        Ok(destination)
    }

    fn rsync(&self, destination: &Utf8Path, after: After) -> anyhow::Result<Measured> {
        let differences = self.top.join("differences");
        let mut commands = vec![self.rsync_command("-a", destination)];
        match after {
            After::Nothing => {}
            After::Comparison => {
                let mut comparison = self.rsync_command("-anci", destination);
                comparison.stdout(File::create(&differences)?);
                commands.push(comparison);
            }
            After::Flush => {
                let mut flush = Command::new("sync");
                flush.args(["-f", "--", destination.as_str()]);
                commands.push(flush);
            }
        }
        let measured = self.clock(&mut commands)?;
        if after == After::Comparison {
            let said = fs::read_to_string(&differences)?;
            ensure!(said.is_empty(), "rsync's copy at {destination} differs: {}", said.trim());
        }
        Ok(measured)
    }

    fn rsync_command(&self, options: &str, destination: &Utf8Path) -> Command {
        let mut command = Command::new("rsync");
        command
            .args([options, "-e", &format!("ssh -F '{}'", self.sshd.config_path()), "--"])
            .args([self.source().as_str(), &format!("{HOST}:{destination}/")])
            .stdin(Stdio::null());
        command
    }

    fn pass(&self, destination: &Utf8Path, options: &[&str]) -> anyhow::Result<Measured> {
        let place = self.top.join(format!("state/{}", self.copied));
        fs::create_dir_all(&place)?;
        let program = self.program.with_state_dir(place.join("ledger"));
        let minidvodb = Minidvodb { id: 1, group: GROUP, path: self.source() };
        program.import(&place.join("minidvodbs.csv"), &[minidvodb])?;
        program.quietly(&[&["target", "add", GROUP, HOST, destination.as_str()], options].concat())?;
        program.quietly(&["host", "add", HOST])?;
        let mut run = program.command(&["run"]);
        run.stdout(Stdio::null());
        let measured = self.clock(&mut [run])?;
        let copies = program.copies()?;
        let states: Vec<_> = copies.iter().map(|copy| text(copy, "state")).collect();
        ensure!(states == ["full"], "the pass ended, and the copies are {states:?} instead of one full one");
        Ok(measured)
    }

    /// Times the commands together, with nothing else left to write.
    fn clock(&self, commands: &mut [Command]) -> anyhow::Result<Measured> {
        rustix::fs::sync();
        let before_s = self.sshd.cpu_seconds()?;
        let mut total = Sample::default();
        for command in commands {
            let sample = time(command, 0)?;
            total.wall_s += sample.wall_s;
            total.cpu_s += sample.cpu_s;
        }
        ensure!(
            self.sshd.wait_until_idle(Duration::from_secs(10)),
            "a connection is still open after the copy"
        );
        let there_cpu_s = self.sshd.cpu_seconds()? - before_s;
        Ok(Measured { wall_s: total.wall_s, here_cpu_s: total.cpu_s, there_cpu_s })
    }

    /// Before a round that would not fit, removes the old copies and lets the file system settle with a copy
    /// that is not counted.
    fn make_room(&mut self, made: Made) -> anyhow::Result<()> {
        let kept = self.copies.len() as u64 + METHODS.len() as u64 + 1;
        if (kept + 1) * made.bytes <= DISK_BYTES || self.copies.is_empty() {
            return Ok(());
        }
        self.remove_copies()?;
        let destination = self.fresh_destination()?;
        self.rsync(&destination, After::Nothing).map(drop)
    }

    fn remove_copies(&mut self) -> anyhow::Result<()> {
        for copy in self.copies.drain(..) {
            fs::remove_dir_all(&copy).with_context(|| format!("{copy}: cannot be removed"))?;
        }
        rustix::fs::sync();
        Ok(())
    }

    fn clear(&mut self, source: &Utf8Path) -> anyhow::Result<()> {
        self.remove_copies()?;
        fs::remove_dir_all(source).with_context(|| format!("{source}: cannot be removed"))
    }
}

/// Prints the figures and the goals; true when the goals are met.
fn report(rounds: &[Round]) -> bool {
    println!("\n  {:<34} {:>8} {:>8} {:>8}   CPU here  CPU there", "", "min", "median", "max");
    for (index, method) in METHODS.into_iter().enumerate() {
        let of = |field: fn(&Measured) -> f64| Spread::of(rounds.iter().map(|round| field(&round[index])));
        let wall = of(|measured| measured.wall_s);
        let here = of(|measured| measured.here_cpu_s).median;
        let there = of(|measured| measured.there_cpu_s).median;
        println!(
            "  {:<34} {:8.2} {:8.2} {:8.2}   {here:8.2}   {there:8.2}",
            method.title(),
            wall.min,
            wall.median,
            wall.max
        );
    }
    let quick = goal("c/a", rounds, Method::Quick, Method::Rsync, GOAL_QUICK);
    let default = goal("d/b", rounds, Method::Default, Method::RsyncThenCompare, GOAL_DEFAULT);
    let Spread { min, median, max } = ratio(rounds, Method::Quick, Method::RsyncThenFlush);
    println!("  c/e {median:.2} (from {min:.2} to {max:.2})");
    quick && default
}

/// The ratio of two methods, taken round by round.
fn ratio(rounds: &[Round], ours: Method, theirs: Method) -> Spread {
    Spread::of(rounds.iter().map(|round| round[ours as usize].wall_s / round[theirs as usize].wall_s))
}

fn goal(name: &str, rounds: &[Round], ours: Method, theirs: Method, limit: f64) -> bool {
    let ratio = ratio(rounds, ours, theirs);
    let met = ratio.median <= limit;
    println!(
        "  {name} {:.2} (from {:.2} to {:.2}), goal {limit:.2}: {}",
        ratio.median,
        ratio.min,
        ratio.max,
        if met { "met" } else { "not met" }
    );
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_judged_by_the_median_of_the_ratios_of_each_round() {
        let round = |a: f64, c: f64| {
            let mut round = Round::default();
            round[Method::Rsync as usize].wall_s = a;
            round[Method::Quick as usize].wall_s = c;
            round
        };
        let rounds = [round(1.0, 1.1), round(2.0, 2.2), round(10.0, 100.0)];
        assert!(goal("c/a", &rounds, Method::Quick, Method::Rsync, 1.15));
        assert!(!goal("c/a", &rounds, Method::Quick, Method::Rsync, 1.05));
    }

    #[test]
    fn the_methods_stand_at_their_own_numbers() {
        for (index, method) in METHODS.into_iter().enumerate() {
            assert_eq!(method as usize, index);
        }
    }
}
