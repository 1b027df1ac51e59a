//! Numbers of the ledger in Prometheus's text format, for the textfile collector; pure.
//!
//! Invariant: every metric has its HELP and TYPE, its unit in its name, and labels that are escaped, since they
//! come from outside. What is not known is left out, never 0. Nothing here counts copies: that is done already.

use jiff::Timestamp;
use prometheus::{CounterVec, Encoder as _, GaugeVec, Opts, Registry, TextEncoder};

use crate::error::{Error, Result};
use crate::faults::{Class, Fault};
use crate::last_pass::EndedPass;
use crate::model::{
    DatabaseRecord, Day, Group, Host, HostRecord, Kind, Outcome, RoomSeen, Stages, Standing, Tally, Target,
};
use crate::plan::forecast::shown_kind;

/// What is known without the ledger.
#[derive(Debug, Default)]
pub struct Numbers {
    /// The pass that ended last.
    pub last_pass: Option<EndedPass>,
    /// The pass that was the last to end well.
    pub last_success: Option<EndedPass>,
    /// Targets that passes serve at this moment.
    pub served_targets: usize,
    /// What the ledger knows, where there is one that can be read.
    pub ledger: Option<LedgerNumbers>,
}

/// What the ledger knows.
#[derive(Debug)]
pub struct LedgerNumbers {
    /// The copies, counted.
    pub tallies: Vec<Tally>,
    /// All attempts that ever ended, by day.
    pub days: Vec<Day>,
    /// The room last seen on each file system.
    pub rooms: Vec<RoomSeen>,
    /// The hosts.
    pub hosts: Vec<HostRecord>,
    /// The targets.
    pub targets: Vec<Target>,
    /// The switches.
    pub stages: Stages,
    /// How many minidvodbs are known.
    pub minidvodbs: u64,
    /// Since when the oldest copy in the queue of a target waits that waits for no person.
    pub oldest_pending: Vec<(Host, Group, Timestamp)>,
    /// The database, and how many copies it does not have as they are here.
    pub database: Option<(DatabaseRecord, u64)>,
}

/// Some metrics on their way to a text.
struct Page {
    registry: Registry,
}

/// A label's value for each label, and the number.
type Sample<'a> = (Vec<&'a str>, f64);

impl Page {
    /// A number that goes up and down; samples with the same labels are added up.
    fn gauge<'a>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) -> Result<()> {
        let gauges = GaugeVec::new(options(name, help), labels).map_err(Error::bug)?;
        self.registry.register(Box::new(gauges.clone())).map_err(Error::bug)?;
        for (values, number) in samples {
            gauges.get_metric_with_label_values(&values).map_err(Error::bug)?.add(number);
        }
        Ok(())
    }

    /// A number that only grows; samples with the same labels are added up.
    fn counter<'a>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) -> Result<()> {
        let counters = CounterVec::new(options(name, help), labels).map_err(Error::bug)?;
        self.registry.register(Box::new(counters.clone())).map_err(Error::bug)?;
        for (values, number) in samples {
            counters.get_metric_with_label_values(&values).map_err(Error::bug)?.inc_by(number.max(0.0));
        }
        Ok(())
    }

    /// A number without labels; where it is not known, nothing.
    fn one(&self, name: &str, help: &str, number: Option<f64>) -> Result<()> {
        self.gauge(name, help, &[], number.map(|number| (Vec::new(), number)))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("minidvodbcopy")
}

/// The text.
///
/// # Errors
/// None but bugs.
pub fn text(numbers: &Numbers) -> Result<String> {
    let page = Page { registry: Registry::new() };
    let version = (vec![env!("CARGO_PKG_VERSION")], 1.0);
    page.gauge("build_info", "The program's version; always 1.", &["version"], [version])?;
    passes(&page, numbers)?;
    let is_readable = f64::from(u8::from(numbers.ledger.is_some()));
    page.one("ledger_readable", "Whether there is a ledger that could be read.", Some(is_readable))?;
    if let Some(ledger) = &numbers.ledger {
        copies(&page, ledger)?;
        attempts(&page, ledger)?;
        places(&page, ledger)?;
        database(&page, ledger)?;
    }
    let mut bytes = Vec::new();
    TextEncoder::new().encode(&page.registry.gather(), &mut bytes).map_err(Error::bug)?;
    String::from_utf8(bytes).map_err(Error::bug)
}

