//! Whether the processors of this machine are what a stream waits for: then one stream more only takes turns from it,
//! after all that the making of its connection takes.
//!
//! Invariant: where the kernel does not say, they are not.

use std::time::{Duration, Instant};

/// What was longer ago says nothing of now.
const LOOKED_BACK: Duration = Duration::from_secs(5);

/// An ssh that waits for a processor for a larger share of the time has too few.
const WAITED_MAX: f64 = 0.1;

/// The turns that the ssh of the first stream gets.
pub(super) struct Turns {
    client: u32,
    /// When it began to send, and how long it had waited for processors then.
    begun: Option<(Instant, Duration)>,
    /// What was said last.
    were_scarce: bool,
}

impl Turns {
    /// Of the ssh with this process id.
    pub(super) fn of(client: u32) -> Self {
        Self { client, begun: None, were_scarce: false }
    }

    /// From now on it sends.
    pub(super) fn begin(&mut self) {
        if self.begun.is_none() {
            self.begun = waited_by(self.client).map(|waited| (Instant::now(), waited));
        }
    }

    /// Whether it has had to wait for processors too much since then, or of late.
    pub(super) fn are_scarce(&mut self) -> bool {
        let Some((since, before)) = self.begun else { return false };
        let Some(now) = waited_by(self.client) else { return false };
        let elapsed = since.elapsed();
        let share = now.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64();
        let are_scarce = share > WAITED_MAX;
        if are_scarce && !self.were_scarce {
            let percent = share * 100.0;
            tracing::info!("no further stream: ssh waits for a processor {percent:.0} % of the time");
        }
        self.were_scarce = are_scarce;
        if elapsed > LOOKED_BACK {
            self.begun = Some((Instant::now(), now));
        }
        are_scarce
    }
}

/// How long a process has been ready to run without a processor (proc_pid_schedstat: nanoseconds on a processor,
/// nanoseconds of waiting for one, turns).
fn waited_by(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_wants_nothing_lacks_nothing() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut turns = Turns::of(sleeper.id());
        assert!(!turns.are_scarce());
        std::thread::sleep(Duration::from_millis(200));
        turns.begin();
        std::thread::sleep(Duration::from_millis(300));
        let are_scarce = turns.are_scarce();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(!are_scarce && !turns.are_scarce(), "not of one that is gone, either");
    }

    #[test]
    fn among_many_that_want_turns_they_are_scarce() {
        let spin = || std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let mut all: Vec<_> =
            (0..4 * std::thread::available_parallelism().unwrap().get()).map(|_| spin()).collect();
        let mut turns = Turns::of(all[0].id());
        turns.begin();
        std::thread::sleep(Duration::from_secs(2));
        let are_scarce = turns.are_scarce();
        for one in &mut all {
            one.kill().unwrap();
            one.wait().unwrap();
        }
        assert!(are_scarce);
    }
}
