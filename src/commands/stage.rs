//! `stage`: the three switches of the pass. They last.

use crate::cli::{Stage, StageCommand, StageVerb};
use crate::error::{Exit, Result};
use crate::ledger::{Change, Failure, Look as _};
use crate::model::Stages;
use crate::pass::Context;
use crate::state;

pub(super) fn execute(context: &Context, command: StageCommand) -> Result<Exit> {
    let stages = match command.verb {
        StageVerb::On(words) => switch(context, &words.stages, true)?,
        StageVerb::Off(words) => switch(context, &words.stages, false)?,
        StageVerb::Show(words) => {
            let stages = super::read_if_any(context, |ledger| ledger.stages())?;
            let Stages { queue, load, run } = stages;
            let text = if words.json {
                format!("{}\n", serde_json::json!({"queue": queue, "load": load, "run": run}))
            } else {
                lines(stages)
            };
            context.ui.print(&text)?;
            return Ok(Exit::Done);
        }
    };
    say(context, stages);
    Ok(Exit::Done)
}

fn switch(context: &Context, named: &[Stage], is_on: bool) -> Result<Stages> {
    state::prepare(&context.state_dir)?;
    context.ledger.write(|change| set(change, named, is_on))
}

/// Sets the named switches, all three where none is named; says how all stand then.
pub(super) fn set(change: &mut Change<'_>, named: &[Stage], is_on: bool) -> Result<Stages, Failure> {
    let mut stages = change.stages()?;
    let is_meant = |stage: Stage| named.is_empty() || named.contains(&stage);
    for (stage, switch) in
        [(Stage::Queue, &mut stages.queue), (Stage::Load, &mut stages.load), (Stage::Run, &mut stages.run)]
    {
        if is_meant(stage) {
            *switch = is_on;
        }
    }
    change.set_stages(stages)?;
    Ok(stages)
}

pub(super) fn say(context: &Context, stages: Stages) {
    context.ui.tell(lines(stages).trim_end().replace('\n', ", ").as_str());
}

fn lines(stages: Stages) -> String {
    let word = |is_on: bool| if is_on { "on" } else { "off" };
    format!("queue {}\nload {}\nrun {}\n", word(stages.queue), word(stages.load), word(stages.run))
}
