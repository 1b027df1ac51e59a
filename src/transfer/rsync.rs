//! The one place that makes rsync's command lines, and reads what rsync prints.
//!
//! Invariant: `--secluded-args` and absolute paths, so that no name is read as an option, a host, a pattern or
//! shell code; the comparison lists every thing it compared, and what it did not list does not count as equal.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use xshell::{Shell, cmd};

use super::account::Account;
use super::process::{Ended, Moved, TICK};
use super::script::quote;
use super::source::{Kind, NAMED, Source, shown};
use super::{Connection, Halt, Setting, Watch, outcome, ssh};
use crate::error::{Error, IoContext as _};
use crate::faults::{Fault, Met};

/// A destination that is none: rsync lists what it would send there.
const NOWHERE: &str = "/nonexistent/minidvodbcopy";
/// What [`parse_item`] reads.
const OUT_FORMAT: &str = "--out-format=%i %C %l %n";
/// Fewer bytes than these, in the watchdog's time, is nothing: a peer's signs of life are smaller.
const MOVED_BYTES_MIN: u64 = 1024;
/// The longest line that is read; a name of 4,096 bytes, each escaped, fits.
const LINE_MAX_BYTES: usize = 32 * 1024;
/// The oldest rsync that has what this module asks of the one on this machine.
pub(super) const VERSION_MIN_HERE: (u32, u32) = (3, 2);
/// The oldest rsync that understands what is asked of it at a destination.
pub(super) const VERSION_MIN_THERE: (u32, u32) = (3, 1);

/// Checksums by path, and the algorithm that rsync negotiated.
#[derive(Debug, Default)]
pub struct Checksums {
    /// The algorithm's name, such as `xxh128`; empty where rsync did not say.
    pub algorithm: String,
    /// By path below the source.
    pub by_path: HashMap<Box<[u8]>, Checksum>,
}

/// The checksum of a file.
#[derive(Debug)]
pub struct Checksum {
    /// In hexadecimal.
    pub hex: String,
    /// Whether the file has been read at the destination, and has it: since it was sent, or just before rsync linked it
    /// or left it as it was.
    pub is_there: bool,
}

impl Checksums {
    /// Takes those of a stream in, where they were made in the same way.
    pub fn add(&mut self, of_stream: Self) {
        if self.algorithm.is_empty() && self.by_path.is_empty() {
            self.algorithm.clone_from(&of_stream.algorithm);
        }
        if self.algorithm == of_stream.algorithm {
            // rsync comes last: where it has sent a file again, its word holds.
            for (path, checksum) in of_stream.by_path {
                self.by_path.entry(path).or_insert(checksum);
            }
        }
    }
}

/// What to send, and how.
#[derive(Debug)]
pub struct Job<'a> {
    /// The source, as it was before.
    pub source: &'a Source,
    /// The folder at the destination, absolute.
    pub to: &'a str,
    /// What may be done to what is there.
    pub manner: Manner<'a>,
    /// `--bwlimit`.
    pub bwlimit: Option<&'a str>,
    /// Whether the checksums of what is sent are wanted: not where a comparison of both sides will give them.
    pub wants_checksums: bool,
}

/// What sending may do to what is there.
#[derive(Clone, Copy, Debug)]
pub enum Manner<'a> {
    /// A staging folder becomes what the source is.
    Stage {
        /// The name of the folders that parts of files are kept in.
        partial_name: &'a str,
        /// Compare what is staged by checksum, not by size and time: after a mismatch.
        is_suspicious: bool,
        /// The folder that the staged one will replace, seen from there: what it has of a file whose checksum is the
        /// source's becomes a link, and is not sent. It may be damaged: sizes and times prove nothing.
        old: Option<&'a str>,
    },
    /// A folder of somebody else's gets what it lacks; nothing in it is deleted or overwritten.
    Complete {
        /// Where files are written until they are whole, at the destination, absolute.
        temp_dir: &'a str,
    },
}

