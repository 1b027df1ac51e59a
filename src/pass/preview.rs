//! What a pass would do, said and not done.
//!
//! Invariant: changes nothing, neither in the ledger nor at a destination; takes no lock.

use super::{Context, Order, Served, Summary, ordered_targets};
use crate::error::Result;
use crate::ledger::{Look as _, Snapshot};
use crate::model::{CopyId, HostRecord, Minidvodb, Need, Target};
use crate::plan::load::{self, Door, Verdict};
use crate::plan::queue::{Decision, Queue};
use crate::plan::space;
use crate::transfer::destination::{self, Place, View};
use crate::transfer::source::Source;
use crate::transfer::{Connection, Halt, Watch};
use crate::ui;

use super::report::Deed;

/// So many minidvodbs of one target are looked at.
const LOOKED_AT_MAX: usize = 100_000;

/// A copy that would be made.
struct Wanted {
    copy: Option<CopyId>,
    minidvodb: Minidvodb,
    name: String,
    is_collision: bool,
}

/// See [`super::preview`].
pub(super) fn preview(context: &Context, order: &Order, extra: Option<Target>) -> Result<Summary> {
    let mut summary = Summary::default();
    let targets = match extra {
        Some(target) => {
            let host = if context.ledger.exists() {
                context.ledger.read(|ledger| ledger.host_or_unknown(&target.host))?
            } else {
                HostRecord::unknown(target.host.clone())
            };
            vec![(target, host)]
        }
        None if context.ledger.exists() => context.ledger.read(|ledger| ordered_targets(ledger, order))?,
        None => Vec::new(),
    };
    if targets.is_empty() {
        context.ui.tell("no target is active: see `minidvodbcopy target show` and `minidvodbcopy host show`");
    }
    for (target, host) in targets {
        context.check_stop()?;
        preview_target(context, order, &target, &host, &mut summary)?;
    }
    Ok(summary)
}

/// What a pass whose stage `run` is off says, where somebody watches.
pub(super) fn tell(context: &Context, order: &Order, served: &Served) -> Result<()> {
    let mut summary = Summary::default();
    preview_target(context, order, &served.target, &served.host, &mut summary)?;
    for line in lines(&summary) {
        context.ui.tell(&line);
    }
    Ok(())
}

/// The summary of a preview as lines of text.
pub fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    for deed in &summary.done {
        let name = deed.name.as_deref().unwrap_or("-");
        let size = deed.bytes.map_or_else(String::new, |bytes| format!(", {}", ui::size(bytes)));
        let message = deed.message.as_deref().map_or_else(String::new, |message| format!(": {message}"));
        let fault = deed.fault_name.map_or_else(String::new, |name| format!(" {} {name}", deed.fault));
        let to = format!("{} to {}", deed.minidvodb_group, deed.destination_host);
        lines.push(match deed.name {
            None => format!("{to}{fault}{message}"),
            Some(_) => format!("{to}: {}{fault} {name}{size}{message}", deed.outcome),
        });
    }
    lines
}

fn preview_target(
    context: &Context,
    order: &Order,
    target: &Target,
    host: &HostRecord,
    summary: &mut Summary,
) -> Result<()> {
    let now = context.now();
    let wanted = if context.ledger.exists() {
        context.ledger.read(|ledger| wanted(ledger, order, target, host, now, summary))?
    } else {
        Vec::new()
    };
    let doors = [&host.standing, &target.standing].map(|s| load::door(s.as_ref(), now, order.eagerness));
    if doors.contains(&Door::Closed) {
        let standing = host.standing.as_ref().or(target.standing.as_ref());
        let (code, name, message) = standing.map_or((0, None, String::new()), |standing| {
            let again = standing
                .next_probe
                .map_or_else(String::new, |at| format!(", looked at again after {} UTC", ui::time(at)));
            (
                standing.fault.code(),
                Some(standing.fault.name()),
                format!("{}{again}", ui::first_line(&standing.message)),
            )
        });
        summary.waiting += wanted.len() as u64;
        summary.done.push(note(target, code, name, message));
        return Ok(());
    }
    if wanted.is_empty() {
        summary.done.push(note(target, 0, None, "nothing to copy".to_owned()));
        return Ok(());
    }
    match look(context, target) {
        Ok(view) => judge(context, target, &view, wanted, summary),
        Err(Halt::Fault(met)) => {
            summary.faulted += 1;
            summary.waiting += wanted.len() as u64;
            summary.done.push(note(target, met.fault.code(), Some(met.fault.name()), met.message));
            Ok(())
        }
        Err(Halt::Cut(why)) => {
            summary.done.push(note(target, 0, None, why));
            Ok(())
        }
        Err(Halt::Signal(exit)) => Err(super::attempt::stopped(exit)),
        Err(Halt::Error(error)) => Err(error),
    }
}

