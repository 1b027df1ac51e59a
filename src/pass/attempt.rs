//! One attempt at one copy: connect, look, size, judge the room, send, flush, verify, publish, record.
//!
//! Invariants: the ledger says *publishing*, with the folder's device and inode, before the rename, and *full*
//! only after it; whatever ends an attempt is recorded with the phase it had reached.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::standing::Proof;
use super::{Context, Deed, Pass, Served, diary, recopy};
use crate::error::{Error, Exit, Result};
use crate::faults::{Class, Fault, Met, Scope};
use crate::ledger::{Change, Failure, Look as _};
use crate::lock;
use crate::model::{
    AbsolutePath, Attempt, Copy, CopyState, Minidvodb, Outcome, Phase, Publishing, Target, Verified, Verify,
    staging_path,
};
use crate::plan::{notice, retry, space};
use crate::transfer::destination::{self, Flusher, Identity, Place, View};
use crate::transfer::readback::{self, Expected};
use crate::transfer::rsync::{self, Checksums, Compared, Job, Manner};
use crate::transfer::source::{Kind, Roots, Source, Staged};
use crate::transfer::stream::{self, End, Parcel, Reader, Streamed};
use crate::transfer::{Connection, Halt, Session, Setting, Watch, exact, manifest};
use crate::ui;

/// The name of the folders that rsync keeps parts of files in.
pub(super) const PARTIAL: &str = ".minidvodbcopy-partial";
/// So much of what was said is kept with an attempt, in characters.
const SAID_MAX: usize = 4000;
/// A disk is given the time to flush that it takes to write so slowly, in bytes a second, and some minutes.
const SLOWEST_FLUSH_BYTES_PER_S: u64 = 1_000_000;
const FLUSH_AT_LEAST: Duration = Duration::from_secs(600);
/// So many bytes at most are little, where rsync is started in any case: it sends only what is new in a file.
const LITTLE_BYTES: u64 = 16 << 20;

/// How a finished attempt ended well.
pub(super) struct Finished {
    pub(super) verified: Verified,
    /// The folder, where this ledger published it.
    pub(super) published: Option<Identity>,
    /// Seconds of the attempt that verified it, where that was an earlier one.
    pub(super) earlier_dtime_s: Option<f32>,
    /// Where it was sent again, the way to the folder that it has replaced, and that is to be removed.
    pub(super) replaced: Option<Connection>,
}

impl Finished {
    /// A folder that this attempt has given its name.
    fn new(verified: Verified, published: Identity) -> Self {
        Self { verified, published: Some(published), earlier_dtime_s: None, replaced: None }
    }
}

/// What was sent.
struct Sent {
    /// The staging folder's identity.
    staged: Identity,
    /// The checksums of the files that were sent, where they are known.
    checksums: Checksums,
    /// What writes them to the disk there.
    flusher: Option<Flusher>,
    /// What has read files back there while others were sent, and was asked for the rest.
    reader: Option<Reader>,
    /// Whether everything was sent in one go, and nothing went wrong with it.
    is_at_once: bool,
    /// Whether the staging folder was found to be as the source is, but for what is in its files.
    is_exact: bool,
}

/// What was sent was found to be as it should.
struct Believed {
    how: Verified,
    /// The checksums of the files, where they are known.
    checksums: Checksums,
    /// The source once more, since nothing of it was needed any more for that.
    again: Again,
}

/// The source being read once more, beside whatever else is done.
pub(super) struct Again(Option<JoinHandle<Result<Source, Met>>>);

impl Again {
    pub(super) fn begin(minidvodb: Option<&Minidvodb>, roots: &Roots) -> Self {
        let (path, roots) = (minidvodb.map(|minidvodb| minidvodb.path.clone()), roots.clone());
        Self(path.map(|path| std::thread::spawn(move || Source::read(&path, &roots))))
    }

    /// The source as it is now; none where the minidvodb is not in the list.
    fn end(self) -> Option<Result<Source, Met>> {
        self.0.map(|reading| reading.join().unwrap_or_else(|_| Err(unexpected_end_of_reading())))
    }
}

fn unexpected_end_of_reading() -> Met {
    Met::new(Fault::SourceUnreadable, "reading the source failed in an unexpected way")
}

/// An attempt under way.
pub(super) struct Run<'a, 'p> {
    pub(super) pass: &'a mut Pass<'p>,
    pub(super) served: &'a Served,
    pub(super) copy: Copy,
    pub(super) attempt: Attempt,
    pub(super) ledger_id: String,
    /// Where minidvodbs may be copied from.
    pub(super) roots: Roots,
    pub(super) watch: Watch,
    began: Instant,
    /// What is still to be sent, in bytes of files.
    pub(super) to_send_bytes: u64,
}

/// A copy that another minidvodb's copy keeps from its final path.
pub(super) fn set_collision(copy: &mut Copy, now: jiff::Timestamp) {
    retry::after_fault(copy, &Met::new(Fault::NameCollision, ""), now);
    copy.tries = 0;
}

/// Says that another minidvodb goes to the final path of a copy; returns the sentence.
///
/// # Errors
/// The ledger's.
pub fn say_collision(context: &Context, copy: &Copy) -> Result<String> {
    let owner = context.ledger.read(|ledger| ledger.owner_of(&copy.machine, &copy.final_path()))?;
    let by = owner.map_or_else(String::new, |owner| format!(", which belongs to copy {owner}"));
    let message = format!("minidvodb {} would go to {}{by}", copy.minidvodb_id, copy.final_path());
    say_fault(context, copy, &Met::new(Fault::NameCollision, message.as_str()), None);
    Ok(message)
}

