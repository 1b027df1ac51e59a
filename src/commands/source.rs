//! `source`: the folders that minidvodbs may be copied from.
//!
//! A list or a database may name any path, `/root/.ssh` for one. Once a folder is named here, nothing is copied
//! that does not lie under one, symlinks resolved (fault 204).

use crate::cli::{SourceCommand, SourceVerb};
use crate::error::{Error, Exit, Result};
use crate::ledger::Look as _;
use crate::model::AbsolutePath;
use crate::pass::Context;
use crate::ui::escape_all;

pub(super) fn execute(context: &Context, command: SourceCommand) -> Result<Exit> {
    match command.verb {
        SourceVerb::Add(words) => add(context, words.folder)?,
        SourceVerb::Del(words) => del(context, &words.folder)?,
        SourceVerb::Show(_) => show(context)?,
    }
    Ok(Exit::Done)
}

fn add(context: &Context, folder: AbsolutePath) -> Result<()> {
    if !std::fs::metadata(folder.as_str()).is_ok_and(|meta| meta.is_dir()) {
        return Err(Error::usage(format!("{folder} is no folder on this machine"))
            .hint("make or mount it first, or name the folder that the minidvodbs lie in"));
    }
    crate::state::prepare(&context.state_dir)?;
    let text = format!("minidvodbs may be copied from {folder}");
    context.ledger.write(|change| {
        let mut roots = change.source_roots()?;
        if !roots.contains(&folder) {
            roots.push(folder);
        }
        change.put_source_roots(&roots)
    })?;
    context.ui.tell(&text);
    Ok(())
}

fn del(context: &Context, folder: &AbsolutePath) -> Result<()> {
    let unknown = || {
        Error::usage(format!("{folder} is not one of the folders that minidvodbs may be copied from"))
            .hint(format!("`{}` lists them", context.own_command(&["source", "show"])))
    };
    if !context.ledger.exists() {
        return Err(unknown());
    }
    let left = context.ledger.write(|change| {
        let mut roots = change.source_roots()?;
        let before = roots.len();
        roots.retain(|root| root != folder);
        if roots.len() == before {
            return Err(unknown().into());
        }
        change.put_source_roots(&roots)?;
        Ok(roots.len())
    })?;
    if left == 0 {
        // That widens what may be copied: said to everybody.
        context.ui.notice("no folder is named any more, so minidvodbs may be copied from anywhere");
    }
    Ok(())
}

fn show(context: &Context) -> Result<()> {
    let roots = super::read_if_any(context, |ledger| ledger.source_roots())?;
    for root in &roots {
        context.ui.print(&format!("{}\n", escape_all(root.as_str())))?;
    }
    if roots.is_empty() && context.ledger.exists() {
        context.ui.notice(&format!(
            "no folder is named, so minidvodbs may be copied from anywhere; `{}` names one",
            context.own_command(&["source", "add", "DIR"])
        ));
    }
    Ok(())
}
