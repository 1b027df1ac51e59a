//! Reading back what was sent: the host makes the checksum of every file that it has, and each is compared with that
//! of the bytes that went out. The source need not be read again for that.
//!
//! Invariant: every file of the source has been read back, and equal, but for those that were read there before, since
//! they had arrived or by rsync as it found them equal; and the source lies where no other machine writes unseen. In any
//! doubt it does not count, and rsync's own comparison of both sides has the word.

use std::collections::HashSet;

use super::destination::{Identity, enter_folder_script};
use super::rsync::{self, Checksums, Lines, parse_end, parse_item};
use super::source::{Entry, Kind, Source, shown};
use super::stream::{Outlook, Reader};
use super::{Connection, Halt, Setting, Watch, ssh};

/// Files are named to the host one by one where their names have so many bytes together at most: less than a session's
/// window, so that writing them does not wait.
const NAMES_MAX_BYTES: usize = 1024 * 1024;

/// What is to be there, and where.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The source, as it was before.
    pub source: &'a Source,
    /// The checksums of what went out.
    pub checksums: &'a Checksums,
    /// The folder at the destination, absolute.
    pub folder: &'a str,
    /// Which folder that is.
    pub identity: Identity,
}

impl<'a> Expected<'a> {
    /// Whether there is a checksum of every file.
    fn is_whole(&self) -> bool {
        self.files().all(|file| self.checksums.by_path.contains_key(&file.path))
    }

    fn files(&self) -> impl Iterator<Item = &'a Entry> {
        self.source.entries.iter().filter(|entry| entry.kind == Kind::File)
    }

    /// The files that have not been read there already.
    fn unread(&self) -> impl Iterator<Item = &'a Entry> {
        unread(self.source, self.checksums)
    }

    /// Makes their checksums in the folder, or those of all, where they are many or have names that no list can hold.
    fn script(&self) -> String {
        let some: Option<Vec<&str>> =
            match self.unread().count() == self.files().count() || self.names_bytes() > NAMES_MAX_BYTES {
                true => None,
                false => self.unread().map(|file| str::from_utf8(&file.path).ok()).collect(),
            };
        rsync::checksums_script(Some(&self.checksums.algorithm), some.as_deref())
    }

    /// The bytes of the names of those files, in quotes.
    fn names_bytes(&self) -> usize {
        self.unread().map(|file| file.path.len() + "'' ".len()).sum()
    }

    /// As [`Self::script`], for a shell that is not in the folder.
    fn script_from_anywhere(&self) -> String {
        let enter = enter_folder_script(self.folder, self.identity);
        format!("LC_ALL=C; export LC_ALL\n{enter}{}", self.script())
    }
}

/// So many bytes of the source's files have not been read back yet.
pub fn unread_bytes(source: &Source, checksums: &Checksums) -> u64 {
    unread(source, checksums).map(|file| file.size).sum()
}

fn unread<'a>(source: &'a Source, checksums: &Checksums) -> impl Iterator<Item = &'a Entry> {
    let is_there = |file: &&Entry| checksums.by_path.get(&file.path).is_some_and(|sum| sum.is_there);
    source.entries.iter().filter(move |entry| entry.kind == Kind::File && !is_there(entry))
}

/// Lets what has read some files back read the others, now that all are there; [`is_equal`] takes its answer. None where
/// there is nothing more to read, or no sums to compare with.
pub fn ask(mut reader: Reader, expected: Expected<'_>) -> Option<Reader> {
    let is_needed = expected.is_whole() && expected.unread().next().is_some();
    is_needed.then(|| {
        reader.ask(&expected.script());
        reader
    })
}

/// Whether the host has read back every file as it was sent, as a reader that was asked tells, or another one;
/// `progress` is told how far it is. Where the host cannot say, it has not.
///
/// # Errors
/// A halt that the watch is due, or that this machine is the reason of.
pub fn is_equal(
    connection: &mut Connection,
    expected: Expected<'_>,
    reader: Option<Reader>,
    setting: &Setting,
    watch: &Watch,
    mut progress: impl FnMut(Outlook<'_>),
) -> Result<bool, Halt> {
    let Some(socket_dir) = connection.socket_dir.clone() else { return Ok(false) };
    if !expected.is_whole() || !expected.source.is_on_own_disk() {
        return Ok(false);
    }
    if expected.unread().next().is_none() {
        return Ok(true);
    }
    let (mut lines, mut comparison) = (Lines::default(), Comparison::new(&expected));
    let mut take = |bytes: &[u8]| {
        lines.feed(bytes, &mut |line| comparison.take(line));
        progress(Outlook { bytes: comparison.bytes, file: comparison.latest });
        comparison.end.is_some()
    };
    let mut has_ended = false;
    if let Some(reader) = reader {
        let look = || watch.check().and_then(|()| connection.check_guard());
        let take = |bytes: &[u8]| {
            has_ended = take(bytes);
            has_ended
        };
        reader.hear(take, look)?;
    }
    if !has_ended {
        let (shell, script) = (ssh::client(&connection.host, &socket_dir)?, expected.script_from_anywhere());
        let take = |bytes: &[u8]| _ = take(bytes);
        connection.run_beside(shell, Some(&script), setting, watch, take, |_| Ok(()))?;
    }
    tracing::info!(
        "read back: {} files equal{}{}",
        comparison.equal.len(),
        comparison.differs.map_or_else(String::new, |path| format!(", {} not", shown(path))),
        if comparison.end == Some(0) { "" } else { "; without its end" }
    );
    Ok(comparison.is_equal())
}

/// What was read back so far.
struct Comparison<'a> {
    expected: &'a Expected<'a>,
    equal: HashSet<&'a [u8]>,
    bytes: u64,
    latest: Option<&'a [u8]>,
    /// The last file that was not equal.
    differs: Option<&'a [u8]>,
    /// How it ended, where that was told in the last line.
    end: Option<i32>,
}

