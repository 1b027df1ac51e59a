//! What a pass did.
//!
//! Invariant: everything that was tried is in the list, whatever came of it.

use serde::Serialize;

/// The summary of a pass; as JSON, what `run --json` prints.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Targets that had something to do and were not in other hands.
    #[serde(skip)]
    pub served: u64,
    /// Minidvodbs put into the queue.
    pub queued: u64,
    /// Copies that became full.
    pub copied: u64,
    /// Copies, hosts and targets that met a fault in this pass.
    pub faulted: u64,
    /// Copies still in the queue of the targets that were served.
    pub waiting: u64,
    /// Targets that another pass has.
    pub skipped: u64,
    /// What was done, by host and group, each in order.
    pub done: Vec<Deed>,
}

impl Summary {
    /// Takes in what was done for another target.
    pub(super) fn add(&mut self, other: Self) {
        self.served += other.served;
        self.queued += other.queued;
        self.copied += other.copied;
        self.faulted += other.faulted;
        self.waiting += other.waiting;
        self.skipped += other.skipped;
        self.done.extend(other.done);
    }
}

/// One thing that a pass did.
#[derive(Debug, Serialize)]
pub struct Deed {
    /// The copy; null for one that a dry run would queue, and for a probe.
    pub minidvodbcopy_id: Option<u64>,
    /// The minidvodb; null for a probe.
    pub minidvodb_id: Option<u64>,
    /// The folder's name; null for a probe.
    pub name: Option<String>,
    /// The group.
    pub minidvodb_group: String,
    /// The host.
    pub destination_host: String,
    /// `full`, `faulted`, `interrupted`; of a dry run `would copy`, `would queue and copy`, `would fault`.
    pub outcome: &'static str,
    /// The fault; 0 is none.
    pub fault: i16,
    /// Its name.
    pub fault_name: Option<&'static str>,
    /// Size of the minidvodb in bytes.
    pub bytes: Option<u64>,
    /// Seconds that it took.
    pub seconds: f64,
    /// What was said.
    pub message: Option<String>,
}
