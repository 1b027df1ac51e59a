//! `audit`: is what the ledger calls full still there, and equal to what was sent?

use crate::audit::{self, Order};
use crate::cli::Audit;
use crate::error::{Error, Exit, Result};
use crate::pass::Context;

pub(super) fn execute(context: &Context, words: Audit) -> Result<Exit> {
    super::need_ledger(context)?;
    let order =
        Order { host: words.host, group: words.group, is_by_checksum: words.checksum, limit: words.limit };
    let report = audit::run(context, &order)?;
    if words.json {
        let json = serde_json::to_string_pretty(&report).map_err(Error::bug)?;
        context.ui.print(&format!("{json}\n"))?;
    }
    Ok(if report.is_faulty() { Exit::Faulted } else { Exit::Done })
}
