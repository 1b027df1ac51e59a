//! The command line: read, lowered to plain options, and given to the command.
//!
//! Invariant: everything typed is checked here or in the model before a command sees it; a usage error exits 2
//! and has changed nothing.

pub mod complete;
mod examples;
mod forms;
#[cfg(test)]
#[path = "../tests/fuzz/cli.rs"]
mod fuzz;
mod help;
pub mod minidvodbtool;
pub mod script;
pub mod words;

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU8;
use std::path::Path;

use argh::FromArgs;
use camino::Utf8PathBuf;

use self::words::Word;
use crate::error::{Error, Exit, Result};
use crate::faults::Fault;
use crate::model::{AbsolutePath, Address, CopyId, Group, Host, Machine, MinidvodbId, Target, Verify};
use crate::plan::by_hand::StateWord;

/// Copies merged minidvodbs to other hosts, once for each machine, and knows afterwards what is where.
#[derive(FromArgs, Debug)]
#[argh(
    help_triggers("--help"),
    note = "The state folder is --state-dir, else MINIDVODBCOPY_STATE_DIR, else $XDG_STATE_HOME/minidvodbcopy, else ~/.local/state/minidvodbcopy.",
    note = "Exit codes: 0 done; 1 a copy faulted, `check` or an audit found something, a scan passed something over, or the database refused a row; 2 usage; 70 a bug; 75 try again later; 78 configuration or ledger; 130 and 143 after a signal."
)]
pub struct Arguments {
    /// the folder with ledger, locks, backups and manifests
    #[argh(option, arg_name = "DIR")]
    pub state_dir: Option<String>,
    /// say what is done also where no terminal is attached
    #[argh(switch, short = 'v')]
    pub verbose: bool,
    /// say only what must be said
    #[argh(switch, short = 'q')]
    pub quiet: bool,
    /// print the version
    #[argh(switch)]
    pub version: bool,
    #[argh(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum Command {
    Run(Run),
    Copy(CopyGroup),
    Target(TargetCommand),
    Host(HostCommand),
    Stage(StageCommand),
    Minidvodb(MinidvodbCommand),
    List(List),
    Show(Show),
    Revert(Revert),
    Update(Update),
    Recopy(Recopy),
    Faults(Faults),
    Status(Status),
    Export(Export),
    Ledger(LedgerCommand),
    Database(DatabaseCommand),
    Sync(Sync),
    Log(LogCommand),
    Source(SourceCommand),
    Script(Script),
    Audit(Audit),
    Check(Check),
    Crontab(Crontab),
    Completions(Completions),
    Report(Report),
    Metrics(Metrics),
    Minidvodbtool(minidvodbtool::Minidvodbtool),
}

/// cron's command: one pass over every target whose host is on
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "run", help_triggers("--help"))]
pub struct Run {
    /// only this host
    #[argh(option, from_str_fn(host))]
    pub host: Option<Host>,
    /// only this group
    #[argh(option, from_str_fn(group))]
    pub group: Option<Group>,
    /// try at most so many copies
    #[argh(option, from_str_fn(limit))]
    pub limit: Option<u64>,
    /// serve so many machines at once, from 1 to 64; else 1
    #[argh(option, from_str_fn(jobs))]
    pub jobs: Option<NonZeroU8>,
    /// say what would be queued and copied, and whether there is room; change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// print one JSON object
    #[argh(switch)]
    pub json: bool,
    /// afterwards, however it ended, write the metrics to this file, for Prometheus's textfile collector
    #[argh(option, from_str_fn(file), arg_name = "FILE")]
    pub metrics: Option<Utf8PathBuf>,
}

/// one pass for one group, now, also where the host is off; remembers the target
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "copy", help_triggers("--help"))]
pub struct CopyGroup {
    /// the group to copy
    #[argh(positional, from_str_fn(group))]
    pub group: Group,
    /// the host to copy to, as ssh knows it
    #[argh(positional, from_str_fn(host))]
    pub host: Host,
    /// the folder there that the minidvodbs go into
    #[argh(positional, from_str_fn(path))]
    pub path: AbsolutePath,
    /// try at most so many copies
    #[argh(option, from_str_fn(limit))]
    pub limit: Option<u64>,
    /// say what would be queued and copied, and whether there is room; change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// print one JSON object
    #[argh(switch)]
    pub json: bool,
    /// afterwards, however it ended, write the metrics to this file, for Prometheus's textfile collector
    #[argh(option, from_str_fn(file), arg_name = "FILE")]
    pub metrics: Option<Utf8PathBuf>,
}

