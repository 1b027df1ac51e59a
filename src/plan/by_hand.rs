//! What an operator's own hand makes of a copy.
//!
//! Invariant: pure; only what was named changes, and the time of the change; a copy that was called full, or
//! was moved, by hand is marked so, and its folder does not count as one that this ledger published.

use jiff::Timestamp;

use super::retry;
use crate::faults::{Class, Fault, Scope};
use crate::model::{AbsolutePath, Copy, CopyState, FaultState, Host, Machine, Taken, Verified};

/// The two words of the column `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWord {
    /// Still to be made.
    New,
    /// There.
    Full,
}

/// What is to be set; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The state.
    pub state: Option<StateWord>,
    /// The fault; the inner none is 0.
    pub fault: Option<Option<Fault>>,
    /// dtime, in seconds.
    pub dtime_s: Option<f32>,
    /// minidvodb_rsync_path.
    pub path: Option<AbsolutePath>,
    /// destination_host.
    pub host: Option<Host>,
}

impl Wish {
    /// Whether nothing is to be set.
    pub fn is_empty(&self) -> bool {
        self.state.is_none()
            && self.fault.is_none()
            && self.dtime_s.is_none()
            && self.path.is_none()
            && self.host.is_none()
    }

    /// Whether it says where the copy is, or that it is there: what an attempt decides otherwise.
    pub fn touches_the_folder(&self) -> bool {
        self.state.is_some() || self.path.is_some() || self.host.is_some()
    }
}

/// The copy as the operator wants it; `machine` is that of the host that it will have.
pub fn apply(copy: &Copy, wish: &Wish, machine: Machine, now: Timestamp) -> Copy {
    let mut after = copy.clone();
    if let Some(host) = &wish.host {
        after.host = host.clone();
        after.machine = machine;
    }
    if let Some(path) = &wish.path {
        after.path = path.clone();
    }
    if (&after.host, &after.path) != (&copy.host, &copy.path) {
        after.to_send_bytes = None;
        after.state = elsewhere(&copy.state);
    }
    after.state = match (wish.state, after.state) {
        (Some(StateWord::New), CopyState::Full { fault, .. }) => {
            CopyState::New { fault, publishing: None, taken: Taken::Refuse }
        }
        (Some(StateWord::Full), CopyState::New { fault, .. }) => {
            // Nothing tries a full copy again.
            let fault = fault.map(|state| FaultState { class: Class::Person, next_try: None, ..state });
            CopyState::Full { verified: Verified::ByHand, published: None, fault, recopy: None, audit: None }
        }
        (_, state) => state,
    };
    if let Some(fault) = wish.fault {
        set_fault(&mut after, fault, now);
    }
    if let Some(dtime_s) = wish.dtime_s {
        after.dtime_s = Some(dtime_s);
    }
    after.touch(now);
    after
}

/// The state of a copy that goes, or is, somewhere else now.
fn elsewhere(state: &CopyState) -> CopyState {
    match state {
        CopyState::New { fault, .. } => {
            CopyState::New { fault: fault.clone(), publishing: None, taken: Taken::Refuse }
        }
        CopyState::Full { fault, .. } => CopyState::Full {
            verified: Verified::ByHand,
            published: None,
            fault: fault.clone(),
            recopy: None,
            audit: None,
        },
    }
}

fn set_fault(copy: &mut Copy, code: Option<Fault>, now: Timestamp) {
    copy.forget_tries();
    copy.set_fault_of_making(None);
    let id = copy.id.0;
    match &mut copy.state {
        CopyState::New { fault, .. } => {
            *fault = code.map(|fault| FaultState {
                fault,
                class: fault.class(),
                next_try: (fault.class() == Class::Retry && fault.scope() == Scope::Copy)
                    .then(|| retry::next_try(now, 1, id)),
            });
        }
        CopyState::Full { fault, .. } => {
            *fault = code.map(|fault| FaultState { fault, class: Class::Person, next_try: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CopyId, Group, MinidvodbId, Publishing};

    fn copy() -> Copy {
        let host = Host::parse("ipp0222").unwrap();
        let path = AbsolutePath::parse("/data/ThreePi.1").unwrap();
        let mut copy = Copy::queued(
            CopyId(1),
            MinidvodbId(1),
            Group::parse("ThreePi").unwrap(),
            host.clone(),
            host.default_machine(),
            AbsolutePath::parse("/there").unwrap(),
            path.name().unwrap(),
            Timestamp::UNIX_EPOCH,
        );
        copy.attempts = 3;
        copy.last_attempt = 4;
        copy
    }

    fn full() -> Copy {
        let folder = Publishing { device: 1, inode: 2, verified: Verified::Checksum, dtime_s: 1.5 };
        Copy { state: CopyState::full(Verified::Checksum, Some(folder)), ..copy() }
    }

    fn after(copy: &Copy, wish: &Wish) -> Copy {
        apply(copy, wish, copy.machine.clone(), Timestamp::from_second(9).unwrap())
    }

    #[test]
    fn a_copy_called_full_is_marked_so_and_keeps_its_history() {
        let after = after(&copy(), &Wish { state: Some(StateWord::Full), ..Wish::default() });
        assert_eq!(after.state, CopyState::full(Verified::ByHand, None));
        assert_eq!((after.attempts, after.last_attempt), (3, 4));
        assert_eq!(after.epoch.unwrap().as_second(), 9);
    }

    #[test]
    fn a_copy_set_back_keeps_its_history() {
        let after = after(&full(), &Wish { state: Some(StateWord::New), ..Wish::default() });
        assert_eq!(after.state, CopyState::new());
        assert_eq!((after.attempts, after.last_attempt), (3, 4));
    }

    #[test]
    fn what_was_verified_somewhere_is_not_verified_elsewhere() {
        let path = AbsolutePath::parse("/elsewhere").unwrap();
        let after = after(&full(), &Wish { path: Some(path), ..Wish::default() });
        assert_eq!(after.state, CopyState::full(Verified::ByHand, None));
    }

    #[test]
    fn nothing_else_changes_than_what_is_named() {
        let before = full();
        let after = after(&before, &Wish { dtime_s: Some(0.0), ..Wish::default() });
        assert_eq!(after, Copy { dtime_s: Some(0.0), epoch: after.epoch, ..before });
    }

    #[test]
    fn a_fault_by_hand_has_the_class_of_its_code() {
        let set = |copy: &Copy, fault| after(copy, &Wish { fault: Some(fault), ..Wish::default() });
        let retried = set(&copy(), Some(Fault::SourceChanged));
        assert!(retried.fault().unwrap().next_try.is_some());
        assert_eq!(set(&copy(), Some(Fault::PathTaken)).fault().unwrap().class, Class::Person);
        assert_eq!(set(&full(), Some(Fault::SourceChanged)).fault().unwrap().class, Class::Person);
        assert_eq!(set(&retried, None).fault(), None);
    }
}
