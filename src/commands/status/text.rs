//! `status` for people: no line has more than 80 columns, but for a command to type, which is never broken.
//!
//! Invariant: what is not known is said to be unknown; a part that has nothing to say is left out.

use super::report::{
    Expected, FaultLine, HostLine, Ledger, Moment, PassLine, Period, Report, RoomLine, Step,
};
use crate::render;
use crate::ui;

pub(super) fn of(report: &Report) -> String {
    let mut parts = Vec::new();
    match &report.ledger {
        None => parts.push(format!("there is no ledger in {} yet\n", ui::escape_all(&report.state_dir))),
        Some(ledger) => {
            parts.push(render::narrow_table(None, &[], &summary(report, ledger)));
            parts.push(hosts(&ledger.hosts));
            parts.push(rooms(&ledger.rooms));
            parts.push(passes(&ledger.running));
            parts.push(faults(&ledger.faults));
            parts.push(periods(&ledger.copied));
        }
    }
    if !report.next.is_empty() {
        let steps = report.next.iter().map(|Step { command, why }| format!("  {command}\n      {why}\n"));
        parts.push(format!("what to do next:\n{}", steps.collect::<String>()));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn pair(key: &str, value: impl Into<String>) -> [String; 2] {
    [key.to_owned(), value.into()]
}

fn summary(report: &Report, ledger: &Ledger) -> Vec<[String; 2]> {
    let switch = |is_on: bool| if is_on { "on" } else { "off" };
    let stages = &ledger.stages;
    let mut lines = vec![
        pair("ledger", report.state_dir.as_str()),
        pair(
            "stages",
            format!(
                "queue {}, load {}, run {}",
                switch(stages.queue),
                switch(stages.load),
                switch(stages.run)
            ),
        ),
        pair("minidvodbs", ledger.minidvodbs.to_string()),
        pair("queue", queue(ledger)),
    ];
    let sum = |number: fn(&HostLine) -> u64| ledger.hosts.iter().map(number).fold(0, u64::saturating_add);
    let copies = |number| ui::count(number, "copy", "copies");
    for (key, number, hint) in [
        ("for a person", sum(|host| host.copies.person), "`minidvodbcopy list --faulted`"),
        ("full, faulted", sum(|host| host.copies.full_faulted), "`minidvodbcopy list --faulted`"),
        ("sent again", sum(|host| host.copies.again), "to be, beside the copy that is there"),
        ("parked", sum(|host| host.copies.parked), "new, and nothing goes there any more"),
    ] {
        if number > 0 {
            lines.push(pair(key, format!("{}: {hint}", copies(number))));
        }
    }
    for room in ledger.rooms.iter().filter(|room| room.queue_fits == Some(false)) {
        let place = room.mount_point.as_deref().unwrap_or_default();
        lines.push(pair(
            "no room",
            format!("{}:{place} is at its limit before the queue is empty", room.host),
        ));
    }
    if let Some(database) = &ledger.database {
        let synced = database
            .synced_at
            .map_or_else(|| "never synced".to_owned(), |at| format!("synced {}", at_utc(at)));
        let mut text = format!("{}: {} behind, {synced}", database.url, copies(database.behind));
        if let (Some(since), Some(because)) = (database.away_since, &database.away_because) {
            text.push_str(&format!("; away since {}: {because}", at_utc(since)));
        }
        lines.push(pair("database", text));
    }
    lines
}

fn queue(ledger: &Ledger) -> String {
    let queue = &ledger.queue;
    if queue.copies == 0 {
        return "empty".to_owned();
    }
    let bytes = queue
        .bytes
        .map_or_else(|| ", of unknown size".to_owned(), |bytes| format!(", about {}", ui::size(bytes)));
    let empty = match &queue.empty {
        Expected::Now => "empty now".to_owned(),
        Expected::At { seconds, at } => format!("empty in about {} ({})", ui::span(*seconds), at_utc(*at)),
        Expected::Beyond { years } => format!("empty in more than {years} years"),
        Expected::Unknown { why } => format!("when it is empty is unknown: {why}"),
    };
    format!("{}{bytes}; {empty}", ui::count(queue.copies, "copy", "copies"))
}

/// When something is expected, in the words of a table.
fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Now => "now".to_owned(),
        Expected::At { seconds, .. } => ui::span(*seconds),
        Expected::Beyond { years } => format!("> {years} years"),
        Expected::Unknown { .. } => "unknown".to_owned(),
    }
}

fn minute(at: Moment) -> String {
    at.0.strftime("%Y-%m-%d %H:%M").to_string()
}

fn at_utc(at: Moment) -> String {
    format!("{} UTC", ui::time(at.0))
}

