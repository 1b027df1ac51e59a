//! The audit: is what the ledger calls full still there, and equal to what was sent?
//!
//! It looks at full copies, the one whose audit is oldest first, compares each with the manifest that was kept
//! when it was copied, and writes down what it saw. Invariants: nothing is changed at a destination; no lock
//! is taken, so that no pass waits for an audit or fails because of one: a copy that changed in the ledger while
//! it was looked at is left to the next audit. A host that can't be reached, or a disk that is not there, is no
//! fault of the copies on it; and one copy that can't be looked at keeps no other from its turn.

mod inspect;
mod record;
mod report;
mod unexplained;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;

pub use report::Report;

use self::inspect::{Ground, Subject};
use self::record::Checked;
use self::report::Teller;
use crate::error::{Error, Exit, Result};
use crate::faults::{Fault, Met, Scope};
use crate::ledger::Look as _;
use crate::model::{AbsolutePath, CopyId, Group, Host, Target};
use crate::pass::{Context, expect_known};
use crate::plan::audit::{Oldest, Turn, turn};
use crate::transfer::source::Roots;
use crate::transfer::{Connection, Halt, Watch};

/// After so many copies in a row that could not be audited, each for itself, their host is left alone.
const ODD_IN_A_ROW: u32 = 5;
/// So many copies are chosen at once, for which all copies are read once: ten times for a million.
const CHOSEN_AT_ONCE: u64 = 100_000;

/// Which copies to audit, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// On this host only, which may be off then.
    pub host: Option<Host>,
    /// Of this group only.
    pub group: Option<Group>,
    /// Whether the content of every file is compared, too.
    pub is_by_checksum: bool,
    /// At most so many copies.
    pub limit: Option<u64>,
}

/// One audit. What it could not look at is in the report.
///
/// # Errors
/// 2 where nothing is known of the host or the group; what ends it: a signal, the ledger. What was found by then is written down.
pub fn run(context: &Context, order: &Order) -> Result<Report> {
    expect_known(context, order.host.as_ref(), order.group.as_ref())?;
    context.ledger.back_up_daily(context.now())?;
    let (roots, ledger_id) =
        context.ledger.read(|ledger| Ok((ledger.source_roots()?, ledger.ledger_id()?)))?;
    let mut auditor = Auditor {
        context,
        order,
        began: context.now(),
        roots: Roots(roots),
        ledger_id,
        closed: BTreeSet::new(),
        searched: BTreeSet::new(),
        checked: Vec::new(),
        first_checked: None,
        teller: Teller::new(context.ui, context.own_command(&["check"])),
    };
    let done = auditor.audit_all();
    let kept = auditor.write_down();
    done.and(kept)?;
    auditor.report_passed_over()?;
    Ok(auditor.teller.end())
}

/// An audit under way.
struct Auditor<'a> {
    context: &'a Context,
    order: &'a Order,
    began: Timestamp,
    /// Where minidvodbs may be read from.
    roots: Roots,
    ledger_id: String,
    /// The hosts that can't be audited in this run.
    closed: BTreeSet<Host>,
    /// The paths whose folders were compared with what the ledger knows.
    searched: BTreeSet<(Host, String)>,
    /// What was found and not written down yet.
    checked: Vec<Checked>,
    /// When the first of these was found.
    first_checked: Option<Instant>,
    teller: Teller,
}

/// How much of a host is closed by what was met there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    Path,
    Host,
}

