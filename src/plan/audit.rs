//! Which full copies are audited next, and what is wrong with one by what was seen of it.
//!
//! Invariant: the oldest audit comes first, and what was never audited before all; however many copies there
//! are, no more are kept than are wanted.

use std::collections::BinaryHeap;

use jiff::Timestamp;

use crate::faults::{Fault, Met};
use crate::model::{Audit, Copy, CopyId, Host, Seen};

/// The place of a copy in the order of audits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    audited_at: Option<Timestamp>,
    /// The copy.
    pub id: CopyId,
}

/// The turn of a full copy; none where an audit that began at `began` has had it already. An audit that lies in
/// the future was made by a clock that has been set back since, and counts as none.
pub fn turn(copy: &Copy, began: Timestamp, now: Timestamp) -> Option<Turn> {
    let audited_at = copy.audit().map(|audit: &Audit| audit.at).filter(|at| *at <= now);
    (audited_at.is_none_or(|at| at < began)).then_some(Turn { audited_at, id: copy.id })
}

/// The first few in the order of audits.
#[derive(Debug)]
pub struct Oldest {
    most: usize,
    after: Option<Turn>,
    heap: BinaryHeap<(Turn, Host)>,
}

impl Oldest {
    /// The first `most` behind `after`.
    pub fn new(most: usize, after: Option<Turn>) -> Self {
        Self { most, after, heap: BinaryHeap::new() }
    }

    /// Keeps a copy for as long as it is among the first ones.
    pub fn offer(&mut self, turn: Turn, host: &Host) {
        if self.after.is_some_and(|after| turn <= after) {
            return;
        }
        if self.heap.len() < self.most {
            self.heap.push((turn, host.clone()));
        } else if let Some(mut last) = self.heap.peek_mut()
            && turn < last.0
        {
            *last = (turn, host.clone());
        }
    }

    /// Those that were kept, in order.
    pub fn into_sorted(self) -> Vec<(Turn, Host)> {
        self.heap.into_sorted_vec()
    }
}

/// The fault of a copy of which so much was seen.
pub fn judge(final_path: &str, seen: &Seen) -> Option<Met> {
    let (fault, message) = match seen {
        Seen::Gone => (Fault::MissingThere, format!("{final_path} is gone")),
        Seen::Other(what) => {
            (Fault::DiffersThere, format!("{final_path} is no folder any more, and is not followed: {what}"))
        }
        Seen::Closed(why) => (Fault::DiffersThere, format!("{final_path} can't be read: {why}")),
        Seen::Folder(differences) if differences.are_none() => return None,
        // What can't be listed may be there all the same.
        Seen::Folder(differences) if differences.missing > 0 && differences.unlisted.is_empty() => {
            (Fault::MissingThere, differences.to_string())
        }
        Seen::Folder(differences) => (Fault::DiffersThere, differences.to_string()),
    };
    Some(Met::new(fault, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Difference, Differences};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn turn_of(audited_at: Option<i64>, id: u64) -> Turn {
        Turn { audited_at: audited_at.map(at), id: CopyId(id) }
    }

    #[test]
    fn the_never_audited_come_first_and_then_the_oldest() {
        let host = Host::parse("ipp022").unwrap();
        let all = [(Some(30), 1), (None, 5), (Some(10), 3), (None, 4), (Some(10), 2), (Some(20), 6)];
        let first = |most, after| {
            let mut oldest = Oldest::new(most, after);
            all.iter().for_each(|&(audited_at, id)| oldest.offer(turn_of(audited_at, id), &host));
            oldest.into_sorted().iter().map(|(turn, _)| turn.id.0).collect::<Vec<_>>()
        };
        assert_eq!(first(4, None), [4, 5, 2, 3]);
        assert_eq!(first(4, Some(turn_of(Some(10), 3))), [6, 1]);
        assert_eq!(first(0, None), [0; 0]);
    }

    #[test]
    fn of_a_million_no_more_are_kept_than_are_wanted() {
        let host = Host::parse("ipp022").unwrap();
        let mut oldest = Oldest::new(3, None);
        for id in (1..=1_000_000).rev() {
            oldest.offer(turn_of(Some(7), id), &host);
            assert!(oldest.heap.len() <= 3);
        }
        assert_eq!(oldest.into_sorted().iter().map(|(turn, _)| turn.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn what_is_missing_weighs_more_than_what_differs_unless_it_only_can_t_be_listed() {
        let mut differences = Differences::default();
        let code = |seen: &Seen| judge("/there/ThreePi.1", seen).map(|met| met.fault.code());
        assert_eq!(code(&Seen::Folder(differences.clone())), None);
        differences.note(Difference::Size, || "a".to_owned());
        assert_eq!(code(&Seen::Folder(differences.clone())), Some(252));
        differences.note(Difference::Missing, || "b".to_owned());
        assert_eq!(code(&Seen::Folder(differences.clone())), Some(251));
        differences.unlisted = "find: './n0000': Permission denied".to_owned();
        assert_eq!(code(&Seen::Folder(differences)), Some(252));
        assert_eq!(code(&Seen::Gone), Some(251));
        assert_eq!(code(&Seen::Other("symbolic link".to_owned())), Some(252));
        assert_eq!(code(&Seen::Closed("Permission denied".to_owned())), Some(252));
    }
}
