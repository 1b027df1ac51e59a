//! `show`: one copy with all its attempts and what they said.

use std::fmt::Write as _;

use super::by_hand::no_copy;
use crate::cli::Show;
use crate::error::{Exit, Result};
use crate::ledger::Look as _;
use crate::model::{Attempt, Copy, CopyState, Minidvodb, Outcome, Tombstone};
use crate::pass::Context;
use crate::transfer::manifest;
use crate::ui::{self, escape_all};

/// Where a copy stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Full, or in a queue that is served.
    Queued,
    /// New, without a target.
    Parked,
    /// Its row is gone from the database, since then.
    Gone(jiff::Timestamp),
}

pub(super) fn execute(context: &Context, words: &Show) -> Result<Exit> {
    let found = super::read_if_any(context, |ledger| {
        let (copy, gone) = match ledger.copy(words.id)? {
            Some(copy) => (copy, None),
            None => match ledger.tombstone(words.id)? {
                Some(Tombstone { copy, at }) => (copy, Some(at)),
                None => return Ok(None),
            },
        };
        let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
        let place = match gone {
            Some(at) => Standing::Gone(at),
            None if copy.is_new() && ledger.target(&copy.host, &copy.group)?.is_none() => Standing::Parked,
            None => Standing::Queued,
        };
        Ok(Some((ledger.attempts(copy.id)?, minidvodb, place, copy)))
    })?;
    let Some((attempts, minidvodb, standing, copy)) = found else {
        return Err(no_copy(context, words.id));
    };
    let manifest = manifest::file_of(&context.state_dir, copy.id);
    let manifest = manifest.exists().then(|| manifest.to_string());
    context.ui.print(&text(&copy, minidvodb.as_ref(), standing, manifest.as_deref(), &attempts))?;
    Ok(Exit::Done)
}

fn text(
    copy: &Copy,
    minidvodb: Option<&Minidvodb>,
    standing: Standing,
    manifest: Option<&str>,
    attempts: &[Attempt],
) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<14}{}", escape_all(value));
    };
    line("copy", &copy.id.to_string());
    let source = minidvodb.map_or("not in the list any more", |minidvodb| minidvodb.path.as_str());
    line("minidvodb", &format!("{} {} ({})", copy.minidvodb_id, copy.name, copy.group));
    line("source", source);
    line("destination", &format!("{}:{}", copy.host, copy.final_path()));
    line("machine", copy.machine.as_str());
    let state = match &copy.state {
        CopyState::Full { verified, recopy, .. } => {
            let again = match recopy.as_ref().map(|recopy| recopy.reason.as_str()) {
                None => String::new(),
                Some("") => "; to be sent again".to_owned(),
                Some(reason) => format!("; to be sent again: {reason}"),
            };
            format!("full, verified by {}{again}", verified.as_str())
        }
        CopyState::New { publishing: Some(_), .. } => "new, about to be published".to_owned(),
        CopyState::New { .. } if standing == Standing::Parked => "new, parked: it has no target".to_owned(),
        CopyState::New { .. } => "new".to_owned(),
    };
    line("state", &state);
    if let Standing::Gone(at) = standing {
        let when = ui::time(at);
        line("gone", &format!("its row was gone from the database on {when} UTC; kept for its history only"));
    }
    if let Some(state) = copy.fault() {
        line("fault", &format!("{}, class {}", state.fault, state.class.as_str()));
        if let Some(at) = state.next_try {
            line("next try", &format!("{} UTC", ui::time(at)));
        }
        line("advice", &copy.advice().unwrap_or_default());
    }
    if let (Some(bytes), Some(files)) = (copy.bytes, copy.files) {
        line("size", &format!("{} in {}", ui::size(bytes), ui::count(files, "file", "files")));
    }
    line("epoch", &copy.epoch.map_or_else(|| "-".to_owned(), |at| format!("{} UTC", ui::time(at))));
    line("dtime", &copy.dtime_s.map_or_else(|| "-".to_owned(), |dtime_s| format!("{dtime_s} s")));
    if let Some(manifest) = manifest {
        line("manifest", manifest);
    }
    if let Some(audit) = copy.audit() {
        line("audited", &format!("{} UTC, {}", ui::time(audit.at), audit.extent.words()));
        if !audit.said.is_empty() {
            line("found", &audit.said);
        }
        if audit.is_source_changed {
            line("", "the source has changed since it was copied");
        }
    }
    let uncounted = match copy.last_attempt.saturating_sub(copy.attempts) {
        0 => String::new(),
        count => format!(" (and {count} that met a fault of the host or target)"),
    };
    let _ = writeln!(text, "attempts      {}{uncounted}", copy.attempts);
    for attempt in attempts {
        write_attempt(&mut text, attempt);
    }
    text
}

fn write_attempt(text: &mut String, attempt: &Attempt) {
    let outcome = match attempt.outcome {
        Outcome::Open => format!("under way or cut off, while {}", attempt.phase.as_str()),
        Outcome::Full => "full".to_owned(),
        Outcome::Faulted(fault) => format!("fault {fault} while {}", attempt.phase.as_str()),
        Outcome::Interrupted => format!("interrupted while {}", attempt.phase.as_str()),
    };
    let _ = writeln!(
        text,
        "  {:>3}  {} UTC  {:>8.2} s  {} sent  {outcome}",
        attempt.number,
        ui::time(attempt.began),
        attempt.seconds,
        ui::size(attempt.sent_bytes),
    );
    for said in attempt.said.lines() {
        let _ = writeln!(text, "       | {}", escape_all(said));
    }
}
