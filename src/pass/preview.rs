//! What a pass would do, said and not done.
//!
//! Invariant: changes nothing, neither in the ledger nor at a destination; takes no lock.

use super::{Context, Order, Served, Summary, ordered_targets};
use crate::error::Result;
use crate::faults::{Fault, Met};
use crate::ledger::{Look as _, Snapshot};
use crate::model::{CopyId, HostRecord, Minidvodb, Name, Target};
use crate::plan::load::{self, Door, Verdict};
use crate::plan::queue::{Decision, Queue};
use crate::plan::space;
use crate::transfer::destination::{self, Place, View};
use crate::transfer::source::{Roots, Source, Staged};
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
    /// The ledger's id and the folder's name, of a copy that was begun.
    begun: Option<(String, Name)>,
}

/// See [`super::preview`].
pub(super) fn preview(context: &Context, order: &Order, extra: Option<Target>) -> Result<Summary> {
    let mut summary = Summary::default();
    if extra.is_none() && !context.ledger.exists() {
        return Err(super::no_ledger(context));
    }
    let targets = match extra {
        Some(target) => {
            let host = if context.ledger.exists() {
                context.ledger.read(|ledger| ledger.host_or_unknown(&target.host))?
            } else {
                HostRecord::unknown(target.host.clone())
            };
            vec![(target, host)]
        }
        None => context.ledger.read(|ledger| ordered_targets(ledger, order))?,
    };
    if targets.is_empty() {
        super::expect_known(context, order.host.as_ref(), order.group.as_ref())?;
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
        summary.done.push(note(target, code, name, message));
        wait(target, &wanted, summary);
        return Ok(());
    }
    if wanted.is_empty() {
        summary.done.push(note(target, 0, None, "nothing to copy".to_owned()));
        return Ok(());
    }
    match look(context, target) {
        Ok(mut there) => judge(context, target, host, &mut there, wanted, summary),
        Err(Halt::Fault(met)) => {
            summary.faulted += 1;
            summary.done.push(note(target, met.fault.code(), Some(met.fault.name()), met.message));
            wait(target, &wanted, summary);
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
    let ledger_id = ledger.ledger_id()?;
    ledger.each_pending(&target.host, &target.group, |copy| {
        let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
        match (load::judge(&copy, minidvodb.as_ref(), now, order.eagerness), minidvodb) {
            (Verdict::Serve, Some(minidvodb)) if wanted.len() < LOOKED_AT_MAX => {
                let begun = (copy.last_attempt > 0).then(|| (ledger_id.clone(), copy.name.clone()));
                let name = copy.name.to_string();
                wanted.push(Wanted { copy: Some(copy.id), minidvodb, name, is_collision: false, begun });
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
                let begun = None;
                wanted.push(Wanted { copy: None, minidvodb: candidate.minidvodb, name, is_collision, begun });
            }
        }
    }
    if let Some(limit) = order.limit {
        wanted.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(wanted)
}

/// What would be copied, and waits behind a fault.
fn wait(target: &Target, wanted: &[Wanted], summary: &mut Summary) {
    summary.waiting += wanted.len() as u64;
    for wanted in wanted {
        summary.done.push(Deed { outcome: "cannot copy yet", ..deed_of(target, wanted) });
    }
}

/// A destination that was looked at.
struct There {
    connection: Connection,
    view: View,
    watch: Watch,
}

fn look(context: &Context, target: &Target) -> Result<There, Halt> {
    let watch = Watch::new(context.stop.clone(), target.deadline_s);
    let mut connection = Connection::open(&target.host, &context.setting, &watch)?;
    let place = Place { path: &target.path, ledger_id: "0000000000000000", name: None };
    let view = destination::look(&mut connection, place, &context.setting, &watch)?;
    if let Some(known) = &target.file_system
        && !known.is_same(&view.file_system)
    {
        let message = format!("{} was on {known}, and is on {} now", target.path, view.file_system);
        return Err(Halt::fault(Fault::FilesystemChanged, message));
    }
    Ok(There { connection, view, watch })
}

/// What an earlier attempt has sent of a copy.
fn staged(
    context: &Context,
    there: &mut There,
    target: &Target,
    wanted: &Wanted,
) -> Result<Vec<Staged>, Met> {
    let Some((ledger_id, name)) = wanted.begun.as_ref() else { return Ok(Vec::new()) };
    let place = Place { path: &target.path, ledger_id, name: Some(name) };
    let folder = destination::staging_folder(place);
    match destination::list(&mut there.connection, &there.view, &folder, &context.setting, &there.watch) {
        Ok(staged) => Ok(staged),
        Err(Halt::Fault(met)) => Err(met),
        Err(halt) => Err(Met::new(Fault::HostUnreachable, format!("the connection was lost: {halt:?}"))),
    }
}

/// Sizes every source and takes it off the room, as the copies would in their order.
fn judge(
    context: &Context,
    target: &Target,
    host: &HostRecord,
    there: &mut There,
    wanted: Vec<Wanted>,
    summary: &mut Summary,
) -> Result<()> {
    let reserved = crate::lock::reserved_by_others(&context.state_dir, &host.machine, None);
    let mut room = there.view.room;
    if let Err(met) = space::judge_limit(&room, target.max_used_percent) {
        summary.faulted += 1;
        summary.done.push(note(target, met.fault.code(), Some(met.fault.name()), met.message));
        wait(target, &wanted, summary);
        return Ok(());
    }
    let words = format!(
        "{}, {} % used of at most {} %, {} free",
        there.view.file_system.mount_point,
        room.used_percent,
        target.max_used_percent,
        ui::size(room.free_bytes)
    );
    summary.done.push(note(target, 0, None, words));
    let roots = Roots(context.ledger.read(|ledger| ledger.source_roots())?);
    for wanted in wanted {
        context.check_stop()?;
        let mut deed = deed_of(target, &wanted);
        let judged = if wanted.is_collision {
            Err(Met::new(Fault::NameCollision, "another minidvodb goes to the same final path"))
        } else {
            Source::read(&wanted.minidvodb.path, &roots).and_then(|source| {
                deed.bytes = Some(source.bytes());
                let staged = staged(context, there, target, &wanted)?;
                let need = source.need(&staged, &source.free_name(super::attempt::PARTIAL), room.block_bytes);
                space::judge_room(&room, need, reserved)?;
                // The copies before it have taken theirs by then.
                room.free_bytes = room.free_bytes.saturating_sub(need.bytes);
                if let Some(inodes) = &mut room.inodes {
                    inodes.free = inodes.free.saturating_sub(need.inodes);
                }
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