/// what to copy where
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "target", help_triggers("--help"))]
pub struct TargetCommand {
    #[argh(subcommand)]
    pub verb: TargetVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum TargetVerb {
    Add(TargetAdd),
    Del(TargetDel),
    Show(TargetShow),
}

/// copy a group to a path on a host; adding it again changes it, and accepts the file system that is there
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add", help_triggers("--help"))]
pub struct TargetAdd {
    /// the group to copy
    #[argh(positional, from_str_fn(group))]
    pub group: Group,
    /// the host to copy to, as ssh knows it; localhost is this machine, without ssh
    #[argh(positional, from_str_fn(host))]
    pub host: Host,
    /// the folder there that the minidvodbs go into; it must exist
    #[argh(positional, from_str_fn(path))]
    pub path: AbsolutePath,
    /// refuse copies when more than this is used there, as df prints it (97)
    #[argh(option, from_str_fn(percent), arg_name = "percent")]
    pub max_used: Option<u8>,
    /// how copies are verified: checksum (the default) or quick (sizes and times)
    #[argh(option, from_str_fn(verify))]
    pub verify: Option<Verify>,
    /// the most that one attempt may take (17280)
    #[argh(option, from_str_fn(deadline), arg_name = "seconds")]
    pub deadline: Option<u32>,
    /// limit what is sent, as rsync's --bwlimit: KiB a second, or with a suffix such as 20m; 0: no limit
    #[argh(option, from_str_fn(bwlimit), arg_name = "rate")]
    pub bwlimit: Option<String>,
    /// send a minidvodb by so many streams at most, over as many ssh connections or one less (4)
    #[argh(option, from_str_fn(streams), arg_name = "n")]
    pub streams: Option<u8>,
}

/// stop copying a group to a host; its new copies are kept, shown as parked, and not served
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "del", help_triggers("--help"))]
pub struct TargetDel {
    /// the host
    #[argh(positional, from_str_fn(host))]
    pub host: Host,
    /// the group
    #[argh(positional, from_str_fn(group))]
    pub group: Group,
}

/// show the targets
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct TargetShow {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

/// which hosts are on
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "host", help_triggers("--help"))]
pub struct HostCommand {
    #[argh(subcommand)]
    pub verb: HostVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum HostVerb {
    Add(HostAdd),
    Del(HostDel),
    Show(HostShow),
}

/// switch a host on
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add", help_triggers("--help"))]
pub struct HostAdd {
    /// the host, as ssh knows it
    #[argh(positional, from_str_fn(host))]
    pub host: Host,
    /// the machine that it is a name of (its own name, without user@, in lower case)
    #[argh(option, from_str_fn(machine))]
    pub machine: Option<Machine>,
}

/// switch a host off; no copy is forgotten
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "del", help_triggers("--help"))]
pub struct HostDel {
    /// the host
    #[argh(positional, from_str_fn(host))]
    pub host: Host,
}

/// show the hosts
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct HostShow {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

/// the three switches of the pass: queue, load, run
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stage", help_triggers("--help"))]
pub struct StageCommand {
    #[argh(subcommand)]
    pub verb: StageVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum StageVerb {
    On(StageOn),
    Off(StageOff),
    Show(StageShow),
}

/// A stage of the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Queue,
    Load,
    Run,
}

/// switch stages on; all three when none is named
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "on", help_triggers("--help"))]
pub struct StageOn {
    /// queue, load or run
    #[argh(positional, from_str_fn(stage))]
    pub stages: Vec<Stage>,
}

/// switch stages off; all three when none is named
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "off", help_triggers("--help"))]
pub struct StageOff {
    /// queue, load or run
    #[argh(positional, from_str_fn(stage))]
    pub stages: Vec<Stage>,
}

/// show the switches
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct StageShow {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

/// the minidvodbs known here
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "minidvodb", help_triggers("--help"))]
pub struct MinidvodbCommand {
    #[argh(subcommand)]
    pub verb: MinidvodbVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum MinidvodbVerb {
    Import(MinidvodbImport),
    List(MinidvodbList),
}

/// take minidvodbs from a CSV file with the columns minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state and optionally fault; a bad line stops it, and nothing is kept
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "import", help_triggers("--help"))]
pub struct MinidvodbImport {
    /// the file, or - for standard input
    #[argh(positional)]
    pub file: Option<String>,
    /// instead of a file, take in the DVO databases under this folder: each folder with an Images.dat; those that are known keep their ids, the others get the next free ones
    #[argh(option, from_str_fn(folder), arg_name = "DIR")]
    pub scan: Option<Utf8PathBuf>,
    /// the group of what is found by --scan
    #[argh(option, from_str_fn(group))]
    pub group: Option<Group>,
    /// say what --scan finds; change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

/// list the minidvodbs
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list", help_triggers("--help"))]
pub struct MinidvodbList {
    /// only this group
    #[argh(option, from_str_fn(group))]
    pub group: Option<Group>,
}

/// list copies; by default all of them
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list", help_triggers("--help"))]
pub struct List {
    /// only this host
    #[argh(option, from_str_fn(host))]
    pub host: Option<Host>,
    /// only this group
    #[argh(option, from_str_fn(group))]
    pub group: Option<Group>,
    /// only this state: new or full
    #[argh(option, from_str_fn(state))]
    pub state: Option<&'static str>,
    /// only copies still to be made
    #[argh(switch)]
    pub pending: bool,
    /// only copies with a fault
    #[argh(switch)]
    pub faulted: bool,
    /// only this copy
    #[argh(option, from_str_fn(copy_id))]
    pub id: Option<CopyId>,
    /// at most so many
    #[argh(option, from_str_fn(limit))]
    pub limit: Option<u64>,
    /// table (the default), json, csv, or mdc: the METADATA of minidvodbtool
    #[argh(option, from_str_fn(format), default = "Format::Table")]
    pub format: Format,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    Csv,
    Mdc,
}

/// one copy with all its attempts and what they said
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct Show {
    /// the copy's id, minidvodbcopy_id
    #[argh(positional, from_str_fn(copy_id))]
    pub id: CopyId,
}

/// clear the fault of copies that are still new, so that the next pass tries them again
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "revert", help_triggers("--help"))]
pub struct Revert {
    /// the copy with this id
    #[argh(option, from_str_fn(copy_id))]
    pub id: Option<CopyId>,
    /// the copies of this minidvodb
    #[argh(option, from_str_fn(minidvodb_id))]
    pub minidvodb_id: Option<MinidvodbId>,
    /// the copies to this host
    #[argh(option, from_str_fn(host))]
    pub host: Option<Host>,
    /// the copies with this fault, by code or name
    #[argh(option, from_str_fn(fault))]
    pub fault: Option<Fault>,
    /// all of them
    #[argh(switch)]
    pub all: bool,
    /// only where the place is taken (225): the next attempt completes what is there, deletes and overwrites nothing, and calls it full only when every checksum agrees
    #[argh(switch)]
    pub adopt: bool,
    /// say what would be cleared; change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

/// send a full copy again: the new one is staged and verified, then exchanged with the old one, which goes last
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "recopy", help_triggers("--help"))]
pub struct Recopy {
    /// the copy's id, minidvodbcopy_id
    #[argh(positional, from_str_fn(copy_id))]
    pub id: CopyId,
    /// why, for the log
    #[argh(option, from_str_fn(reason))]
    pub reason: Option<String>,
    /// give it up: the copy stays as it is
    #[argh(switch)]
    pub cancel: bool,
}

