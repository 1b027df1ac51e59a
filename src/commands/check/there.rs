//! A host and its targets: its name, the connection, what is there, its clock, and each target's path.

use std::time::Duration;

use super::{Findings, here};
use crate::error::Result;
use crate::faults::{Fault, Met, Scope};
use crate::ledger::Look as _;
use crate::lock;
use crate::model::{Host, HostRecord, Room, Target};
use crate::pass::Context;
use crate::plan::space;
use crate::transfer::destination::{self, Place, View};
use crate::transfer::inspect::{self, Age, Route};
use crate::transfer::{Connection, Halt, Watch};
use crate::ui;

/// Looking at one host must not take longer.
const DEADLINE_S: u32 = 600;
/// A difference of the clocks below this is none, in seconds.
const CLOCK_MAX_S: f64 = 5.0;

const OF_THE_HOST: [&str; 3] = ["programs", "rsync", "clock"];
const OF_A_TARGET: [&str; 5] = ["path", "file system", "room", "lock", "writing"];

/// Tries a host and its targets.
pub(super) fn examine(
    context: &Context,
    findings: &mut Findings<'_>,
    host: &HostRecord,
    targets: &[Target],
) -> Result<()> {
    findings.begin(format!("host {}", host.host))?;
    if !host.is_on && !targets.is_empty() {
        let on = context.own_command(&["host", "add", host.host.as_str()]);
        findings.advise("switch", "off: `run` passes it over", vec![on])?;
    }
    let watch = Watch::new(context.stop.clone(), DEADLINE_S);
    let opened = if host.host.is_local() {
        Connection::open(&host.host, &context.setting, &watch)
    } else {
        let Some(route) = route(context, findings, host)? else {
            return nothing_else(findings, host, targets, "ssh cannot read its configuration");
        };
        let opened = Connection::open(&host.host, &context.setting, &watch);
        name(context, findings, &route, opened.is_ok())?;
        if let Err(halt) = opened {
            refused(context, findings, host, &route, halt)?;
            return nothing_else(findings, host, targets, "there is no connection");
        }
        findings.ok("connection", "made without a question, key and host known")?;
        opened
    };
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(halt) => {
            findings.fail("connection", said(halt)?.message, Vec::new())?;
            return nothing_else(findings, host, targets, "there is no connection");
        }
    };
    if host.host.is_local() {
        findings.ok("connection", "none is needed: it is this machine, without ssh")?;
    }
    if !programs(context, findings, host, &mut connection, &watch)? {
        let because = "programs are missing there";
        return each_not_tried(findings, host, targets, because);
    }
    for target in targets {
        examine_target(context, findings, target, &mut connection, &watch)?;
    }
    Ok(())
}

/// A halt as a fault with its message; a signal alone ends the whole command.
fn said(halt: Halt) -> Result<Met> {
    match halt {
        Halt::Fault(met) => Ok(met),
        Halt::Cut(why) => Ok(Met::new(Fault::HostUnreachable, why)),
        Halt::Signal(exit) => Err(crate::error::Error::new(exit, "stopped by a signal")),
        Halt::Error(error) => Ok(Met::new(Fault::HostUnreachable, error.to_string())),
    }
}

fn nothing_else(
    findings: &mut Findings<'_>,
    host: &HostRecord,
    targets: &[Target],
    because: &str,
) -> Result<()> {
    findings.not_tried(&OF_THE_HOST, because)?;
    each_not_tried(findings, host, targets, because)
}

fn each_not_tried(
    findings: &mut Findings<'_>,
    host: &HostRecord,
    targets: &[Target],
    because: &str,
) -> Result<()> {
    for target in targets {
        findings.begin(title(target))?;
        findings.not_tried(&OF_A_TARGET, &format!("{because} ({})", host.host))?;
    }
    Ok(())
}

fn title(target: &Target) -> String {
    format!("{} to {} at {}", target.group, target.host, target.path)
}

