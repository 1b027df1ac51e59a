//! Somebody at the destination who looks at the final names all the time.
//!
//! Invariant: at the first sight of a folder under a final name, it is compared with what it may be, byte for
//! byte: half a minidvodb is never seen there.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::tree;

/// The witness takes a look this often.
const PACE: Duration = Duration::from_micros(200);

/// A final name, with the folders that it may be a copy of.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) name: Utf8PathBuf,
    pub(super) may_be: Vec<Utf8PathBuf>,
}

/// A witness at work.
#[derive(Debug)]
pub(super) struct Witness {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Begins to look.
    pub(super) fn start(watched: Vec<Watched>) -> Self {
        let (is_over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, complaints) = (Arc::clone(&is_over), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut known = HashSet::new();
            while !over.load(Ordering::Relaxed) {
                for watched in &watched {
                    if let Some(complaint) = look(watched, &mut known)
                        && let Ok(mut complaints) = complaints.lock()
                    {
                        complaints.push(complaint);
                    }
                }
                std::thread::sleep(PACE);
            }
        });
        Self { is_over, seen, thread: Some(thread) }
    }

    /// Ends the looking; says what should not have been seen.
    pub(super) fn end(mut self) -> Vec<String> {
        self.stop();
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    fn stop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Compares what has a name with what it may be, where it is another folder than the ones seen before.
fn look(watched: &Watched, known: &mut HashSet<(Utf8PathBuf, u64)>) -> Option<String> {
    let inode = std::fs::symlink_metadata(&watched.name).ok()?.ino();
    if !known.insert((watched.name.clone(), inode)) {
        return None;
    }
    expect_one_of(&watched.name, &watched.may_be).err()
}

/// Fails unless a folder equals one of those that it may be.
pub(super) fn expect_one_of(folder: &Utf8Path, may_be: &[Utf8PathBuf]) -> Result<(), String> {
    let mut said = Vec::new();
    for source in may_be {
        match tree::differences(source, folder) {
            Ok(differences) if differences.is_empty() => return Ok(()),
            Ok(differences) => said.push(differences.into_iter().take(3).collect::<Vec<_>>().join("; ")),
            Err(error) => said.push(error.to_string()),
        }
    }
    Err(format!("{folder} is none of what it may be: {}", said.join(" / ")))
}