/// is what the ledger calls full still there, and equal to what was sent? changes nothing there; the oldest audit first
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "audit", help_triggers("--help"))]
pub struct Audit {
    /// only this host, also where it is off
    #[argh(option, from_str_fn(host))]
    pub host: Option<Host>,
    /// only this group
    #[argh(option, from_str_fn(group))]
    pub group: Option<Group>,
    /// compare the content of every file, too, by checksums that are made there
    #[argh(switch)]
    pub checksum: bool,
    /// audit at most so many copies
    #[argh(option, from_str_fn(limit))]
    pub limit: Option<u64>,
    /// print one JSON object
    #[argh(switch)]
    pub json: bool,
}

impl Revert {
    /// Whether anything but all is meant.
    pub fn is_bounded(&self) -> bool {
        self.id.is_some() || self.minidvodb_id.is_some() || self.host.is_some() || self.fault.is_some()
    }
}

/// set columns of a copy by hand; 0 is a value
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "update", help_triggers("--help"))]
pub struct Update {
    /// the copy's id, minidvodbcopy_id
    #[argh(option, from_str_fn(copy_id))]
    pub id: CopyId,
    /// its state: new or full; full is marked as said by hand
    #[argh(option, from_str_fn(state_word), arg_name = "state")]
    pub set_state: Option<StateWord>,
    /// its fault, by code or name; 0 is none
    #[argh(option, from_str_fn(fault_or_none), arg_name = "fault")]
    pub set_fault: Option<Option<Fault>>,
    /// how long it took
    #[argh(option, from_str_fn(dtime), arg_name = "seconds")]
    pub set_dtime: Option<f32>,
    /// the folder that it goes into
    #[argh(option, from_str_fn(path), arg_name = "path")]
    pub set_path: Option<AbsolutePath>,
    /// the host that it goes to
    #[argh(option, from_str_fn(host), arg_name = "host")]
    pub set_host: Option<Host>,
}

/// the table of fault codes, or one explained
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "faults", help_triggers("--help"))]
pub struct Faults {
    /// a code or a name
    #[argh(positional, from_str_fn(fault))]
    pub fault: Option<Fault>,
}

/// at a glance: hosts, room, queue, passes under way, faults, rates, what is to be expected
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status", help_triggers("--help"))]
pub struct Status {
    /// print one JSON object
    #[argh(switch)]
    pub json: bool,
}

/// the whole ledger, for programs and for the IPP database
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "export", help_triggers("--help"))]
pub struct Export {
    /// csv (the default), json, mdc: the METADATA of minidvodbtool, or sql: statements for the stock mysql client that bring a live minidvodbCopy to
    /// the ledger's state, and change nothing when they are loaded again
    #[argh(option, from_str_fn(export_format), default = "ExportFormat::Csv")]
    pub format: ExportFormat,
    /// write to this file, which is replaced only when all is well (standard output)
    #[argh(option, from_str_fn(file), arg_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
}

/// How the ledger is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    Csv,
    Json,
    Sql,
    Mdc,
}

/// the ledger's file itself
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "ledger", help_triggers("--help"))]
pub struct LedgerCommand {
    #[argh(subcommand)]
    pub verb: LedgerVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum LedgerVerb {
    Check(LedgerCheck),
    Backup(LedgerBackup),
    Restore(LedgerRestore),
    Compact(LedgerCompact),
}

/// check every record and every index
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check", help_triggers("--help"))]
pub struct LedgerCheck {}

/// copy the checked ledger to a new file, by default in the backup folder
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "backup", help_triggers("--help"))]
pub struct LedgerBackup {
    /// the new file
    #[argh(positional)]
    pub file: Option<String>,
}

/// put a backup in the ledger's place; what it replaces is kept
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "restore", help_triggers("--help"))]
pub struct LedgerRestore {
    /// the backup
    #[argh(positional)]
    pub file: String,
}

