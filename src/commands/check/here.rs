//! This machine: the state folder, file locks, the ledger, programs, minidvodbs and the folders they lie in.

use std::fs::{File, OpenOptions};

use camino::{Utf8Path, Utf8PathBuf};
use fs2::FileExt as _;

use super::{Findings, schedule};
use crate::error::Result;
use crate::faults::Met;
use crate::ledger::Look as _;
use crate::model::Minidvodb;
use crate::pass::Context;
use crate::transfer::inspect::{self, Age};
use crate::transfer::source::{Roots, Source};
use crate::{state, sync, ui};

/// With less room than this the ledger, its backups and the manifests have no future.
const ROOM_MIN_BYTES: u64 = 256 * 1024 * 1024;
/// So many minidvodbs are looked at to see where they lie.
const LOOKED_AT: usize = 1_000;
/// So many of them are tried.
const TRIED: usize = 20;

/// Tries everything on this machine; says whether the ledger, if there is one, can be read.
pub(super) fn examine(context: &Context, findings: &mut Findings<'_>) -> Result<bool> {
    findings.begin("this machine")?;
    let folder = state_folder(context, findings)?;
    let can_read = match folder {
        Folder::Usable => {
            locks(context, findings)?;
            ledger(context, findings)?
        }
        Folder::NotYet => {
            findings.not_tried(&["file locks"], "there is no state folder yet")?;
            ledger(context, findings)?
        }
        Folder::Unusable => {
            findings.not_tried(&["file locks", "ledger"], "there is no state folder that can be used")?;
            false
        }
    };
    program(context, findings, "rsync")?;
    program(context, findings, "ssh")?;
    if can_read {
        sources(context, findings)?;
    } else {
        findings.not_tried(&["sources"], "the ledger cannot be read")?;
    }
    schedule::examine(context, findings)?;
    Ok(can_read)
}

/// What becomes of the state folder.
enum Folder {
    Usable,
    NotYet,
    Unusable,
}

fn state_folder(context: &Context, findings: &mut Findings<'_>) -> Result<Folder> {
    let dir = &context.state_dir;
    if let Err(error) = state::check(dir) {
        findings.fail_by("state folder", &error)?;
        return Ok(Folder::Unusable);
    }
    if !dir.is_dir() {
        findings.advise(
            "state folder",
            format!("{dir} is not there yet: the first command that has something to keep makes it"),
            Vec::new(),
        )?;
        return Ok(Folder::NotYet);
    }
    if let Err(error) = tempfile::tempfile_in(dir) {
        let mend = vec![format!("ls -ld {0} && df -h {0}", ui::shell_word(dir))];
        findings.fail("state folder", format!("{dir}: nothing can be written there: {error}"), mend)?;
        return Ok(Folder::Unusable);
    }
    match fs2::available_space(dir) {
        Ok(free) if free < ROOM_MIN_BYTES => findings.advise(
            "state folder",
            format!("{dir}: only {} are free for ledger, backups and manifests", ui::size(free)),
            vec![format!("df -h {}", ui::shell_word(dir))],
        )?,
        Ok(free) => {
            findings
                .ok("state folder", format!("{dir}: private, on a local disk, {} free", ui::size(free)))?;
        }
        Err(error) => {
            findings.advise("state folder", format!("{dir}: its room is not known: {error}"), Vec::new())?;
        }
    }
    Ok(Folder::Usable)
}

/// Whether a lock really keeps another one out, which some file systems only pretend.
fn locks(context: &Context, findings: &mut Findings<'_>) -> Result<()> {
    match try_locks(&context.state_dir) {
        Ok(()) => findings.ok("file locks", "a second one is kept out while the first is held"),
        Err(why) => findings.fail(
            "file locks",
            format!("{why}; two passes could copy the same at once: name a folder on a local disk with --state-dir DIR or MINIDVODBCOPY_STATE_DIR"),
            vec![format!("df -hT {}", ui::shell_word(&context.state_dir))],
        ),
    }
}

