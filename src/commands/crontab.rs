//! `crontab`: the lines for cron, and units for systemd, as they can be used without a change.
//!
//! Invariant: what is printed starts this very program with this very state folder and these variables, whatever
//! characters are in them; a name that neither can hold is refused. The password is never printed.

use crate::cli::{self, Crontab, Unit};
use crate::error::{Error, Exit, Result};
use crate::pass::Context;
use crate::surroundings::POOR_PATH;
use crate::ui;

/// How many full copies a night's audit looks at.
const AUDITED: &str = "200";

pub(super) fn execute(context: &Context, words: &Crontab) -> Result<Exit> {
    let text = match words.systemd {
        None => cron_lines(context)?,
        Some(Unit::Service) => service(context, "Copies merged minidvodbs to other hosts", &["run"])?,
        Some(Unit::Timer) => timer("Copies merged minidvodbs every ten minutes", "*:0/10", 30),
        Some(Unit::AuditService) => service(
            context,
            "Looks whether copied minidvodbs are still there",
            &["audit", "--limit", AUDITED],
        )?,
        Some(Unit::AuditTimer) => {
            timer("Looks every night whether copied minidvodbs are there", "*-*-* 03:17:00", 600)
        }
    };
    context.ui.print(&text)?;
    Ok(Exit::Done)
}

/// What cron sets, and what its line sets beyond that.
pub(super) fn environment(context: &Context) -> Vec<(String, String)> {
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut environment = vec![
        set("SHELL", "/bin/sh"),
        set("HOME", context.surroundings.home.as_deref().unwrap_or("/")),
        set("LOGNAME", &context.user),
    ];
    let own = variables(context);
    if !own.iter().any(|(name, _)| name == "PATH") {
        environment.insert(0, set("PATH", POOR_PATH));
    }
    environment.extend(own);
    environment
}

/// The variables that a line sets: this program's own, and PATH where rsync or ssh lie elsewhere.
fn variables(context: &Context) -> Vec<(String, String)> {
    let surroundings = &context.surroundings;
    let mut folders: Vec<String> = Vec::new();
    for program in ["rsync", "ssh"] {
        let folder = surroundings.find(program).and_then(|file| file.parent().map(ToString::to_string));
        let is_elsewhere = |folder: &String| {
            !POOR_PATH.split(':').any(|poor| std::path::Path::new(poor).join(program).exists())
                && !folders.contains(folder)
        };
        folders.extend(folder.filter(is_elsewhere));
    }
    let path =
        (!folders.is_empty()).then(|| ("PATH".to_owned(), format!("{}:{POOR_PATH}", folders.join(":"))));
    let own = surroundings.variables.iter().map(|(name, value)| match &context.setting.ssh_config {
        // Cron starts in another folder than this one.
        Some(file) if name == "MINIDVODBCOPY_SSH_CONFIG" => (name.clone(), file.to_string()),
        _ => (name.clone(), value.clone()),
    });
    path.into_iter().chain(own).collect()
}

/// Refuses what cannot stand in a line.
fn printable<'t>(what: &str, text: &'t str) -> Result<&'t str> {
    if text.chars().any(char::is_control) {
        return Err(Error::usage(format!(
            "{what} '{}' has a control character, which no line of cron or systemd can hold",
            text.escape_debug()
        ))
        .hint("give it another name, or a link without one"));
    }
    Ok(text)
}

/// The words that start this program for a command.
fn program_words(context: &Context, command: &[&str]) -> Result<Vec<String>> {
    let program = printable("the program's path", context.surroundings.program.as_str())?;
    let state_dir = printable("the state folder's path", context.state_dir.as_str())?;
    let words = [program, "--state-dir", state_dir];
    Ok(words.iter().chain(command).map(|word| (*word).to_owned()).collect())
}

