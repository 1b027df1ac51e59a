//! `minidvodb import --scan`: the DVO databases under a folder, for sites without the IPP's database.
//!
//! A folder with an `Images.dat` is one, and nothing below it is looked at. Symlinks are not followed, but one that
//! leads to a database elsewhere is named; folders whose names begin with a dot are passed over: staging folders and
//! snapshots hold databases that are none.
//! Invariants: what is known by its path, or by another path to the same folder, is left as it is, id and all; another one gets the next id that no
//! minidvodb and no copy of this ledger has. Where a database is set, ids are given there and nowhere else; and where
//! ids were given here, none can be set any more. What cannot be taken is named, and the rest goes on.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::{Error, Exit, IoContext as _, Result};
use crate::ledger::{Change, Failure, Look};
use crate::model::{AbsolutePath, Group, Minidvodb, MinidvodbId, MinidvodbState};
use crate::pass::Context;
use crate::transfer::source::IMAGES;
use crate::{state, ui};

/// A name in minidvodb_name has at most so many bytes.
const NAME_MAX_BYTES: usize = 64;

/// What was found under a folder.
#[derive(Debug, Default)]
struct Found {
    databases: Vec<AbsolutePath>,
    /// Those of them that are known by another path, and as what.
    known: HashMap<String, (MinidvodbId, Group)>,
    /// What is passed over, with the reason.
    refused: Vec<String>,
}

/// What this ledger knows of this machine's folders, by their paths without symlinks.
#[derive(Debug, Default)]
struct KnownHere {
    minidvodbs: HashMap<PathBuf, (MinidvodbId, Group)>,
    /// Where copies go to, on this machine.
    targets: Vec<PathBuf>,
}

impl KnownHere {
    /// The file systems are asked when the ledger is closed again.
    fn of(context: &Context) -> Result<Self> {
        if !context.ledger.exists() {
            return Ok(Self::default());
        }
        let (known, targets) = context.ledger.read(|ledger| {
            let mut known = Vec::new();
            ledger.each_minidvodb(|minidvodb| {
                known.push((minidvodb.path, (minidvodb.id, minidvodb.group)));
                Ok(true)
            })?;
            Ok((known, ledger.targets()?))
        })?;
        let real = |path: &AbsolutePath| fs::canonicalize(path.as_str()).ok();
        Ok(Self {
            minidvodbs: known.into_iter().filter_map(|(path, what)| Some((real(&path)?, what))).collect(),
            targets: targets
                .iter()
                .filter(|target| target.host.is_local())
                .filter_map(|target| real(&target.path))
                .collect(),
        })
    }
}

/// What is to be done with what was found.
#[derive(Debug, Default)]
struct Plan {
    new: Vec<Minidvodb>,
    known: u64,
    refused: Vec<String>,
}

pub(super) fn import(context: &Context, folder: &Utf8Path, group: &Group, is_dry: bool) -> Result<Exit> {
    let folder = absolute(folder)?;
    let known_here = KnownHere::of(context)?;
    let found = look(&folder, &known_here)?;
    if found.databases.is_empty() && found.refused.is_empty() {
        context.ui.notice(&format!("there is no folder with an {IMAGES} under {folder}"));
        return Ok(Exit::Done);
    }
    let plan = if is_dry { preview(context, found, group)? } else { take(context, found, group)? };
    let verb = if is_dry { "would be taken in as" } else { "taken in as" };
    for minidvodb in &plan.new {
        let line = format!("{} {verb} minidvodb {} of {group}\n", minidvodb.path, minidvodb.id);
        context.ui.print(&ui::escape_lines(&line))?;
    }
    plan.refused.iter().for_each(|refused| context.ui.notice(&format!("passed over: {refused}")));
    let would = if is_dry { " would be" } else { "" };
    context.ui.tell(&format!(
        "minidvodbs under {folder}: {}{would} added, {} known already, {} passed over",
        plan.new.len(),
        plan.known,
        plan.refused.len()
    ));
    Ok(if plan.refused.is_empty() { Exit::Done } else { Exit::Faulted })
}

fn absolute(folder: &Utf8Path) -> Result<Utf8PathBuf> {
    let path = std::path::absolute(folder).or_configuration(format!("cannot find {folder}"))?;
    let path = Utf8PathBuf::try_from(path).map_err(|_| Error::usage("the folder's path is not UTF-8"))?;
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(path),
        Ok(_) => Err(refused(&path, &"it is not a folder")),
        Err(error) => Err(refused(&path, &error)),
    }
}