fn try_locks(dir: &Utf8Path) -> Result<(), String> {
    let probe = tempfile::Builder::new()
        .prefix(".check.")
        .tempfile_in(dir)
        .map_err(|error| format!("no file can be made to be locked: {error}"))?;
    let again =
        || OpenOptions::new().read(true).write(true).open(probe.path()).map_err(|error| error.to_string());
    let (first, second): (File, File) = (again()?, again()?);
    first.try_lock_exclusive().map_err(|error| format!("a file cannot be locked: {error}"))?;
    if second.try_lock_exclusive().is_ok() {
        return Err("a file that is locked can be locked again".to_owned());
    }
    fs2::FileExt::unlock(&first).map_err(|error| format!("a lock cannot be given back: {error}"))?;
    second.try_lock_exclusive().map_err(|error| format!("a lock that was given back is still held: {error}"))
}

fn ledger(context: &Context, findings: &mut Findings<'_>) -> Result<bool> {
    if !context.ledger.exists() {
        findings.advise("ledger", "there is none yet", Vec::new())?;
        no_minidvodbs(context, findings)?;
        return Ok(true);
    }
    match context.ledger.check() {
        Ok(census) => {
            let found = format!(
                "whole: {}, {}, {}",
                ui::count(census.minidvodbs, "minidvodb", "minidvodbs"),
                ui::count(census.targets, "target", "targets"),
                ui::count(census.copies, "copy", "copies")
            );
            findings.ok("ledger", found)?;
            stages(context, findings)?;
            if census.minidvodbs == 0 {
                no_minidvodbs(context, findings)?;
            }
            if census.targets == 0 {
                let add = ["target", "add", "GROUP", "HOST", "/PATH"];
                findings.advise("targets", "nothing goes anywhere yet", vec![context.own_command(&add)])?;
            }
            Ok(true)
        }
        Err(error) => {
            findings.fail_by("ledger", &error)?;
            Ok(false)
        }
    }
}

/// What a pass leaves out.
fn stages(context: &Context, findings: &mut Findings<'_>) -> Result<()> {
    let off = context.ledger.read(|ledger| ledger.stages())?.off();
    if off.is_empty() {
        return Ok(());
    }
    let on = [&["stage", "on"][..], &off].concat();
    findings.advise(
        "stages",
        format!("off, so that no pass does them: {}", off.join(", ")),
        vec![context.own_command(&on)],
    )
}

/// The ways in which this ledger learns of minidvodbs.
fn no_minidvodbs(context: &Context, findings: &mut Findings<'_>) -> Result<()> {
    if sync::database_of(context)?.is_some() {
        let found = "none came from the database yet, which only tells of groups that have a target";
        return findings.advise("minidvodbs", found, vec![context.own_command(&["sync"])]);
    }
    findings.advise(
        "minidvodbs",
        "none is known: take them from a list, a folder, or the IPP database",
        vec![
            context.own_command(&["minidvodb", "import", "FILE.csv"]),
            context.own_command(&["minidvodb", "import", "--scan", "DIR", "--group", "GROUP", "--dry-run"]),
            context.own_command(&["database", "set", "mysql://USER@HOST/NAME", "--password-file", "FILE"]),
        ],
    )
}

fn program(context: &Context, findings: &mut Findings<'_>, name: &'static str) -> Result<()> {
    let package = if name == "ssh" { "openssh-client" } else { "rsync" };
    let install = vec![format!("sudo apt-get install {package}")];
    match inspect::program_here(name, &context.setting) {
        Err(why) => {
            let path = context.surroundings.path.as_deref().unwrap_or("not set");
            findings.fail(name, format!("{why}; PATH is {path}"), install)
        }
        Ok(program) => match program.age {
            Age::TooOld => findings.fail(name, format!("{}: older than 3.2", program.line), install),
            Age::Old => findings.advise(name, old_rsync(&program.line), install),
            Age::Unknown if name == "rsync" => {
                findings.fail(name, format!("{}: no version is named", program.line), install)
            }
            Age::Good | Age::Unknown => findings.ok(name, program.line),
        },
    }
}

