//! What `status` says, as a value; as JSON, what `status --json` prints.
//!
//! Invariant: the keys and their meaning stand as the README has them; whatever breaks a reader of them raises
//! [`VERSION`]. What is not known is null, or says why.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::Facts;
use crate::lock::Running;
use crate::model::{Copy, Host, HostRecord, Kind, RoomSeen, Stages, Standing, Tally, Target, day_of};
use crate::pass::Context;
use crate::plan::forecast::{self, Filling, Forecast, PERIODS, Queue, Work};
use crate::ui;

/// Of the shape.
const VERSION: u32 = 1;

/// All that is said.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) at: Moment,
    pub(super) state_dir: String,
    /// None where there is no ledger yet.
    pub(super) ledger: Option<Ledger>,
    /// What to do next, in the order to do it, where something is missing.
    pub(super) next: Vec<Step>,
}

/// A command to type, and what it does.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) why: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Ledger {
    pub(super) stages: Switches,
    pub(super) minidvodbs: u64,
    pub(super) queue: Waiting,
    pub(super) hosts: Vec<HostLine>,
    pub(super) rooms: Vec<RoomLine>,
    pub(super) running: Vec<PassLine>,
    pub(super) faults: Vec<FaultLine>,
    pub(super) copied: Vec<Period>,
    pub(super) database: Option<Database>,
}

#[derive(Debug, Serialize)]
pub(super) struct Switches {
    pub(super) queue: bool,
    pub(super) load: bool,
    pub(super) run: bool,
}

/// What passes have to make, and when they will have made it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Waiting {
    pub(super) copies: u64,
    /// About how many bytes they have.
    pub(super) bytes: Option<u64>,
    pub(super) empty: Expected,
}

/// Copies by what they wait for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Copies {
    /// There, those to be sent again among them.
    pub(super) full: u64,
    /// To be made, with nothing known against it.
    pub(super) new: u64,
    /// To be made, waiting for their next try, or for their host or target.
    pub(super) retry: u64,
    /// Waiting for a person.
    pub(super) person: u64,
    /// Full ones that are to be sent again.
    pub(super) again: u64,
    /// Full ones that show a fault.
    pub(super) full_faulted: u64,
    /// To be made, though nothing goes there any more.
    pub(super) parked: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct HostLine {
    pub(super) host: String,
    pub(super) machine: String,
    pub(super) on: bool,
    pub(super) targets: u64,
    pub(super) copies: Copies,
    pub(super) queue: Waiting,
    pub(super) rate_bytes_per_s: Option<u64>,
}

/// The room on a file system that something goes to, as it was last seen; none of it where it never was.
#[derive(Debug, Serialize)]
pub(super) struct RoomLine {
    pub(super) host: String,
    pub(super) mount_point: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) seen_at: Option<Moment>,
    pub(super) total_bytes: Option<u64>,
    pub(super) free_bytes: Option<u64>,
    pub(super) used_percent: Option<u8>,
    pub(super) limit_percent: u8,
    /// Whether what is queued stays below the limit.
    pub(super) queue_fits: Option<bool>,
    pub(super) limit: Expected,
}

#[derive(Debug, Serialize)]
pub(super) struct PassLine {
    pub(super) host: String,
    pub(super) group: String,
    pub(super) pid: Option<u32>,
    pub(super) minidvodbcopy_id: Option<u64>,
    pub(super) name: Option<String>,
    pub(super) attempt: Option<u32>,
    pub(super) phase: Option<String>,
    pub(super) phase_seconds: Option<f64>,
    pub(super) done_bytes: Option<u64>,
    pub(super) total_bytes: Option<u64>,
    pub(super) rate_bytes_per_s: Option<u64>,
}

/// A fault of a host or a target.
#[derive(Debug, Serialize)]
pub(super) struct FaultLine {
    /// `host` or `target`.
    pub(super) of: &'static str,
    pub(super) host: String,
    pub(super) group: Option<String>,
    pub(super) path: Option<String>,
    pub(super) fault: i16,
    pub(super) fault_name: &'static str,
    pub(super) fault_class: &'static str,
    pub(super) since: Moment,
    pub(super) next_probe: Option<Moment>,
    pub(super) message: String,
    pub(super) advice: &'static str,
}