/// The error about a folder that nothing can be looked for in.
fn refused(folder: &Utf8Path, why: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("cannot look into {}: {why}", folder.as_str().escape_debug()))
        .hint("name a folder on this machine that this user may read")
}

/// Everything under a folder, in the order of its path.
fn look(top: &Utf8Path, known_here: &KnownHere) -> Result<Found> {
    let mut found = Found::default();
    // Below it no symlink is followed, so that this is all that has to be resolved.
    let real_top = fs::canonicalize(top).or_configuration(format!("cannot find {top}"))?;
    let mut folders = vec![top.as_std_path().to_owned()];
    while let Some(folder) = folders.pop() {
        let shown = folder.to_string_lossy().escape_debug().to_string();
        let real = real_top.join(folder.strip_prefix(top).unwrap_or(&folder));
        if known_here.targets.iter().any(|target| real.starts_with(target)) {
            let why = "is where copies go to on this machine, and holds no minidvodbs: scan another folder";
            found.refused.push(format!("'{shown}' {why}"));
            continue;
        }
        if is_database(&folder) {
            match folder.to_str().ok_or_else(|| "is not UTF-8".to_owned()).and_then(legal) {
                Ok(path) => {
                    if let Some(known) = known_here.minidvodbs.get(&real) {
                        found.known.insert(path.as_str().to_owned(), known.clone());
                    }
                    found.databases.push(path);
                }
                Err(why) => found.refused.push(format!("'{shown}' {why}")),
            }
            continue;
        }
        match folders_in(&folder) {
            Ok((mut inner, links)) => {
                // They are taken from the end.
                inner.sort_unstable_by(|a, b| b.cmp(a));
                folders.append(&mut inner);
                let odd = links.iter().filter(|link| leads_to_another(link, &real_top, known_here));
                found.refused.extend(odd.map(|link| {
                    let shown = link.to_string_lossy().escape_debug().to_string();
                    format!("'{shown}' is a symlink to a database: name it in a list, or scan where it leads")
                }));
            }
            Err(error) if folder.as_path() == top.as_std_path() => return Err(refused(top, &error)),
            Err(error) => found.refused.push(format!("'{shown}' cannot be looked into: {error}")),
        }
    }
    Ok(found)
}

/// The folders in a folder that are looked into, and the symlinks, which are not.
fn folders_in(folder: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut inner, mut links) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_hidden =
            std::os::unix::ffi::OsStrExt::as_bytes(entry.file_name().as_os_str()).starts_with(b".");
        let kind = entry.file_type()?;
        match (is_hidden, kind.is_dir(), kind.is_symlink()) {
            (false, true, _) => inner.push(entry.path()),
            (false, _, true) => links.push(entry.path()),
            _ => {}
        }
    }
    links.sort_unstable();
    Ok((inner, links))
}

/// Whether a symlink leads to a database that neither this scan finds nor this ledger knows.
fn leads_to_another(link: &Path, real_top: &Path, known_here: &KnownHere) -> bool {
    let Ok(real) = fs::canonicalize(link) else { return false };
    is_database(&real)
        && !real.starts_with(real_top)
        && !known_here.minidvodbs.contains_key(&real)
        && !known_here.targets.iter().any(|target| real.starts_with(target))
}

fn is_database(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(IMAGES)).is_ok_and(|meta| meta.is_file())
}

/// A path as the ledger and the table can hold it.
fn legal(path: &str) -> Result<AbsolutePath, String> {
    let path = AbsolutePath::parse(path).map_err(|refused| refused.to_string())?;
    let path = AbsolutePath::parse(&path.tidy()).map_err(|refused| refused.to_string())?;
    path.name().map_err(|refused| refused.to_string())?;
    Ok(path)
}

/// What would be done; there may be no ledger yet.
fn preview(context: &Context, found: Found, group: &Group) -> Result<Plan> {
    if !context.ledger.exists() {
        return Ok(plan(found, group, &HashMap::new(), 0));
    }
    context.ledger.read(|ledger| planned(context, ledger, found, group))
}

