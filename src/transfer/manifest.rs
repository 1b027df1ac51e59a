//! Manifests: what was sent, kept for each full copy, so that it can be checked when the source is long gone.
//!
//! `STATE/manifests/COPY.tsv.gz`: a line of JSON with what the manifest is of, then a line for each thing:
//! kind (`f`, `d`, `l`, `o`), size in bytes, time of writing in seconds with nanoseconds, checksum (`-` where
//! there is none), path; separated by tabs. In a path, a backslash is `\\` and any byte that is not printable
//! text is `\xNN`. Invariant: a manifest is whole or not there,
//! and only that of this copy of this ledger is believed.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::rsync::Checksums;
use super::source::{Entry, Kind, NAMED, Source, Staged, shown};
use crate::error::{IoContext as _, Result};
use crate::model::{Copy, CopyId};

const VERSION: u32 = 1;
/// The name of a manifest that ends here is not complete.
const LAST_LINE: &str = "end";

/// What a manifest is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    pub manifest: u32,
    /// The ledger's id.
    pub ledger: String,
    /// minidvodbcopy_id.
    pub minidvodbcopy_id: u64,
    /// minidvodb_id.
    pub minidvodb_id: u64,
    /// Where it was copied from.
    pub minidvodb_path: String,
    /// Where it was copied to.
    pub destination_host: String,
    /// Its final path there.
    pub final_path: String,
    /// The algorithm of the checksums, as rsync names it.
    pub checksum: String,
}

/// A thing in a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// `f`, `d`, `l` or `o`.
    pub kind: char,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, in whole seconds.
    pub mtime_s: i64,
    /// Its path below the minidvodb.
    pub path: Box<[u8]>,
}

/// The file of a manifest whose copy has not got its final name yet: until then the old one stands.
fn draft_of(state_dir: &Utf8Path, copy: CopyId) -> Utf8PathBuf {
    state_dir.join("manifests").join(format!("{copy}.draft.tsv.gz"))
}

/// Makes a draft the manifest: the folder that it is of has its final name now.
///
/// # Errors
/// 78 where the state folder can't be written.
pub fn promote(state_dir: &Utf8Path, copy: CopyId) -> Result<()> {
    match std::fs::rename(draft_of(state_dir, copy), file_of(state_dir, copy)) {
        // An attempt before may have got so far.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.or_configuration(format!("cannot name the manifest of copy {copy}")),
    }
}

/// The file of a copy's manifest.
pub fn file_of(state_dir: &Utf8Path, copy: CopyId) -> Utf8PathBuf {
    state_dir.join("manifests").join(format!("{copy}.tsv.gz"))
}

/// Writes the draft of a copy's manifest, flushed to the disk.
///
/// # Errors
/// 78 where the state folder can't be written.
pub fn write(
    state_dir: &Utf8Path,
    ledger_id: &str,
    copy: &Copy,
    source: &Source,
    checksums: &Checksums,
) -> Result<()> {
    let file = draft_of(state_dir, copy.id);
    let folder = state_dir.join("manifests");
    std::fs::create_dir_all(&folder).or_configuration(format!("cannot make the folder {folder}"))?;
    let header = Header {
        manifest: VERSION,
        ledger: ledger_id.to_owned(),
        minidvodbcopy_id: copy.id.0,
        minidvodb_id: copy.minidvodb_id.0,
        minidvodb_path: source.folder.to_string(),
        destination_host: copy.host.to_string(),
        final_path: copy.final_path(),
        checksum: checksums.algorithm.clone(),
    };
    let written = || -> std::io::Result<()> {
        let temporary = tempfile::Builder::new().prefix(".manifest.").tempfile_in(&folder)?;
        let mut gz = GzEncoder::new(std::io::BufWriter::new(temporary), Compression::fast());
        serde_json::to_writer(&mut gz, &header)?;
        gz.write_all(b"\n")?;
        for entry in &source.entries {
            gz.write_all(line_of(entry, checksums).as_bytes())?;
        }
        writeln!(gz, "{LAST_LINE}")?;
        let temporary = gz.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&file)?;
        std::fs::File::open(&folder)?.sync_all()
    };
    written().or_configuration(format!("cannot write the manifest {file}"))
}

fn line_of(entry: &Entry, checksums: &Checksums) -> String {
    let kind = letter(entry.kind);
    let checksum = checksums.by_path.get(&entry.path).map_or("-", |sum| sum.hex.as_str());
    let (second, nano) = entry.mtime;
    format!("{kind}\t{}\t{second}.{nano:09}\t{checksum}\t{}\n", entry.size, escape(&entry.path))
}

/// How a manifest calls a kind of thing.
pub(super) fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => 'f',
        Kind::Folder => 'd',
        Kind::Symlink => 'l',
        Kind::Other => 'o',
    }
}

/// Reads the manifest of what has its final name, or is about to get it; `None` where there is none, or where
/// it is not whole.
pub fn read_newest(state_dir: &Utf8Path, ledger_id: &str, copy: &Copy) -> Option<(Header, Vec<Line>)> {
    read_file(&draft_of(state_dir, copy.id), ledger_id, copy).or_else(|| read(state_dir, ledger_id, copy))
}

