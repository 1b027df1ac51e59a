//! A full copy that is sent again: the folder that it has is exchanged with the new one, and goes last.
//!
//! Invariant: the ledger knows both folders before they change places, and the new one as the copy's before the
//! old one is deleted.

use super::Pass;
use super::attempt::Run;
use crate::error::Result;
use crate::faults::{Fault, Met};
use crate::ledger::Look as _;
use crate::model::{Publishing, Target, old_path};
use crate::plan::load::{self, Verdict};
use crate::transfer::destination::{self, Identity, View};
use crate::transfer::exchange::{self, Exchange, Exchanged};
use crate::transfer::source::Staged;
use crate::transfer::{Connection, Halt, manifest};

/// A folder by what the ledger kept of it.
pub(super) fn identity(folder: Publishing) -> Identity {
    Identity { device: folder.device, inode: folder.inode }
}

impl Pass<'_> {
    /// First of all: exchanges that a killed pass has left between their two renames.
    pub(super) fn settle_exchanges(&mut self, target: &Target) -> Result<()> {
        let now = self.context.now();
        let open = self.context.ledger.read(|ledger| {
            let mut open = Vec::new();
            ledger.each_pending(&target.host, &target.group, |copy| {
                if copy.recopy().is_some_and(|recopy| recopy.exchanging.is_some()) {
                    let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
                    let verdict = load::judge(&copy, minidvodb.as_ref(), now, self.order.eagerness);
                    // A rename that is missing does not wait for its time; what has its name, for a person.
                    if verdict != Verdict::NeedsPerson {
                        open.push((copy, minidvodb));
                    }
                }
                Ok(())
            })?;
            Ok(open)
        })?;
        if open.is_empty()
            || !self.current(target)?.is_some_and(|served| self.order.serves(&served.host))
            || !self.pass_the_door(target)?
        {
            return Ok(());
        }
        for (copy, minidvodb) in open {
            self.context.check_stop()?;
            let Some(served) = self.current(target)? else { return Ok(()) };
            self.copy_one(&served, &copy, minidvodb.as_ref())?;
            self.partner.after_copy(self.context, &copy)?;
        }
        Ok(())
    }
}

impl Run<'_, '_> {
    /// The exchange that is under way, or would be with this new folder.
    fn exchange_with(&self, new: Identity) -> Option<Exchange> {
        self.copy.recopy()?;
        let old = identity(self.copy.published()?);
        Some(Exchange { copy: self.copy.id, old, new })
    }

    /// Completes an exchange that was cut off.
    pub(super) fn settle_exchange(&self, connection: &mut Connection) -> Result<(), Halt> {
        let Some(exchange) = self.copy.publishing().and_then(|new| self.exchange_with(identity(new))) else {
            return Ok(());
        };
        exchange::settle(connection, self.place(), exchange, self.setting(), &self.watch)
    }

    /// Whether what has the final name may be replaced: it is the folder that this ledger published, and holds
    /// nothing that was not sent. A file system may give a removed folder's inode to another one. Says what it holds.
    pub(super) fn may_replace(
        &self,
        connection: &mut Connection,
        view: &View,
        there: Identity,
    ) -> Result<Vec<Staged>, Halt> {
        let met = exchange::not_ours(self.place());
        if self.copy.published().is_none_or(|published| identity(published) != there) {
            return Err(Halt::Fault(met));
        }
        let found =
            destination::list(connection, view, self.copy.name.as_str(), self.setting(), &self.watch)?;
        if let Some((_, sent)) = manifest::read(&self.context().state_dir, &self.ledger_id, &self.copy)
            && let Some(extra) = manifest::extra(&sent, &found)
        {
            let message = format!("{}: {extra}, which this ledger did not put there", met.message);
            return Err(Halt::Fault(Met { message, ..met }));
        }
        Ok(found)
    }

    /// Gives the new folder the name that the old one has.
    pub(super) fn replace(
        &mut self,
        connection: &mut Connection,
        view: &View,
        staged: Identity,
    ) -> Result<(), Halt> {
        let Some(exchange) = self.exchange_with(staged) else {
            return Err(Halt::Fault(exchange::not_ours(self.place())));
        };
        let (setting, watch) = (self.setting(), &self.watch);
        let mut exchanged = exchange::exchange(connection, view, self.place(), exchange, setting, watch)?;
        let old = old_path(&self.copy.path, &self.ledger_id, self.copy.id);
        if matches!(exchanged, Exchanged::InTheWay) {
            if destination::remove_staging(connection, &old, &self.ledger_id, setting, watch)? {
                // The same path is where the folder goes that has the name now, and that is no leftover.
                let (host, group) = (&self.copy.host, &self.copy.group);
                self.context().ledger.write(|change| change.remove_leftover(host, group, &old))?;
            }
            exchanged = exchange::exchange(connection, view, self.place(), exchange, setting, watch)?;
        }
        let met = match exchanged {
            Exchanged::Done => return Ok(()),
            Exchanged::Undone(met) => met,
            Exchanged::InTheWay => Met::new(Fault::PathTaken, format!("{old} is in the way, and stays")),
        };
        self.set_publishing(None)?;
        Err(Halt::Fault(met))
    }

    /// The old folder goes, now that the ledger has the new one. What keeps it from going keeps it for the next
    /// pass: the ledger has it among the leftovers.
    pub(super) fn remove_old(&self, connection: &mut Connection) -> Result<()> {
        let path = old_path(&self.copy.path, &self.ledger_id, self.copy.id);
        let removed =
            destination::remove_staging(connection, &path, &self.ledger_id, self.setting(), &self.watch);
        if matches!(removed, Ok(true)) {
            let (host, group) = (&self.copy.host, &self.copy.group);
            self.context().ledger.write(|change| change.remove_leftover(host, group, &path))?;
        }
        Ok(())
    }
}
