//! Minimum, median and maximum, and the resources of a timed command.
//!
//! Invariant: a command that fails gives no figure.

use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wait4::Wait4;
use xtask::processes::{self, Signal};

/// What a command took, its children included that it waited for.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    /// The part of `cpu_s` that the kernel took.
    pub(super) kernel_s: f64,
    pub(super) peak_bytes: u64,
}

/// Runs the command, which must exit with this code.
pub(super) fn time(command: &mut Command, code: i32) -> anyhow::Result<Sample> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let child = command.spawn().with_context(|| format!("{name}: cannot be started"))?;
    collect(command, child, began, code)
}

/// The same; a command that still runs after `limit` is killed.
pub(super) fn time_within(command: &mut Command, code: i32, limit: Duration) -> anyhow::Result<Sample> {
    let name = command.get_program().to_string_lossy().into_owned();
    let sample = time_at_most(command, code, limit)?;
    sample.with_context(|| format!("{name}: still running after {} s, and killed", limit.as_secs()))
}

/// The same; a command that still runs after `limit` is killed with its descendants, and gives no figure.
pub(super) fn time_at_most(
    command: &mut Command,
    code: i32,
    limit: Duration,
) -> anyhow::Result<Option<Sample>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{name}: cannot be started"))?;
    if !has_ended_within(&child, limit).with_context(|| name.clone())? {
        kill_with_descendants(&mut child)?;
        return Ok(None);
    }
    collect(command, child, began, code).map(Some)
}

/// Its descendants are listed first: afterwards nobody knows whose they were.
fn kill_with_descendants(child: &mut Child) -> io::Result<()> {
    let descendants = processes::descendants(child.id());
    child.kill()?;
    child.wait()?;
    descendants.into_iter().try_for_each(|pid| processes::signal(pid, Signal::KILL))
}

fn collect(command: &Command, child: Child, began: Instant, code: i32) -> anyhow::Result<Sample> {
    let name = command.get_program().to_string_lossy();
    let used = child.wait4().with_context(|| format!("{name}: cannot be waited for"))?;
    let wall_s = began.elapsed().as_secs_f64();
    let args = command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
    ensure!(used.status.code() == Some(code), "`{name} {args}`: {}, expected exit code {code}", used.status);
    let cpu_s = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    let kernel_s = used.rusage.stime.as_secs_f64();
    Ok(Sample { wall_s, cpu_s, kernel_s, peak_bytes: used.rusage.maxrss })
}

/// Waits without taking the child's status, which [`Wait4`] wants.
fn has_ended_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))? > 0)
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The least, the middle and the greatest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// All zero where there are no figures.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (figures.first(), figures.last()) else {
            return Spread { min: 0.0, median: 0.0, max: 0.0 };
        };
        let middle = figures.len() / 2;
        let below = if figures.len().is_multiple_of(2) { figures[middle - 1] } else { figures[middle] };
        Spread { min, median: f64::midpoint(below, figures[middle]), max }
    }
}

/// A verdict on a goal.
pub(super) fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "NOT met" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert_eq!(Spread::of([]), Spread { min: 0.0, median: 0.0, max: 0.0 });
    }

    #[test]
    fn a_command_with_another_exit_code_gives_no_figure() {
        let sample = time(Command::new("/bin/sh").args(["-c", "exit 3"]), 3).unwrap();
        assert!(sample.peak_bytes > 0 && sample.wall_s > 0.0);
        let error = time(Command::new("/bin/sh").args(["-c", "exit 3"]), 0).err().unwrap();
        assert!(error.to_string().contains("expected exit code 0"), "{error}");
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let limit = Duration::from_secs(20);
        time_within(Command::new("/bin/sh").args(["-c", "exit 3"]), 3, limit).unwrap();
        let began = Instant::now();
        let error = time_within(Command::new("sleep").arg("60"), 0, Duration::from_millis(50)).err().unwrap();
        assert!(format!("{error:#}").contains("still running"), "{error:#}");
        assert!(began.elapsed() < limit);
    }

    #[test]
    fn what_a_command_that_takes_too_long_has_started_ends_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let mark = temp.path().to_string_lossy().into_owned();
        let script = "sh -c 'sleep 60; :' \"$0\" | sleep 60";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, &mark]);
        assert!(time_at_most(&mut command, 0, Duration::from_millis(200)).unwrap().is_none());
        let left = || processes::mentioning(&mark);
        assert!(processes::wait_until(Duration::from_secs(20), || left().is_empty()), "{:?}", left());
    }
}
