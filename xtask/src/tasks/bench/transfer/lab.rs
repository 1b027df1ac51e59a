//! The private server at the end of a link, the source, the copies so far, and one timed copy.
//!
//! Invariant: nothing is left to be written when the clock starts, and no connection is open when it has
//! stopped; a copy that lacks a file or a byte is an error and no figure.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::Made;
use xtask::processes;
use xtask::slow_link::SlowLink;
use xtask::slow_link::delay_line::Wire;
use xtask::sshd::{Sshd, SshdOptions};

use super::commands::{Cipher, Route};
use super::methods::Method;
use super::phases;
use super::rounds::Measured;
use super::trees::Link;
use crate::tasks::bench::delay_line;
use crate::tasks::bench::figures::{Sample, time_at_most};
use crate::tasks::program::{Minidvodb, Program, text};

pub(super) const HOST: &str = "ipp0222";
pub(super) const NAME: &str = "ThreePi.1";
const GROUP: &str = "ThreePi";
const DELAYED: Wire =
    Wire { delay: Duration::from_millis(20), rate_bytes_per_s: 125_000_000, queue_bytes: 16_000_000 };

/// How the copies are to be made.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) streams: Option<u32>,
    /// What anything may take.
    pub(super) patience: Duration,
    /// What the source and the copies may take together.
    pub(super) disk_bytes: u64,
}

/// What came of a copy.
pub(super) enum Outcome {
    Done(Measured),
    /// It took more than the patience, and was ended.
    GaveUp,
}

/// The server goes before the link that it is at the end of.
pub(super) struct Lab {
    top: Utf8PathBuf,
    sshd: Sshd,
    _slow_link: Option<SlowLink>,
    link: Link,
    program: Program,
    options: Options,
    kept: Vec<Utf8PathBuf>,
    kept_bytes: u64,
    copied: u32,
}

impl Lab {
    pub(super) fn open(
        top: &Utf8Path,
        binary: &Utf8Path,
        link: Link,
        options: Options,
    ) -> anyhow::Result<Lab> {
        let slow_link = match link {
            Link::Loopback => None,
            Link::Delayed => Some(SlowLink::up(delay_line::command(DELAYED)?)?),
        };
        // Something for sftp's clients.
        let mut server = SshdOptions::known_as(&[HOST]).server_line("Subsystem sftp internal-sftp");
        if let Some(slow_link) = &slow_link {
            server = server.in_network(slow_link.network());
        }
        let sshd = Sshd::start(&top.join("sshd"), server)?;
        sshd.probe(HOST)?;
        let program = Program {
            binary: binary.to_owned(),
            state_dir: top.join("state"),
            ssh_config: sshd.config_path(),
        };
        Ok(Lab {
            top: top.to_owned(),
            sshd,
            _slow_link: slow_link,
            link,
            program,
            options,
            kept: Vec::new(),
            kept_bytes: 0,
            copied: 0,
        })
    }

    pub(super) fn link(&self) -> Link {
        self.link
    }

    pub(super) fn source(&self) -> Utf8PathBuf {
        self.top.join("source").join(NAME)
    }

    /// A copy into a fresh folder, which is emptied when its room is needed.
    pub(super) fn first_copy(&mut self, method: Method, made: Made) -> anyhow::Result<Outcome> {
        if self.kept_bytes + 2 * made.bytes > self.options.disk_bytes {
            self.empty_copies()?;
        }
        let destination = self.fresh_destination()?;
        self.kept_bytes += made.bytes;
        self.kept.push(destination.clone());
        match method.target_options() {
            Some(options) => self.pass(&self.prepare(&destination, options)?, &["run"], made),
            None => self.other(method, &destination, made),
        }
    }

    /// A copy by another program to `destination`, whether there is one already or not.
    pub(super) fn other(
        &self,
        method: Method,
        destination: &Utf8Path,
        made: Made,
    ) -> anyhow::Result<Outcome> {
        let source = self.source();
        let scratch = self.top.join(format!("scratch/{}", self.copied));
        fs::create_dir_all(&scratch)?;
        let differences = scratch.join("differences");
        let route = Route { sshd: &self.sshd, source: &source, destination, scratch: &scratch };
        let usual = || route.rsync("-a", Cipher::Usual);
        let mut commands = match method {
            Method::Rsync => vec![usual()],
            Method::RsyncChecksum => vec![route.rsync("-ac", Cipher::Usual)],
            Method::Predecessor => vec![route.rsync("-rvuaq", Cipher::Usual)],
            Method::RsyncGcm => vec![route.rsync("-a", Cipher::Fast)],
            Method::Fpsync => vec![route.fpsync(made)],
            Method::Rclone => vec![route.rclone()],
            Method::Tar => vec![route.tar(Cipher::Usual)],
            Method::TarGcm => vec![route.tar(Cipher::Fast)],
            Method::RsyncThenCompare => {
                let mut comparison = route.rsync("-anci", Cipher::Usual);
                comparison.stdout(File::create(&differences)?);
                vec![usual(), comparison]
            }
            Method::RsyncThenFlush => vec![usual(), route.flush()],
            Method::TarGcmThenFlush => vec![route.tar(Cipher::Fast), route.flush()],
            Method::Cp => vec![route.cp()],
            Method::Channel => vec![route.channel(made.bytes)],
            Method::Quick | Method::Default => anyhow::bail!("a pass needs a ledger of its own"),
        };
        let outcome = self.clock(&mut commands)?;
        if matches!(outcome, Outcome::Done(_)) && method != Method::Channel {
            check_complete(&destination.join(NAME), made)?;
        }
        if method == Method::RsyncThenCompare {
            let said = fs::read_to_string(&differences)?;
            ensure!(said.is_empty(), "rsync's copy at {destination} differs: {}", said.trim());
        }
        Ok(outcome)
    }