impl<'a> Comparison<'a> {
    fn new(expected: &'a Expected<'a>) -> Self {
        Self { expected, equal: HashSet::new(), bytes: 0, latest: None, differs: None, end: None }
    }

    fn take(&mut self, line: &[u8]) {
        self.end = parse_end(line);
        let Some(item) = parse_item(line) else { return };
        let Some((path, sent)) = self.expected.checksums.by_path.get_key_value(&item.path) else { return };
        self.latest = Some(path);
        if !item.has(&sent.hex) {
            self.differs = Some(path);
        } else if !sent.is_there && self.equal.insert(path) {
            self.bytes += self.expected.source.at(path).map_or(0, |entry| entry.size);
        }
    }

    fn is_equal(&self) -> bool {
        self.end == Some(0) && self.differs.is_none() && self.expected.unread().count() == self.equal.len()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::model::AbsolutePath;
    use crate::transfer::rsync::Checksum;
    use crate::transfer::source::Roots;

    fn make(top: &Path) {
        fs::create_dir_all(top.join("n0000")).unwrap();
        for (name, content) in [
            ("Images.dat", "images"),
            ("n0000/0148.cpm", "measurements"),
            ("n0000/new\nline \\#012", ""),
            ("-rf", "x"),
        ] {
            fs::write(top.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("Images.dat", top.join("link")).unwrap();
    }

    /// What a real rsync reads back in a folder to which something was done after it was sent.
    fn is_equal(change: impl Fn(&Path), also: impl Fn(&mut Checksums)) -> bool {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(here.path());
        make(there.path());
        let path = AbsolutePath::parse(here.path().to_str().unwrap()).unwrap();
        let source = Source::read(&path, &Roots::default()).unwrap();
        let mut checksums = Checksums { algorithm: "xxh128".to_owned(), ..Checksums::default() };
        for file in source.entries.iter().filter(|entry| entry.kind == Kind::File) {
            let name = std::ffi::OsStr::new(std::str::from_utf8(&file.path).unwrap());
            let sum = xxhash_rust::xxh3::xxh3_128(&fs::read(here.path().join(name)).unwrap());
            let checksum = Checksum { hex: format!("{sum:032x}"), is_there: false };
            checksums.by_path.insert(file.path.clone(), checksum);
        }
        also(&mut checksums);
        let meta = fs::metadata(there.path()).unwrap();
        change(there.path());
        let identity = Identity { device: meta.dev(), inode: meta.ino() };
        let folder = there.path().to_str().unwrap();
        let expected = Expected { source: &source, checksums: &checksums, folder, identity };
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-c", &expected.script_from_anywhere()]).stdin(Stdio::null());
        let mut comparison = Comparison::new(&expected);
        Lines::default().feed(&shell.output().unwrap().stdout, &mut |line| comparison.take(line));
        expected.is_whole() && comparison.is_equal()
    }

    #[test]
    fn what_arrived_as_it_was_sent_is_equal_and_nothing_else_is() {
        assert!(is_equal(|_| {}, |_| {}));
        assert!(!is_equal(|there| fs::write(there.join("n0000/0148.cpm"), "measurementS").unwrap(), |_| {}));
        assert!(!is_equal(|there| fs::remove_file(there.join("-rf")).unwrap(), |_| {}));
        assert!(!is_equal(|there| fs::write(there.join("n0000/new\nline \\#012"), "x").unwrap(), |_| {}));
        let into_link = |there: &Path| {
            fs::rename(there.join("Images.dat"), there.join("images.dat")).unwrap();
            std::os::unix::fs::symlink("images.dat", there.join("Images.dat")).unwrap();
        };
        assert!(!is_equal(into_link, |_| {}));
        // Another folder took its place.
        let replaced = |there: &Path| {
            fs::rename(there, there.with_extension("aside")).unwrap();
            fs::create_dir(there).unwrap();
            make(there);
            fs::remove_dir_all(there.with_extension("aside")).unwrap();
        };
        assert!(!is_equal(replaced, |_| {}));
    }

    #[test]
    fn what_rsync_has_found_there_is_not_read_again_and_all_else_is() {
        let found = |sums: &mut Checksums| {
            for path in [&b"Images.dat"[..], b"-rf"] {
                sums.by_path.get_mut(path).unwrap().is_there = true;
            }
        };
        assert!(is_equal(|_| {}, found));
        let damage = |name: &'static str| move |there: &Path| fs::write(there.join(name), "Y").unwrap();
        assert!(is_equal(damage("Images.dat"), found));
        for name in ["n0000/0148.cpm", "n0000/new\nline \\#012"] {
            assert!(!is_equal(damage(name), found), "{name}");
        }
    }

    #[test]
    fn without_the_checksum_of_every_file_or_a_word_of_its_end_it_is_not_equal() {
        assert!(!is_equal(|_| {}, |sums| drop(sums.by_path.remove(&b"-rf"[..]))));
        assert!(!is_equal(|_| {}, |sums| "md5".clone_into(&mut sums.algorithm)));
        assert!(!is_equal(|_| {}, |sums| "x'; echo".clone_into(&mut sums.algorithm)));
    }
}
