//! What is done at a destination: look, make the staging folder, flush, publish, tidy up.
//!
//! Invariant: nothing outside `PATH/.minidvodbcopy/LEDGER` is written, but for the one rename that publishes,
//! which replaces nothing and is proved. No folder on the way to the staging folder may be a symlink or
//! belong to somebody else.

use super::df;
use super::rsync::{VERSION_MIN_THERE, parse_version};
use super::script::quote;
use super::shell::{Answer, Connection};
use super::source::{Kind, Staged};
use super::{Halt, Setting, Watch, outcome};
use crate::faults::{Fault, Met};
use crate::model::{AbsolutePath, FileSystem, Name, Room, STAGING, staging_name};

/// What identifies a folder at the destination: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// What was found at a target's path.
#[derive(Debug)]
pub struct View {
    /// The path, symlinks resolved: what everything else works on.
    pub at: String,
    /// The folder itself: another disk that is mounted over it later is another one.
    pub(super) folder: Option<Identity>,
    /// The room there.
    pub room: Room,
    /// The file system it lies on.
    pub file_system: FileSystem,
    /// `PATH/NAME`, if something is there.
    pub published: Option<Identity>,
    /// The staging folder, if it is there.
    pub staging: Option<Identity>,
}

impl View {
    /// The full path of something below the target's path.
    pub fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.at.trim_end_matches('/'))
    }
}

/// A copy's place at a destination.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The target's path.
    pub path: &'a AbsolutePath,
    /// The id of this ledger.
    pub ledger_id: &'a str,
    /// The folder's name; none to look at the path only.
    pub name: Option<&'a Name>,
}

impl Place<'_> {
    /// The staging folder, below the target's path.
    pub(super) fn staging(&self) -> String {
        let name = self.name.map(staging_name).unwrap_or_default();
        format!("{STAGING}/{}/{name}", self.ledger_id)
    }
}

/// What is needed at a destination: rsync, coreutils and findutils.
pub(super) const TOOLS: &str = "rsync mv sync df stat find mkdir rmdir rm";
/// While files arrive, the disk is told to write at most so often, in seconds: one that takes longer does not rest.
const FLUSH_EVERY_S: u32 = 1;
/// Exit code of a script: the path is not the folder that was looked at.
pub(super) const OTHER_FOLDER: i32 = 26;
/// The separator between the parts of an answer.
pub(super) const PART: &str = "-- ";

