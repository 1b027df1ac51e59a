//! When a pass ended last, and when one ended well: what monitoring asks first.
//!
//! Kept in two small files beside the ledger, since a pass that has nothing to do commits nothing. Invariant:
//! each file is replaced by a whole one; what can't be read counts as not known, and what can't be written never
//! ends a pass. This must not know what a pass does.

use std::fs;
use std::io::Write as _;

use camino::Utf8Path;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state;

/// The last pass, however it ended.
const LAST: &str = "last_pass";
/// The last pass that succeeded.
const LAST_SUCCESS: &str = "last_success";
/// No record is longer.
const MAX_BYTES: u64 = 1024;

/// A pass that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedPass {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The exit code that it ended with.
    pub exit_code: u8,
}

/// The same in a file.
#[derive(Serialize, Deserialize)]
struct EndedPassRecord {
    began_ms: i64,
    ended_ms: i64,
    exit_code: u8,
}

/// Notes that a pass has ended, and whether it counts as a success.
pub fn note(state_dir: &Utf8Path, pass: EndedPass, has_succeeded: bool) {
    let record = EndedPassRecord {
        began_ms: pass.began.as_millisecond(),
        ended_ms: pass.ended.as_millisecond(),
        exit_code: pass.exit_code,
    };
    let names: &[&str] = if has_succeeded { &[LAST, LAST_SUCCESS] } else { &[LAST] };
    for name in names {
        if let Err(error) = write(state_dir, name, &record) {
            tracing::warn!("cannot note the end of the pass in {state_dir}/{name}: {error}");
        }
    }
}

/// Not flushed to the disk: after a loss of power an older time, or none, does no harm.
fn write(state_dir: &Utf8Path, name: &str, record: &EndedPassRecord) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(state_dir)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.persist(state_dir.join(name))?;
    Ok(())
}

/// The pass that ended last.
pub fn last(state_dir: &Utf8Path) -> Option<EndedPass> {
    read(state_dir, LAST)
}

/// The pass that was the last to succeed.
pub fn last_success(state_dir: &Utf8Path) -> Option<EndedPass> {
    read(state_dir, LAST_SUCCESS)
}

fn read(state_dir: &Utf8Path, name: &str) -> Option<EndedPass> {
    let path = state_dir.join(name);
    state::expect_trusted(&path).ok()?;
    let meta = path.symlink_metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return None;
    }
    let record: EndedPassRecord = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    Some(EndedPass {
        began: Timestamp::from_millisecond(record.began_ms).ok()?,
        ended: Timestamp::from_millisecond(record.ended_ms).ok()?,
        exit_code: record.exit_code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn pass(ended_s: i64, exit: Exit) -> EndedPass {
        let at = |second| Timestamp::from_second(second).unwrap();
        EndedPass { began: at(ended_s - 5), ended: at(ended_s), exit_code: exit as u8 }
    }

    #[test]
    fn a_pass_that_did_not_succeed_is_the_last_one_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!((last(state_dir), last_success(state_dir)), (None, None));
        note(state_dir, pass(100, Exit::Done), true);
        note(state_dir, pass(200, Exit::Faulted), false);
        assert_eq!(last(state_dir), Some(pass(200, Exit::Faulted)));
        assert_eq!(last_success(state_dir), Some(pass(100, Exit::Done)));
        assert_eq!(fs::read_dir(state_dir).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn what_is_no_record_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = Utf8Path::from_path(dir.path()).unwrap();
        let long = vec![b' '; 5000];
        for bytes in
            [&b""[..], b"{", b"{\"began_ms\":1,\"ended_ms\":9223372036854775807,\"exit_code\":0}", &long]
        {
            fs::write(state_dir.join(LAST), bytes).unwrap();
            assert_eq!(last(state_dir), None);
        }
        fs::remove_file(state_dir.join(LAST)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", state_dir.join(LAST)).unwrap();
        assert_eq!(last(state_dir), None);
        // The next pass replaces it all the same.
        note(state_dir, pass(100, Exit::Done), true);
        assert_eq!(last(state_dir), Some(pass(100, Exit::Done)));
    }
}
