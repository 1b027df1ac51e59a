//! Whether anything starts passes: a line of this user's crontab, or a timer of systemd.
//!
//! Invariant: both are only asked. A line that starts something else, or passes over another ledger, is none.

use camino::Utf8Path;

use super::Findings;
use crate::commands::crontab;
use crate::error::Result;
use crate::pass::Context;
use crate::{state, ui};

/// What `crontab --systemd timer` is called in README and in the tar.
const TIMER: &str = "minidvodbcopy.timer";
/// The commands that make passes.
const PASSES: [&str; 3] = ["run", "copy", "script"];

pub(super) fn examine(context: &Context, findings: &mut Findings<'_>) -> Result<()> {
    let (crontab, systemctl) = (context.surroundings.find("crontab"), context.surroundings.find("systemctl"));
    if let Some(crontab) = &crontab
        && printed(crontab, &["-l"]).lines().any(|line| starts_passes(context, line))
    {
        return findings.ok("cron", "a line of this user's crontab starts passes with this ledger");
    }
    if let Some(systemctl) = &systemctl {
        for (whose, scope) in [("this user's", "--user"), ("this machine's", "--system")] {
            if printed(systemctl, &[scope, "is-enabled", TIMER]).trim() == "enabled" {
                return findings.ok("cron", format!("{whose} {TIMER} of systemd is enabled"));
            }
        }
    }
    if crontab.is_some() {
        return findings.advise(
            "cron",
            "no line of this user's crontab, and no timer of systemd, starts passes with this ledger",
            vec![format!("(crontab -l 2>/dev/null; {}) | crontab -", context.own_command(&["crontab"]))],
        );
    }
    if systemctl.is_some() {
        let unit = |unit: &str| {
            let print = context.own_command(&["crontab", "--systemd", unit]);
            format!("{print} > ~/.config/systemd/user/minidvodbcopy.{unit}")
        };
        return findings.advise(
            "cron",
            "there is no crontab here, and no timer of systemd starts passes",
            vec![
                "mkdir -p ~/.config/systemd/user".to_owned(),
                unit("service"),
                unit("timer"),
                format!("systemctl --user enable --now {TIMER}"),
                "loginctl enable-linger".to_owned(),
            ],
        );
    }
    findings.advise(
        "cron",
        "there is neither crontab nor systemd here: nothing starts passes by itself",
        vec!["sudo apt-get install cron".to_owned()],
    )
}

/// What a program prints; nothing where it cannot be started.
fn printed(program: &Utf8Path, words: &[&str]) -> String {
    let output = std::process::Command::new(program).args(words).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Whether a line of a crontab starts passes over this ledger.
fn starts_passes(context: &Context, line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with('#') || !line.contains("minidvodbcopy") {
        return false;
    }
    let makes_passes = line.split_whitespace().any(|word| PASSES.contains(&word));
    let names_folder = line.contains("--state-dir") || line.contains("MINIDVODBCOPY_STATE_DIR");
    let own = crontab::escaped(&ui::shell_word(&context.state_dir));
    let default = state::locate(None, |name| match (name, &context.surroundings.home) {
        ("HOME", Some(home)) => Some(home.into()),
        _ => None,
    });
    makes_passes
        && if names_folder { line.contains(&own) } else { default.is_ok_and(|dir| dir == context.state_dir) }
}