/// Looks at a target's path; changes nothing.
///
/// # Errors
/// 214 where a program is missing, 221 or 222 where the path is not what it should be.
pub fn look(
    connection: &mut Connection,
    place: Place<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<View, Halt> {
    let (name, staging) = (quote(place.name.map_or("", Name::as_str)), quote(&place.staging()));
    let script = format!(
        "{}{}n={name}
[ -z \"$n\" ] || echo \"{PART}published $(stat -c '%d %i' -- \"./$n\" 2>/dev/null)\"
[ -z \"$n\" ] || echo \"{PART}staging $(stat -c '%d %i' -- ./{staging} 2>/dev/null)\"
{}",
        tools_script(TOOLS),
        enter_script(place.path, Use::Writing),
        room_script()
    );
    let answer = connection.run("look", &script, setting.limits.answer, watch)?;
    let mut view = parse_look(&answer, place)?;
    if connection.host.is_local() {
        ask_this_machine(&view.at, &mut view.room)?;
    }
    Ok(view)
}

/// Names the tools that are missing, and the version of rsync.
pub(super) fn tools_script(tools: &str) -> String {
    format!(
        "for t in {tools}; do
  command -v \"$t\" >/dev/null 2>&1 || echo \"{PART}tool $t\"
done
echo \"{PART}rsync $(rsync --version 2>/dev/null | head -c 200 | head -n 1)\"
"
    )
}

/// What a path is entered for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Reading is enough.
    Looking,
    /// It must be writable.
    Writing,
}

/// Enters a path and says where it leads, which folder that is, or why it can't be used.
pub(super) fn enter_script(path: &AbsolutePath, for_what: Use) -> String {
    let path = quote(path.as_str());
    let is_writable = match for_what {
        Use::Looking => String::new(),
        Use::Writing => format!(
            "[ -w . ] || {{ echo '{PART}bad it is not writable: Permission denied or read-only'; exit 0; }}\n"
        ),
    };
    format!(
        "k=$(stat -L -c %F -- {path} 2>&1) || {{ echo \"{PART}bad $k\"; exit 0; }}
[ \"$k\" = directory ] || {{ echo \"{PART}bad it is a $k: Not a directory\"; exit 0; }}
cd -P -- {path} 2>/dev/null || {{ echo '{PART}bad it cannot be entered: Permission denied'; exit 0; }}
{is_writable}a=$(pwd -P)
case $a in *[[:cntrl:]]*) echo '{PART}bad it leads to a path with a control character: Permission denied'; exit 0;; esac
printf '%s\\n' \"{PART}at $a\"
echo \"{PART}folder $(stat -c '%d %i' -- . 2>/dev/null)\"
"
    )
}

/// Enters a folder, and ends the script where it is another one than the one that was seen.
pub(super) fn enter_folder_script(folder: &str, Identity { device, inode }: Identity) -> String {
    let folder = quote(folder);
    format!("cd -P -- {folder} && [ \"$(stat -c '%d %i' -- .)\" = '{device} {inode}' ] || exit\n")
}

/// Prints the room of the working folder.
pub(super) fn room_script() -> String {
    format!(
        "echo '{PART}bytes'; df -Pk -- . 2>&1
echo '{PART}inodes'; df -Pi -- . 2>&1
echo '{PART}kind'; stat -f -c '%i %S %T' -- . 2>&1
echo '{PART}end'"
    )
}

/// What [`room_script`] printed.
fn parse_room(text: &str) -> Result<(Room, FileSystem), String> {
    let part = |key: &str| section(text, key).map(str::as_bytes).ok_or_else(|| text.trim().to_owned());
    df::parse(part("bytes")?, part("inodes")?, part("kind")?)
}

/// The room of a path on this machine, asked of the system itself.
fn ask_this_machine(at: &str, room: &mut Room) -> Result<(), Met> {
    let stats = fs2::statvfs(at)
        .map_err(|error| Met::new(Fault::PathDenied, format!("cannot ask for the room at {at}: {error}")))?;
    room.total_bytes = stats.total_space();
    room.free_bytes = stats.available_space();
    room.used_percent = crate::model::used_percent(
        stats.total_space().saturating_sub(stats.free_space()),
        stats.available_space(),
    );
    Ok(())
}

/// The values in lines such as `-- KEY value`.
pub(super) fn values<'t>(text: &'t str, key: &str) -> impl Iterator<Item = &'t str> {
    let prefix = format!("{PART}{key} ");
    text.lines().filter_map(move |line| line.strip_prefix(&prefix))
}

pub(super) fn parse_look(answer: &Answer, place: Place<'_>) -> Result<View, Halt> {
    let text = String::from_utf8_lossy(&answer.output);
    let value = |key: &str| values(&text, key).next();
    let tools: Vec<&str> = values(&text, "tool").collect();
    if !tools.is_empty() {
        return Err(Halt::fault(Fault::HostTools, format!("missing at the host: {}", tools.join(", "))));
    }
    if let Some(version) = value("rsync").and_then(parse_version)
        && version < VERSION_MIN_THERE
    {
        let message = format!("rsync {}.{} at the host is older than 3.1", version.0, version.1);
        return Err(Halt::fault(Fault::HostTools, message));
    }
    if let Some(why) = value("bad") {
        let message = format!("the target's path {}: {why}", place.path);
        return Err(Halt::fault(outcome::of_target_message(why), message));
    }
    let unexpected =
        |why: &str| Halt::fault(Fault::HostTools, format!("looking at {} gave no sense: {why}", place.path));
    let at = value("at").filter(|at| at.starts_with('/')).ok_or_else(|| unexpected(answer.text().trim()))?;
    let (room, file_system) = parse_room(&text).map_err(|why| unexpected(&why))?;
    Ok(View {
        at: at.to_owned(),
        folder: value("folder").map(str::trim).and_then(parse_identity),
        room,
        file_system,
        published: value("published").map(str::trim).and_then(parse_identity),
        staging: value("staging").map(str::trim).and_then(parse_identity),
    })
}