impl Manner<'_> {
    /// Whether what is there already counts by its content.
    pub fn compares_content(self) -> bool {
        matches!(self, Self::Stage { is_suspicious: true, .. } | Self::Stage { old: Some(_), .. })
    }

    fn options(self) -> Vec<String> {
        match self {
            Self::Stage { partial_name, old, .. } => {
                let checksum = self.compares_content().then(|| "--checksum".to_owned());
                // Without the window a file would pass for the same whose time differs by less than a second.
                // Listed in full, since what was not sent is to be read back, too.
                let link = old.into_iter().flat_map(|old| {
                    let words = ["--modify-window=-1", "-i", "-i"].map(str::to_owned);
                    [format!("--link-dest={old}")].into_iter().chain(words)
                });
                let partial = format!("--partial-dir={partial_name}");
                [partial, "--delete".to_owned(), "--no-whole-file".to_owned()]
                    .into_iter()
                    .chain(checksum)
                    .chain(link)
                    .collect()
            }
            Self::Complete { temp_dir } => {
                vec!["--ignore-existing".to_owned(), format!("--temp-dir={temp_dir}")]
            }
        }
    }
}

/// What became of a comparison.
#[derive(Debug)]
pub enum Compared {
    /// Everything is there, everything is equal, and nothing else is there.
    Equal(Checksums),
    /// What differs, in words.
    Different(String),
}

/// What the kernel tells of an rsync under way. rsync itself would print a line for every file, which slows
/// small ones down; nobody pays for this but who looks.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    moved: Moved,
    pid: u32,
}

impl Glance {
    /// Bytes that have gone out, of files and of what is said about them.
    pub fn written_bytes(self) -> u64 {
        self.moved.written_bytes
    }

    /// Bytes that it has read, of files and of what the other side says.
    pub fn read_bytes(self) -> u64 {
        self.moved.read_bytes
    }

    /// The file that it reads at this moment, by its path below the source's folder.
    pub fn file_below(self, folder: &Utf8Path) -> Option<Vec<u8>> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?;
        open.flatten().find_map(|entry| {
            let file = std::fs::read_link(entry.path()).ok()?;
            let below = file.as_os_str().as_bytes().strip_prefix(folder.as_str().as_bytes())?;
            below.strip_prefix(b"/").filter(|below| !below.is_empty()).map(<[u8]>::to_vec)
        })
    }
}

/// Makes sure that this machine has an rsync that is new enough.
///
/// # Errors
/// 78, with what to install.
pub fn check_here(setting: &Setting) -> Result<(), Error> {
    let mut command = version();
    command.env_clear().envs(setting.environment.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| {
        Error::configuration(format!("cannot start rsync on this machine: {error}"))
            .hint("install rsync 3.2 or later, or put its folder into PATH of the cron job")
    })?;
    let mut account = Account::open(&command, child.id());
    let output = child.wait_with_output().or_configuration("cannot wait for rsync")?;
    account.close(output.status, &String::from_utf8_lossy(&output.stderr));
    match parse_version(&String::from_utf8_lossy(&output.stdout)) {
        Some(version) if version >= VERSION_MIN_HERE => Ok(()),
        Some((major, minor)) => Err(Error::configuration(format!(
            "rsync {major}.{minor} on this machine is too old: 3.2 or later is needed here (3.1 at a destination)"
        ))),
        None => Err(Error::configuration("`rsync --version` on this machine names no version")),
    }
}

/// Asks the rsync of this machine for its version.
pub(super) fn version() -> Command {
    let mut command = Command::new("rsync");
    command.arg("--version");
    command
}

