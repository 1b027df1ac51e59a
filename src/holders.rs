//! Who holds a file lock, as the kernel knows it.
//!
//! Invariant: never a guess from a file's content, which may be stale; where the kernel does not tell (another
//! pid namespace), "another process". Knows nothing of what the file is.

use camino::Utf8Path;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// The kernel lists its locks a page at a time, by position: where others come and go between two pages, one can
/// be passed over. So what is not found is looked for again.
const LOOKS: usize = 20;

/// The process that holds a lock on `file`, with its command: "process 123 (minidvodbcopy run)".
pub fn holder_of(file: &Utf8Path) -> String {
    let pid = fs::metadata(file).ok().and_then(|meta| {
        (0..LOOKS).find_map(|_| {
            let locks = fs::read_to_string("/proc/locks").ok()?;
            pid_of_lock(&locks, meta.dev(), meta.ino())
        })
    });
    match pid {
        Some(pid) => match command_of(pid) {
            Some(command) => format!("process {pid} ({command})"),
            None => format!("process {pid}"),
        },
        None => "another process".to_owned(),
    }
}

/// The command line of a process, control characters escaped.
fn command_of(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> = bytes
        .split(|&b| b == 0)
        .filter(|word| !word.is_empty())
        .take(12)
        .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Reads a line such as `3: FLOCK  ADVISORY  WRITE 4711 fe:01:131 0 EOF` of proc_locks(5).
fn pid_of_lock(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let place = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().filter(|&word| word != "->").collect();
        let is_here = words.get(5) == Some(&place.as_str());
        words.get(4).filter(|_| is_here)?.parse::<u32>().ok().filter(|&pid| pid > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  READ 11 fe:01:99 0 EOF\n\
                     2: OFDLCK ADVISORY  WRITE -1 fe:00:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 4712 fe:00:131 0 EOF\n";
        let device = rustix::fs::makedev(0xfe, 0);
        assert_eq!(pid_of_lock(locks, device, 131), Some(4711));
        assert_eq!(pid_of_lock(locks, device, 132), None);
    }
}