fn passes(page: &Page, numbers: &Numbers) -> Result<()> {
    let last = numbers.last_pass;
    page.one(
        "last_pass_timestamp_seconds",
        "When the last pass ended, however it ended.",
        last.map(|pass| seconds(pass.ended)),
    )?;
    page.one(
        "last_pass_duration_seconds",
        "How long the last pass took.",
        last.map(|pass| (seconds(pass.ended) - seconds(pass.began)).max(0.0)),
    )?;
    page.one(
        "last_pass_exit_code",
        "The exit code of the last pass: 0 is a success, 1 a fault of this pass.",
        last.map(|pass| f64::from(pass.exit_code)),
    )?;
    page.one(
        "last_success_timestamp_seconds",
        "When a pass last ended with exit code 0, and other passes did not have all that it came for.",
        numbers.last_success.map(|pass| seconds(pass.ended)),
    )?;
    page.one(
        "served_targets",
        "Targets (a group to a host) that a pass serves at this moment.",
        Some(numbers.served_targets as f64),
    )
}

fn copies(page: &Page, ledger: &LedgerNumbers) -> Result<()> {
    let labels = ["host", "group", "state", "kind"];
    let of = |tally: &Tally| {
        let kind = shown_kind(tally.kind, tally.fault_code);
        vec![tally.host.as_str(), tally.group.as_str(), state_of(kind), kind_word(kind)]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let keyed: Vec<(Vec<String>, &Tally)> = ledger.tallies.iter().map(|tally| (of(tally), tally)).collect();
    let samples = |number: fn(&Tally) -> u64| {
        keyed
            .iter()
            .map(move |(labels, tally)| (labels.iter().map(String::as_str).collect(), number(tally) as f64))
    };
    page.gauge(
        "copies",
        "Copies by host, group, state (new, full) and what they wait for: new nothing, retry a time, or their host or target, person an operator, recopy to be sent again.",
        &labels,
        samples(|tally| tally.copies),
    )?;
    page.gauge(
        "copies_size_bytes",
        "Size of these copies, as far as they were ever sized.",
        &labels,
        samples(|tally| tally.bytes),
    )?;
    page.one("minidvodbs", "Minidvodbs that are known here.", Some(ledger.minidvodbs as f64))?;
    let faulted = ledger
        .tallies
        .iter()
        .filter_map(|tally| Some((tally, Fault::from_code(tally.fault_code)?, tally.fault_code.to_string())));
    let faulted: Vec<_> = faulted.collect();
    page.gauge(
        "faulted_copies",
        "Copies that show a fault, by its code and class: retry heals by itself, person and configuration ask an operator to act.",
        &["host", "group", "code", "name", "class"],
        faulted.iter().map(|(tally, fault, code)| {
            let class = class_of(tally.kind, *fault).as_str();
            (vec![tally.host.as_str(), tally.group.as_str(), code, fault.name(), class], tally.copies as f64)
        }),
    )?;
    page.gauge(
        "oldest_pending_timestamp_seconds",
        "Since when the oldest copy in the queue waits that passes go on with by themselves: it was queued, or first tried, then.",
        &["host", "group"],
        ledger
            .oldest_pending
            .iter()
            .map(|(host, group, since)| (vec![host.as_str(), group.as_str()], seconds(*since))),
    )
}

fn attempts(page: &Page, ledger: &LedgerNumbers) -> Result<()> {
    let coded: Vec<(&Day, &str, String)> = ledger
        .days
        .iter()
        .map(|day| match day.outcome {
            Outcome::Full => (day, "full", String::new()),
            Outcome::Faulted(fault) => (day, "faulted", fault.code().to_string()),
            Outcome::Interrupted | Outcome::Open => (day, "interrupted", String::new()),
        })
        .collect();
    let samples = |number: fn(&Day) -> f64| {
        coded
            .iter()
            .map(move |(day, outcome, code)| (vec![day.host.as_str(), *outcome, code.as_str()], number(day)))
    };
    let labels = ["host", "outcome", "code"];
    page.counter(
        "attempts_total",
        "Attempts that have ended, by outcome (full, faulted, interrupted) and fault code.",
        &labels,
        samples(|day| day.attempts as f64),
    )?;
    page.counter(
        "attempt_seconds_total",
        "Seconds that these attempts took.",
        &labels,
        samples(|day| day.milliseconds as f64 / 1e3),
    )?;
    page.counter(
        "sent_bytes_total",
        "Bytes of files that these attempts sent.",
        &labels,
        samples(|day| day.sent_bytes as f64),
    )
}

fn places(page: &Page, ledger: &LedgerNumbers) -> Result<()> {
    page.gauge(
        "host_on",
        "Whether passes serve the host.",
        &["host", "machine"],
        ledger.hosts.iter().map(|record| {
            (vec![record.host.as_str(), record.machine.as_str()], f64::from(u8::from(record.is_on)))
        }),
    )?;
    let Stages { queue, load, run } = ledger.stages;
    page.gauge(
        "stage_on",
        "Whether this stage of the pass is switched on.",
        &["stage"],
        [("queue", queue), ("load", load), ("run", run)]
            .map(|(stage, is_on)| (vec![stage], f64::from(u8::from(is_on)))),
    )?;
    page.gauge(
        "target_used_limit_ratio",
        "No copy begins while more than this part of the target's file system is used.",
        &["host", "group"],
        ledger.targets.iter().map(|target| {
            (vec![target.host.as_str(), target.group.as_str()], f64::from(target.max_used_percent) / 100.0)
        }),
    )?;
    standing(page, ledger)?;
    rooms(page, ledger)
}

/// Faults of hosts (with an empty group) and targets.
fn standing(page: &Page, ledger: &LedgerNumbers) -> Result<()> {
    let hosts = ledger.hosts.iter().map(|host| (&host.host, "", &host.standing));
    let targets = ledger.targets.iter().map(|target| (&target.host, target.group.as_str(), &target.standing));
    let faults: Vec<(&Host, &str, &Standing, String)> = hosts
        .chain(targets)
        .filter_map(|(host, group, standing)| {
            let standing = standing.as_ref()?;
            Some((host, group, standing, standing.fault.code().to_string()))
        })
        .collect();
    page.gauge(
        "standing_fault_since_timestamp_seconds",
        "Since when a host (with an empty group) or a target has a fault that keeps its queue waiting.",
        &["host", "group", "code", "name", "class"],
        faults.iter().map(|(host, group, standing, code)| {
            let fault = standing.fault;
            (vec![host.as_str(), *group, code, fault.name(), fault.class().as_str()], seconds(standing.since))
        }),
    )
}

fn rooms(page: &Page, ledger: &LedgerNumbers) -> Result<()> {
    let samples = |number: fn(&RoomSeen) -> f64| {
        ledger
            .rooms
            .iter()
            .map(move |seen| (vec![seen.host.as_str(), seen.file_system.mount_point.as_str()], number(seen)))
    };
    let labels = ["host", "mount_point"];
    page.gauge(
        "room_free_bytes",
        "What an ordinary user could still write on a host's file system when it was last seen.",
        &labels,
        samples(|seen| seen.room.free_bytes as f64),
    )?;
    page.gauge(
        "room_size_bytes",
        "Size of the file system.",
        &labels,
        samples(|seen| seen.room.total_bytes as f64),
    )?;
    page.gauge(
        "room_used_ratio",
        "Part of the file system that was used, as df rounds it.",
        &labels,
        samples(|seen| f64::from(seen.room.used_percent) / 100.0),
    )?;
    page.gauge(
        "room_seen_timestamp_seconds",
        "When the file system was last looked at.",
        &labels,
        samples(|seen| seconds(seen.at)),
    )
}

fn database(page: &Page, ledger: &LedgerNumbers) -> Result<()> {
    let database = ledger.database.as_ref();
    page.one(
        "database_set",
        "Whether a database is set that the ledger is kept in step with.",
        Some(f64::from(u8::from(database.is_some()))),
    )?;
    page.one(
        "database_ahead_copies",
        "Copies that the database does not have as they are here.",
        database.map(|(_, ahead)| *ahead as f64),
    )?;
    page.one(
        "database_last_sync_timestamp_seconds",
        "When ledger and database were last brought in step.",
        database.and_then(|(record, _)| record.synced_at).map(seconds),
    )?;
    page.one(
        "database_away_since_timestamp_seconds",
        "Since when the database has not answered; left out while it does.",
        database.and_then(|(record, _)| record.away_since).map(seconds),
    )
}

/// The column `state` of a copy that counts as this.
fn state_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Full | Kind::Recopy | Kind::RecopyPerson => "full",
        Kind::New | Kind::Retry | Kind::Person => "new",
    }
}

/// As one word.
fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::RecopyPerson => "recopy_person",
        kind => kind.as_str(),
    }
}

/// Whether copies of this kind with this fault heal by themselves.
pub fn class_of(kind: Kind, fault: Fault) -> Class {
    match (kind, fault.class()) {
        (Kind::Retry, _) => Class::Retry,
        // Its attempts have run out.
        (Kind::Person | Kind::RecopyPerson, Class::Retry) => Class::Person,
        (_, class) => class,
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}
