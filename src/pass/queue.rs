//! Putting minidvodbs into the queue: for a pass, and for whoever else queues.
//!
//! Invariant: what is queued was decided by `plan::queue`, in the transaction that writes it.

use jiff::Timestamp;

use super::attempt::set_collision;
use super::diary;
use crate::faults::{Fault, Met};
use crate::ledger::{Change, Failure};
use crate::model::{Candidate, Copy, CopyId, Machine, Target};
use crate::plan::queue::{Decision, Queue};

/// So many minidvodbs are queued in one transaction.
pub const QUEUED_AT_ONCE: usize = 10_000;

/// The copies that candidates get for a target, without ids yet; a collision shows its fault. `queue` must have
/// seen whatever was planned before and is not in the ledger.
pub fn planned(
    queue: &mut Queue,
    candidates: Vec<Candidate>,
    target: &Target,
    machine: &Machine,
    now: Timestamp,
) -> Vec<Copy> {
    let mut copies = Vec::new();
    for candidate in candidates {
        let decision = queue.decide(&candidate, target, machine);
        if decision == Decision::Leave {
            continue;
        }
        let mut copy = Copy::queued(
            CopyId(0),
            candidate.minidvodb.id,
            target.group.clone(),
            target.host.clone(),
            machine.clone(),
            target.path.clone(),
            candidate.name,
            now,
        );
        copy.touch(now);
        if decision == Decision::Collision {
            set_collision(&mut copy, now);
        }
        copies.push(copy);
    }
    copies
}

/// Queues candidates for a target: all that have been found in one transaction. Says what was queued.
///
/// # Errors
/// The ledger's.
pub fn put(
    change: &mut Change<'_>,
    candidates: Vec<Candidate>,
    target: &Target,
    machine: &Machine,
    now: Timestamp,
) -> Result<Vec<Copy>, Failure> {
    let mut copies = planned(&mut Queue::default(), candidates, target, machine, now);
    for copy in &mut copies {
        copy.id = change.next_copy_id();
        if copy.fault().is_some() {
            let met = Met::new(Fault::NameCollision, copy.final_path());
            diary::met_fault(change, copy, &met, now)?;
        }
        change.put_known_copy(copy)?;
    }
    Ok(copies)
}
