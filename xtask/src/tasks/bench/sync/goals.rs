//! What was compared, and whether the goals are met.
//!
//! Invariant: a goal is judged by the median of the rounds' own ratios or differences.

use super::lab::Taken;
use crate::tasks::bench::figures::{Spread, mebibytes, met};

/// What is asked of our time, beside the yardstick's.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtMostTimes(f64),
    Faster,
    AtMostMoreMs(f64),
    /// Nothing: the difference is worth knowing.
    Shown,
}

/// What is asked of the program's memory.
#[derive(Clone, Copy)]
pub(super) enum Memory {
    /// At the peak, less than this for each row moved.
    BelowBytesARow(u64),
    /// Nothing; the figure alone, for so many rows in step.
    Shown,
}

/// A comparison, round by round.
pub(super) struct Comparison {
    pub(super) title: &'static str,
    pub(super) yardstick: &'static str,
    pub(super) goal: Goal,
    pub(super) memory: Option<Memory>,
    /// Ours and the yardstick's.
    pub(super) rounds: Vec<(Taken, Taken)>,
}

impl Comparison {
    pub(super) fn show_rounds(&self) {
        println!("\n{}, against {}", self.title, self.yardstick);
        for (number, (ours, theirs)) in self.rounds.iter().enumerate() {
            println!("  round {}: {} against {}", number + 1, words(ours), words(theirs));
        }
    }

    fn ours(&self, field: fn(&Taken) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(|(ours, _)| field(ours)))
    }

    fn theirs(&self, field: fn(&Taken) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(|(_, theirs)| field(theirs)))
    }

    fn figure(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(ours, theirs)| {
            let (ours, theirs) = (ours.sample.wall_s, theirs.sample.wall_s);
            match self.goal {
                Goal::AtMostTimes(_) | Goal::Faster => ours / theirs,
                Goal::AtMostMoreMs(_) | Goal::Shown => (ours - theirs) * 1e3,
            }
        }))
    }

    fn is_met(&self) -> bool {
        let figure = self.figure().median;
        match self.goal {
            Goal::AtMostTimes(limit) | Goal::AtMostMoreMs(limit) => figure <= limit,
            Goal::Faster => figure < 1.0,
            Goal::Shown => true,
        }
    }

    fn peak_bytes(&self) -> u64 {
        self.rounds.iter().map(|(ours, _)| ours.sample.peak_bytes).max().unwrap_or_default()
    }

    /// Prints the figures against their goals; true when they are met.
    fn judge(&self, rows: u64) -> bool {
        let (Spread { min, median, max }, is_met) = (self.figure(), self.is_met());
        let (figure, range) = match self.goal {
            Goal::AtMostTimes(_) | Goal::Faster => {
                (format!("{median:.2} times"), format!("{min:.2} to {max:.2}"))
            }
            Goal::AtMostMoreMs(_) | Goal::Shown => {
                (format!("{median:+.0} ms"), format!("{min:+.0} to {max:+.0}"))
            }
        };
        let verdict = met(is_met);
        let goal = match self.goal {
            Goal::AtMostTimes(limit) => format!(", goal at most {limit}: {verdict}"),
            Goal::Faster => format!(", goal below 1: {verdict}"),
            Goal::AtMostMoreMs(limit) => format!(", goal at most {limit:.0}: {verdict}"),
            Goal::Shown => String::new(),
        };
        println!(
            "  {:<38} {:9.3} {:9.3} {figure:>12} ({range}){goal}",
            self.title,
            self.ours(|taken| taken.sample.wall_s).median,
            self.theirs(|taken| taken.sample.wall_s).median,
        );
        is_met & self.judge_memory(rows)
    }

    fn judge_memory(&self, rows: u64) -> bool {
        let Some(memory) = self.memory else { return true };
        let peak = self.peak_bytes();
        let a_row = peak / rows;
        let (what, is_met) = match memory {
            Memory::BelowBytesARow(limit) => {
                let is_met = a_row < limit;
                (format!("for each row moved, goal below {limit}: {}", met(is_met)), is_met)
            }
            Memory::Shown => ("for each row in step".to_owned(), true),
        };
        println!("  {:<38} {:9.1} MiB at the peak, {a_row} bytes {what}", "", mebibytes(peak));
        is_met
    }
}

/// Prints all figures against their goals; true when all are met.
pub(super) fn judge(comparisons: &[Comparison], rows: u64) -> bool {
    println!("\n  {:<38} {:>9} {:>9} {:>12}", "seconds, medians", "ours", "yardstick", "");
    let mut is_met = true;
    for comparison in comparisons {
        is_met &= comparison.judge(rows);
    }
    is_met
}

fn words(taken: &Taken) -> String {
    let Taken { sample, server_cpu_s } = taken;
    format!(
        "{:.3} s (CPU {:.2} s, {:.2} s of it in the kernel; server {server_cpu_s:.2} s)",
        sample.wall_s, sample.cpu_s, sample.kernel_s
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::bench::figures::Sample;

    fn comparison(goal: Goal, rounds: &[(f64, f64)]) -> Comparison {
        let taken = |wall_s| Taken {
            sample: Sample { wall_s, peak_bytes: 5_000, ..Sample::default() },
            server_cpu_s: 0.0,
        };
        let rounds = rounds.iter().map(|&(ours, theirs)| (taken(ours), taken(theirs))).collect();
        Comparison { title: "", yardstick: "", goal, memory: None, rounds }
    }

    #[test]
    fn a_goal_is_judged_by_the_median_of_the_rounds() {
        let rounds = [(1.9, 1.0), (9.0, 1.0), (3.8, 2.0)];
        assert!(comparison(Goal::AtMostTimes(2.0), &rounds).is_met());
        assert!(!comparison(Goal::AtMostTimes(1.8), &rounds).is_met());
        assert!(!comparison(Goal::Faster, &rounds).is_met());
        assert!(comparison(Goal::Faster, &[(0.1, 1.0)]).is_met());
        let rounds = [(1.1, 1.0), (1.3, 1.0), (1.15, 1.0)];
        assert!(comparison(Goal::AtMostMoreMs(200.0), &rounds).is_met());
        assert!(!comparison(Goal::AtMostMoreMs(140.0), &rounds).is_met());
    }

    #[test]
    fn memory_is_judged_by_its_bytes_for_each_row() {
        let mut comparison = comparison(Goal::Faster, &[(0.1, 1.0)]);
        comparison.memory = Some(Memory::BelowBytesARow(1000));
        assert!(comparison.judge_memory(6));
        assert!(!comparison.judge_memory(5));
        comparison.memory = Some(Memory::Shown);
        assert!(comparison.judge_memory(1));
    }
}
