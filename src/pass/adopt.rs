//! What has the final name already, though this ledger did not put it there, becomes the copy: an operator has
//! said that it may.
//!
//! Invariant: nothing in it is deleted or overwritten. What could never become equal to the source is a fault
//! before anything is sent; what it lacks is sent; and it counts as full only when every checksum agrees.

use super::attempt::{Again, Finished, Run, flush_patience};
use crate::faults::{Fault, Met, Scope};
use crate::model::{Minidvodb, Phase, Verified, staging_path};
use crate::transfer::destination::{self, Identity, View};
use crate::transfer::rsync::{Checksums, Compared, Job, Manner};
use crate::transfer::source::Source;
use crate::transfer::{Connection, Halt, manifest};

impl Run<'_, '_> {
    /// Completes the folder that has the final name, and believes it when it equals the source.
    pub(super) fn adopt(
        &mut self,
        connection: &mut Connection,
        view: &View,
        there: Identity,
        minidvodb: Option<&Minidvodb>,
        source: &Source,
    ) -> Result<Finished, Halt> {
        let adopted = self.complete_and_verify(connection, view, there, source);
        // Whatever came of it, what had arrived of single files is of no use.
        let temporary = staging_path(&self.copy.path, &self.ledger_id, &self.copy.name);
        let (setting, watch) = (self.setting(), &self.watch);
        let removed = destination::remove_staging(connection, &temporary, &self.ledger_id, setting, watch);
        let checksums = adopted?;
        removed?;
        self.expect_unchanged(minidvodb, source, Again::begin(minidvodb, &self.roots))?;
        manifest::write(&self.context().state_dir, &self.ledger_id, &self.copy, source, &checksums)?;
        self.enter(Phase::Flushing);
        destination::flush_published(
            connection,
            view,
            self.place(),
            flush_patience(source.bytes()),
            &self.watch,
        )?;
        destination::expect_folder(connection, view, self.place(), there, self.setting(), &self.watch)?;
        self.enter(Phase::Recording);
        manifest::promote(&self.context().state_dir, self.copy.id)?;
        Ok(Finished { verified: Verified::Checksum, published: None, earlier_dtime_s: None, replaced: None })
    }

    fn complete_and_verify(
        &mut self,
        connection: &mut Connection,
        view: &View,
        there: Identity,
        source: &Source,
    ) -> Result<Checksums, Halt> {
        let name = self.copy.name.to_string();
        let folder = view.below(&name);
        destination::expect_folder(connection, view, self.place(), there, self.setting(), &self.watch)?;
        let found = destination::list(connection, view, &name, self.setting(), &self.watch)?;
        if let Some(what) = source.conflicts_with(&found) {
            return Err(self.left_alone(&what));
        }
        self.judge_space_for(&found, view, source, &source.free_name(super::attempt::PARTIAL))?;
        destination::make_staging(connection, view, self.place(), self.setting(), &self.watch)?;
        self.enter_with(Phase::Sending, self.to_send_bytes);
        self.write_attempt()?;
        let temporary = view.below(&destination::staging_folder(self.place()));
        let bwlimit = self.served.target.bwlimit.as_deref();
        let manner = Manner::Complete { temp_dir: &temporary };
        let job = Job { source, to: &folder, manner, bwlimit, wants_checksums: false };
        self.rsync(connection, &job).map_err(|halt| self.of_what_is_there(halt))?;
        self.enter_with(Phase::Verifying, source.bytes());
        let found = destination::list(connection, view, &name, self.setting(), &self.watch)?;
        if let Some(what) = source.differs_from(&found) {
            return Err(self.differs(source, &what));
        }
        match self.compare(connection, source, &folder)? {
            Compared::Equal(checksums) => Ok(checksums),
            Compared::Different(what) => match self.differs(source, &what) {
                Halt::Fault(met) if met.fault == Fault::VerifyMismatch => Err(self.left_alone(&what)),
                changed => Err(changed),
            },
        }
    }

    /// That a folder of somebody else's can't be written is no fault of the target, which others go to.
    fn of_what_is_there(&self, halt: Halt) -> Halt {
        let is_denied = |met: &Met| {
            ["Permission denied", "Operation not permitted"].iter().any(|text| met.message.contains(text))
        };
        match halt {
            Halt::Fault(met) if met.fault.scope() == Scope::Target && is_denied(&met) => {
                let path = self.copy.final_path();
                let message = format!("what is at {path} cannot be completed: {}", met.message);
                Halt::fault(Fault::PathTaken, message)
            }
            halt => halt,
        }
    }

    /// What is there differs from the source, and only a person can say which of both is right.
    fn left_alone(&self, what: &str) -> Halt {
        let message = format!(
            "what was at {} already is not what the source is, and was left as it is: {what}; move it away at the host, then revert the copy",
            self.copy.final_path()
        );
        Halt::Fault(Met { is_for_ever: true, ..Met::new(Fault::VerifyMismatch, message) })
    }
}
