//! Whether a folder at a destination is already what rsync would make of the source: then rsync has nothing to do.
//!
//! Invariant: everything counts that `rsync -a` would set: presence, kind, size, time to the nanosecond, mode, user
//! and group by name, and where a symlink leads; and nothing else may be there. In doubt it is not the same, and
//! rsync is asked. Of content it says nothing. (Names are asked for once, of the top folder: find looks each one up
//! anew, which takes it five times as long.)

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use camino::Utf8Path;

use super::destination::{Identity, enter_folder_script};
use super::inventory::Records;
use super::source::{Entry, Kind, Source};
use super::{Connection, Halt, Setting, Watch, manifest};

/// What stat prints of the top folder: whose it is, by numbers and by names, a NUL behind each.
const WHOSE: &str = "%u %g\\0%U\\0%G\\0";
/// What find prints of a thing, a NUL behind each part.
const FORMAT: &str = "%U %G\\0%y %s %T@ %m\\0%l\\0%P\\0";
/// The list of more things would be longer than an answer may be.
const THINGS_MAX: usize = 1_000_000;
/// So many parts each of these is, the first with the user's own number before it.
const PARTS: usize = 4;

/// Compares a folder at the destination, absolute and known by its identity, with the source.
///
/// # Errors
/// Any halt, a find that was killed there among them; that they differ is none.
pub fn is_exact(
    connection: &mut Connection,
    folder: &str,
    identity: Identity,
    source: &Source,
    setting: &Setting,
    watch: &Watch,
) -> Result<bool, Halt> {
    if source.entries.len() > THINGS_MAX {
        return Ok(false);
    }
    let Some(owner) = Owner::of(connection, source, setting, watch)? else { return Ok(false) };
    let script = format!(
        "{}u=$(id -u) && printf '%s\\0' \"$u\" && stat --printf '{WHOSE}' -- . && find . -printf '{FORMAT}'",
        enter_folder_script(folder, identity),
    );
    let (mut records, mut comparison) = (Records::default(), Comparison::new(source, owner));
    let status =
        connection.run_stream("list-exactly", &script, setting.limits.stall, watch, &mut |bytes| {
            records.feed(bytes, &mut |part| comparison.take(part));
        })?;
    Ok(status == 0 && comparison.is_exact())
}

/// The names of the user and the group that everything in the source belongs to.
struct Owner {
    user: Vec<u8>,
    group: Vec<u8>,
}

impl Owner {
    /// None where not all of it has the same, or the names are not known.
    fn of(
        connection: &mut Connection,
        source: &Source,
        setting: &Setting,
        watch: &Watch,
    ) -> Result<Option<Self>, Halt> {
        let owner = source.at(b"").map(Entry::owner);
        if source.entries.iter().any(|entry| Some(entry.owner()) != owner) {
            return Ok(None);
        }
        let mut said = Vec::new();
        let take = |bytes: &[u8]| said.extend_from_slice(bytes);
        connection.run_beside(stat(&source.folder), None, setting, watch, take, |_| Ok(()))?;
        Ok(Self::parse(&said))
    }

    fn parse(said: &[u8]) -> Option<Self> {
        let (user, group) = said.split_at_checked(said.iter().position(|&byte| byte == 0)?)?;
        let group = group.get(1..)?;
        let are_known = [user, group].iter().all(|name| !name.is_empty() && *name != b"UNKNOWN");
        are_known.then(|| Self { user: user.to_vec(), group: group.to_vec() })
    }
}

/// Asks for the names of whom a folder belongs to: the system's own program asks whatever keeps them here, which this
/// one, being static, could not.
fn stat(folder: &Utf8Path) -> Command {
    let mut stat = Command::new("stat");
    stat.args(["--printf", r"%U\0%G", "--", folder.as_str()]);
    stat
}

/// What was listed so far.
struct Comparison<'a> {
    source: &'a Source,
    owner: Owner,
    /// The numbers of whom everything must belong to, once they are known; empty where it is not whom it should be.
    numbers: Option<Vec<u8>>,
    parts: Vec<Vec<u8>>,
    met: usize,
    differs: bool,
}

impl<'a> Comparison<'a> {
    fn new(source: &'a Source, owner: Owner) -> Self {
        Self { source, owner, numbers: None, parts: Vec::new(), met: 0, differs: false }
    }

