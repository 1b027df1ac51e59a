//! `completions`: what a shell is to source, so that it completes what this version takes.

use crate::cli::{Completions, complete};
use crate::error::{Exit, Result};
use crate::pass::Context;

pub(super) fn execute(context: &Context, words: &Completions) -> Result<Exit> {
    context.ui.print(&complete::script(words.shell))?;
    Ok(Exit::Done)
}
