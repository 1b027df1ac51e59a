//! `target`: what to copy where.
//!
//! Adding a target again changes it. A changed path is taken by its new copies, begun ones too; the staging
//! folders that they leave behind are removed by the next pass.

use serde::Serialize;

use crate::cli::{TargetAdd, TargetCommand, TargetDel, TargetShow, TargetVerb};
use crate::error::{Error, Exit, Result};
use crate::faults::Scope;
use crate::ledger::{Change, Failure, Look as _};
use crate::lock::PassLock;
use crate::model::{Copy, Host, HostRecord, Standing, Target};
use crate::pass::Context;
use crate::{render, state, ui};

pub(super) fn execute(context: &Context, command: TargetCommand) -> Result<Exit> {
    match command.verb {
        TargetVerb::Add(add_words) => add(context, &add_words)?,
        TargetVerb::Del(del_words) => del(context, &del_words)?,
        TargetVerb::Show(show_words) => show(context, &show_words)?,
    }
    Ok(Exit::Done)
}

/// What adding a target did, to be said.
#[derive(Default)]
pub(super) struct Added {
    was_there: bool,
    moved: u64,
    begun: u64,
    settling: u64,
    accepted: Option<String>,
    pub is_host_on: bool,
}

pub(super) fn add(context: &Context, words: &TargetAdd) -> Result<()> {
    state::prepare(&context.state_dir)?;
    let _lock = lock_if_it_moves(context, words)?;
    let now = context.now();
    let added = context.ledger.write(|change| put(change, words, now))?;
    say_added(context, words, &added);
    Ok(())
}

/// Makes or changes the target, and lets its new copies follow.
pub(super) fn put(
    change: &mut Change<'_>,
    words: &TargetAdd,
    now: jiff::Timestamp,
) -> Result<Added, Failure> {
    let before = change.target(&words.host, &words.group)?;
    let mut added = Added { was_there: before.is_some(), ..Added::default() };
    let mut target = match &before {
        Some(before) => Target { path: words.path.clone(), ..before.clone() },
        None => Target::new(words.group.clone(), words.host.clone(), words.path.clone()),
    };
    target.max_used_percent = words.max_used.unwrap_or(target.max_used_percent);
    target.verify = words.verify.unwrap_or(target.verify);
    target.deadline_s = words.deadline.unwrap_or(target.deadline_s);
    if let Some(rate) = &words.bwlimit {
        target.bwlimit = (rate != "0").then(|| rate.clone());
    }
    target.streams = words.streams.unwrap_or(target.streams);
    // What is there now is accepted: the next pass looks at the file system anew.
    added.accepted = target.standing.take().map(|standing| standing.fault.to_string());
    target.file_system = None;
    if before.as_ref().is_none_or(|before| before.path != target.path) {
        target.queued_through = 0;
    }
    change.put_target(&target)?;
    let mut host = change.host_or_unknown(&words.host)?;
    added.is_host_on = host.is_on;
    if change.host(&words.host)?.is_none() {
        host = HostRecord::unknown(words.host.clone());
        change.put_host(&host)?;
    }
    let mut pending = Vec::new();
    change.each_pending(&words.host, &words.group, |copy| {
        pending.push(copy);
        Ok(())
    })?;
    for copy in pending {
        follow(change, copy, &target, now, &mut added)?;
    }
    Ok(added)
}

/// Lets a copy that is still new go to the target's path.
fn follow(
    change: &mut Change<'_>,
    mut copy: Copy,
    target: &Target,
    now: jiff::Timestamp,
    added: &mut Added,
) -> Result<(), Failure> {
    let shows_target_fault = copy.fault_of_making().is_some_and(|state| state.fault.scope() == Scope::Target);
    // A full copy that is to be sent again stays where it is.
    let is_elsewhere = copy.is_new() && copy.path != target.path;
    if copy.publishing().is_some() && is_elsewhere {
        // It may have its final name already; the next pass settles that where it was begun.
        added.settling += 1;
        return Ok(());
    }
    if !is_elsewhere && !shows_target_fault {
        return Ok(());
    }
    if is_elsewhere {
        added.moved += 1;
        added.begun += u64::from(change.leave_staging(&copy)?);
        copy.path = target.path.clone();
        copy.to_send_bytes = None;
    }
    if shows_target_fault {
        copy.set_fault_of_making(None);
    }
    copy.touch(now);
    change.put_known_copy(&copy)
}

/// A target's path is not changed under a pass that copies to it.
pub(super) fn lock_if_it_moves(context: &Context, words: &TargetAdd) -> Result<Option<PassLock>> {
    if !context.ledger.exists() {
        return Ok(None);
    }
    let (before, host) = context.ledger.read(|ledger| {
        Ok((ledger.target(&words.host, &words.group)?, ledger.host_or_unknown(&words.host)?))
    })?;
    if before.is_none_or(|before| before.path == words.path) {
        return Ok(None);
    }
    match PassLock::try_take(&context.state_dir, &words.host, &words.group, &host.machine)? {
        Ok(lock) => Ok(Some(lock)),
        Err(holder) => Err(Error::try_again(format!(
            "the path of {} to {} cannot change while a pass is under way: {holder}",
            words.group, words.host
        ))
        .hint(let_it_end(context))),
    }
}

/// The way to get a pass out of the way.
pub(super) fn let_it_end(context: &Context) -> String {
    format!("`{}` lets it end after the present copy", context.own_command(&["stage", "off", "run"]))
}

/// The command that makes the target of a copy.
pub(super) fn add_command(context: &Context, copy: &Copy) -> String {
    context.own_command(&["target", "add", copy.group.as_str(), copy.host.as_str(), copy.path.as_str()])
}

