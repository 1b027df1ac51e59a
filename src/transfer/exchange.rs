//! The one way by which a published folder is ever replaced: the new one is exchanged with it.
//!
//! Invariant: only a folder that this ledger published, by its device and inode, leaves its name, and only when
//! the new one is whole beside it. Killed at any moment, both are whole, and one of them has the name or is one
//! rename away from it: [`settle`] makes that rename.

use super::destination::{Identity, Place, View};
use super::script::quote;
use super::shell::Connection;
use super::{Halt, Setting, Watch, outcome};
use crate::faults::Fault;
use crate::model::{CopyId, Name, STAGING, old_name};

/// Exit code of the scripts: what has the final name is not the folder that may be replaced.
const NOT_OURS: i32 = 25;

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

/// The beginning of every script here: the folder, the names of the three places, and how to look at one.
fn prelude(at: &str, place: Place<'_>, exchange: Exchange) -> String {
    let name = place.name.map_or("", Name::as_str);
    let staging = format!("{STAGING}/{}/{name}", place.ledger_id);
    let old = format!("{STAGING}/{}/{}", place.ledger_id, old_name(exchange.copy));
    let word = |Identity { device, inode }| quote(&format!("{device} {inode}"));
    format!(
        "cd -P -- {at} || exit 1
name=./{name} staging=./{staging} old=./{old} is_old={is_old} is_new={is_new}
id() {{ stat -c '%d %i' -- \"$1\" 2>/dev/null; }}
is_free() {{ [ ! -e \"$1\" ] && [ ! -L \"$1\" ]; }}
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
/// host's mv can do that, else by two renames.
///
/// # Errors
/// 225 where something else has the name.
pub fn exchange(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    exchange: Exchange,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let script = prelude(&view.at, place, exchange)
        + &format!(
            "[ \"$(id \"$name\")\" = \"$is_old\" ] || exit {NOT_OURS}
[ \"$(id \"$staging\")\" = \"$is_new\" ] || {{ echo 'the staging folder is another one now'; exit 1; }}
is_free \"$old\" || {{ echo \"$old is in the way\"; exit 1; }}
old_mode=$(stat -c %a -- \"$name\") && new_mode=$(stat -c %a -- \"$staging\") || exit 1
[ -w \"$staging\" ] || chmod u+w -- \"$staging\" || exit 1
[ -w \"$name\" ] || chmod u+w -- \"$name\" || exit 1
if mv --help 2>/dev/null | grep -q -e --exchange && mv -T --exchange -- \"$staging\" \"$name\" 2>/dev/null; then
  mv -nT -- \"$staging\" \"$old\"
else
  mv -nT -- \"$name\" \"$old\" && mv -nT -- \"$staging\" \"$name\"
fi
if [ \"$(id \"$name\")\" != \"$is_new\" ]; then
  echo 'the folders cannot be exchanged'
  [ \"$(id \"$old\")\" != \"$is_old\" ] || mv -nT -- \"$old\" \"$name\"
  [ \"$(id \"$name\")\" != \"$is_old\" ] || chmod \"$old_mode\" -- \"$name\"
  exit 1
fi
[ \"$(stat -c %a -- \"$name\")\" = \"$new_mode\" ] || chmod \"$new_mode\" -- \"$name\" || exit 1
sync -f -- . || exit 1"
        );
    let answer = connection.run("exchange", &script, setting.limits.stall, watch)?;
    match answer.status {
        0 => Ok(()),
        NOT_OURS => Err(not_ours(place)),
        _ => {
            let message = format!("the exchange at {} failed: {}", place.path, answer.text());
            Err(Halt::fault(outcome::of_target_message(&message), message))
        }
    }
}

/// The fault where a folder that is to be replaced is not the one that this ledger published.
pub fn not_ours(place: Place<'_>) -> Halt {
    let name = place.name.map_or("", Name::as_str);
    Halt::fault(
        Fault::PathTaken,
        format!("{name} at {} is not the folder that this ledger published, and is not replaced", place.path),
    )
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
  if [ \"$(id \"$staging\")\" = \"$is_new\" ]; then mv -nT -- \"$staging\" \"$name\" || exit 1
  elif [ \"$(id \"$old\")\" = \"$is_old\" ]; then mv -nT -- \"$old\" \"$name\" || exit 1
  fi
elif [ \"$(id \"$name\")\" = \"$is_new\" ] && [ \"$(id \"$staging\")\" = \"$is_old\" ] && is_free \"$old\"; then
  mv -nT -- \"$staging\" \"$old\" || exit 1
fi
sync -f -- . || exit 1";
    let answer = connection.run("settle-exchange", &script, setting.limits.stall, watch)?;
    if answer.status == 0 {
        return Ok(());
    }
    // A path that is not there, or not to be written, is seen by the look that follows, with its own fault.
    let message = format!("the exchange at {} cannot be completed: {}", place.path, answer.text());
    Err(Halt::fault(outcome::of_target_message(&message), message))
}
