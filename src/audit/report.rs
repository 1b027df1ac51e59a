//! What an audit found, said as it goes, counted, and kept for JSON.
//!
//! Invariant: a fault is said when it is new and a recovery once; a disk that lost everything is some messages
//! and a number, not a hundred thousand messages; lists are cut off, and say so.

use std::collections::BTreeMap;

use serde::Serialize;

use super::record::Checked;
use crate::faults::{Fault, Met, Scope};
use crate::model::{AbsolutePath, Copy, Group, Host};
use crate::pass::title;
use crate::ui::{self, Ui};

/// So many new faults of one kind, group and host are said one by one.
const SAID_ONE_BY_ONE: u64 = 20;
/// So many entries each list of the report has at most.
const LISTED_MAX: usize = 10_000;

/// The report of an audit; as JSON, what `audit --json` prints.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Copies that were audited, by which `--limit` counts.
    pub audited: u64,
    /// Copies that are as they were sent.
    pub clean: u64,
    /// Copies that are gone, wholly or in part (251).
    pub missing: u64,
    /// Copies that differ (252).
    pub differing: u64,
    /// Copies whose content should have been compared, and could not be.
    pub content_not_compared: u64,
    /// Copies whose source has changed since: no fault.
    pub source_changed: u64,
    /// Copies that were chosen and not audited: their host or path was closed, or they changed meanwhile.
    pub not_audited: u64,
    /// Folders at the targets' paths that no copy explains.
    pub unexplained_folders: u64,
    /// Of what was found, what is worth a line.
    pub found: Vec<Finding>,
    /// Hosts and paths that could not be audited.
    pub closed: Vec<ClosedPlace>,
    /// The folders that no copy explains.
    pub unexplained: Vec<Unexplained>,
}

/// A copy that is worth a line.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The copy.
    pub minidvodbcopy_id: u64,
    /// The minidvodb.
    pub minidvodb_id: u64,
    /// The folder's name.
    pub name: String,
    /// The group.
    pub minidvodb_group: String,
    /// The host.
    pub destination_host: String,
    /// `missing`, `differs`, `recovered`, `content not compared`, `source changed`.
    pub outcome: &'static str,
    /// The fault; 0 is none.
    pub fault: i16,
    /// Its name.
    pub fault_name: Option<&'static str>,
    /// With what it was compared: `checksum`, `quick`, `source`, `presence`.
    pub compared: &'static str,
    /// What was found; null where there is nothing to say.
    pub message: Option<String>,
}

/// A host, a path or one copy that could not be audited.
#[derive(Debug, Serialize)]
pub struct ClosedPlace {
    /// The host.
    pub destination_host: String,
    /// The path, which may be that of one copy; null where it is the whole host.
    pub path: Option<String>,
    /// The fault; 0 is none: it was cut off.
    pub fault: i16,
    /// Its name.
    pub fault_name: Option<&'static str>,
    /// What was said.
    pub message: String,
}

/// A folder that no copy explains.
#[derive(Debug, Serialize)]
pub struct Unexplained {
    /// The host.
    pub destination_host: String,
    /// The target's path.
    pub path: String,
    /// The folder's name, control characters escaped.
    pub name: String,
}

/// Says what is found, and makes the report.
pub(super) struct Teller {
    ui: Ui,
    /// The command that looks for what is wrong with a host; its name follows.
    check: String,
    report: Report,
    /// New faults by host, group and code.
    new_faults: BTreeMap<(Host, Group, i16), u64>,
    /// The first reason why a content was not compared.
    why_not_compared: Option<String>,
}

impl Teller {
    pub(super) fn new(ui: Ui, check: String) -> Self {
        Self { ui, check, report: Report::default(), new_faults: BTreeMap::new(), why_not_compared: None }
    }

    /// How many copies were audited so far.
    pub(super) fn audited(&self) -> u64 {
        self.report.audited
    }

    /// A copy was chosen, and could not be audited.
    pub(super) fn note_left_out(&mut self) {
        self.report.not_audited += 1;
    }

    /// What was found of a copy has been written down.
    pub(super) fn note_audited(&mut self, checked: &Checked) {
        let Checked { copy, met, audit, is_not_compared } = checked;
        let what = title(copy);
        self.report.audited += 1;
        if audit.is_source_changed {
            self.report.source_changed += 1;
        }
        if let Some(met) = met {
            self.note_fault(checked, met);
            return;
        }
        self.report.clean += 1;
        let before = copy.fault().map(|state| state.fault).filter(|fault| fault.is_of_audit());
        if let Some(before) = before {
            self.list(checked, "recovered", None);
            self.ui.notice(&format!("{what}: as it was sent; recovered from {before}"));
        } else if *is_not_compared {
            self.ui.tell(&format!("{what}: {}", audit.said));
        } else if !audit.is_source_changed {
            self.ui.detail(&format!("{what}: as it was sent, {}", audit.extent.words()));
        }
        if *is_not_compared {
            self.report.content_not_compared += 1;
            self.list(checked, "content not compared", Some(&audit.said));
            self.why_not_compared.get_or_insert_with(|| format!("{what}: {}", audit.said));
        }
        if audit.is_source_changed {
            self.list(checked, "source changed", None);
            let again = match copy.published() {
                Some(_) => format!("; `minidvodbcopy recopy {}` sends it again", copy.id),
                None => String::new(),
            };
            self.ui.tell(&format!("{what}: as it was sent, and its source has changed since{again}"));
        }
    }