    /// A new ledger that knows the source and one target.
    pub(super) fn prepare(&self, destination: &Utf8Path, options: &[&str]) -> anyhow::Result<Ready> {
        let place = self.top.join(format!("state/{}", self.copied));
        fs::create_dir_all(&place)?;
        let program = self.program.with_state_dir(place.join("ledger"));
        let minidvodb = Minidvodb { id: 1, group: GROUP, path: self.source() };
        program.import(&place.join("minidvodbs.csv"), &[minidvodb])?;
        let streams = self.options.streams.map(|streams| streams.to_string());
        let streams = streams.as_ref().map_or(vec![], |streams| vec!["--streams", streams]);
        let target = ["target", "add", GROUP, HOST, destination.as_str()];
        program.quietly(&[&target, options, &streams].concat())?;
        program.quietly(&["host", "add", HOST])?;
        Ok(Ready { program, destination: destination.to_owned() })
    }

    /// A timed command of ours, after which the one copy is full.
    pub(super) fn pass(&self, ready: &Ready, command: &[&str], made: Made) -> anyhow::Result<Outcome> {
        let mut run = ready.program.command(command);
        run.stdout(Stdio::null());
        let outcome = self.clock(&mut [run])?;
        let Outcome::Done(_) = outcome else {
            anyhow::bail!("it took more than {} s, and was ended", self.options.patience.as_secs());
        };
        let copies = ready.program.copies()?;
        let states: Vec<_> = copies.iter().map(|copy| text(copy, "state")).collect();
        ensure!(states == ["full"], "the pass ended, and the copies are {states:?} instead of one full one");
        check_complete(&ready.destination.join(NAME), made)?;
        println!("           the next took, in seconds: {}", phases::of(&ready.program.state_dir)?);
        Ok(outcome)
    }

    /// With the folder in it that some programs do not make themselves.
    pub(super) fn fresh_destination(&mut self) -> anyhow::Result<Utf8PathBuf> {
        self.copied += 1;
        let destination = self.top.join(format!("there/{}", self.copied));
        fs::create_dir_all(&destination)?;
        Ok(destination)
    }

    /// Removes source and copies, once a tree has been measured.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        self.kept.clear();
        self.kept_bytes = 0;
        for place in ["source", "there", "state", "scratch"] {
            let place = self.top.join(place);
            if place.exists() {
                fs::remove_dir_all(&place).with_context(|| format!("{place}: cannot be removed"))?;
            }
        }
        self.settle()
    }

    /// Times the commands together.
    fn clock(&self, commands: &mut [Command]) -> anyhow::Result<Outcome> {
        self.settle()?;
        let (before_s, cores_before) = (self.sshd.cpu_seconds()?, processes::cores()?);
        let mut total = Sample::default();
        for command in commands {
            let Some(sample) = time_at_most(command, 0, self.options.patience)? else {
                self.sshd.kill_sessions();
                return Ok(Outcome::GaveUp);
            };
            total.wall_s += sample.wall_s;
            total.cpu_s += sample.cpu_s;
            total.peak_bytes = total.peak_bytes.max(sample.peak_bytes);
        }
        let cores = processes::cores()?;
        ensure!(
            self.sshd.wait_until_idle(Duration::from_secs(10)),
            "a connection is still open after the copy"
        );
        Ok(Outcome::Done(Measured {
            wall_s: total.wall_s,
            here_cpu_s: total.cpu_s,
            there_cpu_s: self.sshd.cpu_seconds()? - before_s,
            busy_s: cores.busy_s - cores_before.busy_s,
            idle_s: cores.idle_s - cores_before.idle_s,
            peak_bytes: total.peak_bytes,
        }))
    }

    /// Leaves nothing to be written on the disk that holds source and copies.
    fn settle(&self) -> anyhow::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.top)?)?)
    }

    fn empty_copies(&mut self) -> anyhow::Result<()> {
        for copy in self.kept.drain(..) {
            for_each_file(&copy, &mut |path, _| {
                let file = File::options().write(true).open(path)?;
                Ok(file.set_len(0)?)
            })?;
        }
        self.kept_bytes = 0;
        self.settle()
    }
}

/// A ledger with one minidvodb, and where that goes.
pub(super) struct Ready {
    pub(super) program: Program,
    destination: Utf8PathBuf,
}

/// The files below a folder and their bytes. Nothing is kept in memory: the peak of this process counts as that
/// of the commands that it starts.
pub(super) fn contents(dir: &Utf8Path) -> anyhow::Result<Made> {
    let mut made = Made::default();
    for_each_file(dir, &mut |_, bytes| {
        made.files += 1;
        made.bytes += bytes;
        Ok(())
    })?;
    Ok(made)
}

fn check_complete(copy: &Utf8Path, made: Made) -> anyhow::Result<()> {
    let found = contents(copy)?;
    ensure!(found == made, "{copy} has {found:?}, and its source {made:?}");
    Ok(())
}

fn for_each_file(
    dir: &Utf8Path,
    tell: &mut impl FnMut(&Utf8Path, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for entry in dir.read_dir_utf8().with_context(|| format!("{dir}: cannot be read"))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            for_each_file(entry.path(), tell)?;
        } else if metadata.is_file() {
            tell(entry.path(), metadata.len()).with_context(|| entry.path().to_string())?;
        }
    }
    Ok(())
}
