//! When a fault is tried again, and when it stops healing by itself.
//!
//! Invariant: the same history and the same `now` give the same answer; the jitter comes from the ids.

use jiff::{SignedDuration, Timestamp};

use crate::faults::{Class, Fault, Met, Scope};
use crate::model::{Copy, FaultState};

/// The wait after the first fault.
pub const FIRST_WAIT_S: i64 = 5 * 60;
/// The longest wait, before jitter.
pub const LONGEST_WAIT_S: i64 = 6 * 60 * 60;
/// So many attempts without progress, then a person is asked.
pub const TRIES_MAX: u32 = 8;
/// So many interruptions in a row without progress, then they are a fault.
pub const INTERRUPTIONS_MAX: u32 = 8;
/// The jitter is at most this part of the wait.
const JITTER_PART: i64 = 10;

/// The wait after the `tries`-th fault in a row: 5 minutes, doubling to 6 hours, and up to a tenth more.
pub fn wait_s(tries: u32, jitter_seed: u64) -> i64 {
    let doublings = tries.saturating_sub(1).min(16);
    let wait = (FIRST_WAIT_S << doublings).min(LONGEST_WAIT_S);
    let jitter_max = wait / JITTER_PART;
    let mixed = jitter_seed.wrapping_add(u64::from(tries)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    wait + i64::try_from(mixed).unwrap_or(0) % (jitter_max + 1)
}

/// When to look again after the `tries`-th fault in a row.
pub fn next_try(now: Timestamp, tries: u32, jitter_seed: u64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(wait_s(tries, jitter_seed))).unwrap_or(Timestamp::MAX)
}

/// Whether the time has come. A time farther away than any wait can be was made by a clock that has been
/// set back since, and counts as come.
pub fn is_due(next_try: Timestamp, now: Timestamp) -> bool {
    let longest = LONGEST_WAIT_S + LONGEST_WAIT_S / JITTER_PART;
    now >= next_try || next_try.as_second() - now.as_second() > longest
}

/// The copy after an attempt that met a fault of its own.
///
/// Progress (less to send than the attempt before found) has been accounted for at sizing.
pub fn after_fault(copy: &mut Copy, met: &Met, now: Timestamp) {
    let fault = met.fault;
    let was_same = copy.fault_of_making().is_some_and(|state| state.fault == fault);
    copy.same_fault = if was_same { copy.same_fault + 1 } else { 1 };
    copy.tries += 1;
    copy.interruptions = 0;
    let class = class_after(fault, met.is_for_ever, copy.tries, copy.same_fault);
    let next_try = match class {
        Class::Retry => Some(next_try(now, copy.tries, copy.id.0)),
        Class::Person | Class::Configuration => None,
    };
    set_fault(copy, FaultState { fault, class, next_try }, now);
}

/// The copy after an attempt that met a fault of its host or target: it shows the code, and the attempt does
/// not count.
pub fn after_standing_fault(copy: &mut Copy, fault: Fault, now: Timestamp) {
    debug_assert_ne!(fault.scope(), Scope::Copy);
    copy.attempts = copy.attempts.saturating_sub(1);
    set_fault(copy, FaultState { fault, class: fault.class(), next_try: None }, now);
}

/// The copy after an attempt that was cut off; true when that has become a fault.
pub fn after_interruption(copy: &mut Copy, now: Timestamp) -> bool {
    copy.interruptions += 1;
    if copy.interruptions < INTERRUPTIONS_MAX {
        return false;
    }
    let message = format!("cut off {INTERRUPTIONS_MAX} times in a row without having moved anything");
    after_fault(copy, &Met::new(Fault::Deadline, message), now);
    true
}

/// The counts after sizing: less to send than the last attempt found is progress, and they begin anew.
pub fn note_progress(copy: &mut Copy, to_send_bytes: u64) {
    if copy.to_send_bytes.is_some_and(|before| to_send_bytes < before) {
        copy.tries = 0;
        copy.interruptions = 0;
    }
    copy.to_send_bytes = Some(to_send_bytes);
}

fn class_after(fault: Fault, is_for_ever: bool, tries: u32, same_fault: u32) -> Class {
    match fault.class() {
        Class::Retry if is_for_ever => Class::Person,
        Class::Retry if fault == Fault::VerifyMismatch && same_fault > 1 => Class::Person,
        // It heals when somebody makes room, however long that takes.
        Class::Retry if fault == Fault::NoRoom => Class::Retry,
        Class::Retry if tries >= TRIES_MAX => Class::Person,
        class => class,
    }
}

