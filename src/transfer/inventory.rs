//! What should be in a published folder at a destination, compared with what is, as the host lists it.
//!
//! Invariants: nothing is changed at the destination. Of what was sent some 40 bytes a thing are kept, and of
//! what is there nothing, however much a host lists. A path is known by 128 bits of its hash, and a checksum,
//! which rsync makes there by the algorithm that it had when it was sent, by 64.

use xxhash_rust::xxh3::Xxh3;

use super::destination::{self, OTHER_FOLDER, Place, View, parse_listed};
use super::rsync::{self, Lines, parse_end, parse_item, parse_version};
use super::script::quote;
use super::shell::{Answer, Connection};
use super::source::{Kind, Roots, Source, Staged, shown};
use super::{Halt, Setting, Watch, manifest, outcome};
use crate::faults::Fault;
use crate::model::{AbsolutePath, Copy, Difference, Differences, Name, Seen};

/// Exit codes of the scripts, beside [`OTHER_FOLDER`]: nothing has the final name.
const GONE: i32 = 3;
/// What has it is no folder.
const NO_FOLDER: i32 = 4;
/// What has it can't be looked at, or can't be entered.
const CLOSED: i32 = 5;
/// What says so is not stat: nothing is known of the folder.
const NO_SENSE: i32 = 7;
/// A record of a list is cut off here: no path of the source was longer.
const RECORD_MAX_BYTES: usize = 8 * 1024;
/// So much is kept of what a program there says.
const SAID_MAX_BYTES: usize = 300;
/// The first rsync that can be told which checksums to make; an older one makes md5.
const CHOICE_SINCE: (u32, u32) = (3, 2);

/// It was met there.
const MET: u8 = 1;
/// It was found to differ.
const DIFFERS: u8 = 2;
/// Its content was compared.
const COMPARED: u8 = 4;

/// A thing that was sent: a hash of its kind and path, size, time, and a hash of its checksum; 0: it has none.
#[derive(Clone, Copy)]
struct Thing {
    path: [u64; 2],
    size: u64,
    mtime_s: i64,
    checksum: u64,
}

/// Where it is written down what should be there.
#[derive(Clone, Copy)]
pub enum Reference<'a> {
    /// In the manifest kept when it was copied: in this state folder, of the ledger with this id.
    Manifest(&'a camino::Utf8Path, &'a str, &'a Copy),
    /// In the source itself.
    Source(&'a AbsolutePath, &'a Roots),
}

/// A thing that is written down there.
struct Entry<'a> {
    kind: Kind,
    size: u64,
    mtime_s: i64,
    path: &'a [u8],
    checksum: Option<&'a str>,
}

impl Reference<'_> {
    /// Shows everything; gives the algorithm of the checksums. `None` where it is not there, or not whole.
    fn each(self, see: &mut dyn FnMut(&Entry<'_>)) -> Option<String> {
        match self {
            Self::Manifest(state_dir, ledger_id, copy) => {
                let header = manifest::each(state_dir, ledger_id, copy, &mut |line, checksum| {
                    let kind = [Kind::File, Kind::Folder, Kind::Symlink];
                    let kind = kind.into_iter().find(|&kind| manifest::letter(kind) == line.kind);
                    see(&Entry {
                        kind: kind.unwrap_or(Kind::Other),
                        size: line.size,
                        mtime_s: line.mtime_s,
                        path: &line.path,
                        checksum: (checksum != "-").then_some(checksum),
                    });
                });
                header.map(|header| header.checksum)
            }
            Self::Source(path, roots) => {
                let read = Source::each(path, roots, &mut |entry| {
                    let (kind, size, mtime_s) = (entry.kind, entry.size, entry.mtime.0);
                    see(&Entry { kind, size, mtime_s, path: &entry.path, checksum: None });
                });
                read.ok().map(|()| String::new())
            }
        }
    }
}

/// Everything that was sent, and how much of it was met so far.
pub struct Inventory<'a> {
    reference: Reference<'a>,
    things: Vec<Thing>,
    marks: Vec<u8>,
    algorithm: String,
    has_all_checksums: bool,
}

