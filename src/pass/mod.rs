//! The pass: for every target whose host is on, queue, load, look for space, run.
//!
//! It reads like the users' page: put every merged minidvodb that has no copy on the machine into the queue;
//! load the pending copies, oldest first; for each one make sure that there is room, and copy it. Invariants:
//! everything for a target happens under its lock; a fault of one copy never keeps the next one waiting; a
//! fault of a host or target leaves its queue as it was; a pass that has nothing to do commits nothing.

mod adopt;
mod attempt;
pub mod diary;
mod jobs;
mod preview;
pub mod queue;
mod recopy;
mod report;
mod show;
mod standing;

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use camino::Utf8PathBuf;
use jiff::Timestamp;

pub use attempt::{say_collision, title};
use jobs::Jobs;
pub use preview::lines as preview_lines;
pub use report::{Deed, Summary};
use show::{Board, Show};

use crate::error::{Error, Exit, Result};
use crate::faults::{Class, Fault, Scope};
use crate::last_pass::{self, EndedPass};
use crate::ledger::{Failure, Ledger, Look, Snapshot};
use crate::lock::PassLock;
use crate::model::{Copy, CopyId, Group, Host, HostRecord, Kind, Minidvodb, RoomSeen, Stages, Tally, Target};
use crate::plan::forecast;
use crate::plan::load::{self, Door, Eagerness, Verdict};
use crate::plan::notice;
use crate::signals::Stop;
use crate::surroundings::Surroundings;
use crate::sync::{Hold, Partner};
use crate::transfer::Setting;
use crate::ui::{self, Ui};

/// What every step of a pass works with.
pub struct Context {
    /// The state folder.
    pub state_dir: Utf8PathBuf,
    /// The ledger in it.
    pub ledger: Ledger,
    /// What people see.
    pub ui: Ui,
    /// What children get, and the limits.
    pub setting: Setting,
    /// Whether to stop.
    pub stop: Stop,
    /// Who runs the program.
    pub user: String,
    /// The command line, as one could type it.
    pub command_line: String,
    /// `MYSQL_PWD` of the environment.
    pub mysql_password: Option<String>,
    /// What other processes are to be started with.
    pub surroundings: Surroundings,
    /// The clock.
    pub clock: fn() -> Timestamp,
}

impl Context {
    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A command of this program with these words, as one can paste it; without words, what every one begins with.
    pub fn own_command(&self, words: &[&str]) -> String {
        let mut command = self.surroundings.typed_program();
        if self.surroundings.is_state_dir_typed {
            command.push_str(&format!(" --state-dir {}", ui::shell_word(&self.state_dir)));
        }
        words.iter().fold(command, |command, word| format!("{command} {}", ui::shell_word(word)))
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// The error that a signal asks for.
    pub fn check_stop(&self) -> Result<()> {
        match self.stop.requested() {
            Some(exit) => Err(Error::new(exit, "stopped by a signal; the next pass goes on from here")),
            None => Ok(()),
        }
    }
}

/// What a target gets of a pass while its host is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenOff {
    /// Nothing.
    PassOver,
    /// Its queue is filled; nothing is copied, and the host is not asked for anything.
    QueueOnly,
    /// As if it were on.
    Serve,
}

/// Targets by host and group.
pub type TargetKeys = BTreeSet<(Host, Group)>;

/// Which targets to serve, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// This host only.
    pub host: Option<Host>,
    /// This group only.
    pub group: Option<Group>,
    /// These targets only.
    pub among: Option<TargetKeys>,
    /// This copy only, and nothing is queued.
    pub copy: Option<CopyId>,
    /// At most so many copies are tried.
    pub limit: Option<u64>,
    /// At most so many machines are served at once.
    pub jobs: NonZeroU8,
    /// Whether waits are waited for.
    pub eagerness: Eagerness,
    /// What is done for hosts that are off.
    pub when_off: WhenOff,
    /// A target that another pass has is an error, not to be passed over.
    pub must_have_lock: bool,
    /// Whether somebody wants to know how many copies wait.
    pub counts_waiting: bool,
}

/// What a target is served with: as it stands in the ledger at this moment.
#[derive(Clone, Debug)]
struct Served {
    target: Target,
    host: HostRecord,
    stages: Stages,
}

impl Order {
    /// Whether a host is asked for anything; else its queue is filled at most.
    fn serves(&self, host: &HostRecord) -> bool {
        host.is_on || self.when_off == WhenOff::Serve
    }
}