/// make the file as small as it can be
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "compact", help_triggers("--help"))]
pub struct LedgerCompact {}

/// the IPP's MySQL database
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "database", help_triggers("--help"))]
pub struct DatabaseCommand {
    #[argh(subcommand)]
    pub verb: DatabaseVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum DatabaseVerb {
    Set(DatabaseSet),
    Show(DatabaseShow),
    Del(DatabaseDel),
}

/// set the database that passes read minidvodbs from and keep minidvodbCopy in; nothing is asked of it yet
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "set", help_triggers("--help"))]
pub struct DatabaseSet {
    /// mysql://USER@HOST[:PORT]/NAME, with ?socket=/path, or ?tls=required, or ?tls=verify and &ca=/path
    #[argh(positional, from_str_fn(address))]
    pub url: Address,
    /// the file with the password, which only its owner may read; else MYSQL_PWD of the environment
    #[argh(option, arg_name = "file")]
    pub password_file: Option<String>,
}

/// show the database, how far it is behind, and its rows that are left as they are
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct DatabaseShow {}

/// forget the database; the ledger keeps its copies, and the database its rows
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "del", help_triggers("--help"))]
pub struct DatabaseDel {}

/// bring the ledger and the database in step
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "sync", help_triggers("--help"))]
pub struct Sync {
    /// print each difference; change nothing on either side
    #[argh(switch)]
    pub dry_run: bool,
    /// believe the database, however many rows are gone there
    #[argh(switch)]
    pub accept_deletions: bool,
}

/// the operators' log
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "log", help_triggers("--help"))]
pub struct LogCommand {
    #[argh(subcommand)]
    pub verb: LogVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum LogVerb {
    Add(LogAdd),
    Show(LogShow),
}

/// write an entry into the log
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add", help_triggers("--help"))]
pub struct LogAdd {
    /// what happened
    #[argh(positional)]
    pub text: String,
}

/// show the log, oldest entry first
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct LogShow {
    /// only the last so many (100)
    #[argh(option, short = 'n', from_str_fn(limit), default = "100")]
    pub last: u64,
    /// print a JSON array
    #[argh(switch)]
    pub json: bool,
}

/// the folders that minidvodbs may be copied from; while none is named, all
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "source", help_triggers("--help"))]
pub struct SourceCommand {
    #[argh(subcommand)]
    pub verb: SourceVerb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum SourceVerb {
    Add(SourceAdd),
    Del(SourceDel),
    Show(SourceShow),
}

/// allow a folder, with everything under it
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add", help_triggers("--help"))]
pub struct SourceAdd {
    /// the folder
    #[argh(positional, from_str_fn(path))]
    pub folder: AbsolutePath,
}

/// allow a folder no more
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "del", help_triggers("--help"))]
pub struct SourceDel {
    /// the folder
    #[argh(positional, from_str_fn(path))]
    pub folder: AbsolutePath,
}

/// show the folders
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("--help"))]
pub struct SourceShow {}

/// the words of the wiki page, one on each line, as pantasks' input files have them; a bad line stops it, and nothing of it is done
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "script", help_triggers("--help"))]
pub struct Script {
    /// the file, or - for standard input
    #[argh(positional)]
    pub file: String,
}

/// everything that a pass needs, tried now, with the command that mends what fails; nothing is changed
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check", help_triggers("--help"))]
pub struct Check {
    /// only this host, whether it is known or not
    #[argh(positional, from_str_fn(host))]
    pub host: Option<Host>,
    /// as a pass that cron starts: in its poor environment, without a terminal and an agent
    #[argh(switch)]
    pub as_cron: bool,
    /// print one JSON object
    #[argh(switch)]
    pub json: bool,
    /// this process is the one that --as-cron has started
    #[argh(switch, hidden_help)]
    pub in_cron: bool,
}

/// print the lines for cron, or a unit for systemd
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "crontab", help_triggers("--help"))]
pub struct Crontab {
    /// print this unit instead: service, timer, audit-service or audit-timer
    #[argh(option, from_str_fn(unit), arg_name = "unit")]
    pub systemd: Option<Unit>,
}

/// A unit for systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Service,
    Timer,
    AuditService,
    AuditTimer,
}

/// The units' names.
const UNITS: &[&str] = &["service", "timer", "audit-service", "audit-timer"];

fn unit(text: &str) -> Result<Unit, String> {
    match text {
        "service" => Ok(Unit::Service),
        "timer" => Ok(Unit::Timer),
        "audit-service" => Ok(Unit::AuditService),
        "audit-timer" => Ok(Unit::AuditTimer),
        _ => Err(format!("'{}' is no unit: {}", text.escape_debug(), UNITS.join(", "))),
    }
}

/// print what completes commands, options and values in a shell
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "completions", help_triggers("--help"))]
pub struct Completions {
    /// bash, zsh or fish
    #[argh(positional, from_str_fn(shell))]
    pub shell: Shell,
}

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The shells' names.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

fn shell(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err(format!(
            "'{}' is no shell that completions are made for: bash, zsh or fish",
            text.escape_debug()
        )),
    }
}

fn folder(text: &str) -> Result<Utf8PathBuf, String> {
    match text {
        "" => Err("'' is no folder's name".to_owned()),
        _ => Ok(text.into()),
    }
}

