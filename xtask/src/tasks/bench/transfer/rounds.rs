//! What was measured, round by round, and what follows from it.
//!
//! Invariant: methods are compared only within a round, so that what slows the machine for a while slows both; a
//! method that was not measured gives no figure, never a zero.

use std::collections::BTreeMap;

use super::methods::{Method, Role};
use crate::tasks::bench::figures::Spread;

/// What one copy took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) wall_s: f64,
    pub(super) here_cpu_s: f64,
    pub(super) there_cpu_s: f64,
    /// What all processors together worked, for whomever, and did not work.
    pub(super) busy_s: f64,
    pub(super) idle_s: f64,
    /// Of the largest of the processes here.
    pub(super) peak_bytes: u64,
}

/// One or no figure for each method in each round, and why one is missing.
#[derive(Default)]
pub(super) struct Rounds {
    rounds: Vec<BTreeMap<Method, Measured>>,
    notes: BTreeMap<Method, String>,
}

impl Rounds {
    pub(super) fn begin(&mut self) {
        self.rounds.push(BTreeMap::new());
    }

    /// Adds a figure to the round that was begun last.
    pub(super) fn add(&mut self, method: Method, measured: Measured) {
        if let Some(round) = self.rounds.last_mut() {
            round.insert(method, measured);
        }
    }

    /// Says why a method's figures, or some of them, are missing.
    pub(super) fn note(&mut self, method: Method, note: String) {
        self.notes.insert(method, note);
    }

    pub(super) fn has_note(&self, method: Method) -> bool {
        self.notes.contains_key(&method)
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = (Method, &str)> {
        self.notes.iter().map(|(method, note)| (*method, note.as_str()))
    }

    /// One of a method's figures over all rounds.
    pub(super) fn spread(&self, method: Method, figure: impl Fn(&Measured) -> f64) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| round.get(&method)).map(figure))
    }

    /// The ratio of two methods' times, taken round by round.
    pub(super) fn ratio(&self, ours: Method, theirs: Method) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| {
            let (ours, theirs) = (round.get(&ours)?, round.get(&theirs)?);
            Some(ours.wall_s / theirs.wall_s)
        }))
    }

    /// The yardstick or the peer with the least median, whichever it is.
    pub(super) fn fastest_peer(&self) -> Option<Method> {
        let measured = self.rounds.iter().flat_map(BTreeMap::keys).copied();
        measured
            .filter(|method| matches!(method.role(), Role::Yardstick | Role::Peer))
            .filter_map(|method| Some((method, self.spread(method, |measured| measured.wall_s)?.median)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(method, _)| method)
    }
}

fn spread(figures: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut figures = figures.peekable();
    figures.peek()?;
    Some(Spread::of(figures))
}

/// Rounds with these seconds.
#[cfg(test)]
pub(super) fn of_walls(rounds: &[&[(Method, f64)]]) -> Rounds {
    let mut made = Rounds::default();
    for round in rounds {
        made.begin();
        for (method, wall_s) in *round {
            made.add(*method, Measured { wall_s: *wall_s, ..Measured::default() });
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_pairs_and_not_of_medians() {
        let rounds = of_walls(&[
            &[(Method::Rsync, 1.0), (Method::Default, 0.9)],
            &[(Method::Rsync, 10.0), (Method::Default, 8.0)],
            &[(Method::Rsync, 2.0), (Method::Default, 4.0)],
        ]);
        let ratio = rounds.ratio(Method::Default, Method::Rsync).unwrap();
        assert_eq!(ratio, Spread { min: 0.8, median: 0.9, max: 2.0 });
    }

    #[test]
    fn a_round_in_which_one_of_two_is_missing_gives_no_ratio() {
        let rounds = of_walls(&[&[(Method::Rsync, 1.0)], &[(Method::Rsync, 2.0), (Method::Rclone, 3.0)]]);
        assert_eq!(rounds.ratio(Method::Rclone, Method::Rsync).unwrap().median, 1.5);
        assert_eq!(rounds.ratio(Method::Default, Method::Rsync), None);
        assert_eq!(rounds.spread(Method::Default, |measured| measured.wall_s), None);
    }

    #[test]
    fn the_fastest_peer_may_be_the_yardstick_and_is_never_ours_nor_a_limit() {
        let rounds = of_walls(&[&[
            (Method::Rsync, 5.0),
            (Method::Tar, 4.0),
            (Method::Rclone, 9.0),
            (Method::Quick, 1.0),
            (Method::Cp, 0.5),
            (Method::RsyncThenFlush, 3.0),
        ]]);
        assert_eq!(rounds.fastest_peer(), Some(Method::Tar));
        let rounds = of_walls(&[&[(Method::Rsync, 5.0), (Method::Tar, 6.0)]]);
        assert_eq!(rounds.fastest_peer(), Some(Method::Rsync));
        assert_eq!(Rounds::default().fastest_peer(), None);
    }
}