/// Reads the manifest of what has its final name; `None` where there is none, or where it is not whole.
pub fn read(state_dir: &Utf8Path, ledger_id: &str, copy: &Copy) -> Option<(Header, Vec<Line>)> {
    read_file(&file_of(state_dir, copy.id), ledger_id, copy)
}

/// What is in a folder at the destination and not in its manifest, in words; nothing where nothing is.
pub fn extra(lines: &[Line], there: &[Staged]) -> Option<String> {
    let sent: HashSet<&[u8]> = lines.iter().map(|line| &*line.path).collect();
    let extra = there.iter().filter(|found| !sent.contains(&*found.path));
    let named: Vec<String> =
        extra.take(NAMED).map(|found| format!("{} is extra there", shown(&found.path))).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// Shows everything in the manifest of what has its final name, one after the other, with its checksum or `-`;
/// `None` where there is none, or where it is not whole: what was shown by then means nothing.
pub fn each(
    state_dir: &Utf8Path,
    ledger_id: &str,
    copy: &Copy,
    see: &mut dyn FnMut(Line, &str),
) -> Option<Header> {
    each_in(&file_of(state_dir, copy.id), ledger_id, copy, see)
}

fn read_file(file: &Utf8Path, ledger_id: &str, copy: &Copy) -> Option<(Header, Vec<Line>)> {
    let mut found = Vec::new();
    let header = each_in(file, ledger_id, copy, &mut |line, _| found.push(line))?;
    Some((header, found))
}

impl Header {
    /// Whether it is of that copy. A restored ledger gives ids again, and the manifests of the copies that it has
    /// lost are still there.
    fn is_of(&self, ledger_id: &str, copy: &Copy) -> bool {
        self.manifest == VERSION
            && self.ledger == ledger_id
            && self.minidvodbcopy_id == copy.id.0
            && self.minidvodb_id == copy.minidvodb_id.0
    }
}

fn each_in(file: &Utf8Path, ledger_id: &str, copy: &Copy, see: &mut dyn FnMut(Line, &str)) -> Option<Header> {
    let file = std::fs::File::open(file).ok()?;
    let mut lines = BufReader::new(GzDecoder::new(BufReader::new(file))).lines();
    let header: Header = serde_json::from_str(&lines.next()?.ok()?).ok()?;
    if !header.is_of(ledger_id, copy) {
        return None;
    }
    for line in lines {
        let line = line.ok()?;
        if line == LAST_LINE {
            return Some(header);
        }
        let (found, checksum) = parse_line(&line)?;
        see(found, checksum);
    }
    None
}

/// A line of a manifest, with its checksum or `-`.
pub(super) fn parse_line(line: &str) -> Option<(Line, &str)> {
    let mut fields = line.splitn(5, '\t');
    let kind = fields.next()?.chars().next()?;
    let size = fields.next()?.parse().ok()?;
    let mtime_s = fields.next()?.split('.').next()?.parse().ok()?;
    let checksum = fields.next()?;
    Some((Line { kind, size, mtime_s, path: unescape(fields.next()?)? }, checksum))
}

pub(super) fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    c.encode_utf8(&mut bytes)
                        .bytes()
                        .for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

pub(super) fn unescape(text: &str) -> Option<Box<[u8]>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = after;
        } else {
            let digits = rest.strip_prefix('x')?.get(..2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[3..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AbsolutePath, Group, Host, MinidvodbId};

    #[test]
    fn only_the_manifest_of_this_copy_of_this_ledger_is_believed() {
        let host = Host::parse("ipp0222").unwrap();
        let path = AbsolutePath::parse("/data/ThreePi.1").unwrap();
        let group = Group::parse("ThreePi").unwrap();
        let (machine, name, now) =
            (host.default_machine(), path.name().unwrap(), jiff::Timestamp::UNIX_EPOCH);
        let copy = Copy::queued(CopyId(1), MinidvodbId(7), group, host, machine, path, name, now);
        let dir = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(dir.path()).unwrap();
        let source = state.join("ThreePi.1");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("Images.dat"), "images").unwrap();
        let roots = super::super::source::Roots::default();
        let source = Source::read(&AbsolutePath::parse(source.as_str()).unwrap(), &roots).unwrap();
        write(state, "here", &copy, &source, &Checksums::default()).unwrap();
        promote(state, copy.id).unwrap();
        assert!(read(state, "here", &copy).is_some());
        assert!(read_newest(state, "elsewhere", &copy).is_none());
        let given_again = Copy { minidvodb_id: MinidvodbId(8), ..copy.clone() };
        assert!(read(state, "here", &given_again).is_none());
        std::fs::rename(file_of(state, copy.id), file_of(state, CopyId(2))).unwrap();
        assert!(read(state, "here", &Copy { id: CopyId(2), ..copy }).is_none());
    }

    #[test]
    fn any_path_is_read_back_as_it_was() {
        for path in [
            &b"n0000/0148.cpm"[..],
            b"new\nline\ttab",
            b"back\\slash\\x41",
            b"\xff\xe9latin",
            "é€".as_bytes(),
            b"",
            "\u{9b}c1".as_bytes(),
        ] {
            let text = escape(path);
            assert!(!text.contains(['\n', '\t']));
            assert_eq!(&*unescape(&text).unwrap(), path);
        }
    }
}