fn hosts(hosts: &[HostLine]) -> String {
    let rows: Vec<[String; 8]> = hosts
        .iter()
        .map(|host| {
            [
                host.host.clone(),
                host.machine.clone(),
                if host.on { "on" } else { "off" }.to_owned(),
                host.copies.full.to_string(),
                host.copies.new.to_string(),
                host.copies.retry.to_string(),
                host.copies.person.to_string(),
                if host.queue.copies == 0 { "-".to_owned() } else { expected(&host.queue.empty) },
            ]
        })
        .collect();
    table(&["host", "machine", "is", "full", "new", "retry", "person", "empty in"], &[3, 4, 5, 6], &rows)
}

fn rooms(rooms: &[RoomLine]) -> String {
    let unknown = || "?".to_owned();
    let rows: Vec<[String; 7]> = rooms
        .iter()
        .map(|room| {
            [
                room.host.clone(),
                room.mount_point.clone().unwrap_or_else(unknown),
                room.used_percent.map_or_else(unknown, |percent| format!("{percent} %")),
                format!("{} %", room.limit_percent),
                room.free_bytes.map_or_else(unknown, ui::size),
                room.seen_at.map_or_else(|| "not yet".to_owned(), minute),
                expected(&room.limit),
            ]
        })
        .collect();
    table(&["host", "file system", "used", "max", "free", "seen (UTC)", "at max in"], &[2, 3, 4], &rows)
}

fn passes(passes: &[PassLine]) -> String {
    let rows: Vec<[String; 4]> = passes
        .iter()
        .map(|pass| [pass.host.clone(), pass.group.clone(), copy_of(pass), progress(pass)])
        .collect();
    table(&["host", "group", "copy under way", "progress"], &[], &rows)
}

fn copy_of(pass: &PassLine) -> String {
    match (pass.minidvodbcopy_id, &pass.name) {
        (Some(id), Some(name)) => format!("{name} (copy {id})"),
        (Some(id), None) => format!("copy {id}"),
        (None, _) => "none at this moment".to_owned(),
    }
}

fn progress(pass: &PassLine) -> String {
    let Some(phase) = &pass.phase else { return "-".to_owned() };
    let mut text = phase.clone();
    if let (Some(done), Some(total)) = (pass.done_bytes, pass.total_bytes) {
        text.push_str(&format!(" {} of {}", ui::size(done), ui::size(total)));
    }
    if let Some(rate) = pass.rate_bytes_per_s {
        text.push_str(&format!(", {}/s", ui::size(rate)));
    }
    if let Some(seconds) = pass.phase_seconds {
        text.push_str(&format!(", for {}", ui::span(seconds as u64)));
    }
    text
}

fn faults(faults: &[FaultLine]) -> String {
    let rows: Vec<[String; 3]> = faults
        .iter()
        .map(|fault| {
            let of = match &fault.group {
                None => format!("host {}", fault.host),
                Some(group) => format!("{group} to {}", fault.host),
            };
            let next = match fault.next_probe {
                Some(at) => format!("looked at again after {}", at_utc(at)),
                None => "waits to be accepted".to_owned(),
            };
            [
                of,
                format!("{} {}", fault.fault, fault.fault_name),
                format!(
                    "class {}, since {}; {next}: {}; `minidvodbcopy faults {}` says what to do",
                    fault.fault_class,
                    at_utc(fault.since),
                    ui::first_line(&fault.message),
                    fault.fault
                ),
            ]
        })
        .collect();
    table(&["fault of", "fault", "what"], &[], &rows)
}

fn periods(periods: &[Period]) -> String {
    if periods.iter().all(|period| period.seconds == 0.0 && period.full == 0) {
        return String::new();
    }
    let rows: Vec<[String; 7]> = periods
        .iter()
        .map(|period| {
            // The ledger keeps whole days: the shortest period is today and all of yesterday.
            let title = match period.period {
                "day" => "last 2 days".to_owned(),
                longer => format!("last {longer}"),
            };
            [
                title,
                period.since.0.strftime("%Y-%m-%d").to_string(),
                period.full.to_string(),
                ui::size(period.sent_bytes),
                period
                    .rate_bytes_per_s
                    .map_or_else(|| "-".to_owned(), |rate| format!("{}/s", ui::size(rate))),
                period.faulted.to_string(),
                period.interrupted.to_string(),
            ]
        })
        .collect();
    let header = ["copied", "since", "copies", "sent", "mean rate", "faulted", "interrupted"];
    table(&header, &[2, 3, 4, 5, 6], &rows)
}

fn table<const N: usize>(header: &[&str; N], right: &[usize], rows: &[[String; N]]) -> String {
    if rows.is_empty() { String::new() } else { render::narrow_table(Some(header), right, rows) }
}