fn cron_lines(context: &Context) -> Result<String> {
    let mut text = String::from(
        "# minidvodbcopy: a pass every ten minutes. Passes keep out of each other's way, and\n# print only news, which cron mails.\n",
    );
    text.push_str(&cron_line(context, "*/10 * * * *", &["run"])?);
    if cli::has_command("audit") {
        text.push_str(&cron_line(context, "17 3 * * *", &["audit", "--limit", AUDITED])?);
    }
    Ok(text)
}

/// A word of cron's command. Crons differ in how they read a backslash before a `%`, and their /bin/sh need not know
/// the `$'...'` that invisible characters are written in: what has one is refused.
fn cron_word(what: &str, text: &str) -> Result<String> {
    let word = ui::shell_word(text);
    if !text.contains('\\') && !word.starts_with("$'") {
        return Ok(word);
    }
    Err(Error::usage(format!(
        "{what} '{}' has a backslash or an invisible character, which a line of cron cannot hold safely",
        text.escape_debug()
    ))
    .hint("give it another name, or a link without one; or use `minidvodbcopy crontab --systemd service`"))
}

/// A command as it stands in a line: a `%` would end it.
pub(super) fn escaped(command: &str) -> String {
    command.replace('%', "\\%")
}

/// A line of crontab(5).
fn cron_line(context: &Context, times: &str, command: &[&str]) -> Result<String> {
    let mut words = Vec::new();
    for (name, value) in variables(context) {
        words.push(format!("{name}={}", cron_word(&name, printable(&name, &value)?)?));
    }
    for word in program_words(context, command)? {
        words.push(cron_word("the path", &word)?);
    }
    Ok(format!("{times}  {}\n", escaped(&words.join(" "))))
}

fn service(context: &Context, description: &str, command: &[&str]) -> Result<String> {
    let mut text = format!("[Unit]\nDescription={description}\n\n[Service]\nType=oneshot\n");
    for (name, value) in variables(context) {
        let assigned = format!("{name}={}", printable(&name, &value)?);
        text.push_str(&format!("Environment={}\n", unit_word(&assigned, false)));
    }
    let words: Vec<String> =
        program_words(context, command)?.iter().map(|word| unit_word(word, true)).collect();
    // A `$` in the first word would stay doubled, so that a name with one is left to env.
    let env = if words.first().is_some_and(|first| first.contains("$$")) { "/usr/bin/env " } else { "" };
    text.push_str(&format!("ExecStart={env}{}\n", words.join(" ")));
    // The pass ends its children itself, in order.
    text.push_str("KillMode=mixed\nTimeoutStopSec=60\nNice=10\n");
    Ok(text)
}

fn timer(description: &str, calendar: &str, delay_s: u32) -> String {
    format!(
        "[Unit]\nDescription={description}\n\n[Timer]\nOnCalendar={calendar}\nRandomizedDelaySec={delay_s}\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
}

/// A word of a unit file, by systemd.syntax(7): `%` begins a specifier, and in a command `$` a variable.
fn unit_word(word: &str, is_command: bool) -> String {
    let mut escaped = String::new();
    let mut is_plain = !word.is_empty();
    for c in word.chars() {
        is_plain &= c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
        match c {
            '%' => escaped.push_str("%%"),
            '$' if is_command => escaped.push_str("$$"),
            '"' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    if is_plain { escaped } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cron_or_its_shell_could_read_otherwise_is_refused() {
        assert_eq!(cron_word("the path", "/a b/100%").unwrap(), "'/a b/100%'");
        for odd in ["/a\\%b", "/a\\b", "/a\u{200b}b", "/a\u{202e}b"] {
            assert!(cron_word("the path", odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn words_of_a_unit_are_escaped_as_systemd_reads_them() {
        assert_eq!(unit_word("/usr/local/bin/x", true), "/usr/local/bin/x");
        assert_eq!(unit_word("/a b/100%/$x\"\\", true), r#""/a b/100%%/$$x\"\\""#);
        assert_eq!(unit_word("A=$x", false), "\"A=$x\"");
        assert_eq!(unit_word("", true), "\"\"");
    }
}