/// The way ssh would take; none where its configuration cannot be read.
fn route(context: &Context, findings: &mut Findings<'_>, host: &HostRecord) -> Result<Option<Route>> {
    match inspect::route(&host.host, &context.setting) {
        Ok(route) => Ok(Some(route)),
        Err(why) => {
            let show = format!("{} true", ssh(context, &host.host, &["-G"]));
            findings.fail("configuration", why, vec![show])?;
            Ok(None)
        }
    }
}

/// The name, as far as ssh looks it up on this machine.
fn name(context: &Context, findings: &mut Findings<'_>, route: &Route, is_connected: bool) -> Result<()> {
    if route.is_proxied {
        return findings.ok("name", format!("{}, looked up behind a proxy", route.name));
    }
    let patience = context.setting.limits.connect.max(Duration::from_secs(5));
    match inspect::addresses(&route.name, patience) {
        Ok(addresses) => {
            let shown: Vec<&str> = addresses.iter().take(3).map(String::as_str).collect();
            findings.ok("name", format!("{} is {}, port {}", route.name, shown.join(", "), route.port))
        }
        // ssh may know names that this static program cannot look up.
        Err(_) if is_connected => findings.ok("name", format!("{}, as ssh knows it", route.name)),
        Err(why) => findings.fail(
            "name",
            format!("{}: {why}", route.name),
            vec![format!("getent hosts {}", ui::shell_word(&route.name))],
        ),
    }
}

/// A command line of ssh, as one can paste it.
fn ssh(context: &Context, host: &Host, options: &[&str]) -> String {
    let config: Vec<&str> =
        context.setting.ssh_config.iter().flat_map(|path| ["-F", path.as_str()]).collect();
    let words = config.into_iter().chain(options.iter().copied()).chain(["--", host.as_str()]);
    words.fold("ssh".to_owned(), |command, word| format!("{command} {}", ui::shell_word(word)))
}

/// A command for the host's shell, as one can paste it here.
fn ssh_there(context: &Context, host: &Host, options: &[&str], there: &str) -> String {
    if host.is_local() {
        return there.to_owned();
    }
    format!("{} {}", ssh(context, host, options), ui::shell_word(there))
}

/// Why there is no connection, and what to type.
fn refused(
    context: &Context,
    findings: &mut Findings<'_>,
    host: &HostRecord,
    route: &Route,
    halt: Halt,
) -> Result<()> {
    let met = said(halt)?;
    let mend = match met.fault {
        Fault::HostKey => trust(context, host, route, &met.message),
        Fault::HostRefused => authenticate(context, host, route),
        Fault::HostTools => vec![ssh_there(context, &host.host, &["-T"], "true")],
        _ => vec![ssh_there(context, &host.host, &["-v", "-o", "BatchMode=yes"], "true")],
    };
    let found = match met.fault {
        Fault::HostTools => format!(
            "{}\nthis command must print nothing; what it prints comes from the login shell's start-up files there (.bashrc, .cshrc)",
            met.message
        ),
        Fault::HostKey => format!(
            "{}\nonce you are sure that it is the right host (its console shows the fingerprint), this trusts its key",
            met.message
        ),
        _ => met.message,
    };
    findings.fail("connection", format!("fault {}: {found}", met.fault), mend)
}

/// Takes the host's key, under the name that ssh looks it up by, into the file that ssh reads.
fn trust(context: &Context, host: &HostRecord, route: &Route, message: &str) -> Vec<String> {
    let forget = message.contains("HAS CHANGED").then(|| {
        format!("ssh-keygen -R {} -f {}", ui::shell_word(&route.key_name), ui::shell_word(&route.known_hosts))
    });
    let take = ssh_there(context, &host.host, &["-o", "StrictHostKeyChecking=accept-new"], "true");
    forget.into_iter().chain([take]).collect()
}