/// One pass.
///
/// # Errors
/// What ends the whole pass: a signal, the ledger, a missing program on this machine. Faults of copies are in
/// the summary.
pub fn run(context: &Context, order: &Order) -> Result<Summary> {
    let began = context.now();
    let result = serve_all(context, order);
    let (exit, has_succeeded) = match &result {
        Ok(summary) if summary.faulted > 0 => (Exit::Faulted, false),
        // Where others had all that it came for, one of them may hang.
        Ok(summary) => (Exit::Done, summary.skipped == 0 || summary.served > 0),
        Err(error) => (error.exit, false),
    };
    let pass = EndedPass { began, ended: context.now(), exit_code: exit as u8 };
    last_pass::note(&context.state_dir, pass, has_succeeded);
    result
}

fn serve_all(context: &Context, order: &Order) -> Result<Summary> {
    if !context.ledger.exists() {
        return Err(no_ledger(context));
    }
    context.ledger.back_up_daily(context.now())?;
    let partner = if context.ledger.read(|ledger| Ok(ordered_targets(ledger, order)?.is_empty()))? {
        expect_known(context, order.host.as_ref(), order.group.as_ref())?;
        Partner::default()
    } else {
        Partner::meet(context)?
    };
    let busy = context.ledger.read(|ledger| targets_with_work(ledger, order, context.now()))?;
    let board = Board::new(context.ui.looks, order.jobs);
    if board.is_watched() {
        board.expect(context.ledger.read(|ledger| count_to_make(ledger, order, &busy))?);
    }
    let mut summary = Jobs::serve(context, order, busy, partner, &board)?;
    drop(board);
    if context.ui.is_heard() {
        standing::tell_closed(context, order)?;
    }
    if order.counts_waiting {
        summary.waiting = context.ledger.read(|ledger| count_waiting(ledger, order))?;
    }
    Ok(summary)
}

/// A target that somebody else serves is left to them; an operator's own pass ends there.
fn pass_over(
    context: &Context,
    order: &Order,
    target: &Target,
    holder: &str,
    summary: &mut Summary,
) -> Result<()> {
    let (group, host) = (&target.group, &target.host);
    if order.must_have_lock {
        return Err(Error::try_again(format!("a pass for {group} to {host} is under way: {holder}")));
    }
    summary.skipped += 1;
    context.ui.tell(&format!("{group} to {host} is served by {holder}"));
    Ok(())
}

/// A pass without a ledger is more likely a wrong state folder than a wish.
fn no_ledger(context: &Context) -> Error {
    Error::configuration(format!("there is no ledger in {}", context.state_dir)).hint(
        "`minidvodbcopy minidvodb import` and `minidvodbcopy target add` make one; is this the right --state-dir?",
    )
    .hint("`minidvodbcopy check` says what to do first")
}

/// Refuses a host or a group of which nothing is known: more likely a typing error than a wish.
///
/// # Errors
/// 2 where there is neither a target nor a copy of it.
pub fn expect_known(context: &Context, host: Option<&Host>, group: Option<&Group>) -> Result<()> {
    if host.is_none() && group.is_none() {
        return Ok(());
    }
    let (targets, tallies) = context.ledger.read(|ledger| Ok((ledger.targets()?, ledger.tallies()?)))?;
    let of_targets = targets.iter().map(|target| (&target.host, &target.group));
    let of_copies = tallies.iter().map(|tally| (&tally.host, &tally.group));
    let (hosts, groups): (BTreeSet<_>, BTreeSet<_>) = of_targets.chain(of_copies).unzip();
    let unknown_host = host.filter(|host| !hosts.contains(host)).map(|host| format!("to {host}"));
    let unknown_group = group.filter(|group| !groups.contains(group)).map(|group| format!("of {group}"));
    match unknown_host.or(unknown_group) {
        None => Ok(()),
        Some(unknown) => {
            Err(Error::usage(format!("no target and no copy {unknown} is known, and nothing was done"))
                .hint(format!("`{}` lists what goes where", context.own_command(&["target", "show"]))))
        }
    }
}

/// What a pass would do, without doing it.
///
/// # Errors
/// As [`run`].
pub fn preview(context: &Context, order: &Order, extra: Option<Target>) -> Result<Summary> {
    preview::preview(context, order, extra)
}

fn is_ordered(order: &Order, target: &Target, host: &HostRecord) -> bool {
    (host.is_on || order.when_off != WhenOff::PassOver)
        && order.host.as_ref().is_none_or(|wanted| *wanted == target.host)
        && order.group.as_ref().is_none_or(|wanted| *wanted == target.group)
        && order
            .among
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&(target.host.clone(), target.group.clone())))
}

