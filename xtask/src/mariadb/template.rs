//! The data folder of a new server: made once in a process by MariaDB's own program, and written from memory
//! for every further server.
//!
//! Invariant: what is remembered was read before any server ran on it, and nothing stays behind on disk. It
//! holds some 20 MB of memory, and saves about a second for each server.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use super::process;
use crate::setup::Tool;

/// Folders before what is in them.
enum Entry {
    Folder(Utf8PathBuf),
    File(Utf8PathBuf, Vec<u8>),
}

static TEMPLATE: Mutex<Option<Vec<Entry>>> = Mutex::new(None);

/// Fills `data`, which must not exist yet. `options` are the server options that decide how files look.
pub(super) fn fill(data: &Utf8Path, options: &[&str]) -> io::Result<()> {
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(entries) = template.as_ref() {
        return write(data, entries).map_err(|error| named(data, &error));
    }
    install(data, options)?;
    *template = Some(read(data).map_err(|error| named(data, &error))?);
    Ok(())
}

fn install(data: &Utf8Path, options: &[&str]) -> io::Result<()> {
    let program = Tool::MariaDbInstall.require()?;
    let mut command = Command::new(&program);
    command
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--skip-name-resolve", &format!("--datadir={data}")])
        .args(process::user_option())
        .args(options)
        .stdin(Stdio::null());
    let output = process::with_pinned_environment(&mut command).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} could not make {data}: {}", said.trim())))
}

fn read(data: &Utf8Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut folders = vec![Utf8PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in data.join(&folder).read_dir_utf8()? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                entries.push(Entry::Folder(name.clone()));
                folders.push(name);
            } else {
                entries.push(Entry::File(name, fs::read(entry.path())?));
            }
        }
    }
    Ok(entries)
}

fn write(data: &Utf8Path, entries: &[Entry]) -> io::Result<()> {
    fs::create_dir(data)?;
    for entry in entries {
        match entry {
            Entry::Folder(name) => fs::create_dir(data.join(name))?,
            Entry::File(name, bytes) => fs::write(data.join(name), bytes)?,
        }
    }
    Ok(())
}

fn named(data: &Utf8Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the database server's data in {data}: {error}"))
}
