//! Many large changes, one behind the other: what each writes is flushed while the next one is made.
//!
//! Invariant: what is in the file lasts when it is let go, as a whole; where the process or the machine dies before
//! that, the file is as it was when it was taken. A reader sees only what lasts.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, Durability};

use super::change::Change;
use super::{Failure, Ledger, open};
use crate::error::Error;

/// The file is held for about so long at most, and one change: others want to read.
const HELD_MAX: Duration = Duration::from_secs(2);

/// A series of changes; see [`Ledger::series`].
pub struct Series<'l> {
    ledger: &'l Ledger,
    held: Option<Held>,
    /// No change has failed, which may be because the file is damaged.
    are_sound: bool,
}

/// The file, held over several changes.
struct Held {
    db: Database,
    since: Instant,
    flushing: Flushing,
}

impl<'l> Series<'l> {
    pub(super) fn of(ledger: &'l Ledger) -> Self {
        Self { ledger, held: None, are_sound: true }
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
        if result.is_err() {
            self.are_sound = false;
        }
        if result.is_err() || self.patience() == Some(Duration::ZERO) {
            let finished = self.finish();
            return result.and_then(|result| finished.map(|()| result));
        }
        result
    }

    /// How long the next change may be waited for before [`Self::finish`] is due; none where the file is not held.
    pub fn patience(&self) -> Option<Duration> {
        self.held.as_ref().map(|held| HELD_MAX.saturating_sub(held.since.elapsed()))
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
        let flushed = flushing.finish();
        let closed = open::guarded(|| Ok(db.close()?)).and(flushed);
        self.ledger.explain(closed)?;
        if self.are_sound {
            self.ledger.note_sound();
        }
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

/// Flushing in a thread of its own.
struct Flushing {
    sender: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flushing {
    fn begin(ledger: &Ledger) -> Self {
        let (sender, receiver) = sync_channel(1);
        let file = File::open(&ledger.file);
        let thread = std::thread::spawn(move || {
            let file = file?;
            receiver.iter().try_for_each(|()| file.sync_data())
        });
        Self { sender, thread }
    }

    fn go_on(&self) {
        // Where it is busy, or has failed, that shows later.
        let _ = self.sender.try_send(());
    }

    /// An error may have been told to this thread alone.
    fn finish(self) -> Result<(), Failure> {
        drop(self.sender);
        let flushed = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        flushed.map_err(|error| Failure::Unusable(format!("it cannot be flushed: {error}")))
    }
}