fn ordered_targets(ledger: &Snapshot, order: &Order) -> Result<Vec<(Target, HostRecord)>, Failure> {
    let mut ordered = Vec::new();
    for target in ledger.targets()? {
        let host = ledger.host_or_unknown(&target.host)?;
        if is_ordered(order, &target, &host) {
            ordered.push((target, host));
        }
    }
    Ok(ordered)
}

/// The targets that a pass has anything to do for, by host and group.
fn targets_with_work(
    ledger: &Snapshot,
    order: &Order,
    now: Timestamp,
) -> Result<Vec<(Target, HostRecord)>, Failure> {
    let (stages, tallies) = (ledger.stages()?, ledger.tallies()?);
    // Of those that wait for a person there may be thousands, and nobody need look at each.
    let waits = |tally: &&Tally| tally.kind == Kind::Person && forecast::waits_for_person(tally);
    let to_look_at =
        tallies.iter().filter(|tally| tally.kind != Kind::Full && tally.copies > 0 && !waits(tally));
    let to_look_at: BTreeSet<_> = to_look_at.map(|tally| (&tally.host, &tally.group)).collect();
    let mut busy = Vec::new();
    for (target, host) in ordered_targets(ledger, order)? {
        let all_wait = !to_look_at.contains(&(&target.host, &target.group));
        if order.must_have_lock || has_work(ledger, order, stages, &target, &host, all_wait, now)? {
            busy.push((target, host));
        }
    }
    Ok(busy)
}

/// Whether there is anything to do for a target; `all_wait` where all copies that it lacks wait for a person.
fn has_work(
    ledger: &Snapshot,
    order: &Order,
    stages: Stages,
    target: &Target,
    host: &HostRecord,
    all_wait: bool,
    now: Timestamp,
) -> Result<bool, Failure> {
    if !ledger.open_attempts(&target.host, &target.group)?.is_empty()
        || (stages.queue && ledger.has_candidates(target)?)
    {
        return Ok(true);
    }
    if !stages.load || !order.serves(host) {
        return Ok(false);
    }
    let standings = [host.standing.as_ref(), target.standing.as_ref()];
    let doors = standings.map(|standing| load::door(standing, now, order.eagerness));
    if standings.into_iter().flatten().any(|standing| notice::is_standing_due(standing, now)) {
        return Ok(true);
    }
    if doors.contains(&Door::Closed) {
        return Ok(false);
    }
    if doors.contains(&Door::Probe) || !ledger.leftovers(&target.host, &target.group)?.is_empty() {
        return Ok(true);
    }
    if is_audit_reminder_due(target, now) && !faults_of_audits(ledger, target)?.is_empty() {
        return Ok(true);
    }
    let is_reminder_due = notice::is_reminder_due(target.reminded_at, now);
    if all_wait && !is_reminder_due {
        return Ok(false);
    }
    let mut found = false;
    ledger.pending_until(&target.host, &target.group, CopyId(0), |copy| {
        let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
        found = match load::judge(&copy, minidvodb.as_ref(), now, order.eagerness) {
            Verdict::Serve => true,
            Verdict::NeedsPerson => is_reminder_due && notice::is_reminder_due(copy.epoch, now),
            Verdict::Wait | Verdict::NotEligible => false,
        };
        Ok(!found)
    })?;
    Ok(found)
}

/// Whether what audits have found at a target was last said a day ago.
fn is_audit_reminder_due(target: &Target, now: Timestamp) -> bool {
    target.audit_said_at.is_some() && notice::is_reminder_due(target.audit_said_at, now)
}

/// The faults that audits have found in a target's full copies, and in how many of them.
fn faults_of_audits(ledger: &Snapshot, target: &Target) -> Result<Vec<(Fault, u64)>, Failure> {
    let tallies =
        ledger.tallies()?.into_iter().filter(|tally| tally.kind == Kind::Full && tally.is_of(target));
    let faults = tallies.filter_map(|tally| Some((Fault::from_code(tally.fault_code)?, tally.copies)));
    Ok(faults.filter(|(fault, copies)| fault.is_of_audit() && *copies > 0).collect())
}

