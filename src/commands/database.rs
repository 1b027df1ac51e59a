//! `database`: which MySQL database of the IPP this ledger is kept in step with.
//!
//! The password is never stored: a file that only its owner may read is named, or the environment has it.

use std::fmt::Write as _;

use crate::cli::{DatabaseCommand, DatabaseSet, DatabaseVerb};
use crate::database::Secret;
use crate::error::{Error, Exit, IoContext as _, Result};
use crate::ledger::Look as _;
use crate::model::DatabaseRecord;
use crate::pass::Context;
use crate::{state, sync, ui};

pub(super) fn execute(context: &Context, command: DatabaseCommand) -> Result<Exit> {
    match command.verb {
        DatabaseVerb::Set(words) => set(context, words)?,
        DatabaseVerb::Show(_) => show(context)?,
        DatabaseVerb::Del(_) => del(context)?,
    }
    Ok(Exit::Done)
}

fn set(context: &Context, words: DatabaseSet) -> Result<()> {
    let password_file = words.password_file.as_deref().map(absolute).transpose()?;
    Secret { file: password_file.clone(), environment: None }.read()?;
    state::prepare(&context.state_dir)?;
    let address = words.url;
    let is_another = context.ledger.write(|change| {
        if change.has_scanned()? {
            return Err(ids_are_own().into());
        }
        let before = change.database()?;
        // Another host may be the same database, moved; the next sync finds out. Another name is another one.
        let same = before.filter(|before| before.address.name == address.name);
        let is_another = same.is_none();
        if is_another {
            change.forget_rows()?;
        }
        change.put_database(Some(&DatabaseRecord {
            address: address.clone(),
            password_file,
            identity: same.as_ref().and_then(|same| same.identity.clone()),
            groups: Vec::new(),
            compared_at: None,
            synced_at: same.as_ref().and_then(|same| same.synced_at),
            away_since: None,
            away_because: String::new(),
        }))?;
        Ok(is_another)
    })?;
    context.ui.tell(&format!("database set: {address}"));
    if is_another {
        let sync = context.own_command(&["sync", "--dry-run"]);
        context.ui.tell(&format!("`{sync}` shows what a first sync would do"));
    }
    Ok(())
}

/// The ids that a scan gave could be those of other minidvodbs there: a copy of one would be taken for the other's.
fn ids_are_own() -> Error {
    Error::usage("minidvodbs of this ledger were taken in by --scan, with ids that are not those of a database")
        .hint("name a state folder of its own for the database, with --state-dir DIR: what is copied already is then completed and verified by `minidvodbcopy revert --adopt`, not sent again")
}

fn absolute(file: &str) -> Result<String> {
    let path = std::path::absolute(file).or_configuration(format!("cannot find {file}"))?;
    path.into_os_string().into_string().map_err(|_| Error::usage(format!("the path of {file} is not UTF-8")))
}

fn show(context: &Context) -> Result<()> {
    let found = super::read_if_any(context, |ledger| {
        let Some(record) = ledger.database()? else { return Ok(None) };
        Ok(Some((record, ledger.count_ahead()?, ledger.strays()?)))
    })?;
    let Some((record, ahead, strays)) = found else {
        context.ui.tell("no database is set");
        return Ok(());
    };
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<12}{}", ui::escape_all(value));
    };
    let moment = |at: Option<jiff::Timestamp>| {
        at.map_or_else(|| "never".to_owned(), |at| format!("{} UTC", ui::time(at)))
    };
    line("database", &record.address.to_string());
    line(
        "password",
        &record.password_file.map_or_else(|| "MYSQL_PWD".to_owned(), |file| format!("in {file}")),
    );
    line("last sync", &moment(record.synced_at));
    line("behind", &ui::count(ahead, "copy", "copies"));
    if let Some(since) = record.away_since {
        line("away since", &format!("{} UTC: {}", ui::time(since), record.away_because));
    }
    for stray in strays {
        line("left", &stray.to_string());
    }
    context.ui.print(&text)
}

fn del(context: &Context) -> Result<()> {
    if sync::database_of(context)?.is_none() {
        return Err(Error::usage("no database is set")
            .hint(format!("`{}` sets one", context.own_command(&["database", "set", "URL"]))));
    }
    context.ledger.write(|change| {
        change.forget_rows()?;
        change.put_database(None)
    })?;
    context.ui.tell("database forgotten; its rows and the ledger's copies stay as they are");
    Ok(())
}
