//! `check`: everything that a pass needs, tried now, in order: this machine, each host and target, the database.
//!
//! Invariant: nothing is changed, in the ledger or at a host, but for a probing folder that is removed again; one
//! thing that fails hides no other: what depends on it is said not to have been tried. What fails comes with the
//! command that mends it, as one can paste it. Recommendations do not change the exit code.

mod cron;
mod database;
mod here;
mod schedule;
mod there;

use serde::Serialize;

use crate::cli::Check;
use crate::error::{Error, Exit, Result};
use crate::ledger::Look as _;
use crate::model::{Host, HostRecord, Target};
use crate::pass::Context;
use crate::ui;

pub(super) fn execute(context: &Context, words: &Check) -> Result<Exit> {
    if words.as_cron {
        return cron::start(context, words);
    }
    if words.in_cron {
        cron::leave_terminal();
    }
    let mut findings = Findings::new(context, words.json);
    let can_read_ledger = here::examine(context, &mut findings)?;
    let served = if can_read_ledger { served(context, words.host.as_ref())? } else { Vec::new() };
    let is_known = served.iter().any(|(host, _)| Some(&host.host) == words.host.as_ref());
    if let Some(host) = words.host.as_ref().filter(|_| !is_known) {
        there::examine(context, &mut findings, &HostRecord::unknown(host.clone()), &[])?;
    }
    for (host, targets) in &served {
        context.check_stop()?;
        there::examine(context, &mut findings, host, targets)?;
    }
    if can_read_ledger {
        database::examine(context, &mut findings)?;
    }
    findings.finish()
}

/// The hosts that are asked about, with their targets: one that is named, else those that are on, or have targets.
fn served(context: &Context, only: Option<&Host>) -> Result<Vec<(HostRecord, Vec<Target>)>> {
    if !context.ledger.exists() {
        return Ok(Vec::new());
    }
    context.ledger.read(|ledger| {
        let mut targets = ledger.targets()?;
        let mut served = Vec::new();
        for host in ledger.hosts()? {
            let own: Vec<Target> = targets.extract_if(.., |target| target.host == host.host).collect();
            let is_wanted = only.map_or(host.is_on || !own.is_empty(), |only| host.host == *only);
            if is_wanted {
                served.push((host, own));
            }
        }
        Ok(served)
    })
}

/// What became of one thing that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Ok,
    Advice,
    Failed,
    NotTried,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Failed => "failed",
            Self::NotTried => "-",
        }
    }
}

/// One thing that was tried, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    of: String,
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to type, each as it can be pasted into a shell.
    mend: Vec<String>,
}

/// Everything that was found so far; each is printed as it comes, since hosts can be slow.
struct Findings<'c> {
    context: &'c Context,
    is_json: bool,
    of: String,
    all: Vec<Finding>,
}

impl<'c> Findings<'c> {
    fn new(context: &'c Context, is_json: bool) -> Self {
        Self { context, is_json, of: String::new(), all: Vec::new() }
    }

    /// What comes next is of this.
    fn begin(&mut self, of: impl Into<String>) -> Result<()> {
        self.of = of.into();
        if self.is_json {
            return Ok(());
        }
        self.context.ui.print(&format!("{}\n", ui::escape_all(&self.of)))
    }

    fn ok(&mut self, check: &'static str, found: impl Into<String>) -> Result<()> {
        self.add(check, Verdict::Ok, found.into(), Vec::new())
    }

    fn advise(&mut self, check: &'static str, found: impl Into<String>, mend: Vec<String>) -> Result<()> {
        self.add(check, Verdict::Advice, found.into(), mend)
    }

    fn fail(&mut self, check: &'static str, found: impl Into<String>, mend: Vec<String>) -> Result<()> {
        self.add(check, Verdict::Failed, found.into(), mend)
    }

    /// An error as a failure: its hints that name a command are what to type.
    fn fail_by(&mut self, check: &'static str, error: &Error) -> Result<()> {
        let mut found = error.message().to_owned();
        let mut mend = Vec::new();
        for hint in error.hints() {
            match hint.strip_prefix("type: ") {
                Some(command) => mend.push(command.to_owned()),
                None => found.push_str(&format!("\n{hint}")),
            }
        }
        self.fail(check, found, mend)
    }

    fn not_tried(&mut self, checks: &[&'static str], because: &str) -> Result<()> {
        for check in checks {
            self.add(check, Verdict::NotTried, format!("not tried: {because}"), Vec::new())?;
        }
        Ok(())
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, found: String, mend: Vec<String>) -> Result<()> {
        let finding = Finding { of: self.of.clone(), check, verdict, found, mend };
        if !self.is_json {
            self.context.ui.print(&lines(&finding))?;
        }
        self.all.push(finding);
        Ok(())
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.all.iter().filter(|finding| finding.verdict == verdict).count()
    }

    fn finish(self) -> Result<Exit> {
        let failed = self.count(Verdict::Failed);
        if self.is_json {
            let json = serde_json::to_string_pretty(&self.summary()).map_err(Error::bug)?;
            self.context.ui.print(&format!("{json}\n"))?;
        } else {
            self.context.ui.print(&format!(
                "check: {} ok, {} advised, {failed} failed, {} not tried\n",
                self.count(Verdict::Ok),
                self.count(Verdict::Advice),
                self.count(Verdict::NotTried),
            ))?;
        }
        Ok(if failed > 0 { Exit::Faulted } else { Exit::Done })
    }

    fn summary(&self) -> Summary<'_> {
        Summary {
            ok: self.count(Verdict::Ok),
            advised: self.count(Verdict::Advice),
            failed: self.count(Verdict::Failed),
            not_tried: self.count(Verdict::NotTried),
            checks: &self.all,
        }
    }
}

/// What `check --json` prints.
#[derive(Serialize)]
struct Summary<'f> {
    ok: usize,
    advised: usize,
    failed: usize,
    not_tried: usize,
    checks: &'f [Finding],
}

/// A terminal's width; what has blanks is broken there, commands are not.
const WIDTH: usize = 80;
const INDENT: usize = 23;

/// A finding as it is printed.
fn lines(finding: &Finding) -> String {
    let Finding { check, verdict, found, mend, .. } = finding;
    let mut text = String::new();
    // A number stays with its sign.
    let tied = |line: &str| ui::escape_all(line).replace(" %", &format!("{}%", ui::TIE));
    for line in found.lines().flat_map(|line| ui::wrapped(&tied(line), WIDTH - INDENT)) {
        let front =
            if text.is_empty() { format!("  {:<7}{check:<14}", verdict.as_str()) } else { String::new() };
        text.push_str(format!("{front:<INDENT$}{line}").trim_end());
        text.push('\n');
    }
    for command in mend {
        text.push_str(&format!("         type: {}\n", ui::escape_all(command)));
    }
    text
}
