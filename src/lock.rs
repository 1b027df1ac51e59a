//! The lock of a host and group, and what its holder says of itself.
//!
//! Invariant: the kernel's lock is what counts; it goes with the process, however that ends. The file stays.
//! Its content, the holder's progress, is only believed while the lock is held, or by the next holder.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::error::{IoContext, Result};
use crate::holders;
use crate::model::{Copy, Group, Host, Machine, Need, Phase};
use crate::state;

/// The content of a lock file is always so long, so that a shorter one leaves nothing of a longer one.
const CONTENT_BYTES: usize = 1024;
/// Progress in numbers is written at most so often.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Whoever looks at a lock has it for a moment, and a check for some: a pass does not give way to them.
const WAIT_FOR_LOOKS: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2);

/// What a pass says of itself while it copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Its process.
    pub pid: u32,
    /// The machine that it copies to.
    pub machine: String,
    /// minidvodbcopy_id of the copy under way; 0: none.
    pub copy: u64,
    /// The attempt's number.
    pub attempt: u32,
    /// What it is doing.
    pub phase: String,
    /// What was still to be sent when it began to send, in allocated bytes.
    pub need_bytes: u64,
    /// The same in inodes.
    pub need_inodes: u64,
    /// Bytes of files sent since.
    pub sent_bytes: u64,
    /// Bytes that the phase has dealt with, of those that it has to; 0 of 0 where it has nothing to do with bytes.
    pub done_bytes: u64,
    /// The bytes that the phase has to deal with.
    pub total_bytes: u64,
    /// For how long it has been at that phase.
    pub phase_ms: u64,
}

impl Progress {
    /// The phase, if this program knows its word.
    pub fn phase(&self) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == self.phase)
    }
}

/// The lock of a host and group, held.
#[derive(Debug)]
pub struct PassLock {
    file: File,
    path: Utf8PathBuf,
    progress: Progress,
    phase_began: Instant,
    written: Option<Instant>,
    /// What the last holder said last.
    pub before: Option<Progress>,
}

/// The lock's file.
pub fn file_of(state_dir: &Utf8Path, host: &Host, group: &Group) -> Utf8PathBuf {
    state_dir.join("locks").join(host.as_str()).join(format!("{group}.lock"))
}

impl PassLock {
    /// Takes the lock, or says who holds it.
    ///
    /// # Errors
    /// 78 where the file can't be made or locked at all.
    pub fn try_take(
        state_dir: &Utf8Path,
        host: &Host,
        group: &Group,
        machine: &Machine,
    ) -> Result<Result<Self, String>> {
        let (file, path) = open_to_lock(state_dir, host, group)?;
        if !lock_for_good(&file).or_configuration(format!("cannot lock {path}"))? {
            return Ok(Err(holders::holder_of(&path)));
        }
        let before = read(&file);
        let progress =
            Progress { pid: std::process::id(), machine: machine.to_string(), ..Progress::default() };
        let mut lock = Self { file, path, progress, phase_began: Instant::now(), written: None, before };
        lock.write();
        Ok(Ok(lock))
    }

    /// Says that an attempt has begun, or has reached another phase, which has so many bytes to deal with.
    pub fn show_phase(&mut self, copy: &Copy, attempt: u32, phase: Phase, total_bytes: u64) {
        if self.progress.copy != copy.id.0 {
            let Progress { pid, machine, .. } = std::mem::take(&mut self.progress);
            self.progress = Progress { pid, machine, copy: copy.id.0, ..Progress::default() };
        }
        self.progress.attempt = attempt;
        phase.as_str().clone_into(&mut self.progress.phase);
        self.progress.done_bytes = 0;
        self.progress.total_bytes = total_bytes;
        self.phase_began = Instant::now();
        self.write();
    }

    /// Says what is still to be sent.
    pub fn show_need(&mut self, need: Need) {
        self.progress.need_bytes = need.bytes;
        self.progress.need_inodes = need.inodes;
        self.write();
    }

    /// Says how much has been sent, once a second.
    pub fn show_sent(&mut self, bytes: u64) {
        self.progress.sent_bytes = bytes;
        self.show_done(bytes);
    }

    /// Says how many bytes the phase has dealt with, once a second.
    pub fn show_done(&mut self, bytes: u64) {
        self.progress.done_bytes = bytes;
        if self.written.is_none_or(|written| written.elapsed() >= WRITE_EVERY) {
            self.write();
        }
    }

    /// Says that no copy is under way.
    pub fn show_idle(&mut self) {
        let Progress { pid, machine, .. } = std::mem::take(&mut self.progress);
        self.progress = Progress { pid, machine, ..Progress::default() };
        self.write();
    }

