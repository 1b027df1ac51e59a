//! Folders at a target's path that no copy explains.
//!
//! Invariant: they are named, and are no fault: others may use the disk, too. What stands in the ledger as the
//! final path of any copy, new ones among them, is explained; so is a folder that leads to another target's
//! path, what begins copies (`.minidvodbcopy`, whichever ledger's), and a file system's own `lost+found`.

use super::Auditor;
use super::inspect::Ground;
use crate::error::Result;
use crate::ledger::{Failure, Look, Snapshot};
use crate::model::{AbsolutePath, Host, Machine, Name, STAGING, Target, final_path};
use crate::transfer::source::shown;
use crate::transfer::{Connection, Halt, Watch, inventory};

/// So many names are looked up in the ledger at once.
const LOOKED_UP_AT_ONCE: usize = 10_000;
/// What a file system has in its topmost folder.
const LOST_AND_FOUND: &str = "lost+found";

impl Auditor<'_> {
    /// Compares the folders in a path with what the ledger knows: once for each path, and only where a target
    /// goes.
    pub(super) fn search_unexplained(
        &mut self,
        connection: &mut Connection,
        host: &Host,
        ground: &Ground,
    ) -> Result<(), Halt> {
        let key = (host.clone(), ground.path.tidy().into_owned());
        let targets = self.context.ledger.read(|ledger| ledger.targets())?;
        let is_target = targets.iter().any(|target| target.host == *host && target.path.tidy() == key.1);
        if !is_target || !self.searched.insert(key) {
            return Ok(());
        }
        let watch = Watch::new(self.context.stop.clone(), Target::DEADLINE_S);
        let (mut names, mut failed) = (Vec::new(), Ok(()));
        let setting = &self.context.setting;
        inventory::each_folder(connection, &ground.there, setting, &watch, &mut |name| {
            names.push(name.to_vec());
            if names.len() >= LOOKED_UP_AT_ONCE && failed.is_ok() {
                failed = self.sift(host, ground, &std::mem::take(&mut names));
            }
        })?;
        failed?;
        self.sift(host, ground, &names)?;
        Ok(())
    }

    fn sift(&mut self, host: &Host, ground: &Ground, names: &[Vec<u8>]) -> Result<()> {
        let unexplained = self.context.ledger.read(|ledger| {
            let machine = ledger.host_or_unknown(host)?.machine;
            let mut elsewhere = Vec::new();
            for target in ledger.targets()? {
                if ledger.host_or_unknown(&target.host)?.machine == machine {
                    elsewhere.push(target.path);
                }
            }
            let mut unexplained = Vec::new();
            for name in names {
                if !is_explained(ledger, &machine, ground, &elsewhere, name)? {
                    unexplained.push(shown(name));
                }
            }
            Ok(unexplained)
        })?;
        for name in unexplained {
            self.teller.note_unexplained(host, &ground.path, &name);
        }
        Ok(())
    }
}

fn is_explained(
    ledger: &Snapshot,
    machine: &Machine,
    ground: &Ground,
    targets: &[AbsolutePath],
    name: &[u8],
) -> Result<bool, Failure> {
    let Ok(text) = std::str::from_utf8(name) else { return Ok(false) };
    if text == STAGING || text == LOST_AND_FOUND {
        return Ok(true);
    }
    let Ok(name) = Name::parse(text) else { return Ok(false) };
    // The path as the ledger has it, and as it is with its symlinks resolved.
    let at = AbsolutePath::parse(&ground.there.view.at).ok();
    for path in std::iter::once(&ground.path).chain(&at) {
        let whole = final_path(path, &name);
        let leads_to_target = targets.iter().any(|target| {
            let target = target.tidy();
            target.strip_prefix(&whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if leads_to_target || ledger.owner_of(machine, &whole)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