impl Pass<'_> {
    /// Makes one copy, or records why not; says what that fault belongs to.
    ///
    /// # Errors
    /// What ends the whole pass.
    pub(super) fn copy_one(
        &mut self,
        served: &Served,
        copy: &Copy,
        minidvodb: Option<&Minidvodb>,
    ) -> Result<Scope> {
        let (began, now) = (Instant::now(), self.context.now());
        let begun = self.context.ledger.write(|change| {
            // An operator may have said meanwhile that there is nothing to make.
            let known = change.copy(copy.id)?;
            let Some(mut copy) = known.filter(|known| known.is_to_be_made() && goes_alike(known, copy))
            else {
                return Ok(None);
            };
            if !change.claim_final_path(&copy)? {
                set_collision(&mut copy, now);
                diary::met_fault(change, &copy, &Met::new(Fault::NameCollision, copy.final_path()), now)?;
                change.put_known_copy(&copy)?;
                return Ok(Some((copy, None, String::new(), Roots::default())));
            }
            copy.attempts += 1;
            copy.last_attempt += 1;
            change.put_known_copy(&copy)?;
            let attempt = Attempt {
                copy_id: copy.id,
                number: copy.last_attempt,
                began: now,
                ended: None,
                phase: Phase::Connecting,
                outcome: Outcome::Open,
                sent_bytes: 0,
                files: 0,
                seconds: 0.0,
                said: String::new(),
            };
            change.put_attempt(&copy, &attempt)?;
            Ok(Some((copy, Some(attempt), change.ledger_id()?, Roots(change.source_roots()?))))
        })?;
        let Some((copy, attempt, ledger_id, roots)) = begun else { return Ok(Scope::Copy) };
        let Some(attempt) = attempt else {
            self.say_collision(&copy)?;
            return Ok(Scope::Copy);
        };
        let _inside = tracing::info_span!("attempt", copy = copy.id.0, attempt = attempt.number).entered();
        let from = minidvodb.map_or("nowhere", |minidvodb| minidvodb.path.as_str());
        tracing::info!("begins: minidvodb {} from {from} to {}", copy.minidvodb_id, copy.final_path());
        let watch = Watch::new(self.context.stop.clone(), served.target.deadline_s);
        self.show.begin(&copy);
        let to_send_bytes = 0;
        let mut run =
            Run { pass: self, served, copy, attempt, ledger_id, roots, watch, began, to_send_bytes };
        let result = run.make(minidvodb);
        run.record(result)
    }

    pub(super) fn say_collision(&mut self, copy: &Copy) -> Result<()> {
        let message = say_collision(self.context, copy)?;
        self.summary.faulted += 1;
        self.summary.done.push(deed(copy, "faulted", Some(Fault::NameCollision), 0.0, Some(message)));
        Ok(())
    }

    /// Records the attempts that a killed pass has left open; the lock says that nobody is at them.
    pub(super) fn settle_interrupted(&mut self, target: &Target) -> Result<()> {
        let open = self.context.ledger.read(|ledger| ledger.open_attempts(&target.host, &target.group))?;
        if open.is_empty() {
            return Ok(());
        }
        let now = self.context.now();
        let before = self.lock.before.take();
        let mut settled = Vec::new();
        self.context.ledger.write(|change| {
            for (id, number) in open {
                let (Some(mut copy), Some(mut attempt)) = (change.copy(id)?, change.attempt(id, number)?)
                else {
                    continue;
                };
                // What the killed pass said last, where it said it of this attempt.
                if let Some(progress) = before.as_ref().filter(|p| (p.copy, p.attempt) == (id.0, number)) {
                    attempt.phase = progress.phase().unwrap_or(attempt.phase);
                    attempt.sent_bytes = progress.sent_bytes;
                }
                attempt.ended = Some(now);
                attempt.seconds = (now.as_millisecond() - attempt.began.as_millisecond()).max(0) as f64 / 1e3;
                "the pass was killed, or the machine went down".clone_into(&mut attempt.said);
                attempt.outcome = if retry::after_interruption(&mut copy, now) {
                    Outcome::Faulted(Fault::Deadline)
                } else {
                    Outcome::Interrupted
                };
                change.put_attempt(&copy, &attempt)?;
                change.put_known_copy(&copy)?;
                diary::interrupted(change, &copy, &attempt, now)?;
                settled.push((copy, attempt));
            }
            Ok(())
        })?;
        for (copy, attempt) in &settled {
            if let Outcome::Faulted(fault) = attempt.outcome {
                let message = format!(
                    "cut off {} times in a row without having moved anything",
                    retry::INTERRUPTIONS_MAX
                );
                say_fault(self.context, copy, &Met::new(fault, message), None);
            } else {
                self.context
                    .ui
                    .tell(&format!("{} was interrupted before; it goes on from there", title(copy)));
            }
        }
        Ok(())
    }
}

