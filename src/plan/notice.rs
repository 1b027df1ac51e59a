//! What is worth a message where nobody watches.
//!
//! Invariant: a new fault is said once, one that needs a person once a day, a recovery once.

use jiff::Timestamp;

use crate::faults::{Class, Fault};
use crate::model::Standing;

/// The time between two reminders of the same thing, in seconds: a day, less a little so that a daily pass
/// that comes a minute early still speaks.
pub const REMINDER_S: i64 = 24 * 3600 - 600;

/// Whether a fault that a copy met is worth a message: only when it is another one than it showed before,
/// or when it has just begun to need a person.
pub fn is_news(before: Option<(Fault, Class)>, after: (Fault, Class)) -> bool {
    before != Some(after)
}

/// Whether a standing fault is said now.
pub fn is_standing_due(standing: &Standing, now: Timestamp) -> bool {
    match standing.said_at {
        None => true,
        Some(said) => standing.fault.class() != Class::Retry && is_reminder_due(Some(said), now),
    }
}

/// Whether the last reminder is a day old. One from the future was made by a clock that has been set back.
pub fn is_reminder_due(said_at: Option<Timestamp>, now: Timestamp) -> bool {
    said_at.is_none_or(|said| {
        let age_s = now.as_second() - said.as_second();
        !(0..REMINDER_S).contains(&age_s)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_fault_again_is_no_news() {
        let retry = (Fault::SourceChanged, Class::Retry);
        assert!(is_news(None, retry));
        assert!(!is_news(Some(retry), retry));
        assert!(is_news(Some(retry), (Fault::SourceChanged, Class::Person)));
        assert!(is_news(Some(retry), (Fault::Stalled, Class::Retry)));
    }

    #[test]
    fn a_standing_fault_is_said_once_and_once_a_day_when_a_person_is_needed() {
        let mut standing = Standing {
            fault: Fault::HostRefused,
            since: at(0),
            last_seen: at(0),
            probes: 1,
            next_probe: None,
            said_at: None,
            shows_in_sending: false,
            message: String::new(),
        };
        assert!(is_standing_due(&standing, at(0)));
        standing.said_at = Some(at(0));
        assert!(!is_standing_due(&standing, at(3600)));
        assert!(is_standing_due(&standing, at(86_400)));
        standing.fault = Fault::HostUnreachable;
        assert!(!is_standing_due(&standing, at(86_400)));
    }

    #[test]
    fn a_reminder_from_the_future_does_not_silence_the_program() {
        assert!(is_reminder_due(Some(at(1_000_000)), at(0)));
    }
}