/// What was done since the beginning of a day (UTC).
#[derive(Debug, Serialize)]
pub(super) struct Period {
    pub(super) period: &'static str,
    pub(super) since: Moment,
    pub(super) full: u64,
    pub(super) sent_bytes: u64,
    pub(super) seconds: f64,
    pub(super) rate_bytes_per_s: Option<u64>,
    pub(super) faulted: u64,
    pub(super) interrupted: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Database {
    pub(super) url: String,
    /// Copies that it does not have as they are here.
    pub(super) behind: u64,
    pub(super) synced_at: Option<Moment>,
    pub(super) away_since: Option<Moment>,
    pub(super) away_because: Option<String>,
}

/// A moment, as programs read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&ui::rfc3339(self.0))
    }
}

/// A forecast, as programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub(super) enum Expected {
    Now,
    At { seconds: u64, at: Moment },
    Beyond { years: u32 },
    Unknown { why: String },
}

impl From<Forecast> for Expected {
    fn from(forecast: Forecast) -> Self {
        match forecast {
            Forecast::Now => Self::Now,
            Forecast::At { seconds, at } => Self::At { seconds, at: Moment(at) },
            Forecast::Beyond { years } => Self::Beyond { years },
            Forecast::Unknown(why) => Self::Unknown { why: why.to_owned() },
        }
    }
}

impl Report {
    /// What is to be said of what is known; nothing is where there is no ledger.
    pub(super) fn of(context: &Context, facts: Option<&Facts>, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            at: Moment(now),
            state_dir: context.state_dir.to_string(),
            ledger: facts.map(|facts| Ledger::of(facts, now)),
            next: next(context, facts),
        }
    }
}

/// What is missing before anything is copied.
fn next(context: &Context, facts: Option<&Facts>) -> Vec<Step> {
    let has = |is: &dyn Fn(&Facts) -> bool| facts.is_some_and(is);
    let mut steps = Vec::new();
    let mut add = |words: &[&str], why| steps.push(Step { command: context.own_command(words), why });
    if !has(&|facts| facts.minidvodbs > 0 || facts.database.is_some()) {
        add(&["check"], "tries what a pass needs, and says what is missing");
        add(&["minidvodb", "import", "FILE"], "says which minidvodbs there are, by a list");
        add(&["minidvodb", "import", "--scan", "DIR", "--group", "GROUP"], "or by the folders under one");
        add(&["database", "set", "URL"], "or by the IPP database");
    }
    if !has(&|facts| !facts.targets.is_empty()) {
        add(&["target", "add", "GROUP", "HOST", "PATH"], "says which group goes where");
    }
    if !has(&|facts| facts.hosts.iter().any(|host| host.is_on)) {
        add(&["host", "add", "HOST"], "lets passes serve the host");
    }
    let stages = facts.map_or_else(Vec::new, |facts| facts.stages.off());
    if !stages.is_empty() {
        add(&[&["stage", "on"], &stages[..]].concat(), "lets passes do all that they are for");
    }
    if !has(&|facts| !facts.tallies.is_empty()) {
        add(&["run"], "makes a pass");
        add(&["crontab"], "prints the lines that let cron make them");
    }
    steps
}

impl Ledger {
    fn of(facts: &Facts, now: Timestamp) -> Self {
        let Stages { queue, load, run } = facts.stages;
        let hosts: Vec<HostLine> = facts.hosts.iter().map(|record| host(facts, record, now)).collect();
        Self {
            stages: Switches { queue, load, run },
            minidvodbs: facts.minidvodbs,
            queue: all_queues(&hosts, now),
            rooms: rooms(facts, now),
            hosts,
            running: facts.running.iter().map(|(running, copy)| pass(running, copy.as_ref())).collect(),
            faults: faults(facts),
            copied: periods(facts, now),
            database: facts.database.as_ref().map(|(record, behind)| Database {
                url: record.address.to_string(),
                behind: *behind,
                synced_at: record.synced_at.map(Moment),
                away_since: record.away_since.map(Moment),
                away_because: record.away_since.map(|_| record.away_because.clone()),
            }),
        }
    }
}

/// The target that copies which count as the same belong to.
fn target_of<'f>(facts: &'f Facts, tally: &Tally) -> Option<&'f Target> {
    facts.targets.iter().find(|target| tally.is_of(target))
}