pub(super) fn say_added(context: &Context, words: &TargetAdd, added: &Added) {
    let (group, host, path) = (&words.group, &words.host, &words.path);
    let verb = if added.was_there { "changed" } else { "added" };
    context.ui.tell(&format!("target {verb}: {group} to {host} at {path}"));
    if let Some(fault) = &added.accepted {
        context.ui.tell(&format!("accepted: fault {fault} of this target is cleared"));
    }
    if added.moved > 0 {
        let copies = ui::count(added.moved, "new copy goes", "new copies go");
        context.ui.notice(&format!("{copies} to {path} now"));
    }
    if added.begun > 0 {
        let copies = ui::count(added.begun, "copy that was begun starts", "copies that were begun start");
        context.ui.notice(&format!("{copies} again there; the next pass removes the old staging"));
    }
    if added.settling > 0 {
        let copies = ui::count(added.settling, "copy was", "copies were");
        context
            .ui
            .notice(&format!("{copies} about to be published at the old path, and will be settled there"));
    }
    if !added.is_host_on {
        say_host_is_off(context, host);
    }
}

/// A host that is off is not served, though much may go there.
pub(super) fn say_host_is_off(context: &Context, host: &Host) {
    let command = context.own_command(&["host", "add", host.as_str()]);
    context.ui.tell(&format!("{host} is off: `{command}` lets `run` serve it"));
}

fn del(context: &Context, words: &TargetDel) -> Result<()> {
    if !context.ledger.exists() {
        return Err(unknown(context, words));
    }
    let parked = context.ledger.write(|change| remove(context, change, words))?;
    say_removed(context, words, parked);
    Ok(())
}

/// The error about a target that there is not.
pub(super) fn unknown(context: &Context, words: &TargetDel) -> Error {
    Error::usage(format!("there is no target {} to {}", words.group, words.host))
        .hint(format!("`{}` lists them", context.own_command(&["target", "show"])))
}

/// Takes the target away; says how many new copies that parks.
pub(super) fn remove(context: &Context, change: &mut Change<'_>, words: &TargetDel) -> Result<u64, Failure> {
    let parked = change.count_pending(&words.host, &words.group)?;
    let was_there = change.remove_target(&words.host, &words.group)?;
    if was_there { Ok(parked) } else { Err(unknown(context, words).into()) }
}

pub(super) fn say_removed(context: &Context, words: &TargetDel, parked: u64) {
    context.ui.tell(&format!("target deleted: {} to {}", words.group, words.host));
    if parked > 0 {
        let copies = ui::count(parked, "new copy is", "new copies are");
        context.ui.notice(&format!("{copies} parked until the target is added again"));
    }
}

/// A target as `target show --json` prints it.
#[derive(Serialize)]
struct Shown {
    minidvodb_group: String,
    destination_host: String,
    path: String,
    max_used: u8,
    verify: &'static str,
    deadline: u32,
    bwlimit: Option<String>,
    streams: u8,
    on: bool,
    file_system: Option<String>,
    pending: u64,
    fault: i16,
    fault_name: Option<&'static str>,
    since: Option<String>,
    next_probe: Option<String>,
}

fn show(context: &Context, words: &TargetShow) -> Result<()> {
    let shown = super::read_if_any(context, |ledger| {
        let mut shown = Vec::new();
        for target in ledger.targets()? {
            let host = ledger.host_or_unknown(&target.host)?;
            let (fault, fault_name, since, next_probe) = standing_parts(target.standing.as_ref());
            shown.push(Shown {
                pending: ledger.count_pending(&target.host, &target.group)?,
                minidvodb_group: target.group.to_string(),
                destination_host: target.host.to_string(),
                path: target.path.to_string(),
                max_used: target.max_used_percent,
                verify: target.verify.as_str(),
                deadline: target.deadline_s,
                bwlimit: target.bwlimit.clone(),
                streams: target.streams,
                on: host.is_on,
                file_system: target.file_system.as_ref().map(ToString::to_string),
                fault,
                fault_name,
                since,
                next_probe,
            });
        }
        Ok(shown)
    })?;
    if words.json {
        let json = serde_json::to_string_pretty(&shown).map_err(Error::bug)?;
        return context.ui.print(&format!("{json}\n"));
    }
    let mut table = render::new_table(&[
        "group",
        "host",
        "path",
        "host is",
        "max used",
        "verify",
        "deadline (s)",
        "bwlimit",
        "streams",
        "pending",
        "fault",
    ]);
    for target in &shown {
        table.add_row(render::cells(&[
            &target.minidvodb_group,
            &target.destination_host,
            &target.path,
            if target.on { "on" } else { "off" },
            &format!("{} %", target.max_used),
            target.verify,
            &target.deadline.to_string(),
            target.bwlimit.as_deref().unwrap_or("-"),
            &target.streams.to_string(),
            &target.pending.to_string(),
            &fault_text(target.fault, target.fault_name, target.next_probe.as_deref()),
        ]));
    }
    context.ui.print(&render::finish(&table))
}

/// A standing fault in a table.
pub(super) fn fault_text(code: i16, name: Option<&str>, next_probe: Option<&str>) -> String {
    match (name, next_probe) {
        (None, _) => "-".to_owned(),
        (Some(name), Some(at)) => format!("{code} {name}, next probe {at}"),
        (Some(name), None) => format!("{code} {name}, waits to be accepted"),
    }
}

/// A standing fault's parts for JSON.
pub(super) fn standing_parts(
    standing: Option<&Standing>,
) -> (i16, Option<&'static str>, Option<String>, Option<String>) {
    (
        standing.map_or(0, |standing| standing.fault.code()),
        standing.map(|standing| standing.fault.name()),
        standing.map(|standing| ui::rfc3339(standing.since)),
        standing.and_then(|standing| standing.next_probe).map(ui::rfc3339),
    )
}