/// pictures for people: one HTML file that needs nothing but itself
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "report", help_triggers("--help"))]
pub struct Report {
    /// the file, which is replaced only when all is well
    #[argh(option, from_str_fn(file), arg_name = "FILE.html")]
    pub output: Utf8PathBuf,
}

/// numbers for Prometheus's textfile collector; `run --metrics FILE` writes them after each pass
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "metrics", help_triggers("--help"))]
pub struct Metrics {}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|refused| refused.to_string())
}

fn limit(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("the limit '{}' is not a whole number", text.escape_debug()))
}

/// Each job has a connection of its own, with its processes and their pipes.
const JOBS_MAX: u8 = 64;

fn jobs(text: &str) -> Result<NonZeroU8, String> {
    let jobs = text.parse::<NonZeroU8>().ok().filter(|jobs| jobs.get() <= JOBS_MAX);
    let what = text.escape_debug();
    jobs.ok_or_else(|| format!("the number of jobs '{what}' is not a whole number from 1 to {JOBS_MAX}"))
}

fn host(text: &str) -> Result<Host, String> {
    Host::parse(text).map_err(|refused| refused.to_string())
}

fn machine(text: &str) -> Result<Machine, String> {
    Machine::parse(text).map_err(|refused| refused.to_string())
}

fn group(text: &str) -> Result<Group, String> {
    Group::parse(text).map_err(|refused| refused.to_string())
}

fn path(text: &str) -> Result<AbsolutePath, String> {
    let path = AbsolutePath::parse(text).map_err(|refused| refused.to_string())?;
    // Other spellings of one path would look like other paths.
    let path = AbsolutePath::parse(&path.tidy()).map_err(|refused| refused.to_string())?;
    if path.as_str().split('/').any(|component| component == crate::model::STAGING) {
        return Err(format!("the path '{text}' leads into the staging folder {}", crate::model::STAGING));
    }
    Ok(path)
}

fn copy_id(text: &str) -> Result<CopyId, String> {
    CopyId::parse(text).map_err(|refused| refused.to_string())
}

fn minidvodb_id(text: &str) -> Result<MinidvodbId, String> {
    MinidvodbId::parse(text).map_err(|refused| refused.to_string())
}

fn fault(text: &str) -> Result<Fault, String> {
    Fault::parse(text).ok_or_else(|| format!("'{}' is no fault's code or name", text.escape_debug()))
}

/// Reads a fault that is to be set; 0 is none.
pub fn fault_or_none(text: &str) -> Result<Option<Fault>, String> {
    if text.parse() == Ok(0i16) { Ok(None) } else { fault(text).map(Some) }
}

/// Reads dtime, in seconds.
pub fn dtime(text: &str) -> Result<f32, String> {
    text.parse::<f32>()
        .ok()
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| format!("'{}' is not a number of seconds", text.escape_debug()))
}

/// Reads a copy's state.
pub fn state_word(text: &str) -> Result<StateWord, String> {
    match state(text)? {
        "new" => Ok(StateWord::New),
        _ => Ok(StateWord::Full),
    }
}

fn reason(text: &str) -> Result<String, String> {
    const MAX_BYTES: usize = 1000;
    if text.len() <= MAX_BYTES {
        Ok(text.to_owned())
    } else {
        Err(format!("a reason has at most {MAX_BYTES} bytes"))
    }
}

fn percent(text: &str) -> Result<u8, String> {
    text.parse::<u8>()
        .ok()
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("'{}' is not a whole percentage from 1 to 100", text.escape_debug()))
}

fn verify(text: &str) -> Result<Verify, String> {
    match text {
        "checksum" => Ok(Verify::Checksum),
        "quick" => Ok(Verify::Quick),
        _ => Err(format!("'{}' is neither checksum nor quick", text.escape_debug())),
    }
}

fn deadline(text: &str) -> Result<u32, String> {
    text.parse::<u32>().ok().filter(|seconds| (1..=31_536_000).contains(seconds)).ok_or_else(|| {
        format!("'{}' is not a whole number of seconds from 1 to 31536000", text.escape_debug())
    })
}

fn bwlimit(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(text);
    let is_number = number.parse::<f64>().is_ok_and(|rate| rate.is_finite() && rate >= 0.0)
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && number.len() <= 12;
    if is_number {
        Ok(text.to_owned())
    } else {
        Err(format!("'{}' is not a rate such as 5000 or 20m", text.escape_debug()))
    }
}

fn streams(text: &str) -> Result<u8, String> {
    let most = Target::STREAMS_MAX;
    text.parse::<u8>()
        .ok()
        .filter(|streams| (1..=most).contains(streams))
        .ok_or_else(|| format!("'{}' is not a whole number of streams from 1 to {most}", text.escape_debug()))
}

fn stage(text: &str) -> Result<Stage, String> {
    match text {
        "queue" => Ok(Stage::Queue),
        "load" => Ok(Stage::Load),
        "run" => Ok(Stage::Run),
        _ => Err(format!("'{}' is no stage: queue, load or run", text.escape_debug())),
    }
}

fn state(text: &str) -> Result<&'static str, String> {
    match text {
        "new" => Ok("new"),
        "full" => Ok("full"),
        _ => Err(format!("'{}' is no state of a copy: new or full", text.escape_debug())),
    }
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        "mdc" => Ok(Format::Mdc),
        _ => Err(format!("'{}' is no format: table, json, csv or mdc", text.escape_debug())),
    }
}