    /// Progress is a courtesy: a full disk under it must not end a copy.
    fn write(&mut self) {
        self.written = Some(Instant::now());
        self.progress.phase_ms = u64::try_from(self.phase_began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Ok(mut content) = serde_json::to_vec(&self.progress)
            && content.len() < CONTENT_BYTES
        {
            content.resize(CONTENT_BYTES - 1, b' ');
            content.push(b'\n');
            let _ = self.file.write_all_at(&content, 0);
        }
    }
}

/// Takes the lock for good, or says that another pass has it. One who only looks, or checks, has a shared lock and
/// is waited for, within bounds; whoever has an exclusive one keeps it: that is how both are told apart.
fn lock_for_good(file: &File) -> std::io::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < WAIT_FOR_LOOKS {
        match fs2::FileExt::try_lock_exclusive(file) {
            Err(error) if is_busy(&error) => {}
            other => return other.map(|()| true),
        }
        match fs2::FileExt::try_lock_shared(file) {
            Err(error) if is_busy(&error) => return Ok(false),
            other => other.and_then(|()| fs2::FileExt::unlock(file))?,
        }
        std::thread::sleep(LOOK);
    }
    Ok(false)
}

/// Whether somebody else has a lock that was tried.
fn is_busy(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// The lock's file, made where there is none.
fn open_to_lock(state_dir: &Utf8Path, host: &Host, group: &Group) -> Result<(File, Utf8PathBuf)> {
    let path = file_of(state_dir, host, group);
    let folder = path.parent().unwrap_or(state_dir);
    fs::create_dir_all(folder).or_configuration(format!("cannot make the folder {folder}"))?;
    // What is written of our progress must not end up in a file that somebody linked to.
    state::expect_trusted(folder)?;
    state::expect_trusted(&path)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(not_followed())
        .open(&path)
        .or_configuration(format!("cannot open the lock {path}"))?;
    Ok((file, path))
}

/// Neither through a symlink, nor waiting for the other end of a pipe that stands there.
fn not_followed() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed()
}

/// Opens a lock to look at it.
fn open(path: &Utf8Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(not_followed()).open(path)
}

fn read(file: &File) -> Option<Progress> {
    let mut content = vec![0u8; CONTENT_BYTES];
    let count = file.read_at(&mut content, 0).ok()?;
    serde_json::from_slice(content[..count].trim_ascii_end()).ok()
}

/// Whether a file is locked by somebody at this moment.
fn is_held(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = fs2::FileExt::unlock(file);
            false
        }
        Err(_) => true,
    }
}

/// Shows every lock that is held at this moment, with what its holder says of itself.
fn each_held(state_dir: &Utf8Path, mut see: impl FnMut(Utf8PathBuf, Option<Progress>)) {
    let Ok(hosts) = state_dir.join("locks").read_dir_utf8() else { return };
    for host in hosts.flatten() {
        let Ok(locks) = host.path().read_dir_utf8() else { continue };
        for lock in locks.flatten() {
            if let Ok(file) = open(lock.path())
                && is_held(&file)
            {
                see(lock.path().to_owned(), read(&file));
            }
        }
    }
}

/// A pass under way, by what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The host that it serves.
    pub host: Host,
    /// The group that it serves.
    pub group: Group,
    /// How far it is; none where that could not be read.
    pub progress: Option<Progress>,
}

/// The passes that are under way at this moment, by host and group. None of them is disturbed.
pub fn running(state_dir: &Utf8Path) -> Vec<Running> {
    let mut running = Vec::new();
    each_held(state_dir, |path, progress| {
        let host = path.parent().and_then(Utf8Path::file_name).map(Host::parse);
        let group = path.file_name().and_then(|name| name.strip_suffix(".lock")).map(Group::parse);
        if let (Some(Ok(host)), Some(Ok(group))) = (host, group) {
            running.push(Running { host, group, progress });
        }
    });
    running.sort_by(|a, b| (&a.host, &a.group).cmp(&(&b.host, &b.group)));
    running
}

/// What whoever else copies to a machine still has to send: the other passes, and the other jobs of this one.
pub fn reserved_by_others(state_dir: &Utf8Path, machine: &Machine, own: Option<&PassLock>) -> Need {
    let mut reserved = Need::default();
    each_held(state_dir, |path, progress| {
        let is_own = own.is_some_and(|own| own.path == path);
        if let Some(progress) = progress.filter(|progress| progress.machine == machine.as_str() && !is_own) {
            reserved += Need {
                bytes: progress.need_bytes.saturating_sub(progress.sent_bytes),
                inodes: progress.need_inodes,
            };
        }
    });
    reserved
}