impl<'p> Run<'_, 'p> {
    pub(super) fn context(&self) -> &'p Context {
        self.pass.context
    }

    pub(super) fn setting(&self) -> &'p Setting {
        &self.pass.context.setting
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.enter_with(phase, 0);
    }

    /// Enters a phase that has so many bytes to deal with.
    pub(super) fn enter_with(&mut self, phase: Phase, total_bytes: u64) {
        self.attempt.phase = phase;
        let Pass { show, lock, .. } = &mut *self.pass;
        show.phase(lock, &self.copy, self.attempt.number, phase, total_bytes);
        tracing::info!("phase: {}", phase.as_str());
    }

    /// The story of an attempt.
    fn make(&mut self, minidvodb: Option<&Minidvodb>) -> Result<Finished, Halt> {
        self.enter(Phase::Connecting);
        let (mut connection, source) = self.connect_and_size(minidvodb)?;
        self.settle_exchange(&mut connection)?;
        let session = self.begin_session(&connection, source.as_ref().ok())?;
        let view = self.look(&mut connection)?;
        if let Some(publishing) = self.copy.publishing()
            && view.published == Some(recopy::identity(publishing))
        {
            return self.complete(connection, &view, publishing, &source);
        }
        if self.copy.publishing().is_some() {
            // The rename has not happened: it is a copy like any other.
            self.set_publishing(None)?;
            let stages = self.served.stages;
            if !(stages.load && stages.run) {
                return Err(Halt::Cut("its stage is off".to_owned()));
            }
        }
        if !minidvodb.is_some_and(Minidvodb::is_eligible) {
            return Err(Halt::fault(Fault::SourceChanged, "the minidvodb is not merged any more"));
        }
        let source = source?;
        let mut old = Vec::new();
        match view.published {
            Some(there) if self.copy.recopy().is_some() => {
                old = self.may_replace(&mut connection, &view, there)?;
            }
            Some(there) if self.copy.adopts() => {
                return self.adopt(&mut connection, &view, there, minidvodb, &source);
            }
            Some(_) => {
                let message =
                    format!("{} is there, and this ledger did not put it there", self.copy.final_path());
                return Err(Halt::fault(Fault::PathTaken, message));
            }
            None => {}
        }
        let partial_name = source.free_name(PARTIAL);
        if view.staging.is_some() {
            let (place, setting, watch) = (self.place(), self.setting(), &self.watch);
            destination::end_orphans(&mut connection, &view, place, setting, watch)?;
            destination::prepare_staged(&mut connection, &view, place, &partial_name, setting, watch)?;
        }
        let lies_there = self.judge_space(&mut connection, &view, &source, &partial_name, old)?;
        let sent = self.send(&mut connection, session, &view, &source, &partial_name, &lies_there)?;
        let staged = sent.staged;
        let Believed { how, checksums, again } =
            self.verify(&mut connection, &view, minidvodb, &source, sent)?;
        // The destination's disk is still writing.
        self.expect_unchanged(minidvodb, &source, again)?;
        manifest::write(&self.context().state_dir, &self.ledger_id, &self.copy, &source, &checksums)?;
        self.enter(Phase::Flushing);
        self.expect_flushed(&mut connection, &source)?;
        self.publish(connection, &view, staged, how)
    }

    /// The connection is made while the source is read.
    fn connect_and_size(
        &mut self,
        minidvodb: Option<&Minidvodb>,
    ) -> Result<(Connection, Result<Source, Met>), Halt> {
        let gone = || {
            let message = format!("minidvodb {} is not in the list any more", self.copy.minidvodb_id);
            Met::new(Fault::SourceMissing, message)
        };
        let path = minidvodb.map(|minidvodb| minidvodb.path.clone()).ok_or_else(gone);
        if self.copy.publishing().is_none() {
            // No connection helps a source that is not there.
            let found = path.as_ref().map_err(Clone::clone);
            found.and_then(|path| Source::find(path, &self.roots))?;
        }
        let roots = self.roots.clone();
        let (connection, source) = std::thread::scope(|scope| {
            let reading =
                scope.spawn(move || path.and_then(|path: AbsolutePath| Source::read(&path, &roots)));
            let connection = Connection::open(&self.served.target.host, self.setting(), &self.watch);
            if connection.is_ok() && !reading.is_finished() {
                self.enter(Phase::Sizing);
            }
            let source = reading.join().unwrap_or_else(|_| Err(unexpected_end_of_reading()));
            (connection, source)
        });
        if self.attempt.phase == Phase::Sizing {
            self.enter(Phase::Connecting);
        }
        if let Ok(source) = &source {
            self.copy.bytes = Some(source.bytes());
            self.copy.files = Some(source.files());
            self.attempt.files = source.files();
            tracing::info!("source: {} files, {} bytes", source.files(), source.bytes());
        }
        Ok((connection?, source))
    }

    /// Begins the session of a first copy's first stream, where it is sure enough that there will be one.
    fn begin_session(
        &self,
        connection: &Connection,
        source: Option<&Source>,
    ) -> Result<Option<Session>, Halt> {
        let is_large = source.is_some_and(|source| source.bytes() > LITTLE_BYTES);
        let is_first =
            self.copy.publishing().is_none() && self.copy.recopy().is_none() && !self.copy.adopts();
        if is_large && is_first && self.served.target.bwlimit.is_none() {
            connection.begin_session(self.setting())
        } else {
            Ok(None)
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { path: &self.copy.path, ledger_id: &self.ledger_id, name: Some(&self.copy.name) }
    }

    /// Looks at the destination; that it answers may heal its host and target.
    fn look(&mut self, connection: &mut Connection) -> Result<View, Halt> {
        let view = destination::look(connection, self.place(), self.setting(), &self.watch);
        if !matches!(&view, Err(Halt::Fault(met)) if met.fault.scope() == Scope::Host) {
            self.pass.heal_host(&self.served.target, Proof::Look)?;
        }
        let view = view?;
        self.enter(Phase::Space);
        self.pass.see_room(&self.copy.host, view.room, &view.file_system);
        self.pass.judge_target(&self.served.target, &self.copy.path, &view)?;
        self.expect_device_of_old(&view)?;
        Ok(view)
    }

    /// What is sent again to a path that is not the target's any more, and is not there, must go to the disk that
    /// it was on: else that disk may not be mounted, and the copy would go below its mount point.
    fn expect_device_of_old(&self, view: &View) -> Result<(), Halt> {
        let (Some(published), None) = (self.copy.published(), view.published) else { return Ok(()) };
        let is_the_targets = self.copy.path == self.served.target.path;
        if is_the_targets || view.device() == Some(published.device) {
            return Ok(());
        }
        let message = format!(
            "{} is not at {}, which lies on another device than when it was put there ({} now): mount its disk at {}, and the next pass goes on; or `minidvodbcopy recopy {} --cancel`",
            self.copy.name, self.copy.path, view.file_system, self.copy.host, self.copy.id
        );
        Err(Halt::fault(Fault::FilesystemChanged, message))
    }

    /// What a fault belongs to: the file system of another path than the target's is not the target's business.
    fn scope_of(&self, fault: Fault) -> Scope {
        match fault {
            Fault::FilesystemChanged if self.copy.path != self.served.target.path => Scope::Copy,
            fault => fault.scope(),
        }
    }

    /// Step 3: the limit has been judged; now the room for what is still to be sent. Says what is staged
    /// already, or need not be sent since the folder to be replaced, `old`, has it.
    fn judge_space(
        &mut self,
        connection: &mut Connection,
        view: &View,
        source: &Source,
        partial_name: &str,
        old: Vec<Staged>,
    ) -> Result<Vec<Staged>, Halt> {
        let mut staged = self.staged(connection, view)?;
        let cut_off = source.cut_off(&staged);
        if !cut_off.is_empty() {
            let (place, setting, watch) = (self.place(), self.setting(), &self.watch);
            destination::keep_parts(connection, view, place, &cut_off, partial_name, setting, watch)?;
            staged = self.staged(connection, view)?;
        }
        staged.extend(source.unchanged(old));
        self.judge_space_for(&staged, view, source, partial_name)?;
        Ok(staged)
    }

    pub(super) fn judge_space_for(
        &mut self,
        staged: &[Staged],
        view: &View,
        source: &Source,
        partial_name: &str,
    ) -> Result<(), Halt> {
        let need = source.need(staged, partial_name, view.room.block_bytes);
        let own = Some(&*self.pass.lock);
        let reserved = lock::reserved_by_others(&self.context().state_dir, &self.copy.machine, own);
        tracing::info!("to send: {} bytes, {} inodes", need.bytes, need.inodes);
        retry::note_progress(&mut self.copy, need.bytes);
        self.pass.lock.show_need(need);
        // Whole blocks are more than is in them.
        self.to_send_bytes = need.bytes.min(source.bytes());
        space::judge_room(&view.room, need, reserved).map_err(|met| {
            Halt::Fault(Met { message: format!("{}: {}", view.file_system.mount_point, met.message), ..met })
        })
    }

    fn staged(&self, connection: &mut Connection, view: &View) -> Result<Vec<Staged>, Halt> {
        if view.staging.is_none() {
            return Ok(Vec::new());
        }
        let folder = destination::staging_folder(self.place());
        destination::list(connection, view, &folder, self.setting(), &self.watch)
    }

    /// Step 4: streams, then rsync unless they have left it nothing to do.
    fn send(
        &mut self,
        connection: &mut Connection,
        session: Option<Session>,
        view: &View,
        source: &Source,
        partial_name: &str,
        lies_there: &[Staged],
    ) -> Result<Sent, Halt> {
        let staged = destination::make_staging(connection, view, self.place(), self.setting(), &self.watch)?;
        self.enter_with(Phase::Sending, self.to_send_bytes);
        self.write_attempt()?;
        let to = view.below(&destination::staging_folder(self.place()));
        let old =
            self.copy.recopy().and(view.published).map(|_| destination::beside_staging(&self.copy.name));
        let old = old.as_deref().filter(|old| !rsync::has_wildcard(old));
        let is_suspicious = self.copy.is_suspicious;
        let job = Job {
            source,
            to: &to,
            manner: Manner::Stage { partial_name, is_suspicious, old },
            bwlimit: self.served.target.bwlimit.as_deref(),
            wants_checksums: self.served.target.verify == Verify::Quick || old.is_some(),
        };
        // What is little in a folder that is sent again is rsync's business, and soon on the disk.
        let is_little = old.is_some() && self.to_send_bytes <= LITTLE_BYTES;
        let (mut flusher, mut head_start) = (None, Streamed::default());
        if !is_little {
            destination::flush_meanwhile(connection, view, self.place())?;
            head_start = self.head_start(connection, session, &job, lies_there, staged)?;
            flusher = destination::flusher(connection, self.setting(), &self.watch)?;
            if head_start.end == End::Unknown {
                // Its tar could write over what rsync sends, and even after the rename.
                destination::end_orphans(connection, view, self.place(), self.setting(), &self.watch)?;
            }
        }
        let is_at_once = view.staging.is_none() && old.is_none() && head_start.end != End::Unknown;
        // Streams that have come to their end have mostly left nothing to do.
        let is_sent = head_start.end == End::Done && !is_suspicious && old.is_none();
        let checksums = &head_start.checksums;
        let expected = Expected { source, checksums, folder: &to, identity: staged };
        let reader = head_start.reader.filter(|_| is_sent).and_then(|reader| readback::ask(reader, expected));
        let mut is_exact = is_sent && self.is_exact(connection, view, staged, source)?;
        let reader = reader.filter(|_| is_exact);
        let mut checksums = Checksums::default();
        if !is_exact {
            checksums = self.rsync(connection, &job)?;
            if view.staging.is_some() {
                let (place, setting, watch) = (self.place(), self.setting(), &self.watch);
                destination::remove_partials(connection, view, place, partial_name, setting, watch)?;
            }
            is_exact = old.is_some() && self.is_exact(connection, view, staged, source)?;
        }
        checksums.add(head_start.checksums);
        Ok(Sent { staged, checksums, flusher, reader, is_at_once, is_exact })
    }

    /// Whether the staging folder is as the source is, but for what is in its files.
    fn is_exact(
        &self,
        connection: &mut Connection,
        view: &View,
        staged: Identity,
        source: &Source,
    ) -> Result<bool, Halt> {
        let folder = view.below(&destination::staging_folder(self.place()));
        exact::is_exact(connection, &folder, staged, source, self.setting(), &self.watch)
    }

    /// What is not there at all goes out by streams of its own; rsync does all the rest. A limit of the rate is
    /// rsync's to keep.
    fn head_start(
        &mut self,
        connection: &mut Connection,
        session: Option<Session>,
        job: &Job<'_>,
        lies_there: &[Staged],
        folder: Identity,
    ) -> Result<Streamed, Halt> {
        let Manner::Stage { partial_name, .. } = job.manner else { return Ok(Streamed::default()) };
        if job.bwlimit.is_some() {
            return Ok(Streamed::default());
        }
        let parcel = Parcel {
            source: job.source,
            staged: lies_there,
            partial_name,
            to: job.to,
            folder,
            streams_max: self.served.target.streams,
            // Where anything lies there already, both sides are compared, or rsync reads what is staged, in any case.
            is_read_back: self.served.target.verify == Verify::Checksum
                && job.source.is_on_own_disk()
                && !job.manner.compares_content()
                && !lies_there.iter().any(|staged| staged.kind == Kind::File),
        };
        let (Pass { context, show, lock, .. }, attempt) = (&mut *self.pass, &mut self.attempt);
        let streamed =
            stream::send(connection, session, &parcel, &context.setting, &self.watch, |outlook| {
                attempt.sent_bytes = outlook.bytes;
                show.streamed(lock, outlook);
            })?;
        self.attempt.sent_bytes = streamed.bytes;
        Ok(streamed)
    }

    /// rsync sends; what it has sent is shown as it goes.
    pub(super) fn rsync(&mut self, connection: &mut Connection, job: &Job<'_>) -> Result<Checksums, Halt> {
        let (Pass { context, show, lock, .. }, attempt) = (&mut *self.pass, &mut self.attempt);
        let before = attempt.sent_bytes;
        let sent = rsync::send(connection, job, &context.setting, &self.watch, |glance| {
            attempt.sent_bytes = before + glance.written_bytes();
            show.sent(lock, before, glance, &job.source.folder);
        });
        let (sent, checksums) = match sent {
            Err(Halt::Fault(met)) => return Err(Halt::Fault(self.look_for_full_disk(connection, met)?)),
            other => other?,
        };
        self.attempt.sent_bytes = before + sent;
        tracing::info!("sent: {sent} bytes of files");
        Ok(checksums)
    }

    /// rsync compares the source with a folder there; what it has read is shown as it goes.
    pub(super) fn compare(
        &mut self,
        connection: &mut Connection,
        source: &Source,
        with: &str,
    ) -> Result<Compared, Halt> {
        let Pass { context, show, lock, .. } = &mut *self.pass;
        rsync::compare(connection, source, with, &context.setting, &self.watch, |glance| {
            show.compared(lock, glance, &source.folder);
        })
    }

    /// A full disk can end rsync without a word of it: then the disk is asked. And an rsync at the far end that
    /// somebody killed, while the connection lives, was interrupted.
    fn look_for_full_disk(&self, connection: &mut Connection, met: Met) -> Result<Met, Halt> {
        if !matches!(met.fault, Fault::Foreign(10 | 11 | 12 | 23 | 255)) {
            return Ok(met);
        }
        let view = match destination::look(connection, self.place(), self.setting(), &self.watch) {
            Ok(view) => view,
            // What cut rsync off has cut the connection off as well.
            Err(halt) if rsync::was_cut_off(&met) => return Err(halt),
            Err(_) => return Ok(met),
        };
        let is_full = view.room.used_percent >= 100
            || view.room.free_bytes < view.room.block_bytes.saturating_mul(16)
            || view.room.inodes.is_some_and(|inodes| inodes.free == 0);
        if is_full {
            Ok(Met { fault: Fault::NoRoom, ..met })
        } else if rsync::was_cut_off(&met) {
            Err(Halt::Cut(met.message))
        } else {
            Ok(met)
        }
    }

    /// The host reads back what was sent, or both sides are compared; its disk begins to write meanwhile.
    fn verify(
        &mut self,
        connection: &mut Connection,
        view: &View,
        minidvodb: Option<&Minidvodb>,
        source: &Source,
        mut sent: Sent,
    ) -> Result<Believed, Halt> {
        let how = verification(self.served.target.verify, sent.is_at_once);
        let folder = destination::staging_folder(self.place());
        let to_read_bytes = match how {
            Verify::Quick => 0,
            Verify::Checksum if sent.is_exact => readback::unread_bytes(source, &sent.checksums),
            Verify::Checksum => source.bytes(),
        };
        self.enter_with(Phase::Verifying, to_read_bytes);
        // rsync's comparison has its own way with names such as `a[b]c`: the shell takes them as they are.
        let needs_list = how == Verify::Quick || rsync::has_wildcard(&view.below(&folder));
        if needs_list && !sent.is_exact {
            let there = destination::list(connection, view, &folder, self.setting(), &self.watch)?;
            if let Some(what) = source.differs_from(&there) {
                self.expect_staged(connection, sent.staged)?;
                return Err(self.differs(source, &what));
            }
        }
        destination::begin_flush(connection, view, self.place(), sent.flusher.take())?;
        if how == Verify::Quick {
            let again = Again::begin(minidvodb, &self.roots);
            return Ok(Believed { how: Verified::Quick, checksums: sent.checksums, again });
        }
        if sent.is_exact {
            let again = Again::begin(minidvodb, &self.roots);
            if self.is_read_back(connection, &view.below(&folder), source, &mut sent)? {
                return Ok(Believed { how: Verified::Checksum, checksums: sent.checksums, again });
            }
            self.enter_with(Phase::Verifying, source.bytes());
        }
        // The comparison makes them anew.
        drop(sent.checksums);
        match self.compare(connection, source, &view.below(&folder))? {
            Compared::Equal(checksums) => {
                let again = Again::begin(minidvodb, &self.roots);
                Ok(Believed { how: Verified::Checksum, checksums, again })
            }
            Compared::Different(what) => {
                // The flush that was begun tells of a folder that is gone, too; its answer is the next one.
                let _ = destination::flushed(connection, flush_patience(source.bytes()), &self.watch);
                self.expect_staged(connection, sent.staged)?;
                Err(self.differs(source, &what))
            }
        }
    }

    /// Whether the host has every file as it was sent; what it has read is shown as it goes.
    fn is_read_back(
        &mut self,
        connection: &mut Connection,
        folder: &str,
        source: &Source,
        sent: &mut Sent,
    ) -> Result<bool, Halt> {
        let Pass { context, show, lock, .. } = &mut *self.pass;
        let reader = sent.reader.take();
        let expected = Expected { source, checksums: &sent.checksums, folder, identity: sent.staged };
        readback::is_equal(connection, expected, reader, &context.setting, &self.watch, |outlook| {
            show.read_back(lock, outlook);
        })
    }

    /// Where nothing is as it was sent, the path may be gone, or another disk lie over it.
    fn expect_staged(&mut self, connection: &mut Connection, staged: Identity) -> Result<(), Halt> {
        let now = destination::look(connection, self.place(), self.setting(), &self.watch)?;
        if now.staging != Some(staged) && self.copy.path == self.served.target.path {
            self.pass.judge_file_system(&self.served.target, &now)?;
        }
        Ok(())
    }

    /// What differs, differs because the source has changed, or because something damages the copy.
    pub(super) fn differs(&self, source: &Source, what: &str) -> Halt {
        match self.changes_since(source) {
            Some(changes) => Halt::fault(Fault::SourceChanged, changes),
            None => {
                Halt::fault(Fault::VerifyMismatch, format!("what arrived differs from the source: {what}"))
            }
        }
    }

    /// What has changed in the source since it was read, in words.
    fn changes_since(&self, source: &Source) -> Option<String> {
        let path = AbsolutePath::parse(source.folder.as_str()).ok()?;
        match Source::read(&path, &self.roots) {
            Ok(now) if now == *source => None,
            Ok(now) => Some(format!("the source changed: {}", source.changed_in(&now, 5).join(", "))),
            Err(met) => Some(format!("the source changed: {}", met.message)),
        }
    }

    /// The source as it was before, by size, times and inode of every file; and still the one in the list.
    pub(super) fn expect_unchanged(
        &self,
        minidvodb: Option<&Minidvodb>,
        source: &Source,
        again: Again,
    ) -> Result<(), Halt> {
        let now = self.context().ledger.read(|ledger| ledger.minidvodb(self.copy.minidvodb_id))?;
        if now.as_ref() != minidvodb {
            let message = "the minidvodb's entry in the list changed while it was copied";
            return Err(Halt::fault(Fault::SourceChanged, message));
        }
        // The path itself may lead elsewhere now.
        match again.end() {
            Some(Ok(again)) if again == *source => Ok(()),
            Some(Ok(again)) => {
                let changed = source.changed_in(&again, 5).join(", ");
                Err(Halt::fault(Fault::SourceChanged, format!("the source changed: {changed}")))
            }
            Some(Err(met)) => {
                Err(Halt::fault(Fault::SourceChanged, format!("the source changed: {}", met.message)))
            }
            None => Err(Halt::fault(Fault::SourceMissing, "the minidvodb is not in the list any more")),
        }
    }

    /// A disk that could not be written has lost something that the host still shows: what was staged cannot be
    /// trusted by anybody, and goes.
    fn expect_flushed(&mut self, connection: &mut Connection, source: &Source) -> Result<(), Halt> {
        let flushed = destination::flushed(connection, flush_patience(source.bytes()), &self.watch);
        if let Err(Halt::Fault(met)) = &flushed
            && met.fault.scope() != Scope::Host
        {
            let path = staging_path(&self.copy.path, &self.ledger_id, &self.copy.name);
            let (id, setting, watch) = (self.ledger_id.as_str(), self.setting(), &self.watch);
            let removed = destination::remove_staging(connection, &path, id, setting, watch);
            self.copy.is_suspicious |= !matches!(removed, Ok(true));
        }
        flushed
    }

    fn publish(
        &mut self,
        mut connection: Connection,
        view: &View,
        staged: Identity,
        verified: Verified,
    ) -> Result<Finished, Halt> {
        self.enter(Phase::Publishing);
        let publishing = Publishing {
            device: staged.device,
            inode: staged.inode,
            verified,
            dtime_s: self.began.elapsed().as_secs_f32(),
        };
        self.set_publishing(Some(publishing))?;
        if self.copy.recopy().is_some() && view.published.is_some() {
            self.replace(&mut connection, view, staged)?;
        } else {
            let (place, setting, watch) = (self.place(), self.setting(), &self.watch);
            destination::publish(&mut connection, view, place, staged, setting, watch)?;
        }
        self.finish(connection, view, Finished::new(verified, staged))
    }

    /// The folder has its name, on the disk.
    fn finish(
        &mut self,
        mut connection: Connection,
        view: &View,
        mut finished: Finished,
    ) -> Result<Finished, Halt> {
        self.enter(Phase::Recording);
        manifest::promote(&self.context().state_dir, self.copy.id)?;
        // An exchange that was cut off may have left the old folder behind, whoever has the name now.
        if self.copy.recopy().is_some() {
            finished.replaced = Some(connection);
        } else {
            self.tidy(&mut connection, view);
        }
        Ok(finished)
    }

    /// The rename had happened when an earlier attempt was cut off: what is there is verified and recorded.
    fn complete(
        &mut self,
        mut connection: Connection,
        view: &View,
        publishing: Publishing,
        source: &Result<Source, Met>,
    ) -> Result<Finished, Halt> {
        self.enter_with(Phase::Verifying, source.as_ref().map_or(0, Source::bytes));
        let to = view.below(self.copy.name.as_str());
        let mut is_equal = false;
        if let Ok(source) = source {
            let compared = self.compare(&mut connection, source, &to)?;
            is_equal = matches!(compared, Compared::Equal(_));
        }
        // The source may have changed or gone since it was verified; then the manifest made then decides.
        if !is_equal && !self.is_as_in_manifest(&mut connection, view)? {
            let mut message =
                format!("{} is not what was verified before its rename", self.copy.final_path());
            if self.copy.recopy().is_some() {
                message
                    .push_str("; moved away at the host, it leaves its place to the folder that it replaced");
            }
            return Err(Halt::Fault(Met { is_for_ever: true, ..Met::new(Fault::VerifyMismatch, message) }));
        }
        if let Some(mode) = source.as_ref().ok().and_then(Source::mode) {
            let (place, setting, watch) = (self.place(), self.setting(), &self.watch);
            destination::restore_mode(&mut connection, view, place, mode, setting, watch)?;
        }
        // The kill may have come between the rename and its flush.
        let patience = flush_patience(self.copy.bytes.unwrap_or_default());
        destination::flush_published(&mut connection, view, self.place(), patience, &self.watch)?;
        let finished = Finished {
            earlier_dtime_s: Some(publishing.dtime_s),
            ..Finished::new(publishing.verified, recopy::identity(publishing))
        };
        self.finish(connection, view, finished)
    }

    fn is_as_in_manifest(&self, connection: &mut Connection, view: &View) -> Result<bool, Halt> {
        let Some((_, lines)) = manifest::read_newest(&self.context().state_dir, &self.ledger_id, &self.copy)
        else {
            return Ok(false);
        };
        let there =
            destination::list(connection, view, self.copy.name.as_str(), self.setting(), &self.watch)?;
        let mut there: Vec<_> = there
            .iter()
            .filter(|entry| entry.kind == Kind::File)
            .map(|e| (&e.path, e.size, e.mtime_s))
            .collect();
        let mut then: Vec<_> =
            lines.iter().filter(|line| line.kind == 'f').map(|l| (&l.path, l.size, l.mtime_s)).collect();
        there.sort_unstable();
        then.sort_unstable();
        Ok(there == then)
    }

    /// Empty staging folders go away; should that fail, they go with the next copy.
    pub(super) fn tidy(&mut self, connection: &mut Connection, view: &View) {
        match destination::tidy(connection, view, self.place(), self.setting(), &self.watch) {
            Ok(Some((room, file_system))) => self.pass.see_room(&self.copy.host, room, &file_system),
            Ok(None) => {}
            Err(halt) => {
                self.context().ui.tell(&format!("the empty staging folder stays for now: {halt:?}"));
            }
        }
    }

    /// Writes the copy and the open attempt as they are now.
    ///
    /// # Errors
    /// 203 where the copy was told meanwhile to go by another name, or elsewhere.
    pub(super) fn write_attempt(&self) -> Result<(), Halt> {
        let is_the_same = self.context().ledger.write(|change| {
            let is_the_same = change.copy(self.copy.id)?.is_some_and(|known| goes_alike(&known, &self.copy));
            if is_the_same {
                change.put_known_copy(&self.copy)?;
                change.put_attempt(&self.copy, &self.attempt)?;
                self.pass.note_room(change)?;
            }
            Ok(is_the_same)
        })?;
        if is_the_same {
            Ok(())
        } else {
            let message = "the minidvodb's entry in the list changed while it was copied";
            Err(Halt::fault(Fault::SourceChanged, message))
        }
    }

    /// Writes how the attempt ended. Where the copy goes to is the ledger's word, not the attempt's.
    fn write_end(&mut self) -> Result<()> {
        self.write_end_with(|_, _| Ok(()))
    }

    /// As [`Self::write_end`], with what else belongs into the same transaction.
    fn write_end_with(
        &mut self,
        also: impl FnOnce(&mut Change<'_>, &Copy) -> Result<(), Failure>,
    ) -> Result<()> {
        let Run { pass, copy, attempt, .. } = self;
        pass.context.ledger.write(|change| {
            let before = change.copy(copy.id)?;
            change.put_attempt(copy, attempt)?;
            if let Some(known) = before {
                copy.group = known.group;
                copy.host = known.host;
                copy.machine = known.machine;
                copy.path = known.path;
                copy.name = known.name;
                // An import may have moved it to another group, with its open attempt.
                change.close_attempt(copy)?;
            }
            change.put_known_copy(copy)?;
            pass.note_room(change)?;
            also(change, copy)
        })
    }

    pub(super) fn set_publishing(&mut self, publishing: Option<Publishing>) -> Result<(), Halt> {
        self.copy.set_publishing(publishing);
        self.write_attempt()
    }

    /// Writes down how the attempt ended; says what a fault belongs to.
    fn record(mut self, result: Result<Finished, Halt>) -> Result<Scope> {
        self.attempt.ended = Some(self.context().now());
        self.attempt.seconds = self.began.elapsed().as_secs_f64();
        let scope = match result {
            Ok(finished) => self.record_full(finished).map(|()| Scope::Copy),
            Err(Halt::Fault(met)) => self.record_fault(&met),
            Err(Halt::Cut(why)) => self.record_interruption(&why).map(|()| Scope::Copy),
            Err(Halt::Signal(exit)) => {
                self.record_interruption("the pass was ended by a signal")?;
                self.show_end();
                return Err(stopped(exit));
            }
            Err(Halt::Error(error)) => {
                // The reason for the end may be the ledger itself; the first error is the one to show.
                let _ = self.record_abandoned(&error.to_string());
                return Err(error);
            }
        };
        self.show_end();
        scope
    }

    fn show_end(&mut self) {
        let Pass { show, lock, .. } = &mut *self.pass;
        show.end(lock, self.attempt.sent_bytes);
    }

    fn record_full(&mut self, finished: Finished) -> Result<()> {
        let (context, now) = (self.context(), self.context().now());
        let before = self.copy.fault().map(|state| state.fault);
        let dtime_s = finished.earlier_dtime_s.unwrap_or(self.began.elapsed().as_secs_f32());
        self.attempt.phase = Phase::Recording;
        self.attempt.outcome = Outcome::Full;
        let verified = finished.verified;
        let published = finished.published.map(|Identity { device, inode }| Publishing {
            device,
            inode,
            verified,
            dtime_s,
        });
        self.copy.state = CopyState::full(verified, published);
        self.copy.dtime_s = Some(dtime_s);
        self.copy.tries = 0;
        self.copy.same_fault = 0;
        self.copy.interruptions = 0;
        self.copy.is_suspicious = false;
        self.copy.to_send_bytes = Some(0);
        self.copy.touch(now);
        let recovered_from = before.filter(|fault| fault.scope() == Scope::Copy);
        self.write_end_with(|change, copy| {
            if finished.replaced.is_some() {
                change.leave_old(copy)?;
                diary::replaced(change, copy, now)?;
            }
            if finished.published.is_none() {
                diary::adopted(change, copy, now)?;
            }
            recovered_from.map_or(Ok(()), |fault| diary::recovered(change, copy, fault, now))
        })?;
        if let Some(mut connection) = finished.replaced {
            self.remove_old(&mut connection)?;
        }
        self.pass.heal_host(&self.served.target, Proof::FullCopy)?;
        self.pass.heal_target(&self.served.target, Proof::FullCopy)?;
        let what = format!(
            "{}: full, {}, {} in {:.1} s, verified by {}",
            title(&self.copy),
            ui::count(self.attempt.files, "file", "files"),
            ui::size(self.copy.bytes.unwrap_or_default()),
            dtime_s,
            verified.as_str()
        );
        match recovered_from {
            Some(fault) => context.ui.notice(&format!("{what}; recovered from {fault}")),
            None => context.ui.tell(&what),
        }
        self.pass.summary.copied += 1;
        self.pass.summary.done.push(deed(&self.copy, "full", None, self.attempt.seconds, None));
        Ok(())
    }

    fn record_fault(&mut self, met: &Met) -> Result<Scope> {
        let now = self.context().now();
        let said = clip(&met.message);
        let before = self.copy.fault().map(|state| (state.fault, state.class));
        self.attempt.outcome = Outcome::Faulted(met.fault);
        self.attempt.said = said;
        self.copy.dtime_s = Some(self.began.elapsed().as_secs_f32());
        self.copy.is_suspicious |= matches!(met.fault, Fault::VerifyMismatch | Fault::SourceChanged);
        let scope = self.scope_of(met.fault);
        match scope {
            Scope::Copy => retry::after_fault(&mut self.copy, met, now),
            Scope::Host | Scope::Target => retry::after_standing_fault(&mut self.copy, met.fault, now),
        }
        self.write_end_with(|change, copy| match scope {
            Scope::Copy => diary::met_fault(change, copy, met, now),
            Scope::Host | Scope::Target => Ok(()),
        })?;
        self.pass.summary.faulted += 1;
        let deed =
            deed(&self.copy, "faulted", Some(met.fault), self.attempt.seconds, Some(met.message.clone()));
        self.pass.summary.done.push(deed);
        if scope == Scope::Copy {
            say_fault(self.context(), &self.copy, met, before);
        } else {
            let shows_in_sending =
                self.attempt.phase != Phase::Connecting && self.attempt.phase != Phase::Space;
            self.pass.set_standing(&self.served.target, met, shows_in_sending)?;
        }
        Ok(scope)
    }

    /// Nothing is wrong with the copy: the whole pass cannot go on, and the attempt does not count.
    fn record_abandoned(&mut self, why: &str) -> Result<()> {
        self.attempt.said = clip(why);
        self.attempt.outcome = Outcome::Interrupted;
        self.copy.attempts = self.copy.attempts.saturating_sub(1);
        self.write_end()
    }

    fn record_interruption(&mut self, why: &str) -> Result<()> {
        let now = self.context().now();
        let before = self.copy.fault().map(|state| (state.fault, state.class));
        self.attempt.said = clip(why);
        self.attempt.outcome = if retry::after_interruption(&mut self.copy, now) {
            Outcome::Faulted(Fault::Deadline)
        } else {
            Outcome::Interrupted
        };
        self.copy.dtime_s = Some(self.began.elapsed().as_secs_f32());
        let attempt = self.attempt.clone();
        self.write_end_with(|change, copy| diary::interrupted(change, copy, &attempt, now))?;
        if self.attempt.outcome == Outcome::Interrupted {
            self.context().ui.tell(&format!("{}: interrupted: {why}", title(&self.copy)));
            self.pass.summary.done.push(deed(
                &self.copy,
                "interrupted",
                None,
                self.attempt.seconds,
                Some(why.into()),
            ));
        } else {
            let met = Met::new(Fault::Deadline, why);
            self.pass.summary.faulted += 1;
            let deed = deed(&self.copy, "faulted", Some(met.fault), self.attempt.seconds, Some(why.into()));
            self.pass.summary.done.push(deed);
            say_fault(self.context(), &self.copy, &met, before);
        }
        Ok(())
    }
}

/// The time that a disk is given to write so many bytes.
pub(super) fn flush_patience(bytes: u64) -> Duration {
    FLUSH_AT_LEAST + Duration::from_secs(bytes / SLOWEST_FLUSH_BYTES_PER_S)
}

/// Whether two states of a copy go to the same place under the same name.
fn goes_alike(a: &Copy, b: &Copy) -> bool {
    (&a.group, &a.host, &a.machine, &a.path, &a.name) == (&b.group, &b.host, &b.machine, &b.path, &b.name)
}

/// How to verify: sizes and times are only trusted of what was sent in one go, since a file that an earlier
/// attempt left may have the right size and time and not the right content, after a power cut for one.
fn verification(asked: Verify, was_sent_at_once: bool) -> Verify {
    if was_sent_at_once { asked } else { Verify::Checksum }
}

/// The error of a pass that a signal ends.
pub(super) fn stopped(exit: Exit) -> Error {
    Error::new(exit, "stopped by a signal; the next pass goes on from here")
}

/// A copy in messages: "ThreePi.1 to ipp0222 (copy 1)".
pub fn title(copy: &Copy) -> String {
    format!("{} to {} (copy {})", copy.name, copy.host, copy.id)
}

/// What was said, in as much as is kept: its end, where rsync sums up.
fn clip(message: &str) -> String {
    let surplus = message.chars().count().saturating_sub(SAID_MAX);
    message.chars().skip(surplus).collect()
}

fn deed(
    copy: &Copy,
    outcome: &'static str,
    fault: Option<Fault>,
    seconds: f64,
    message: Option<String>,
) -> Deed {
    Deed {
        minidvodbcopy_id: Some(copy.id.0),
        minidvodb_id: Some(copy.minidvodb_id.0),
        name: Some(copy.name.to_string()),
        minidvodb_group: copy.group.to_string(),
        destination_host: copy.host.to_string(),
        outcome,
        fault: fault.map_or(0, Fault::code),
        fault_name: fault.map(Fault::name),
        bytes: copy.bytes,
        seconds,
        message,
    }
}

/// Says a fault of a copy, if it is news.
fn say_fault(context: &Context, copy: &Copy, met: &Met, before: Option<(Fault, Class)>) {
    let class = copy.fault().map_or(met.fault.class(), |state| state.class);
    let what = match (class, copy.fault().and_then(|state| state.next_try)) {
        (Class::Retry, Some(at)) => format!("tried again after {} UTC", ui::time(at)),
        _ => format!("waits for a person: {}", copy.advice().unwrap_or_default()),
    };
    let text = format!("{}: fault {}: {}\n  {what}", title(copy), met.fault, met.message);
    if notice::is_news(before, (met.fault, class)) {
        context.ui.notice(&text);
    } else {
        context.ui.tell(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_verification_is_only_for_what_was_sent_in_one_go() {
        assert_eq!(verification(Verify::Quick, true), Verify::Quick);
        assert_eq!(verification(Verify::Quick, false), Verify::Checksum);
        assert_eq!(verification(Verify::Checksum, true), Verify::Checksum);
    }

    #[test]
    fn of_a_long_message_the_end_is_kept() {
        let clipped = clip(&format!("{}the end", "x".repeat(10_000)));
        assert_eq!(clipped.len(), SAID_MAX);
        assert!(clipped.ends_with("the end"));
    }
}