/// The version in rsync's first line: `rsync  version 3.2.7  protocol version 31`.
pub(super) fn parse_version(line: &str) -> Option<(u32, u32)> {
    let version = line.split_once("version ")?.1.trim_start().trim_start_matches('v');
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Sends the source into the staging folder; `progress` is told what has gone out so far. Returns the bytes of
/// files that were sent, with the checksums of those files.
///
/// # Errors
/// Any halt. What has arrived stays for the next attempt.
pub fn send(
    connection: &mut Connection,
    job: &Job<'_>,
    setting: &Setting,
    watch: &Watch,
    progress: impl FnMut(Glance),
) -> Result<(u64, Checksums), Halt> {
    let shell = Shell::new().or_configuration("cannot find the working folder")?;
    let (from, to) = operands(connection, &job.source.folder, job.to);
    let timeout = format!("--timeout={}", (setting.limits.stall.as_secs() / 2).max(1));
    let optional: Vec<String> = (job.bwlimit.map(|rate| format!("--bwlimit={rate}")).into_iter())
        .chain(job.manner.options())
        .chain(job.wants_checksums.then(|| OUT_FORMAT.to_owned()))
        .collect();
    let remote = remote_shell(connection);
    let command = cmd!(
        shell,
        "rsync -a -s -8 {timeout} {optional...} --info=stats2 --debug=nstr
        {remote...} -- {from} {to}"
    );
    let mut checksums = Checksums::default();
    let mut sent = 0;
    let take = |line: &[u8]| {
        if let Some(bytes) = parse_sent(line) {
            sent = bytes;
        } else if let Some(algorithm) = parse_algorithm(line) {
            checksums.algorithm = algorithm;
        } else if let Some(item) = parse_item(line) {
            let is_there = job.manner.compares_content() && item.was_there();
            if let Some(hex) = item.checksum {
                checksums.by_path.insert(item.path, Checksum { hex, is_there });
            }
        }
    };
    // rsync's own progress is a line for every file; the kernel counts what goes out without one.
    let stall = Some(setting.limits.stall);
    let ended = drive(connection, command.into(), setting, watch, stall, take, progress)?;
    succeed(connection, &ended)?;
    Ok((sent, checksums))
}

/// Compares the source with a folder at the destination, by every file's checksum; changes nothing. `progress`
/// is told what has been read here so far.
///
/// # Errors
/// Any halt; that they differ is none.
pub fn compare(
    connection: &mut Connection,
    source: &Source,
    with: &str,
    setting: &Setting,
    watch: &Watch,
    progress: impl FnMut(Glance),
) -> Result<Compared, Halt> {
    let shell = Shell::new().or_configuration("cannot find the working folder")?;
    let (from, to) = operands(connection, &source.folder, with);
    let remote = remote_shell(connection);
    // No --timeout: while checksums are made no bytes are sent.
    let command = cmd!(
        shell,
        "rsync -a -s -8 -n -c -i -i --delete --debug=nstr
        '--out-format=%i %C %l %n' {remote...} -- {from} {to}"
    );
    let mut comparison = Comparison::default();
    let take = |line: &[u8]| comparison.take(line);
    let ended = drive(connection, command.into(), setting, watch, None, take, progress)?;
    match succeed(connection, &ended) {
        // Nothing is written there, so that no full disk can be behind it.
        Err(Halt::Fault(met)) if was_cut_off(&met) => Err(Halt::Cut(met.message)),
        succeeded => succeeded.map(|()| comparison.judge(source)),
    }
}

/// A script that makes the checksums of the files in the working folder, all or some, in lines for [`parse_item`]; the
/// last line is rsync's exit code, for [`parse_end`]. Without the name of an algorithm rsync chooses.
pub(super) fn checksums_script(algorithm: Option<&str>, some: Option<&[&str]>) -> String {
    checksums_script_by("rsync", algorithm, some)
}

/// As [`checksums_script`], where other things on the same processors go before it.
pub(super) fn patient_checksums_script(algorithm: &str, some: &[&str]) -> String {
    checksums_script_by("nice -n 19 rsync", Some(algorithm), Some(some))
}

fn checksums_script_by(rsync: &str, algorithm: Option<&str>, some: Option<&[&str]>) -> String {
    let choice = algorithm.map_or_else(String::new, |name| quote(&format!("--checksum-choice={name}")));
    let (list, which) = match some {
        Some(paths) => {
            let paths: Vec<String> = paths.iter().map(|path| quote(path)).collect();
            (format!("printf '%s\\0' {} | ", paths.join(" ")), "--from0 --files-from=-")
        }
        None => (String::new(), "-r"),
    };
    format!(
        "unset RSYNC_CHECKSUM_LIST RSYNC_OLD_ARGS RSYNC_PROTECT_ARGS RSYNC_PARTIAL_DIR RSYNC_MAX_ALLOC
{list}{rsync} {which} -l -n -c -i -i -8 {choice} '--out-format=%i %C %l %n' -- ./ {NOWHERE}/
echo \"-- $?\"
"
    )
}

/// The exit code in `-- 23`.
pub(super) fn parse_end(line: &[u8]) -> Option<i32> {
    std::str::from_utf8(line.strip_prefix(b"-- ")?).ok()?.trim().parse().ok()
}

fn operands(connection: &Connection, from: &Utf8Path, to: &str) -> (String, String) {
    let from = format!("{from}/");
    let to = if connection.socket_dir.is_some() {
        format!("{}:{}/", connection.host, literal(to))
    } else {
        format!("{to}/")
    };
    (from, to)
}

/// Whether a path has characters that rsync at the far end expands, `--secluded-args` or not.
pub fn has_wildcard(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The path as rsync at the far end must be told it, to take it as it is.
fn literal(path: &str) -> String {
    if !has_wildcard(path) {
        return path.to_owned();
    }
    let mut literal = String::with_capacity(path.len() + 8);
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal
}

fn remote_shell(connection: &Connection) -> Vec<String> {
    match &connection.socket_dir {
        Some(dir) => vec!["-e".to_owned(), ssh::rsync_shell(dir)],
        None => Vec::new(),
    }
}

/// Runs rsync to its end, giving its lines to `take` and what it has moved to `progress`; `stall` is the
/// watchdog's time.
fn drive(
    connection: &mut Connection,
    command: Command,
    setting: &Setting,
    watch: &Watch,
    stall: Option<Duration>,
    mut take: impl FnMut(&[u8]),
    mut progress: impl FnMut(Glance),
) -> Result<Ended, Halt> {
    let (mut lines, mut dog) = (Lines::default(), Watchdog::new(stall));
    let take = |bytes: &[u8]| lines.feed(bytes, &mut take);
    connection.run_beside(command, None, setting, watch, take, |process| {
        dog.look(|| {
            let moved = process.moved()?;
            progress(Glance { moved, pid: process.id() });
            Some(moved.read_bytes.wrapping_add(moved.written_bytes))
        })
    })
}

/// Turns rsync's end into a halt, unless all went well. Where the connection is gone, that is the cause.
fn succeed(connection: &mut Connection, ended: &Ended) -> Result<(), Halt> {
    let Some(halt) = outcome::of_rsync(ended) else { return Ok(()) };
    match &halt {
        Halt::Fault(met) if outcome::is_unclear(met) && connection.is_gone() => Err(connection.lost()),
        _ => Err(halt),
    }
}

/// Looks from time to time what has moved, and notices when nothing does.
pub(super) struct Watchdog {
    stall: Option<Duration>,
    looked: Instant,
    moved_at: Instant,
    counted: u64,
}

impl Watchdog {
    pub(super) fn new(stall: Option<Duration>) -> Self {
        Self { stall, looked: Instant::now(), moved_at: Instant::now(), counted: 0 }
    }

    /// `count` says how many bytes have moved so far, where anybody knows.
    pub(super) fn look(&mut self, count: impl FnOnce() -> Option<u64>) -> Result<(), Halt> {
        if self.looked.elapsed() < TICK {
            return Ok(());
        }
        self.looked = Instant::now();
        // Where the kernel does not tell, rsync's own timeout and the deadline remain.
        let now = count();
        if now.is_none_or(|now| now.abs_diff(self.counted) >= MOVED_BYTES_MIN) {
            self.counted = now.unwrap_or_default();
            self.moved_at = Instant::now();
        }
        match self.stall {
            Some(stall) if self.moved_at.elapsed() > stall => Err(Halt::fault(
                Fault::Stalled,
                format!("nothing moved for {} s while sending", stall.as_secs()),
            )),
            _ => Ok(()),
        }
    }
}

/// Lines, ended by a newline or a carriage return, of at most [`LINE_MAX_BYTES`]; of a longer one, the
/// rest is dropped.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn feed(&mut self, bytes: &[u8], take: &mut impl FnMut(&[u8])) {
        let mut parts = bytes.split(|&b| b == b'\n' || b == b'\r').peekable();
        while let Some(part) = parts.next() {
            let room = LINE_MAX_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                take(&self.line);
                self.line.clear();
            }
        }
    }
}

