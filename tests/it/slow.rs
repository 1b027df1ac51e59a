//! Copies that can be met in the middle: slow ones, and gates that hold a real program until a test lets it go.
//!
//! Invariant: the programs are the real ones; a gate only delays them, and opens by itself when its world ends.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::Shape;
use xtask::processes::{self, Signal, wait_until};

use super::world::{Ran, World, eventually, finish};

/// 11 files, about 5 MB: with [`RATE`] it takes two seconds or so.
pub const SHAPE: Shape = Shape { regions: 2, files_per_region: 4, rows_per_file: 7_000 };
/// A `--bwlimit` that makes [`SHAPE`] slow.
pub const RATE: &str = "3000";

/// So much has arrived of [`SHAPE`] when it is met: the files at the top, and the first large one, among others.
pub const FIRST_BYTES: u64 = 1_800_000;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// Makes and imports `ThreePi.1` to `ThreePi.COUNT`, with a slow target to `host`, which is switched on.
#[track_caller]
pub fn prepare(world: &World, host: &str, count: u64) {
    let folders: Vec<_> = (1..=count).map(|id| world.make(&format!("ThreePi.{id}"), SHAPE)).collect();
    let rows: Vec<_> =
        (1..=count).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    set_rate(world, host, RATE);
    world.ok(&["host", "add", host]);
}

/// Adds the target again with another `--bwlimit`; "0" for none.
#[track_caller]
pub fn set_rate(world: &World, host: &str, rate: &str) {
    world.ok(&["target", "add", "ThreePi", host, world.there().as_str(), "--bwlimit", rate]);
}

/// An operator's pass for the group, now, at full speed.
#[track_caller]
pub fn copy_now(world: &World, host: &str) -> Ran {
    set_rate(world, host, "0");
    world.run(&["copy", "ThreePi", host, world.there().as_str()])
}

/// The staging folder of a minidvodb, while there is one.
pub fn staging(world: &World, name: &str) -> Option<Utf8PathBuf> {
    let top = world.there().join(".minidvodbcopy");
    let ledgers = top.read_dir_utf8().ok()?;
    ledgers.flatten().map(|ledger| ledger.path().join(name)).find(|folder| folder.is_dir())
}

/// The staging folder of a minidvodb, which must be there.
#[track_caller]
pub fn staged(world: &World, name: &str) -> Utf8PathBuf {
    staging(world, name).unwrap_or_else(|| panic!("{name} is not being staged"))
}

/// Bytes of all files in the staging folder of a minidvodb.
pub fn staged_bytes(world: &World, name: &str) -> u64 {
    let Some(folder) = staging(world, name) else { return 0 };
    // A file may get its final name while this looks.
    xtask::tree::list(&folder).map_or(0, |entries| entries.iter().map(|entry| entry.bytes).sum())
}

/// Bytes of those files in the staging folder of a minidvodb that have their own name, so are complete.
pub fn complete_bytes(world: &World, name: &str) -> u64 {
    let is_plain = |path: &std::path::Path| path.iter().all(|part| !part.to_string_lossy().starts_with('.'));
    let entries = xtask::tree::list(staged(world, name)).unwrap();
    entries.iter().filter(|entry| is_plain(&entry.path)).map(|entry| entry.bytes).sum()
}

/// Waits until at least `bytes` of a minidvodb have arrived in its staging folder.
#[track_caller]
pub fn until_staged(world: &World, name: &str, bytes: u64) {
    eventually("the copy is being sent", || staged_bytes(world, name) >= bytes);
}

/// Starts a pass and waits until it is in the middle of sending `ThreePi.1`.
#[track_caller]
pub fn start_and_meet(world: &World, arguments: &[&str]) -> Child {
    let pass = world.start(arguments);
    until_staged(world, "ThreePi.1", FIRST_BYTES);
    pass
}

/// The size of all files of a minidvodb's source.
pub fn source_bytes(world: &World, name: &str) -> u64 {
    xtask::tree::list(world.source(name)).unwrap().iter().map(|entry| entry.bytes).sum()
}

/// Fails unless nothing but these minidvodbs is at the destination, each equal to its source.
#[track_caller]
pub fn expect_only(world: &World, names: &[&str]) {
    for name in names {
        world.expect_arrived(name);
    }
    assert_eq!(world.names_there(), names, "nothing else is left there");
}

/// What `show` says of each attempt of a copy.
#[derive(Debug)]
pub struct Shown {
    /// Bytes, as precise as they are shown.
    pub sent_bytes: f64,
    /// "full", "interrupted while sending", ...
    pub outcome: String,
}

