//! The words of the wiki page, one or a script of them.
//!
//! Invariants: the settings of all words are made in one transaction, in order, or none of them is; then there
//! is one pass over what was added. As in pantasks, what is added is queued at once, and copied where its host
//! is on: afterwards it is cron's business.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;

use super::{host, run, stage, target};
use crate::cli::words::Word;
use crate::cli::{TargetAdd, TargetDel};
use crate::error::{Error, Exit, Result};
use crate::ledger::{Change, Failure, Look};
use crate::lock::PassLock;
use crate::model::{Host, Stages};
use crate::pass::{self, Context, Order, TargetKeys, WhenOff};
use crate::plan::load::Eagerness;
use crate::state;

/// A word, and where it stands in a script.
pub(super) struct Step {
    pub word: Word,
    pub place: Option<String>,
}

impl Step {
    /// An error of this step, with the place of its line.
    fn blame(&self, error: Error) -> Error {
        match &self.place {
            Some(place) => error.at(place),
            None => error,
        }
    }
}

pub(super) fn execute(context: &Context, steps: &[Step]) -> Result<Exit> {
    if !steps.iter().any(|step| step.word.is_setting()) {
        return show_only(context, steps);
    }
    let (done, added) = set(context, steps)?;
    for deed in &done {
        say(context, deed)?;
    }
    if !steps.iter().any(|step| matches!(step.word, Word::AddCopy(_) | Word::AddHost(_))) {
        return Ok(Exit::Done);
    }
    let order = Order {
        host: None,
        group: None,
        among: Some(added),
        copy: None,
        limit: None,
        jobs: NonZeroU8::MIN,
        eagerness: Eagerness::Scheduled,
        when_off: WhenOff::QueueOnly,
        must_have_lock: false,
        counts_waiting: context.ui.is_heard(),
    };
    let summary = pass::run(context, &order)?;
    run::report(context, &summary, false, false)
}

/// Words that change nothing make no ledger either.
fn show_only(context: &Context, steps: &[Step]) -> Result<Exit> {
    let is_shown = |step: &Step| matches!(step.word, Word::ShowCopies | Word::ShowHosts);
    if steps.iter().any(is_shown) {
        let shown = super::read_if_any(context, |ledger| {
            steps.iter().map(|step| shown_by(ledger, &step.word)).collect::<Result<String, _>>()
        })?;
        context.ui.print(&shown)?;
    }
    Ok(Exit::Done)
}

/// What a word prints.
fn shown_by(ledger: &impl Look, word: &Word) -> Result<String, Failure> {
    Ok(match word {
        Word::ShowCopies => {
            ledger.targets()?.iter().map(|target| format!("{}.{}\n", target.host, target.group)).collect()
        }
        Word::ShowHosts => {
            let hosts = ledger.hosts()?;
            hosts.iter().filter(|known| known.is_on).map(|known| format!("{}\n", known.host)).collect()
        }
        _ => String::new(),
    })
}

