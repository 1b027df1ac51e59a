//! The descendants of a process, found through /proc, and signals to them.
//!
//! Invariant: only the process ids that the caller names, or that descend from them at this moment, are ever
//! signalled.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Seconds of processor time that the process and all of its children that it has waited for have used.
///
/// # Errors
/// When there is no such process.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_err(|error| io::Error::new(error.kind(), format!("process {pid}: {error}")))?;
    // utime, stime, cutime and cstime are the fields 14 to 17 of the line, 11 to 14 after the name's bracket.
    let ticks: u64 =
        after_name(&stat).split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Seconds of all processors together since the machine came up.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// In which they worked for somebody.
    pub busy_s: f64,
    /// In which they had nothing to do, or waited for a disk.
    pub idle_s: f64,
}

/// What the processors have done so far.
///
/// # Errors
/// When /proc/stat cannot be read, or has no line for all of them.
pub fn cores() -> io::Result<Cores> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let all = all.ok_or_else(|| io::Error::other("/proc/stat has no line for all processors"))?;
    // user, nice, system, idle, iowait, irq, softirq (proc(5)).
    let ticks: Vec<u64> = all.split_whitespace().take(7).filter_map(|field| field.parse().ok()).collect();
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Ok(Cores { busy_s: seconds(ticks.iter().sum::<u64>() - idle), idle_s: seconds(idle) })
}

/// Children, grandchildren and so on of the process, parents before their children.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.remove(0);
    found
}

/// Processes whose command line, or whose working folder, mentions a text, with their command lines.
#[must_use]
pub fn mentioning(text: &str) -> std::collections::BTreeMap<u32, String> {
    let Ok(entries) = fs::read_dir("/proc") else { return std::collections::BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let is_meant = pid != std::process::id() && is_running(pid);
            (is_meant && (line.contains(text) || folder.to_string_lossy().contains(text)))
                .then_some((pid, line))
        })
        .collect()
}

/// Signals a process; one that is gone already is no error.
///
/// # Errors
/// When the process may not be signalled.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{pid} is not a process id")));
    };
    match kill_process(id, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => {
            let error = io::Error::from(error);
            Err(io::Error::new(error.kind(), format!("process {pid} cannot be signalled: {error}")))
        }
    }
}

/// A process for people: its id, its line in `stat`, its group among it, and its command line.
#[must_use]
pub fn describe(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let fields: Vec<&str> = after_name(&stat).split(' ').take(4).collect();
    format!("{pid} (state, parent, group, session: {}) {line}", fields.join(" "))
}

/// Is a process with this id there, and not merely waiting to be collected by its parent?
#[must_use]
pub fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !after_name(&stat).starts_with(['Z', 'X']))
}

/// Does a process wait in the kernel for a disk, where no signal reaches it?
#[must_use]
pub fn is_in_the_kernel(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| after_name(&stat).starts_with('D'))
}

/// Asks every 5 ms until `condition` holds; false when it still does not after `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if began.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Process and parent, for every process; those that end while this reads are left out.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            let stat = String::from_utf8_lossy(&stat);
            let parent = after_name(&stat).split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

/// The fields of a stat line after the name, which is in brackets and may hold anything.
fn after_name(stat: &str) -> &str {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_processors_are_seen_at_work() {
        let before = cores().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {}
        let after = cores().unwrap();
        assert!(after.busy_s - before.busy_s > 0.05, "{before:?}, {after:?}");
        assert!(after.idle_s >= before.idle_s && after.idle_s > 0.0, "{before:?}, {after:?}");
    }

    #[test]
    fn descendants_are_found_signalled_and_gone() {
        let mut shell = Command::new("/bin/sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        let mut found = Vec::new();
        assert!(wait_until(Duration::from_secs(5), || {
            found = descendants(shell.id());
            !found.is_empty()
        }));
        assert_eq!(found.len(), 1);
        assert!(is_running(found[0]));
        assert!(descendants(std::process::id()).contains(&found[0]));
        signal(found[0], Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(!is_running(found[0]));
        assert!(descendants(shell.id()).is_empty());
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }
}