fn host(facts: &Facts, record: &HostRecord, now: Timestamp) -> HostLine {
    let (mut copies, mut queue) = (Copies::default(), Queue::default());
    for tally in facts.tallies.iter().filter(|tally| tally.host == record.host) {
        let is_parked = target_of(facts, tally).is_none();
        copies.add(tally, is_parked);
        if !is_parked {
            queue.add(tally);
        }
    }
    let rate = forecast::rate_of(&record.host, &facts.days, now);
    let mean_bytes = forecast::mean_bytes(&facts.tallies);
    let empty = match obstacle(facts, record) {
        Some(why) if queue.copies > 0 => Forecast::Unknown(why),
        _ => queue.empty(mean_bytes, rate, now),
    };
    HostLine {
        host: record.host.to_string(),
        machine: record.machine.to_string(),
        on: record.is_on,
        targets: facts.targets.iter().filter(|target| target.host == record.host).count() as u64,
        copies,
        queue: Waiting { copies: queue.copies, bytes: queue.bytes(mean_bytes), empty: empty.into() },
        rate_bytes_per_s: rate,
    }
}

/// What keeps passes from the queue of a host.
fn obstacle(facts: &Facts, record: &HostRecord) -> Option<&'static str> {
    let has_faulted_target =
        || facts.targets.iter().any(|target| target.host == record.host && target.standing.is_some());
    if !record.is_on {
        Some("the host is off")
    } else if !(facts.stages.load && facts.stages.run) {
        Some("its stage is off")
    } else if record.standing.is_some() {
        Some("the host has a fault")
    } else if has_faulted_target() {
        Some("a target there has a fault")
    } else {
        None
    }
}

/// The queues of all hosts, one after the other, as one line in cron serves them.
fn all_queues(hosts: &[HostLine], now: Timestamp) -> Waiting {
    let copies = hosts.iter().map(|host| host.queue.copies).fold(0, u64::saturating_add);
    let bytes = hosts
        .iter()
        .filter(|host| host.queue.copies > 0)
        .map(|host| host.queue.bytes)
        .try_fold(0u64, |sum, bytes| Some(sum.saturating_add(bytes?)));
    let mut seconds = 0u64;
    let mut empty = Expected::Now;
    for host in hosts {
        match &host.queue.empty {
            Expected::Now => continue,
            Expected::At { seconds: more, .. } => seconds = seconds.saturating_add(*more),
            Expected::Beyond { years } => empty = Expected::Beyond { years: *years },
            Expected::Unknown { why } => {
                let why = format!("{}: {why}", host.host);
                return Waiting { copies, bytes, empty: Expected::Unknown { why } };
            }
        }
    }
    if copies > 0 && empty == Expected::Now {
        empty = forecast::after(now, seconds as f64).into();
    }
    Waiting { copies, bytes, empty }
}

impl Copies {
    fn add(&mut self, tally: &Tally, is_parked: bool) {
        let count = |number: &mut u64| *number = number.saturating_add(tally.copies);
        let kind = forecast::shown_kind(tally.kind, tally.fault_code);
        match kind {
            Kind::Full | Kind::Recopy | Kind::RecopyPerson => {
                count(&mut self.full);
                if kind != Kind::Full {
                    count(&mut self.again);
                } else if tally.fault_code != 0 {
                    count(&mut self.full_faulted);
                }
                if kind == Kind::RecopyPerson {
                    count(&mut self.person);
                }
            }
            _ if is_parked => count(&mut self.parked),
            Kind::New => count(&mut self.new),
            Kind::Retry => count(&mut self.retry),
            Kind::Person => count(&mut self.person),
        }
    }
}

/// The file systems that targets lie on, with the room that was last seen on each.
fn rooms(facts: &Facts, now: Timestamp) -> Vec<RoomLine> {
    let mut rooms: Vec<(Vec<&Target>, Option<&RoomSeen>)> = Vec::new();
    for target in &facts.targets {
        let mount_point = target.file_system.as_ref().map(|fs| &fs.mount_point);
        let is_there = |known: &&Target| {
            known.host == target.host && known.file_system.as_ref().map(|fs| &fs.mount_point) == mount_point
        };
        if let Some((targets, _)) = rooms.iter_mut().find(|(targets, _)| targets.iter().any(is_there)) {
            targets.push(target);
            continue;
        }
        let seen = facts.rooms.iter().find(|seen| seen.is_of(target));
        rooms.push((vec![target], seen));
    }
    rooms.iter().map(|(targets, seen)| room(facts, targets, *seen, now)).collect()
}