/// A number as rsync groups it: `300,007`.
fn parse_grouped(number: &str) -> Option<u64> {
    let digits: String = number.chars().filter(|&c| c != ',' && c != '.').collect();
    digits.parse().ok()
}

/// Whether a fault says no more than that the far end went away.
pub fn was_cut_off(met: &Met) -> bool {
    let is_known = |line: &str| {
        line.contains("connection unexpectedly closed")
            || line.contains("Broken pipe (32)")
            || line.starts_with("rsync error: ")
            || line.contains("Connection reset by peer")
            || line == "Killed"
            || line == "Terminated"
    };
    matches!(met.fault, Fault::Foreign(10 | 12 | 255)) && met.message.lines().all(is_known)
}

/// The bytes in `Literal data: 310,211 bytes`.
pub(super) fn parse_sent(line: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(line).ok()?.strip_prefix("Literal data: ")?.strip_suffix(" bytes")?;
    parse_grouped(number)
}

/// The algorithm in `Client negotiated checksum: xxh128` or `Client checksum: md5`.
pub(super) fn parse_algorithm(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("Client ")?;
    let name = text.strip_prefix("negotiated ").unwrap_or(text).strip_prefix("checksum: ")?;
    let name = name.split_ascii_whitespace().next()?;
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-').then(|| name.to_owned())
}

