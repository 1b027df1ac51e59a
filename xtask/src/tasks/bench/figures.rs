//! Minimum, median and maximum, and the resources of a timed command.
//!
//! Invariant: a command that fails gives no figure.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use wait4::Wait4;

/// What a command took, its children included that it waited for.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_bytes: u64,
}

/// Runs the command, which must exit with this code.
pub(super) fn time(command: &mut Command, code: i32) -> anyhow::Result<Sample> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let child = command.spawn().with_context(|| format!("{name}: cannot be started"))?;
    let used = child.wait4().with_context(|| format!("{name}: cannot be waited for"))?;
    let wall_s = began.elapsed().as_secs_f64();
    let args = command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
    ensure!(used.status.code() == Some(code), "`{name} {args}`: {}, expected exit code {code}", used.status);
    let cpu_s = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    Ok(Sample { wall_s, cpu_s, peak_bytes: used.rusage.maxrss })
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
}