/// The attempts of a copy, as `show` prints them.
#[track_caller]
pub fn attempts(world: &World, id: u64) -> Vec<Shown> {
    let text = world.ok(&["show", &id.to_string()]).stdout;
    text.lines()
        .filter(|line| line.contains(" UTC  ") && line.contains(" sent  "))
        .map(|line| {
            let (rest, outcome) = line.split_once(" sent  ").unwrap();
            let (_, sent) = rest.rsplit_once(" s  ").unwrap();
            Shown { sent_bytes: parse_size(sent), outcome: outcome.to_owned() }
        })
        .collect()
}

#[track_caller]
fn parse_size(text: &str) -> f64 {
    let (number, unit) = text.trim().split_once(' ').unwrap();
    let factor = match unit {
        "B" => 1.0,
        "kiB" | "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        other => panic!("the unit {other} of {text}"),
    };
    number.parse::<f64>().unwrap() * factor
}

/// How each attempt of a copy ended.
#[track_caller]
pub fn outcomes(world: &World, id: u64) -> Vec<String> {
    attempts(world, id).into_iter().map(|attempt| attempt.outcome).collect()
}

/// The command line of a process, its words separated by blanks.
pub fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|&b| b == 0).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

/// The first descendant whose command line has `part`.
pub fn child_with(pass: &Child, part: &str) -> Option<u32> {
    processes::descendants(pass.id()).into_iter().find(|&pid| command_line(pid).contains(part))
}

/// The socket folder of a pass's ssh connection, by the command line of its guard.
pub fn socket_folder(pass: &Child) -> Option<Utf8PathBuf> {
    let guard = command_line(child_with(pass, "guard-process-group /tmp/mdvc")?);
    guard.split(' ').find(|word| word.starts_with("/tmp/mdvc")).map(Utf8PathBuf::from)
}

/// Sends a signal to a pass and waits for its end.
#[track_caller]
pub fn signal(pass: Child, signal: Signal) -> Ran {
    processes::signal(pass.id(), signal).unwrap();
    finish(pass)
}

/// SIGKILL for the pass alone; returns when it is gone, whatever its children do.
#[track_caller]
pub fn kill_alone(mut pass: Child) {
    pass.kill().unwrap();
    pass.wait().unwrap();
}

/// Fails unless all these processes, and whatever names this world's folder or socket, are gone within about a
/// second.
#[track_caller]
pub fn expect_gone(world: &World, pids: &[u32], socket: Option<&Utf8Path>) {
    let names_ours = |line: &str| {
        let is_tool = ["rsync ", "ssh ", "/proc/self/exe "].iter().any(|tool| line.starts_with(tool));
        let is_ours =
            line.contains(world.root.as_str()) || socket.is_some_and(|socket| line.contains(socket.as_str()));
        is_tool && is_ours
    };
    let alive = || -> Vec<String> {
        let by_name = all_processes().into_iter().filter(|&pid| names_ours(&command_line(pid)));
        let by_id = pids.iter().copied().filter(|&pid| processes::is_running(pid));
        by_id.chain(by_name).map(|pid| format!("{pid} {}", command_line(pid))).collect()
    };
    let are_gone = wait_until(Duration::from_secs(2), || alive().is_empty());
    assert!(are_gone, "still alive: {:#?}", alive());
}

fn all_processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Where a gate holds a program.
pub enum Hold {
    /// Before it does anything.
    Before,
    /// When it has done its work, before it says so.
    After,
}

/// A folder for a PATH, with a program that is held for as long as the gate is closed.
pub struct Gate {
    /// To be put first into a PATH.
    pub bin: Utf8PathBuf,
    folder: Utf8PathBuf,
}

impl Gate {
    /// A gate for `tool`, closed, for those calls whose arguments match a pattern of the shell.
    pub fn closed(world: &World, tool: &str, pattern: &str, hold: &Hold) -> Self {
        Self::around(world, tool, &real(tool), pattern, hold)
    }

