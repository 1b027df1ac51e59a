//! Many large changes, one behind the other: what each writes is flushed while the next one is made.
//!
//! Invariant: a series ends in the state behind its last change, or, where the process or the machine dies, behind
//! one of them from which on the file was still held; a reader sees only what has been flushed.

use std::fs::File;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, Durability};

use super::change::Change;
use super::{Failure, Ledger, open};
use crate::error::Error;

/// The file is held for about so long at most: others want to read.
const HELD_MAX: Duration = Duration::from_secs(2);

/// A series of changes; see [`Ledger::series`].
pub struct Series<'l> {
    ledger: &'l Ledger,
    held: Option<Held>,
}

/// The file, held over several changes.
struct Held {
    db: Database,
    since: Instant,
    flushing: Flushing,
}

impl<'l> Series<'l> {
    pub(super) fn of(ledger: &'l Ledger) -> Self {
        Self { ledger, held: None }
    }

    /// One more change, which lasts at the latest when the series is finished; where it fails, those before it last.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub fn write<T>(
        &mut self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let result = self.ledger.explain(self.change(change));
        if result.is_err() || self.held.as_ref().is_some_and(|held| held.since.elapsed() >= HELD_MAX) {
            let finished = self.finish();
            return result.and_then(|result| finished.map(|()| result));
        }
        result
    }

    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let ledger = self.ledger;
        let held = match &mut self.held {
            Some(held) => held,
            none => none.insert(Held::begin(ledger)?),
        };
        let result = open::guarded(|| open::transaction(&held.db, Durability::None, change))?;
        held.flushing.go_on();
        Ok(result)
    }

    /// Makes all changes last, and lets others have the file: before it is used in any other way.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub fn finish(&mut self) -> Result<(), Error> {
        let Some(Held { db, flushing, .. }) = self.held.take() else { return Ok(()) };
        flushing.finish();
        let closed = open::guarded(|| Ok(db.close()?));
        self.ledger.note_sound();
        self.ledger.explain(closed)?;
        // Whoever waits looks again after a nap.
        std::thread::sleep(2 * open::NAP);
        Ok(())
    }
}

impl Drop for Series<'_> {
    fn drop(&mut self) {
        // Who ends it early has another error to tell of.
        let _ = self.finish();
    }
}

impl Held {
    fn begin(ledger: &Ledger) -> Result<Self, Failure> {
        let db = open::guarded(|| open::open_to_write(ledger, open::LARGE_CACHE_BYTES))?;
        Ok(Self { db, since: Instant::now(), flushing: Flushing::begin(ledger) })
    }
}

/// Flushing in a thread of its own. Whether it comes to an end is of no matter: the last change flushes, too.
struct Flushing {
    sender: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Flushing {
    fn begin(ledger: &Ledger) -> Self {
        let (sender, receiver) = sync_channel(1);
        let file = File::open(&ledger.file);
        let thread = std::thread::spawn(move || {
            if let Ok(file) = file {
                receiver.iter().take_while(|()| file.sync_data().is_ok()).for_each(drop);
            }
        });
        Self { sender, thread }
    }

    fn go_on(&self) {
        // Where it is busy, it comes to that later.
        let _ = self.sender.try_send(());
    }

    fn finish(self) {
        drop(self.sender);
        // It has nothing to say.
        let _ = self.thread.join();
    }
}
