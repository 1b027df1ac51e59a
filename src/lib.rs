//! Copies merged minidvodbs to other hosts, once for each machine, and knows afterwards what is where.
//!
//! One pass per invocation: *queue* the eligible minidvodbs of every target, *load* the pending copies, look
//! for *space*, and *run* rsync, verify, publish, record (`pass`). What is decided is decided by pure
//! functions (`plan`); what is known lies in one file (`ledger`); what touches a destination is in one place
//! (`transfer`), and what touches the IPP's database in another (`database`). **None of these four knows
//! another**; `pass`, `sync` and `commands` bring them together.

mod audit;
mod cli;
mod commands;
mod database;
mod error;
mod faults;
mod filelog;
#[cfg(test)]
#[path = "../tests/fuzz/bytes.rs"]
mod fuzzing;
mod holders;
mod last_pass;
mod ledger;
mod lock;
mod model;
mod output;
mod pass;
mod plan;
mod render;
mod report;
mod signals;
mod state;
mod surroundings;
mod sync;
mod transfer;
mod ui;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use error::{Error, Exit, Result};
use pass::Context;
use transfer::{Limits, Setting, guard};

/// The program: reads the command line and the environment, does what is asked, and says how it went.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut arguments = arguments.peekable();
    if arguments.peek().is_some_and(|first| first == guard::COMMAND) {
        guard::stand_guard(arguments.nth(1).map(Into::into));
    }
    let arguments = cli::by_name(&name, arguments.collect());
    let is_minidvodbtool = cli::is_minidvodbtool(&arguments);
    // What this program makes is its owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    std::panic::set_hook(Box::new(|panic| {
        if !ledger::is_guarded() {
            eprintln!("minidvodbcopy: this is a bug, please report it: {panic}");
            filelog::note_bug(&panic.to_string());
        }
    }));
    let result = std::panic::catch_unwind(|| execute(arguments));
    let exit = match result {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            eprintln!("minidvodbcopy: {}", ui::escape_lines(&error.to_string()));
            error.exit
        }
        Err(_) => Exit::Bug,
    };
    ExitCode::from(if is_minidvodbtool { commands::minidvodbtool::exit_code(exit) } else { exit as u8 })
}

fn execute(arguments: Vec<OsString>) -> Result<Exit> {
    let program = OsStr::new("minidvodbcopy");
    let command_line =
        ui::command_line(std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str)));
    let (arguments, word) = match cli::parse(arguments)? {
        cli::Asked::Text(text) => {
            ui::Ui::new(false, false).print(&text)?;
            return Ok(Exit::Done);
        }
        cli::Asked::UsageLine(line) => {
            ui::Ui::new(false, false).usage_line(&line);
            return Ok(Exit::Usage);
        }
        cli::Asked::Command(arguments) => (arguments, None),
        cli::Asked::Word(arguments, word) => (arguments, Some(word)),
    };
    let environment = |name: &str| std::env::var_os(name);
    let state_dir = state::locate(arguments.state_dir.as_deref(), environment)?;
    let context = Context {
        ledger: ledger::Ledger::new(&state_dir),
        state_dir,
        ui: ui::Ui::new(arguments.verbose, arguments.quiet).on(environment),
        setting: setting(environment)?,
        stop: signals::Stop::on_signals()?,
        user: user(environment),
        command_line,
        mysql_password: mysql_password(environment)?,
        surroundings: surroundings::Surroundings::read(std::env::vars_os(), arguments.state_dir.is_some())?,
        clock: now,
    };
    match (word, arguments.command) {
        (Some(word), _) => commands::execute_word(&context, word),
        (None, Some(command)) => commands::execute(&context, command),
        (None, None) => Err(Error::bug("no command")),
    }
}

/// The time. In builds for tests it can be shifted, by whole seconds: a clock cannot be set from outside.
fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    if !cfg!(debug_assertions) {
        return now;
    }
    let shift = std::env::var("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S").ok().and_then(|shift| shift.parse().ok());
    now.checked_add(jiff::SignedDuration::from_secs(shift.unwrap_or(0))).unwrap_or(now)
}

/// Who runs this, as the environment has it, which cron sets too.
fn user(environment: impl Fn(&str) -> Option<OsString>) -> String {
    let name =
        ["LOGNAME", "USER"].into_iter().find_map(&environment).and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// The database's password, where the environment has it.
fn mysql_password(environment: impl Fn(&str) -> Option<OsString>) -> Result<Option<String>> {
    let password = environment("MYSQL_PWD").filter(|password| !password.is_empty());
    password
        .map(|password| password.into_string().map_err(|_| Error::configuration("MYSQL_PWD is not UTF-8")))
        .transpose()
}

/// What children get of the environment, and the limits that it may change.
fn setting(environment: impl Fn(&str) -> Option<OsString>) -> Result<Setting> {
    const KEPT: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME"];
    let seconds = |name: &str, default: Duration| match environment(name) {
        None => Ok(default),
        Some(text) => text
            .to_str()
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|seconds| (1..=86_400).contains(seconds))
            .map(Duration::from_secs)
            .ok_or_else(|| {
                Error::configuration(format!(
                    "{name} is '{}', not a whole number of seconds from 1 to 86400",
                    text.to_string_lossy().escape_debug()
                ))
            }),
    };
    let limits = Limits::default();
    let ssh_config = environment("MINIDVODBCOPY_SSH_CONFIG").filter(|path| !path.is_empty());
    Ok(Setting {
        environment: KEPT.iter().filter_map(|name| Some(((*name).to_owned(), environment(name)?))).collect(),
        ssh_config: ssh_config.as_deref().map(absolute).transpose()?,
        limits: Limits {
            connect: seconds("MINIDVODBCOPY_CONNECT_SECONDS", limits.connect)?,
            answer: seconds("MINIDVODBCOPY_ANSWER_SECONDS", limits.answer)?,
            stall: seconds("MINIDVODBCOPY_STALL_SECONDS", limits.stall)?,
        },
    })
}

/// Children start in `/`: a path relative to the working folder would lead them astray.
fn absolute(path: &OsStr) -> Result<camino::Utf8PathBuf> {
    let path = std::path::absolute(path)
        .map_err(|error| Error::configuration(format!("MINIDVODBCOPY_SSH_CONFIG: {error}")))?;
    path.try_into()
        .map_err(|error| Error::configuration(format!("MINIDVODBCOPY_SSH_CONFIG is not UTF-8: {error}")))
}
