//! The guard: a process that ends all children of an attempt when the pass is gone, however it went.
//!
//! It leads the attempt's process group and waits on a pipe whose other end only the pass holds. When that
//! end is closed, by the pass (which says so first) or by the kernel because the pass was killed, it removes
//! the socket folder and kills the group, itself included. Invariant: while an attempt's children may live, their guard does.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::account::Account;
use crate::error::{Error, IoContext};

/// The hidden command of the guard.
pub const COMMAND: &str = "guard-process-group";

/// A process group whose members do not outlive this value, or this process.
#[derive(Debug)]
pub struct ProcessGroup {
    guard: Mutex<Child>,
    /// The guard's process, which is the group.
    id: u32,
    socket_dir: Option<PathBuf>,
    account: Account,
}

/// After a kill of the pass, a local rsync is given so long to end by itself; it sleeps 400 ms of them.
const MANNERS: Duration = Duration::from_millis(600);
/// The guard is given so long to end the group before it is ended from here.
const PATIENCE: Duration = Duration::from_secs(2);

impl ProcessGroup {
    /// Starts the guard; `socket_dir`, if any, is removed at the end.
    ///
    /// # Errors
    /// 78 where no process can be started.
    pub fn start(socket_dir: Option<&std::path::Path>) -> Result<Self, Error> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND).args(socket_dir).env_clear().process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = command.spawn().or_configuration("cannot start the guard of the child processes")?;
        let account = Account::open(&command, guard.id());
        let id = guard.id();
        Ok(Self { guard: Mutex::new(guard), id, socket_dir: socket_dir.map(Into::into), account })
    }

    /// Lets `command` start as a member of the group.
    pub fn adopt(&self, command: &mut Command) {
        command.process_group(self.id.cast_signed());
    }

    /// Whether the guard is still there; it only goes before its time when somebody kills it.
    pub fn is_guarded(&self) -> bool {
        matches!(self.guard.lock().unwrap_or_else(PoisonError::into_inner).try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        let pipe = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner).stdin.take();
        if let Some(mut pipe) = pipe {
            let _ = pipe.write_all(b".");
        }
        let began = Instant::now();
        while self.is_guarded() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Should the guard have been killed, its id still names the group while a member lives.
        if let Some(group) = Pid::from_raw(self.id.cast_signed()) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        if let Ok(status) = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner).wait() {
            self.account.close_early(status, "");
        }
        if let Some(dir) = &self.socket_dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the guard does: waits until the pass is gone, then ends the group.
pub fn stand_guard(socket_dir: Option<PathBuf>) -> ! {
    // A SIGTERM to the group, its own included, must not end the guard.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::default());
    let (mut buffer, mut is_orderly) = ([0u8; 64], false);
    loop {
        match std::io::stdin().read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => is_orderly = true,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let own_group = rustix::process::getpgrp();
    let leads = own_group == rustix::process::getpid();
    if leads && !is_orderly && socket_dir.is_none() {
        // The pass was killed, and both ends of rsync are here: asked, it keeps what has arrived of a file. Over
        // ssh the far end does so by itself.
        let _ = rustix::process::kill_process_group(own_group, Signal::TERM);
        std::thread::sleep(MANNERS);
    }
    if let Some(dir) = socket_dir {
        let _ = std::fs::remove_dir_all(dir);
    }
    if leads {
        let _ = rustix::process::kill_process_group(own_group, Signal::KILL);
    }
    std::process::exit(0);
}
