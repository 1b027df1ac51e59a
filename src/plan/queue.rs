//! Step 1 of the pass: which minidvodbs get a copy for a target.
//!
//! Invariant: at most one copy of a minidvodb on a machine, and at most one minidvodb for a final path.

use std::collections::HashSet;

use crate::model::{Candidate, Machine, Target};

/// What to do with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Put a copy into the queue.
    Queue,
    /// Put it into the queue with fault 226: another minidvodb goes to the same final path.
    Collision,
    /// Nothing: not eligible, or there is a copy on the machine.
    Leave,
}

/// Decides on candidates in turn; the same value must see all candidates of one transaction.
#[derive(Debug, Default)]
pub struct Queue {
    final_paths: HashSet<(Machine, String)>,
}

impl Queue {
    /// What to do with `candidate` for `target` on `machine`.
    pub fn decide(&mut self, candidate: &Candidate, target: &Target, machine: &Machine) -> Decision {
        let minidvodb = &candidate.minidvodb;
        if candidate.has_copy || !minidvodb.is_eligible() || minidvodb.group != target.group {
            return Decision::Leave;
        }
        let final_path = crate::model::final_path(&target.path, &candidate.name);
        let is_first = self.final_paths.insert((machine.clone(), final_path));
        if candidate.path_is_taken || !is_first { Decision::Collision } else { Decision::Queue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AbsolutePath, Group, Host, Minidvodb, MinidvodbId, MinidvodbState};

    fn candidate(id: u64, path: &str) -> Candidate {
        let path = AbsolutePath::parse(path).unwrap();
        Candidate {
            name: path.name().unwrap(),
            minidvodb: Minidvodb {
                id: MinidvodbId(id),
                minidvodb_name: None,
                group: Group::parse("ThreePi").unwrap(),
                path,
                state: MinidvodbState::Merged,
                processed_fault: Some(0),
                is_from_database: false,
            },
            has_copy: false,
            path_is_taken: false,
        }
    }

    fn target() -> (Target, Machine) {
        let host = Host::parse("ipp0222").unwrap();
        let machine = Machine::parse("ipp022").unwrap();
        (Target::new(Group::parse("ThreePi").unwrap(), host, AbsolutePath::parse("/there").unwrap()), machine)
    }

    #[test]
    fn only_merged_unfaulted_minidvodbs_of_the_group_without_a_copy_are_queued() {
        let (target, machine) = target();
        let mut queue = Queue::default();
        let mut decide = |candidate: &Candidate| queue.decide(candidate, &target, &machine);
        assert_eq!(decide(&candidate(1, "/a/ThreePi.1")), Decision::Queue);

        let mut other = candidate(2, "/a/ThreePi.2");
        other.has_copy = true;
        assert_eq!(decide(&other), Decision::Leave);

        let mut other = candidate(3, "/a/ThreePi.3");
        other.minidvodb.state = MinidvodbState::parse("to_be_merged").unwrap();
        assert_eq!(decide(&other), Decision::Leave);

        let mut other = candidate(4, "/a/ThreePi.4");
        other.minidvodb.processed_fault = Some(2);
        assert_eq!(decide(&other), Decision::Leave);

        let mut other = candidate(5, "/a/ThreePi.5");
        other.minidvodb.group = Group::parse("SAS").unwrap();
        assert_eq!(decide(&other), Decision::Leave);
    }

    #[test]
    fn the_second_minidvodb_with_a_final_path_is_a_collision() {
        let (target, machine) = target();
        let mut queue = Queue::default();
        assert_eq!(queue.decide(&candidate(1, "/a/ThreePi.1"), &target, &machine), Decision::Queue);
        assert_eq!(queue.decide(&candidate(2, "/b/ThreePi.1"), &target, &machine), Decision::Collision);
        let mut taken = candidate(3, "/b/ThreePi.3");
        taken.path_is_taken = true;
        assert_eq!(queue.decide(&taken, &target, &machine), Decision::Collision);
    }
}