fn set_fault(copy: &mut Copy, state: FaultState, now: Timestamp) {
    copy.set_fault_of_making(Some(state));
    copy.touch(now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AbsolutePath, CopyId, Group, Host, MinidvodbId};

    fn copy() -> Copy {
        let host = Host::parse("ipp0222").unwrap();
        let path = AbsolutePath::parse("/data/ThreePi.1").unwrap();
        Copy::queued(
            CopyId(1),
            MinidvodbId(1),
            Group::parse("ThreePi").unwrap(),
            host.clone(),
            host.default_machine(),
            AbsolutePath::parse("/there").unwrap(),
            path.name().unwrap(),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn waits_double_from_five_minutes_to_six_hours_with_at_most_a_tenth_more() {
        for (tries, minutes) in
            [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 320), (8, 360), (99, 360)]
        {
            for seed in 0..50 {
                let wait = wait_s(tries, seed);
                assert!((minutes * 60..=minutes * 66).contains(&wait), "{tries} {seed}: {wait}");
            }
        }
        let spread: std::collections::BTreeSet<i64> = (0..50).map(|seed| wait_s(3, seed)).collect();
        assert!(spread.len() > 20, "the waits of different copies differ");
    }

    #[test]
    fn a_retry_fault_asks_for_a_person_after_eight_attempts_without_progress() {
        let mut copy = copy();
        for tries in 1..=8 {
            after_fault(&mut copy, &Met::new(Fault::SourceChanged, ""), Timestamp::UNIX_EPOCH);
            let class = copy.fault().unwrap().class;
            assert_eq!(class, if tries < 8 { Class::Retry } else { Class::Person }, "{tries}");
        }
        assert_eq!(copy.fault().unwrap().next_try, None);
    }

    #[test]
    fn progress_begins_the_count_anew() {
        let mut copy = copy();
        for bytes in [100, 100, 100, 90] {
            note_progress(&mut copy, bytes);
            after_fault(&mut copy, &Met::new(Fault::Deadline, ""), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(copy.tries, 1);
    }

    #[test]
    fn a_mismatch_is_retried_once() {
        let mut copy = copy();
        after_fault(&mut copy, &Met::new(Fault::VerifyMismatch, ""), Timestamp::UNIX_EPOCH);
        assert_eq!(copy.fault().unwrap().class, Class::Retry);
        after_fault(&mut copy, &Met::new(Fault::VerifyMismatch, ""), Timestamp::UNIX_EPOCH);
        assert_eq!(copy.fault().unwrap().class, Class::Person);
    }

    #[test]
    fn no_room_stays_a_retry_unless_it_could_never_fit() {
        let mut copy = copy();
        for _ in 0..20 {
            after_fault(&mut copy, &Met::new(Fault::NoRoom, ""), Timestamp::UNIX_EPOCH);
            assert_eq!(copy.fault().unwrap().class, Class::Retry);
        }
        let never = Met { is_for_ever: true, ..Met::new(Fault::NoRoom, "") };
        after_fault(&mut copy, &never, Timestamp::UNIX_EPOCH);
        assert_eq!(copy.fault().unwrap().class, Class::Person);
    }

    #[test]
    fn the_eighth_interruption_without_progress_is_a_deadline_fault() {
        let mut copy = copy();
        for number in 1..=8 {
            assert_eq!(after_interruption(&mut copy, Timestamp::UNIX_EPOCH), number == 8);
        }
        assert_eq!(copy.fault_code(), 241);
    }

    #[test]
    fn a_fault_of_the_host_counts_no_try() {
        let mut copy = copy();
        after_standing_fault(&mut copy, Fault::HostUnreachable, Timestamp::UNIX_EPOCH);
        assert_eq!((copy.fault_code(), copy.tries), (211, 0));
    }

    #[test]
    fn a_clock_set_back_does_not_make_a_copy_wait_for_years() {
        let now = Timestamp::UNIX_EPOCH;
        let far = Timestamp::from_second(3_000_000_000).unwrap();
        assert!(is_due(far, now));
        assert!(!is_due(Timestamp::from_second(300).unwrap(), now));
        assert!(is_due(now, now));
    }
}