/// A line of `--out-format='%i %C %l %n'`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The eleven characters of `%i`.
    change: [u8; 11],
    /// In hexadecimal, of a file.
    pub(super) checksum: Option<String>,
    pub(super) path: Box<[u8]>,
}

impl Item {
    /// Whether source and destination are equal in what makes a true copy: presence, kind, content, size and
    /// time. Owner, group and mode may differ, where the destination's user may not set them; so may a
    /// folder's and a symlink's time, which some file systems do not keep.
    fn is_equal(&self) -> bool {
        let [update, kind, attributes @ ..] = &self.change;
        if *update != b'.' {
            return false;
        }
        let may_differ: &[u8] = match kind {
            b'f' => b" .pogax",
            b'd' | b'L' => b" .tTpogax",
            _ => b" .pogax",
        };
        attributes.iter().all(|attribute| may_differ.contains(attribute))
    }

    /// Whether it is a file whose content was not sent: where rsync compares by content, it has read the same there.
    fn was_there(&self) -> bool {
        let [update, kind, content, ..] = self.change;
        let is_same = matches!(update, b'.' | b'h') && kind == b'f' && matches!(content, b'.' | b' ');
        is_same && self.checksum.is_some() && !self.is_unread()
    }

    /// Whether it is a file that rsync has read, and found to have this checksum, in hexadecimal.
    pub(super) fn has(&self, checksum: &str) -> bool {
        self.checksum.as_deref() == Some(checksum) && !self.is_unread()
    }

    /// Whether it is a file that rsync could not read, which has a checksum of zeros then.
    pub(super) fn is_unread(&self) -> bool {
        self.checksum.as_ref().is_some_and(|sum| sum.bytes().all(|digit| digit == b'0'))
    }
}

pub(super) fn parse_item(line: &[u8]) -> Option<Item> {
    let change: [u8; 11] = line.get(..11)?.try_into().ok()?;
    let is_update = matches!(change[0], b'<' | b'>' | b'c' | b'h' | b'.' | b'*');
    let is_kind = change[0] == b'*' || matches!(change[1], b'f' | b'd' | b'L' | b'D' | b'S');
    if !is_update || !is_kind || line.get(11) != Some(&b' ') {
        return None;
    }
    let rest = &line[12..];
    let (checksum, rest) = if rest.first() == Some(&b' ') {
        (None, rest.trim_ascii_start())
    } else {
        let end = rest.iter().position(|&b| b == b' ')?;
        let checksum = std::str::from_utf8(&rest[..end]).ok()?;
        if !checksum.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        (Some(checksum.to_owned()), rest[end..].trim_ascii_start())
    };
    let end = rest.iter().position(|&b| b == b' ')?;
    if !rest[..end].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let name = unescape(&rest[end + 1..]);
    let name = name.strip_suffix(b"/").unwrap_or(&name);
    Some(Item { change, checksum, path: if name == b"." { Box::default() } else { name.into() } })
}

/// Undoes rsync's `\#012`.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut at = 0;
    while at < name.len() {
        let octal = name.get(at..at + 5).filter(|code| code.starts_with(b"\\#"));
        let value = octal
            .and_then(|code| std::str::from_utf8(&code[2..]).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(byte) => {
                plain.push(byte);
                at += 5;
            }
            None => {
                plain.push(name[at]);
                at += 1;
            }
        }
    }
    plain
}

/// What a comparison has shown so far.
#[derive(Default)]
pub(super) struct Comparison {
    checksums: Checksums,
    equal: usize,
    different: usize,
    named: Vec<String>,
}

