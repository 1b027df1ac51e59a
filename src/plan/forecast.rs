//! What the numbers of the past say of the time to come: when the queue will be empty, when a disk is at its limit.
//!
//! Invariant: what nobody can know is said to be unknown, with the reason; nothing is divided by zero, and nothing
//! that is farther away than anybody plans is given a date.

use jiff::{SignedDuration, Timestamp};

use crate::faults::{Fault, Scope};
use crate::model::{Day, Host, Kind, Outcome, Room, RoomSeen, Tally, Target, day_of};

const DAY_S: f64 = 86_400.0;
const YEAR_S: f64 = 365.25 * DAY_S;
/// What is farther away is no forecast any more.
const YEARS_MAX: u32 = 100;
/// The days that the growth of a host is the mean of.
const GROWTH_DAYS: i32 = 30;
/// The stretches that are looked back on: today, and so many days (UTC) before it.
pub const PERIODS: [(&str, i32); 3] = [("day", 1), ("week", 7), ("month", 30)];

/// When something will be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It is.
    Now,
    /// In so many seconds, which is then.
    At {
        /// From now.
        seconds: u64,
        /// The moment.
        at: Timestamp,
    },
    /// In more than so many years.
    Beyond {
        /// The years.
        years: u32,
    },
    /// Nobody can say, for this reason.
    Unknown(&'static str),
}

/// What was done in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Copies that became full.
    pub full: u64,
    /// Bytes of files that were sent by all attempts, however they ended.
    pub sent_bytes: u64,
    /// Milliseconds that all attempts took.
    pub milliseconds: u64,
    /// Attempts that met a fault.
    pub faulted: u64,
    /// Attempts that were cut off.
    pub interrupted: u64,
}

impl Work {
    /// What was done since a day, at one host or at all.
    pub fn since(day: i32, host: Option<&Host>, days: &[Day]) -> Self {
        let mut work = Self::default();
        for one in days.iter().filter(|one| one.day >= day && host.is_none_or(|host| one.host == *host)) {
            work.sent_bytes = work.sent_bytes.saturating_add(one.sent_bytes);
            work.milliseconds = work.milliseconds.saturating_add(one.milliseconds);
            let number = match one.outcome {
                Outcome::Full => &mut work.full,
                Outcome::Faulted(_) => &mut work.faulted,
                Outcome::Interrupted | Outcome::Open => &mut work.interrupted,
            };
            *number = number.saturating_add(one.attempts);
        }
        work
    }

    /// The mean rate while something was copied.
    pub fn rate_bytes_per_s(&self) -> Option<u64> {
        rate_bytes_per_s(self.sent_bytes, self.milliseconds as f64 / 1e3)
    }
}

/// The rate at which a host was copied to: that of the shortest period in which anything was. A host that nothing
/// was copied to yet is taken to be as fast as the others.
pub fn rate_of(host: &Host, days: &[Day], now: Timestamp) -> Option<u64> {
    [Some(host), None].into_iter().find_map(|host| {
        PERIODS.iter().find_map(|(_, past)| Work::since(day_of(now) - past, host, days).rate_bytes_per_s())
    })
}

/// A rate; none where there was nothing, or no time.
pub fn rate_bytes_per_s(bytes: u64, seconds: f64) -> Option<u64> {
    let rate = bytes as f64 / seconds;
    (bytes > 0 && seconds > 0.0 && rate >= 1.0).then_some(rate as u64)
}

/// The seconds that are left of something of which a part is done; none while nobody can say.
pub fn left_s(elapsed_s: f64, done: f64, total: f64) -> Option<u64> {
    let left = elapsed_s * (total - done).max(0.0) / done;
    (elapsed_s >= 1.0 && done > 0.0 && left < f64::from(YEARS_MAX) * YEAR_S).then_some(left as u64)
}

/// What copies that show a fault count as, wherever people see it: those whose host or target has the fault go on
/// with it by themselves.
pub fn shown_kind(kind: Kind, fault_code: i16) -> Kind {
    let is_their_own = Fault::from_code(fault_code).is_none_or(|fault| fault.scope() == Scope::Copy);
    match kind {
        Kind::Person if !is_their_own => Kind::Retry,
        Kind::RecopyPerson if !is_their_own => Kind::Recopy,
        kind => kind,
    }
}

/// Whether copies that count as the same wait for a person.
pub fn waits_for_person(tally: &Tally) -> bool {
    matches!(shown_kind(tally.kind, tally.fault_code), Kind::Person | Kind::RecopyPerson)
}

