//! What an operator's hand changes of copies: for `revert`, `update` and `minidvodbtool`.
//!
//! Invariant: all that is meant is changed, or nothing; the one-copy rule holds; a pass that is at a copy is
//! not disturbed; the log keeps what was before.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::copies::Among;
use crate::error::{Error, Result};
use crate::faults::Fault;
use crate::ledger::{Change, Failure, Look};
use crate::lock;
use crate::model::{Content, Copy, CopyId, LogEntry, Outcome, Taken};
use crate::pass::Context;
use crate::plan::by_hand::{self, Wish};

/// More copies than these are logged in one entry for all.
const LOGGED_ONE_BY_ONE: usize = 20;
/// So many changed copies are kept to be shown.
const SHOWN: usize = 20;

/// Which copies are meant.
#[derive(Clone, Copy)]
pub(super) enum Meant<'a> {
    /// This one.
    Copy(CopyId),
    /// Those of some for which it says yes.
    Each(Among, &'a dyn Fn(&Copy) -> bool),
}

/// A copy before and after.
#[derive(Clone)]
pub(super) struct Changed {
    pub(super) before: Copy,
    pub(super) after: Copy,
}

/// What an update has changed, however many that are.
#[derive(Default)]
pub(super) struct Changes {
    /// The first of them.
    pub(super) first: Vec<Changed>,
    last: VecDeque<Changed>,
    ids: Vec<CopyId>,
}

impl Changes {
    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    fn add(&mut self, changed: Changed) {
        self.ids.push(changed.before.id);
        if self.first.len() < SHOWN {
            self.first.push(changed.clone());
        }
        if self.last.len() == LOGGED_ONE_BY_ONE {
            self.last.pop_front();
        }
        self.last.push_back(changed);
    }
}

/// Sets what is wished of every copy that is meant; nothing where one of them refuses.
///
/// # Errors
/// 2 where a copy cannot be like that, 75 where a pass is at one of them.
pub(super) fn update(context: &Context, meant: Meant<'_>, wish: &Wish) -> Result<Changes> {
    super::need_ledger(context)?;
    let now = context.now();
    context.ledger.write(|change| {
        let mut changes = Changes::default();
        for id in chosen(change, meant)? {
            let before = change.copy(id)?.ok_or_else(|| no_copy(context, id))?;
            refuse_at_work(context, change, &before)?;
            if wish.touches_the_folder() {
                refuse_publishing(context, &before)?;
            }
            let host = wish.host.as_ref().unwrap_or(&before.host);
            let machine = match &wish.host {
                Some(host) if *host != before.host => change.host_or_unknown(host)?.machine,
                _ => before.machine.clone(),
            };
            let after = by_hand::apply(&before, wish, machine, now);
            let goes_elsewhere = (&before.host, &before.path) != (host, &after.path);
            if before.is_to_be_made() && (goes_elsewhere || !after.is_to_be_made()) {
                change.leave_staging(&before)?;
            }
            end_attempt(change, &before, &after, now)?;
            put(context, change, &after, wish)?;
            if let Some(state) = before.fault().filter(|state| after.fault() != Some(state)) {
                change.forget_logged_fault(&before.host, &before.group, state.fault)?;
            }
            changes.add(Changed { before, after });
        }
        log_update(context, change, &changes)?;
        Ok(changes)
    })
}

/// Clears the fault of every copy that is meant, new and faulted; says what they were.
///
/// # Errors
/// The ledger's.
pub(super) fn revert(context: &Context, is_meant: &dyn Fn(&Copy) -> bool, taken: Taken) -> Result<Vec<Copy>> {
    super::need_ledger(context)?;
    let now = context.now();
    context.ledger.write(|change| {
        let mut reverted = Vec::new();
        Among::ToBeMade.each(change, |copy| {
            if copy.is_new() && copy.fault().is_some() && is_meant(&copy) {
                reverted.push(copy);
            }
        })?;
        for before in &reverted {
            let mut after = before.clone();
            after.revert(taken, now);
            change.put_known_copy(&after)?;
            if let Some(state) = before.fault() {
                change.forget_logged_fault(&before.host, &before.group, state.fault)?;
            }
        }
        log_revert(context, change, &reverted, taken)?;
        Ok(reverted)
    })
}

/// The ids of the copies that are meant: a million of these is no burden.
fn chosen(ledger: &impl Look, meant: Meant<'_>) -> Result<Vec<CopyId>, Failure> {
    match meant {
        Meant::Copy(id) => Ok(vec![id]),
        Meant::Each(among, is_meant) => {
            let mut chosen = Vec::new();
            among.each(ledger, |copy| {
                if is_meant(&copy) {
                    chosen.push(copy.id);
                }
            })?;
            Ok(chosen)
        }
    }
}

/// The error about a copy that there is not.
pub(super) fn no_copy(context: &Context, id: CopyId) -> Error {
    Error::usage(format!("there is no copy {id}"))
        .hint(format!("`{}` lists them", context.own_command(&["list"])))
}

/// An attempt at a copy would write its end over what was set.
pub(super) fn refuse_at_work(context: &Context, ledger: &impl Look, copy: &Copy) -> Result<(), Failure> {
    let is_open = ledger.open_attempts(&copy.host, &copy.group)?.iter().any(|(open, _)| *open == copy.id);
    if is_open && let Some(holder) = lock::holder_now(&context.state_dir, &copy.host, &copy.group) {
        return Err(Error::try_again(format!("a pass is at copy {} at this moment: {holder}", copy.id))
            .hint(format!(
                "try again when it is done; `{}` ends the pass after that copy",
                context.own_command(&["stage", "off", "run"])
            ))
            .into());
    }
    Ok(())
}

