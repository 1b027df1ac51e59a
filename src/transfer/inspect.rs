//! Looking at what a pass needs, without a pass: programs here, how ssh reaches a host, tools and clock there.
//!
//! Invariant: nothing is changed, but for a staging folder that is made as a pass would make it and removed again.
//! What is found is told as it is; what to think of it, and what to type, is not known here.

use std::net::ToSocketAddrs as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use jiff::Timestamp;

use super::destination::{self, PART, Place, TOOLS, View};
use super::rsync::{VERSION_MIN_HERE, VERSION_MIN_THERE, parse_version};
use super::{Connection, Halt, Setting, Watch, rsync, ssh};
use crate::model::Host;

/// Older ones let a malicious peer read and write where it should not (CVE-2024-12084 and the ones found with it),
/// unless whoever packed them has mended that.
const VERSION_MENDED: (u32, u32) = (3, 4);
/// So often the clock there is asked; the quickest answer counts.
const CLOCK_LOOKS: usize = 3;

/// How old an rsync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It cannot do what is asked of it.
    TooOld,
    /// It can, and has known holes unless its packers mended them.
    Old,
    /// All is well.
    Good,
    /// It does not say.
    Unknown,
}

/// What a program says of its version.
#[derive(Clone, Debug)]
pub struct Program {
    /// The line that it prints.
    pub line: String,
    /// How old it is, where it is rsync.
    pub age: Age,
}

/// rsync and ssh on this machine.
///
/// # Errors
/// Why it cannot be started.
pub fn program_here(name: &str, setting: &Setting) -> Result<Program, String> {
    let command = if name == "ssh" { ssh::version() } else { rsync::version() };
    let output = output_of(command, setting)?;
    let both = [output.stdout, output.stderr].concat();
    let line = first_line(&both);
    let age = if name == "rsync" { age_of(&line, VERSION_MIN_HERE) } else { Age::Unknown };
    Ok(Program { line, age })
}

fn output_of(mut command: Command, setting: &Setting) -> Result<std::process::Output, String> {
    command.env_clear().envs(setting.environment.iter().map(|(key, value)| (key, value)));
    command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    command.output().map_err(|error| format!("cannot be started: {error}"))
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).trim().chars().take(200).collect()
}

fn age_of(line: &str, least: (u32, u32)) -> Age {
    match parse_version(line) {
        None => Age::Unknown,
        Some(version) if version < least => Age::TooOld,
        Some(version) if version < VERSION_MENDED => Age::Old,
        Some(_) => Age::Good,
    }
}

/// How ssh would reach a host, as its configuration says.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// The name or address that it connects to.
    pub name: String,
    /// The port.
    pub port: String,
    /// Whether another program or host stands between.
    pub is_proxied: bool,
    /// The name that the host's key is looked up by.
    pub key_name: String,
    /// The file that new host keys go into.
    pub known_hosts: String,
    /// The private keys that are tried, those that are there.
    pub identities: Vec<String>,
}

/// Asks ssh how it would reach a host.
///
/// # Errors
/// What ssh says of its configuration.
pub fn route(host: &Host, setting: &Setting) -> Result<Route, String> {
    let output = output_of(ssh::explain(host, setting), setting)?;
    if !output.status.success() {
        return Err(first_line(&output.stderr));
    }
    let home = setting.environment.iter().find(|(name, _)| name == "HOME");
    let home = home.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(parse_route(&String::from_utf8_lossy(&output.stdout), host, &home))
}

fn parse_route(text: &str, host: &Host, home: &str) -> Route {
    let all = |key: &str| -> Vec<&str> {
        let prefix = format!("{key} ");
        text.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
    };
    let one = |key: &str| all(key).first().map(|value| (*value).to_owned());
    let full = |path: &str| match path.strip_prefix("~/") {
        Some(rest) => format!("{home}/{rest}"),
        None => path.to_owned(),
    };
    let name = one("hostname").unwrap_or_else(|| host.as_str().to_owned());
    let port = one("port").unwrap_or_else(|| "22".to_owned());
    let is_set = |value: Option<String>| value.filter(|value| value != "none");
    let default_key_name = if port == "22" { name.clone() } else { format!("[{name}]:{port}") };
    Route {
        is_proxied: is_set(one("proxyjump")).or_else(|| is_set(one("proxycommand"))).is_some(),
        key_name: is_set(one("hostkeyalias")).unwrap_or(default_key_name),
        known_hosts: one("userknownhostsfile")
            .and_then(|files| files.split(' ').next().map(full))
            .unwrap_or_default(),
        identities: all("identityfile")
            .into_iter()
            .map(full)
            .filter(|file| std::fs::metadata(file).is_ok())
            .collect(),
        name,
        port,
    }
}

/// The addresses of a name; none where they did not come within `patience`.
pub fn addresses(name: &str, patience: Duration) -> Result<Vec<String>, String> {
    let (sender, receiver) = sync_channel(1);
    let asked = (name.to_owned(), 22);
    // A resolver cannot be told to hurry: a thread that is not waited for may.
    std::thread::spawn(move || {
        let found =
            asked.to_socket_addrs().map(|all| all.map(|one| one.ip().to_string()).collect::<Vec<_>>());
        let _ = sender.send(found.map_err(|error| error.to_string()));
    });
    let mut found = receiver
        .recv_timeout(patience)
        .map_err(|_| format!("no answer within {} s", patience.as_secs()))??;
    found.dedup();
    Ok(found)
}

