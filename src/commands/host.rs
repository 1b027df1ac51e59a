//! `host`: which hosts are on, and which machine each is a name of.

use serde::Serialize;

use super::by_hand::show_both;
use super::target::{fault_text, let_it_end, standing_parts};
use crate::cli::{HostAdd, HostCommand, HostDel, HostShow, HostVerb};
use crate::error::{Error, Exit, Result};
use crate::ledger::{Change, Failure, Look};
use crate::lock::PassLock;
use crate::model::{Host, HostRecord, Machine};
use crate::pass::Context;
use crate::{render, state, ui};

pub(super) fn execute(context: &Context, command: HostCommand) -> Result<Exit> {
    match command.verb {
        HostVerb::Add(words) => add(context, &words)?,
        HostVerb::Del(words) => del(context, &words)?,
        HostVerb::Show(words) => show(context, &words)?,
    }
    Ok(Exit::Done)
}

fn add(context: &Context, words: &HostAdd) -> Result<()> {
    state::prepare(&context.state_dir)?;
    let host = &words.host;
    if let Some(machine) = &words.machine {
        let _locks = lock_targets(context, host, machine)?;
        let moved = context.ledger.write(|change| {
            change.rekey_host(host, machine)?.map_err(|taken| {
                let meets = Error::usage(format!(
                    "{host} cannot be a name of {machine}: copies {} and {} are of the same minidvodb, and there may be one on a machine",
                    taken.copy, taken.by
                ));
                Failure::from(meets.hint(show_both(context, taken.copy, taken.by)))
            })
        })?;
        if moved > 0 {
            let copies = ui::count(moved, "copy belongs", "copies belong");
            context.ui.tell(&format!("{copies} to machine {machine} now"));
        }
    }
    let switched = context.ledger.write(|change| switch_on(change, host))?;
    say_on(context, &switched);
    Ok(())
}

/// A host that was switched on.
pub(super) struct SwitchedOn {
    pub record: HostRecord,
    pub has_target: bool,
}

pub(super) fn switch_on(change: &mut Change<'_>, host: &Host) -> Result<SwitchedOn, Failure> {
    let mut record = change.host_or_unknown(host)?;
    record.is_on = true;
    change.put_host(&record)?;
    let has_target = has_target(change, host)?;
    Ok(SwitchedOn { record, has_target })
}

/// Whether anything goes to a host.
pub(super) fn has_target(ledger: &impl Look, host: &Host) -> Result<bool, Failure> {
    Ok(ledger.targets()?.iter().any(|target| target.host == *host))
}

pub(super) fn say_on(context: &Context, switched: &SwitchedOn) {
    let HostRecord { host, machine, .. } = &switched.record;
    context.ui.tell(&format!("{host} (machine {machine}) is on"));
    if !switched.has_target {
        let command = context.own_command(&["target", "add", "GROUP", host.as_str(), "PATH"]);
        context.ui.tell(&format!("nothing goes there yet: `{command}`"));
    }
}

/// The copies of a host do not change their machine under a pass.
fn lock_targets(context: &Context, host: &Host, machine: &Machine) -> Result<Vec<PassLock>> {
    if !context.ledger.exists() {
        return Ok(Vec::new());
    }
    let (known, targets) =
        context.ledger.read(|ledger| Ok((ledger.host_or_unknown(host)?.machine, ledger.targets()?)))?;
    if known == *machine {
        return Ok(Vec::new());
    }
    let mut locks = Vec::new();
    for target in targets.iter().filter(|target| target.host == *host) {
        match PassLock::try_take(&context.state_dir, host, &target.group, &known)? {
            Ok(lock) => locks.push(lock),
            Err(holder) => {
                let message =
                    format!("the machine of {host} cannot change while a pass is under way: {holder}");
                return Err(Error::try_again(message).hint(let_it_end(context)));
            }
        }
    }
    Ok(locks)
}

fn del(context: &Context, words: &HostDel) -> Result<()> {
    if !context.ledger.exists() {
        return Err(unknown(context, &words.host));
    }
    context.ledger.write(|change| switch_off(context, change, &words.host))?;
    say_off(context, &words.host);
    Ok(())
}

/// The error about a host that nothing is known of.
pub(super) fn unknown(context: &Context, host: &Host) -> Error {
    Error::usage(format!("the host {host} is not known"))
        .hint(format!("`{}` lists them", context.own_command(&["host", "show"])))
}

pub(super) fn switch_off(context: &Context, change: &mut Change<'_>, host: &Host) -> Result<(), Failure> {
    let mut record = change.host(host)?.ok_or_else(|| unknown(context, host))?;
    record.is_on = false;
    change.put_host(&record)
}

pub(super) fn say_off(context: &Context, host: &Host) {
    context.ui.tell(&format!("{host} is off; its copies are kept"));
}

/// A host as `host show --json` prints it.
#[derive(Serialize)]
struct Shown {
    host: String,
    machine: String,
    on: bool,
    targets: usize,
    fault: i16,
    fault_name: Option<&'static str>,
    since: Option<String>,
    next_probe: Option<String>,
}

fn show(context: &Context, words: &HostShow) -> Result<()> {
    let shown: Vec<Shown> = super::read_if_any(context, |ledger| {
        let targets = ledger.targets()?;
        let count = |host: &Host| targets.iter().filter(|target| target.host == *host).count();
        Ok(ledger
            .hosts()?
            .into_iter()
            .map(|record| {
                let (fault, fault_name, since, next_probe) = standing_parts(record.standing.as_ref());
                Shown {
                    targets: count(&record.host),
                    host: record.host.to_string(),
                    machine: record.machine.to_string(),
                    on: record.is_on,
                    fault,
                    fault_name,
                    since,
                    next_probe,
                }
            })
            .collect())
    })?;
    if words.json {
        let json = serde_json::to_string_pretty(&shown).map_err(Error::bug)?;
        return context.ui.print(&format!("{json}\n"));
    }
    let mut table = render::new_table(&["host", "machine", "is", "targets", "fault"]);
    for host in &shown {
        table.add_row(render::cells(&[
            &host.host,
            &host.machine,
            if host.on { "on" } else { "off" },
            &host.targets.to_string(),
            &fault_text(host.fault, host.fault_name, host.next_probe.as_deref()),
        ]));
    }
    context.ui.print(&render::finish(&table))
}