fn wanted(
    ledger: &Snapshot,
    order: &Order,
    target: &Target,
    host: &HostRecord,
    now: jiff::Timestamp,
    summary: &mut Summary,
) -> Result<Vec<Wanted>, crate::ledger::Failure> {
    let mut wanted = Vec::new();
    let stages = ledger.stages()?;
    ledger.each_pending(&target.host, &target.group, |copy| {
        let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
        match (load::judge(&copy, minidvodb.as_ref(), now, order.eagerness), minidvodb) {
            (Verdict::Serve, Some(minidvodb)) if wanted.len() < LOOKED_AT_MAX => {
                let name = copy.name.to_string();
                wanted.push(Wanted { copy: Some(copy.id), minidvodb, name, is_collision: false });
            }
            _ => summary.waiting += 1,
        }
        Ok(())
    })?;
    if stages.queue {
        let mut queue = Queue::default();
        for candidate in ledger.candidates(target, &host.machine, LOOKED_AT_MAX)?.candidates {
            let decision = queue.decide(&candidate, target, &host.machine);
            if decision != Decision::Leave {
                summary.queued += 1;
                let name = candidate.name.to_string();
                let is_collision = decision == Decision::Collision;
                wanted.push(Wanted { copy: None, minidvodb: candidate.minidvodb, name, is_collision });
            }
        }
    }
    if let Some(limit) = order.limit {
        wanted.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(wanted)
}

fn look(context: &Context, target: &Target) -> Result<View, Halt> {
    let watch = Watch::new(context.stop.clone(), target.deadline_s);
    let mut connection = Connection::open(&target.host, &context.setting, &watch)?;
    let place = Place { path: &target.path, ledger_id: "0000000000000000", name: None };
    let view = destination::look(&mut connection, place, &context.setting, &watch)?;
    if let Some(known) = &target.file_system
        && !known.is_same(&view.file_system)
    {
        let message = format!("{} was on {known}, and is on {} now", target.path, view.file_system);
        return Err(Halt::fault(crate::faults::Fault::FilesystemChanged, message));
    }
    Ok(view)
}

/// Sizes every source and takes it off the room, as the copies would in their order.
fn judge(
    context: &Context,
    target: &Target,
    view: &View,
    wanted: Vec<Wanted>,
    summary: &mut Summary,
) -> Result<()> {
    let mut taken = Need::default();
    if let Err(met) = space::judge_limit(&view.room, target.max_used_percent) {
        summary.faulted += 1;
        summary.waiting += wanted.len() as u64;
        summary.done.push(note(target, met.fault.code(), Some(met.fault.name()), met.message));
        return Ok(());
    }
    let room = format!(
        "{}, {} % used of at most {} %, {} free",
        view.file_system.mount_point,
        view.room.used_percent,
        target.max_used_percent,
        ui::size(view.room.free_bytes)
    );
    summary.done.push(note(target, 0, None, room));
    for wanted in wanted {
        context.check_stop()?;
        let mut deed = deed_of(target, &wanted);
        let judged = if wanted.is_collision {
            Err(crate::faults::Met::new(
                crate::faults::Fault::NameCollision,
                "another minidvodb goes to the same final path",
            ))
        } else {
            Source::read(&wanted.minidvodb.path).and_then(|source| {
                deed.bytes = Some(source.bytes());
                let need = source.need(&[], "", view.room.block_bytes);
                space::judge_room(&view.room, need, taken)?;
                taken += need;
                Ok(())
            })
        };
        if let Err(met) = judged {
            deed.outcome = "would fault";
            deed.fault = met.fault.code();
            deed.fault_name = Some(met.fault.name());
            deed.message = Some(met.message);
        }
        summary.done.push(deed);
    }
    Ok(())
}

fn deed_of(target: &Target, wanted: &Wanted) -> Deed {
    Deed {
        minidvodbcopy_id: wanted.copy.map(|id| id.0),
        minidvodb_id: Some(wanted.minidvodb.id.0),
        name: Some(wanted.name.clone()),
        minidvodb_group: target.group.to_string(),
        destination_host: target.host.to_string(),
        outcome: if wanted.copy.is_some() { "would copy" } else { "would queue and copy" },
        fault: 0,
        fault_name: None,
        bytes: None,
        seconds: 0.0,
        message: None,
    }
}

fn note(target: &Target, fault: i16, fault_name: Option<&'static str>, message: String) -> Deed {
    Deed {
        minidvodbcopy_id: None,
        minidvodb_id: None,
        name: None,
        minidvodb_group: target.group.to_string(),
        destination_host: target.host.to_string(),
        outcome: if fault == 0 { "looked" } else { "would fault" },
        fault,
        fault_name,
        bytes: None,
        seconds: 0.0,
        message: Some(message),
    }
}
