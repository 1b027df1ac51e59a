//! One copy: what is there, compared with what was sent.
//!
//! Invariant: reads only. The manifest is what counts. A copy that this ledger did not verify itself may also
//! be what the source is now; where nothing was kept and the source is gone, no more is said than that it is there.

use super::Auditor;
use super::record::Checked;
use crate::faults::{Fault, Met};
use crate::ledger::Look as _;
use crate::model::{
    AbsolutePath, Audit, Copy, CopyState, Difference, Differences, Extent, FileSystem, Host, Seen, Verified,
};
use crate::plan::audit::judge;
use crate::transfer::inventory::{self, Inventory, Reference};
use crate::transfer::rsync::{self, Compared};
use crate::transfer::source::Source;
use crate::transfer::{Connection, Halt, Watch};

/// A copy to be audited.
pub(super) struct Subject {
    pub(super) copy: Copy,
    /// minidvodb_path, while the minidvodb is in the list.
    pub(super) source: Option<AbsolutePath>,
    /// The most that its audit may take.
    pub(super) deadline_s: u32,
}

/// A path at a host, found to be the right one.
pub(super) struct Ground {
    pub(super) path: AbsolutePath,
    pub(super) there: inventory::Ground,
    /// Whether a target says on which file system it must lie.
    is_file_system_known: bool,
}

/// What was seen of a copy, and by which means.
struct Look {
    seen: Seen,
    extent: Extent,
    is_source_changed: bool,
    /// Why its content was not compared, though it should have been.
    not_compared: Option<String>,
}