/// How many copies these targets have for a pass to make, for whoever watches it.
fn count_to_make(ledger: &Snapshot, order: &Order, targets: &[(Target, HostRecord)]) -> Result<u64, Failure> {
    // Those whose time has come are counted when they are begun.
    let is_due = |tally: &Tally| tally.kind != Kind::Retry || order.eagerness == Eagerness::Now;
    let is_served = |tally: &Tally| targets.iter().any(|(target, _)| tally.is_of(target));
    let tallies = ledger.tallies()?;
    let made = tallies.iter().filter(|tally| forecast::is_queued(tally) && is_due(tally) && is_served(tally));
    let copies = made.map(|tally| tally.copies).sum();
    Ok(order.copy.map_or(copies, |_| 1).min(order.limit.unwrap_or(u64::MAX)))
}

fn count_waiting(ledger: &Snapshot, order: &Order) -> Result<u64, Failure> {
    let mut waiting = 0;
    for (target, _) in ordered_targets(ledger, order)? {
        waiting += ledger.count_pending(&target.host, &target.group)?;
    }
    Ok(waiting)
}

/// A pass over one target, under its lock.
struct Pass<'a> {
    context: &'a Context,
    order: &'a Order,
    jobs: &'a Jobs<'a>,
    lock: &'a mut PassLock,
    partner: &'a mut Partner,
    show: &'a mut Show,
    /// The room that was looked at last.
    seen: Option<RoomSeen>,
    summary: &'a mut Summary,
}

