//! A file that a command makes where the user says.
//!
//! Invariant: a file that is there already is replaced by a whole new one or not at all; nothing but a plain
//! file is ever replaced, and nothing in the state folder.

use std::fs;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::NamedTempFile;

use crate::error::{Error, IoContext as _, Result};

/// A file in the making: dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    file: Utf8PathBuf,
    folder: Utf8PathBuf,
    temporary: BufWriter<NamedTempFile>,
}

impl NewFile {
    /// Begins a file beside its final name.
    ///
    /// # Errors
    /// 2 where `file` names something that is no file, or lies in the state folder; 78 where nothing can be
    /// written there.
    pub fn begin(file: &Utf8Path, state_dir: &Utf8Path) -> Result<Self> {
        let file = replaceable(file)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_str().is_empty() => folder.to_owned(),
            _ => ".".into(),
        };
        let canonical = folder.canonicalize_utf8().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::configuration(format!("the folder of {file} is not there"))
                .hint("make it, or name a file elsewhere"),
            _ => Error::configuration(format!("cannot look at the folder of {file}: {error}")).hint(WRITABLE),
        })?;
        if state_dir.canonicalize_utf8().is_ok_and(|state_dir| canonical.starts_with(state_dir)) {
            return Err(Error::usage(format!(
                "{file} is in the state folder, which keeps the ledger's own files"
            ))
            .hint("name a file in another folder"));
        }
        let temporary =
            tempfile::Builder::new().prefix(".minidvodbcopy.").suffix(".new").tempfile_in(&folder).map_err(
                |error| {
                    Error::configuration(format!("cannot write into the folder of {file}: {error}"))
                        .hint(WRITABLE)
                },
            )?;
        Ok(Self { file, folder, temporary: BufWriter::new(temporary) })
    }

    /// The same for every user of this machine to read: a program that collects it runs as another one.
    ///
    /// # Errors
    /// 78 where the file system does not let its permissions be changed.
    pub fn for_all_to_read(self) -> Result<Self> {
        let file = self.temporary.get_ref().as_file();
        file.set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(|error| not_written(&self.file, &error))?;
        Ok(self)
    }

    /// As readable as the file that it replaces, if there is one; else its owner's alone.
    ///
    /// # Errors
    /// 78 where the file system does not let its permissions be changed.
    pub fn with_permissions_of_the_old_one(self) -> Result<Self> {
        if let Ok(old) = fs::metadata(&self.file) {
            let file = self.temporary.get_ref().as_file();
            let mode = old.permissions().mode() & 0o666;
            file.set_permissions(fs::Permissions::from_mode(mode | 0o600))
                .map_err(|error| not_written(&self.file, &error))?;
        }
        Ok(self)
    }

    /// Adds a text.
    ///
    /// # Errors
    /// 78 where it can't be written: the disk is full, say.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.temporary.write_all(text.as_bytes()).map_err(|error| not_written(&self.file, &error))
    }

    /// Flushes the file to the disk and gives it its name.
    ///
    /// # Errors
    /// 78 where that is not possible.
    pub fn put_in_place(self) -> Result<()> {
        let Self { file, folder, temporary } = self;
        let temporary = temporary.into_inner().map_err(|error| not_written(&file, &error.into_error()))?;
        temporary.as_file().sync_all().map_err(|error| not_written(&file, &error))?;
        temporary.persist(&file).map_err(|error| not_written(&file, &error.error))?;
        match fs::File::open(&folder).and_then(|folder| folder.sync_all()) {
            // Some file systems over a network have no such thing.
            Err(error) if error.kind() != ErrorKind::InvalidInput => {
                Err(error).or_configuration(format!("{file} is complete, but its folder cannot be flushed"))
            }
            _ => Ok(()),
        }
    }
}

/// The way out where a folder is in the way.
const WRITABLE: &str = "make it writable for this user, or name a file elsewhere";

fn not_looked_at(file: &Utf8Path, error: &std::io::Error) -> Error {
    Error::configuration(format!("cannot look at {file}: {error}")).hint("name a file elsewhere")
}

fn not_written(file: &Utf8Path, error: &std::io::Error) -> Error {
    Error::configuration(format!("cannot write {file}: {error}")).hint("what was there before is as it was")
}

/// The file that a name stands for, if it may be made or replaced: what a symlink leads to.
fn replaceable(file: &Utf8Path) -> Result<Utf8PathBuf> {
    let folder = || Error::usage(format!("{file} is a folder")).hint("name a file in it");
    match fs::metadata(file) {
        Ok(meta) if meta.is_dir() => Err(folder()),
        Ok(meta) if !meta.is_file() => {
            Err(Error::usage(format!("{file} is no plain file, and is not replaced by one"))
                .hint("name a plain file, or one that is not there yet"))
        }
        Ok(_) => file.canonicalize_utf8().map_err(|error| not_looked_at(file, &error)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(not_looked_at(file, &error)),
        Err(_) if file.symlink_metadata().is_ok() => {
            Err(Error::usage(format!("{file} is a symlink that leads nowhere")).hint("name a file"))
        }
        Err(_) if file.as_str().ends_with('/') => Err(folder()),
        Err(_) => Ok(file.to_owned()),
    }
}
