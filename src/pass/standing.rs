//! Faults of a host or a target: kept there, said once, probed from time to time, and healed.
//!
//! Invariant: the queue behind such a fault is left as it is; the copies that met it show its code until the
//! cause is gone.

use super::{Context, Deed, Pass, Served};
use crate::error::Result;
use crate::faults::{Class, Fault, Met, Scope};
use crate::ledger::{Change, Failure, Look as _};
use crate::model::{
    AbsolutePath, Copy, FileSystem, Group, Host, LogEntry, Room, RoomSeen, Standing, Target, old_path,
    staged_name, staging_path,
};
use crate::plan::load::{self, Door};
use crate::plan::{notice, retry, space};
use crate::transfer::destination::{self, Place, View};
use crate::transfer::{Connection, Halt, Watch};
use crate::ui;

/// What has shown that a host or target is all right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A look that sent nothing: enough unless only sending shows the fault.
    Look,
    /// A copy that became full.
    FullCopy,
}

impl Pass<'_> {
    /// Accepts or refuses what was found at a target's path: the file system first, then the limit.
    pub(super) fn judge_target(
        &mut self,
        target: &Target,
        path: &AbsolutePath,
        view: &View,
    ) -> Result<(), Halt> {
        if *path == target.path {
            self.judge_file_system(target, view)?;
        }
        space::judge_limit(&view.room, target.max_used_percent).map_err(|met| {
            Halt::Fault(Met { message: format!("{}: {}", view.file_system, met.message), ..met })
        })
    }

    /// The file system of a target is the one that its path was first seen on. A copy that goes elsewhere, by an
    /// older path or by the database's word, says nothing of it.
    pub(super) fn judge_file_system(&mut self, target: &Target, view: &View) -> Result<(), Halt> {
        // The ledger's word, not the pass's: an operator may have accepted another disk meanwhile.
        let known = self.context.ledger.read(|ledger| ledger.target(&target.host, &target.group))?;
        let known = known.and_then(|target| target.file_system);
        match &known {
            Some(known) if !known.is_same(&view.file_system) => {
                return Err(Halt::fault(
                    Fault::FilesystemChanged,
                    format!("{} was on {known}, and is on {} now", target.path, view.file_system),
                ));
            }
            Some(_) => {}
            None => self.context.ledger.write(|change| {
                let Some(mut target) = change.target(&target.host, &target.group)? else { return Ok(()) };
                target.file_system = Some(view.file_system.clone());
                change.put_target(&target)
            })?,
        }
        Ok(())
    }

    /// The room on a host was looked at; it is written down with the next transaction that there is anyway.
    pub(super) fn see_room(&mut self, host: &Host, room: Room, file_system: &FileSystem) {
        let (host, file_system, at) = (host.clone(), file_system.clone(), self.context.now());
        self.seen = Some(RoomSeen { host, file_system, at, room });
    }

    /// Writes the room down that was looked at last.
    pub(super) fn note_room(&self, change: &mut Change<'_>) -> Result<(), Failure> {
        self.seen.as_ref().map_or(Ok(()), |seen| change.put_room(seen))
    }

    /// Writes a fault of a host or target down, and says it if it is news.
    pub(super) fn set_standing(&mut self, target: &Target, met: &Met, shows_in_sending: bool) -> Result<()> {
        let now = self.context.now();
        tracing::warn!("{}: fault {}: {}", whose(target, met.fault), met.fault, met.message);
        let standing = self.context.ledger.write(|change| {
            let mut is_first = false;
            let standing = update_standing(change, target, met.fault.scope(), |before| {
                let same = before.filter(|before| before.fault == met.fault);
                is_first = same.is_none();
                let probes = same.as_ref().map_or(1, |same| same.probes + 1);
                // 227 waits to be accepted.
                let is_probed = met.fault != Fault::FilesystemChanged;
                Some(Standing {
                    fault: met.fault,
                    since: same.as_ref().map_or(now, |same| same.since),
                    last_seen: now,
                    probes,
                    next_probe: is_probed.then(|| retry::next_try(now, probes, seed(&target.host))),
                    shows_in_sending: shows_in_sending
                        || same.as_ref().is_some_and(|same| same.shows_in_sending),
                    said_at: same.and_then(|same| same.said_at),
                    message: met.message.clone(),
                })
            })?;
            if is_first {
                let first = met.message.lines().next().unwrap_or_default();
                let text = format!("{}: fault {}: {first}", whose(target, met.fault), met.fault);
                change.add_log(&LogEntry::of_program(now, None, text))?;
            }
            self.note_room(change)?;
            Ok(standing)
        })?;
        if let Some(standing) = standing {
            say_standing(self.context, target, &standing)?;
        }
        Ok(())
    }

    /// The host has answered: a fault of it is over.
    pub(super) fn heal_host(&mut self, target: &Target, proof: Proof) -> Result<()> {
        heal(self.context, target, Scope::Host, proof)
    }

    /// The target's path is as it should be: a fault of it is over.
    pub(super) fn heal_target(&mut self, target: &Target, proof: Proof) -> Result<()> {
        heal(self.context, target, Scope::Target, proof)
    }
}