/// What a word did, to be said when all are done.
enum Deed<'s> {
    TargetAdded(&'s TargetAdd, target::Added),
    TargetRemoved { words: &'s TargetDel, parked: u64 },
    HostOn(host::SwitchedOn),
    HostOff(&'s Host),
    Switched(Stages),
    Shown(String),
}

/// Targets and hosts; of the words: what is added, and still is at the end.
#[derive(Default)]
struct Places {
    targets: TargetKeys,
    hosts: BTreeSet<Host>,
}

/// Makes the settings, and finds the targets that they added.
fn set<'s>(context: &Context, steps: &'s [Step]) -> Result<(Vec<Deed<'s>>, TargetKeys)> {
    rehearse(context, steps)?;
    state::prepare(&context.state_dir)?;
    let _locks = lock_moved(context, steps)?;
    context.ledger.write(|change| {
        let (mut done, mut added) = (Vec::new(), Places::default());
        for step in steps {
            done.push(take(context, change, &step.word, &mut added).map_err(|failure| match failure {
                Failure::Command(error) => Failure::Command(step.blame(error)),
                other => other,
            })?);
        }
        // What is said to be missing may have come with a later word.
        for deed in &mut done {
            match deed {
                Deed::TargetAdded(words, said) => {
                    said.is_host_on = change.host_or_unknown(&words.host)?.is_on;
                }
                Deed::HostOn(said) => said.has_target = host::has_target(change, &said.record.host)?,
                _ => {}
            }
        }
        let of_hosts = change.targets()?.into_iter().filter(|target| added.hosts.contains(&target.host));
        added.targets.extend(of_hosts.map(|target| (target.host, target.group)));
        Ok((done, added.targets))
    })
}

/// A word that cannot be done is found before anything is written, so that a script with one leaves the ledger
/// as it is, and makes none.
fn rehearse(context: &Context, steps: &[Step]) -> Result<()> {
    let mut known = Places::default();
    if context.ledger.exists() {
        let (targets, hosts) = context.ledger.read(|ledger| Ok((ledger.targets()?, ledger.hosts()?)))?;
        known.targets = targets.into_iter().map(|target| (target.host, target.group)).collect();
        known.hosts = hosts.into_iter().map(|record| record.host).collect();
    }
    for step in steps {
        match &step.word {
            Word::AddCopy(words) => {
                known.hosts.insert(words.host.clone());
                known.targets.insert((words.host.clone(), words.group.clone()));
            }
            Word::AddHost(words) => {
                known.hosts.insert(words.host.clone());
            }
            Word::DelCopy(words) if !known.targets.remove(&(words.host.clone(), words.group.clone())) => {
                return Err(step.blame(target::unknown(context, words)));
            }
            Word::DelHost(words) if !known.hosts.contains(&words.host) => {
                return Err(step.blame(host::unknown(context, &words.host)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The locks of all targets whose path changes, each one once.
fn lock_moved(context: &Context, steps: &[Step]) -> Result<Vec<PassLock>> {
    let mut locks = BTreeMap::new();
    for step in steps {
        let Word::AddCopy(words) = &step.word else { continue };
        let key = (&words.host, &words.group);
        if !locks.contains_key(&key)
            && let Some(lock) = target::lock_if_it_moves(context, words).map_err(|error| step.blame(error))?
        {
            locks.insert(key, lock);
        }
    }
    Ok(locks.into_values().collect())
}

/// Does what a word asks for, as our own command for it does.
fn take<'s>(
    context: &Context,
    change: &mut Change<'_>,
    word: &'s Word,
    added: &mut Places,
) -> Result<Deed<'s>, Failure> {
    Ok(match word {
        Word::Module => Deed::Shown(String::new()),
        Word::AddCopy(words) => {
            added.targets.insert((words.host.clone(), words.group.clone()));
            Deed::TargetAdded(words, target::put(change, words, context.now())?)
        }
        Word::DelCopy(words) => {
            added.targets.remove(&(words.host.clone(), words.group.clone()));
            Deed::TargetRemoved { words, parked: target::remove(context, change, words)? }
        }
        Word::AddHost(words) => {
            added.hosts.insert(words.host.clone());
            Deed::HostOn(host::switch_on(change, &words.host)?)
        }
        Word::DelHost(words) => {
            added.hosts.remove(&words.host);
            host::switch_off(context, change, &words.host)?;
            Deed::HostOff(&words.host)
        }
        Word::Stages { stages, is_on } => Deed::Switched(stage::set(change, stages, *is_on)?),
        Word::ShowCopies | Word::ShowHosts => Deed::Shown(shown_by(change, word)?),
    })
}

fn say(context: &Context, deed: &Deed<'_>) -> Result<()> {
    match deed {
        Deed::TargetAdded(words, added) => target::say_added(context, words, added),
        Deed::TargetRemoved { words, parked } => target::say_removed(context, words, *parked),
        Deed::HostOn(switched) => host::say_on(context, switched),
        Deed::HostOff(host) => host::say_off(context, host),
        Deed::Switched(stages) => stage::say(context, *stages),
        Deed::Shown(text) => return context.ui.print(text),
    }
    Ok(())
}
