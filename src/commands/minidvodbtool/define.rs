//! `-definebyquery`: queues a copy of what has none on a machine.
//!
//! Invariant: what is queued is what a pass would queue for a target of that group, host and path. The database
//! is read before, as by a pass, so that what is merged there by now is queued too.

use std::collections::BTreeSet;

use super::super::copies::listing_row;
use super::super::target::say_host_is_off;
use crate::cli::minidvodbtool::Define;
use crate::error::{Exit, Result};
use crate::ledger::{Failure, Look};
use crate::model::{Candidate, Copy, Group, Machine, Target};
use crate::pass::{self, Context, queue};
use crate::plan::queue::Queue;
use crate::render::mdc::{Form, Listing};
use crate::sync::Partner;
use crate::ui;

/// So many of the queued are named.
const NAMED_MAX: usize = 10;

pub(super) fn execute(context: &Context, words: &Define) -> Result<Exit> {
    if let Some(form) = words.pretend {
        return pretend(context, words, form);
    }
    let mut partner = Partner::meet(context)?;
    let (mut exit, mut queued) = (Exit::Done, 0);
    for group in groups(context, words)? {
        let of_group = queue_group(context, words, &group)?;
        say_queued(context, words, &group, &of_group)?;
        queued += of_group.count;
        if of_group.collisions > 0 {
            exit = Exit::Faulted;
        }
    }
    if queued == 0 {
        context.ui.tell("nothing was to be queued");
    }
    partner.catch_up(context)?;
    Ok(exit)
}

/// The groups to go through; names what is not known here, which is more likely a typing error than a wish.
fn groups(context: &Context, words: &Define) -> Result<BTreeSet<Group>> {
    let Some(id) = words.minidvodb_id else {
        for group in &words.groups {
            if !context.ledger.read(|ledger| is_known(ledger, words, group))? {
                context.ui.notice(&format!(
                    "no minidvodb of the group {group} is known here; from the database they come with the first sync after `{}`",
                    context.own_command(&["target", "add"])
                ));
            }
        }
        return Ok(words.groups.clone());
    };
    match context.ledger.read(|ledger| ledger.minidvodb(id))? {
        None => {
            context.ui.notice(&format!("minidvodb {id} is not known here"));
            Ok(BTreeSet::new())
        }
        Some(minidvodb) if words.groups.is_empty() || words.groups.contains(&minidvodb.group) => {
            Ok(BTreeSet::from([minidvodb.group]))
        }
        Some(_) => Ok(BTreeSet::new()),
    }
}

/// Whether there is any minidvodb of a group. Only where none is eligible are all of them gone through.
fn is_known(ledger: &impl Look, words: &Define, group: &Group) -> Result<bool, Failure> {
    let mut is_known = ledger.has_candidates(&target(words, group, 0))?;
    if !is_known {
        ledger.each_minidvodb(|minidvodb| {
            is_known = minidvodb.group == *group;
            Ok(!is_known)
        })?;
    }
    Ok(is_known)
}

/// The target that the words stand for; `behind` counts those of its group that have been gone through.
fn target(words: &Define, group: &Group, behind: u64) -> Target {
    let target = Target::new(group.clone(), words.host.clone(), words.path.clone());
    Target { queued_through: behind, ..target }
}

/// Some of those that may be queued for a target, the machine, and where the next ones are.
fn some(
    ledger: &impl Look,
    words: &Define,
    target: &Target,
) -> Result<(Vec<Candidate>, Machine, Option<u64>), Failure> {
    let machine = ledger.host_or_unknown(&target.host)?.machine;
    let Some(id) = words.minidvodb_id else {
        let found = ledger.candidates(target, &machine, queue::QUEUED_AT_ONCE)?;
        return Ok((found.candidates, machine, found.has_more.then_some(found.through)));
    };
    let minidvodb = ledger.minidvodb(id)?;
    let one = minidvodb.map(|minidvodb| ledger.candidate(minidvodb, target, &machine)).transpose()?;
    Ok((one.into_iter().collect(), machine, None))
}

/// What was queued of a group.
#[derive(Default)]
struct Queued {
    count: u64,
    collisions: u64,
    /// The first of them.
    names: Vec<String>,
}

fn queue_group(context: &Context, words: &Define, group: &Group) -> Result<Queued> {
    let (mut queued, mut next) = (Queued::default(), Some(0));
    while let Some(behind) = next {
        context.check_stop()?;
        let (target, now) = (target(words, group, behind), context.now());
        let (copies, further) = context.ledger.write(|change| {
            let (candidates, machine, further) = some(change, words, &target)?;
            Ok((queue::put(change, candidates, &target, &machine, now)?, further))
        })?;
        queued.count += copies.len() as u64;
        let room = NAMED_MAX - queued.names.len();
        queued.names.extend(copies.iter().take(room).map(|copy| copy.name.to_string()));
        for copy in copies.iter().filter(|copy| copy.fault().is_some()) {
            pass::say_collision(context, copy)?;
            queued.collisions += 1;
        }
        next = further;
    }
    Ok(queued)
}

fn say_queued(context: &Context, words: &Define, group: &Group, queued: &Queued) -> Result<()> {
    if queued.count == 0 {
        return Ok(());
    }
    let (host, path) = (&words.host, &words.path);
    let minidvodbs = ui::count(queued.count, "minidvodb", "minidvodbs");
    let rest = queued.count - queued.names.len() as u64;
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let names = queued.names.join(", ");
    context.ui.notice(&format!("queued {minidvodbs} of {group} for {host} at {path}: {names}{more}"));
    let (has_target, is_on) = context
        .ledger
        .read(|ledger| Ok((ledger.target(host, group)?.is_some(), ledger.host_or_unknown(host)?.is_on)))?;
    if !has_target {
        let typed = context.own_command(&["target", "add", group.as_str(), host.as_str(), path.as_str()]);
        context.ui.notice(&format!("they are parked: nothing of {group} goes to {host} before `{typed}`"));
    } else if !is_on {
        say_host_is_off(context, host);
    }
    Ok(())
}

/// What would be queued, as rows that have no id and no time yet. Nothing changes.
fn pretend(context: &Context, words: &Define, form: Form) -> Result<Exit> {
    let (mut listing, mut queue) = (Listing::new(form), Queue::default());
    for group in groups(context, words)? {
        let mut next = Some(0);
        while let Some(behind) = next {
            context.check_stop()?;
            let (target, now) = (target(words, &group, behind), context.now());
            let (rows, further) = context.ledger.read(|ledger| {
                let (candidates, machine, further) = some(ledger, words, &target)?;
                let copies = queue::planned(&mut queue, candidates, &target, &machine, now);
                let rows: Result<Vec<String>, Failure> =
                    copies.into_iter().map(|copy| listing_row(form, &unwritten(copy), ledger)).collect();
                Ok((rows?, further))
            })?;
            context.ui.print(&listing.add(&rows))?;
            next = further;
        }
    }
    context.ui.print(listing.end())?;
    Ok(Exit::Done)
}

/// A row that was never written has no time of its last change.
fn unwritten(copy: Copy) -> Copy {
    Copy { epoch: None, ..copy }
}
