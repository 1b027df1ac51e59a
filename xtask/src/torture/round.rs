//! One round: minidvodbs, a destination, passes that are struck, and the reckoning.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use super::ledger::Ledger;
use super::strike::{Aim, Scene, Struck, Victim};
use super::witness::{Watched, Witness, expect_one_of};
use super::{ALIAS, Tally};
use crate::noise::Noise;
use crate::processes;
use crate::sshd::Sshd;

const GROUP: &str = "Torture";
/// The minidvodbs of a round.
const COUNT: u64 = 3;
/// A pass that was struck has to end within this time.
const END: Duration = Duration::from_secs(60);
/// What a pass started does not outlive it by more.
const OUTLIVES: Duration = Duration::from_secs(5);
/// So many passes without a strike have to be enough.
const PASSES_MAX: u32 = 12;

/// A round under way.
pub(super) struct Round<'a> {
    binary: &'a Utf8Path,
    top: &'a Utf8Path,
    sshd: Option<&'a Sshd>,
    path: &'a str,
    number: u64,
    noise: Noise,
    names: Vec<String>,
    tally: Tally,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        binary: &'a Utf8Path,
        top: &'a Utf8Path,
        sshd: Option<&'a Sshd>,
        path: &'a str,
        number: u64,
    ) -> Self {
        let names = (1..=COUNT).map(|id| format!("{GROUP}.{id}")).collect();
        Self { binary, top, sshd, path, number, noise: Noise::new(number), names, tally: Tally::default() }
    }

    /// The whole round; what was struck, and when.
    pub(super) fn run(mut self) -> anyhow::Result<Tally> {
        self.prepare()?;
        let witness = Witness::start(self.watched());
        let aims = Aim::COPYING;
        for strike in 0..=self.noise.below(3) {
            let which = usize::try_from(self.number + strike * 4).unwrap_or_default() % aims.len();
            self.struck_pass(&["run"], aims[which])?;
        }
        self.finish()?;
        if self.number.is_multiple_of(2) {
            self.recopied()?;
        }
        let seen = witness.end();
        ensure!(seen.is_empty(), "a reader saw what nobody should see: {}", seen.join("; "));
        self.reckon()?;
        self.tally.rounds = 1;
        Ok(self.tally)
    }

    fn there(&self) -> Utf8PathBuf {
        self.top.join("there")
    }

    fn source(&self, id: u64) -> Utf8PathBuf {
        self.top.join("source").join(&self.names[usize::try_from(id - 1).unwrap_or_default()])
    }

    /// The first minidvodb as it was before it was changed.
    fn before(&self) -> Utf8PathBuf {
        self.top.join("before")
    }

    fn state(&self) -> Utf8PathBuf {
        self.top.join("state")
    }

    fn host(&self) -> &'static str {
        if self.sshd.is_some() { ALIAS } else { "localhost" }
    }

    fn watched(&self) -> Vec<Watched> {
        (1..=COUNT)
            .zip(&self.names)
            .map(|(id, name)| {
                let mut may_be = vec![self.source(id)];
                if id == 1 {
                    may_be.push(self.before());
                }
                Watched { name: self.there().join(name), may_be }
            })
            .collect()
    }

    fn prepare(&mut self) -> anyhow::Result<()> {
        for folder in ["home", "there"] {
            fs::create_dir(self.top.join(folder))?;
        }
        let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
        for id in 1..=COUNT {
            let folder = self.source(id);
            self.fill(&folder)?;
            list.push_str(&format!("{id},{GROUP}.{id},{GROUP},{folder},merged\n"));
        }
        copy_tree(&self.source(1), &self.before())?;
        let file = self.top.join("list.csv");
        fs::write(&file, list)?;
        self.ok(&["minidvodb", "import", file.as_str()])?;
        let (there, host) = (self.there(), self.host());
        // Slow enough that there is a middle to strike in.
        self.ok(&["target", "add", GROUP, host, there.as_str(), "--bwlimit", "4m"])?;
        self.ok(&["host", "add", host])
    }

    /// Some files in some folders, 200 KB to 2 MB in all.
    fn fill(&mut self, folder: &Utf8Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("Images.dat"), self.bytes(5_000))?;
        for region in 0..=self.noise.below(3) {
            let region = folder.join(format!("n{region:04}"));
            fs::create_dir(&region)?;
            for file in 0..=self.noise.below(8) {
                let count = self.noise.below(200_000);
                fs::write(region.join(format!("{file:04}.cpm")), self.bytes(count))?;
            }
        }
        fs::set_permissions(folder.join("n0000"), fs::Permissions::from_mode(0o750))?;
        age(folder)
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        self.noise.fill(&mut bytes);
        bytes
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command.args(arguments).env_clear().current_dir(self.top);
        command.env("PATH", self.path);
        command.env("HOME", self.top.join("home")).env("MINIDVODBCOPY_STATE_DIR", self.state());
        if let Some(sshd) = self.sshd {
            command.env("MINIDVODBCOPY_SSH_CONFIG", sshd.config_path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command(arguments).output().with_context(|| format!("{} cannot be started", self.binary))
    }

    fn ok(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.output(arguments)?;
        ensure!(
            output.status.success(),
            "minidvodbcopy {} exited with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn ledger(&self) -> anyhow::Result<Ledger> {
        Ledger::read(&self.state().join("ledger.redb"))
    }

    fn victim(&mut self, aim: Aim) -> Victim {
        use Victim::{Child, Children, Everything, Pass, Sessions};
        if matches!(aim, Aim::Exchange) {
            return Everything;
        }
        let victims = [Pass, Pass, Pass, Everything, Everything, Child, Children, Sessions];
        let which = usize::try_from(self.noise.below(victims.len() as u64)).unwrap_or_default();
        victims[which]
    }

    /// Starts a pass, strikes it, and looks at what is left.
    fn struck_pass(&mut self, arguments: &[&str], aim: Aim) -> anyhow::Result<()> {
        let victim = self.victim(aim);
        let mut pass = self.command(arguments).spawn().context("the pass cannot be started")?;
        let (there, names) = (self.there(), self.names.clone());
        let lock = self.state().join("locks").join(self.host()).join(format!("{GROUP}.lock"));
        let scene = Scene { lock, there: &there, names: &names, sshd: self.sshd };
        let struck = scene.strike(&mut pass, aim, victim, &mut self.noise)?;
        self.expect_end(&mut pass)?;
        let Some(struck) = struck else {
            self.tally.missed += 1;
            return Ok(());
        };
        self.expect_gone(&struck)?;
        let place = self.place_of(&struck, &scene)?;
        *self.tally.strikes.entry(place).or_default() += 1;
        *self.tally.victims.entry(format!("{victim:?}").to_lowercase()).or_default() += 1;
        self.look()
    }

    /// Where a pass was struck, as what it left shows.
    fn place_of(&self, struck: &Struck, scene: &Scene<'_>) -> anyhow::Result<&'static str> {
        let ledger = self.ledger()?;
        let is_there =
            |id: u64| self.there().join(&self.names[usize::try_from(id - 1).unwrap_or_default()]).exists();
        if scene.has_old() && !is_there(1) {
            return Ok("between the two renames of a recopy");
        }
        let under_way = ledger.copies.iter().find(|copy| copy["id"] == struck.copy);
        let minidvodb = under_way.and_then(|copy| copy["minidvodb_id"].as_u64());
        let is_renamed = minidvodb.is_some_and(|id| is_there(id) && !ledger.is_full(id));
        Ok(match struck.phase.as_str() {
            "publishing" | "recording" if is_renamed => "between rename and record",
            "connecting" | "sizing" => "connecting and sizing",
            "space" => "judging the space",
            "sending" => "sending",
            "verifying" => "verifying",
            "flushing" => "flushing",
            "publishing" => "publishing",
            "recording" => "recording",
            _ if !struck.has_begun => "queueing",
            _ => "between two copies",
        })
    }

    fn expect_end(&self, pass: &mut Child) -> anyhow::Result<()> {
        let has_ended = processes::wait_until(END, || matches!(pass.try_wait(), Ok(Some(_))));
        if !has_ended {
            let _ = pass.kill();
            let _ = pass.wait();
            bail!("a struck pass did not end within {} s", END.as_secs());
        }
        Ok(())
    }

    fn expect_gone(&self, struck: &Struck) -> anyhow::Result<()> {
        // What writes to a disk in the kernel dies when that is done, and not before.
        let are_gone = |is_there: fn(u32) -> bool| !struck.descendants.iter().any(|&pid| is_there(pid));
        let is_there = |pid| processes::is_running(pid) && !processes::is_in_the_kernel(pid);
        let gone = processes::wait_until(OUTLIVES, || are_gone(is_there))
            && processes::wait_until(END, || are_gone(processes::is_running));
        ensure!(gone, "{}", self.outlived(struck));
        if let Some(sshd) = self.sshd {
            ensure!(sshd.wait_until_idle(END), "the far end does not come to rest");
            // A script that has lost its session comes to its end all the same.
            let at_rest = processes::wait_until(END, || processes::mentioning(self.top.as_str()).is_empty());
            ensure!(at_rest, "something goes on at the far end");
        }
        Ok(())
    }

    /// Who outlived a pass, as the kernel shows it.
    fn outlived(&self, struck: &Struck) -> String {
        let left: Vec<String> = struck
            .descendants
            .iter()
            .filter(|&&pid| processes::is_running(pid))
            .map(|&pid| processes::describe(pid))
            .collect();
        let (after, phase) = (OUTLIVES.as_secs(), &struck.phase);
        format!("of a pass struck at '{phase}', something outlived it by {after} s: {}", left.join("; "))
    }

    /// What must be true at any moment at which nothing runs.
    fn look(&self) -> anyhow::Result<()> {
        let ledger = self.ledger()?;
        ledger.expect_consistent()?;
        for watched in self.watched() {
            if watched.name.exists() {
                expect_one_of(&watched.name, &watched.may_be).map_err(anyhow::Error::msg)?;
            }
        }
        for id in (1..=COUNT).filter(|&id| ledger.is_full(id)) {
            let is_exchanging =
                ledger.copy_of(id).is_some_and(|copy| !copy["recopy"]["exchanging"].is_null());
            let name = self.there().join(&self.names[usize::try_from(id - 1).unwrap_or_default()]);
            ensure!(name.exists() || is_exchanging, "minidvodb {id} is full, and {name} is not there");
        }
        Ok(())
    }

    /// Passes that nobody strikes, until nothing is left to do.
    fn finish(&self) -> anyhow::Result<()> {
        let there = self.there();
        let mut said = String::new();
        for _ in 0..PASSES_MAX {
            if self.ledger()?.is_at_rest(COUNT) {
                return Ok(());
            }
            let output = self.output(&["copy", GROUP, self.host(), there.as_str()])?;
            let code = output.status.code().unwrap_or(-1);
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(matches!(code, 0 | 1), "a pass that nobody struck exited with {code}: {said}");
            self.look()?;
        }
        let ledger = self.ledger()?;
        bail!(
            "not at rest after {PASSES_MAX} passes that nobody struck: {} to be made, {} attempts open, {} folders to be removed; {:?}; {:?}; the last one said: {said}",
            ledger.pending,
            ledger.open,
            ledger.leftovers,
            ledger
                .copies
                .iter()
                .filter(|copy| !copy["fault"].is_null() || !copy["recopy"].is_null())
                .collect::<Vec<_>>(),
            ledger.attempts.iter().filter(|attempt| attempt["fault"] != 0).collect::<Vec<_>>()
        )
    }

    /// The first minidvodb is changed and sent again, struck on the way.
    fn recopied(&mut self) -> anyhow::Result<()> {
        fs::write(self.source(1).join("Images.dat"), self.bytes(6_000))?;
        age(&self.source(1))?;
        let id = self
            .ledger()?
            .copy_of(1)
            .and_then(|copy| copy["id"].as_u64())
            .context("no copy of minidvodb 1")?;
        let id = id.to_string();
        for strike in 0..2 {
            let aim = match self.noise.below(4) {
                // Over ssh the far end makes the second rename before it hears of the kill.
                _ if self.sshd.is_none() && strike == 0 => Aim::Exchange,
                0 => Aim::Phase("recording"),
                1 => Aim::Anywhere,
                _ if self.sshd.is_none() => Aim::Exchange,
                _ => Aim::Phase("publishing"),
            };
            self.struck_pass(&["recopy", &id], aim)?;
            self.finish()?;
        }
        let source = self.source(1);
        let has_new =
            || expect_one_of(&self.there().join(&self.names[0]), std::slice::from_ref(&source)).is_ok();
        if !has_new() {
            self.ok(&["recopy", &id])?;
        }
        self.finish()?;
        ensure!(has_new(), "after a recopy the destination does not have the new one");
        self.tally.recopies += 1;
        Ok(())
    }

    /// In the end everything is there, once, and nothing else.
    fn reckon(&self) -> anyhow::Result<()> {
        let ledger = self.ledger()?;
        ledger.expect_consistent()?;
        ensure!(ledger.is_at_rest(COUNT), "something is left to do");
        for (id, name) in (1..=COUNT).zip(&self.names) {
            ensure!(ledger.is_full(id), "minidvodb {id} is not full");
            expect_one_of(&self.there().join(name), &[self.source(id)]).map_err(anyhow::Error::msg)?;
        }
        let mut there: Vec<String> =
            self.there().read_dir_utf8()?.flatten().map(|entry| entry.file_name().to_owned()).collect();
        there.sort();
        ensure!(
            there == self.names,
            "there is more at the destination than the copies: {}",
            there.join(", ")
        );
        self.expect_nobody()?;
        self.expect_no_lock()?;
        self.ok(&["ledger", "check"])
    }

    /// No process works in the round's folder, or was told of it.
    fn expect_nobody(&self) -> anyhow::Result<()> {
        let mut left = BTreeMap::new();
        let is_empty = processes::wait_until(OUTLIVES, || {
            left = processes::mentioning(self.top.as_str());
            left.is_empty()
        });
        ensure!(is_empty, "processes are left: {left:?}");
        Ok(())
    }

    fn expect_no_lock(&self) -> anyhow::Result<()> {
        let lock = self.state().join("locks").join(self.host()).join(format!("{GROUP}.lock"));
        let file = fs::File::open(&lock)?;
        let taken = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        ensure!(taken.is_ok(), "{lock} is held");
        Ok(())
    }
}

/// Makes a tree old, as real ones are: rsync compares times by whole seconds, so that a folder which was made
/// and sent within one is not worth setting for it.
fn age(folder: &Utf8Path) -> anyhow::Result<()> {
    let status = Command::new("find")
        .arg(folder)
        .args(["-exec", "touch", "-h", "-d", "2011-05-02 03:04:05.123456789", "--", "{}", "+"])
        .status()?;
    ensure!(status.success(), "the times of {folder} cannot be set");
    Ok(())
}

fn copy_tree(from: &Utf8Path, to: &Utf8Path) -> anyhow::Result<()> {
    let status = Command::new("cp").args(["-a", "--"]).arg(from).arg(to).status()?;
    ensure!(status.success(), "cp -a {from} {to} failed");
    Ok(())
}
