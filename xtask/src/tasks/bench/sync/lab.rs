//! The private server with its three tables, and ledgers beside it.
//!
//! Invariant: every command is bounded in time, and one that fails ends the benchmark with what it said; before
//! a figure is taken, everything earlier is on the disk and the server has nothing left to clean up.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use xtask::mariadb::{MariaDb, MariaDbOptions};
use xtask::processes;
use xtask::setup::Tool;

use super::tables::{self, GROUPS, HOST, Size};
use crate::tasks::bench::figures::{Sample, time_within};
use crate::tasks::program::Program;

/// No step of a million rows comes near this.
const STEP_MAX: Duration = Duration::from_secs(1800);
const DATABASE: &str = "ipp";
const USER: &str = "ipp";
const PASSWORD: &str = "of no use elsewhere";

/// A server as one finds it, with room for a million rows; in particular, what it has committed is on the disk.
const SERVER_OPTIONS: [&str; 4] = [
    "--innodb-buffer-pool-size=512M",
    "--innodb-log-file-size=96M",
    "--innodb-flush-log-at-trx-commit=1",
    "--skip-debug-no-sync",
];

pub(super) struct Lab {
    top: Utf8PathBuf,
    server: MariaDb,
    binary: Utf8PathBuf,
    size: Size,
    ledgers: Cell<u32>,
}

/// What a command took, and the processor time of the server meanwhile.
#[derive(Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) sample: Sample,
    pub(super) server_cpu_s: f64,
}

impl Lab {
    /// With minidvodbRun and minidvodbProcessed filled, and minidvodbCopy empty.
    pub(super) fn open(top: &Utf8Path, binary: Utf8PathBuf, size: Size) -> anyhow::Result<Lab> {
        let extra = SERVER_OPTIONS.map(str::to_owned).to_vec();
        let options = MariaDbOptions { extra, ..MariaDbOptions::default() };
        let server = MariaDb::start(&top.join("db"), options)?;
        server.create_ipp(DATABASE)?;
        server.create_user(USER, PASSWORD, DATABASE)?;
        let lab = Lab { top: top.to_owned(), server, binary, size, ledgers: Cell::new(0) };
        let mut password = File::options().write(true).create_new(true).mode(0o600).open(lab.password())?;
        password.write_all(PASSWORD.as_bytes())?;
        fs::write(lab.ssh_config(), "Host *\n    ProxyCommand false\n")?;
        lab.sql(&tables::fill_runs(size))?;
        lab.sql(&tables::fill_processed(size))?;
        Ok(lab)
    }

    fn password(&self) -> Utf8PathBuf {
        self.top.join("password")
    }

    fn ssh_config(&self) -> Utf8PathBuf {
        self.top.join("ssh_config")
    }

    /// Where minidvodbCopy is written for LOAD DATA.
    pub(super) fn rows_file(&self) -> Utf8PathBuf {
        self.top.join("rows.tsv")
    }

    /// Statements for the stock client, and what it printed: a line for each row, values separated by tabs.
    pub(super) fn sql(&self, statements: &str) -> anyhow::Result<String> {
        Ok(self.clock(&mut self.client(statements)?)?.1)
    }

    pub(super) fn client(&self, statements: &str) -> anyhow::Result<Command> {
        let mut command = self.server.client_command(Tool::MariaDbClient)?;
        command
            .args(["--batch", "--skip-column-names", "--quick", "--local-infile=1"])
            .args([format!("--database={DATABASE}"), format!("--execute={statements}")]);
        Ok(command)
    }

    pub(super) fn dump(&self) -> anyhow::Result<Command> {
        let mut command = self.server.client_command(Tool::MariaDbDump)?;
        command
            .args(["--single-transaction", "--quick", "--result-file=/dev/null", DATABASE])
            .args(tables::NAMES);
        Ok(command)
    }

    /// A new ledger with a target for every group, which knows the database.
    pub(super) fn ledger(&self) -> anyhow::Result<Program> {
        let ledger = self.new_program();
        for group in 1..=GROUPS {
            self.play(&ledger, &["target", "add", &tables::group(group), HOST, &tables::destination(group)])?;
        }
        self.set_database(&ledger)?;
        Ok(ledger)
    }

    /// Another ledger that is the same as this one; it shares the backups, so that none is due.
    pub(super) fn copy_of(&self, ledger: &Program) -> anyhow::Result<Program> {
        let copy = self.new_program();
        let backups = copy.state_dir.join("backup");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&backups)?;
        fs::copy(ledger.state_dir.join("ledger.redb"), copy.state_dir.join("ledger.redb"))?;
        for backup in ledger.state_dir.join("backup").read_dir_utf8()? {
            let backup = backup?;
            fs::hard_link(backup.path(), backups.join(backup.file_name()))?;
        }
        Ok(copy)
    }

    pub(super) fn forget(&self, ledger: &Program) -> anyhow::Result<()> {
        let dir = &ledger.state_dir;
        fs::remove_dir_all(dir).with_context(|| format!("{dir}: cannot be removed"))
    }

    fn new_program(&self) -> Program {
        self.ledgers.set(self.ledgers.get() + 1);
        Program {
            binary: self.binary.clone(),
            state_dir: self.top.join(format!("ledger{}", self.ledgers.get())),
            ssh_config: self.ssh_config(),
        }
    }

    pub(super) fn set_database(&self, ledger: &Program) -> anyhow::Result<()> {
        let url = format!("mysql://{USER}@127.0.0.1:{}/{DATABASE}", self.server.port());
        self.play(ledger, &["database", "set", &url, "--password-file", self.password().as_str()]).map(drop)
    }

    /// Lets the program do something, and returns what it printed.
    pub(super) fn play(&self, ledger: &Program, args: &[&str]) -> anyhow::Result<String> {
        Ok(self.clock(&mut ledger.command(args))?.1)
    }

    /// Fills minidvodbCopy with a full copy of every minidvodb of the first groups.
    pub(super) fn fill_copies(&self, groups: u64) -> anyhow::Result<()> {
        self.empty_copies()?;
        self.sql(&tables::fill_copies(self.size, groups)).map(drop)
    }

    pub(super) fn empty_copies(&self) -> anyhow::Result<()> {
        self.sql("TRUNCATE TABLE minidvodbCopy").map(drop)
    }

    /// Waits until nothing of what went before is left to be done.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        self.sql("SET GLOBAL innodb_max_purge_lag_wait = 0")?;
        rustix::fs::sync();
        Ok(())
    }

    /// Times a command when all is quiet.
    pub(super) fn time(&self, mut command: Command) -> anyhow::Result<(Taken, String)> {
        self.settle()?;
        self.clock(&mut command)
    }

    fn clock(&self, command: &mut Command) -> anyhow::Result<(Taken, String)> {
        let (output, errors) = (self.top.join("output"), self.top.join("errors"));
        command.stdout(File::create(&output)?).stderr(File::create(&errors)?);
        let before_s = self.server_cpu_s()?;
        let sample = time_within(command, 0, STEP_MAX).with_context(|| {
            format!("it said: {}", fs::read_to_string(&errors).unwrap_or_default().trim())
        })?;
        let server_cpu_s = self.server_cpu_s()? - before_s;
        let said = fs::read_to_string(&errors)?;
        ensure!(said.is_empty(), "`{command:?}` said: {}", said.trim());
        Ok((Taken { sample, server_cpu_s }, fs::read_to_string(&output)?))
    }

    fn server_cpu_s(&self) -> anyhow::Result<f64> {
        let pid = self.server.pid().context("the database server has ended")?;
        processes::cpu_seconds(pid).context("the database server has ended")
    }
}