/// Whether passes make copies that count as the same, now or later.
pub fn is_queued(tally: &Tally) -> bool {
    tally.kind != Kind::Full && !waits_for_person(tally)
}

/// Copies that a pass has to make, unless they wait for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many.
    pub copies: u64,
    /// The bytes of those that have been sized.
    pub known_bytes: u64,
    /// How many have been sized.
    pub sized: u64,
}

impl Queue {
    /// Adds copies that count as the same, if passes make them by themselves.
    pub fn add(&mut self, tally: &Tally) {
        if is_queued(tally) {
            self.copies = self.copies.saturating_add(tally.copies);
            self.known_bytes = self.known_bytes.saturating_add(tally.bytes);
            self.sized = self.sized.saturating_add(tally.sized);
        }
    }

    /// About how many bytes they have, those that were never sized with the mean of what is known.
    pub fn bytes(&self, mean_bytes: Option<u64>) -> Option<u64> {
        let unsized_copies = self.copies.saturating_sub(self.sized);
        if unsized_copies == 0 {
            return Some(self.known_bytes);
        }
        Some(self.known_bytes.saturating_add(mean_bytes?.saturating_mul(unsized_copies)))
    }

    /// When it will be empty, at a rate.
    pub fn empty(&self, mean_bytes: Option<u64>, rate_bytes_per_s: Option<u64>, now: Timestamp) -> Forecast {
        if self.copies == 0 {
            return Forecast::Now;
        }
        let Some(bytes) = self.bytes(mean_bytes) else {
            return Forecast::Unknown("no minidvodb was sized yet");
        };
        match rate_bytes_per_s {
            None | Some(0) => Forecast::Unknown("nothing was copied in the last month"),
            Some(rate) => after(now, bytes as f64 / rate as f64),
        }
    }
}

/// The mean size of the copies that have been sized.
pub fn mean_bytes<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Option<u64> {
    let (bytes, sized) = tallies.into_iter().fold((0u64, 0u64), |(bytes, sized), tally| {
        (bytes.saturating_add(tally.bytes), sized.saturating_add(tally.sized))
    });
    bytes.checked_div(sized)
}

/// The room until so many percent are used, in bytes. `df` rounds its percentage up and keeps some for root, so
/// that what an ordinary user can have follows from both, as far as it does.
pub fn room_until_limit(room: &Room, limit_percent: u8) -> u64 {
    let unused_part = f64::from(100 - room.used_percent.min(100)) / 100.0;
    let free = room.free_bytes as f64;
    let all = if unused_part > 0.0 { free / unused_part } else { f64::INFINITY };
    let all = all.min(room.total_bytes as f64).max(free);
    let kept = all * f64::from(100 - limit_percent.min(100)) / 100.0;
    if room.used_percent > limit_percent { 0 } else { (free - kept).max(0.0) as u64 }
}

/// The bytes that came to a host a day, in the mean of the last month, or of the time since the first came.
pub fn growth_bytes_per_day(host: &Host, days: &[Day], now: Timestamp) -> Option<u64> {
    let since = day_of(now) - GROWTH_DAYS;
    let first = days.iter().filter(|day| day.day >= since && day.host == *host).map(|day| day.day).min()?;
    let bytes = Work::since(since, Some(host), days).sent_bytes;
    let seconds = now.as_second() as f64 - f64::from(first) * DAY_S;
    // What came in the first hours says little of a day.
    let growth = bytes as f64 / seconds.max(DAY_S) * DAY_S;
    (growth >= 1.0).then_some(growth as u64)
}

/// What a file system's limit is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// The room until its limit.
    pub room_bytes: u64,
    /// What is queued for it.
    pub queued_bytes: Option<u64>,
    /// The rate while copying.
    pub rate_bytes_per_s: Option<u64>,
    /// What comes a day, in the mean, when the queue is empty.
    pub growth_bytes_per_day: Option<u64>,
}

impl Filling {
    /// Of a file system: by the queues of the targets that lie there, and by what came to its host so far.
    pub fn of(
        seen: &RoomSeen,
        targets: &[&Target],
        limit_percent: u8,
        tallies: &[Tally],
        days: &[Day],
        now: Timestamp,
    ) -> Self {
        let mut queue = Queue::default();
        for tally in tallies.iter().filter(|tally| targets.iter().any(|target| tally.is_of(target))) {
            // The old folder of a copy that is sent again makes room for the new one.
            if !matches!(tally.kind, Kind::Recopy | Kind::RecopyPerson) {
                queue.add(tally);
            }
        }
        Self {
            room_bytes: room_until_limit(&seen.room, limit_percent),
            queued_bytes: queue.bytes(mean_bytes(tallies)),
            rate_bytes_per_s: rate_of(&seen.host, days, now),
            growth_bytes_per_day: growth_bytes_per_day(&seen.host, days, now),
        }
    }