pub(super) fn old_rsync(line: &str) -> String {
    format!(
        "{line}: before 3.4, so that a malicious peer may reach files that it should not (CVE-2024-12084 and others), unless the distribution has mended this one"
    )
}

/// The folders that minidvodbs may be copied from, and the minidvodbs themselves.
fn sources(context: &Context, findings: &mut Findings<'_>) -> Result<()> {
    if !context.ledger.exists() {
        return findings.not_tried(&["sources"], "there is no ledger");
    }
    let (merged, common, roots) = context.ledger.read(|ledger| {
        let (mut merged, mut common, mut left) = (Vec::new(), None::<Utf8PathBuf>, LOOKED_AT);
        ledger.each_minidvodb(|minidvodb| {
            let folder = Utf8Path::new(minidvodb.path.as_str());
            let folder = folder.parent().unwrap_or(folder);
            common = Some(common.take().map_or_else(|| folder.to_owned(), |common| shared(&common, folder)));
            if minidvodb.is_eligible() && merged.len() < TRIED {
                merged.push(minidvodb);
            }
            left -= 1;
            Ok(left > 0)
        })?;
        Ok((merged, common, Roots(ledger.source_roots()?)))
    })?;
    if roots.0.is_empty() {
        let folder = common.filter(|common| common.components().count() > 1);
        let folder = folder.unwrap_or_else(|| Utf8PathBuf::from("/DIR"));
        findings.advise(
            "sources",
            "minidvodbs may be copied from anywhere: a wrong path in a list or a table would be believed",
            vec![context.own_command(&["source", "add", folder.as_str()])],
        )?;
    }
    for root in &roots.0 {
        match std::fs::read_dir(root.as_str()) {
            Ok(_) => findings.ok("sources", root.as_str())?,
            Err(error) => findings.fail(
                "sources",
                format!("{root}: {error}"),
                vec![format!("ls -ld {}", ui::shell_word(root.as_str()))],
            )?,
        }
    }
    minidvodbs(context, findings, &merged, &roots)
}

/// Whether the first minidvodbs that may be copied are where this ledger says that they are.
fn minidvodbs(
    context: &Context,
    findings: &mut Findings<'_>,
    merged: &[Minidvodb],
    roots: &Roots,
) -> Result<()> {
    if merged.is_empty() {
        return Ok(());
    }
    let refused: Vec<Met> =
        merged.iter().filter_map(|minidvodb| Source::find(&minidvodb.path, roots).err()).collect();
    let Some(first) = refused.first() else {
        let found = match merged.len() {
            1 => "the one that may be copied is where it should be".to_owned(),
            several => format!("{several} that may be copied were looked for, and are where they should be"),
        };
        return findings.ok("minidvodbs", found);
    };
    let of = format!("{} of {} looked at", refused.len(), merged.len());
    let found = format!("{of} cannot be copied from here: fault {}: {}", first.fault, first.message);
    findings.advise(
        "minidvodbs",
        found,
        vec![context.own_command(&["faults", &first.fault.code().to_string()])],
    )
}

/// The deepest folder that both lie in.
fn shared(a: &Utf8Path, b: &Utf8Path) -> Utf8PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_all_lie_in_is_found() {
        let shared = |a: &str, b: &str| shared(Utf8Path::new(a), Utf8Path::new(b)).to_string();
        assert_eq!(shared("/data/a/b", "/data/a/c"), "/data/a");
        assert_eq!(shared("/data/a", "/data/ab"), "/data");
        assert_eq!(shared("/x", "/y"), "/");
    }

    #[test]
    fn locks_on_this_disk_keep_each_other_out() {
        let dir = tempfile::tempdir().unwrap();
        try_locks(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }
}
