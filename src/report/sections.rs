//! The parts of the page, in the order in which they are read.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html};

use super::charts::{self, Bar, Drawing, Line, Lines, SERIES_MAX};
use super::{Facts, GRID_COPIES, Grid};
use crate::error::Result;
use crate::faults::{Class, Fault};
use crate::model::{Day, Group, Host, Kind, Outcome, RoomSeen, Standing, Tally, Target, day_of};
use crate::plan::forecast::{Filling, Forecast, shown_kind};
use crate::render::metrics::class_of;
use crate::ui::{self, escape_all};

/// What the drawings look back on.
const DAYS_SHOWN: i32 = 90;
/// Faulted attempts are counted over so many days.
const FAULT_DAYS: i32 = 30;
/// A page has at most so many file systems, bars, and rows of groups.
const FILE_SYSTEMS_MAX: usize = 24;
const BARS_MAX: usize = 10;
const GROUPS_MAX: usize = 1_000;

/// Everything, one section after the other.
pub(super) fn all(facts: &Facts) -> Result<Markup> {
    Ok(html! {
        (numbers(facts))
        (standing(facts))
        section {
            h2 { "Over time" }
            div.cards { (copies_over_time(facts)?) (rate_over_time(facts)?) }
        }
        (space(facts)?)
        (faults(facts)?)
        (grid(facts))
        (slowest(facts)?)
    })
}

/// The name, letter and class of a kind, as it is shown.
fn looks_of(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Full => ("full", "F", "full"),
        Kind::Recopy => ("full, to be sent again", "R", "recopy"),
        Kind::RecopyPerson => ("full, to be sent again, waits for a person", "!", "recopy-person"),
        Kind::New => ("new", "n", "new"),
        Kind::Retry => ("tried again by itself", "t", "retry"),
        Kind::Person => ("waits for a person", "P", "person"),
    }
}

fn numbers(facts: &Facts) -> Markup {
    let of = |kinds: &[Kind]| facts.count(|tally| kinds.contains(&shown_kind(tally.kind, tally.fault_code)));
    let bytes: u64 = facts
        .tallies
        .iter()
        .filter(|tally| matches!(tally.kind, Kind::Full | Kind::Recopy | Kind::RecopyPerson))
        .fold(0, |sum, tally| sum.saturating_add(tally.bytes));
    html! {
        ul.numbers {
            li { strong { (of(&[Kind::Full, Kind::Recopy, Kind::RecopyPerson])) } "copies full" }
            li { strong { (of(&[Kind::New])) } "new" }
            li { strong { (of(&[Kind::Retry])) } "wait, and go on by themselves" }
            li { strong { (of(&[Kind::Person, Kind::RecopyPerson])) } "wait for a person" }
            li { strong { (ui::size(bytes)) } "in full copies" }
            li { strong { (facts.minidvodbs) } "minidvodbs known" }
            @if let Some((_, ahead)) = &facts.database {
                li { strong { (ahead) } "copies that the database has not yet" }
            }
        }
    }
}

/// Faults of hosts, of targets and of the database.
fn standing(facts: &Facts) -> Markup {
    let hosts = facts.hosts.iter().map(|host| (host.host.to_string(), &host.standing));
    let targets =
        facts.targets.iter().map(|target| (format!("{} to {}", target.group, target.host), &target.standing));
    let rows: Vec<(String, &Standing)> =
        hosts.chain(targets).filter_map(|(what, standing)| Some((what, standing.as_ref()?))).collect();
    let away = facts.database.as_ref().and_then(|(record, _)| Some((record, record.away_since?)));
    html! {
        @if !rows.is_empty() || away.is_some() {
            section {
                h2 { "Hosts and targets that wait" }
                (scroll("Hosts and targets that wait", &html! { table {
                    caption { "Their queues are left as they are until the cause is gone." }
                    thead { tr { th scope="col" { "what" } th scope="col" { "fault" } th scope="col" { "since (UTC)" } th scope="col" { "what was said, and what to do" } } }
                    tbody {
                        @for (what, standing) in &rows {
                            tr {
                                th scope="row" { (what) }
                                td { (standing.fault.to_string()) }
                                td { (ui::time(standing.since)) }
                                td.words { (ui::first_line(&standing.message)) " " span.soft { (with_code(standing.fault.advice())) } }
                            }
                        }
                        @if let Some((record, since)) = away {
                            tr {
                                th scope="row" { "the database " (record.address.to_string()) }
                                td { "away" }
                                td { (ui::time(since)) }
                                td.words { (ui::first_line(&record.away_because)) " " span.soft { "copies go on; the next sync catches up" } }
                            }
                        }
                    }
                } }))
            }
        }
    }
}