/// A rename that may have happened must be settled.
pub(super) fn refuse_publishing(context: &Context, copy: &Copy) -> Result<()> {
    if copy.publishing().is_none() {
        return Ok(());
    }
    let command = match copy.recopy() {
        None => context.own_command(&["run"]),
        Some(_) => context.own_command(&["recopy", &copy.id.to_string()]),
    };
    Err(Error::try_again(format!(
        "copy {} was cut off while it got its final name, and the next pass settles that first",
        copy.id
    ))
    .hint(format!("`{command}` makes that pass")))
}

/// An attempt that was killed is looked for by its host: of a copy that goes to another one, it ends here.
fn end_attempt(change: &mut Change<'_>, before: &Copy, after: &Copy, now: Timestamp) -> Result<(), Failure> {
    let open = change.open_attempts(&before.host, &before.group)?;
    let Some((_, number)) =
        open.into_iter().find(|(open, _)| *open == before.id && before.host != after.host)
    else {
        return Ok(());
    };
    let Some(mut attempt) = change.attempt(before.id, number)? else { return Ok(()) };
    attempt.ended = Some(now);
    attempt.outcome = Outcome::Interrupted;
    "the pass was killed, or the machine went down".clone_into(&mut attempt.said);
    change.put_attempt(before, &attempt)
}

/// Writes a copy that may have gone to another place, where nobody else may be.
fn put(context: &Context, change: &mut Change<'_>, after: &Copy, wish: &Wish) -> Result<(), Failure> {
    if let Err(taken) = change.put_copy(after)? {
        return Err(Error::usage(format!(
            "copies {} and {} would both be of minidvodb {} on machine {}, and there may be one",
            taken.copy, taken.by, after.minidvodb_id, after.machine
        ))
        .hint(show_both(context, taken.copy, taken.by))
        .into());
    }
    if wish.touches_the_folder() && !change.claim_final_path(after)? {
        let path = after.final_path();
        let owner = change.owner_of(&after.machine, &path)?;
        let owner = owner.map_or_else(String::new, |owner| format!(" of copy {owner}"));
        return Err(Error::usage(format!(
            "copy {} cannot go to {}:{path}, which is the place{owner}",
            after.id, after.host
        ))
        .into());
    }
    Ok(())
}

fn log_update(context: &Context, change: &mut Change<'_>, changes: &Changes) -> Result<(), Failure> {
    if changes.count() > LOGGED_ONE_BY_ONE {
        let ids = listed(changes.ids.iter().copied());
        let text = format!("updated {} copies by hand, the last of them as follows: {ids}", changes.count());
        add_log(context, change, None, text)?;
    }
    for Changed { before, after } in &changes.last {
        let (was, is) = (Content::of(before), Content::of(after));
        let text = format!("updated {} by hand: was {was}; is {is}", title(before));
        add_log(context, change, Some(before.id), text)?;
    }
    Ok(())
}

fn log_revert(
    context: &Context,
    change: &mut Change<'_>,
    reverted: &[Copy],
    taken: Taken,
) -> Result<(), Failure> {
    let how = if taken == Taken::Adopt { ", and may complete what is there" } else { "" };
    if reverted.len() <= LOGGED_ONE_BY_ONE {
        for copy in reverted {
            let was = Content::of(copy);
            let text = format!("reverted {}{how}: was {was}", title(copy));
            add_log(context, change, Some(copy.id), text)?;
        }
        return Ok(());
    }
    let mut by_fault: BTreeMap<i16, (Option<Fault>, Vec<CopyId>)> = BTreeMap::new();
    for copy in reverted {
        let fault = copy.fault().map(|state| state.fault);
        by_fault.entry(copy.fault_code()).or_insert((fault, Vec::new())).1.push(copy.id);
    }
    for (fault, ids) in by_fault.into_values() {
        let fault = fault.map_or_else(String::new, |fault| fault.to_string());
        let text = format!("reverted {} copies{how}: were {fault}: {}", ids.len(), listed(ids.into_iter()));
        add_log(context, change, None, text)?;
    }
    Ok(())
}

/// The first ids of many, as a log entry has room for.
fn listed(ids: impl ExactSizeIterator<Item = CopyId>) -> String {
    const MOST: usize = 200;
    let rest = ids.len().saturating_sub(MOST);
    let first: Vec<String> = ids.take(MOST).map(|id| id.to_string()).collect();
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("copies {}{more}", first.join(", "))
}

/// The way to look at two copies that get in each other's way.
pub(super) fn show_both(context: &Context, one: CopyId, other: CopyId) -> String {
    format!("`{}` and `show {other}` show them", context.own_command(&["show", &one.to_string()]))
}

/// A copy in messages.
pub(super) fn title(copy: &Copy) -> String {
    format!("copy {} ({} to {})", copy.id, copy.name, copy.host)
}

pub(super) fn add_log(
    context: &Context,
    change: &mut Change<'_>,
    copy: Option<CopyId>,
    text: String,
) -> Result<(), Failure> {
    change.add_log(&LogEntry { at: context.now(), who: context.user.clone(), copy, text })
}