/// Gives the host a public key of this user, which must be made first where there is none.
fn authenticate(context: &Context, host: &HostRecord, route: &Route) -> Vec<String> {
    let home = context.surroundings.home.as_deref().unwrap_or("~");
    let default_key = format!("{home}/.ssh/id_ed25519");
    let known = route.identities.first();
    let key = known.unwrap_or(&default_key);
    let make = known.is_none().then(|| format!("ssh-keygen -t ed25519 -f {}", ui::shell_word(key)));
    let config = match &context.setting.ssh_config {
        Some(file) => format!(" -F {}", ui::shell_word(file)),
        None => String::new(),
    };
    let public = ui::shell_word(format!("{key}.pub"));
    let copy = format!("ssh-copy-id{config} -i {public} {}", ui::shell_word(host.host.as_str()));
    make.into_iter().chain([copy]).collect()
}

/// Programs, rsync and clock there; says whether a pass could go on.
fn programs(
    context: &Context,
    findings: &mut Findings<'_>,
    host: &HostRecord,
    connection: &mut Connection,
    watch: &Watch,
) -> Result<bool> {
    let there = match inspect::look_there(connection, &context.setting, watch) {
        Ok(there) => there,
        Err(halt) => {
            findings.fail(
                "programs",
                said(halt)?.message,
                vec![ssh_there(context, &host.host, &[], "true")],
            )?;
            findings.not_tried(&OF_THE_HOST[1..], "the connection does not answer")?;
            return Ok(false);
        }
    };
    let is_whole = there.missing.is_empty();
    if is_whole {
        findings.ok("programs", format!("all are there ({})", there.system))?;
    } else {
        let packages = packages(&there.missing);
        let install = ssh_there(context, &host.host, &["-t"], &format!("sudo apt-get install {packages}"));
        findings.fail("programs", format!("missing: {}", there.missing.join(", ")), vec![install])?;
    }
    let install = vec![ssh_there(context, &host.host, &["-t"], "sudo apt-get install rsync")];
    match there.rsync.age {
        _ if there.missing.iter().any(|missing| missing == "rsync") => {
            findings.not_tried(&["rsync"], "it is missing")?;
        }
        Age::TooOld => {
            findings.fail("rsync", format!("{}: older than 3.1", there.rsync.line), install)?;
        }
        Age::Old => findings.advise("rsync", here::old_rsync(&there.rsync.line), install)?,
        Age::Good => findings.ok("rsync", there.rsync.line)?,
        Age::Unknown => findings.advise("rsync", "it does not say which version it is", install)?,
    }
    clock(context, findings, host, connection, watch)?;
    Ok(is_whole && there.rsync.age != Age::TooOld)
}