/// The lines between `-- KEY` and the next part.
fn section<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let start = format!("\n{PART}{key}\n");
    let from = text.find(&start)? + start.len();
    let rest = &text[from..];
    Some(&rest[..rest.find(&format!("\n{PART}")).map_or(rest.len(), |at| at + 1)])
}

fn parse_identity(text: &str) -> Option<Identity> {
    let (device, inode) = text.split_once(' ')?;
    Some(Identity { device: device.parse().ok()?, inode: inode.parse().ok()? })
}

/// A script that fills a staging folder, or gives it its final name, keeps it open under this number, and so do its children.
pub(super) const MARK_FD: u32 = 9;

/// Ends what an earlier attempt has left running there: an rsync whose connection was cut off without a word
/// may sleep for hours, wake up, and write into the folder that has its final name by then; and a rename that
/// did not come back may be made when the folder is being sent again. Such a process works in the staging
/// folder, or keeps it open, and is known by that.
///
/// # Errors
/// 242 where one does not end.
pub fn end_orphans(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let folder = view.below(&place.staging());
    let (itself, below) = (quote(&quote_pattern(&folder)), quote(&format!("{}/*", quote_pattern(&folder))));
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do
  alive=
  for p in $(find /proc/[0-9]*/cwd -maxdepth 0 \\( -lname {itself} -o -lname {below} \\) -printf '%h\\n' 2>/dev/null); do
    c=; read -r c 2>/dev/null < \"$p/comm\"
    case $c in rsync|tar) ;; *) continue;; esac
    kill -9 \"${{p#/proc/}}\" 2>/dev/null && alive=1
  done
  for p in $(find /proc/[0-9]*/fd/{MARK_FD} -maxdepth 0 -lname {itself} -printf '%h\\n' 2>/dev/null); do
    p=${{p%/fd}}; c=; read -r c 2>/dev/null < \"$p/comm\"
    case $c in sh|dash|bash|ksh|busybox|mv|tar) ;; *) continue;; esac
    kill -9 \"${{p#/proc/}}\" 2>/dev/null && alive=1
  done
  [ -n \"$alive\" ] || exit 0
  sleep 0.5
done
exit 1"
    );
    let answer = connection.run("end-orphans", &script, setting.limits.answer, watch)?;
    if answer.status == 0 {
        return Ok(());
    }
    let message =
        format!("a process of an earlier attempt at {} does not end: {}", place.path, answer.text());
    Err(Halt::fault(Fault::Stalled, message))
}

