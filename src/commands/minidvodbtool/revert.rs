//! `-revertminidvodbcopy`: what `revert` does, said on standard error.

use super::super::revert;
use crate::cli::Revert;
use crate::error::{Exit, Result};
use crate::pass::Context;

pub(super) fn execute(context: &Context, words: &Revert) -> Result<Exit> {
    let say = |text: &str| {
        context.ui.notice(text.trim_end());
        Ok(())
    };
    if revert::carry_out(context, words, &say)? > 0 {
        super::keep_in_step(context)?;
    }
    Ok(Exit::Done)
}