fn room(facts: &Facts, targets: &[&Target], seen: Option<&RoomSeen>, now: Timestamp) -> RoomLine {
    let limit_percent = targets.iter().map(|target| target.max_used_percent).min().unwrap_or(100);
    let target = targets.first();
    let filling =
        seen.map(|seen| Filling::of(seen, targets, limit_percent, &facts.tallies, &facts.days, now));
    RoomLine {
        host: target.map_or_else(String::new, |target| target.host.to_string()),
        mount_point: target.and_then(|target| target.file_system.as_ref()).map(|fs| fs.mount_point.clone()),
        groups: targets.iter().map(|target| target.group.to_string()).collect(),
        seen_at: seen.map(|seen| Moment(seen.at)),
        total_bytes: seen.map(|seen| seen.room.total_bytes),
        free_bytes: seen.map(|seen| seen.room.free_bytes),
        used_percent: seen.map(|seen| seen.room.used_percent),
        limit_percent,
        queue_fits: filling.and_then(|filling| filling.queued_bytes.map(|_| !filling.is_too_much())),
        limit: filling
            .map_or(Forecast::Unknown("it was not looked at yet"), |filling| filling.full(now))
            .into(),
    }
}

fn pass(running: &Running, copy: Option<&Copy>) -> PassLine {
    let progress = running.progress.as_ref();
    let at_work = progress.filter(|progress| progress.copy != 0);
    let phase = at_work.filter(|progress| !progress.phase.is_empty());
    let of_bytes = phase.filter(|progress| progress.total_bytes > 0);
    let seconds = phase.map(|progress| progress.phase_ms as f64 / 1e3);
    PassLine {
        host: running.host.to_string(),
        group: running.group.to_string(),
        pid: progress.map(|progress| progress.pid),
        minidvodbcopy_id: at_work.map(|progress| progress.copy),
        name: copy.map(|copy| copy.name.to_string()),
        attempt: at_work.map(|progress| progress.attempt),
        phase: phase.map(|progress| progress.phase.clone()),
        phase_seconds: seconds,
        done_bytes: of_bytes.map(|progress| progress.done_bytes.min(progress.total_bytes)),
        total_bytes: of_bytes.map(|progress| progress.total_bytes),
        rate_bytes_per_s: of_bytes
            .zip(seconds)
            .and_then(|(progress, seconds)| forecast::rate_bytes_per_s(progress.done_bytes, seconds)),
    }
}

fn faults(facts: &Facts) -> Vec<FaultLine> {
    let of_hosts = facts.hosts.iter().filter_map(|record| {
        record.standing.as_ref().map(|standing| standing_fault(&record.host, None, standing))
    });
    let of_targets = facts.targets.iter().filter_map(|target| {
        target.standing.as_ref().map(|standing| standing_fault(&target.host, Some(target), standing))
    });
    of_hosts.chain(of_targets).collect()
}

fn standing_fault(host: &Host, target: Option<&Target>, standing: &Standing) -> FaultLine {
    let fault = standing.fault;
    FaultLine {
        of: if target.is_some() { "target" } else { "host" },
        host: host.to_string(),
        group: target.map(|target| target.group.to_string()),
        path: target.map(|target| target.path.to_string()),
        fault: fault.code(),
        fault_name: fault.name(),
        fault_class: fault.class().as_str(),
        since: Moment(standing.since),
        next_probe: standing.next_probe.map(Moment),
        message: standing.message.clone(),
        advice: fault.advice(),
    }
}

fn periods(facts: &Facts, now: Timestamp) -> Vec<Period> {
    PERIODS
        .iter()
        .map(|&(period, days)| {
            let since = day_of(now) - days;
            let work = Work::since(since, None, &facts.days);
            let began = Timestamp::from_second(i64::from(since) * 86_400).unwrap_or(now);
            Period {
                period,
                since: Moment(began),
                full: work.full,
                sent_bytes: work.sent_bytes,
                seconds: work.milliseconds as f64 / 1e3,
                rate_bytes_per_s: work.rate_bytes_per_s(),
                faulted: work.faulted,
                interrupted: work.interrupted,
            }
        })
        .collect()
}