    /// A gate for a stand-in of a tool.
    pub fn around(world: &World, tool: &str, real: &Utf8Path, pattern: &str, hold: &Hold) -> Self {
        const WAIT: &str = "echo >>\"$gate/reached\"\nwhile [ -e \"$gate/closed\" ]; do sleep 0.02; done";
        let folder = world.root.join(format!("gate.{tool}"));
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(folder.join("closed"), "").unwrap();
        let held = match hold {
            Hold::Before => format!("{WAIT}\nexec {real} \"$@\""),
            Hold::After => format!("{real} \"$@\"\nstatus=$?\n{WAIT}\nexit $status"),
        };
        let script = format!(
            "#!/bin/sh\ngate={folder}\ncase \" $* \" in\n{pattern})\n{held}\n;;\nesac\nexec {real} \"$@\"\n"
        );
        write_program(&bin.join(tool), &script);
        Self { bin, folder }
    }

    /// How many calls have reached the gate.
    pub fn reached(&self) -> usize {
        std::fs::read(self.folder.join("reached")).map_or(0, |lines| lines.len())
    }

    /// Waits until that many calls have reached it.
    #[track_caller]
    pub fn wait(&self, count: usize) {
        eventually("the gate is reached", || self.reached() >= count);
    }

    /// Lets all calls go, those that wait and those that come.
    pub fn open(&self) {
        std::fs::remove_file(self.folder.join("closed")).unwrap();
    }

    /// A PATH with this folder first.
    pub fn path(&self) -> String {
        format!("{}:{}", self.bin, std::env::var("PATH").unwrap())
    }
}

/// Writes a shell script that can be run.
pub fn write_program(path: &Utf8Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Copies a program. Another process does it: a program that is open for writing cannot be started, and what is open
/// here is open in every child that another test is just starting.
#[track_caller]
pub fn copy_program(from: &std::ffi::OsStr, to: &Utf8Path) {
    assert!(Command::new("cp").arg("--").arg(from).arg(to).status().unwrap().success());
}

/// The real program of a name, by the PATH of the test.
#[track_caller]
pub fn real(tool: &str) -> Utf8PathBuf {
    let path = std::env::var("PATH").unwrap();
    path.split(':')
        .map(|folder| Utf8Path::new(folder).join(tool))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{tool} is not installed"))
}

/// Lets every run of rsync on this side write down what really went over the wire, in `rsync.log`.
pub fn log_rsync(world: &mut World) {
    let bin = world.root.join("logging-bin");
    std::fs::create_dir(&bin).unwrap();
    let (log, real) = (world.root.join("rsync.log"), real("rsync"));
    write_program(
        &bin.join("rsync"),
        &format!(
            "#!/bin/sh\ncase $1 in --version) exec {real} \"$@\";; esac\nexec {real} --log-file={log} --log-file-format= \"$@\"\n"
        ),
    );
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    world.set("PATH", &path);
}

/// Bytes that each run of rsync, to its regular end, has sent.
pub fn wire_bytes(world: &World) -> Vec<u64> {
    let log = std::fs::read_to_string(world.root.join("rsync.log")).unwrap_or_default();
    // A run that was asked for statistics logs a line for each, any other one all in one line.
    let of_line = |line: &str| {
        let after = match line.split_once("Total bytes sent: ") {
            Some((_, after)) => after,
            None if line.contains("total size") => line.split_once("sent ")?.1.split_once(" bytes")?.0,
            None => return None,
        };
        after.trim().replace(',', "").parse().ok()
    };
    log.lines().filter_map(of_line).collect()
}

/// Gives everything in the world to a user without privileges, where the test itself has them.
pub fn give_away(world: &World) {
    if !is_root() {
        return;
    }
    std::fs::set_permissions(&world.root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let all = xtask::tree::list(&world.root).unwrap();
    for path in
        all.iter().map(|entry| world.root.as_std_path().join(&entry.path)).chain([world.root.clone().into()])
    {
        std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Runs the binary as a user without privileges.
#[track_caller]
pub fn run_unprivileged(world: &World, arguments: &[&str]) -> Ran {
    finish(unprivileged(world, world.command(arguments)).spawn().unwrap())
}

/// The same command for a user without privileges.
pub fn unprivileged(world: &World, like: Command) -> Command {
    if !is_root() {
        return like;
    }
    use std::os::unix::process::CommandExt as _;
    // Where the binary was built, that user may have no business.
    let program = world.root.join("minidvodbcopy");
    if !program.exists() {
        // By a child: a file that is open for writing here could be held so by a child of another test.
        let copied = Command::new("cp").arg(like.get_program()).arg(&program).status().unwrap();
        assert!(copied.success());
    }
    let mut command = Command::new(program);
    command.args(like.get_args()).env_clear().current_dir(&world.root);
    command.envs(like.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// Whether the tests run with privileges that their users may not have.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
