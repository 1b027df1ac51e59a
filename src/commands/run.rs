//! `run`: cron's command, one pass over every target whose host is on.

use std::num::NonZeroU8;

use super::metrics;
use crate::cli::Run;
use crate::error::{Error, Exit, Result};
use crate::pass::{self, Context, Order, Summary, WhenOff};
use crate::plan::load::Eagerness;

pub(super) fn execute(context: &Context, run: Run) -> Result<Exit> {
    metrics::refuse_dry(run.metrics.is_some() && run.dry_run)?;
    let file = run.metrics.clone();
    metrics::after_pass(context, file.as_deref(), pass_over_targets(context, run))
}

fn pass_over_targets(context: &Context, run: Run) -> Result<Exit> {
    let order = Order {
        host: run.host,
        group: run.group,
        among: None,
        copy: None,
        limit: run.limit,
        jobs: run.jobs.unwrap_or(NonZeroU8::MIN),
        eagerness: Eagerness::Scheduled,
        when_off: WhenOff::PassOver,
        must_have_lock: false,
        counts_waiting: run.json || context.ui.is_heard(),
    };
    let summary =
        if run.dry_run { pass::preview(context, &order, None)? } else { pass::run(context, &order)? };
    report(context, &summary, run.dry_run, run.json)
}

/// Says what a pass did, and turns it into an exit code.
pub(super) fn report(context: &Context, summary: &Summary, is_dry: bool, is_json: bool) -> Result<Exit> {
    let Summary { queued, copied, faulted, skipped, .. } = summary;
    if !is_dry && queued + copied + faulted + skipped > 0 {
        // How many wait is only counted for those who ask.
        context
            .ui
            .record(&format!("pass: {queued} queued, {copied} copied, {faulted} faulted, {skipped} skipped"));
    }
    if is_json {
        let json = serde_json::to_string_pretty(summary).map_err(Error::bug)?;
        context.ui.print(&format!("{json}\n"))?;
    } else if is_dry {
        for line in pass::preview_lines(summary) {
            context.ui.print(&format!("{}\n", crate::ui::escape_all(&line)))?;
        }
    } else {
        context.ui.tell_only(&format!(
            "pass: {} queued, {} copied, {} faulted, {} waiting, {} skipped",
            summary.queued, summary.copied, summary.faulted, summary.waiting, summary.skipped
        ));
    }
    Ok(if summary.faulted > 0 && !is_dry { Exit::Faulted } else { Exit::Done })
}
