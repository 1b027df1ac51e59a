//! `bench ledger`: what commands take with a huge ledger against the same with a small one, and how its file grows.
//!
//! Invariant: both ledgers are made by the program itself, have the same hosts, groups, targets and as many copies
//! that wait for a person, and are measured in turn; every command ends with the exit code that it should.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use xtask::setup::{self, Tool};

use super::figures::{Sample, Spread, mebibytes, met, time};
use super::idle::{self, ledger_bytes};
use super::{check_room, place, program_or_build};
use crate::tasks::program::Program;

/// compare commands with a huge ledger and with a small one, and let its file grow for a year
#[derive(FromArgs)]
#[argh(subcommand, name = "ledger")]
pub(crate) struct Ledger {
    /// copies in the small ledger (1000)
    #[argh(option, default = "1_000")]
    small: u64,
    /// copies in the huge one (1000000)
    #[argh(option, default = "1_000_000")]
    large: u64,
    /// hosts (20)
    #[argh(option, default = "20")]
    hosts: u64,
    /// groups, each of which goes to every host (50)
    #[argh(option, default = "50")]
    groups: u64,
    /// copies of each ledger that wait for a person (100)
    #[argh(option, default = "100")]
    waiting: u64,
    /// how often each command is timed (5)
    #[argh(option, default = "5")]
    runs: u32,
    /// days of the year that is lived through (365; 0: none)
    #[argh(option, default = "365")]
    days: u32,
    /// minidvodbs that come on each day, for every host (5)
    #[argh(option, default = "5")]
    daily: u64,
    /// the program; else the release build of it is made
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

/// The huge one may take so many times what the small one takes.
const MOST_RATIO: f64 = 2.0;
/// A file that has lived for a year may have so many times its size after compaction.
const MOST_SLACK: f64 = 2.0;
/// Minidvodbs that are queued at once.
const QUEUED: u64 = 1_000;
/// The group that they are in, which goes to one host, and the one that the year's are in, which goes to all.
const NEW_GROUP: &str = "New";
const DAILY_GROUP: &str = "Daily";
/// Where the copies of these groups, and of the others, go: by this they are told apart when they are made full.
const NEW_PATH: &str = "/data/new";
const DAILY_PATH: &str = "/data/daily";
const PATH: &str = "/data/minidvodbs";
/// What a ledger takes at most on the disk for each copy, a backup and a restored one included.
const BYTES_PER_COPY: u64 = 8_000;

impl Ledger {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COPYING)?;
        ensure!(self.runs > 0, "--runs 0 measures nothing: give at least 1");
        let each = self.hosts * self.groups;
        ensure!(each > 0 && self.small >= each, "--small must be at least --hosts times --groups, {each}");
        let place = place()?;
        check_room(&place, self.large * BYTES_PER_COPY, "--large")?;
        let binary = program_or_build(self.binary.as_deref())?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-bench.").tempdir_in(place)?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        let mut small = self.prepare(&top.join("small"), &binary, self.small)?;
        let mut large = self.prepare(&top.join("large"), &binary, self.large)?;
        println!(
            "\n  {} and {} copies, over {} hosts and {} groups; {} wait for a person; medians of {}\n",
            small.copies, large.copies, self.hosts, self.groups, self.waiting, self.runs
        );
        println!(
            "  {:<36} {:>9} {:>9} {:>6} {:>9} {:>9} {:>6}",
            "command", "small ms", "large ms", "ratio", "small MiB", "large MiB", "ratio"
        );
        let mut too_much = Vec::new();
        for task in TASKS {
            let pairs = (0..self.runs)
                .map(|_| Ok(((task.sample)(&mut small)?, (task.sample)(&mut large)?)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let (of_small, of_large): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            if !print_row(task.name, &of_small, &of_large) {
                too_much.push(task.name);
            }
        }
        match too_much.as_slice() {
            [] => println!("  goal: at most {MOST_RATIO} times the time and the memory: met"),
            names => println!(
                "  goal: at most {MOST_RATIO} times the time and the memory: NOT met by {}",
                names.join(", ")
            ),
        }
        if self.days > 0 {
            self.live(&mut large)?;
        }
        Ok(temp.close()?)
    }

    /// A ledger with copies that are full, but for those that wait for a person.
    fn prepare(&self, top: &Utf8Path, binary: &Utf8Path, copies: u64) -> anyhow::Result<Subject> {
        fs::create_dir_all(top)?;
        let ssh_config = top.join("ssh_config");
        fs::write(&ssh_config, "Host *\n    ProxyCommand false\n")?;
        let program = Program { binary: binary.to_owned(), state_dir: top.join("state"), ssh_config };
        let mut subject = Subject { program, list: top.join("list.csv"), last_minidvodb: 0, copies };
        let hosts: Vec<String> = (1..=self.hosts).map(|number| format!("host{number:02}")).collect();
        let groups: Vec<String> = (1..=self.groups).map(|number| format!("Group{number:02}")).collect();
        for host in &hosts {
            subject.program.quietly(&["host", "add", host])?;
            for group in &groups {
                subject.program.quietly(&["target", "add", group, host, PATH])?;
            }
            subject.program.quietly(&["target", "add", DAILY_GROUP, host, DAILY_PATH])?;
        }
        subject.program.quietly(&["target", "add", NEW_GROUP, &hosts[0], NEW_PATH])?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        subject.import(&groups, copies / self.hosts)?;
        subject.program.quietly(&["stage", "off", "load"])?;
        subject.pass(0)?;
        subject.make_full(PATH)?;
        for number in 1..=self.waiting {
            // Spread over all that there is.
            let id = (number * copies / self.waiting).to_string();
            subject.program.quietly(&["update", "--id", &id, "--set-state", "new", "--set-fault", "201"])?;
        }
        let waiting = subject.program.count_copies("new", 201)?;
        ensure!(waiting == self.waiting, "{waiting} copies wait for a person, not {}", self.waiting);
        subject.program.quietly(&["stage", "on"])?;
        subject.program.quietly(&["ledger", "compact"])?;
        // The first pass of a day checks all, makes a backup, and says what waits for a person.
        fs::remove_dir_all(subject.program.state_dir.join("backup"))?;
        let first = subject.pass(0)?;
        println!(
            "  {copies} copies: {:.1} MiB compacted; the first pass of a day, with its check and backup: {:.2} s",
            mebibytes(ledger_bytes(&subject.program.state_dir)?),
            first.wall_s
        );
        Ok(subject)
    }

    /// A year: on each day minidvodbs come, are queued for every host, tried, and made full.
    fn live(&self, subject: &mut Subject) -> anyhow::Result<()> {
        subject.program.quietly(&["ledger", "compact"])?;
        let first = Size::of(subject)?;
        println!(
            "\n  a year of passes: on each of {} days {} minidvodbs come for {} hosts; a pass queues and tries every\n  \
             copy (its source is missing: an attempt, a fault, a log; nothing is sent), one command makes them full",
            self.days, self.daily, self.hosts
        );
        println!(
            "  {:>6} {:>10} {:>9} {:>12} {:>16}",
            "day", "copies", "MiB", "on the disk", "of the first day"
        );
        first.print(0, subject.copies, first);
        let every = (self.days / 12).max(1);
        let (mut most, mut last) = (first.on_disk, first);
        for day in 1..=self.days {
            subject.import(&[DAILY_GROUP], self.daily)?;
            subject.copies += self.daily * self.hosts;
            subject.pass(1)?;
            subject.make_full(DAILY_PATH)?;
            last = Size::of(subject)?;
            most = most.max(last.on_disk);
            if day % every == 0 || day == self.days {
                last.print(day, subject.copies, first);
            }
        }
        subject.program.quietly(&["ledger", "compact"])?;
        let compacted = Size::of(subject)?;
        let slack = most as f64 / compacted.on_disk as f64;
        println!(
            "  on the disk {:.1} MiB at most, {:.1} at the end, {:.1} after `ledger compact`: {slack:.2} times at most",
            mebibytes(most),
            mebibytes(last.on_disk),
            mebibytes(compacted.on_disk)
        );
        let verdict = met(slack <= MOST_SLACK);
        println!("  goal: never more than {MOST_SLACK} times what it has compacted: {verdict}");
        Ok(())
    }
}

/// How large a ledger's file is.
#[derive(Clone, Copy)]
struct Size {
    bytes: u64,
    /// Without the holes that it has where nothing was ever written.
    on_disk: u64,
}

impl Size {
    fn of(subject: &Subject) -> anyhow::Result<Size> {
        let file = subject.program.state_dir.join("ledger.redb");
        let meta = fs::metadata(&file).with_context(|| format!("{file}: cannot be read"))?;
        Ok(Size { bytes: meta.len(), on_disk: meta.blocks() * 512 })
    }

