//! `recopy`: sends a full copy again, and exchanges the two folders.
//!
//! The wish is kept in the ledger until it is fulfilled or given up: an attempt that is cut off, or that meets a
//! fault which heals by itself, is gone on with by the next passes.

use std::num::NonZeroU8;

use super::by_hand::{self, no_copy, title};
use super::{run, target};
use crate::cli;
use crate::error::{Error, Exit, Result};
use crate::ledger::{Change, Failure, Look as _};
use crate::model::{Copy, CopyId, CopyState, Minidvodb, Recopy};
use crate::pass::{self, Context, Order, WhenOff};
use crate::plan::load::Eagerness;

pub(super) fn execute(context: &Context, words: &cli::Recopy) -> Result<Exit> {
    super::need_ledger(context)?;
    if words.cancel {
        return cancel(context, words.id);
    }
    let reason = words.reason.clone().unwrap_or_default();
    let copy = context.ledger.write(|change| wish(context, change, words.id, &reason))?;
    let order = Order {
        host: Some(copy.host),
        group: Some(copy.group),
        among: None,
        copy: Some(copy.id),
        limit: None,
        jobs: NonZeroU8::MIN,
        eagerness: Eagerness::Now,
        when_off: WhenOff::Serve,
        must_have_lock: true,
        counts_waiting: false,
    };
    let summary = pass::run(context, &order).map_err(|error| {
        error.hint(format!("copy {} is to be sent again, and the next pass does it", copy.id))
    })?;
    let stages = context.ledger.read(|ledger| ledger.stages())?;
    if !(stages.load && stages.run) {
        context.ui.notice(&format!(
            "copy {} is to be sent again, and no pass does it before `{}`",
            copy.id,
            context.own_command(&["stage", "on"])
        ));
    }
    run::report(context, &summary, false, false)
}

/// Notes that a copy is to be sent again.
fn wish(context: &Context, change: &mut Change<'_>, id: CopyId, reason: &str) -> Result<Copy, Failure> {
    let mut copy = change.copy(id)?.ok_or_else(|| no_copy(context, id))?;
    let minidvodb = change.minidvodb(copy.minidvodb_id)?;
    let has_target = change.target(&copy.host, &copy.group)?.is_some();
    refuse(context, &copy, minidvodb.as_ref(), has_target)?;
    let CopyState::Full { recopy, .. } = &mut copy.state else { return Ok(copy) };
    let before = recopy.take();
    let (was_wished, exchanging) = (before.is_some(), before.as_ref().and_then(|before| before.exchanging));
    let is_new_reason = !reason.is_empty();
    let kept = before.map(|before| before.reason).filter(|_| reason.is_empty());
    let reason = kept.unwrap_or_else(|| reason.to_owned());
    *recopy = Some(Recopy { reason: reason.clone(), fault: None, exchanging });
    copy.forget_tries();
    change.put_known_copy(&copy)?;
    if !was_wished || is_new_reason {
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        by_hand::add_log(context, change, Some(id), format!("{} is to be sent again{why}", title(&copy)))?;
    }
    Ok(copy)
}

/// Only a folder that this ledger published is replaced, and only by a minidvodb that may be copied.
fn refuse(context: &Context, copy: &Copy, minidvodb: Option<&Minidvodb>, has_target: bool) -> Result<()> {
    let id = copy.id;
    if copy.is_new() {
        return Err(Error::usage(format!("copy {id} is new: the next pass sends it"))
            .hint(format!("`{}` makes that pass", context.own_command(&["run"]))));
    }
    if copy.published().is_none() {
        return Err(Error::usage(format!(
            "the folder of {} was not published by this ledger, which replaces nothing else",
            title(copy)
        ))
        .hint(format!(
            "move {} away at {}, then `{}` lets the next pass send it",
            copy.final_path(),
            copy.host,
            context.own_command(&[
                "update",
                "--id",
                &id.to_string(),
                "--set-state",
                "new",
                "--set-fault",
                "0"
            ])
        )));
    }
    if !minidvodb.is_some_and(Minidvodb::is_eligible) {
        let id = copy.minidvodb_id;
        return Err(Error::usage(format!(
            "minidvodb {id} is not merged and without a fault any more, or not in the list"
        )));
    }
    if !has_target {
        return Err(Error::usage(format!("nothing of {} goes to {} any more", copy.group, copy.host))
            .hint(format!("`{}` makes that target again", target::add_command(context, copy))));
    }
    Ok(())
}

/// Gives a recopy up; what it has sent so far is removed by the next pass.
fn cancel(context: &Context, id: CopyId) -> Result<Exit> {
    let was_wished = context.ledger.write(|change| {
        let mut copy = change.copy(id)?.ok_or_else(|| no_copy(context, id))?;
        if copy.recopy().is_none() {
            return Ok(false);
        }
        by_hand::refuse_at_work(context, change, &copy)?;
        by_hand::refuse_publishing(context, &copy)?;
        change.leave_staging(&copy)?;
        if let CopyState::Full { recopy, .. } = &mut copy.state {
            *recopy = None;
        }
        copy.forget_tries();
        change.put_known_copy(&copy)?;
        by_hand::add_log(context, change, Some(id), format!("{} is not sent again after all", title(&copy)))?;
        Ok(true)
    })?;
    let what = if was_wished { "stays as it is" } else { "is not to be sent again" };
    context.ui.tell(&format!("copy {id} {what}"));
    Ok(Exit::Done)
}