impl<'a> Inventory<'a> {
    /// Reads a reference; `None` where it is not there, or not whole.
    pub fn read(reference: Reference<'a>) -> Option<Self> {
        let (mut things, mut has_all_checksums) = (Vec::new(), true);
        let algorithm = reference.each(&mut |entry| {
            let checksum = entry.checksum.filter(|_| entry.kind == Kind::File).map(hash_of_checksum);
            has_all_checksums &= entry.kind != Kind::File || checksum.is_some();
            things.push(Thing {
                path: hash_of_path(entry.kind, entry.path),
                size: entry.size,
                mtime_s: entry.mtime_s,
                checksum: checksum.unwrap_or(0),
            });
        })?;
        things.sort_unstable_by_key(|thing| thing.path);
        let marks = vec![0; things.len()];
        Some(Self { reference, things, marks, algorithm, has_all_checksums })
    }

    /// Whether the source is another one than what is written down here, by presence, kind, size and time; none
    /// where it can't be read. What was met before is forgotten.
    pub fn differs_from_source(&mut self, path: &AbsolutePath, roots: &Roots) -> Option<bool> {
        self.marks.fill(0);
        let mut differences = Differences::default();
        Reference::Source(path, roots).each(&mut |entry| self.meet(entry, &mut differences))?;
        Some(!differences.are_none() || self.marks.contains(&0))
    }

    fn find(&self, kind: Kind, path: &[u8]) -> Option<usize> {
        let hash = hash_of_path(kind, path);
        self.things.binary_search_by_key(&hash, |thing| thing.path).ok()
    }

    /// Compares a thing that is there with what was sent.
    fn meet(&mut self, there: &Entry<'_>, differences: &mut Differences) {
        let (at, difference) = match self.find(there.kind, there.path) {
            Some(at) => (at, self.things[at].difference(there)),
            None => {
                let others = [Kind::File, Kind::Folder, Kind::Symlink, Kind::Other];
                match others.into_iter().find_map(|kind| self.find(kind, there.path)) {
                    Some(at) => (at, Some(Difference::Kind)),
                    None => return differences.note(Difference::Extra, || shown(there.path)),
                }
            }
        };
        if self.marks[at] & MET != 0 {
            return;
        }
        self.marks[at] |= MET;
        if let Some(difference) = difference {
            self.marks[at] |= DIFFERS;
            differences.note(difference, || shown(there.path));
        }
    }

    /// Notes what was sent and not met.
    fn note_missing(&self, differences: &mut Differences) {
        self.note_each(Difference::Missing, differences, |mark, _| mark & MET == 0);
    }

    /// Notes the files of whose content rsync has given no checksum.
    fn note_unread(&self, differences: &mut Differences) {
        self.note_each(Difference::Unreadable, differences, |mark, thing| mark == MET && thing.checksum != 0);
    }

    /// Notes all things that are meant, the first of them by name, in the order of the reference.
    fn note_each(
        &self,
        difference: Difference,
        differences: &mut Differences,
        is_meant: impl Fn(u8, &Thing) -> bool,
    ) {
        let things = self.marks.iter().zip(&self.things);
        let mut left = things.filter(|(mark, thing)| is_meant(**mark, thing)).count() as u64;
        if left == 0 {
            return;
        }
        self.reference.each(&mut |entry| {
            let is_named = left > 0 && differences.has_room();
            let at = if is_named { self.find(entry.kind, entry.path) } else { None };
            if at.is_some_and(|at| is_meant(self.marks[at], &self.things[at])) {
                left -= 1;
                differences.note(difference, || shown(entry.path));
            }
        });
        differences.count(difference, left);
    }

    /// Compares the checksum of a file that is there; none: it could not be read.
    fn meet_content(&mut self, path: &[u8], checksum: Option<&str>, differences: &mut Differences) {
        let Some(at) = self.find(Kind::File, path).filter(|&at| self.marks[at] == MET) else { return };
        self.marks[at] |= COMPARED;
        let difference = match checksum {
            None => Difference::Unreadable,
            Some(checksum) if hash_of_checksum(checksum) != self.things[at].checksum => Difference::Content,
            Some(_) => return,
        };
        differences.note(difference, || shown(path));
    }
}