fn packages(missing: &[String]) -> String {
    let mut packages: Vec<&str> = missing
        .iter()
        .map(|tool| match tool.as_str() {
            "rsync" => "rsync",
            "find" => "findutils",
            _ => "coreutils",
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages.join(" ")
}

fn clock(
    context: &Context,
    findings: &mut Findings<'_>,
    host: &HostRecord,
    connection: &mut Connection,
    watch: &Watch,
) -> Result<()> {
    match inspect::clock_there(connection, &context.setting, watch, context.clock) {
        Ok(Some(difference)) => {
            let way = if difference.ahead_s < 0.0 { "behind" } else { "ahead of" };
            let found = format!(
                "{:.2} s {way} this machine's, give or take {:.2} s (`date` there, between two looks here)",
                difference.ahead_s.abs(),
                difference.uncertain_s
            );
            if difference.ahead_s.abs() - difference.uncertain_s <= CLOCK_MAX_S {
                return findings.ok("clock", found);
            }
            let set = "sudo timedatectl set-ntp true";
            let mend = vec![set.to_owned(), ssh_there(context, &host.host, &["-t"], set)];
            findings.advise("clock", format!("{found}: set the one that is wrong by NTP"), mend)
        }
        Ok(None) => findings.advise("clock", "`date` there prints no time", Vec::new()),
        Err(halt) => findings.fail("clock", said(halt)?.message, Vec::new()),
    }
}

fn examine_target(
    context: &Context,
    findings: &mut Findings<'_>,
    target: &Target,
    connection: &mut Connection,
    watch: &Watch,
) -> Result<()> {
    findings.begin(title(target))?;
    let ledger_id = context.ledger.read(|ledger| ledger.ledger_id())?;
    let place = Place { path: &target.path, ledger_id: &ledger_id, name: None };
    let view = match destination::look(connection, place, &context.setting, watch) {
        Ok(view) => view,
        Err(halt) => {
            let met = said(halt)?;
            let mend = mend_path(context, target, &met);
            findings.fail("path", format!("fault {}: {}", met.fault, met.message), mend)?;
            return findings.not_tried(&OF_A_TARGET[1..], "the path is not as it should be");
        }
    };
    let leads =
        if view.at == target.path.as_str() { String::new() } else { format!(", which is {}", view.at) };
    findings.ok("path", format!("a folder{leads}"))?;
    file_system(context, findings, target, &view)?;
    room(context, findings, target, &view)?;
    let kept = match lock::keep_out(&context.state_dir, &target.host, &target.group) {
        Ok(kept) => kept,
        Err(error) => {
            findings.fail_by("lock", &error)?;
            return findings.not_tried(&["writing"], "the lock cannot be taken");
        }
    };
    match kept {
        Ok(kept) => {
            findings.ok("lock", "free")?;
            writing(context, findings, target, connection, (&view, place), watch)?;
            drop(kept);
        }
        Err(holder) => {
            findings.ok("lock", format!("a pass is under way: {holder}"))?;
            findings.not_tried(&["writing"], "a pass is writing there")?;
        }
    }
    Ok(())
}

fn mend_path(context: &Context, target: &Target, met: &Met) -> Vec<String> {
    let (options, command) = usable(target, met);
    vec![ssh_there(context, &target.host, options, &command)]
}

/// The command there that makes a target's path usable, or shows why it is not; with ssh's options for it.
/// Where the disk is known, it comes first: made below a disk that is away, a folder would take what is meant for it.
fn usable(target: &Target, met: &Met) -> (&'static [&'static str], String) {
    let path = ui::shell_word(target.path.as_str());
    let disk =
        target.file_system.as_ref().map(|known| known.mount_point.as_str()).filter(|disk| *disk != "/");
    let is_said = |what: &str| met.message.to_lowercase().contains(what);
    match (met.fault, disk.map(ui::shell_word)) {
        (Fault::PathMissing, Some(disk)) => {
            (&["-t"], format!("{{ mountpoint -q -- {disk} || sudo mount -- {disk}; }} && mkdir -p -- {path}"))
        }
        (Fault::PathMissing, None) => (&[], format!("mkdir -p -- {path}")),
        (Fault::PathDenied, Some(disk)) if is_said("read-only") => {
            (&["-t"], format!("sudo mount -o remount,rw -- {disk}"))
        }
        (Fault::PathDenied, _) if is_said("read-only") || is_said("quota") => {
            (&[], format!("findmnt --target {path}; quota"))
        }
        (Fault::PathDenied, _) => (&["-t"], format!("sudo chown \"$(id -un)\" -- {path}")),
        (fault, _) if fault.scope() == Scope::Host => (&[], "true".to_owned()),
        _ => (&[], format!("ls -ld -- {path}; df -h -- {path}")),
    }
}

/// Adding a target again changes it, and accepts what is there.
fn add_again(context: &Context, target: &Target, options: &[&str]) -> Vec<String> {
    let words = ["target", "add", target.group.as_str(), target.host.as_str(), target.path.as_str()];
    let is_dashed = target.group.as_str().starts_with('-');
    let mut typed = vec![words[0], words[1]];
    typed.extend(options);
    typed.extend(is_dashed.then_some("--"));
    typed.extend(&words[2..]);
    vec![context.own_command(&typed)]
}

fn file_system(context: &Context, findings: &mut Findings<'_>, target: &Target, view: &View) -> Result<()> {
    match &target.file_system {
        None => findings.ok("file system", format!("{}: the first pass remembers it", view.file_system)),
        Some(known) if known.is_same(&view.file_system) => {
            findings.ok("file system", view.file_system.to_string())
        }
        Some(known) => findings.fail(
            "file system",
            format!(
                "fault {}: it was {known}, and is {} now: is a disk not mounted? If it is meant, this accepts it",
                Fault::FilesystemChanged,
                view.file_system
            ),
            add_again(context, target, &[]),
        ),
    }
}

fn room(context: &Context, findings: &mut Findings<'_>, target: &Target, view: &View) -> Result<()> {
    let Room { free_bytes, used_percent, inodes, .. } = view.room;
    let inodes = inodes.map_or_else(String::new, |inodes| format!(", {} inodes", inodes.free));
    let found = format!(
        "{} free{inodes}; {used_percent} % used of at most {} %",
        ui::size(free_bytes),
        target.max_used_percent
    );
    if view.room.inodes.is_some_and(|inodes| inodes.total > 0 && inodes.free == 0) {
        let look = ssh_there(
            context,
            &target.host,
            &[],
            &format!("df -i -- {}", ui::shell_word(target.path.as_str())),
        );
        return findings.fail("room", format!("{found}: no inode is free; remove files there"), vec![look]);
    }
    match space::judge_limit(&view.room, target.max_used_percent) {
        Ok(()) => findings.ok("room", found),
        Err(met) => {
            let higher = used_percent.clamp(1, 100).to_string();
            findings.fail(
                "room",
                format!("fault {}: {found}; make room there, or raise the limit", met.fault),
                add_again(context, target, &["--max-used", &higher]),
            )
        }
    }
}

/// Makes the folder that staging folders are made in, as a pass would, and removes it.
fn writing(
    context: &Context,
    findings: &mut Findings<'_>,
    target: &Target,
    connection: &mut Connection,
    (view, place): (&View, Place<'_>),
    watch: &Watch,
) -> Result<()> {
    match inspect::try_staging(connection, view, place, &context.setting, watch) {
        Ok(()) => findings.ok("writing", "the staging folder was made, and removed again"),
        Err(halt) => {
            let met = said(halt)?;
            let mend = mend_path(context, target, &met);
            findings.fail("writing", format!("fault {}: {}", met.fault, met.message), mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AbsolutePath, FileSystem, Group};

    #[test]
    fn what_is_missing_names_its_packages_once() {
        let missing = ["mv", "rsync", "df", "find"].map(str::to_owned);
        assert_eq!(packages(&missing), "coreutils findutils rsync");
    }

    #[test]
    fn a_path_on_a_disk_that_is_known_is_mended_by_its_disk_first() {
        let path = AbsolutePath::parse("/data/d 1/ThreePi").unwrap();
        let (group, host) = (Group::parse("ThreePi").unwrap(), Host::parse("ipp0222").unwrap());
        let mut target = Target::new(group, host, path);
        let usable = |target: &Target, fault, message: &str| usable(target, &Met::new(fault, message)).1;
        let made = "mkdir -p -- '/data/d 1/ThreePi'";
        assert_eq!(usable(&target, Fault::PathMissing, "gone"), made);
        let disk = |mount_point: &str| FileSystem {
            mount_point: mount_point.to_owned(),
            source: "/dev/md0".to_owned(),
            kind: "xfs".to_owned(),
            id: "0".to_owned(),
        };
        target.file_system = Some(disk("/"));
        assert_eq!(usable(&target, Fault::PathMissing, "gone"), made);
        target.file_system = Some(disk("/data/d 1"));
        assert_eq!(
            usable(&target, Fault::PathMissing, "gone"),
            format!("{{ mountpoint -q -- '/data/d 1' || sudo mount -- '/data/d 1'; }} && {made}")
        );
        assert_eq!(
            usable(&target, Fault::PathDenied, "mkdir: cannot create: Read-only file system"),
            "sudo mount -o remount,rw -- '/data/d 1'"
        );
        assert!(usable(&target, Fault::PathDenied, "Permission denied").starts_with("sudo chown "));
        assert!(usable(&target, Fault::PathDenied, "Disk quota exceeded").ends_with("; quota"));
    }
}
