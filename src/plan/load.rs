//! Step 2 of the pass: whether a pending copy is served now.
//!
//! Invariant: a copy that waits for a person, for its time, or for its minidvodb is left as it is.

use jiff::Timestamp;

use super::retry;
use crate::faults::{Class, Scope};
use crate::model::{Copy, Minidvodb, Standing};

/// How eager a pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eagerness {
    /// Cron's pass: waits are waited for.
    Scheduled,
    /// An operator's pass, now: retry faults and probes do not wait.
    Now,
}

/// What to do with a pending copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Copy it.
    Serve,
    /// Its time has not come.
    Wait,
    /// It waits for a person.
    NeedsPerson,
    /// Its minidvodb is gone from the list, not merged any more, or faulted.
    NotEligible,
}

/// Whether `copy` is served in this pass.
pub fn judge(copy: &Copy, minidvodb: Option<&Minidvodb>, now: Timestamp, eagerness: Eagerness) -> Verdict {
    // A rename that may have happened is settled whatever became of the minidvodb.
    if copy.publishing().is_none() && !minidvodb.is_some_and(Minidvodb::is_eligible) {
        return Verdict::NotEligible;
    }
    let Some(state) = copy.fault_of_making() else { return Verdict::Serve };
    if state.fault.scope() != Scope::Copy {
        // Its host or target decides, and was asked before the queue was loaded.
        return Verdict::Serve;
    }
    match (state.class, state.next_try) {
        (Class::Person | Class::Configuration, _) => Verdict::NeedsPerson,
        (Class::Retry, Some(at)) if eagerness == Eagerness::Scheduled && !retry::is_due(at, now) => {
            Verdict::Wait
        }
        (Class::Retry, _) => Verdict::Serve,
    }
}

/// Whether a host or target with a standing fault is looked at in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nothing stands in the way.
    Open,
    /// A fault stands in the way: look whether its cause is gone.
    Probe,
    /// A fault stands in the way, and the time to look again has not come, or it waits for an operator.
    Closed,
}

/// Whether the queue behind a standing fault is served, probed or left alone.
pub fn door(standing: Option<&Standing>, now: Timestamp, eagerness: Eagerness) -> Door {
    let Some(standing) = standing else { return Door::Open };
    match standing.next_probe {
        None => Door::Closed,
        Some(at) if eagerness == Eagerness::Now || retry::is_due(at, now) => Door::Probe,
        Some(_) => Door::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Fault, Met};
    use crate::model::{AbsolutePath, CopyId, Group, Host, MinidvodbId, MinidvodbState};

    fn minidvodb() -> Minidvodb {
        Minidvodb {
            id: MinidvodbId(1),
            minidvodb_name: None,
            group: Group::parse("ThreePi").unwrap(),
            path: AbsolutePath::parse("/data/ThreePi.1").unwrap(),
            state: MinidvodbState::Merged,
            processed_fault: Some(0),
            is_from_database: false,
        }
    }

    fn copy() -> Copy {
        let host = Host::parse("ipp0222").unwrap();
        let minidvodb = minidvodb();
        Copy::queued(
            CopyId(1),
            minidvodb.id,
            minidvodb.group.clone(),
            host.clone(),
            host.default_machine(),
            AbsolutePath::parse("/there").unwrap(),
            minidvodb.folder_name().unwrap(),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn a_copy_without_a_fault_is_served_while_its_minidvodb_is_merged() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(judge(&copy(), Some(&minidvodb()), now, Eagerness::Scheduled), Verdict::Serve);
        let unmerged = Minidvodb { state: MinidvodbState::parse("active").unwrap(), ..minidvodb() };
        assert_eq!(judge(&copy(), Some(&unmerged), now, Eagerness::Scheduled), Verdict::NotEligible);
        assert_eq!(judge(&copy(), None, now, Eagerness::Now), Verdict::NotEligible);
    }

    #[test]
    fn a_retry_fault_waits_for_its_time_unless_an_operator_asks() {
        let now = Timestamp::UNIX_EPOCH;
        let mut copy = copy();
        retry::after_fault(&mut copy, &Met::new(Fault::SourceChanged, ""), now);
        let at = copy.fault().unwrap().next_try.unwrap();
        assert_eq!(judge(&copy, Some(&minidvodb()), now, Eagerness::Scheduled), Verdict::Wait);
        assert_eq!(judge(&copy, Some(&minidvodb()), now, Eagerness::Now), Verdict::Serve);
        assert_eq!(judge(&copy, Some(&minidvodb()), at, Eagerness::Scheduled), Verdict::Serve);
    }

    #[test]
    fn a_fault_for_a_person_waits_even_when_an_operator_asks_for_a_pass() {
        let mut copy = copy();
        retry::after_fault(&mut copy, &Met::new(Fault::PathTaken, ""), Timestamp::UNIX_EPOCH);
        assert_eq!(
            judge(&copy, Some(&minidvodb()), Timestamp::UNIX_EPOCH, Eagerness::Now),
            Verdict::NeedsPerson
        );
    }

    #[test]
    fn a_standing_fault_is_probed_when_its_time_has_come() {
        let now = Timestamp::UNIX_EPOCH;
        let mut standing = Standing {
            fault: Fault::HostUnreachable,
            since: now,
            last_seen: now,
            probes: 1,
            next_probe: Some(retry::next_try(now, 1, 0)),
            said_at: None,
            shows_in_sending: false,
            message: String::new(),
        };
        assert_eq!(door(None, now, Eagerness::Scheduled), Door::Open);
        assert_eq!(door(Some(&standing), now, Eagerness::Scheduled), Door::Closed);
        assert_eq!(door(Some(&standing), now, Eagerness::Now), Door::Probe);
        assert_eq!(door(Some(&standing), standing.next_probe.unwrap(), Eagerness::Scheduled), Door::Probe);
        standing.next_probe = None;
        assert_eq!(door(Some(&standing), now, Eagerness::Now), Door::Closed);
    }
}
