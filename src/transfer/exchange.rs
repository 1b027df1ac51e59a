//! The one way by which a published folder is ever replaced: the new one is exchanged with it.
//!
//! Invariant: only a folder that this ledger published, by its device and inode, leaves its name, and only when
//! the new one is whole beside it. Killed at any moment, both are whole, and one of them has the name or is one
//! rename away from it: [`settle`] makes that rename.

use super::destination::{Identity, MARK_FD, Place, View};
use super::script::quote;
use super::shell::Connection;
use super::{Halt, Setting, Watch, outcome};
use crate::faults::{Fault, Met};
use crate::model::{CopyId, Name, STAGING, old_name};

/// Exit code of the scripts: what has the final name is not the folder that may be replaced.
const NOT_OURS: i32 = 25;
/// It cannot be done, and both folders are where they were.
const UNDONE: i32 = 26;
/// The same: the place that the old folder would go to is not free.
const IN_THE_WAY: i32 = 27;

/// Two folders that change places.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Of which copy.
    pub copy: CopyId,
    /// The folder that has the name.
    pub old: Identity,
    /// The one that is to have it.
    pub new: Identity,
}

/// What became of an exchange.
#[derive(Debug)]
pub enum Exchanged {
    /// The new folder has the name.
    Done,
    /// Both folders are where they were, and this is why.
    Undone(Met),
    /// Both folders are where they were: the old one of another exchange, which is not needed any more since
    /// the name is not free, lies where this one would go.
    InTheWay,
}

impl View {
    /// The device that the path lies on, by which a folder published there is known again.
    pub fn device(&self) -> Option<u64> {
        self.folder.map(|folder| folder.device)
    }
}

/// The beginning of every script here: the folder, the names of the three places, and how to look at one.
fn prelude(at: &str, place: Place<'_>, exchange: Exchange) -> String {
    let name = place.name.map_or("", Name::as_str);
    let staging = place.staging();
    let old = format!("{STAGING}/{}/{}", place.ledger_id, old_name(exchange.copy));
    let word = |Identity { device, inode }| quote(&format!("{device} {inode}"));
    format!(
        "k=$(stat -L -c %F -- {at} 2>&1) || {{ echo \"$k\"; exit 1; }}
cd -P -- {at} || exit 1
name=./{name} staging=./{staging} old=./{old} is_old={is_old} is_new={is_new}
id() {{ stat -c '%d %i' -- \"$1\" 2>/dev/null; }}
is_free() {{ [ ! -e \"$1\" ] && [ ! -L \"$1\" ]; }}
[ -L \"$staging\" ] || [ ! -d \"$staging\" ] || exec {MARK_FD}<\"$staging\" || exit 1
",
        at = quote(at),
        name = quote(name),
        staging = quote(&staging),
        old = quote(&old),
        is_old = word(exchange.old),
        is_new = word(exchange.new),
    )
}

/// Exchanges the new folder with the old one, which is kept beside the staging folders: by one step where the
/// host's mv can do that, else by two renames. Where it is depends on what is seen there, not on what mv says.
///
/// # Errors
/// Any halt: then it may have been done or not.
pub fn exchange(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    exchange: Exchange,
    setting: &Setting,
    watch: &Watch,
) -> Result<Exchanged, Halt> {
    let script = prelude(&view.at, place, exchange)
        + &format!(
            "[ \"$(id \"$name\")\" = \"$is_old\" ] || exit {NOT_OURS}
[ \"$(id \"$staging\")\" = \"$is_new\" ] || {{ echo 'the staging folder is another one now'; exit {UNDONE}; }}
is_free \"$old\" || exit {IN_THE_WAY}
old_mode=$(stat -c %a -- \"$name\") && new_mode=$(stat -c %a -- \"$staging\") || exit {UNDONE}
[ -w \"$staging\" ] || chmod u+w -- \"$staging\" || exit {UNDONE}
[ -w \"$name\" ] || chmod u+w -- \"$name\" || exit {UNDONE}
if mv --help 2>/dev/null | grep -q -e --exchange; then
  mv -T --exchange -- \"$staging\" \"$name\" 2>/dev/null
fi
if [ \"$(id \"$name\")\" = \"$is_new\" ]; then
  mv -nT -- \"$staging\" \"$old\"
else
  mv -nT -- \"$name\" \"$old\" && mv -nT -- \"$staging\" \"$name\"
fi
if [ \"$(id \"$name\")\" != \"$is_new\" ]; then
  [ \"$(id \"$old\")\" != \"$is_old\" ] || mv -nT -- \"$old\" \"$name\"
  [ \"$(id \"$name\")\" = \"$is_old\" ] || exit 1
  chmod \"$old_mode\" -- \"$name\"
  exit {UNDONE}
fi
[ \"$(id \"$old\")\" = \"$is_old\" ] || exit 1
[ \"$(stat -c %a -- \"$name\")\" = \"$new_mode\" ] || chmod \"$new_mode\" -- \"$name\" || exit
sync -f -- ."
        );
    let answer = connection.run("exchange", &script, setting.limits.stall, watch)?;
    let name = place.name.map_or("", Name::as_str);
    let message = format!("{name} at {} cannot be exchanged: {}", place.path, answer.text());
    match answer.status {
        0 => Ok(Exchanged::Done),
        NOT_OURS => Ok(Exchanged::Undone(not_ours(place))),
        IN_THE_WAY => Ok(Exchanged::InTheWay),
        UNDONE => Ok(Exchanged::Undone(Met::new(of_undone(&message), message))),
        _ => Err(Halt::fault(outcome::of_target_message(&message), message)),
    }
}

/// Whose fault it is that two folders cannot change places. The target's path can be written, or nothing would
/// have been staged: so it is that of the folder that has the name, unless the disk says otherwise.
fn of_undone(message: &str) -> Fault {
    let is_of_disk = ["No space left on device", "Read-only file system", "Disk quota exceeded"];
    if is_of_disk.iter().any(|text| message.contains(text)) {
        outcome::of_target_message(message)
    } else {
        Fault::PathTaken
    }
}

/// The fault where a folder that is to be replaced is not the one that this ledger published.
pub fn not_ours(place: Place<'_>) -> Met {
    let name = place.name.map_or("", Name::as_str);
    let what = "is not the folder that this ledger published, and is not replaced";
    Met::new(Fault::PathTaken, format!("{name} at {} {what}", place.path))
}

/// After an exchange that may have been cut off: where nothing has the name, the new folder gets it, or the old
/// one where the new one is not there. One step at most is missing.
///
/// # Errors
/// Any halt.
pub fn settle(
    connection: &mut Connection,
    place: Place<'_>,
    exchange: Exchange,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let script = prelude(place.path.as_str(), place, exchange)
        + "if is_free \"$name\"; then
  if [ \"$(id \"$staging\")\" = \"$is_new\" ]; then mv -nT -- \"$staging\" \"$name\" || exit
  elif [ \"$(id \"$old\")\" = \"$is_old\" ]; then mv -nT -- \"$old\" \"$name\" || exit
  fi
elif [ \"$(id \"$name\")\" = \"$is_new\" ] && [ \"$(id \"$staging\")\" = \"$is_old\" ] && is_free \"$old\"; then
  mv -nT -- \"$staging\" \"$old\" || exit
fi
sync -f -- .";
    let answer = connection.run("settle-exchange", &script, setting.limits.stall, watch)?;
    if answer.status == 0 {
        return Ok(());
    }
    let message = format!("the exchange at {} cannot be completed: {}", place.path, answer.text());
    Err(Halt::fault(outcome::of_target_message(&message), message))
}