/// Takes in what is new, all in one transaction.
fn take(context: &Context, found: Found, group: &Group) -> Result<Plan> {
    if context.ledger.exists() {
        // Said before anything is made or written.
        context.ledger.read(|ledger| refuse_beside_database(context, ledger))?;
    }
    state::prepare(&context.state_dir)?;
    context.ledger.write(|change: &mut Change<'_>| {
        let plan = planned(context, change, found, group)?;
        for minidvodb in &plan.new {
            change.import_minidvodb(minidvodb)?;
        }
        if !plan.new.is_empty() {
            change.note_scan()?;
            change.raise_doubts();
        }
        Ok(plan)
    })
}

fn planned(context: &Context, ledger: &impl Look, found: Found, group: &Group) -> Result<Plan, Failure> {
    refuse_beside_database(context, ledger)?;
    let mut known = HashMap::new();
    ledger.each_minidvodb(|minidvodb| {
        known.insert(minidvodb.path.tidy().into_owned(), (minidvodb.id, minidvodb.group));
        Ok(true)
    })?;
    let last = ledger.last_minidvodb_id()?;
    Ok(plan(found, group, &known, last))
}

/// Ids that are given here could be those of other minidvodbs there, and a sync would take one for the other.
fn refuse_beside_database(context: &Context, ledger: &impl Look) -> Result<(), Failure> {
    let Some(database) = ledger.database()? else { return Ok(()) };
    Err(Error::usage(format!(
        "the minidvodbs of this ledger come from the database {}, which gives them their ids: a folder has none to give",
        database.address
    ))
    .hint(format!(
        "`{}` takes a list with the ids of minidvodbRun",
        context.own_command(&["minidvodb", "import", "FILE"])
    ))
    .hint("or name another state folder with --state-dir DIR for what the database does not know")
    .into())
}

/// Who gets which id: pure.
fn plan(found: Found, group: &Group, known: &HashMap<String, (MinidvodbId, Group)>, last_id: u64) -> Plan {
    let mut plan = Plan { refused: found.refused, ..Plan::default() };
    let mut next_id = last_id;
    for path in found.databases {
        match known.get(path.as_str()).or_else(|| found.known.get(path.as_str())) {
            Some((_, known_group)) if known_group == group => plan.known += 1,
            Some((id, known_group)) => {
                plan.refused.push(format!(
                    "{path} is known as minidvodb {id} of the group {known_group}: scan with --group {known_group}, or import a list to change it"
                ));
            }
            None if next_id >= i64::MAX.unsigned_abs() => {
                plan.refused.push(format!("{path} gets no id: the largest one, 2^63-1, is given"));
            }
            None => {
                next_id += 1;
                plan.new.push(minidvodb(MinidvodbId(next_id), group, path));
            }
        }
    }
    plan
}

fn minidvodb(id: MinidvodbId, group: &Group, path: AbsolutePath) -> Minidvodb {
    let name = path.name().ok().map(|name| name.to_string()).filter(|name| name.len() <= NAME_MAX_BYTES);
    Minidvodb {
        id,
        minidvodb_name: name,
        group: group.clone(),
        path,
        state: MinidvodbState::Merged,
        processed_fault: Some(0),
        is_from_database: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AbsolutePath {
        AbsolutePath::parse(text).unwrap()
    }

    #[test]
    fn what_is_known_keeps_its_id_and_the_others_get_the_next_ones() {
        let group = Group::parse("G").unwrap();
        let other = Group::parse("H").unwrap();
        let known = HashMap::from([
            ("/d/b".to_owned(), (MinidvodbId(7), group.clone())),
            ("/d/c".to_owned(), (MinidvodbId(8), other)),
        ]);
        let found =
            Found { databases: ["/d/a", "/d/b", "/d/c", "/d/e"].map(path).to_vec(), ..Found::default() };
        let plan = plan(found, &group, &known, 40);
        let new: Vec<_> = plan.new.iter().map(|new| (new.id.0, new.path.as_str())).collect();
        assert_eq!(new, [(41, "/d/a"), (42, "/d/e")]);
        assert_eq!((plan.known, plan.refused.len()), (1, 1));
    }

    #[test]
    fn the_largest_id_is_not_passed() {
        let found = Found { databases: ["/d/a", "/d/b"].map(path).to_vec(), ..Found::default() };
        let plan = plan(found, &Group::parse("G").unwrap(), &HashMap::new(), i64::MAX.unsigned_abs() - 1);
        assert_eq!((plan.new.len(), plan.refused.len()), (1, 1));
    }
}