impl Thing {
    /// In what a thing of the same kind and path differs. A folder's size and time are its file system's own
    /// business, and so is a symlink's time.
    fn difference(&self, there: &Entry<'_>) -> Option<Difference> {
        match there.kind {
            Kind::File if there.size != self.size => Some(Difference::Size),
            Kind::File if there.mtime_s != self.mtime_s => Some(Difference::Time),
            Kind::Symlink if there.size != self.size => Some(Difference::Size),
            _ => None,
        }
    }
}

fn hash_of_path(kind: Kind, path: &[u8]) -> [u64; 2] {
    let mut hasher = Xxh3::new();
    hasher.update(&[manifest::letter(kind) as u8]);
    hasher.update(path);
    let hash = hasher.digest128();
    [(hash >> 64) as u64, hash as u64]
}

/// Never 0, which stands for none.
fn hash_of_checksum(checksum: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(checksum.as_bytes()).max(1)
}

/// A target's path, as it was found when an audit came to it.
#[derive(Debug)]
pub struct Ground {
    /// Its room and its file system, among others.
    pub view: View,
    rsync: Option<(u32, u32)>,
}

impl Ground {
    /// The device that it lies on.
    pub fn device(&self) -> Option<u64> {
        self.view.device()
    }
}

/// Looks at a target's path; unlike what a pass needs, it need not be writable.
///
/// # Errors
/// 214 where a program is missing, 221 or 222 where the path is not what it should be.
pub fn look(
    connection: &mut Connection,
    path: &AbsolutePath,
    setting: &Setting,
    watch: &Watch,
) -> Result<Ground, Halt> {
    let script = [
        destination::tools_script("find stat df tail"),
        destination::enter_script(path, destination::Use::Looking),
        destination::room_script(),
    ]
    .concat();
    let answer = connection.run("audit-look", &script, setting.limits.answer, watch)?;
    parse_ground(&answer, path)
}

pub(super) fn parse_ground(answer: &Answer, path: &AbsolutePath) -> Result<Ground, Halt> {
    let view = destination::parse_look(answer, Place { path, ledger_id: "", name: None })?;
    let text = String::from_utf8_lossy(&answer.output);
    let rsync = destination::values(&text, "rsync").next().and_then(parse_version);
    Ok(Ground { view, rsync })
}

/// The beginning of a script that works in what has the final name, if that is a folder; never through a symlink.
/// Only stat's own word that it can't look says something of the folder: a stat that was killed, or that could not
/// be started, says nothing. Before its name it may have a path, where another program starts it.
fn enter(ground: &Ground, name: &Name) -> String {
    format!(
        "see() {{
  v=$(stat -c \"$1\" -- \"$2\" 2>&1) && return
  r=$?; [ $r -le 128 ] || exit $r
  printf '%s' \"$v\"
  case $v in
    *'stat: cannot stat'*'No such file or directory') exit {GONE};;
    *'stat: cannot stat'*) exit {CLOSED};;
    *) exit {NO_SENSE};;
  esac
}}
{}n=./{}
see %F \"$n\"
[ \"$v\" = directory ] || {{ printf '%s' \"$v\"; exit {NO_FOLDER}; }}
see '%d %i' \"$n\"; i=$v
cd -P -- \"$n\" 2>/dev/null || {{ printf '%s' 'it cannot be entered'; exit {CLOSED}; }}
see '%d %i' .
[ \"$v\" = \"$i\" ] || {{ printf '%s' 'another thing by now'; exit {NO_FOLDER}; }}
",
        enter_path(ground),
        quote(name.as_str()),
    )
}