fn export_format(text: &str) -> Result<ExportFormat, String> {
    match text {
        "csv" => Ok(ExportFormat::Csv),
        "json" => Ok(ExportFormat::Json),
        "sql" => Ok(ExportFormat::Sql),
        "mdc" => Ok(ExportFormat::Mdc),
        _ => Err(format!("'{}' is no format of an export: csv, json, sql or mdc", text.escape_debug())),
    }
}

fn file(text: &str) -> Result<Utf8PathBuf, String> {
    match text {
        "" => Err("'' is no file's name".to_owned()),
        _ => Ok(text.into()),
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// A command.
    Command(Box<Arguments>),
    /// A word of the wiki page, with the options of the top level.
    Word(Box<Arguments>, Word),
    /// A text to print: help, or the version.
    Text(String),
    /// The usage line of a word that has another number of arguments: exit 2, and the line alone.
    UsageLine(String),
}

/// The command line of a link to the program, by the link's name.
pub fn by_name(name: &OsStr, mut arguments: Vec<OsString>) -> Vec<OsString> {
    if Path::new(name).file_name().is_some_and(|name| name == minidvodbtool::NAME) {
        arguments.insert(0, minidvodbtool::NAME.into());
    }
    arguments
}

/// Whether the command is minidvodbtool, whose exit codes are its own.
pub fn is_minidvodbtool(arguments: &[OsString]) -> bool {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--state-dir") => drop(arguments.next()),
            Some(option) if option.starts_with('-') => {}
            word => return word == Some(minidvodbtool::NAME),
        }
    }
    false
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// Exit 2, with what to type instead.
pub fn parse(arguments: Vec<OsString>) -> Result<Asked> {
    let (front, typed) = lower(arguments)?;
    if front.iter().any(|word| word == "--version") || minidvodbtool::is_about_version(&typed) {
        return Ok(version());
    }
    if typed.first().is_some_and(|first| words::is_word(first)) {
        return parse_word(&front, &typed);
    }
    let words: Vec<&str> = front.iter().chain(&typed).map(String::as_str).collect();
    match Arguments::from_args(&["minidvodbcopy"], &words) {
        Ok(arguments) if arguments.version => Ok(version()),
        Ok(Arguments { command: None, .. }) => {
            Err(Error::new(Exit::Usage, "no command is given").hint("`minidvodbcopy help` lists them"))
        }
        Ok(arguments) => Ok(Asked::Command(Box::new(arguments))),
        Err(argh::EarlyExit { output, status: Ok(()) }) => {
            Ok(Asked::Text(help::fitted(&(output + &more_help(&typed)))))
        }
        Err(argh::EarlyExit { output, status: Err(()) }) => {
            // `run help` is asked for as often as `help run`; where `help` can be a name, it is one.
            match typed.split_last() {
                Some((last, path)) if last == "help" && path_of(path).len() == path.len() => {
                    let asked = ["help".to_owned()].into_iter().chain(path.iter().cloned());
                    parse(asked.map(OsString::from).collect())
                }
                _ => Err(usage_error(&output, &words)),
            }
        }
    }
}

fn version() -> Asked {
    Asked::Text(concat!("minidvodbcopy ", env!("CARGO_PKG_VERSION"), "\n").to_owned())
}

/// What comes behind the parser's own help: examples, and for the whole program the wiki page's words.
fn more_help(typed: &[String]) -> String {
    // `--help COMMAND` is about that one.
    let path = path_of(typed);
    if path.is_empty() {
        return format!(
            "\n`minidvodbcopy help COMMAND` shows its options, with examples. To begin: \
             `minidvodbcopy check` says what to do next.\n{}",
            words::section()
        );
    }
    examples::section(&path.join(" "))
}

/// The command that was typed, with its verb, as far as they are known.
fn path_of<S: AsRef<str>>(typed: &[S]) -> Vec<&'static str> {
    let mut typed = typed.iter().map(AsRef::as_ref).filter(|word| !word.starts_with('-'));
    let Some((command, verbs)) =
        typed.next().and_then(|word| COMMANDS.iter().find(|(command, _)| *command == word))
    else {
        return Vec::new();
    };
    let verb = typed.next().and_then(|word| verbs.iter().find(|verb| **verb == word));
    std::iter::once(*command).chain(verb.copied()).collect()
}

/// Reads a word of the wiki page; the options of the top level stand in `front`.
fn parse_word(front: &[String], typed: &[String]) -> Result<Asked> {
    if let Some(text) = words::help(typed) {
        return Ok(Asked::Text(text));
    }
    let front: Vec<&str> = front.iter().map(String::as_str).collect();
    let arguments = Arguments::from_args(&["minidvodbcopy"], &front)
        .map_err(|early| usage_error(&early.output, &front))?;
    let help = |subject: &str| format!("`minidvodbcopy help{subject}` shows what can be typed");
    match words::parse(typed) {
        Ok(word) => Ok(Asked::Word(Box::new(arguments), word)),
        Err(words::Refused::Usage(line)) => Ok(Asked::UsageLine(line)),
        Err(words::Refused::Unknown(why)) => Err(Error::usage(why).hint(help(""))),
        Err(words::Refused::Value(why)) => {
            let name = typed.iter().find(|word| *word != "server").map_or("", String::as_str);
            Err(Error::usage(why).hint(help(&format!(" {name}"))))
        }
    }
}