    fn print(self, day: u32, copies: u64, first: Size) {
        let (bytes, on_disk) = (mebibytes(self.bytes), mebibytes(self.on_disk));
        let ratio = self.on_disk as f64 / first.on_disk as f64;
        println!("  {day:>6} {copies:>10} {bytes:>9.1} {on_disk:>12.1} {ratio:>15.2}x");
    }
}

/// A command, or a few of them, that are timed as one.
struct Task {
    name: &'static str,
    sample: fn(&mut Subject) -> anyhow::Result<Sample>,
}

const TASKS: [Task; 8] = [
    Task { name: "a pass with nothing to do", sample: |subject| subject.pass(0) },
    Task { name: "list --pending", sample: |subject| subject.time(&["list", "--pending"]) },
    Task { name: "list --faulted", sample: |subject| subject.time(&["list", "--faulted"]) },
    Task {
        name: "list --host host01 --state new",
        sample: |subject| subject.time(&["list", "--host", "host01", "--state", "new"]),
    },
    Task { name: "status", sample: |subject| subject.time(&["status"]) },
    Task {
        name: "show",
        sample: |subject| {
            let id = (subject.copies / 2).to_string();
            subject.time(&["show", &id])
        },
    },
    Task {
        name: "queueing 1000 new minidvodbs",
        sample: |subject| {
            subject.program.quietly(&["stage", "off", "load"])?;
            subject.import(&[NEW_GROUP], QUEUED)?;
            let sample = subject.pass(0)?;
            subject.make_full(NEW_PATH)?;
            subject.program.quietly(&["stage", "on"])?;
            Ok(sample)
        },
    },
    Task {
        name: "one state change",
        sample: |subject| {
            let id = (subject.copies / 2 + 1).to_string();
            let sample =
                subject.time(&["update", "--id", &id, "--set-state", "new", "--set-fault", "201"])?;
            subject.program.quietly(&["update", "--id", &id, "--set-state", "full", "--set-fault", "0"])?;
            Ok(sample)
        },
    },
];

/// A ledger that is measured.
struct Subject {
    program: Program,
    list: Utf8PathBuf,
    last_minidvodb: u64,
    copies: u64,
}

impl Subject {
    /// So many more minidvodbs come, of these groups in turn; none of them is there.
    fn import(&mut self, groups: &[&str], count: u64) -> anyhow::Result<()> {
        let mut lines = BufWriter::new(fs::File::create(&self.list)?);
        writeln!(lines, "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state")?;
        for group in groups.iter().cycle().take(usize::try_from(count)?) {
            self.last_minidvodb += 1;
            let id = self.last_minidvodb;
            writeln!(lines, "{id},{group}.{id},{group},/data/nowhere/{group}/{group}.{id},merged")?;
        }
        lines.into_inner()?;
        self.program.quietly(&["minidvodb", "import", self.list.as_str()])
    }