impl Auditor<'_> {
    fn audit_all(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            self.check_stop()?;
            let left = self.order.limit.map(|limit| limit.saturating_sub(self.teller.audited()));
            let most = left.unwrap_or(CHOSEN_AT_ONCE).min(CHOSEN_AT_ONCE);
            let chosen = self.choose(usize::try_from(most).unwrap_or(usize::MAX), after)?;
            let Some((last, _)) = chosen.last() else { return Ok(()) };
            after = Some(*last);
            let mut by_host: BTreeMap<Host, Vec<CopyId>> = BTreeMap::new();
            for (turn, host) in chosen {
                by_host.entry(host).or_default().push(turn.id);
            }
            for (host, copies) in by_host {
                self.audit_host(&host, &copies)?;
                self.write_down()?;
            }
        }
    }

    /// The next copies: full, not to be sent again, at a host that is on, or that was named.
    fn choose(&self, most: usize, after: Option<Turn>) -> Result<Vec<(Turn, Host)>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let now = self.context.now();
        self.context.ledger.read(|ledger| {
            let hosts = ledger.hosts()?;
            let on: BTreeSet<Host> =
                hosts.into_iter().filter(|host| host.is_on).map(|host| host.host).collect();
            let mut oldest = Oldest::new(most, after);
            ledger.each_copy(|copy| {
                let is_open = !self.closed.contains(&copy.host)
                    && (on.contains(&copy.host) || self.order.host.is_some());
                if is_open
                    && self.order.is_meant(&copy.host, &copy.group)
                    && !copy.is_to_be_made()
                    && let Some(turn) = turn(&copy, self.began, now)
                {
                    oldest.offer(turn, &copy.host);
                }
                Ok(true)
            })?;
            Ok(oldest.into_sorted())
        })
    }

    fn audit_host(&mut self, host: &Host, copies: &[CopyId]) -> Result<()> {
        let opened = self.connect(host);
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(halt) => return self.close(host, None, halt).map(drop),
        };
        let mut grounds: BTreeMap<String, Option<Ground>> = BTreeMap::new();
        let (mut odd_in_a_row, mut was_odd) = (0, false);
        for &id in copies {
            self.check_stop()?;
            let Some(subject) = self.subject(id, host)? else { continue };
            let path = subject.copy.path.clone();
            let key = path.tidy().into_owned();
            let ground = match grounds.entry(key.clone()) {
                Entry::Occupied(known) => Ok(known.into_mut().as_ref()),
                Entry::Vacant(place) => {
                    self.look(&mut connection, host, &path).map(|ground| place.insert(Some(ground)).as_ref())
                }
            };
            let audited = match ground {
                Ok(Some(ground)) => self.audit_copy(&mut connection, ground, &subject),
                Ok(None) => {
                    self.teller.note_left_out();
                    continue;
                }
                Err(halt) => Err(halt),
            };
            match audited {
                Ok(checked) => {
                    odd_in_a_row = 0;
                    self.take(checked)?;
                }
                Err(halt) if grounds.contains_key(&key) && is_of_one_copy(&halt) => {
                    self.leave_out(&subject, &halt)?;
                    (odd_in_a_row, was_odd) = (odd_in_a_row + 1, true);
                    // What the old one still says is an answer to what nobody asks any more.
                    let again = if odd_in_a_row < ODD_IN_A_ROW { self.connect(host) } else { Err(halt) };
                    match again {
                        Ok(again) => connection = again,
                        Err(halt) => return self.close(host, None, halt).map(drop),
                    }
                }
                Err(halt) => {
                    self.teller.note_left_out();
                    if self.close(host, Some(&path), halt)? == Closed::Host {
                        return Ok(());
                    }
                    grounds.insert(key, None);
                }
            }
        }
        // What is listed there may be as odd; the next audit looks for folders that no copy explains.
        for ground in grounds.values().flatten().filter(|_| !was_odd) {
            match self.search_unexplained(&mut connection, host, ground) {
                Ok(()) => {}
                Err(halt) => return self.close(host, Some(&ground.path), halt).map(drop),
            }
        }
        Ok(())
    }

    /// Leaves one copy out, says so, and writes the try down, so that it does not come first again next time.
    fn leave_out(&mut self, subject: &Subject, halt: &Halt) -> Result<()> {
        let (fault, why) = match halt {
            Halt::Fault(met) => (Some(met.fault), met.message.as_str()),
            Halt::Cut(why) => (None, why.as_str()),
            Halt::Signal(_) | Halt::Error(_) => return Ok(()),
        };
        let tried = self.tried(subject, why);
        self.write_tried(&subject.copy, &tried)?;
        self.teller.note_odd(&subject.copy, fault, why);
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
        self.context.stop.requested().map_or(Ok(()), |exit| Err(stopped(exit)))
    }

    fn connect(&self, host: &Host) -> Result<Connection, Halt> {
        let watch = Watch::new(self.context.stop.clone(), Target::DEADLINE_S);
        Connection::open(host, &self.context.setting, &watch)
    }

    /// A copy as it stands now, if it is still to be audited there.
    fn subject(&self, id: CopyId, host: &Host) -> Result<Option<Subject>> {
        self.context.ledger.read(|ledger| {
            let known = ledger.copy(id)?.filter(|copy| copy.host == *host && !copy.is_to_be_made());
            let Some(copy) = known else { return Ok(None) };
            let source = ledger.minidvodb(copy.minidvodb_id)?.map(|minidvodb| minidvodb.path);
            let target = ledger.target(&copy.host, &copy.group)?;
            let deadline_s = target.map_or(Target::DEADLINE_S, |target| target.deadline_s);
            Ok(Some(Subject { copy, source, deadline_s }))
        })
    }

    /// Notes what keeps a host, or a path there, from being audited: said once, unless a pass has said it.
    fn close(&mut self, host: &Host, path: Option<&AbsolutePath>, halt: Halt) -> Result<Closed> {
        let met = match halt {
            Halt::Fault(met) => met,
            Halt::Cut(why) => {
                self.closed.insert(host.clone());
                self.teller.note_closed(host, None, None, &why, false);
                return Ok(Closed::Host);
            }
            Halt::Signal(exit) => return Err(stopped(exit)),
            Halt::Error(error) => return Err(error),
        };
        let is_of_path = met.fault.scope() == Scope::Target;
        let path = path.filter(|_| is_of_path);
        let was_said = self.was_said(host, path, &met)?;
        self.teller.note_closed(host, path, Some(met.fault), &met.message, was_said);
        if path.is_some() {
            return Ok(Closed::Path);
        }
        self.closed.insert(host.clone());
        Ok(Closed::Host)
    }

    /// Whether a pass has met the same fault of that host or path, and said so.
    fn was_said(&self, host: &Host, path: Option<&AbsolutePath>, met: &Met) -> Result<bool> {
        self.context.ledger.read(|ledger| {
            let mut standings = vec![ledger.host(host)?.and_then(|host| host.standing)];
            for target in ledger.targets()? {
                if target.host == *host && path.is_some_and(|path| path.tidy() == target.path.tidy()) {
                    standings.push(target.standing);
                }
            }
            let mut standings = standings.into_iter().flatten();
            Ok(standings.any(|standing| standing.fault == met.fault && standing.said_at.is_some()))
        })
    }

    /// Full copies at hosts that are off are left alone, which whoever watches is told.
    fn report_passed_over(&mut self) -> Result<()> {
        if self.order.host.is_some() || !self.context.ui.is_heard() {
            return Ok(());
        }
        let hosts = self.context.ledger.read(|ledger| {
            let targets = ledger.targets()?;
            let mut off = BTreeSet::new();
            for target in targets {
                if !ledger.host_or_unknown(&target.host)?.is_on
                    && self.order.is_meant(&target.host, &target.group)
                {
                    off.insert(target.host);
                }
            }
            Ok(off)
        })?;
        for host in hosts {
            self.context.ui.tell(&format!("{host} is off, and was not audited; `--host {host}` audits it"));
        }
        Ok(())
    }
}

impl Order {
    fn is_meant(&self, host: &Host, group: &Group) -> bool {
        self.host.as_ref().is_none_or(|wanted| wanted == host)
            && self.group.as_ref().is_none_or(|wanted| wanted == group)
    }
}

/// Whether what was met while one copy was looked at may be that copy's alone: its own fault, an answer without
/// sense, which may come of an odd thing in its folder, or a tool that was killed over it.
fn is_of_one_copy(halt: &Halt) -> bool {
    match halt {
        Halt::Fault(met) => met.fault.scope() == Scope::Copy || met.fault == Fault::HostTools,
        Halt::Cut(_) => true,
        Halt::Signal(_) | Halt::Error(_) => false,
    }
}

/// The error of an audit that a signal ends.
fn stopped(exit: Exit) -> Error {
    Error::new(exit, "stopped by a signal; what was found is kept, and the next audit goes on from here")
}
