//! The same checks in the environment that cron gives.

use std::process::{Command, Stdio};

use crate::cli::Check;
use crate::commands::crontab;
use crate::error::{Error, Exit, IoContext as _, Result};
use crate::pass::Context;
use crate::ui;

/// Starts this program again as cron would, and prints what it finds.
pub(super) fn start(context: &Context, words: &Check) -> Result<Exit> {
    let environment = crontab::environment(context);
    if !words.json {
        let shown: Vec<String> =
            environment.iter().map(|(name, value)| format!("{name}={}", ui::shell_word(value))).collect();
        context.ui.print(&format!("as cron: {}\n", ui::escape_all(&shown.join(" "))))?;
    }
    let mut command = Command::new(context.surroundings.program.as_std_path());
    command.env_clear().envs(environment);
    command.arg("--state-dir").arg(context.state_dir.as_std_path()).args(["check", "--in-cron"]);
    command.args(words.json.then_some("--json"));
    command.args(words.host.as_ref().map(|host| host.as_str().to_owned()));
    command.current_dir(context.surroundings.home.as_deref().unwrap_or("/"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().or_configuration("cannot start this program again")?;
    // As it comes, since hosts can be slow.
    let forwarded = child.stdout.take().map_or(Ok(()), |out| forward(context, out));
    let output = child.wait_with_output().or_configuration("cannot wait for this program")?;
    forwarded?;
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().for_each(|line| context.ui.notice(line.trim_start_matches("minidvodbcopy: ")));
    match output.status.code() {
        Some(0) => Ok(Exit::Done),
        Some(1) => Ok(Exit::Faulted),
        _ => Err(Error::configuration(format!(
            "the check under cron's environment ended with {}",
            output.status
        ))),
    }
}

fn forward(context: &Context, out: impl std::io::Read) -> Result<()> {
    use std::io::BufRead as _;
    for line in std::io::BufReader::new(out).lines() {
        context.ui.print(&format!("{}\n", line.or_configuration("cannot read what the check found")?))?;
    }
    Ok(())
}

/// What is started by cron has no terminal that ssh could ask on.
pub(super) fn leave_terminal() {
    // It fails where there was none to leave.
    let _ = rustix::process::setsid();
}
