//! The state folder: where it is, and whether it may be used.
//!
//! Invariant: it is its user's own and private (0700), what is in it is what it seems and not a symlink to
//! somewhere else, and it is never on a file system whose locks or writes cannot be trusted.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::{Error, IoContext, Result};

/// Where the state folder is, by option or environment.
///
/// # Errors
/// 78 where neither says, or a path is not UTF-8.
pub fn locate(option: Option<&str>, environment: impl Fn(&str) -> Option<OsString>) -> Result<Utf8PathBuf> {
    let utf8 = |name: &str, value: OsString| {
        Utf8PathBuf::try_from(std::path::PathBuf::from(value))
            .map_err(|error| Error::configuration(format!("{name} is not UTF-8: {error}")))
    };
    let named = |name: &str| environment(name).filter(|value| !value.is_empty());
    let dir = if let Some(dir) = option {
        Utf8PathBuf::from(dir)
    } else if let Some(dir) = named("MINIDVODBCOPY_STATE_DIR") {
        utf8("MINIDVODBCOPY_STATE_DIR", dir)?
    } else if let Some(dir) = named("XDG_STATE_HOME") {
        utf8("XDG_STATE_HOME", dir)?.join("minidvodbcopy")
    } else if let Some(home) = named("HOME") {
        utf8("HOME", home)?.join(".local/state/minidvodbcopy")
    } else {
        return Err(Error::configuration("no place for the state: neither HOME nor a state folder is named")
            .hint("name one with --state-dir DIR or MINIDVODBCOPY_STATE_DIR"));
    };
    if dir.as_str().is_empty() {
        return Err(Error::usage("the state folder's name is empty").hint("name one with --state-dir DIR"));
    }
    if dir.is_absolute() {
        return Ok(dir);
    }
    let here = std::env::current_dir().or_configuration("cannot find the working folder")?;
    Ok(utf8("the working folder", here.into())?.join(dir))
}

/// Makes the state folder where there is none, and refuses one that cannot be trusted.
///
/// # Errors
/// 78, with the reason and the way out.
pub fn prepare(dir: &Utf8Path) -> Result<()> {
    for folder in [dir.to_owned(), dir.join("locks"), dir.join("backup"), dir.join("manifests")] {
        if !folder.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
                Error::configuration(format!("cannot make the state folder {folder}: {error}"))
                    .hint("name another one with --state-dir DIR or MINIDVODBCOPY_STATE_DIR")
            })?;
        }
    }
    check(dir)
}

/// Refuses a state folder that cannot be trusted.
///
/// # Errors
/// 78, with the reason and the way out.
pub fn check(dir: &Utf8Path) -> Result<()> {
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).or_configuration(format!("cannot look at the state folder {dir}")),
    };
    if !meta.is_dir() {
        return Err(Error::configuration(format!("the state folder {dir} is not a folder"))
            .hint("name another one with --state-dir DIR or MINIDVODBCOPY_STATE_DIR"));
    }
    expect_own(dir, &meta, "the state folder ")?;
    if meta.mode() & 0o022 != 0 {
        return Err(Error::configuration(format!("the state folder {dir} can be written by others"))
            .hint(format!("type: chmod 700 '{dir}'")));
    }
    for name in ["ledger.redb", "locks", "backup", "manifests"] {
        expect_trusted(&dir.join(name))?;
    }
    let stats = rustix::fs::statfs(dir.as_std_path()).or_configuration(format!("cannot look at {dir}"))?;
    if let Some(kind) = unsafe_kind(stats.f_type.cast_unsigned()) {
        return Err(Error::configuration(format!(
            "the state folder {dir} is on {kind}, where file locks and the ledger's writes are not safe"
        ))
        .hint("name a folder on a local disk with --state-dir DIR or MINIDVODBCOPY_STATE_DIR"));
    }
    Ok(())
}

/// Refuses what is in the state folder and is a symlink, somebody else's, or can be written by others; what is
/// not there is none of these.
///
/// # Errors
/// 78, with the way out.
pub fn expect_trusted(path: &Utf8Path) -> Result<()> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).or_configuration(format!("cannot look at {path}")),
    };
    if meta.is_symlink() {
        return Err(Error::configuration(format!("{path} is a symlink, which is not followed"))
            .hint("look at where it leads and who made it; the state folder itself may be a symlink, or lie elsewhere (--state-dir DIR)"));
    }
    expect_own(path, &meta, "")?;
    if meta.mode() & 0o022 != 0 {
        return Err(Error::configuration(format!("{path} can be written by others"))
            .hint(format!("type: chmod go-w {}", crate::ui::shell_word(path))));
    }
    Ok(())
}

/// Refuses what belongs to another user: they could change it under our hands, and what we made in it would
/// stop their own passes.
fn expect_own(path: &Utf8Path, meta: &fs::Metadata, what: &str) -> Result<()> {
    if meta.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::configuration(format!("{what}{path} belongs to another user, of id {}", meta.uid())).hint(
        format!(
            "run this as that user (sudo -u '#{}'), or name a folder of your own with --state-dir DIR",
            meta.uid()
        ),
    ))
}

/// File systems over a network, by the magic numbers of statfs(2).
fn unsafe_kind(magic: u64) -> Option<&'static str> {
    match magic & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("a Windows share (SMB)"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(option: Option<&str>, environment: &[(&str, &str)]) -> Result<Utf8PathBuf> {
        locate(option, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_option_comes_before_the_environment_before_the_home() {
        let all = [("MINIDVODBCOPY_STATE_DIR", "/m"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(located(Some("/o"), &all).unwrap(), "/o");
        assert_eq!(located(None, &all).unwrap(), "/m");
        assert_eq!(located(None, &all[1..]).unwrap(), "/x/minidvodbcopy");
        assert_eq!(located(None, &all[2..]).unwrap(), "/h/.local/state/minidvodbcopy");
        assert!(located(None, &[]).is_err());
    }

    #[test]
    fn network_file_systems_are_known_by_their_magic_numbers() {
        assert_eq!(unsafe_kind(0x6969), Some("NFS"));
        assert_eq!(unsafe_kind(0xef53), None);
        assert_eq!(unsafe_kind(0xffff_ffff_ff53_4d42), Some("a Windows share (SMB)"));
    }
}
