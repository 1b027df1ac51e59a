//! `update`: sets columns of a copy by hand.

use super::by_hand::{self, Changed, Meant};
use super::target;
use crate::cli::Update;
use crate::error::{Error, Exit, Result};
use crate::ledger::Look as _;
use crate::model::{Content, Copy};
use crate::pass::Context;
use crate::plan::by_hand::{StateWord, Wish};
use crate::ui::escape_all;

pub(super) fn execute(context: &Context, words: &Update) -> Result<Exit> {
    let wish = Wish {
        state: words.set_state,
        fault: words.set_fault,
        dtime_s: words.set_dtime,
        path: words.set_path.clone(),
        host: words.set_host.clone(),
    };
    if wish.is_empty() {
        return Err(Error::usage(
            "nothing is to be set: give --set-state, --set-fault, --set-dtime, --set-path or --set-host",
        ));
    }
    for Changed { before, after } in by_hand::update(context, Meant::Copy(words.id), &wish)?.first {
        let (was, is) = (Content::of(&before), Content::of(&after));
        let text = format!("{}\n  was {was}\n  is  {is}\n", by_hand::title(&before));
        context.ui.print(&text.lines().map(|line| escape_all(line) + "\n").collect::<String>())?;
        for note in notes(context, &before, &after, wish.state)? {
            context.ui.notice(&note);
        }
    }
    Ok(Exit::Done)
}

/// What follows from a change that may not be what was meant.
pub(super) fn notes(
    context: &Context,
    before: &Copy,
    after: &Copy,
    state: Option<StateWord>,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let id = after.id;
    if after.is_new() && !before.is_new() && before.published().is_some() {
        notes.push(format!(
            "what is at {}:{} stays there, so the next attempt will find its place taken (225); `{}`, of a full copy, sends it again and exchanges the two",
            before.host,
            before.final_path(),
            context.own_command(&["recopy", &id.to_string()])
        ));
    }
    if let (Some(_), Some(fault)) = (state, after.fault()) {
        notes.push(format!(
            "copy {id} still shows fault {}: `{}` clears it",
            fault.fault,
            context.own_command(&["update", "--id", &id.to_string(), "--set-fault", "0"])
        ));
    }
    let is_parked = after.is_new()
        && context.ledger.read(|ledger| Ok(ledger.target(&after.host, &after.group)?.is_none()))?;
    if is_parked {
        notes.push(format!(
            "copy {id} is parked: nothing of {} goes to {} before `{}`",
            after.group,
            after.host,
            target::add_command(context, after)
        ));
    }
    Ok(notes)
}
