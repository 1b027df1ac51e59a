//! Lists a folder's tree, and says in what two trees differ.
//!
//! Invariant: nothing is changed, symlinks are not followed, and the order is that of the paths.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symlink.
    Symlink,
    /// A socket, pipe or device.
    Other,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the tree's top folder.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Size of a regular file, 0 of all else.
    pub bytes: u64,
    /// When the contents were last changed.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u32,
}

/// Everything below `dir`, the folder itself left out, in order of path.
///
/// # Errors
/// When a folder cannot be read, or an entry vanishes meanwhile; the message names it.
pub fn list(dir: impl AsRef<Path>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    collect(dir.as_ref(), Path::new(""), &mut entries)?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// In what `copy` differs from `source`, a line each, beginning with the path: entries that are missing or
/// extra, then for those in both kind, permissions, modification time, size and contents. Empty when equal.
///
/// # Errors
/// When either tree cannot be read.
pub fn differences(source: impl AsRef<Path>, copy: impl AsRef<Path>) -> io::Result<Vec<String>> {
    let (source, copy) = (source.as_ref(), copy.as_ref());
    let (wanted, found) = (list(source)?, list(copy)?);
    let mut lines = Vec::new();
    let mut found = found.iter().peekable();
    for entry in &wanted {
        while let Some(extra) = found.next_if(|other| other.path < entry.path) {
            lines.push(format!("{}: extra", extra.path.display()));
        }
        match found.next_if(|other| other.path == entry.path) {
            Some(other) => {
                if let Some(difference) = difference(source, entry, copy, other)? {
                    lines.push(format!("{}: {difference}", entry.path.display()));
                }
            }
            None => lines.push(format!("{}: missing", entry.path.display())),
        }
    }
    lines.extend(found.map(|extra| format!("{}: extra", extra.path.display())));
    Ok(lines)
}

fn collect(top: &Path, below: &Path, entries: &mut Vec<Entry>) -> io::Result<()> {
    let folder = top.join(below);
    for item in fs::read_dir(&folder).map_err(|error| named(&folder, &error))? {
        let item = item.map_err(|error| named(&folder, &error))?;
        let path = below.join(item.file_name());
        let metadata = item.metadata().map_err(|error| named(&item.path(), &error))?;
        let kind = kind(&metadata);
        entries.push(Entry {
            path: path.clone(),
            kind,
            bytes: if kind == Kind::File { metadata.len() } else { 0 },
            modified: metadata.modified()?,
            mode: metadata.permissions().mode() & 0o7777,
        });
        if kind == Kind::Folder {
            collect(top, &path, entries)?;
        }
    }
    Ok(())
}

fn kind(metadata: &fs::Metadata) -> Kind {
    match metadata.file_type() {
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_file() => Kind::File,
        kind if kind.is_symlink() => Kind::Symlink,
        _ => Kind::Other,
    }
}

fn difference(source: &Path, wanted: &Entry, copy: &Path, found: &Entry) -> io::Result<Option<&'static str>> {
    Ok(if wanted.kind != found.kind {
        Some("another kind of entry")
    } else if wanted.mode != found.mode {
        Some("permissions differ")
    } else if wanted.bytes != found.bytes {
        Some("size differs")
    } else if !same_contents(&source.join(&wanted.path), &copy.join(&found.path), wanted.kind)? {
        Some("contents differ")
    } else if wanted.modified != found.modified {
        Some("modification time differs")
    } else {
        None
    })
}

fn same_contents(a: &Path, b: &Path, kind: Kind) -> io::Result<bool> {
    match kind {
        Kind::File => same_bytes(a, b),
        Kind::Symlink => Ok(fs::read_link(a)? == fs::read_link(b)?),
        Kind::Folder | Kind::Other => Ok(true),
    }
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    const CHUNK_BYTES: u64 = 1 << 20;
    let mut left = File::open(a).map_err(|error| named(a, &error))?;
    let mut right = File::open(b).map_err(|error| named(b, &error))?;
    let (mut left_bytes, mut right_bytes) = (Vec::new(), Vec::new());
    loop {
        left_bytes.clear();
        right_bytes.clear();
        Read::by_ref(&mut left).take(CHUNK_BYTES).read_to_end(&mut left_bytes)?;
        Read::by_ref(&mut right).take(CHUNK_BYTES).read_to_end(&mut right_bytes)?;
        if left_bytes != right_bytes {
            return Ok(false);
        }
        if left_bytes.is_empty() {
            return Ok(true);
        }
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_named_once() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = (temp.path().join("a"), temp.path().join("b"));
        for top in [&a, &b] {
            fs::create_dir_all(top.join("n0000")).unwrap();
            fs::write(top.join("same"), "x").unwrap();
            fs::write(top.join("size"), "x").unwrap();
            fs::write(top.join("contents"), "x").unwrap();
            fs::write(top.join("mode"), "x").unwrap();
        }
        fs::write(a.join("n0000/missing"), "x").unwrap();
        fs::write(b.join("an extra one"), "x").unwrap();
        fs::write(b.join("zz extra"), "x").unwrap();
        fs::write(b.join("size"), "xx").unwrap();
        fs::write(b.join("contents"), "y").unwrap();
        fs::set_permissions(b.join("mode"), fs::Permissions::from_mode(0o400)).unwrap();
        for top in [&a, &b] {
            for entry in list(top).unwrap() {
                let file = File::open(top.join(entry.path)).unwrap();
                file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
        File::open(b.join("same")).unwrap().set_modified(SystemTime::now()).unwrap();
        assert_eq!(
            differences(&a, &b).unwrap(),
            [
                "an extra one: extra",
                "contents: contents differ",
                "mode: permissions differ",
                "n0000/missing: missing",
                "same: modification time differs",
                "size: size differs",
                "zz extra: extra",
            ]
        );
        assert!(differences(&a, &a).unwrap().is_empty());
    }
}