/// A box that scrolls by itself, so that the page does not.
fn scroll(name: &str, inner: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(name) tabindex="0" { (inner) } }
}

/// A text with what stands between backquotes as what can be typed.
fn with_code(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A drawing with its words.
fn figure(id: &str, title: &str, text: &str, drawing: &Drawing, legend: &Markup) -> Markup {
    let (title_id, text_id) = (format!("{id}-title"), format!("{id}-text"));
    html! {
        figure.card {
            h3 { (title) }
            svg.chart viewBox=(format!("0 0 {} {}", Drawing::WIDTH, drawing.height)) role="img"
                aria-labelledby=(format!("{title_id} {text_id}")) {
                title id=(title_id) { (title) }
                desc id=(text_id) { (text) }
                (PreEscaped(&drawing.body))
            }
            (legend)
            figcaption { (text) }
        }
    }
}

fn legend(lines: &[Line]) -> Markup {
    html! {
        ul.legend {
            @for (index, line) in lines.iter().enumerate() {
                li {
                    svg viewBox="0 0 16 16" aria-hidden="true" { (PreEscaped(charts::mark(index))) }
                    (line.label)
                    @if let Some((_, last)) = line.points.last() { span.soft { " " (short(*last)) } }
                }
            }
        }
    }
}

fn no_figure(title: &str, text: &str) -> Markup {
    html! { div.card { h3 { (title) } p { (text) } } }
}

/// A number for a legend or an axis.
fn short(number: f64) -> String {
    if number >= 1e6 {
        format!("{:.1}M", number / 1e6)
    } else if number >= 1e4 {
        format!("{:.0}k", number / 1e3)
    } else if number >= 10.0 || number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

/// The hosts that get a line of their own, those with most first, and whether there are others.
fn hosts_of(days: &[Day], weight: impl Fn(&Day) -> u64) -> (Vec<&Host>, usize) {
    let mut weights: BTreeMap<&Host, u64> = BTreeMap::new();
    for day in days {
        let sum = weights.entry(&day.host).or_default();
        *sum = sum.saturating_add(weight(day));
    }
    let mut hosts: Vec<(&Host, u64)> = weights.into_iter().filter(|(_, weight)| *weight > 0).collect();
    hosts.sort_by_key(|(host, weight)| (std::cmp::Reverse(*weight), *host));
    let most = if hosts.len() > SERIES_MAX { SERIES_MAX - 1 } else { SERIES_MAX };
    let others = hosts.len().saturating_sub(most);
    (hosts.into_iter().take(most).map(|(host, _)| host).collect(), others)
}

/// Days by host; the last entry stands for all others together.
fn by_host(days: &[Day], weight: impl Fn(&Day) -> u64) -> Vec<(String, Vec<&Day>)> {
    let (hosts, others) = hosts_of(days, weight);
    let mut series: Vec<(String, Vec<&Day>)> = hosts
        .iter()
        .map(|host| (host.to_string(), days.iter().filter(|day| day.host == **host).collect()))
        .collect();
    if others > 0 {
        let rest = days.iter().filter(|day| !hosts.contains(&&day.host)).collect();
        series.push((ui::count(others as u64, "other host", "other hosts"), rest));
    }
    series
}

/// The first day that is shown.
fn first_shown(facts: &Facts) -> i32 {
    day_of(facts.now) - DAYS_SHOWN
}

/// Whether a day is among those that are drawn; a clock that was wrong once must not stretch the axis.
fn is_shown(facts: &Facts, day: i32) -> bool {
    (first_shown(facts)..=day_of(facts.now).saturating_add(1)).contains(&day)
}

fn copies_over_time(facts: &Facts) -> Result<Markup> {
    const TITLE: &str = "Copies over time";
    let (today, first) = (day_of(facts.now), first_shown(facts));
    let is_full = |day: &Day| day.outcome == Outcome::Full;
    let lines: Vec<Line> = by_host(&facts.days, |day| if is_full(day) { day.attempts } else { 0 })
        .into_iter()
        .map(|(label, days)| {
            let mut per_day: BTreeMap<i32, u64> = BTreeMap::new();
            for day in days.into_iter().filter(|day| is_full(day)) {
                // What came before is where the line begins.
                let day_shown = day.day.clamp(first, today);
                let sum = per_day.entry(day_shown).or_default();
                *sum = sum.saturating_add(day.attempts);
            }
            if let Some(&first_day) = per_day.keys().next() {
                per_day.entry(first_day.saturating_sub(1).max(first)).or_default();
            }
            per_day.entry(today).or_default();
            let mut sum = 0u64;
            let points = per_day.into_iter().map(|(day, more)| {
                sum = sum.saturating_add(more);
                (day, sum as f64)
            });
            Line { label, points: points.collect() }
        })
        .collect();
    if lines.is_empty() {
        return Ok(no_figure(TITLE, "No copy was made yet."));
    }
    let text = "Copies that this ledger made, added up, by host and day (UTC), in the last 90 days. What was taken over from the database is not among them; what was sent again counts again.";
    let drawing = charts::lines(&Lines { lines: &lines, ..Lines::default() }, &short)?;
    Ok(figure("copies-over-time", TITLE, text, &drawing, &legend(&lines)))
}

fn rate_over_time(facts: &Facts) -> Result<Markup> {
    const TITLE: &str = "Rate over time, MiB/s";
    const MIB: f64 = 1_048_576.0;
    let shown: Vec<Day> = facts.days.iter().filter(|day| is_shown(facts, day.day)).cloned().collect();
    let lines: Vec<Line> = by_host(&shown, |day| day.sent_bytes)
        .into_iter()
        .map(|(label, days)| {
            let mut per_day: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
            for day in days {
                let sum = per_day.entry(day.day).or_default();
                *sum = (sum.0.saturating_add(day.sent_bytes), sum.1.saturating_add(day.milliseconds));
            }
            let points = per_day
                .into_iter()
                .filter(|(_, (bytes, milliseconds))| *bytes > 0 && *milliseconds > 0)
                .map(|(day, (bytes, milliseconds))| (day, bytes as f64 * 1e3 / milliseconds as f64 / MIB));
            Line { label, points: points.collect() }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    if lines.is_empty() {
        return Ok(no_figure(TITLE, "Nothing was sent in the last 90 days."));
    }
    let text = "Bytes sent by the time that all attempts took, by host and day (UTC): comparing and flushing count too. Days on which nothing was sent have no mark.";
    let drawing = charts::lines(&Lines { lines: &lines, ..Lines::default() }, &short)?;
    Ok(figure("rate-over-time", TITLE, text, &drawing, &legend(&lines)))
}

fn space(facts: &Facts) -> Result<Markup> {
    let mut systems: BTreeMap<(&Host, &str), Vec<&RoomSeen>> = BTreeMap::new();
    for seen in &facts.rooms {
        systems.entry((&seen.host, seen.file_system.mount_point.as_str())).or_default().push(seen);
    }
    // Those that are nearest to full first.
    let mut systems: Vec<_> = systems.into_iter().collect();
    let used = |seen: &[&RoomSeen]| seen.last().map_or(0, |seen| seen.room.used_percent);
    systems.sort_by_key(|(_, seen)| std::cmp::Reverse(used(seen)));
    let left_out = systems.len().saturating_sub(FILE_SYSTEMS_MAX);
    let mut cards = Vec::new();
    for (number, ((host, mount_point), seen)) in systems.into_iter().take(FILE_SYSTEMS_MAX).enumerate() {
        cards.push(file_system(facts, number, host, mount_point, &seen)?);
    }
    Ok(html! {
        section {
            h2 { "Space on each host" }
            @if cards.is_empty() { p { "No pass has looked at a file system yet." } }
            div.cards { @for card in &cards { (card) } }
            @if left_out > 0 { p { (ui::count(left_out as u64, "file system", "file systems")) " with more room left out." } }
        }
    })
}

fn file_system(
    facts: &Facts,
    number: usize,
    host: &Host,
    mount_point: &str,
    seen: &[&RoomSeen],
) -> Result<Markup> {
    let title = format!("{host}: {}", escape_all(mount_point));
    let Some(last) = seen.last() else { return Ok(no_figure(&title, "Not seen yet.")) };
    let limit = facts.targets_on(last).map(|target| target.max_used_percent).min();
    let room = last.room;
    let mut text = format!(
        "{} % used, {} of {} free, seen {} UTC.",
        room.used_percent,
        ui::size(room.free_bytes),
        ui::size(room.total_bytes),
        ui::time(last.at)
    );
    let mut forecast = Vec::new();
    match limit {
        None => text.push_str(" No target of today lies there."),
        Some(limit) => {
            text.push_str(&format!(" The dashed line is the limit of {limit} %. "));
            let (words, at) = reaches_limit(facts, last, limit);
            text.push_str(&words);
            if let Some(day) = at.filter(|day| (last.day() + 1..=last.day() + DAYS_SHOWN).contains(day)) {
                forecast = vec![(last.day(), f64::from(room.used_percent)), (day, f64::from(limit))];
                text.push_str(" (dotted)");
            }
            text.push('.');
        }
    }
    let points = seen
        .iter()
        .filter(|seen| is_shown(facts, seen.day()) || seen.day() == last.day())
        .map(|seen| (seen.day(), f64::from(seen.room.used_percent)));
    let line = [Line { label: "used".to_owned(), points: points.collect() }];
    let limit = limit.map(f64::from);
    let chart = Lines { lines: &line, limit, forecast: &forecast, top: Some(100.0) };
    let drawing = charts::lines(&chart, &|percent| format!("{percent:.0} %"))?;
    Ok(figure(&format!("space-{number}"), &title, &text, &drawing, &html! {}))
}

/// When a file system reaches its limit, in words and as a day.
fn reaches_limit(facts: &Facts, last: &RoomSeen, limit_percent: u8) -> (String, Option<i32>) {
    let targets: Vec<&Target> = facts.targets_on(last).collect();
    let filling = Filling::of(last, &targets, limit_percent, &facts.tallies, &facts.days, facts.now);
    match filling.full(facts.now) {
        Forecast::Now => ("It is reached".to_owned(), None),
        Forecast::At { at, .. } => {
            let words = format!("At the present rate it is reached on {}", at.strftime("%Y-%m-%d"));
            (words, Some(day_of(at)))
        }
        Forecast::Beyond { years } => {
            (format!("At the present rate it is not reached in {years} years"), None)
        }
        Forecast::Unknown(why) => (format!("When it is reached is not known: {why}"), None),
    }
}

/// What shows one fault.
#[derive(Default)]
struct Faulty {
    copies: BTreeMap<&'static str, u64>,
    attempts: u64,
}

fn faults(facts: &Facts) -> Result<Markup> {
    let mut found: BTreeMap<i16, Faulty> = BTreeMap::new();
    for tally in &facts.tallies {
        if let Some(fault) = Fault::from_code(tally.fault_code) {
            let faulty = found.entry(tally.fault_code).or_default();
            let sum = faulty.copies.entry(class_of(tally.kind, fault).as_str()).or_default();
            *sum = sum.saturating_add(tally.copies);
        }
    }
    for day in facts.days.iter().filter(|day| day.day > day_of(facts.now) - FAULT_DAYS) {
        if let Outcome::Faulted(fault) = day.outcome {
            found.entry(fault.code()).or_default().attempts += day.attempts;
        }
    }
    let mut bars: Vec<Bar> = Vec::new();
    for (code, faulty) in &found {
        let copies: u64 = faulty.copies.values().sum();
        if let Some(fault) = Fault::from_code(*code).filter(|_| copies > 0) {
            let classes: Vec<&str> = faulty.copies.keys().copied().collect();
            bars.push(Bar {
                label: format!("{fault} ({})", classes.join(", ")),
                value: copies as f64,
                value_text: ui::count(copies, "copy", "copies"),
            });
        }
    }
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    bars.truncate(BARS_MAX);
    let drawing = charts::bars(&bars, 1)?;
    Ok(html! {
        section {
            h2 { "Faults by kind" }
            @if found.is_empty() { p { "No copy shows a fault, and no attempt met one in the last 30 days." } }
            @else {
                div.cards {
                    @if !bars.is_empty() {
                        (figure("faults", "Copies that show a fault", "By fault, those with most copies first.", &drawing, &html! {}))
                    }
                }
                (scroll("Faults by kind", &fault_table(&found)))
            }
        }
    })
}

fn fault_table(found: &BTreeMap<i16, Faulty>) -> Markup {
    html! { table {
        caption { "Class retry heals by itself; person and configuration ask an operator to act." }
        thead { tr {
            th scope="col" { "fault" } th scope="col" { "class" } th.number scope="col" { "copies" }
            th.number scope="col" { "attempts in 30 days" } th scope="col" { "what to do" }
        } }
        tbody {
            @for (code, faulty) in found {
                @if let Some(fault) = Fault::from_code(*code) {
                    tr {
                        th scope="row" { (fault.to_string()) }
                        td { (class_words(fault, faulty)) }
                        td.number { (faulty.copies.values().sum::<u64>()) }
                        td.number { (faulty.attempts) }
                        td.words { (with_code(fault.advice())) }
                    }
                }
            }
        }
    } }
}

fn class_words(fault: Fault, faulty: &Faulty) -> Markup {
    let classes: Vec<&str> = match faulty.copies.is_empty() {
        true => vec![fault.class().as_str()],
        false => faulty.copies.keys().copied().collect(),
    };
    html! {
        @for class in classes {
            span.kind.retry[class == Class::Retry.as_str()].person[class != Class::Retry.as_str()] { (class) }
        }
    }
}

fn grid(facts: &Facts) -> Markup {
    html! {
        section {
            h2 { "Minidvodbs by host" }
            (key())
            (by_group(facts))
            @match &facts.grid {
                Grid::TooMany => p {
                    "With more than " (GRID_COPIES) " copies there is no row for each minidvodb here: "
                    code { "minidvodbcopy list" } " has them all."
                },
                Grid::Each(_) => (each_minidvodb(facts)),
            }
        }
    }
}

fn key() -> Markup {
    html! {
        p { "Each letter is a state, and a dot no copy:" }
        ul.legend {
            @for kind in Kind::ALL {
                @let (name, letter, class) = looks_of(kind);
                li { span class=(format!("kind {class}")) { (letter) } " " (name) }
            }
        }
    }
}

/// The hosts that have copies.
fn hosts_with_copies(facts: &Facts) -> Vec<&Host> {
    let hosts: BTreeSet<&Host> = facts.tallies.iter().map(|tally| &tally.host).collect();
    hosts.into_iter().collect()
}

fn by_group(facts: &Facts) -> Markup {
    let hosts = hosts_with_copies(facts);
    let mut groups: BTreeMap<&Group, BTreeMap<&Host, BTreeMap<Kind, u64>>> = BTreeMap::new();
    for Tally { group, host, kind, fault_code, copies, .. } in &facts.tallies {
        let kind = shown_kind(*kind, *fault_code);
        *groups.entry(group).or_default().entry(host).or_default().entry(kind).or_default() += copies;
    }
    let left_out = groups.len().saturating_sub(GROUPS_MAX);
    let table = html! { table {
        caption { "Copies of each group on each host, counted." }
        thead { tr { th scope="col" { "group" } @for host in &hosts { th scope="col" { (host.to_string()) } } } }
        tbody {
            @for (group, by_host) in groups.iter().take(GROUPS_MAX) {
                tr {
                    th scope="row" { (group.to_string()) }
                    @for host in &hosts { td { (counted(by_host.get(host))) } }
                }
            }
        }
    } };
    html! {
        (scroll("Copies of each group on each host", &table))
        @if left_out > 0 { p { (ui::count(left_out as u64, "group", "groups")) " left out." } }
    }
}

fn counted(kinds: Option<&BTreeMap<Kind, u64>>) -> Markup {
    html! {
        @match kinds {
            None => span.soft title="no copy" { "\u{b7}" },
            Some(kinds) => @for (kind, copies) in kinds {
                @let (name, letter, class) = looks_of(*kind);
                span class=(format!("kind {class}")) title=(name) { (letter) " " (copies) }
            },
        }
    }
}

fn each_minidvodb(facts: &Facts) -> Markup {
    let Grid::Each(rows) = &facts.grid else { return html! {} };
    let hosts = hosts_with_copies(facts);
    let table = html! { table {
        caption { "Each minidvodb that has a copy, and its state on each host; a number is its fault." }
        thead { tr {
            th.number scope="col" { "id" } th scope="col" { "group" } th scope="col" { "minidvodb" }
            @for host in &hosts { th scope="col" { (host.to_string()) } }
        } }
        tbody {
            @for row in rows {
                tr {
                    td.number { (row.id.to_string()) }
                    td { (row.group.to_string()) }
                    th scope="row" { (escape_all(&row.name)) }
                    @for host in &hosts {
                        td {
                            @match row.copies.get(*host) {
                                None => span.soft title="no copy" { "\u{b7}" },
                                Some((kind, fault)) => {
                                    @let (name, letter, class) = looks_of(shown_kind(*kind, *fault));
                                    span class=(format!("kind {class}")) title=(name) {
                                        (letter) @if *fault != 0 { " " (fault) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    } };
    scroll("Each minidvodb on each host", &table)
}

fn slowest(facts: &Facts) -> Result<Markup> {
    let bars: Vec<Bar> = facts
        .slowest
        .iter()
        .take(BARS_MAX)
        .map(|slow| Bar {
            label: format!("{} to {}", slow.name, slow.host),
            value: f64::from(slow.seconds),
            value_text: duration(slow.seconds),
        })
        .collect();
    let drawing = charts::bars(&bars, 0)?;
    Ok(html! {
        section {
            h2 { "The slowest copies" }
            @if bars.is_empty() { p { "No copy was made yet." } }
            @else {
                div.cards {
                    (figure("slowest", "Time that they took", "The last attempt of full copies, the longest first.", &drawing, &html! {}))
                    (scroll("The slowest copies", &slow_table(facts)))
                }
            }
        }
    })
}

fn slow_table(facts: &Facts) -> Markup {
    html! { table {
        caption { code { "minidvodbcopy show ID" } " has all attempts of a copy." }
        thead { tr {
            th.number scope="col" { "id" } th scope="col" { "minidvodb" } th scope="col" { "host" }
            th.number scope="col" { "time" } th.number scope="col" { "size" } th.number scope="col" { "a second" }
        } }
        tbody {
            @for slow in &facts.slowest {
                tr {
                    td.number { (slow.id.to_string()) }
                    th scope="row" { (escape_all(&slow.name)) }
                    td { (slow.host.to_string()) }
                    td.number { (duration(slow.seconds)) }
                    td.number { (slow.bytes.map_or_else(|| "-".to_owned(), ui::size)) }
                    td.number { (slow.bytes.map_or_else(|| "-".to_owned(), |bytes| ui::size((bytes as f64 / f64::from(slow.seconds)) as u64))) }
                }
            }
        }
    } }
}

/// A length of time for people.
fn duration(seconds: f32) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}