    /// Whether what is queued goes beyond the limit.
    pub fn is_too_much(&self) -> bool {
        self.queued_bytes.is_some_and(|bytes| bytes > self.room_bytes)
    }

    /// When the limit is reached: while the queue is copied, else by what comes a day.
    pub fn full(&self, now: Timestamp) -> Forecast {
        if self.room_bytes == 0 {
            return Forecast::Now;
        }
        let queued_bytes = self.queued_bytes.unwrap_or_default();
        let rate = self.rate_bytes_per_s.filter(|&rate| rate > 0).map(|rate| rate as f64);
        let copying_s = |bytes: u64| rate.map_or(0.0, |rate| bytes as f64 / rate);
        if queued_bytes > self.room_bytes {
            return match rate {
                None => Forecast::Unknown("nothing was copied in the last month"),
                Some(_) => after(now, copying_s(self.room_bytes)),
            };
        }
        match self.growth_bytes_per_day.filter(|&growth| growth > 0) {
            None => Forecast::Unknown("nothing was copied there in the last month"),
            Some(growth) => {
                let days = (self.room_bytes - queued_bytes) as f64 / growth as f64;
                after(now, copying_s(queued_bytes) + days * DAY_S)
            }
        }
    }
}

/// The moment that is so many seconds away.
pub fn after(now: Timestamp, seconds: f64) -> Forecast {
    let is_near = seconds < f64::from(YEARS_MAX) * YEAR_S;
    let wait = is_near.then(|| SignedDuration::try_from_secs_f64(seconds).ok()).flatten();
    match wait.and_then(|wait| Some((wait, now.checked_add(wait).ok()?))) {
        Some((wait, at)) => Forecast::At { seconds: wait.as_secs().unsigned_abs(), at },
        None => Forecast::Beyond { years: YEARS_MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Group;

    const GIB: u64 = 1 << 30;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    fn day(day: i32, name: &str, outcome: Outcome, sent_bytes: u64, milliseconds: u64) -> Day {
        Day { day, host: host(name), outcome, attempts: 2, sent_bytes, milliseconds }
    }

    fn tally(kind: Kind, copies: u64, bytes: u64, sized: u64) -> Tally {
        let group = Group::parse("ThreePi").unwrap();
        Tally { host: host("ipp022"), group, kind, fault_code: 0, copies, bytes, sized }
    }

    fn in_seconds(forecast: &Forecast) -> u64 {
        match forecast {
            Forecast::At { seconds, .. } => *seconds,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rate_needs_bytes_and_time() {
        assert_eq!(rate_bytes_per_s(100, 2.0), Some(50));
        assert_eq!(rate_bytes_per_s(0, 2.0), None);
        assert_eq!(rate_bytes_per_s(100, 0.0), None);
        assert_eq!(rate_bytes_per_s(100, -1.0), None);
        assert_eq!(rate_bytes_per_s(100, f64::NAN), None);
        assert_eq!(rate_bytes_per_s(1, 1e9), None, "less than a byte a second is none");
        assert_eq!(rate_bytes_per_s(u64::MAX, f64::MIN_POSITIVE), Some(u64::MAX));
    }

    #[test]
    fn what_is_left_is_known_when_a_part_is_done() {
        assert_eq!(left_s(100.0, 1.0, 4.0), Some(300));
        assert_eq!(left_s(100.0, 4.0, 4.0), Some(0));
        assert_eq!(left_s(100.0, 5.0, 4.0), Some(0));
        assert_eq!(left_s(100.0, 0.0, 4.0), None);
        assert_eq!(left_s(0.1, 1.0, 4.0), None);
        assert_eq!(left_s(1e9, 1e-6, 1e9), None);
    }

    #[test]
    fn work_is_summed_by_day_and_host() {
        let days = [
            day(9, "ipp022", Outcome::Full, 10, 1_000),
            day(10, "ipp022", Outcome::Full, 20, 1_000),
            day(10, "ipp022", Outcome::Faulted(Fault::Stalled), 5, 1_000),
            day(10, "ipp031", Outcome::Interrupted, 7, 1_000),
        ];
        let work = Work::since(10, Some(&host("ipp022")), &days);
        let wanted = Work { full: 2, sent_bytes: 25, milliseconds: 2_000, faulted: 2, interrupted: 0 };
        assert_eq!(work, wanted);
        assert_eq!(work.rate_bytes_per_s(), Some(12));
        assert_eq!(Work::since(0, None, &days).sent_bytes, 42);
        assert_eq!(Work::since(0, None, &days).interrupted, 2);
        assert_eq!(Work::since(11, None, &days), Work::default());
        assert_eq!(Work::default().rate_bytes_per_s(), None);
    }

    #[test]
    fn a_rate_is_that_of_the_shortest_period_in_which_anything_was_copied() {
        let rate = |days: &[Day]| rate_of(&host("ipp022"), days, at(100));
        let month = day(75, "ipp022", Outcome::Full, 10, 1_000);
        let week = day(95, "ipp022", Outcome::Full, 20, 1_000);
        let yesterday = day(99, "ipp022", Outcome::Full, 40, 1_000);
        let other = day(99, "ipp031", Outcome::Full, 80, 1_000);
        assert_eq!(rate(&[month.clone(), other.clone()]), Some(10));
        assert_eq!(rate(&[month.clone(), week.clone(), other.clone()]), Some(20));
        assert_eq!(rate(&[month, week, yesterday, other.clone()]), Some(40));
        assert_eq!(rate(&[day(69, "ipp022", Outcome::Full, 10, 1_000), other]), Some(80));
        assert_eq!(rate(&[]), None);
    }

    #[test]
    fn a_queue_is_empty_when_its_bytes_are_sent() {
        let mut queue = Queue::default();
        assert_eq!(queue.empty(None, None, at(0)), Forecast::Now);
        queue.add(&tally(Kind::New, 10, 0, 0));
        queue.add(&tally(Kind::Person, 1_000, GIB, 1_000));
        queue.add(&tally(Kind::Full, 1_000, GIB, 1_000));
        assert_eq!(queue.copies, 10);
        assert!(matches!(queue.empty(None, Some(GIB), at(0)), Forecast::Unknown(_)));
        assert!(matches!(queue.empty(Some(GIB), None, at(0)), Forecast::Unknown(_)));
        assert!(matches!(queue.empty(Some(GIB), Some(0), at(0)), Forecast::Unknown(_)));
        let forecast = queue.empty(Some(GIB), Some(GIB / 100), at(0));
        assert_eq!(in_seconds(&forecast), 1_000);
        queue.add(&tally(Kind::Retry, 2, 3 * GIB, 1));
        assert_eq!(queue.bytes(Some(GIB)), Some(14 * GIB));
        assert_eq!(queue.empty(Some(u64::MAX), Some(1), at(0)), Forecast::Beyond { years: 100 });
    }

    #[test]
    fn what_shows_a_fault_of_its_host_waits_for_no_person() {
        let own = Tally { fault_code: Fault::PathTaken.code(), ..tally(Kind::Person, 1, 0, 0) };
        let of_host = Tally { fault_code: Fault::HostRefused.code(), ..own.clone() };
        assert!(waits_for_person(&own) && !is_queued(&own));
        assert!(!waits_for_person(&of_host) && is_queued(&of_host));
        for (fault, [new, again]) in [
            (Fault::PathTaken, [Kind::Person, Kind::RecopyPerson]),
            (Fault::HostRefused, [Kind::Retry, Kind::Recopy]),
            (Fault::PathMissing, [Kind::Retry, Kind::Recopy]),
        ] {
            assert_eq!(shown_kind(Kind::Person, fault.code()), new);
            assert_eq!(shown_kind(Kind::RecopyPerson, fault.code()), again);
            assert_eq!(shown_kind(Kind::Full, fault.code()), Kind::Full);
        }
        assert!(!is_queued(&tally(Kind::Full, 1, 0, 0)) && is_queued(&tally(Kind::Recopy, 1, 0, 0)));
    }

    #[test]
    fn sizes_that_are_all_known_need_no_mean() {
        let mut queue = Queue::default();
        queue.add(&tally(Kind::Recopy, 2, 5, 2));
        assert_eq!(queue.bytes(None), Some(5));
        assert_eq!(mean_bytes(&[tally(Kind::Full, 4, 100, 4), tally(Kind::New, 9, 20, 1)]), Some(24));
        assert_eq!(mean_bytes(&[tally(Kind::New, 9, 0, 0)]), None);
        assert_eq!(mean_bytes(&[]), None);
    }

    fn room(total: u64, free: u64, used_percent: u8) -> Room {
        Room { total_bytes: total, free_bytes: free, used_percent, inodes: None, block_bytes: 4096 }
    }

    #[test]
    fn the_room_until_the_limit_is_what_an_ordinary_user_can_have() {
        assert_eq!(room_until_limit(&room(100 * GIB, 50 * GIB, 50), 97), 47 * GIB);
        assert_eq!(room_until_limit(&room(100 * GIB, 50 * GIB, 50), 50), 0);
        assert_eq!(room_until_limit(&room(100 * GIB, 50 * GIB, 50), 100), 50 * GIB);
        assert_eq!(room_until_limit(&room(100 * GIB, 2 * GIB, 98), 97), 0);
        assert_eq!(room_until_limit(&room(0, 0, 100), 97), 0);
        assert_eq!(room_until_limit(&room(0, 0, 0), 97), 0);
        assert_eq!(room_until_limit(&room(GIB, 0, 100), 100), 0);
        // 5 % are root's: of the 95 that are left, 45 are used.
        let kept_for_root = room_until_limit(&room(100 * GIB, 50 * GIB, 48), 97);
        assert!(kept_for_root > 46 * GIB && kept_for_root < 48 * GIB, "{kept_for_root}");
        assert!(room_until_limit(&room(u64::MAX, u64::MAX, 0), 0) < GIB);
    }

    #[test]
    fn a_host_grows_by_what_came_a_day() {
        let days =
            [day(98, "ipp022", Outcome::Full, 2 * GIB, 1), day(40, "ipp022", Outcome::Full, 900 * GIB, 1)];
        assert_eq!(growth_bytes_per_day(&host("ipp022"), &days, at(100)), Some(GIB));
        assert_eq!(growth_bytes_per_day(&host("ipp031"), &days, at(100)), None);
        assert_eq!(growth_bytes_per_day(&host("ipp022"), &[], at(100)), None);
        // A clock that was set back.
        assert!(growth_bytes_per_day(&host("ipp022"), &days, at(98)).is_some());
        let nothing = [day(99, "ipp022", Outcome::Faulted(Fault::HostKey), 0, 1)];
        assert_eq!(growth_bytes_per_day(&host("ipp022"), &nothing, at(100)), None);
    }

    #[test]
    fn a_disk_is_at_its_limit_by_the_queue_or_by_what_comes_a_day() {
        let filling = Filling {
            room_bytes: 100 * GIB,
            queued_bytes: Some(0),
            rate_bytes_per_s: Some(GIB),
            growth_bytes_per_day: Some(GIB),
        };
        assert_eq!(in_seconds(&filling.full(at(0))), 100 * 86_400);
        assert_eq!(Filling { room_bytes: 0, ..filling }.full(at(0)), Forecast::Now);
        let queued = Filling { queued_bytes: Some(50 * GIB), ..filling };
        assert_eq!(in_seconds(&queued.full(at(0))), 50 + 50 * 86_400);
        let too_much = Filling { queued_bytes: Some(500 * GIB), ..filling };
        assert!(too_much.is_too_much() && !queued.is_too_much());
        assert_eq!(in_seconds(&too_much.full(at(0))), 100);
        let slow = Filling { rate_bytes_per_s: None, ..too_much };
        assert!(matches!(slow.full(at(0)), Forecast::Unknown(_)));
        let at_rest = Filling { growth_bytes_per_day: None, ..filling };
        assert!(matches!(at_rest.full(at(0)), Forecast::Unknown(_)));
        let never = Filling { room_bytes: u64::MAX, growth_bytes_per_day: Some(1), ..filling };
        assert_eq!(never.full(at(0)), Forecast::Beyond { years: 100 });
    }

    #[test]
    fn no_moment_is_beyond_the_calendar() {
        assert_eq!(after(Timestamp::MAX, 10.0), Forecast::Beyond { years: 100 });
        assert_eq!(after(at(0), f64::NAN), Forecast::Beyond { years: 100 });
        assert_eq!(after(at(0), f64::INFINITY), Forecast::Beyond { years: 100 });
        assert_eq!(
            after(at(0), 1.5),
            Forecast::At { seconds: 1, at: at(0) + SignedDuration::from_millis(1500) }
        );
    }
}