/// What was found behind a connection.
#[derive(Clone, Debug)]
pub struct HostThere {
    /// The needed programs that are missing.
    pub missing: Vec<String>,
    /// rsync there.
    pub rsync: Program,
    /// What the system calls itself.
    pub system: String,
}

/// Looks for the programs that a pass needs there.
///
/// # Errors
/// Any halt.
pub fn look_there(connection: &mut Connection, setting: &Setting, watch: &Watch) -> Result<HostThere, Halt> {
    let script =
        destination::tools_script(TOOLS) + &format!("echo \"{PART}system $(uname -sr 2>/dev/null)\"");
    let answer = connection.run("inspect", &script, setting.limits.answer, watch)?;
    let text = answer.text();
    let value = |key: &str| destination::values(&text, key).next().unwrap_or_default().trim().to_owned();
    let rsync = value("rsync");
    Ok(HostThere {
        missing: destination::values(&text, "tool").map(str::to_owned).collect(),
        rsync: Program { age: age_of(&rsync, VERSION_MIN_THERE), line: rsync },
        system: value("system"),
    })
}

/// How far a clock is ahead of ours, in seconds, and how wrong that may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockDifference {
    /// Ahead of ours; negative: behind.
    pub ahead_s: f64,
    /// Half of the time that the quickest answer took: the true difference lies within.
    pub uncertain_s: f64,
}

/// Asks the clock there, between two looks at ours.
///
/// # Errors
/// Any halt; none where the answer is no time.
pub fn clock_there(
    connection: &mut Connection,
    setting: &Setting,
    watch: &Watch,
    now: fn() -> Timestamp,
) -> Result<Option<ClockDifference>, Halt> {
    let mut best: Option<ClockDifference> = None;
    for _ in 0..CLOCK_LOOKS {
        let before = now();
        let answer = connection.run("clock", "date +%s.%N", setting.limits.answer, watch)?;
        let found = difference(before, &answer.text(), now());
        if let Some(found) = found
            && best.is_none_or(|best| found.uncertain_s < best.uncertain_s)
        {
            best = Some(found);
        }
    }
    Ok(best)
}

fn difference(before: Timestamp, there: &str, after: Timestamp) -> Option<ClockDifference> {
    let seconds = |at: Timestamp| at.as_second() as f64 + f64::from(at.subsec_nanosecond()) / 1e9;
    let there: f64 = there.trim().trim_end_matches(".N").trim_end_matches('N').parse().ok()?;
    let (before, after) = (seconds(before), seconds(after));
    Some(ClockDifference {
        ahead_s: there - f64::midpoint(before, after),
        uncertain_s: ((after - before) / 2.0).max(0.0),
    })
}

/// Makes the folder for this ledger's staging folders as a pass would, and removes it where it is empty.
///
/// # Errors
/// The fault that a pass would meet.
pub fn try_staging(
    connection: &mut Connection,
    view: &View,
    place: Place<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<(), Halt> {
    let made = destination::make_staging(connection, view, place, setting, watch);
    destination::tidy(connection, view, place, setting, watch)?;
    made.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_question() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let found =
            difference(at("2026-11-25T00:00:00Z"), "1795564811.5", at("2026-11-25T00:00:01Z")).unwrap();
        assert!((found.ahead_s - 11.0).abs() < 1e-3, "{found:?}");
        assert!((found.uncertain_s - 0.5).abs() < 1e-3, "{found:?}");
        assert_eq!(difference(at("2026-11-25T00:00:00Z"), "Mon", at("2026-11-25T00:00:01Z")), None);
    }

    #[test]
    fn what_ssh_says_of_its_way_is_read() {
        let text = "hostname 127.0.0.1\nport 2222\nproxyjump none\nhostkeyalias ipp0222\nuserknownhostsfile ~/.ssh/k /x\nidentityfile /no/such\n";
        let route = parse_route(text, &Host::parse("ipp0222").unwrap(), "/h");
        assert_eq!((route.name.as_str(), route.port.as_str()), ("127.0.0.1", "2222"));
        assert_eq!((route.key_name.as_str(), route.known_hosts.as_str()), ("ipp0222", "/h/.ssh/k"));
        assert!(!route.is_proxied && route.identities.is_empty());
        let plain = parse_route("hostname ipp022\nport 22\nproxycommand x\n", &Host::parse("h").unwrap(), "");
        assert!(plain.is_proxied);
        assert_eq!(plain.key_name, "ipp022");
    }

    #[test]
    fn an_rsync_is_as_old_as_it_says() {
        assert_eq!(age_of("rsync  version 3.0.9  protocol version 30", VERSION_MIN_THERE), Age::TooOld);
        assert_eq!(age_of("rsync  version 3.2.7  protocol version 31", VERSION_MIN_THERE), Age::Old);
        assert_eq!(age_of("rsync  version v3.4.1  protocol version 32", VERSION_MIN_THERE), Age::Good);
        assert_eq!(age_of("openrsync", VERSION_MIN_THERE), Age::Unknown);
    }
}