    fn note_fault(&mut self, checked: &Checked, met: &Met) {
        let Checked { copy, audit, .. } = checked;
        let outcome = match met.fault {
            Fault::MissingThere => {
                self.report.missing += 1;
                "missing"
            }
            _ => {
                self.report.differing += 1;
                "differs"
            }
        };
        self.list(checked, outcome, Some(&met.message));
        let since = if audit.is_source_changed { "; its source has changed since, too" } else { "" };
        let text = format!("{}: fault {}: {}{since}", title(copy), met.fault, met.message);
        if copy.fault().is_some_and(|state| state.fault == met.fault) {
            self.ui.tell(&text);
            return;
        }
        let key = (copy.host.clone(), copy.group.clone(), met.fault.code());
        let count = self.new_faults.entry(key).or_insert(0);
        *count += 1;
        if *count <= SAID_ONE_BY_ONE {
            self.ui.notice(&format!("{text}\n  waits for a person: {}", advice(copy, met.fault)));
        } else {
            self.ui.tell(&text);
        }
    }

    fn list(&mut self, checked: &Checked, outcome: &'static str, message: Option<&str>) {
        if self.report.found.len() >= LISTED_MAX {
            return;
        }
        let copy = &checked.copy;
        self.report.found.push(Finding {
            minidvodbcopy_id: copy.id.0,
            minidvodb_id: copy.minidvodb_id.0,
            name: copy.name.to_string(),
            minidvodb_group: copy.group.to_string(),
            destination_host: copy.host.to_string(),
            outcome,
            fault: checked.met.as_ref().map_or(0, |met| met.fault.code()),
            fault_name: checked.met.as_ref().map(|met| met.fault.name()),
            compared: checked.audit.extent.as_str(),
            message: message.map(str::to_owned),
        });
    }

    /// One copy can't be audited, and the others of its host can.
    pub(super) fn note_odd(&mut self, copy: &Copy, fault: Option<Fault>, message: &str) {
        self.report.not_audited += 1;
        let text = self.cannot_be_audited(&title(copy), &copy.host, fault, message);
        self.ui.notice(&text);
        self.report.closed.push(ClosedPlace::new(&copy.host, Some(copy.final_path()), fault, message));
    }

    /// A host, or a path there, can't be audited.
    pub(super) fn note_closed(
        &mut self,
        host: &Host,
        path: Option<&AbsolutePath>,
        fault: Option<Fault>,
        message: &str,
        was_said: bool,
    ) {
        let place = path.map_or_else(|| format!("host {host}"), |path| format!("{path} at {host}"));
        let text = self.cannot_be_audited(&place, host, fault, message);
        if was_said {
            self.ui.tell(&text);
        } else {
            self.ui.notice(&text);
        }
        self.report.closed.push(ClosedPlace::new(host, path.map(ToString::to_string), fault, message));
    }

    /// With the way out: what a fault of the copy itself asks for, else what to ask of the host.
    fn cannot_be_audited(&self, what: &str, host: &Host, fault: Option<Fault>, message: &str) -> String {
        let code = fault.map_or_else(String::new, |fault| format!("fault {fault}: "));
        let way_out = match fault.filter(|fault| fault.scope() == Scope::Copy) {
            Some(fault) => fault.advice().to_owned(),
            None => format!("`{} {host}` looks what is wrong there, and says what to type", self.check),
        };
        format!("{what} cannot be audited: {code}{message}\n  {way_out}")
    }

    /// A folder that no copy explains.
    pub(super) fn note_unexplained(&mut self, host: &Host, path: &AbsolutePath, name: &str) {
        self.report.unexplained_folders += 1;
        if self.report.unexplained.len() >= LISTED_MAX {
            return;
        }
        self.ui.tell(&format!("{name} in {path} at {host} is of no copy in this ledger"));
        self.report.unexplained.push(Unexplained {
            destination_host: host.to_string(),
            path: path.to_string(),
            name: name.to_owned(),
        });
    }

    /// What was counted and not said one by one; the sums.
    pub(super) fn end(self) -> Report {
        for ((host, group, code), count) in &self.new_faults {
            if let (Some(more @ 1..), Some(fault)) =
                (count.checked_sub(SAID_ONE_BY_ONE), Fault::from_code(*code))
            {
                self.ui.notice(&format!(
                    "{group} to {host}: fault {fault} of {} more; see `minidvodbcopy list --faulted --host {host} --group {group}`",
                    ui::count(more, "copy", "copies")
                ));
            }
        }
        let report = self.report;
        if let Some(why) = self.why_not_compared {
            let more = match report.content_not_compared {
                1 => String::new(),
                count => format!(", and of {} more", ui::count(count - 1, "copy", "copies")),
            };
            self.ui.notice(&format!("{why}{more}"));
        }
        self.ui.tell(&format!(
            "audit: {} audited, {} as they were sent, {} missing, {} differing, {} not audited",
            report.audited, report.clean, report.missing, report.differing, report.not_audited
        ));
        report
    }
}

impl Report {
    /// Whether anything is wrong, or could not be looked at.
    pub fn is_faulty(&self) -> bool {
        self.missing > 0 || self.differing > 0 || !self.closed.is_empty()
    }
}

impl ClosedPlace {
    fn new(host: &Host, path: Option<String>, fault: Option<Fault>, message: &str) -> Self {
        Self {
            destination_host: host.to_string(),
            path,
            fault: fault.map_or(0, Fault::code),
            fault_name: fault.map(Fault::name),
            message: message.to_owned(),
        }
    }
}

/// What to do about a fault that a copy did not have when it was looked at.
fn advice(copy: &Copy, fault: Fault) -> String {
    let mut faulty = copy.clone();
    faulty.set_fault_of_audit(Some(fault));
    faulty.advice().unwrap_or_default()
}
