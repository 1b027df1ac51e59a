//! The IPP database, where one is set: reachable, its tables, what we may do there, and who else writes.

use super::Findings;
use crate::database::{Database, Trouble};
use crate::error::Result;
use crate::ledger::{Failure, Look, Snapshot};
use crate::model::{Address, CopyState, DatabaseRecord, TableRow, Verified, is_same_text};
use crate::pass::Context;
use crate::sync::{self, Stopped};
use crate::ui;

/// Rows that others have written within this time are pointed out.
const RECENT_S: i64 = 24 * 3600;
/// So many of them are named.
const NAMED: usize = 3;

const REST: [&str; 4] = ["tables", "privileges", "locks there", "other writers"];

pub(super) fn examine(context: &Context, findings: &mut Findings<'_>) -> Result<()> {
    let Some(record) = sync::database_of(context)? else { return Ok(()) };
    findings.begin(format!("database {}", record.address))?;
    let mut database = match sync::connect(context, &record) {
        Ok(database) => database,
        Err(stopped) => {
            refused(context, findings, &record, stopped)?;
            return findings.not_tried(&REST, "there is no connection");
        }
    };
    let account = match database.introduction() {
        Ok((version, account)) => {
            findings.ok("connection", format!("server {version}, as {account}"))?;
            account
        }
        Err(trouble) => {
            findings.fail("connection", trouble.text(), Vec::new())?;
            return findings.not_tried(&REST, "the connection does not answer");
        }
    };
    tables(findings, &mut database, &record)?;
    let may_read = privileges(findings, &mut database, &record, &account)?;
    locks(context, findings, &mut database)?;
    if may_read {
        others(context, findings, &mut database)
    } else {
        findings.not_tried(&REST[3..], "minidvodbCopy cannot be read")
    }
}

fn refused(
    context: &Context,
    findings: &mut Findings<'_>,
    record: &DatabaseRecord,
    stopped: Stopped,
) -> Result<()> {
    let set = ["database", "set", &record.address.to_string(), "--password-file", "FILE"];
    let mend = vec![context.own_command(&set)];
    match stopped {
        Stopped::Secret(error) => findings.fail_by("connection", &error),
        Stopped::Error(error) => Err(error),
        Stopped::Trouble(Trouble::Refused(why)) => {
            let has_password = record.password_file.is_some() || context.mysql_password.is_some();
            let without = if has_password {
                ""
            } else {
                "; no password was given: MYSQL_PWD is not set, as under cron"
            };
            findings.fail("connection", format!("{why}{without}"), mend)
        }
        Stopped::Trouble(trouble) => findings.fail(
            "connection",
            format!("{}; passes go on by the ledger meanwhile", trouble.text()),
            vec![format!("getent hosts {}", ui::shell_word(&record.address.host))],
        ),
        Stopped::Guard(why) => findings.fail("connection", why, Vec::new()),
    }
}

fn tables(findings: &mut Findings<'_>, database: &mut Database, record: &DatabaseRecord) -> Result<()> {
    let wrong = match database.wrong_columns() {
        Ok(wrong) => wrong,
        Err(trouble) => return findings.fail("tables", trouble.text(), Vec::new()),
    };
    if wrong.is_empty() {
        return findings.ok("tables", "all columns that are needed, of the right types");
    }
    let client = client(&record.address);
    let (user, name) = (ui::shell_word(&record.address.user), ui::shell_word(&record.address.name));
    let mut mend: Vec<String> = wrong
        .iter()
        .map(|wrong| match &wrong.statement {
            Some(statement) => format!("{client} -u root -p {name} -e {}", ui::shell_word(statement)),
            // Perhaps it is another database than the one that is meant.
            None => format!("{client} -u {user} -p {name} -e 'SHOW TABLES'"),
        })
        .collect();
    mend.dedup();
    let found: Vec<String> = wrong.into_iter().map(|wrong| wrong.what).collect();
    findings.fail("tables", found.join("\n"), mend)
}