/// Makes an earlier attempt's staging folder fit to go on with. Links to the files of the folder that it is to
/// replace go first: what rsync does to a file that is there, and to a part of one, would reach the published one. Then
/// the temporary files of an rsync that was killed (`.NAME.XXXXXX`) go to where rsync looks for parts of files, so that
/// what had arrived is not sent again. A part is no more than a hint: rsync compares the whole.
///
/// # Errors
/// Any halt.
pub fn prepare_staged(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    partial_name: &str,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let script = format!(
        "cd -P -- {at} && find ./{staging} -type d ! -perm -700 -exec chmod u+rwx -- {{}} + \
  && find ./{staging} -type f -links +1 -exec rm -f -- {{}} + || exit 1
find ./{staging} -type f -name '.?*.??????' -exec /bin/sh -c '
  d=${{1%/*}} b=${{1##*/}}; b=${{b#.}}; b=${{b%.??????}}
  [ -e \"$d/$b\" ] || {{ mkdir -p -- \"$d/$2\" && mv -n -- \"$1\" \"$d/$2/$b\"; }}' sh {{}} {partial} \\;",
        at = quote(&view.at),
        staging = quote(&place.staging()),
        partial = quote(partial_name)
    );
    expect_done(connection, "prepare-staged", &script, "keeping parts of files", setting, watch)
}

/// Moves files that were cut off in the middle, named by their paths below the staging folder, to where rsync looks
/// for parts of files.
///
/// # Errors
/// Any halt.
pub fn keep_parts(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    names: &[&str],
    partial_name: &str,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let mut script = format!("cd -P -- {} && cd ./{} || exit 1\n", quote(&view.at), quote(&place.staging()));
    for name in names {
        let (folder, base) = name.rsplit_once('/').unwrap_or((".", name));
        let (folder, base, partial) = (quote(folder), quote(base), quote(partial_name));
        let (from, parts) = (format!("./{folder}/{base}"), format!("./{folder}/{partial}"));
        script.push_str(&format!("mkdir -p -- {parts} && mv -n -- {from} {parts}/{base} || exit 1\n"));
    }
    expect_done(connection, "keep-parts", &script, "keeping parts of files", setting, watch)
}

/// A pattern that matches exactly `text`.
fn quote_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The files in a folder below the target's path, with folders and all.
///
/// # Errors
/// Any halt.
pub fn list(
    connection: &mut Connection,
    view: &View,
    folder: &str,
    setting: &Setting,
    watch: &Watch,
) -> Result<Vec<Staged>, Halt> {
    let script =
        format!("cd -P -- {} && find ./{} -printf '%y %s %T@ %P\\0'", quote(&view.at), quote(folder));
    let answer = connection.run_long("list", &script, setting.limits.stall, watch)?;
    let records = answer.output.split(|&b| b == 0).filter(|record| !record.is_empty());
    Ok(records.filter_map(parse_listed).collect())
}

/// The folder of a copy's staging, for [`list`].
pub fn staging_folder(place: Place<'_>) -> String {
    place.staging()
}

/// A copy's published folder, as seen from its staging folder.
pub fn beside_staging(name: &Name) -> String {
    format!("../../../{name}")
}

/// A record of `find -printf '%y %s %T@ %P'`.
pub(super) fn parse_listed(record: &[u8]) -> Option<Staged> {
    let mut fields = record.splitn(4, |&b| b == b' ');
    let kind = match fields.next()? {
        b"f" => Kind::File,
        b"d" => Kind::Folder,
        b"l" => Kind::Symlink,
        _ => Kind::Other,
    };
    let number = |field: Option<&[u8]>| std::str::from_utf8(field?).ok().map(str::to_owned);
    let size = number(fields.next())?.parse().ok()?;
    let time = number(fields.next())?;
    let mtime_s = time.split('.').next()?.parse().ok()?;
    Some(Staged { path: fields.next()?.into(), size, mtime_s, kind })
}

/// Makes the staging folder, if need be, and says what identifies it.
///
/// # Errors
/// 222 where it can't be made, or where something that is not ours stands in its place; 227 where the path is
/// another folder than the one that was looked at, since its disk came or went meanwhile.
pub fn make_staging(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<Identity, Halt> {
    let (top, ledger, staging) =
        (quote(STAGING), quote(&format!("{STAGING}/{}", place.ledger_id)), quote(&place.staging()));
    let seen = view.folder.map_or_else(String::new, |Identity { device, inode }| {
        format!("[ \"$(stat -c '%d %i' -- .)\" = '{device} {inode}' ] || exit {OTHER_FOLDER}\n")
    });
    let script = format!(
        "cd -P -- {} || exit 1
{seen}n=0
while n=$((n+1)) r=0; do
  for d in ./{top} ./{ledger} ./{staging}; do
    [ -L \"$d\" ] && {{ echo \"$d is a symlink, which is not followed\"; exit 1; }}
    [ -d \"$d\" ] || mkdir -- \"$d\" || {{ r=$?; break; }}
    [ -O \"$d\" ] || {{ echo \"$d belongs to another user\"; exit 1; }}
  done
  # Another group's pass may tidy the folders away between two steps.
  [ $r != 0 ] || break
  [ $n -lt 3 ] || exit $r
done
stat -c '%d %i' -- ./{staging}",
        quote(&view.at)
    );
    let answer = connection.run("make-staging", &script, setting.limits.answer, watch)?;
    if answer.status == 0
        && let Some(identity) = answer.text().lines().last().and_then(parse_identity)
    {
        return Ok(identity);
    }
    if answer.status == OTHER_FOLDER {
        let message =
            format!("{} became another folder, or another disk, while it was looked at", place.path);
        return Err(Halt::fault(Fault::FilesystemChanged, message));
    }
    let message = format!("cannot make the staging folder below {}: {}", place.path, answer.text());
    Err(Halt::fault(outcome::of_target_message(&message), message))
}

/// Makes sure that what has the final name is a folder, and still the one that was seen.
///
/// # Errors
/// 225 where it is anything else.
pub fn expect_folder(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    there: Identity,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let name = place.name.map_or("", Name::as_str);
    let script = format!(
        "cd -P -- {} && n=./{} && [ ! -L \"$n\" ] && [ -d \"$n\" ] && [ \"$(stat -c '%d %i' -- \"$n\")\" = '{} {}' ]",
        quote(&view.at),
        quote(name),
        there.device,
        there.inode
    );
    let answer = connection.run("expect-folder", &script, setting.limits.answer, watch)?;
    if answer.status == 0 {
        return Ok(());
    }
    let message = format!("{name} at {} is no folder, or is another one now", place.path);
    Err(Halt::fault(Fault::PathTaken, message))
}

/// Removes what an earlier attempt left of partial files. The folders that held them keep their times.
///
/// # Errors
/// Any halt.
pub fn remove_partials(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    partial_name: &str,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let script = format!(
        "cd -P -- {} || exit 1
t=$(mktemp) || exit
find ./{} -depth -type d -name {} -exec /bin/sh -c '
  touch -r \"${{1%/*}}\" \"$2\" && rm -rf -- \"$1\" && touch -r \"$2\" \"${{1%/*}}\"' sh {{}} \"$t\" \\;
rm -f -- \"$t\"",
        quote(&view.at),
        quote(&place.staging()),
        quote(partial_name)
    );
    expect_done(connection, "remove-partials", &script, "removing partial files", setting, watch)
}

/// A loop at the destination that writes to the disk what arrives, while more arrives. A disk's error is told once
/// only, to whoever asks first: so the loop keeps it, until [`begin_flush`] asks for it. Asked to end, it
/// finishes what it is at, and becomes a program whose name says how that went; where it is gone, somebody has
/// killed it.
#[derive(Debug)]
pub struct Flusher {
    pid: u32,
}

/// Lets the destination's disk write while files arrive, so that little is left to wait for at the end. The
/// loop ends with its shell, whatever becomes of us; what it could not write, [`flushed`] will say. Nothing waits for
/// it to begin: [`flusher`] takes its answer, before anything else is asked.
///
/// # Errors
/// Any halt.
pub fn flush_meanwhile(connection: &mut Connection, view: &View, place: Place<'_>) -> Result<(), Halt> {
    let script = format!(
        "cd /
( trap 'end=1' TERM
while [ -z \"$end\" ]; do
  kill -0 $$ || exit
  sleep {FLUSH_EVERY_S} & pause=$!
  sync -f -- {}; status=$?
  [ -z \"$end\" ] || [ $status != 0 ] || break
  [ $status != 0 ] || {{ wait $pause; continue; }}
  [ $status -le 128 ] || exit
  trap '' TERM
  exec tail --pid=$$ -f /dev/null
done
exec sleep 60 ) >/dev/null 2>&1 &
echo $!",
        quote(&view.below(&place.staging()))
    );
    connection.send("flush-meanwhile", &script)
}

/// What [`flush_meanwhile`] has begun.
///
/// # Errors
/// Any halt.
pub fn flusher(
    connection: &mut Connection,
    setting: &Setting,
    watch: &Watch,
) -> Result<Option<Flusher>, Halt> {
    let answer = connection.answer(setting.limits.answer, watch)?;
    Ok(answer.text().trim().parse().ok().map(|pid| Flusher { pid }))
}

/// Begins to write everything to the destination's disk; [`flushed`] waits for the end.
///
/// # Errors
/// Any halt.
pub fn begin_flush(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    flusher: Option<Flusher>,
) -> Result<(), Halt> {
    let end = flusher.map_or_else(String::new, |Flusher { pid }| {
        format!(
            "kill {pid} 2>/dev/null
while c=; {{ read -r c < /proc/{pid}/comm; }} 2>/dev/null; case $c in sleep|tail|'') false;; esac; do sleep 0.02; done
kill -9 {pid} 2>/dev/null
case $c in sleep) ;; tail) echo 'it refused while files were sent'; exit 1;; *) exit 137;; esac
"
        )
    });
    let script = format!("{end}cd -P -- {} && sync -f -- ./{}", quote(&view.at), quote(&place.staging()));
    connection.send("flush", &script)
}

/// Waits until the destination's disk has everything.
///
/// # Errors
/// Any halt; a disk that can't be written is a fault.
pub fn flushed(
    connection: &mut Connection,
    patience: std::time::Duration,
    watch: &Watch,
) -> Result<(), Halt> {
    let answer = connection.answer(patience, watch)?;
    if answer.status == 0 {
        return Ok(());
    }
    let said = answer.text();
    let fault = if said.contains("No space left") {
        Fault::NoRoom
    } else if said.contains("Disk quota exceeded") {
        Fault::PathDenied
    } else {
        Fault::Foreign(11)
    };
    Err(Halt::fault(fault, format!("the destination cannot write to its disk: {said}")))
}

/// Gives the staging folder its final name, and proves it.
///
/// # Errors
/// 225 where the name is taken meanwhile.
pub fn publish(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    staged: Identity,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let (name, staging) = (quote(place.name.map_or("", Name::as_str)), quote(&place.staging()));
    let script = format!(
        "cd -P -- {at} || exit 1
if [ -e ./{name} ] || [ -L ./{name} ]; then exit 25; fi
[ \"$(stat -c '%d %i' -- ./{staging})\" = '{device} {inode}' ] || {{ echo 'the staging folder is another one now'; exit 1; }}
exec {MARK_FD}<./{staging} || exit 1
mode=$(stat -c %a -- ./{staging}) || exit
[ -w ./{staging} ] || chmod u+w -- ./{staging} || exit
mv -nT -- ./{staging} ./{name} || exit
is=$(stat -c '%d %i' -- ./{name}) || exit
[ \"$is\" = '{device} {inode}' ] || exit 25
[ ! -e ./{staging} ] || {{ echo 'the rename left the staging folder behind'; exit 1; }}
[ \"$(stat -c %a -- ./{name})\" = \"$mode\" ] || chmod \"$mode\" -- ./{name} || exit
sync -f -- .",
        at = quote(&view.at),
        device = staged.device,
        inode = staged.inode,
    );
    let answer = connection.run("publish", &script, setting.limits.stall, watch)?;
    match answer.status {
        0 => Ok(()),
        25 => {
            let taken = format!("{} is already at {}", place.name.map_or("", Name::as_str), place.path);
            Err(Halt::fault(Fault::PathTaken, format!("{taken}, and this ledger did not put it there")))
        }
        _ => {
            let message = format!("the rename into {} failed: {}", place.path, answer.text());
            Err(Halt::fault(outcome::of_target_message(&message), message))
        }
    }
}

/// Gives the published folder its source's mode, where a kill came between the rename and that; a folder
/// that its owner may not write can't be renamed, and is made writable for it.
///
/// # Errors
/// Any halt.
pub fn restore_mode(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    mode: u32,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let name = quote(place.name.map_or("", Name::as_str));
    let script = format!("cd -P -- {} && chmod {:o} -- ./{name}", quote(&view.at), mode & 0o7777);
    expect_done(connection, "restore-mode", &script, "restoring the mode", setting, watch)
}

/// Writes a published folder, and its name, to the disk.
///
/// # Errors
/// Any halt; a disk that can't be written is a fault.
pub fn flush_published(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    patience: std::time::Duration,
    watch: &Watch,
) -> Result<(), Halt> {
    let name = quote(place.name.map_or("", Name::as_str));
    connection.send(
        "flush-published",
        &format!("cd -P -- {} && sync -f -- ./{name} && sync -f -- .", quote(&view.at)),
    )?;
    flushed(connection, patience, watch)
}

/// Removes the staging folders that are empty; says what room is left, where that can be told.
///
/// # Errors
/// Any halt; a folder that is not empty is none.
pub fn tidy(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<Option<(Room, FileSystem)>, Halt> {
    let ledger = quote(&format!("{STAGING}/{}", place.ledger_id));
    let script = format!(
        "cd -P -- {} || exit 0
rmdir -- ./{ledger} ./{} 2>/dev/null
echo
{}",
        quote(&view.at),
        quote(STAGING),
        room_script()
    );
    let answer = connection.run("tidy", &script, setting.limits.answer, watch)?;
    let Ok((mut room, file_system)) = parse_room(&String::from_utf8_lossy(&answer.output)) else {
        return Ok(None);
    };
    let is_told = !connection.host.is_local() || ask_this_machine(&view.at, &mut room).is_ok();
    Ok(is_told.then_some((room, file_system)))
}

/// Removes a staging folder that is not needed any more, by its full path. One whose disk is not there is
/// left alone: false. It is moved first to where no minidvodb can be staged, so that what a kill leaves of it
/// is never taken for a staging folder, and goes with the next removal.
///
/// # Errors
/// Any halt.
pub fn remove_staging(
    connection: &mut Connection,
    path: &str,
    ledger_id: &str,
    setting: &Setting,
    watch: &Watch,
) -> Result<bool, Halt> {
    let mark = format!("/{STAGING}/{ledger_id}/");
    let Some((base, name)) =
        path.rsplit_once(&mark).filter(|(_, name)| !name.is_empty() && !name.contains('/'))
    else {
        return Err(crate::error::Error::bug(format!("{path} is no staging folder of this ledger")).into());
    };
    let base = if base.is_empty() { "/" } else { base };
    let ledger = quote(&format!("{STAGING}/{ledger_id}"));
    let (top, name) = (quote(STAGING), quote(name));
    let script = format!(
        "cd -P -- {} 2>/dev/null || exit 7
for d in ./{top} ./{ledger}; do [ ! -L \"$d\" ] || exit 1; done
f=./{ledger}/{name} g=./{ledger}/{top}
[ ! -L \"$g\" ] || exit 1
if [ -e \"$f\" ] || [ -L \"$f\" ]; then
  [ -L \"$f\" ] || [ -w \"$f\" ] || chmod u+w -- \"$f\" || exit
  mkdir -p -- \"$g\" && d=$(mktemp -d \"$g/XXXXXX\") && mv -- \"$f\" \"$d/\" || exit
fi
[ ! -d \"$g\" ] || find \"$g\" -type d ! -perm -700 -exec chmod u+rwx {{}} + 2>/dev/null
rm -rf -- \"$g\" || exit
rmdir -- ./{ledger} ./{top} 2>/dev/null; :",
        quote(base)
    );
    let answer = connection.run("remove-staging", &script, setting.limits.stall, watch)?;
    Ok(answer.status == 0)
}

fn expect_done(
    connection: &mut Connection,
    name: &'static str,
    script: &str,
    what: &str,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let answer = connection.run(name, script, setting.limits.stall, watch)?;
    if answer.status == 0 {
        return Ok(());
    }
    let message = format!("{what} at the destination failed: {}", answer.text());
    Err(Halt::fault(outcome::of_target_message(&message), message))
}