    fn take(&mut self, part: &[u8]) {
        self.parts.push(part.to_vec());
        if self.parts.len() < PARTS {
            return;
        }
        match &self.numbers {
            None => self.numbers = Some(self.judge_owner()),
            Some(numbers) => {
                self.met += 1;
                self.differs = self.differs || !self.is_same(numbers).unwrap_or(false);
            }
        }
        self.parts.clear();
    }

    /// By the names of the top folder's user and group: who is not root cannot give files to other users, and rsync
    /// does not try.
    fn judge_owner(&self) -> Vec<u8> {
        let [own, numbers, user, group] = self.parts.as_slice() else { return Vec::new() };
        let is_number = !own.is_empty() && own.iter().all(u8::is_ascii_digit);
        let is_owners = is_number && (own != b"0" || *user == self.owner.user) && *group == self.owner.group;
        if is_owners { numbers.clone() } else { Vec::new() }
    }

    /// Whether what was listed last is what it is in the source.
    fn is_same(&self, whose: &[u8]) -> Option<bool> {
        let [numbers, facts, link, path] = self.parts.as_slice() else { return None };
        let entry = self.source.at(path)?;
        let leads_there = entry.kind != Kind::Symlink || leads_to(&self.source.folder, path, link);
        Some(numbers == whose && has_facts(entry, facts)? && leads_there)
    }

    fn is_exact(&self) -> bool {
        !self.differs && self.parts.is_empty() && self.met == self.source.entries.len()
    }
}

/// Whether the first part of what find prints of a thing is as in the source. A folder's size is its file system's
/// own business.
fn has_facts(entry: &Entry, facts: &[u8]) -> Option<bool> {
    let mut facts = std::str::from_utf8(facts).ok()?.split(' ');
    let (kind, size, time, mode) = (facts.next()?, facts.next()?, facts.next()?, facts.next()?);
    let is_kind = kind.as_bytes() == [manifest::letter(entry.kind) as u8];
    let is_size = entry.kind == Kind::Folder || size.parse() == Ok(entry.size);
    // It prints one digit more than there are nanoseconds.
    let is_time = time.strip_prefix(&format!("{}.{:09}", entry.mtime.0, entry.mtime.1));
    let is_time = is_time.is_some_and(|rest| rest.bytes().all(|digit| digit == b'0'));
    Some(is_kind && is_size && is_time && mode == format!("{:o}", entry.mode()))
}

