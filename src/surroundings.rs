//! What this process was started with, as far as another process is to be started with the same: by cron, by
//! systemd, or by a person who pastes a command.
//!
//! Invariant: read once, at the start; only variables of this program are kept, and never a password. It must not
//! know what the commands are for.

use std::ffi::OsString;
use std::path::Path;

use camino::Utf8PathBuf;

use crate::error::{Error, Result};
use crate::ui;

/// The PATH of cron and of most service managers.
pub const POOR_PATH: &str = "/usr/bin:/bin";
/// What the variables of this program begin with.
const OWN: &str = "MINIDVODBCOPY_";
/// The variable that names the state folder, which commands are told by an option instead.
const STATE_DIR: &str = "MINIDVODBCOPY_STATE_DIR";

/// What this process was started with.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// This program's file.
    pub program: Utf8PathBuf,
    /// The variables of this program that are set, but the state folder's, by name.
    pub variables: Vec<(String, String)>,
    /// Whether the state folder was named by the option.
    pub is_state_dir_typed: bool,
    /// HOME.
    pub home: Option<String>,
    /// PATH.
    pub path: Option<String>,
}

impl Surroundings {
    /// As they are.
    ///
    /// # Errors
    /// 78 where a variable of this program is not UTF-8.
    pub fn read(
        variables: impl Iterator<Item = (OsString, OsString)>,
        is_state_dir_typed: bool,
    ) -> Result<Self> {
        let mut found = Self { is_state_dir_typed, ..Self::default() };
        for (name, value) in variables {
            let Some(name) = name.to_str().map(str::to_owned) else { continue };
            match name.as_str() {
                "HOME" => found.home = value.into_string().ok(),
                "PATH" => found.path = value.into_string().ok(),
                STATE_DIR => {}
                _ if name.starts_with(OWN) && !value.is_empty() => {
                    let value = value
                        .into_string()
                        .map_err(|_| Error::configuration(format!("{name} is not UTF-8")))?;
                    found.variables.push((name, value));
                }
                _ => {}
            }
        }
        found.variables.sort();
        found.program = std::env::current_exe()
            .ok()
            .and_then(|program| Utf8PathBuf::try_from(program).ok())
            .unwrap_or_else(|| Utf8PathBuf::from("minidvodbcopy"));
        Ok(found)
    }

    /// The first program of a name on PATH.
    pub fn find(&self, name: &str) -> Option<Utf8PathBuf> {
        let path = self.path.as_deref().unwrap_or(POOR_PATH);
        path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Utf8PathBuf::from(dir).join(name)).find(
            |file| {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::metadata(file)
                    .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            },
        )
    }

    /// How this program is called in a command that is to be pasted: by its name, where PATH leads to this file.
    pub fn typed_program(&self) -> String {
        let name = "minidvodbcopy";
        let same = |file: Utf8PathBuf| is_same_file(file.as_std_path(), self.program.as_std_path());
        if self.find(name).is_some_and(same) { name.to_owned() } else { ui::shell_word(&self.program) }
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_of_this_program_are_kept() {
        let all = [
            ("MINIDVODBCOPY_SSH_CONFIG", "/c"),
            ("MINIDVODBCOPY_ANSWER_SECONDS", "5"),
            ("MINIDVODBCOPY_STATE_DIR", "/s"),
            ("MYSQL_PWD", "secret"),
            ("HOME", "/h"),
            ("PATH", "/bin"),
            ("SSH_AUTH_SOCK", "/a"),
        ];
        let all = all.into_iter().map(|(name, value)| (name.into(), value.into()));
        let found = Surroundings::read(all, false).unwrap();
        let kept: Vec<&str> = found.variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["MINIDVODBCOPY_ANSWER_SECONDS", "MINIDVODBCOPY_SSH_CONFIG"]);
        assert_eq!((found.home.as_deref(), found.path.as_deref()), (Some("/h"), Some("/bin")));
        assert!(found.find("sh").is_some());
        assert!(found.find("no-such-program").is_none());
    }
}