/// The commands, with those that have verbs.
const COMMANDS: [(&str, &[&str]); 27] = [
    ("run", &[]),
    ("copy", &[]),
    ("target", &["add", "del", "show"]),
    ("host", &["add", "del", "show"]),
    ("stage", &["on", "off", "show"]),
    ("minidvodb", &["import", "list"]),
    ("list", &[]),
    ("show", &[]),
    ("revert", &[]),
    ("update", &[]),
    ("recopy", &[]),
    ("faults", &[]),
    ("status", &[]),
    ("export", &[]),
    ("ledger", &["check", "backup", "restore", "compact"]),
    ("database", &["set", "show", "del"]),
    ("sync", &[]),
    ("log", &["add", "show"]),
    ("source", &["add", "del", "show"]),
    ("script", &[]),
    ("audit", &[]),
    ("check", &[]),
    ("crontab", &[]),
    ("completions", &[]),
    ("report", &[]),
    ("metrics", &[]),
    (minidvodbtool::NAME, &[]),
];

/// Whether there is a command of this name.
pub fn has_command(name: &str) -> bool {
    COMMANDS.iter().any(|(command, _)| *command == name)
}

/// A usage error in our words, with the help that fits.
fn usage_error(output: &str, words: &[&str]) -> Error {
    let output = output.replace("Run minidvodbcopy --help for more information.", "");
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let message = lines.join(" ");
    // What this module's own readers say names the value and the reason, and needs no frame.
    let message = match message.split_once("': ").filter(|_| message.starts_with("Error parsing ")) {
        Some((_, reason)) if reason.contains('\'') => reason.to_owned(),
        _ => {
            let mut letters = message.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    };
    let path = path_of(&words[front_length(words)..]);
    let help: Vec<&str> = ["minidvodbcopy", "help"].into_iter().chain(path.iter().copied()).collect();
    let message = if let Some(typed) = message.strip_prefix("unrecognized argument: ") {
        unrecognized(&path, typed)
    } else if message.starts_with("one of the following subcommands must be present: ") {
        let verbs = path.last().map_or(&[][..], |command| forms::verbs(command));
        format!("`{}` needs one of: {}", path.join(" "), verbs.join(", "))
    } else {
        message
    };
    Error::usage(message).hint(format!("`{}` shows what can be typed", help.join(" ")))
}

/// How many words in front are the top level's options.
fn front_length(words: &[&str]) -> usize {
    let mut length = 0;
    while let Some(word) = words.get(length).filter(|word| word.starts_with('-')) {
        length += if *word == "--state-dir" { 2 } else { 1 };
    }
    length.min(words.len())
}

/// The sentence about a word that nobody knows, with the nearest one that could stand there.
fn unrecognized(path: &[&'static str], typed: &str) -> String {
    let shown: String = typed.chars().take(80).collect();
    let mut message = format!("unrecognized argument: {}", shown.escape_debug());
    let known = forms::candidates(path, typed);
    if let Some(nearest) = nearest(&shown, known.iter().map(String::as_str)) {
        message.push_str(&format!("; the nearest is {nearest}"));
    }
    message
}

/// The word that was probably meant: the only one that begins like it, or one with few other letters.
fn nearest<'w>(typed: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    const BEGINNING_MIN: usize = 3;
    let typed: String = typed.chars().take(80).collect();
    // One letter is as near as any other.
    let letters = |word: &str| word.trim_start_matches('-').len();
    let words: Vec<&str> = words.into_iter().filter(|word| letters(word) > 1).collect();
    let mut longer = words.iter().filter(|word| letters(&typed) >= BEGINNING_MIN && word.starts_with(&typed));
    if let (Some(only), None) = (longer.next(), longer.next()) {
        return Some(only);
    }
    let near = words.into_iter().map(|word| (strsim::osa_distance(&typed, word), word)).min();
    near.filter(|(distance, word)| *distance <= (letters(word) / 3).max(1)).map(|(_, word)| word)
}

/// Turns what people type into what the parser knows: `--x=y` into two words, `-h` into `--help`,
/// `help X` into `X --help`, `import -` into its file. The options of the top level come first, apart.
fn lower(arguments: Vec<OsString>) -> Result<(Vec<String>, Vec<String>)> {
    let (mut front, mut words, mut is_literal) = (Vec::new(), Vec::new(), false);
    let mut wants_help = false;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let word = utf8(argument)?;
        if is_literal {
            words.push(word);
            continue;
        }
        match word.as_str() {
            "--" => {
                is_literal = true;
                words.push(word);
            }
            "-h" | "--help" => wants_help = true,
            // It stands in front, where the parser takes it, whatever command it was typed behind.
            "-V" | "--version" => front.push("--version".to_owned()),
            "-v" | "--verbose" | "-q" | "--quiet" => front.push(word),
            "-" if words.last().is_some_and(|last| last == "import" || last == "script") => {
                words.push("/dev/stdin".to_owned());
            }
            "--state-dir" => {
                front.push(word);
                if let Some(value) = arguments.next() {
                    front.push(utf8(value)?);
                }
            }
            // What follows is in another manner, and not ours to read.
            minidvodbtool::NAME if words.is_empty() => {
                is_literal = true;
                words.push(word);
            }
            _ => match word.split_once('=').filter(|(name, _)| name.starts_with("--")) {
                Some(("--state-dir", value)) => front.extend(["--state-dir".to_owned(), value.to_owned()]),
                Some((name, value)) => words.extend([name.to_owned(), value.to_owned()]),
                None => words.push(word),
            },
        }
    }
    if words.first().is_some_and(|first| first == "help") {
        words.remove(0);
        wants_help = true;
    }
    if wants_help {
        // Behind the command, of which the parser then tells, wherever it was typed.
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        words.insert(end, "--help".to_owned());
    }
    Ok((front, words))
}