/// Says whether minidvodbCopy can be read.
fn privileges(
    findings: &mut Findings<'_>,
    database: &mut Database,
    record: &DatabaseRecord,
    account: &str,
) -> Result<bool> {
    let refusals = match database.refusals() {
        Ok(refusals) => refusals,
        Err(trouble) => {
            findings.fail("privileges", trouble.text(), Vec::new())?;
            return Ok(false);
        }
    };
    if refusals.is_empty() {
        findings.ok("privileges", "SELECT on the three tables, INSERT and UPDATE on minidvodbCopy")?;
        return Ok(true);
    }
    let found: Vec<String> = refusals
        .iter()
        .map(|refusal| format!("{} on {}: {}", refusal.verb, refusal.table, refusal.why))
        .collect();
    let mend = refusals
        .iter()
        .map(|refusal| {
            let statement = format!(
                "GRANT {} ON {}.{} TO {}",
                refusal.verb,
                backquoted(&record.address.name),
                refusal.table,
                account_of(account)
            );
            format!("{} -u root -p -e {}", client(&record.address), ui::shell_word(statement))
        })
        .collect();
    findings.fail("privileges", found.join("\n"), mend)?;
    Ok(!refusals.iter().any(|refusal| refusal.verb == "SELECT" && refusal.table == "minidvodbCopy"))
}

/// The stock client, as it comes to the same server.
fn client(address: &Address) -> String {
    match &address.socket {
        Some(socket) => format!("mysql -S {}", ui::shell_word(socket)),
        None => format!("mysql -h {} -P {}", ui::shell_word(&address.host), address.port),
    }
}

fn backquoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `ipp@%` as a grant names it: `'ipp'@'%'`.
fn account_of(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("'{}'@'{}'", user.replace('\'', "''"), host.replace('\'', "''"))
}

/// Whether the server gives locks, which keep two copying machines apart.
fn locks(context: &Context, findings: &mut Findings<'_>, database: &mut Database) -> Result<()> {
    let name = format!("minidvodbcopy check {}", context.now().as_nanosecond());
    let tried = database.try_lock(&name).and_then(|taken| database.unlock(&name).map(|()| taken));
    match tried {
        Ok(true) => findings.ok("locks there", "GET_LOCK is given, and given back"),
        Ok(false) => {
            findings.fail("locks there", "GET_LOCK is not given, though nobody can hold it", Vec::new())
        }
        Err(trouble) => findings.fail("locks there", trouble.text(), Vec::new()),
    }
}

/// Rows of the last day that somebody else has written for hosts that this ledger serves.
fn others(context: &Context, findings: &mut Findings<'_>, database: &mut Database) -> Result<()> {
    let hosts: Vec<String> = context.ledger.read(|ledger| {
        Ok(ledger.hosts()?.into_iter().filter(|host| host.is_on).map(|host| host.host.to_string()).collect())
    })?;
    let named: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let since = context.now().checked_sub(jiff::SignedDuration::from_secs(RECENT_S)).unwrap_or(context.now());
    let rows = match database.copies_since(&named, since) {
        Ok(rows) => rows,
        Err(trouble) => return findings.fail("other writers", trouble.text(), Vec::new()),
    };
    let foreign: Vec<TableRow> = context.ledger.read(|ledger| {
        let mut foreign = Vec::new();
        for row in rows {
            if is_foreign(ledger, &row)? {
                foreign.push(row);
            }
        }
        Ok(foreign)
    })?;
    if foreign.is_empty() {
        return findings.ok("other writers", "none for the hosts that are on, within a day");
    }
    let shown: Vec<String> = foreign
        .iter()
        .take(NAMED)
        .map(|row| format!("row {}, minidvodb {}: {}", row.id, row.minidvodb_id, row.content))
        .collect();
    let found = format!(
        "{} of the last day for hosts that are on here were written by somebody else; the predecessor and this program must not serve one host at once\n{}",
        ui::count(foreign.len() as u64, "row", "rows"),
        shown.join("\n")
    );
    findings.advise("other writers", found, vec![context.own_command(&["sync", "--dry-run"])])
}

/// Whether a row holds what this ledger has not put there.
fn is_foreign(ledger: &Snapshot, row: &TableRow) -> Result<bool, Failure> {
    let copies = ledger.copies_of(row.minidvodb_id)?;
    let Some(copy) = copies.into_iter().find(|copy| is_same_text(copy.host.as_str(), &row.content.host))
    else {
        return Ok(true);
    };
    if matches!(copy.state, CopyState::Full { verified: Verified::Adopted, .. }) {
        return Ok(true);
    }
    let is_ours = row.content.is_of(&copy)
        || ledger.synced(copy.id)?.is_some_and(|synced| synced.content == row.content);
    Ok(!is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_names_are_quoted_for_a_grant() {
        assert_eq!(account_of("ipp@%"), "'ipp'@'%'");
        assert_eq!(account_of("a'b@127.0.0.1"), "'a''b'@'127.0.0.1'");
        assert_eq!(backquoted("gp`c1"), "`gp``c1`");
    }
}