/// The target's path, and only if it is still the folder that was looked at: its disk may have gone since.
fn enter_path(ground: &Ground) -> String {
    let seen = ground.view.folder.map_or_else(String::new, |folder| {
        let (device, inode) = (folder.device, folder.inode);
        format!(
            "i=$(stat -c '%d %i' -- .) || {{ r=$?; [ $r -le 128 ] || exit $r; }}
[ \"$i\" = '{device} {inode}' ] || exit {OTHER_FOLDER}\n"
        )
    });
    format!("cd -P -- {} 2>/dev/null || exit {OTHER_FOLDER}\n{seen}", quote(&ground.view.at))
}

/// What a script that did not get into the folder saw.
fn outside(ground: &Ground, status: i32, said: &[u8]) -> Result<Seen, Halt> {
    let said = clipped(said);
    match status {
        GONE => Ok(Seen::Gone),
        NO_FOLDER => Ok(Seen::Other(said)),
        CLOSED => Ok(Seen::Closed(said)),
        OTHER_FOLDER => {
            let at = &ground.view.at;
            let message = format!("{at} became another folder, or another disk, while it was audited");
            Err(Halt::fault(Fault::FilesystemChanged, message))
        }
        status => Err(no_sense(&format!("status {status}, {said}"))),
    }
}

fn no_sense(what: &str) -> Halt {
    Halt::fault(Fault::HostTools, format!("listing a folder gave no sense: {what}"))
}

/// The first of what was said, as text.
fn clipped(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(&said[..said.len().min(SAID_MAX_BYTES)]).into_owned();
    text.trim().to_owned()
}

/// Whether there is a folder of that name at all.
///
/// # Errors
/// Any halt.
pub fn see(
    connection: &mut Connection,
    ground: &Ground,
    name: &Name,
    setting: &Setting,
    watch: &Watch,
) -> Result<Seen, Halt> {
    let answer = connection.run("audit-see", &enter(ground, name), setting.limits.answer, watch)?;
    match answer.status {
        0 => Ok(Seen::Folder(Differences::default())),
        status => outside(ground, status, &answer.output),
    }
}

/// Compares what is in the folder with what was sent, by presence, kind, size and time.
///
/// # Errors
/// Any halt.
pub fn compare(
    connection: &mut Connection,
    ground: &Ground,
    name: &Name,
    inventory: &mut Inventory<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<Seen, Halt> {
    inventory.marks.fill(0);
    // What find cannot list it says on its standard error: the end of that comes behind the list.
    let script = enter(ground, name)
        + "exec 3>&1
e=$( { find . -printf '%y %s %T@ %P\\0' 2>&1 >&3; echo \"-- $?\"; } | tail -c 400 ) || exit
printf '\\0-- %s' \"$e\"";
    let (mut records, mut differences, mut odd) = (Records::default(), Differences::default(), None);
    let mut take = |record: &[u8]| match parse_listed(record) {
        Some(Staged { path, size, mtime_s, kind }) => {
            let there = Entry { kind, size, mtime_s, path: &path, checksum: None };
            inventory.meet(&there, &mut differences);
        }
        None if record.is_empty() => {}
        None => odd = odd.take().or_else(|| Some(clipped(record))),
    };
    let status = connection.run_stream("audit-list", &script, setting.limits.stall, watch, &mut |bytes| {
        records.feed(bytes, &mut take);
    })?;
    if status != 0 {
        return outside(ground, status, &records.record);
    }
    // First how find ended: what a shell says of one that was killed is in the list.
    let last_words = parse_last_words(&records.record);
    let unlisted = last_words.map_or_else(|| Err(no_sense("it has no end")), unlisted)?;
    if let Some(odd) = odd {
        return Err(no_sense(&odd));
    }
    differences.unlisted = unlisted;
    inventory.note_missing(&mut differences);
    Ok(Seen::Folder(differences))
}

/// What find could not list, in its own words, by what it said and its exit code; empty where it listed all. Only
/// its own failure says something of the folder.
fn unlisted((said, ended): (String, i32)) -> Result<String, Halt> {
    match (ended, outcome::signal_of(ended)) {
        (0, _) => Ok(String::new()),
        (1, _) if said.is_empty() => Ok("find does not say why".to_owned()),
        (1, _) => Ok(clipped(said.as_bytes())),
        (_, Some(signal)) => Err(Halt::Cut(format!("find was ended there by signal {signal}"))),
        (code, None) => Err(no_sense(&format!("find ended with code {code}, {}", clipped(said.as_bytes())))),
    }
}

/// `-- find: './x': Permission denied`, and in a line of its own `-- 1`: what was said, and the exit code.
pub(super) fn parse_last_words(record: &[u8]) -> Option<(String, i32)> {
    let text = String::from_utf8_lossy(record.strip_prefix(b"-- ")?).into_owned();
    let at = text.rfind("-- ")?;
    Some((text[..at].trim().to_owned(), parse_end(&text.as_bytes()[at..])?))
}

/// Compares the content of every file that was found equal by size and time: rsync, run there for a destination
/// that is none, makes the checksums that it made when the files were sent. Says why, where it did not.
///
/// # Errors
/// Any halt.
pub fn compare_content(
    connection: &mut Connection,
    ground: &Ground,
    name: &Name,
    inventory: &mut Inventory<'_>,
    differences: &mut Differences,
    watch: &Watch,
) -> Result<Option<String>, Halt> {
    let algorithm = match choice_of(inventory, ground.rsync) {
        Ok(algorithm) => algorithm,
        Err(why) => return Ok(Some(why)),
    };
    let script = enter(ground, name) + &rsync::checksums_script(algorithm, None);
    let (mut lines, mut said, mut ended) = (Lines::default(), Vec::new(), None);
    let mut take = |line: &[u8]| match parse_item(line) {
        Some(item) if item.checksum.is_some() => {
            let checksum = item.checksum.as_deref().filter(|_| !item.is_unread());
            inventory.meet_content(&item.path, checksum, differences);
        }
        Some(_) => {}
        None => match parse_end(line) {
            Some(code) => ended = Some(code),
            None if said.len() < SAID_MAX_BYTES && !line.starts_with(b"created directory") => {
                said.extend_from_slice(line);
                said.push(b'\n');
            }
            None => {}
        },
    };
    // While it reads a large file it says nothing: the deadline is what ends it.
    let patience = std::time::Duration::from_secs(u64::from(u32::MAX));
    let status = connection.run_stream("audit-checksums", &script, patience, watch, &mut |bytes| {
        lines.feed(bytes, &mut take);
    })?;
    if status != 0 {
        return Ok(Some("the folder changed while it was audited".to_owned()));
    }
    match ended {
        // 23 and 24: it could not read some of them.
        Some(0 | 23 | 24) => {
            inventory.note_unread(differences);
            Ok(None)
        }
        Some(code) => Ok(Some(format!("rsync there ended with code {code}: {}", clipped(&said)))),
        None => Err(no_sense("rsync there did not come to its end")),
    }
}

/// Which checksums rsync there is to be told to make, or why it can't make them.
fn choice_of<'i>(inventory: &'i Inventory<'_>, rsync: Option<(u32, u32)>) -> Result<Option<&'i str>, String> {
    let algorithm = inventory.algorithm.as_str();
    if algorithm.is_empty() || !inventory.has_all_checksums {
        return Err("its manifest does not have the checksum of every file".to_owned());
    }
    match rsync {
        None => Err("rsync there names no version".to_owned()),
        Some(version) if version >= CHOICE_SINCE => Ok(Some(algorithm)),
        Some(_) if algorithm == "md5" => Ok(None),
        Some((major, minor)) => Err(format!(
            "rsync {major}.{minor} there cannot be told to make {algorithm}, which is what the manifest has"
        )),
    }
}

/// Shows the name of every folder in a target's path.
///
/// # Errors
/// Any halt.
pub fn each_folder(
    connection: &mut Connection,
    ground: &Ground,
    setting: &Setting,
    watch: &Watch,
    see: &mut dyn FnMut(&[u8]),
) -> Result<(), Halt> {
    let script = enter_path(ground) + "find . -mindepth 1 -maxdepth 1 -type d -printf '%f\\0' 2>/dev/null; :";
    let mut records = Records::default();
    let status =
        connection.run_stream("audit-folders", &script, setting.limits.stall, watch, &mut |bytes| {
            records.feed(bytes, &mut *see);
        })?;
    if status == 0 { Ok(()) } else { outside(ground, status, &records.record).map(drop) }
}

/// Records that end with a NUL, of at most [`RECORD_MAX_BYTES`]; of a longer one, the rest is dropped. What has
/// no end yet stays in `record`.
#[derive(Default)]
pub(super) struct Records {
    record: Vec<u8>,
}

impl Records {
    pub(super) fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(&[u8])) {
        let mut parts = bytes.split(|&b| b == 0).peekable();
        while let Some(part) = parts.next() {
            let room = RECORD_MAX_BYTES.saturating_sub(self.record.len());
            self.record.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                take(&self.record);
                self.record.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'e>(kind: Kind, size: u64, mtime_s: i64, path: &'e [u8]) -> Entry<'e> {
        Entry { kind, size, mtime_s, path, checksum: None }
    }

    /// What was sent: a folder, a file in it, a symlink, and a file at the top.
    fn source() -> (tempfile::TempDir, AbsolutePath) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("n0000")).unwrap();
        std::fs::write(dir.path().join("Images.dat"), "images").unwrap();
        std::fs::write(dir.path().join("n0000/0148.cpm"), "measurements").unwrap();
        std::os::unix::fs::symlink("Images.dat", dir.path().join("link")).unwrap();
        let path = AbsolutePath::parse(dir.path().to_str().unwrap()).unwrap();
        (dir, path)
    }

    /// The differences where what is there is made of what was sent.
    fn differences(change: impl Fn(&mut Staged) -> bool) -> Differences {
        let ((_dir, path), roots) = (source(), Roots::default());
        let reference = Reference::Source(&path, &roots);
        let mut there = Vec::new();
        reference.each(&mut |entry| {
            let path = entry.path.into();
            there.push(Staged { path, size: entry.size, mtime_s: entry.mtime_s, kind: entry.kind });
        });
        let mut inventory = Inventory::read(reference).unwrap();
        let mut differences = Differences::default();
        for mut staged in there {
            if change(&mut staged) {
                let met = entry(staged.kind, staged.size, staged.mtime_s, &staged.path);
                inventory.meet(&met, &mut differences);
            }
        }
        inventory.note_missing(&mut differences);
        differences
    }

    fn words(change: impl Fn(&mut Staged)) -> String {
        let differences = differences(|staged| {
            if &*staged.path == b"n0000/0148.cpm" {
                change(staged);
            }
            true
        });
        differences.to_string()
    }

    #[test]
    fn what_is_as_it_was_sent_has_no_differences() {
        assert!(differences(|_| true).are_none());
        // Times of folders and symlinks are their file system's own business.
        assert!(
            differences(|staged| {
                if staged.kind != Kind::File {
                    staged.mtime_s += 1;
                }
                true
            })
            .are_none()
        );
    }

    #[test]
    fn each_difference_has_its_words() {
        assert_eq!(words(|staged| staged.size += 1), "n0000/0148.cpm differs in size");
        assert_eq!(words(|staged| staged.mtime_s -= 1), "n0000/0148.cpm differs in time");
        for kind in [Kind::Symlink, Kind::Other, Kind::Folder] {
            let is_another = "n0000/0148.cpm is no longer what it was (file, folder, symlink)";
            assert_eq!(words(|staged| staged.kind = kind), is_another);
        }
        let moved = words(|staged| staged.path = b"n0000/x\n"[..].into());
        assert_eq!(moved, "n0000/x\\n is extra there, n0000/0148.cpm is missing there");
    }

    #[test]
    fn what_is_missing_is_counted_and_named_in_part() {
        let nothing = differences(|_| false);
        assert_eq!((nothing.missing, nothing.other), (5, 0));
        assert!(nothing.to_string().starts_with(". is missing there, "), "{nothing}");
        let half = differences(|staged| !staged.path.starts_with(b"n0000"));
        assert_eq!(half.to_string(), "n0000 is missing there, n0000/0148.cpm is missing there");
    }

    #[test]
    fn a_thing_that_is_listed_twice_is_met_once() {
        let ((_dir, path), roots) = (source(), Roots::default());
        let mut inventory = Inventory::read(Reference::Source(&path, &roots)).unwrap();
        let mut differences = Differences::default();
        for size in [7, 8, 9] {
            inventory.meet(&entry(Kind::File, size, 0, b"Images.dat"), &mut differences);
        }
        assert_eq!(differences.to_string(), "Images.dat differs in size");
    }

    #[test]
    fn a_source_that_changed_is_told_from_one_that_did_not() {
        let ((dir, path), roots) = (source(), Roots::default());
        let mut inventory = Inventory::read(Reference::Source(&path, &roots)).unwrap();
        assert_eq!(inventory.differs_from_source(&path, &roots), Some(false));
        std::fs::write(dir.path().join("added"), "x").unwrap();
        assert_eq!(inventory.differs_from_source(&path, &roots), Some(true));
        std::fs::remove_file(dir.path().join("added")).unwrap();
        std::fs::write(dir.path().join("Images.dat"), "other images").unwrap();
        assert_eq!(inventory.differs_from_source(&path, &roots), Some(true));
        drop(dir);
        assert_eq!(inventory.differs_from_source(&path, &roots), None);
    }

    #[test]
    fn records_come_back_however_they_are_cut() {
        let text = b"d 4096 1.0 \0f 1 2.5 new\nline\0l 2 3.0 \xff\xe9\0-- find: x\n-- 1";
        for size in [1, 2, 7, text.len()] {
            let (mut records, mut found) = (Records::default(), Vec::new());
            for piece in text.chunks(size) {
                records.feed(piece, &mut |record| found.push(parse_listed(record).unwrap().path.to_vec()));
            }
            assert_eq!(found, [&b""[..], b"new\nline", b"\xff\xe9"]);
            assert_eq!(parse_last_words(&records.record), Some(("find: x".to_owned(), 1)));
        }
        assert_eq!(parse_last_words(b"-- -- 0"), Some((String::new(), 0)));
        assert_eq!(parse_last_words(b"-- 0"), None);
        let mut records = Records::default();
        records.feed(&vec![b'x'; 1 << 20], &mut |_| unreachable!());
        assert_eq!(records.record.len(), RECORD_MAX_BYTES);
    }

    #[test]
    fn only_what_find_itself_could_not_list_says_something_of_the_folder() {
        let of = |said: &str, ended| unlisted((said.to_owned(), ended));
        assert_eq!(of("", 0).unwrap(), "");
        assert_eq!(of("find: './x': Permission denied", 1).unwrap(), "find: './x': Permission denied");
        assert!(!of("", 1).unwrap().is_empty(), "else all that is not listed would count as missing");
        assert!(matches!(of("", 137), Err(Halt::Cut(_))));
        for odd in [2, 126, 127, 255] {
            assert!(matches!(of("sh: 1: find: Cannot allocate memory", odd), Err(Halt::Fault(_))), "{odd}");
        }
    }

    #[test]
    fn an_old_rsync_is_only_asked_for_what_it_makes() {
        let ((_dir, path), roots) = (source(), Roots::default());
        let mut inventory = Inventory::read(Reference::Source(&path, &roots)).unwrap();
        assert!(choice_of(&inventory, Some((3, 2))).is_err(), "no checksum is known");
        (inventory.has_all_checksums, inventory.algorithm) = (true, "xxh128".to_owned());
        assert_eq!(choice_of(&inventory, Some((3, 2))).unwrap(), Some("xxh128"));
        assert!(choice_of(&inventory, Some((3, 1))).unwrap_err().contains("rsync 3.1 there"));
        inventory.algorithm = "md5".to_owned();
        assert_eq!(choice_of(&inventory, Some((3, 1))).unwrap(), None);
        assert!(choice_of(&inventory, None).is_err());
    }
}