impl Pass<'_> {
    /// Whether the queue of a target may be served: a fault in the way is probed when its time has come.
    pub(super) fn pass_the_door(&mut self, target: &Target) -> Result<bool> {
        let Some(Served { target, host, .. }) = self.current(target)? else { return Ok(false) };
        let now = self.context.now();
        let standings: Vec<Standing> = host.standing.into_iter().chain(target.standing.clone()).collect();
        let doors: Vec<Door> =
            standings.iter().map(|standing| load::door(Some(standing), now, self.order.eagerness)).collect();
        if doors.contains(&Door::Closed) {
            for standing in &standings {
                say_standing(self.context, &target, standing)?;
            }
            if self.order.must_have_lock {
                self.refuse_closed(&target, &standings);
            }
            return Ok(false);
        }
        if doors.contains(&Door::Probe) { self.probe(&target) } else { Ok(true) }
    }

    /// An operator's own pass says why it does nothing.
    fn refuse_closed(&mut self, target: &Target, standings: &[Standing]) {
        for standing in standings.iter().filter(|standing| standing.next_probe.is_none()) {
            self.note_fault(target, standing.fault, standing.message.clone());
            self.context.ui.notice(&standing_text(target, standing));
        }
    }

    /// A fault of a host or target, met without a copy, in the pass's report.
    fn note_fault(&mut self, target: &Target, fault: Fault, message: String) {
        self.summary.faulted += 1;
        self.summary.done.push(Deed {
            minidvodbcopy_id: None,
            minidvodb_id: None,
            name: None,
            minidvodb_group: target.group.to_string(),
            destination_host: target.host.to_string(),
            outcome: "faulted",
            fault: fault.code(),
            fault_name: Some(fault.name()),
            bytes: None,
            seconds: 0.0,
            message: Some(message),
        });
    }

    /// One connection that sends nothing.
    fn probe(&mut self, target: &Target) -> Result<bool> {
        let watch = Watch::new(self.context.stop.clone(), target.deadline_s);
        match self.look_only(target, &watch) {
            Ok(()) => {
                // What only sending shows, a copy heals; where there is none to send, the look must do.
                let proof = if self.has_pending(target)? { Proof::Look } else { Proof::FullCopy };
                self.heal_host(target, proof)?;
                self.heal_target(target, proof)?;
                Ok(true)
            }
            Err(Halt::Fault(met)) if met.fault.scope() != Scope::Copy => {
                self.note_fault(target, met.fault, met.message.clone());
                self.set_standing(target, &met, false)?;
                self.context
                    .ui
                    .tell(&format!("{} to {}: still fault {}", target.group, target.host, met.fault));
                Ok(false)
            }
            Err(Halt::Fault(met)) => {
                self.context.ui.tell(&format!("looking at {}: {}", target.host, met.message));
                Ok(false)
            }
            Err(Halt::Cut(why)) => {
                self.context.ui.tell(&format!("looking at {}: {why}", target.host));
                Ok(false)
            }
            Err(Halt::Signal(exit)) => Err(super::attempt::stopped(exit)),
            Err(Halt::Error(error)) => Err(error),
        }
    }

    fn look_only(&mut self, target: &Target, watch: &Watch) -> Result<(), Halt> {
        let setting = &self.context.setting;
        let mut connection = Connection::open(&target.host, setting, watch)?;
        let ledger_id = self.context.ledger.read(|ledger| ledger.ledger_id())?;
        let place = Place { path: &target.path, ledger_id: &ledger_id, name: None };
        let view = destination::look(&mut connection, place, setting, watch);
        if !matches!(&view, Err(Halt::Fault(met)) if met.fault.scope() == Scope::Host) {
            self.heal_host(target, Proof::Look)?;
        }
        let view = view?;
        self.see_room(&target.host, view.room, &view.file_system);
        self.judge_target(target, &target.path, &view)
    }

    fn has_pending(&self, target: &Target) -> Result<bool> {
        Ok(self.context.ledger.read(|ledger| ledger.count_pending(&target.host, &target.group))? > 0)
    }

    /// Whether a copy that is to be made owns the final path that a staging folder was for. One that is full
    /// needs none.
    fn is_staged_for_another(&self, target: &Target, staging: &str, ledger_id: &str) -> Result<bool> {
        let Some(path) = final_path_of(staging, ledger_id) else { return Ok(false) };
        self.context.ledger.read(|ledger| {
            let machine = ledger.host_or_unknown(&target.host)?.machine;
            let Some(owner) = ledger.owner_of(&machine, &path)? else { return Ok(false) };
            Ok(ledger.copy(owner)?.is_some_and(|owner| owner.is_to_be_made()))
        })
    }

    /// Removes the staging folders of copies that go elsewhere now. A host that can't be reached meets its
    /// fault with the next copy; the folders wait.
    pub(super) fn remove_leftovers(&mut self, target: &Target) -> Result<()> {
        let (leftovers, ledger_id) = self
            .context
            .ledger
            .read(|ledger| Ok((ledger.leftovers(&target.host, &target.group)?, ledger.ledger_id()?)))?;
        if leftovers.is_empty() {
            return Ok(());
        }
        let (setting, watch) =
            (&self.context.setting, Watch::new(self.context.stop.clone(), target.deadline_s));
        let mut connection = match Connection::open(&target.host, setting, &watch) {
            Ok(connection) => connection,
            Err(Halt::Error(error)) => return Err(error),
            Err(Halt::Signal(exit)) => return Err(super::attempt::stopped(exit)),
            Err(_) => return Ok(()),
        };
        for (path, copy_id) in leftovers {
            let copy = self.context.ledger.read(|ledger| ledger.copy(copy_id))?;
            // While an exchange is open, the folder that it replaced may be the only good one.
            if copy.as_ref().is_some_and(|copy| is_being_replaced(copy, &path, &ledger_id)) {
                continue;
            }
            // Another copy may have the place by now.
            let is_used_again = copy.is_some_and(|copy| {
                copy.is_to_be_made() && staging_path(&copy.path, &ledger_id, &copy.name) == path
            }) || self.is_staged_for_another(target, &path, &ledger_id)?;
            let is_settled = is_used_again
                || match destination::remove_staging(&mut connection, &path, &ledger_id, setting, &watch) {
                    Ok(is_removed) => is_removed,
                    Err(Halt::Error(error)) => return Err(error),
                    Err(Halt::Signal(exit)) => return Err(super::attempt::stopped(exit)),
                    Err(_) => return Ok(()),
                };
            if is_settled {
                self.context
                    .ledger
                    .write(|change| change.remove_leftover(&target.host, &target.group, &path))?;
            }
            if is_settled && !is_used_again {
                self.context.ui.tell(&format!("removed the old staging folder {path} at {}", target.host));
            }
        }
        Ok(())
    }
}