fn utf8(argument: OsString) -> Result<String> {
    argument.into_string().map_err(|word| {
        Error::usage(format!("the argument '{}' is not UTF-8", word.to_string_lossy().escape_debug()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_named_in_a_hint_has_its_help() {
        for (command, verbs) in COMMANDS {
            for words in std::iter::once(vec![command]).chain(verbs.iter().map(|verb| vec![command, verb])) {
                let words = [&["help"], words.as_slice()].concat();
                assert!(matches!(parsed(&words).unwrap(), Asked::Text(_)), "{words:?}");
            }
        }
    }

    fn lowered(words: &[&str]) -> Vec<String> {
        let (front, words) = lower(words.iter().map(OsString::from).collect()).unwrap();
        [front, words].concat()
    }

    fn parsed(words: &[&str]) -> Result<Asked> {
        parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn what_people_type_is_lowered() {
        assert_eq!(lowered(&["run", "--limit=3", "-v"]), ["-v", "run", "--limit", "3"]);
        assert_eq!(lowered(&["help", "target", "add"]), ["target", "add", "--help"]);
        assert_eq!(lowered(&["help"]), ["--help"]);
        assert_eq!(lowered(&["minidvodb", "import", "-"]), ["minidvodb", "import", "/dev/stdin"]);
        assert_eq!(lowered(&["target", "add", "--", "-v", "--x=y"]), ["target", "add", "--", "-v", "--x=y"]);
        let words = ["--state-dir=/x", "minidvodbtool", "-h", "-v", "--x=y", "help"];
        assert_eq!(lowered(&words)[2..], ["minidvodbtool", "-h", "-v", "--x=y", "help"]);
    }

    #[test]
    fn minidvodbtool_is_known_by_the_name_of_a_link_or_as_a_command() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let arguments = by_name(OsStr::new("/usr/bin/minidvodbtool"), words(&["-h"]));
        assert_eq!(arguments, words(&["minidvodbtool", "-h"]));
        assert!(is_minidvodbtool(&arguments));
        assert_eq!(by_name(OsStr::new("/x/minidvodbtool/minidvodbcopy"), words(&["-h"])), words(&["-h"]));
        assert!(is_minidvodbtool(&words(&["--state-dir", "list", "-v", "minidvodbtool"])));
        for other in [&["list", "minidvodbtool"][..], &["-v"], &["--state-dir", "minidvodbtool"], &[]] {
            assert!(!is_minidvodbtool(&words(other)), "{other:?}");
        }
    }

    #[test]
    fn bad_values_are_usage_errors_that_name_them() {
        for words in [
            &["target", "add", "ThreePi", "-oProxyCommand=x", "/data"][..],
            &["target", "add", "ThreePi", "a/b", "/data"],
            &["target", "add", "ThreePi", "host:", "/data"],
            &["target", "add", "ThreePi", "a::b", "/data"],
            &["target", "add", "ThreePi", "ipp0222", "data"],
            &["target", "add", "ThreePi", "ipp0222", "/data/../x"],
            &["target", "add", "ThreePi", "ipp0222", "/data/.minidvodbcopy/x"],
            &["target", "add", "ThreePi", "ipp0222", "/data", "--max-used", "101"],
            &["target", "add", "ThreePi", "ipp0222", "/data", "--bwlimit", "x"],
            &["target", "add", "ThreePi", "ipp0222", "/data", "--streams", "0"],
            &["target", "add", "ThreePi", "ipp0222", "/data", "--streams", "9"],
            &["target", "add", "Three/Pi", "ipp0222", "/data"],
            &["stage", "off", "walk"],
            &["list", "--state", "old"],
            &["list", "--format", "xml"],
            &["export", "--format", "table"],
            &["export", "--output", ""],
            &["export", "file.sql"],
            &["show", "0"],
            &["show"],
            &["unknown"],
            &["add.minidvob.copy", "ThreePi", "ipp0222", "/data"],
            &["add.minidvodb.copy", "ThreePi", "ipp0222", "data"],
            &["script"],
            &[],
        ] {
            let error = parsed(words).unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{words:?}");
        }
    }

    #[test]
    fn help_and_version_are_texts() {
        for words in [
            &["help"][..],
            &["--help"],
            &["-h"],
            &["help", "run"],
            &["run", "--help"],
            &["--version"],
            &["target", "-h"],
            &["help", "add.minidvodb.copy"],
            &["server", "module", "-h"],
        ] {
            assert!(matches!(parsed(words).unwrap(), Asked::Text(_)), "{words:?}");
        }
    }
}
