//! Second copies: every method has a first copy of its own, and brings it up to date when the source has changed.
//!
//! Invariant: all methods see the same change, and each one the copy that it left itself. `recopy` is what
//! minidvodbcopy is driven with, as an operator would: it exchanges the folder, while the others write into it.

use std::collections::BTreeMap;

use anyhow::Context;
use camino::Utf8PathBuf;
use xtask::dvo::Made;

use super::lab::{Lab, Outcome, Ready};
use super::methods::Method;
use crate::tasks::program::number;

/// A method's own copy.
pub(super) enum Standing {
    Ours { ready: Ready, copy_id: String },
    Other { destination: Utf8PathBuf },
}

pub(super) fn make_standing_copies(
    lab: &mut Lab,
    methods: &[Method],
    made: Made,
) -> anyhow::Result<BTreeMap<Method, Standing>> {
    let mut standing = BTreeMap::new();
    for &method in methods {
        let destination = lab.fresh_destination()?;
        let copy = match method.target_options() {
            Some(options) => {
                let ready = lab.prepare(&destination, options)?;
                lab.pass(&ready, &["run"], made)?;
                let copies = ready.program.copies()?;
                let copy_id = copies.first().and_then(|copy| number(copy, "minidvodbcopy_id"));
                let copy_id = copy_id.context("`list` names no minidvodbcopy_id")?.to_string();
                Standing::Ours { ready, copy_id }
            }
            // A first copy of rsync's own, whatever it is that will bring it up to date.
            None => {
                lab.other(Method::Rsync, &destination, made)?;
                Standing::Other { destination }
            }
        };
        standing.insert(method, copy);
    }
    Ok(standing)
}

/// Brings a method's own copy up to date with the source, which has `made` now.
pub(super) fn update(
    lab: &Lab,
    method: Method,
    standing: &BTreeMap<Method, Standing>,
    made: Made,
) -> anyhow::Result<Outcome> {
    match standing.get(&method).context("it has no first copy")? {
        Standing::Ours { ready, copy_id } => lab.pass(ready, &["recopy", copy_id], made),
        Standing::Other { destination } => lab.other(method, destination, made),
    }
}