impl Auditor<'_> {
    /// Looks at a path. A disk that is not mounted must not make every copy on it a missing one.
    pub(super) fn look(
        &self,
        connection: &mut Connection,
        host: &Host,
        path: &AbsolutePath,
    ) -> Result<Ground, Halt> {
        let watch = Watch::new(self.context.stop.clone(), crate::model::Target::DEADLINE_S);
        let there = inventory::look(connection, path, &self.context.setting, &watch)?;
        let known = self.file_system_of(host, path)?;
        if let Some(known) = &known
            && !known.is_same(&there.view.file_system)
        {
            let message = format!("{path} was on {known}, and is on {} now", there.view.file_system);
            return Err(Halt::fault(Fault::FilesystemChanged, message));
        }
        Ok(Ground { path: path.clone(), there, is_file_system_known: known.is_some() })
    }

    /// The file system that the targets with that path were first seen on.
    fn file_system_of(&self, host: &Host, path: &AbsolutePath) -> Result<Option<FileSystem>, Halt> {
        let targets = self.context.ledger.read(|ledger| ledger.targets())?;
        let mut there =
            targets.into_iter().filter(|target| target.host == *host && target.path.tidy() == path.tidy());
        Ok(there.find_map(|target| target.file_system))
    }

    /// Audits one copy.
    pub(super) fn audit_copy(
        &self,
        connection: &mut Connection,
        ground: &Ground,
        subject: &Subject,
    ) -> Result<Checked, Halt> {
        let _inside = tracing::info_span!("audit", copy = subject.copy.id.0).entered();
        let watch = Watch::new(self.context.stop.clone(), subject.deadline_s);
        let look = self.inspect(connection, ground, subject, &watch)?;
        if look.seen == Seen::Gone {
            expect_device(ground, &subject.copy)?;
        }
        Ok(self.checked(subject, look))
    }

    fn inspect(
        &self,
        connection: &mut Connection,
        ground: &Ground,
        subject: &Subject,
        watch: &Watch,
    ) -> Result<Look, Halt> {
        let copy = &subject.copy;
        let manifest = Inventory::read(Reference::Manifest(&self.context.state_dir, &self.ledger_id, copy));
        let Some(mut manifest) = manifest else {
            return self.inspect_by_source(connection, ground, subject, watch);
        };
        let (there, setting) = (&ground.there, &self.context.setting);
        let mut seen = inventory::compare(connection, there, &copy.name, &mut manifest, setting, watch)?;
        let mut look =
            Look { seen: Seen::Gone, extent: Extent::Quick, is_source_changed: false, not_compared: None };
        if let Seen::Folder(differences) = &mut seen
            && self.order.is_by_checksum
        {
            let name = &copy.name;
            let compared =
                self.compare_content(connection, there, name, &mut manifest, differences, watch)?;
            (look.extent, look.not_compared) = match compared {
                None => (Extent::Checksum, None),
                Some(why) => (Extent::Quick, Some(why)),
            };
        }
        let source = subject.source.as_ref();
        let is_changed = source.and_then(|path| manifest.differs_from_source(path, &self.roots));
        look.is_source_changed = is_changed == Some(true);
        drop(manifest);
        look.seen = seen;
        if look.not_compared.is_some() && is_changed == Some(false) {
            self.compare_with_source(connection, ground, subject, &mut look, watch)?;
        }
        let is_faulty = judge("", &look.seen).is_some();
        if is_faulty && !was_verified_here(copy) && look.is_source_changed {
            let by_source = self.inspect_by_source(connection, ground, subject, watch)?;
            if by_source.extent == Extent::Source && judge("", &by_source.seen).is_none() {
                return Ok(by_source);
            }
        }
        Ok(look)
    }

    /// The content by the manifest's checksums; one that takes too long is not compared, and the next copy is not
    /// kept waiting: for that the connection is a new one.
    fn compare_content(
        &self,
        connection: &mut Connection,
        there: &inventory::Ground,
        name: &crate::model::Name,
        manifest: &mut Inventory<'_>,
        differences: &mut Differences,
        watch: &Watch,
    ) -> Result<Option<String>, Halt> {
        match inventory::compare_content(connection, there, name, manifest, differences, watch) {
            Err(Halt::Fault(met)) if met.fault == Fault::Deadline => {
                *connection = self.connect(&connection.host)?;
                Ok(Some(met.message))
            }
            compared => compared,
        }
    }

    /// Where no checksums can be made there that the manifest could be compared with, and the source is as it
    /// was, rsync compares both sides.
    fn compare_with_source(
        &self,
        connection: &mut Connection,
        ground: &Ground,
        subject: &Subject,
        look: &mut Look,
        watch: &Watch,
    ) -> Result<(), Halt> {
        let (Seen::Folder(differences), Some(path)) = (&mut look.seen, &subject.source) else {
            return Ok(());
        };
        if !differences.are_none() {
            return Ok(());
        }
        let Ok(source) = Source::read(path, &self.roots) else { return Ok(()) };
        let there = ground.there.view.below(subject.copy.name.as_str());
        let compared = rsync::compare(connection, &source, &there, &self.context.setting, watch, |_| ())?;
        look.extent = Extent::Checksum;
        look.not_compared = None;
        if let Compared::Different(what) = compared {
            differences.note(Difference::Content, || format!("what no size and no time shows ({what})"));
        }
        Ok(())
    }

    /// Without a manifest: compared with the source, where that is there.
    fn inspect_by_source(
        &self,
        connection: &mut Connection,
        ground: &Ground,
        subject: &Subject,
        watch: &Watch,
    ) -> Result<Look, Halt> {
        let (there, name, setting) = (&ground.there, &subject.copy.name, &self.context.setting);
        let source = subject.source.as_ref();
        let source = source.and_then(|path| Inventory::read(Reference::Source(path, &self.roots)));
        let is_wanted = self.order.is_by_checksum;
        let not_compared = is_wanted.then(|| "no manifest was kept of it".to_owned());
        let (seen, extent) = match source {
            Some(mut source) => {
                (inventory::compare(connection, there, name, &mut source, setting, watch)?, Extent::Source)
            }
            None => (inventory::see(connection, there, name, setting, watch)?, Extent::Presence),
        };
        Ok(Look { seen, extent, is_source_changed: false, not_compared })
    }

    /// A copy that could not be audited, though its host and its path can: its next turn comes behind all others. A
    /// fault that an audit has found stands, with what was said of it.
    pub(super) fn tried(&self, subject: &Subject, why: &str) -> Audit {
        let said = format!("it could not be audited: {why}");
        let (at, extent) = (self.context.now(), Extent::Nothing);
        match subject.copy.audit().cloned() {
            Some(last) if Standing::of(&subject.copy).is_some() => Audit { at, extent, ..last },
            Some(last) => Audit { at, extent, found_by: None, said, ..last },
            None => Audit { at, extent, found_by: None, is_source_changed: false, said },
        }
    }

    fn checked(&self, subject: &Subject, look: Look) -> Checked {
        let Subject { copy, .. } = subject;
        let mut met = judge(&copy.final_path(), &look.seen);
        if let Some(met) = met.as_mut().filter(|_| look.extent == Extent::Source) {
            met.message.push_str("; no manifest was kept, so it may be the source that changed");
        }
        let standing = Standing::of(copy).filter(|standing| standing.found_by > Some(look.extent));
        if let Some(standing) = standing.as_ref().filter(|_| met.is_none()) {
            met = Some(Met::new(standing.fault, standing.said));
        }
        let not_compared = look.not_compared.filter(|_| met.is_none());
        let said = match (&met, &not_compared) {
            (Some(Met { message, .. }), _) => message.clone(),
            (None, Some(why)) => format!("its content was not compared: {why}"),
            (None, None) => String::new(),
        };
        let found_by = standing.map_or(Some(look.extent), |standing| standing.found_by);
        let audit = Audit {
            at: self.context.now(),
            extent: look.extent,
            found_by: found_by.filter(|_| met.is_some()),
            is_source_changed: look.is_source_changed,
            said,
        };
        Checked { copy: copy.clone(), met, audit, is_not_compared: not_compared.is_some() }
    }
}

/// What an earlier audit has found, and what stands since.
struct Standing<'c> {
    fault: Fault,
    found_by: Option<Extent>,
    said: &'c str,
}

impl<'c> Standing<'c> {
    fn of(copy: &'c Copy) -> Option<Self> {
        let fault = copy.fault()?.fault;
        let last = copy.audit()?;
        fault.is_of_audit().then_some(Self { fault, found_by: last.found_by, said: &last.said })
    }
}

/// Whether what is there was compared with its source by this ledger.
fn was_verified_here(copy: &Copy) -> bool {
    matches!(copy.state, CopyState::Full { verified: Verified::Checksum | Verified::Quick, .. })
}

/// Where no target says which file system is the right one, a copy that is not there must at least have been on
/// this device.
fn expect_device(ground: &Ground, copy: &Copy) -> Result<(), Halt> {
    let device = ground.there.device();
    match copy.published() {
        Some(published) if !ground.is_file_system_known && device != Some(published.device) => {
            let message = format!(
                "{} lies on another device than when {} was put there, and no target goes there that says which is right",
                ground.path, copy.name
            );
            Err(Halt::fault(Fault::FilesystemChanged, message))
        }
        _ => Ok(()),
    }
}
