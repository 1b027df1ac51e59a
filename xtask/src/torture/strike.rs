//! Where a pass is struck, and what is killed of it.
//!
//! What a pass is doing is read from its lock file, as `status` does, and from the destination's folder.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::Signal;
use serde_json::Value;

use crate::noise::Noise;
use crate::processes;
use crate::sshd::Sshd;

/// What is waited for before striking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Any moment.
    Anywhere,
    /// The pass has the lock and has not begun a copy.
    Queueing,
    /// An attempt is in the phase with this word.
    Phase(&'static str),
    /// The folder has got its final name.
    Renamed,
    /// The old folder of a recopy has left its name.
    Exchange,
}

impl Aim {
    /// Everything that is aimed at while copies are made.
    pub const COPYING: [Self; 9] = [
        Self::Queueing,
        Self::Phase("connecting"),
        Self::Phase("sending"),
        Self::Phase("verifying"),
        Self::Phase("flushing"),
        Self::Phase("publishing"),
        Self::Renamed,
        Self::Phase("recording"),
        Self::Anywhere,
    ];

    /// The longest wait between seeing it and striking, in microseconds.
    fn delay_max_us(self) -> u64 {
        match self {
            Self::Anywhere => 2_500_000,
            Self::Queueing => 4_000,
            Self::Phase("sending") => 300_000,
            Self::Phase("verifying") => 120_000,
            Self::Phase("connecting") => 60_000,
            Self::Phase("publishing") => 60_000,
            Self::Phase("recording") => 15_000,
            Self::Phase(_) => 20_000,
            Self::Renamed | Self::Exchange => 0,
        }
    }
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The pass alone.
    Pass,
    /// The pass and all its descendants at once.
    Everything,
    /// One of its descendants.
    Child,
    /// All of its descendants.
    Children,
    /// The far end's sessions.
    Sessions,
}

/// The pass at the moment of the strike.
#[derive(Debug)]
pub(super) struct Struck {
    /// The phase of its attempt; empty between attempts.
    pub(super) phase: String,
    /// The copy under way; 0 for none.
    pub(super) copy: u64,
    /// Its descendants.
    pub(super) descendants: Vec<u32>,
    /// Whether it had begun a copy.
    pub(super) has_begun: bool,
}

/// Where things can be seen.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) lock: Utf8PathBuf,
    pub(super) there: &'a Utf8Path,
    pub(super) names: &'a [String],
    pub(super) sshd: Option<&'a Sshd>,
}

impl Scene<'_> {
    fn progress(&self) -> Value {
        let text = std::fs::read_to_string(&self.lock).unwrap_or_default();
        serde_json::from_str(text.trim_end()).unwrap_or_default()
    }

    fn count_published(&self) -> usize {
        self.names.iter().filter(|name| self.there.join(name).is_dir()).count()
    }

    /// Whether the old folder of a recopy lies beside the staging folders.
    pub(super) fn has_old(&self) -> bool {
        let Ok(ledgers) = self.there.join(".minidvodbcopy").read_dir_utf8() else { return false };
        ledgers.flatten().any(|ledger| {
            let Ok(entries) = ledger.path().read_dir_utf8() else { return false };
            entries.flatten().any(|entry| entry.file_name().starts_with("old."))
        })
    }

    /// Waits for the aim, and kills; `None` where the pass ended before.
    pub(super) fn strike(
        &self,
        pass: &mut Child,
        aim: Aim,
        victim: Victim,
        noise: &mut Noise,
    ) -> anyhow::Result<Option<Struck>> {
        let published = self.count_published();
        let (mut descendants, mut has_begun, mut seen) = (Vec::new(), false, String::new());
        loop {
            if pass.try_wait().context("waiting for the pass")?.is_some() {
                return Ok(None);
            }
            let progress = self.progress();
            let is_its = progress["pid"] == pass.id();
            let phase = progress["phase"].as_str().filter(|_| is_its).unwrap_or_default();
            has_begun |= !phase.is_empty();
            let is_reached = match aim {
                Aim::Anywhere => true,
                Aim::Queueing => is_its && progress["copy"] == 0,
                Aim::Phase(wanted) => phase == wanted,
                Aim::Renamed => self.count_published() > published,
                Aim::Exchange => self.has_old(),
            };
            if is_reached {
                break;
            }
            if phase != seen && matches!(phase, "verifying" | "publishing") {
                // Later there is no time for it.
                descendants = processes::descendants(pass.id());
                phase.clone_into(&mut seen);
            }
        }
        let delay = Duration::from_micros(noise.below(aim.delay_max_us()));
        spin_until(Instant::now() + delay);
        if descendants.is_empty() || delay > Duration::from_millis(20) {
            descendants = processes::descendants(pass.id());
        }
        let progress = self.progress();
        if pass.try_wait().context("waiting for the pass")?.is_some() {
            return Ok(None);
        }
        self.kill(pass.id(), &descendants, victim, noise)?;
        let is_its = progress["pid"] == pass.id();
        let phase = progress["phase"].as_str().filter(|_| is_its).unwrap_or_default().to_owned();
        let copy = progress["copy"].as_u64().filter(|_| is_its).unwrap_or_default();
        Ok(Some(Struck { phase, copy, descendants, has_begun }))
    }

    fn kill(&self, pass: u32, descendants: &[u32], victim: Victim, noise: &mut Noise) -> anyhow::Result<()> {
        let kill = |pid: u32| processes::signal(pid, Signal::KILL);
        match (victim, self.sshd) {
            (Victim::Pass, _) => kill(pass)?,
            (Victim::Everything, _) => {
                descendants.iter().try_for_each(|&pid| kill(pid))?;
                kill(pass)?;
            }
            (Victim::Child, _) => {
                let which = usize::try_from(noise.below(descendants.len() as u64)).unwrap_or_default();
                descendants.get(which).map_or(Ok(()), |&pid| kill(pid))?;
            }
            (Victim::Sessions, Some(sshd)) => drop(sshd.kill_sessions()),
            (Victim::Children | Victim::Sessions, _) => descendants.iter().try_for_each(|&pid| kill(pid))?,
        }
        Ok(())
    }
}

/// Waits as exactly as it can.
fn spin_until(moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if left > Duration::from_millis(2) {
        std::thread::sleep(left - Duration::from_millis(1));
    }
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}