/// Whether a path is where a copy's folder lies while an exchange with a new one is not recorded yet.
fn is_being_replaced(copy: &Copy, path: &str, ledger_id: &str) -> bool {
    copy.recopy().is_some_and(|recopy| recopy.exchanging.is_some())
        && old_path(&copy.path, ledger_id, copy.id) == path
}

/// The final path that a staging folder was for; none for a folder that a recopy has replaced.
fn final_path_of(staging: &str, ledger_id: &str) -> Option<String> {
    let (base, folder) = staging.rsplit_once(&format!("/{}/{ledger_id}/", crate::model::STAGING))?;
    Some(format!("{base}/{}", staged_name(folder)?))
}

/// Different hosts are probed at different moments.
fn seed(host: &Host) -> u64 {
    host.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Writes the standing fault of a host or target anew; returns it.
fn update_standing(
    change: &mut Change<'_>,
    target: &Target,
    scope: Scope,
    update: impl FnOnce(Option<Standing>) -> Option<Standing>,
) -> Result<Option<Standing>, Failure> {
    if scope == Scope::Host {
        let mut host = change.host_or_unknown(&target.host)?;
        host.standing = update(host.standing.take());
        change.put_host(&host)?;
        return Ok(host.standing);
    }
    let Some(mut target) = change.target(&target.host, &target.group)? else { return Ok(None) };
    target.standing = update(target.standing.take());
    change.put_target(&target)?;
    Ok(target.standing)
}

fn standing_of(context: &Context, target: &Target, scope: Scope) -> Result<Option<Standing>> {
    context.ledger.read(|ledger| {
        Ok(match scope {
            Scope::Host => ledger.host(&target.host)?.and_then(|host| host.standing),
            _ => ledger.target(&target.host, &target.group)?.and_then(|target| target.standing),
        })
    })
}

/// Ends a standing fault: says so once, and takes its code from the copies that show it.
fn heal(context: &Context, target: &Target, scope: Scope, proof: Proof) -> Result<()> {
    let Some(standing) = standing_of(context, target, scope)? else { return Ok(()) };
    if standing.shows_in_sending && proof == Proof::Look {
        return Ok(());
    }
    let what = format!(
        "{}: recovered from fault {} (since {} UTC)",
        whose(target, standing.fault),
        standing.fault,
        ui::time(standing.since)
    );
    context.ledger.write(|change| {
        update_standing(change, target, scope, |_| None)?;
        change.add_log(&LogEntry::of_program(context.now(), None, what.clone()))?;
        let groups: Vec<Group> = match scope {
            Scope::Host => {
                change.targets()?.into_iter().filter(|t| t.host == target.host).map(|t| t.group).collect()
            }
            _ => vec![target.group.clone()],
        };
        for group in groups {
            clear_code(change, &target.host, &group, scope, context.now())?;
        }
        Ok(())
    })?;
    context.ui.notice(&what);
    Ok(())
}

/// Takes codes of a scope from the pending copies of a host and group.
pub(super) fn clear_code(
    change: &mut Change<'_>,
    host: &Host,
    group: &Group,
    scope: Scope,
    now: jiff::Timestamp,
) -> Result<(), Failure> {
    let mut showing: Vec<Copy> = Vec::new();
    change.each_pending(host, group, |copy| {
        if copy.fault_of_making().is_some_and(|state| state.fault.scope() == scope) {
            showing.push(copy);
        }
        Ok(())
    })?;
    for mut copy in showing {
        copy.set_fault_of_making(None);
        copy.touch(now);
        change.put_known_copy(&copy)?;
    }
    Ok(())
}

/// Says a standing fault, if it is due, and notes that it was said.
fn say_standing(context: &Context, target: &Target, standing: &Standing) -> Result<()> {
    let now = context.now();
    if !notice::is_standing_due(standing, now) {
        return Ok(());
    }
    context.ui.notice(&standing_text(target, standing));
    context.ledger.write(|change| {
        update_standing(change, target, standing.fault.scope(), |current| {
            current.map(|current| Standing { said_at: Some(now), ..current })
        })?;
        Ok(())
    })
}

/// Says, to whoever watches, which queues wait behind a fault of their host or target.
pub(super) fn tell_closed(context: &Context, order: &super::Order) -> Result<()> {
    let closed = context.ledger.read(|ledger| {
        let mut closed = Vec::new();
        for (target, host) in super::ordered_targets(ledger, order)? {
            let standing = host.standing.or_else(|| target.standing.clone());
            if let Some(standing) = standing {
                let waiting = ledger.count_pending(&target.host, &target.group)?;
                closed.push((target, standing, waiting));
            }
        }
        Ok(closed)
    })?;
    for (target, standing, waiting) in closed {
        let again = standing.next_probe.map_or_else(
            || "; it waits to be accepted".to_owned(),
            |at| format!("; looked at again after {} UTC, or now with `minidvodbcopy copy`", ui::time(at)),
        );
        context.ui.tell(&format!(
            "{} for {} behind fault {} of its {}{again}",
            ui::count(waiting, "copy waits", "copies wait"),
            target.host,
            standing.fault,
            standing.fault.scope().as_str(),
        ));
    }
    Ok(())
}

fn standing_text(target: &Target, standing: &Standing) -> String {
    let next = match (standing.fault.class(), standing.next_probe) {
        (_, None) => String::new(),
        (Class::Retry, Some(at)) => format!("; looked at again after {} UTC", ui::time(at)),
        (_, Some(at)) => format!("; looked at again by itself after {} UTC", ui::time(at)),
    };
    format!(
        "{}: fault {}: {}\n  {}{next}",
        whose(target, standing.fault),
        standing.fault,
        standing.message,
        standing.fault.advice()
    )
}

fn whose(target: &Target, fault: Fault) -> String {
    match fault.scope() {
        Scope::Host => format!("host {}", target.host),
        _ => format!("target {} to {} at {}", target.group, target.host, target.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CopyId, CopyState, MinidvodbId, Publishing, Recopy, Verified};

    #[test]
    fn what_an_open_exchange_has_moved_away_is_no_leftover() {
        let host = Host::parse("ipp0222").unwrap();
        let path = AbsolutePath::parse("/there").unwrap();
        let name = AbsolutePath::parse("/data/ThreePi.1").unwrap().name().unwrap();
        let group = Group::parse("ThreePi").unwrap();
        let (machine, now) = (host.default_machine(), jiff::Timestamp::UNIX_EPOCH);
        let mut copy = Copy::queued(CopyId(1), MinidvodbId(1), group, host, machine, path, name, now);
        let folder = Publishing { device: 1, inode: 2, verified: Verified::Checksum, dtime_s: 1.0 };
        copy.state = CopyState::full(Verified::Checksum, Some(folder));
        let old = old_path(&copy.path, "id", copy.id);
        assert!(!is_being_replaced(&copy, &old, "id"));
        if let CopyState::Full { recopy, .. } = &mut copy.state {
            *recopy = Some(Recopy { reason: String::new(), fault: None, exchanging: Some(folder) });
        }
        assert!(is_being_replaced(&copy, &old, "id"));
        assert!(!is_being_replaced(&copy, &staging_path(&copy.path, "id", &copy.name), "id"));
    }
}