impl Comparison {
    pub(super) fn take(&mut self, line: &[u8]) {
        if let Some(algorithm) = parse_algorithm(line) {
            self.checksums.algorithm = algorithm;
            return;
        }
        let Some(item) = parse_item(line) else { return };
        let is_unread = item.is_unread();
        if item.is_equal() && !is_unread {
            self.equal += 1;
            if let Some(hex) = item.checksum {
                self.checksums.by_path.insert(item.path, Checksum { hex, is_there: true });
            }
        } else {
            self.different += 1;
            if self.named.len() < NAMED {
                let what = if item.change[0] == b'*' {
                    "is extra there"
                } else if is_unread {
                    "can't be read here"
                } else if item.change[2] == b'+' {
                    "is missing there"
                } else {
                    "differs"
                };
                self.named.push(format!("{} {what}", shown(&item.path)));
            }
        }
    }

    fn judge(self, source: &Source) -> Compared {
        if self.different > 0 {
            let more = self.different.saturating_sub(self.named.len());
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            return Compared::Different(format!("{}{more}", self.named.join(", ")));
        }
        if self.equal != source.entries.len() {
            return Compared::Different(format!(
                "rsync compared {} things, and the source has {}",
                self.equal,
                source.entries.len()
            ));
        }
        let mut files = source.entries.iter().filter(|entry| entry.kind == Kind::File);
        if let Some(entry) = files.find(|entry| !self.checksums.by_path.contains_key(&entry.path)) {
            return Compared::Different(format!("rsync gave no checksum of {}", shown(&entry.path)));
        }
        Compared::Equal(self.checksums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdout_of(name: &str) -> Vec<u8> {
        let path = format!("{}/testdata/rsync/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let mark = b"# stdout\n";
        let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
        bytes[at + mark.len()..].to_vec()
    }

    fn compared(name: &str) -> Comparison {
        let mut comparison = Comparison::default();
        Lines::default().feed(&stdout_of(name), &mut |line| comparison.take(line));
        comparison
    }

    #[test]
    fn equal_trees_have_only_equal_items_and_a_checksum_for_each_file() {
        for name in ["verify-identical", "local-verify"] {
            let comparison = compared(name);
            assert_eq!((comparison.equal, comparison.different), (8, 0), "{name}");
            assert_eq!(comparison.checksums.algorithm, "xxh128");
            assert_eq!(comparison.checksums.by_path.len(), 4);
        }
    }

    #[test]
    fn every_difference_is_seen_and_named() {
        let named = |name: &str| compared(name).named.join("; ");
        assert_eq!(named("verify-content"), "n0000/0001.cpm differs");
        assert_eq!(named("verify-missing"), "n0000/0001.cpt is missing there");
        assert_eq!(
            named("verify-extra"),
            "extradir/y is extra there; extradir is extra there; n0000/extra is extra there"
        );
        for name in [
            "verify-size",
            "verify-time",
            "verify-type",
            "verify-no-dest",
            "verify-missing-folder",
            "verify-symlink",
        ] {
            assert!(compared(name).different > 0, "{name}");
        }
        for name in ["verify-mode", "verify-owner", "verify-folder-time"] {
            assert_eq!(compared(name).different, 0, "{name}");
        }
        assert!(
            compared("source-unreadable-verify")
                .named
                .iter()
                .any(|name| name.ends_with("can't be read here"))
        );
        assert!(compared("names-verify-differs").different > 0);
    }

    #[test]
    fn names_are_read_back_as_they_are() {
        let comparison = compared("names-verify");
        assert_eq!(comparison.different, 0);
        for name in [
            &b"n0730/new\nline"[..],
            b"n0730/\\#012",
            b"n0730/lit\\#0ab",
            b"n0730/ lead",
            b"n0730/-rf",
            b"n0730/latin1-\xe9\xff",
        ] {
            assert!(comparison.checksums.by_path.contains_key(name), "{}", shown(name));
        }
    }

    #[test]
    fn what_was_sent_is_read_between_carriage_returns() {
        let (mut sent, mut sums) = (None, 0);
        Lines::default().feed(&stdout_of("copy-ok"), &mut |line| {
            sent = parse_sent(line).or(sent);
            sums += usize::from(parse_item(line).is_some_and(|item| item.checksum.is_some()));
        });
        assert_eq!((sent, sums), (None, 4));
        assert_eq!(parse_sent(b"Literal data: 310,211 bytes"), Some(310_211));
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("rsync  version 3.2.7  protocol version 31"), Some((3, 2)));
        assert_eq!(parse_version("rsync  version v3.5.0  protocol version 32"), Some((3, 5)));
        assert_eq!(parse_version("no rsync"), None);
    }
}