/// Who holds the lock of a host and group at this moment, if anybody does.
pub fn holder_now(state_dir: &Utf8Path, host: &Host, group: &Group) -> Option<String> {
    let path = file_of(state_dir, host, group);
    let file = open(&path).ok()?;
    is_held(&file).then(|| holders::holder_of(&path))
}

/// Keeps passes of a host and group out for as long as the file is kept, to look at what one might be changing; or
/// says who holds the lock. It is shared, so that what the last holder said of itself, which stays for the next
/// pass, is not taken for that of a pass under way.
///
/// # Errors
/// 78 where the file can't be made or locked at all.
pub fn keep_out(state_dir: &Utf8Path, host: &Host, group: &Group) -> Result<Result<File, String>> {
    let (file, path) = open_to_lock(state_dir, host, group)?;
    match fs2::FileExt::try_lock_shared(&file) {
        Ok(()) => Ok(Ok(file)),
        Err(error) if is_busy(&error) => Ok(Err(holders::holder_of(&path))),
        Err(error) => Err(error).or_configuration(format!("cannot lock {path}")),
    }
}

/// The locks that are held, with their holders.
pub fn held(state_dir: &Utf8Path) -> Vec<(Utf8PathBuf, String)> {
    let mut held = Vec::new();
    each_held(state_dir, |path, _| {
        let holder = holders::holder_of(&path);
        held.push((path, holder));
    });
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_keeps_no_pass_from_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(dir.path()).unwrap();
        let (host, group) = (Host::parse("ipp0222").unwrap(), Group::parse("ThreePi").unwrap());
        let machine = host.default_machine();
        drop(PassLock::try_take(state, &host, &group, &machine).unwrap().unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        running(state);
                    }
                });
            }
            for round in 0..200 {
                let taken = PassLock::try_take(state, &host, &group, &machine).unwrap();
                assert!(taken.is_ok(), "round {round}: {taken:?}");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn a_check_keeps_a_pass_waiting_and_not_away() {
        let dir = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(dir.path()).unwrap();
        let (host, group) = (Host::parse("ipp0222").unwrap(), Group::parse("ThreePi").unwrap());
        let kept = keep_out(state, &host, &group).unwrap().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                drop(kept);
            });
            let taken = PassLock::try_take(state, &host, &group, &host.default_machine()).unwrap();
            assert!(taken.is_ok(), "{taken:?}");
        });
    }

    #[test]
    fn a_pass_under_way_is_seen_with_its_progress() {
        let dir = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(dir.path()).unwrap();
        let (host, group) = (Host::parse("ipp@ipp0222").unwrap(), Group::parse("a b.lock").unwrap());
        assert!(running(state).is_empty());
        let mut lock = PassLock::try_take(state, &host, &group, &host.default_machine()).unwrap().unwrap();
        lock.show_done(7);
        lock.write();
        let seen = running(state);
        assert_eq!((&seen[0].host, &seen[0].group), (&host, &group));
        assert_eq!(seen[0].progress.as_ref().unwrap().done_bytes, 7);
        drop(lock);
        assert!(running(state).is_empty());
    }

    #[test]
    fn what_an_older_program_said_of_itself_is_understood() {
        let text = br#"{"pid":1,"machine":"m","copy":2,"attempt":3,"phase":"sending","need_bytes":4,"need_inodes":5,"sent_bytes":6}"#;
        let progress: Progress = serde_json::from_slice(text).unwrap();
        assert_eq!((progress.copy, progress.sent_bytes, progress.total_bytes), (2, 6, 0));
    }

    #[test]
    fn a_lock_is_held_once_and_its_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(dir.path()).unwrap();
        let host = Host::parse("ipp0222").unwrap();
        let group = Group::parse("ThreePi").unwrap();
        let machine = host.default_machine();
        let mut lock = PassLock::try_take(state, &host, &group, &machine).unwrap().unwrap();
        lock.show_need(Need { bytes: 100, inodes: 3 });
        lock.show_sent(40);
        lock.write();
        let holder = PassLock::try_take(state, &host, &group, &machine).unwrap().unwrap_err();
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        assert_eq!(reserved_by_others(state, &machine, None), Need { bytes: 60, inodes: 3 });
        assert_eq!(reserved_by_others(state, &machine, Some(&lock)), Need::default());
        drop(lock);
        assert!(held(state).is_empty());
        let next = PassLock::try_take(state, &host, &group, &machine).unwrap().unwrap();
        assert_eq!(next.before.unwrap().sent_bytes, 40);
    }
}