    fn time(&self, words: &[&str]) -> anyhow::Result<Sample> {
        time(self.program.command(words).stdout(Stdio::null()).stderr(Stdio::null()), 0)
    }

    /// One pass, as cron would run it, without what it says.
    fn pass(&self, code: i32) -> anyhow::Result<Sample> {
        idle::pass(&self.program, code)
    }

    /// The copies to this path that are new, faulted ones too, become full.
    fn make_full(&self, path: &str) -> anyhow::Result<()> {
        let which = ["-state", "new", "-minidvodb_rsync_path", path];
        let what = ["-set_state", "full", "-set_fault", "0"];
        let words = [&["minidvodbtool", "-updateminidvodbcopy"][..], &which, &what].concat();
        self.program.quietly(&words)
    }
}

/// Prints what both took; says whether the goal is met.
fn print_row(name: &str, small: &[Sample], large: &[Sample]) -> bool {
    let wall = |samples: &[Sample]| Spread::of(samples.iter().map(|sample| sample.wall_s * 1e3)).median;
    let peak = |samples: &[Sample]| samples.iter().map(|sample| sample.peak_bytes).max().unwrap_or_default();
    let (small_ms, large_ms) = (wall(small), wall(large));
    let (small_mib, large_mib) = (mebibytes(peak(small)), mebibytes(peak(large)));
    let (times, sizes) = (large_ms / small_ms, large_mib / small_mib);
    println!(
        "  {name:<36} {small_ms:9.1} {large_ms:9.1} {times:6.2} {small_mib:9.1} {large_mib:9.1} {sizes:6.2}"
    );
    times <= MOST_RATIO && sizes <= MOST_RATIO
}