impl Pass<'_> {
    fn serve(&mut self, target: &Target) -> Result<()> {
        let span = tracing::info_span!("target", group = %target.group, host = %target.host);
        let _inside = span.entered();
        tracing::info!("served: {}", target.path);
        self.settle_interrupted(target)?;
        self.settle_exchanges(target)?;
        let Some(served) = self.current(target)? else { return Ok(()) };
        if served.stages.queue && self.order.copy.is_none() {
            self.queue(&served)?;
            self.partner.catch_up(self.context)?;
        }
        if !served.stages.load || !self.order.serves(&served.host) {
            return Ok(());
        }
        if !served.stages.run {
            return if self.context.ui.is_heard() {
                preview::tell(self.context, self.order, &served)
            } else {
                Ok(())
            };
        }
        crate::transfer::rsync::check_here(&self.context.setting)?;
        if self.pass_the_door(target)? {
            self.remove_leftovers(target)?;
            self.copy_pending(target)?;
        }
        self.remind_of_audits(target)?;
        self.remind(target)
    }

    /// The target as it stands now; none when an operator has taken it away or switched its host off.
    fn current(&self, target: &Target) -> Result<Option<Served>> {
        let order = self.order;
        self.context.ledger.read(|ledger| {
            let Some(target) = ledger.target(&target.host, &target.group)? else { return Ok(None) };
            let host = ledger.host_or_unknown(&target.host)?;
            let stages = ledger.stages()?;
            Ok(is_ordered(order, &target, &host).then_some(Served { target, host, stages }))
        })
    }

    /// Step 1: every eligible minidvodb without a copy on the machine gets one.
    fn queue(&mut self, served: &Served) -> Result<()> {
        let ledger = &self.context.ledger;
        if !ledger.read(|ledger| ledger.has_candidates(&served.target))? {
            return Ok(());
        }
        let mut queued_here = 0;
        loop {
            self.context.check_stop()?;
            let now = self.context.now();
            let (queued, has_more) = ledger.write(|change| {
                let Some(mut target) = change.target(&served.target.host, &served.target.group)? else {
                    return Ok((Vec::new(), false));
                };
                let machine = change.host_or_unknown(&target.host)?.machine;
                let found = change.candidates(&target, &machine, queue::QUEUED_AT_ONCE)?;
                let queued = queue::put(change, found.candidates, &target, &machine, now)?;
                target.queued_through = found.through;
                // Collisions were logged with the target meanwhile.
                target.logged_faults = change
                    .target(&target.host, &target.group)?
                    .map_or_else(Default::default, |target| target.logged_faults);
                change.put_target(&target)?;
                Ok((queued, found.has_more))
            })?;
            queued_here += queued.len() as u64;
            for copy in queued.iter().filter(|copy| copy.fault().is_some()) {
                self.say_collision(copy)?;
            }
            if !has_more {
                break;
            }
        }
        let (group, host) = (&served.target.group, &served.target.host);
        self.summary.queued += queued_here;
        if self.order.limit.is_none() {
            self.show.expect(queued_here);
        }
        if queued_here > 0 {
            let copies = ui::count(queued_here, "minidvodb", "minidvodbs");
            self.context.ui.tell(&format!("queued {copies} of {group} for {host}"));
        }
        Ok(())
    }

    /// Steps 2 to 4, for one copy after the other.
    fn copy_pending(&mut self, target: &Target) -> Result<()> {
        let mut after = CopyId(0);
        while !self.jobs.is_limit_reached() && !self.jobs.is_over() {
            self.context.check_stop()?;
            let Some(served) = self.current(target)? else { return Ok(()) };
            if !self.order.serves(&served.host) || !served.stages.load || !served.stages.run {
                return Ok(());
            }
            let Some((copy, minidvodb)) = self.next_to_serve(&served, after)? else { return Ok(()) };
            after = copy.id;
            let hold = self.partner.before_copy(self.context, &copy)?;
            if hold == Hold::Missing {
                continue;
            }
            if hold == Hold::Taken {
                self.context
                    .ui
                    .tell(&format!("{} to {} is served by another ledger now", target.group, target.host));
                return Ok(());
            }
            // The database may have said that there is nothing to do any more.
            let still = self.next_to_serve(&served, CopyId(copy.id.0 - 1))?;
            if still.is_none_or(|(still, _)| still.id != copy.id) {
                continue;
            }
            if !self.jobs.may_try() {
                return Ok(());
            }
            let scope = self.copy_one(&served, &copy, minidvodb.as_ref())?;
            self.partner.after_copy(self.context, &copy)?;
            if scope != Scope::Copy {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Step 2: the oldest pending copy behind `after` that is served now.
    fn next_to_serve(&self, served: &Served, after: CopyId) -> Result<Option<(Copy, Option<Minidvodb>)>> {
        let now = self.context.now();
        self.context.ledger.read(|ledger| {
            let mut next = None;
            ledger.pending_until(&served.target.host, &served.target.group, after, |copy| {
                let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
                let verdict = load::judge(&copy, minidvodb.as_ref(), now, self.order.eagerness);
                if verdict == Verdict::Serve && self.order.copy.is_none_or(|only| only == copy.id) {
                    next = Some((copy, minidvodb));
                }
                Ok(next.is_none())
            })?;
            Ok(next)
        })
    }

    /// Once a day: how many full copies of this target audits have found damaged.
    fn remind_of_audits(&self, target: &Target) -> Result<()> {
        let now = self.context.now();
        let Some(Served { target, .. }) = self.current(target)? else { return Ok(()) };
        if !is_audit_reminder_due(&target, now) {
            return Ok(());
        }
        let faults = self.context.ledger.read(|ledger| faults_of_audits(ledger, &target))?;
        if faults.is_empty() {
            return Ok(());
        }
        let listed: Vec<String> = faults.iter().map(|(fault, count)| format!("{fault} ({count})")).collect();
        self.context.ui.notice(&format!(
            "{} to {}: audits have found full copies damaged: {}; see `minidvodbcopy list --faulted`",
            target.group,
            target.host,
            listed.join(", ")
        ));
        self.context.ledger.write(|change| {
            let Some(mut target) = change.target(&target.host, &target.group)? else { return Ok(()) };
            target.audit_said_at = Some(now);
            change.put_target(&target)
        })
    }

    /// Once a day: how many copies of this target wait for a person, by fault.
    fn remind(&mut self, target: &Target) -> Result<()> {
        let now = self.context.now();
        let Some(Served { mut target, .. }) = self.current(target)? else { return Ok(()) };
        if !notice::is_reminder_due(target.reminded_at, now) {
            return Ok(());
        }
        let mut faults = std::collections::BTreeMap::new();
        self.context.ledger.read(|ledger| {
            ledger.each_pending(&target.host, &target.group, |copy| {
                // A younger one was said when it was met, less than a day ago.
                let is_due = notice::is_reminder_due(copy.epoch, now);
                if let Some(state) = copy.fault_of_making().filter(|_| is_due)
                    && state.class != Class::Retry
                    && state.fault.scope() == Scope::Copy
                {
                    faults.entry(state.fault.code()).or_insert((state.fault, 0u64)).1 += 1;
                }
                Ok(())
            })
        })?;
        if faults.is_empty() {
            return Ok(());
        }
        let listed: Vec<String> =
            faults.values().map(|(fault, count)| format!("{fault} ({count})")).collect();
        self.context.ui.notice(&format!(
            "{} to {}: copies wait for a person: {}; see `minidvodbcopy list --faulted`",
            target.group,
            target.host,
            listed.join(", ")
        ));
        target.reminded_at = Some(now);
        self.context.ledger.write(|change| change.put_target(&target))
    }
}
