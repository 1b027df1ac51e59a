//! `-updateminidvodbcopy`: what `update` does, to all copies that are meant.
//!
//! Invariant: all of them are changed, or none; every search option restricts.

use super::super::by_hand::{self, Changed, Meant, title};
use super::super::copies::Among;
use super::super::update::notes;
use crate::cli::minidvodbtool::Update;
use crate::error::{Exit, Result};
use crate::model::{Content, Copy};
use crate::pass::Context;
use crate::ui;

pub(super) fn execute(context: &Context, words: &Update) -> Result<Exit> {
    let meant = |copy: &Copy| is_meant(words, copy);
    let among = Among::of(words.state == Some("new"), matches!(words.fault, Some(Some(_))));
    let changes =
        by_hand::update(context, Meant::Each(among, &meant), &words.wish).map_err(|mut error| {
            // The words were understood: what is refused now breaks a rule of the ledger.
            if error.exit == Exit::Usage {
                error.exit = Exit::Faulted;
            }
            error
        })?;
    if changes.count() == 0 {
        context.ui.notice("no copy is meant; nothing was changed");
        return Ok(Exit::Done);
    }
    for Changed { before, after } in &changes.first {
        let (was, is) = (Content::of(before), Content::of(after));
        context.ui.notice(&format!("{}\n  was {was}\n  is  {is}", title(before)));
        for note in notes(context, before, after, words.wish.state)? {
            context.ui.notice(&note);
        }
    }
    let unsaid = changes.count() - changes.first.len();
    if unsaid > 0 {
        let copies = ui::count(unsaid as u64, "further copy", "further copies");
        let log = context.own_command(&["log", "show"]);
        context.ui.notice(&format!("{copies} likewise: `{log}` has their ids"));
    }
    super::keep_in_step(context)?;
    Ok(Exit::Done)
}

fn is_meant(words: &Update, copy: &Copy) -> bool {
    words.copy_id.is_none_or(|id| id == copy.id)
        && words.minidvodb_id.is_none_or(|id| id == copy.minidvodb_id)
        && words.state.is_none_or(|state| state == copy.state_word())
        && words.host.as_ref().is_none_or(|host| *host == copy.host)
        && words.path.as_ref().is_none_or(|path| path.tidy() == copy.path.tidy())
        && words.fault.is_none_or(|fault| fault == copy.fault().map(|state| state.fault))
}
