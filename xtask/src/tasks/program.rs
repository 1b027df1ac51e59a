//! The built minidvodbcopy with a ledger and an ssh configuration of its own.
//!
//! Invariant: it is never started without both, so the ledger and the ssh settings of the person who runs the
//! task are neither read nor written.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

/// A binary, its state folder, and where its ssh leads.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) binary: Utf8PathBuf,
    pub(crate) state_dir: Utf8PathBuf,
    pub(crate) ssh_config: Utf8PathBuf,
}

impl Program {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("MINIDVODBCOPY_STATE_DIR", &self.state_dir)
            .env("MINIDVODBCOPY_SSH_CONFIG", &self.ssh_config)
            .stdin(Stdio::null());
        command
    }

    /// The same binary with a new ledger in `state_dir`.
    pub(crate) fn with_state_dir(&self, state_dir: Utf8PathBuf) -> Program {
        Program { state_dir, ..self.clone() }
    }

    /// Runs it without a word where it succeeds.
    pub(crate) fn quietly(&self, args: &[&str]) -> anyhow::Result<()> {
        self.output(args).map(drop)
    }

    /// The copies that `list` shows.
    pub(crate) fn copies(&self) -> anyhow::Result<Vec<Value>> {
        let output = self.output(&["list", "--format", "json"])?;
        serde_json::from_slice(&output).context("`list --format json` printed no JSON array")
    }

    /// How many copies have this state and this fault, without holding their list: the peak memory of this
    /// process counts as that of the commands that it starts.
    pub(crate) fn count_copies(&self, state: &str, fault: i64) -> anyhow::Result<u64> {
        let mut child = self.command(&["list", "--format", "csv"]).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("`list` has no output")?;
        let wanted = format!(",{fault},{state},");
        let mut count = 0;
        for line in BufReader::new(output).lines() {
            count += u64::from(line?.contains(&wanted));
        }
        ensure!(child.wait()?.success(), "`minidvodbcopy list --format csv` failed");
        Ok(count)
    }

    /// Writes `minidvodbs` as a CSV file at `path` and imports it.
    pub(crate) fn import(&self, path: &Utf8Path, minidvodbs: &[Minidvodb]) -> anyhow::Result<()> {
        write_csv(path, minidvodbs)?;
        self.quietly(&["minidvodb", "import", path.as_str()])
    }

    fn output(&self, args: &[&str]) -> anyhow::Result<Vec<u8>> {
        let command = args.join(" ");
        let output =
            self.command(args).output().with_context(|| format!("{}: cannot be started", self.binary))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            anyhow::bail!("`minidvodbcopy {command}` failed ({}): {}", output.status, said.trim());
        }
        Ok(output.stdout)
    }
}

/// A line of the file that `minidvodb import` takes.
pub(crate) struct Minidvodb {
    pub(crate) id: u64,
    pub(crate) group: &'static str,
    pub(crate) path: Utf8PathBuf,
}

impl Minidvodb {
    pub(crate) fn name(&self) -> &str {
        self.path.file_name().unwrap_or_default()
    }
}

/// Every one of them is `merged`.
pub(crate) fn write_csv(path: &Utf8Path, minidvodbs: &[Minidvodb]) -> anyhow::Result<()> {
    let mut text = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n".to_owned();
    for minidvodb in minidvodbs {
        let Minidvodb { id, group, path } = minidvodb;
        text.push_str(&format!("{id},{},{group},\"{path}\",merged\n", minidvodb.name()));
    }
    std::fs::write(path, text).with_context(|| format!("{path}: cannot be written"))
}

/// The text of a field, empty where it is missing or no text.
pub(crate) fn text<'a>(copy: &'a Value, field: &str) -> &'a str {
    copy.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The number in a field.
pub(crate) fn number(copy: &Value, field: &str) -> Option<i64> {
    copy.get(field).and_then(Value::as_i64)
}
