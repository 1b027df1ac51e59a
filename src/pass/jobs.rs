//! The jobs of a pass: several machines are served at once, each by one job, its targets one after the other.
//!
//! Invariants: no machine is ever served by two jobs, whichever of its names its targets have; what was done is told
//! in the order of hosts and groups, however it came about; one job's faults are no other's business, and what ends
//! the whole pass lets the others finish the copy that they are at.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::show::{Board, Show};
use super::{Context, Order, Pass, Summary, pass_over};
use crate::error::Result;
use crate::lock::PassLock;
use crate::model::{HostRecord, Machine, Target};
use crate::sync::{Hold, Partner};

/// Many more than a job has, with a few streams.
const OPEN_FILES_OF_A_JOB: u64 = 256;

/// A target with something to do, and its host.
pub(super) type Busy = (Target, HostRecord);

/// What the jobs of a pass share.
pub(super) struct Jobs<'a> {
    context: &'a Context,
    order: &'a Order,
    /// The machines that nobody has begun.
    waiting: Mutex<VecDeque<Queue>>,
    tried: AtomicU64,
    is_over: AtomicBool,
}

/// The targets of one machine, each with its place among all.
struct Queue {
    machine: Machine,
    turns: Vec<(usize, Busy)>,
}

/// What came of a target, by its place among all.
type Outcome = (usize, Result<Summary>);

impl<'a> Jobs<'a> {
    /// Serves the targets, so many machines at once as are ordered.
    ///
    /// # Errors
    /// What ends the whole pass: of several jobs', that of the first target.
    pub(super) fn serve(
        context: &'a Context,
        order: &'a Order,
        busy: Vec<Busy>,
        partner: Partner,
        board: &Arc<Board>,
    ) -> Result<Summary> {
        let waiting = by_machine(busy);
        let count = waiting.len().min(order.jobs.get().into());
        let jobs = Self {
            context,
            order,
            waiting: Mutex::new(waiting),
            tried: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        let jobs = &jobs;
        allow_open_files(count);
        let mut outcomes = std::thread::scope(|scope| {
            let others: Vec<_> = (1..count)
                .map(|number| {
                    let partner = partner.another();
                    scope.spawn(move || jobs.work(partner, &mut board.show(number)))
                })
                .collect();
            // The first job is this thread's own.
            let mut outcomes = jobs.work(partner, &mut board.show(0));
            for other in others {
                outcomes.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            outcomes
        });
        outcomes.sort_by_key(|(place, _)| *place);
        let mut summary = Summary::default();
        for (_, outcome) in outcomes {
            summary.add(outcome?);
        }
        Ok(summary)
    }

    /// One job: machine after machine, until none waits.
    fn work(&self, mut partner: Partner, show: &mut Show) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some(queue) = self.next() {
            for (place, (target, host)) in queue.turns {
                let outcome = self.serve_target(&target, &host, &mut partner, show);
                let is_over = outcome.is_err();
                outcomes.push((place, outcome));
                if is_over {
                    self.is_over.store(true, Ordering::Relaxed);
                    return outcomes;
                }
            }
        }
        outcomes
    }

    fn next(&self) -> Option<Queue> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front().filter(|_| !self.is_over())
    }

    /// Whether another job has met what ends the whole pass.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether no further copy may be tried.
    pub(super) fn is_limit_reached(&self) -> bool {
        self.order.limit.is_some_and(|limit| self.tried.load(Ordering::Relaxed) >= limit)
    }

    /// One copy more is tried, if it may be.
    pub(super) fn may_try(&self) -> bool {
        let limit = self.order.limit.unwrap_or(u64::MAX);
        let tried = self
            .tried
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tried| (tried < limit).then(|| tried + 1));
        tried.is_ok()
    }

    /// A pass over one target, unless somebody else is at it.
    fn serve_target(
        &self,
        target: &Target,
        host: &HostRecord,
        partner: &mut Partner,
        show: &mut Show,
    ) -> Result<Summary> {
        let (context, order) = (self.context, self.order);
        let mut summary = Summary::default();
        context.check_stop()?;
        if self.is_over() {
            return Ok(summary);
        }
        match PassLock::try_take(&context.state_dir, &target.host, &target.group, &host.machine)? {
            Ok(mut lock) => {
                if partner.hold(context, &host.machine, &target.group)? == Hold::Taken {
                    pass_over(context, order, target, "another ledger of the database", &mut summary)?;
                    return Ok(summary);
                }
                let (lock, jobs) = (&mut lock, self);
                Pass { context, order, jobs, lock, partner, show, seen: None, summary: &mut summary }
                    .serve(target)?;
                summary.served += 1;
                partner.let_go();
                partner.catch_up(context)?;
            }
            Err(holder) => pass_over(context, order, target, &holder, &mut summary)?,
        }
        Ok(summary)
    }
}

/// Each job has its files open, and the pipes of its children: lets this process have as many as that takes, where
/// it may. Where it may not, what cannot be started says so.
fn allow_open_files(jobs: usize) {
    let wanted = jobs as u64 * OPEN_FILES_OF_A_JOB;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = limit.maximum.map_or(wanted, |most| most.min(wanted));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }) {
            tracing::warn!("cannot have {wanted} files open at once: {error}");
        }
    }
}

/// The targets of each machine together, machines in the order in which their first targets came.
fn by_machine(busy: Vec<Busy>) -> VecDeque<Queue> {
    let mut queues: VecDeque<Queue> = VecDeque::new();
    for (place, (target, host)) in busy.into_iter().enumerate() {
        let machine = host.machine.clone();
        let turn = (place, (target, host));
        match queues.iter_mut().find(|queue| queue.machine == machine) {
            Some(queue) => queue.turns.push(turn),
            None => queues.push_back(Queue { machine, turns: vec![turn] }),
        }
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AbsolutePath, Group, Host};

    fn busy(host: &str, machine: &str, group: &str) -> Busy {
        let host = Host::parse(host).unwrap();
        let path = AbsolutePath::parse("/there").unwrap();
        let record =
            HostRecord { machine: Machine::parse(machine).unwrap(), ..HostRecord::unknown(host.clone()) };
        (Target::new(Group::parse(group).unwrap(), host, path), record)
    }

    #[test]
    fn two_names_of_one_machine_are_served_by_one_job() {
        let queues = by_machine(vec![
            busy("ipp022", "ipp022", "a"),
            busy("ipp022", "ipp022", "b"),
            busy("ipp0222", "ipp022", "a"),
            busy("ipp031", "ipp031", "a"),
            busy("ipp032", "ipp022", "a"),
        ]);
        let places: Vec<Vec<usize>> =
            queues.iter().map(|queue| queue.turns.iter().map(|(place, _)| *place).collect()).collect();
        assert_eq!(places, [vec![0, 1, 2, 4], vec![3]]);
    }
}
