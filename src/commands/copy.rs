//! `copy`: one pass for one group, now, also where the host is off; remembers the target.

use std::num::NonZeroU8;

use super::{metrics, run, target};
use crate::cli::{CopyGroup, TargetAdd};
use crate::error::{Exit, Result};
use crate::ledger::Look as _;
use crate::model::Target;
use crate::pass::{self, Context, Order, WhenOff};
use crate::plan::load::Eagerness;

pub(super) fn execute(context: &Context, copy: CopyGroup) -> Result<Exit> {
    metrics::refuse_dry(copy.metrics.is_some() && copy.dry_run)?;
    let file = copy.metrics.clone();
    metrics::after_pass(context, file.as_deref(), copy_group(context, copy))
}

fn copy_group(context: &Context, copy: CopyGroup) -> Result<Exit> {
    let order = Order {
        host: Some(copy.host.clone()),
        group: Some(copy.group.clone()),
        among: None,
        copy: None,
        limit: copy.limit,
        jobs: NonZeroU8::MIN,
        eagerness: Eagerness::Now,
        when_off: WhenOff::Serve,
        must_have_lock: true,
        counts_waiting: copy.json || context.ui.is_heard(),
    };
    if copy.dry_run {
        let known = match context.ledger.exists() {
            true => context.ledger.read(|ledger| ledger.target(&copy.host, &copy.group))?,
            false => None,
        };
        let mut target = known.unwrap_or_else(|| Target::new(copy.group, copy.host, copy.path.clone()));
        if target.path != copy.path {
            target.path = copy.path;
            target.file_system = None;
        }
        let summary = pass::preview(context, &order, Some(target))?;
        let exit = run::report(context, &summary, true, copy.json)?;
        if let Some(hint) = first_step(context)? {
            context.ui.notice(&hint);
        }
        return Ok(exit);
    }
    remember(context, copy.group, copy.host, copy.path)?;
    let summary = pass::run(context, &order)?;
    if let Some(hint) = first_step(context)? {
        context.ui.tell(&hint);
    }
    run::report(context, &summary, false, copy.json)
}

/// Where no minidvodb is known yet, what to do about it.
fn first_step(context: &Context) -> Result<Option<String>> {
    let is_any_known =
        context.ledger.exists() && context.ledger.read(|ledger| Ok(ledger.count_minidvodbs()? > 0))?;
    Ok((!is_any_known).then(|| format!("no minidvodb is known yet: {}", super::first_step(context))))
}

/// Makes the target, or gives it the path; one that has it is left as it is.
fn remember(
    context: &Context,
    group: crate::model::Group,
    host: crate::model::Host,
    path: crate::model::AbsolutePath,
) -> Result<()> {
    if context.ledger.exists() {
        let known = context.ledger.read(|ledger| ledger.target(&host, &group))?;
        if known.is_some_and(|known| known.path == path) {
            return Ok(());
        }
    }
    let (max_used, verify, deadline, bwlimit, streams) = (None, None, None, None, None);
    let add = TargetAdd { group, host, path, max_used, verify, deadline, bwlimit, streams };
    target::add(context, &add)
}
