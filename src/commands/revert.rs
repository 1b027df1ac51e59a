//! `revert`: clears the fault of copies that are still new, so that the next pass tries them again.

use super::by_hand;
use super::copies::{Among, Choice, WithoutLedger, each_chunk};
use crate::cli::Revert;
use crate::error::{Error, Exit, Result};
use crate::faults::{Class, Fault, Scope};
use crate::model::{Copy, Taken};
use crate::pass::Context;
use crate::ui;

pub(super) fn execute(context: &Context, words: &Revert) -> Result<Exit> {
    carry_out(context, words, &|text| context.ui.print(text))?;
    Ok(Exit::Done)
}

/// Clears the faults; `say` is told of each. Says how many there were.
pub(super) fn carry_out(
    context: &Context,
    words: &Revert,
    say: &dyn Fn(&str) -> Result<()>,
) -> Result<usize> {
    if words.is_bounded() == words.all {
        return Err(Error::usage("revert takes --id, --minidvodb-id, --host or --fault, or else --all")
            .hint(format!(
                "`{}` lists what could be reverted",
                context.own_command(&["list", "--faulted"])
            )));
    }
    let meant = |copy: &Copy| is_meant(words, copy) && copy.is_new() && copy.fault().is_some();
    let taken = if words.adopt { Taken::Adopt } else { Taken::Refuse };
    let tell = |copies: &[Copy]| -> Result<usize> {
        copies.iter().try_for_each(|copy| say(&line(copy, words.dry_run, taken)))?;
        Ok(copies.len())
    };
    let mut count = 0;
    if words.dry_run || !context.ledger.exists() {
        let choice = Choice {
            id: words.id,
            among: Among::ToBeMade,
            limit: None,
            is_wanted: &meant,
            without_ledger: WithoutLedger::Empty,
        };
        each_chunk(context, &choice, &|copy, _| Ok(copy.clone()), |copies| {
            count += tell(&copies)?;
            Ok(())
        })?;
    } else {
        count = tell(&by_hand::revert(context, &meant, taken)?)?;
    }
    if count == 0 {
        context.ui.notice("no new copy with a fault is meant; nothing was cleared");
    }
    say_what_stays(context, words)?;
    Ok(count)
}

fn is_meant(words: &Revert, copy: &Copy) -> bool {
    words.id.is_none_or(|id| id == copy.id)
        && words.minidvodb_id.is_none_or(|id| id == copy.minidvodb_id)
        && words.host.as_ref().is_none_or(|host| *host == copy.host)
        && words.fault.is_none_or(|fault| copy.fault().is_some_and(|state| state.fault == fault))
        && (!words.adopt || copy.fault().is_some_and(|state| state.fault == Fault::PathTaken))
}

/// Faults of full copies are not cleared here, and it is said what clears them.
fn say_what_stays(context: &Context, words: &Revert) -> Result<()> {
    if !context.ledger.exists() || words.adopt {
        return Ok(());
    }
    let staying = context.ledger.read(|ledger| {
        let mut staying = Vec::new();
        let mut count = 0;
        Among::Faulted.each(ledger, |copy| {
            if !copy.is_new() && copy.fault().is_some() && is_meant(words, &copy) {
                count += 1;
                if staying.len() < 5 {
                    staying.push(copy.id.to_string());
                }
            }
        })?;
        Ok((staying, count))
    })?;
    let (ids, count) = staying;
    if count > 0 {
        let copies = ui::count(count, "full copy", "full copies");
        let more = if count > ids.len() as u64 { ", ..." } else { "" };
        context.ui.notice(&format!(
            "{copies} with a fault left as they are (copy {}{more}): a clean audit or `{}` clears it",
            ids.join(", "),
            context.own_command(&["recopy", "ID"])
        ));
    }
    Ok(())
}

fn line(copy: &Copy, is_dry: bool, taken: Taken) -> String {
    let Some(state) = copy.fault() else { return String::new() };
    let verb = if is_dry { "would clear" } else { "cleared" };
    let advice = match (state.class, state.fault.scope()) {
        _ if taken == Taken::Adopt => {
            "\n  the next attempt completes what is there, and believes it when every checksum agrees"
                .to_owned()
        }
        (Class::Retry, _) => String::new(),
        (_, Scope::Copy) => format!("\n  advice was: {}", state.fault.advice()),
        _ => format!("\n  its {} keeps the fault until the cause is gone", state.fault.scope().as_str()),
    };
    format!("{verb} {} of copy {}: {} to {}{advice}\n", state.fault, copy.id, copy.name, copy.host)
}