/// Whether a symlink in the source leads to the same place.
fn leads_to(folder: &Utf8Path, path: &[u8], target: &[u8]) -> bool {
    let link = std::fs::read_link(folder.as_std_path().join(OsStr::from_bytes(path)));
    link.is_ok_and(|link| link.as_os_str().as_bytes() == target)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::model::AbsolutePath;
    use crate::transfer::source::Roots;

    fn make(top: &Path) {
        fs::create_dir_all(top.join("n0000")).unwrap();
        fs::write(top.join("Images.dat"), "images").unwrap();
        fs::write(top.join("n0000/0148.cpm"), "measurements").unwrap();
        symlink("Images.dat", top.join("link")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_300_000_000, 123_456_789);
        for name in ["Images.dat", "n0000/0148.cpm", "n0000", "."] {
            fs::File::open(top.join(name)).unwrap().set_modified(time).unwrap();
        }
        let touched =
            Command::new("touch").args(["-h", "-d", "@1300000000.5"]).arg(top.join("link")).status();
        assert!(touched.unwrap().success());
    }

    fn read(top: &Path) -> Source {
        Source::read(&AbsolutePath::parse(top.to_str().unwrap()).unwrap(), &Roots::default()).unwrap()
    }

    fn owner(source: &Source) -> Owner {
        Owner::parse(&stat(&source.folder).output().unwrap().stdout).unwrap()
    }

    /// What a real find says of a folder beside the source, to which something was done.
    fn is_exact(uid: &str, change: impl Fn(&Path)) -> bool {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(here.path());
        make(there.path());
        fs::set_permissions(there.path(), fs::metadata(here.path()).unwrap().permissions()).unwrap();
        change(there.path());
        let source = read(here.path());
        let owner = owner(&source);
        let mut comparison = Comparison::new(&source, owner);
        Records::default().feed(&listed(uid, there.path()), &mut |part| comparison.take(part));
        comparison.is_exact()
    }

    /// What real programs say of a folder to a user with this number.
    fn listed(uid: &str, folder: &Path) -> Vec<u8> {
        let whose = Command::new("stat").args(["--printf", WHOSE]).arg(folder).output().unwrap();
        let listed = Command::new("find").arg(folder).args(["-printf", FORMAT]).output().unwrap();
        [uid.as_bytes(), b"\0", &whose.stdout, &listed.stdout].concat()
    }

    fn keep_time(path: &Path, change: impl Fn()) {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        change();
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_rsync_would_leave_alone_is_exact() {
        assert!(is_exact("0", |_| {}));
        // Content is not looked at.
        assert!(is_exact("0", |top| {
            let file = top.join("n0000/0148.cpm");
            keep_time(&file, || fs::write(&file, "MEASUREMENTS").unwrap());
        }));
    }

    #[test]
    fn whatever_rsync_would_set_is_seen() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 11] = [
            ("size", |top| {
                let file = top.join("n0000/0148.cpm");
                keep_time(&file, || fs::write(&file, "measurement").unwrap());
            }),
            ("a file's time by a nanosecond", |top| {
                let time = SystemTime::UNIX_EPOCH + Duration::new(1_300_000_000, 123_456_788);
                fs::File::open(top.join("Images.dat")).unwrap().set_modified(time).unwrap();
            }),
            ("a folder's time", |top| {
                fs::File::open(top.join("n0000")).unwrap().set_modified(SystemTime::now()).unwrap();
            }),
            ("a file's mode", |top| {
                fs::set_permissions(top.join("Images.dat"), fs::Permissions::from_mode(0o604)).unwrap();
            }),
            ("a folder's mode", |top| {
                fs::set_permissions(top.join("n0000"), fs::Permissions::from_mode(0o2711)).unwrap();
            }),
            ("the mode of the top", |top| {
                fs::set_permissions(top, fs::Permissions::from_mode(0o711)).unwrap();
            }),
            ("missing", |top| {
                keep_time(&top.join("n0000"), || fs::remove_file(top.join("n0000/0148.cpm")).unwrap());
            }),
            ("extra", |top| keep_time(top, || fs::write(top.join("extra"), "").unwrap())),
            ("renamed", |top| {
                keep_time(top, || fs::rename(top.join("Images.dat"), top.join("images.dat")).unwrap());
            }),
            ("where a symlink leads", |top| {
                keep_time(top, || {
                    fs::remove_file(top.join("link")).unwrap();
                    symlink("images.dat", top.join("link")).unwrap();
                });
                let touched =
                    Command::new("touch").args(["-h", "-d", "@1300000000.5"]).arg(top.join("link")).status();
                assert!(touched.unwrap().success());
            }),
            ("kind", |top| {
                keep_time(top, || {
                    fs::remove_file(top.join("Images.dat")).unwrap();
                    symlink("nowher", top.join("Images.dat")).unwrap();
                });
            }),
        ];
        for (what, change) in changes {
            assert!(!is_exact("0", change), "{what}");
        }
    }

    #[test]
    fn owners_are_compared_by_name_a_users_only_where_it_could_be_set() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let source = read(dir.path());
        let judge = |uid: &str, user: &str, group: &str| {
            let owner = Owner { user: user.into(), group: group.into() };
            let mut comparison = Comparison::new(&source, owner);
            Records::default().feed(&listed(uid, dir.path()), &mut |part| comparison.take(part));
            comparison.is_exact()
        };
        let Owner { user, group } = owner(&source);
        let (user, group) = (String::from_utf8(user).unwrap(), String::from_utf8(group).unwrap());
        assert!(judge("0", &user, &group));
        assert!(!judge("0", "somebody", &group));
        assert!(judge("1000", "somebody", &group));
        assert!(!judge("1000", &user, "some group"));
        // The programs there did not say.
        assert!(!judge("", &user, &group));
        assert!(Owner::parse(b"UNKNOWN\0users").is_none());
        assert!(Owner::parse(b"ipp\0").is_none());
        assert!(Owner::parse(b"ipp").is_none());
    }

    #[test]
    fn a_list_without_its_end_is_not_exact() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let source = read(dir.path());
        let listed = listed("0", dir.path());
        for cut in 0..listed.len() {
            let mut comparison = Comparison::new(&source, owner(&source));
            Records::default().feed(&listed[..cut], &mut |part| comparison.take(part));
            assert!(!comparison.is_exact(), "{cut}");
        }
    }
}
