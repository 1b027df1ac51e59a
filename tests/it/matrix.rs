//! Every fault of the table at every step of a copy at which it can happen, each made for real.
//!
//! Invariant: README's matrix is what [`ROWS`] says, and each of its cells is made here, is proved by the test that
//! it names, or cannot happen and says why.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::{self, Shape};
use xtask::processes::{self, Signal};

use super::hosts::host_fault;
use super::mounts::{Mount, is_root};
use super::slow::{self, Gate, Hold};
use super::space::target_fault;
use super::world::{Ran, World, finish};

/// Where a copy is when the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Before the pass begins.
    Before,
    /// Connected, looking at the destination; the source has been read.
    Start,
    /// A third has been sent.
    Sending,
    /// All has been sent, nothing compared yet.
    Verifying,
    /// At the rename: just before it, or just after it, before anybody knows.
    Renaming,
    /// It has its name, on the disk; the ledger does not know.
    Recording,
}

const STEPS: [Step; 6] =
    [Step::Before, Step::Start, Step::Sending, Step::Verifying, Step::Renaming, Step::Recording];

/// What becomes of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    Faulted(i16),
    Interrupted,
    Full,
}

/// A cell of the matrix.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// Made here.
    Made(Becomes),
    /// Made by the test of that name, with that fault.
    Proved(i16, &'static str),
    /// It cannot happen; the reason.
    Never(&'static str),
}

use Becomes::{Faulted, Full, Interrupted};
use Cell::{Made, Never, Proved};

/// A fault of the table, made in one way.
struct Row {
    code: i16,
    /// How it is made, in a few words.
    cause: &'static str,
    kind: Kind,
    make: fn(&mut Site, Step),
    mend: fn(&mut Site),
    cells: [Cell; 6],
}

/// What a row's destination is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A host behind ssh.
    Host,
    /// The same; the rename is held when it has been done, before anybody knows.
    HostRenamed,
    /// The same, reached as a user who owns nothing there; root only.
    PoorUser,
    /// The same, with a small file system of its own at the target's path; root only.
    SmallDisk,
    /// A host whose file systems are exchanged; root only.
    Disks,
    /// This machine, for a user without privileges.
    Unprivileged,
    /// A host behind ssh, and what is held is never let go.
    Hangs,
}

const README: &str = include_str!("../../README.md");
const HOST: &str = "ipp0222";
const NAME: &str = "ThreePi.1";
/// So much has arrived when a copy is met in its middle: the files at the top are complete.
const BEGUN_BYTES: u64 = 1_000_000;
const AUDIT_TEST: &str = "matrix::the_faults_of_an_audit_stay_with_a_full_copy_until_it_is_sent_again";
const NOBODY: u32 = 65_534;
const DEADLINE_S: &str = "10";
const LOGGED_IN: &str = "whoever is logged in stays so";
const RECORDED: &str = "it has its name, by this ledger";
const PROVED_BEFORE: &str = "it was equal when it was compared; what comes later is an audit's";

const ROWS: &[Row] = &[
    Row {
        code: 201,
        cause: "source removed",
        kind: Kind::Host,
        make: |site, _| site.take_away(&site.source()),
        mend: |site| site.put_back(&site.source()),
        cells: [
            Made(Faulted(201)),
            Made(Faulted(201)),
            Made(Faulted(201)),
            Made(Faulted(201)),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 202,
        cause: "a file's mode 000",
        kind: Kind::Unprivileged,
        make: |site, _| set_mode(&site.source().join("s0000/0148.cpt"), 0o000),
        mend: |site| set_mode(&site.source().join("s0000/0148.cpt"), 0o644),
        cells: [
            Made(Faulted(202)),
            Made(Faulted(202)),
            Made(Faulted(202)),
            Made(Faulted(203)),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 203,
        cause: "source updated",
        kind: Kind::Host,
        make: |site, _| drop(dvo::update(&site.source(), 7).unwrap()),
        mend: |_| {},
        cells: [
            Never("then it is the source"),
            Made(Faulted(203)),
            Made(Faulted(203)),
            Made(Faulted(203)),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 204,
        cause: "source leads outside the roots",
        kind: Kind::Host,
        make: |site, _| {
            site.world.ok(&["source", "add", site.world.root.join("source").as_str()]);
            let outside = site.world.root.join("outside");
            fs::rename(site.source(), &outside).unwrap();
            std::os::unix::fs::symlink(outside, site.source()).unwrap();
        },
        mend: |site| {
            fs::remove_file(site.source()).unwrap();
            fs::rename(site.world.root.join("outside"), site.source()).unwrap();
        },
        cells: [
            Made(Faulted(204)),
            Made(Faulted(203)),
            Made(Faulted(203)),
            Made(Faulted(203)),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 211,
        cause: "sshd stopped, sessions killed",
        kind: Kind::HostRenamed,
        make: |site, _| {
            site.world.sshd().stop();
            site.world.sshd().kill_sessions();
        },
        mend: Site::restart,
        cells: [
            Made(Faulted(211)),
            Made(Faulted(211)),
            Made(Faulted(211)),
            Made(Faulted(211)),
            Made(Faulted(211)),
            Made(Full),
        ],
    },
    Row {
        code: 212,
        cause: "key revoked",
        kind: Kind::Host,
        make: |site, _| site.world.sshd().revoke_key().unwrap(),
        mend: |site| site.world.sshd().restore_key().unwrap(),
        cells: [
            Made(Faulted(212)),
            Made(Full),
            Made(Full),
            Never(LOGGED_IN),
            Never(LOGGED_IN),
            Never(LOGGED_IN),
        ],
    },
    Row {
        code: 213,
        cause: "the host's key forgotten",
        kind: Kind::Host,
        make: |site, _| site.world.sshd().forget_host_key().unwrap(),
        mend: |site| site.world.sshd().trust_host_key().unwrap(),
        cells: [
            Made(Faulted(213)),
            Made(Full),
            Made(Full),
            Never(LOGGED_IN),
            Never(LOGGED_IN),
            Never(LOGGED_IN),
        ],
    },
    Row {
        code: 214,
        cause: "a program removed there",
        kind: Kind::HostRenamed,
        make: |site, step| {
            let tool = match step {
                Step::Before | Step::Start => "rsync",
                Step::Sending | Step::Verifying => "mv",
                Step::Renaming | Step::Recording => "sync",
            };
            fs::remove_file(site.tools.join(tool)).unwrap();
        },
        mend: |site| {
            for tool in ["rsync", "mv", "sync"] {
                let _ = std::os::unix::fs::symlink(slow::real(tool), site.tools.join(tool));
            }
        },
        cells: [
            Made(Faulted(214)),
            Made(Faulted(214)),
            Made(Faulted(214)),
            Made(Faulted(214)),
            Made(Faulted(214)),
            Never("only tidying is left to do there"),
        ],
    },
    Row {
        code: 221,
        cause: "path renamed",
        kind: Kind::Host,
        make: |site, _| site.take_away(&site.world.there()),
        mend: |site| site.put_back(&site.world.there()),
        cells: [
            Made(Faulted(221)),
            Made(Faulted(221)),
            Made(Faulted(221)),
            Made(Faulted(221)),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 222,
        cause: "path's write permission taken",
        kind: Kind::PoorUser,
        make: |site, step| {
            let folder =
                if step == Step::Sending { slow::staged(&site.world, NAME) } else { site.world.there() };
            set_modes(&folder, 0o555, step == Step::Sending);
        },
        mend: |site| {
            set_modes(&site.world.there(), 0o755, false);
            if let Some(staged) = slow::staging(&site.world, NAME) {
                set_modes(&staged, 0o755, true);
            }
        },
        cells: [
            Made(Faulted(222)),
            Made(Faulted(222)),
            Made(Faulted(222)),
            Made(Faulted(222)),
            Made(Faulted(222)),
            Made(Full),
        ],
    },
    Row {
        code: 223,
        cause: "disk filled to 99 %",
        kind: Kind::SmallDisk,
        make: |site, _| site.disk().fill_to(1014),
        mend: |site| site.disk().empty(),
        cells: [
            Proved(223, "space::ninety_seven_percent_used_passes_and_ninety_eight_waits_for_room"),
            Made(Faulted(223)),
            Never("the limit is judged before sending; what has no room then is 224"),
            Never("the limit is judged before sending"),
            Never("the limit is judged before sending"),
            Never("the limit is judged before sending"),
        ],
    },
    Row {
        code: 224,
        cause: "disk filled",
        kind: Kind::SmallDisk,
        make: |site, step| if step == Step::Start { site.disk().fill_to(990) } else { site.disk().fill_up() },
        mend: |site| site.disk().empty(),
        cells: [
            Proved(224, "space::what_has_no_room_says_the_numbers_and_waits_for_room"),
            Made(Faulted(224)),
            Made(Faulted(224)),
            Made(Full),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 225,
        cause: "a folder put at PATH/NAME",
        kind: Kind::Host,
        make: |site, _| {
            fs::create_dir(site.world.there().join(NAME)).unwrap();
            fs::write(site.world.there().join(NAME).join("precious"), "x").unwrap();
        },
        mend: |site| {
            let taken = site.world.there().join(NAME);
            assert_eq!(super::world::names_in(&taken), ["precious"], "it is left as it is");
            fs::remove_dir_all(taken).unwrap();
        },
        cells: [
            Made(Faulted(225)),
            Made(Faulted(225)),
            Made(Faulted(225)),
            Made(Faulted(225)),
            Made(Faulted(225)),
            Never(RECORDED),
        ],
    },
    Row {
        code: 226,
        cause: "two of one final path",
        kind: Kind::Host,
        make: |_, _| {},
        mend: |_| {},
        cells: [
            Proved(
                226,
                "verify::of_two_minidvodbs_with_one_final_name_the_first_arrives_and_the_second_is_a_fault",
            ),
            Never("the ledger gives the name away before the host is asked"),
            Never("the name is claimed"),
            Never("the name is claimed"),
            Never("the name is claimed"),
            Never("the name is claimed"),
        ],
    },
    Row {
        code: 227,
        cause: "another disk mounted over the path",
        kind: Kind::Disks,
        make: |site, _| site.mount = Some(Mount::tmpfs(&site.world.there(), "size=16m")),
        mend: |site| site.mount.take().unwrap().unmount(),
        cells: [
            Proved(227, "space::another_disk_at_the_path_is_not_written_to"),
            Made(Faulted(227)),
            Made(Faulted(227)),
            Made(Faulted(227)),
            Made(Full),
            Made(Full),
        ],
    },
    Row {
        code: 231,
        cause: "a byte changed in staging",
        kind: Kind::Host,
        make: |site, _| dvo::flip_byte(&slow::staged(&site.world, NAME).join("Images.dat")).unwrap(),
        mend: |_| {},
        cells: [
            Proved(231, "verify::a_byte_that_is_not_what_was_sent_is_found_never_published_and_healed"),
            Never("nothing is staged"),
            Made(Faulted(231)),
            Made(Faulted(231)),
            Never(PROVED_BEFORE),
            Never(PROVED_BEFORE),
        ],
    },
    Row {
        code: 241,
        cause: "held until the deadline",
        kind: Kind::Hangs,
        make: |_, _| {},
        mend: |site| site.set_target(&["--deadline", "1000"]),
        cells: [
            Never("the attempt has not begun"),
            Made(Faulted(241)),
            Made(Faulted(241)),
            Made(Faulted(241)),
            Made(Faulted(241)),
            Made(Full),
        ],
    },
    Row {
        code: 242,
        cause: "far end frozen",
        kind: Kind::Host,
        make: |site, _| assert!(site.world.sshd().freeze_sessions().unwrap() > 0),
        mend: |site| {
            site.world.sshd().thaw_sessions().unwrap();
            site.world.set("MINIDVODBCOPY_STALL_SECONDS", "600");
            site.world.set("MINIDVODBCOPY_ANSWER_SECONDS", "60");
        },
        cells: [
            Proved(211, "hosts::a_host_that_logs_in_and_then_hangs_is_given_up"),
            Made(Faulted(211)),
            Made(Faulted(242)),
            Made(Faulted(211)),
            Made(Faulted(211)),
            Made(Full),
        ],
    },
    Row {
        code: 12,
        cause: "rsync there dies",
        kind: Kind::Host,
        make: |site, step| {
            if step == Step::Sending {
                let sessions = site.world.sshd().sessions();
                for pid in
                    sessions.into_iter().filter(|&pid| slow::command_line(pid).contains("rsync --server"))
                {
                    processes::signal(pid, Signal::KILL).unwrap();
                }
            } else {
                site.replace_rsync(12);
            }
        },
        mend: |site| site.restore_rsync(),
        cells: [
            Never("it has not been started"),
            Made(Interrupted),
            Made(Interrupted),
            Made(Interrupted),
            Never("rsync is not needed any more"),
            Never("rsync is not needed any more"),
        ],
    },
    Row {
        code: 251,
        cause: "a file of the copy removed",
        kind: Kind::Host,
        make: |_, _| {},
        mend: |_| {},
        cells: audited(251),
    },
    Row {
        code: 252,
        cause: "a byte of the copy changed",
        kind: Kind::Host,
        make: |_, _| {},
        mend: |_| {},
        cells: audited(252),
    },
];

/// The faults of an audit, which meets them when the copy is full.
const fn audited(code: i16) -> [Cell; 6] {
    const LATER: Cell = Never("an audit meets it, of a full copy that no pass touches");
    [Proved(code, AUDIT_TEST), LATER, LATER, LATER, LATER, LATER]
}

/// A world in which one cell is made.
struct Site {
    kind: Kind,
    world: World,
    /// The programs that the destination finds, behind the gate.
    tools: Utf8PathBuf,
    gate: Option<Gate>,
    mount: Option<Mount>,
    server_lines: Vec<String>,
}

impl Site {
    fn new(row: &Row, step: Step) -> Self {
        let kind = row.kind;
        let world = if kind == Kind::Unprivileged { World::new() } else { World::with_sshd() };
        fs::set_permissions(&world.root, fs::Permissions::from_mode(0o755)).unwrap();
        let tools = make_tools(&world);
        let mut site = Self { kind, world, tools, gate: None, mount: None, server_lines: Vec::new() };
        let shape = if step == Step::Sending { slow::SHAPE } else { Shape::tiny() };
        let first = site.world.make(NAME, shape);
        let second = site.world.make("ThreePi.2", Shape::tiny());
        site.world.import(&[(1, "ThreePi", &first), (2, "ThreePi", &second)]);
        let kept = site.world.root.join("as it was");
        assert!(Command::new("cp").args(["-a", first.as_str(), kept.as_str()]).status().unwrap().success());
        if kind == Kind::SmallDisk {
            let size = if step == Step::Sending { "size=16m" } else { "size=4m" };
            site.mount = Some(Mount::tmpfs(&site.world.there(), size));
        }
        if row.code == 242 {
            site.world.set("MINIDVODBCOPY_STALL_SECONDS", "6");
            site.world.set("MINIDVODBCOPY_ANSWER_SECONDS", "6");
        }
        let host = site.host();
        site.set_target(&["--bwlimit", if step == Step::Sending { slow::RATE } else { "0" }]);
        if row.code == 241 {
            site.set_target(&["--deadline", DEADLINE_S]);
        }
        site.world.ok(&["host", "add", host]);
        site.close_gate(step);
        if kind == Kind::PoorUser {
            std::os::unix::fs::chown(site.world.there(), Some(NOBODY), Some(NOBODY)).unwrap();
            site.server_lines.push(format!(
                r#"ForceCommand exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups /bin/sh -c "$SSH_ORIGINAL_COMMAND""#
            ));
        }
        if kind == Kind::Unprivileged {
            slow::give_away(&site.world);
        } else {
            // At the comparison it is rsync on this side that is held.
            let gate = site.gate.as_ref().filter(|_| step != Step::Verifying);
            let gate = gate.map_or(String::new(), |gate| format!("{}:", gate.bin));
            site.server_lines.push(format!("SetEnv \"PATH={gate}{}\"", site.tools));
            site.restart();
        }
        site
    }

    /// Something that the copy calls at that step, here or there, is held.
    fn close_gate(&mut self, step: Step) {
        let at_rename = if self.kind == Kind::HostRenamed { Hold::After } else { Hold::Before };
        let (tool, pattern, hold) = match step {
            Step::Before | Step::Sending => return,
            Step::Start => ("df", "*' -Pk '*", Hold::Before),
            Step::Verifying => ("rsync", "*' -n '*", Hold::Before),
            Step::Renaming => ("mv", "*' -nT '*", at_rename),
            Step::Recording => ("rmdir", "*", Hold::Before),
        };
        let gate = Gate::closed(&self.world, tool, pattern, &hold);
        if self.kind == Kind::PoorUser {
            // The poor user says so too that it has come.
            let folder = gate.bin.parent().unwrap();
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        self.gate = Some(gate);
    }

    fn host(&self) -> &'static str {
        if self.kind == Kind::Unprivileged { "localhost" } else { HOST }
    }

    fn source(&self) -> Utf8PathBuf {
        self.world.source(NAME)
    }

    fn disk(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    fn set_target(&self, settings: &[&str]) {
        let there = self.world.there();
        self.world.ok(&[&["target", "add", "ThreePi", self.host(), there.as_str()], settings].concat());
    }

    fn restart(&mut self) {
        let lines: Vec<&str> = self.server_lines.iter().map(String::as_str).collect();
        self.world.sshd.as_mut().unwrap().restart_with(&lines).unwrap();
    }

    fn take_away(&self, path: &Utf8Path) {
        fs::rename(path, self.world.root.join("away")).unwrap();
    }

    fn put_back(&self, path: &Utf8Path) {
        fs::rename(self.world.root.join("away"), path).unwrap();
    }

    /// From now on rsync at the destination ends at once, with that code.
    fn replace_rsync(&self, code: u8) {
        let rsync = self.tools.join("rsync");
        let _ = fs::remove_file(&rsync);
        let real = slow::real("rsync");
        slow::write_program(
            &rsync,
            &format!("#!/bin/sh\ncase $1 in --server) exit {code};; esac\nexec {real} \"$@\"\n"),
        );
    }

    fn restore_rsync(&self) {
        let rsync = self.tools.join("rsync");
        let _ = fs::remove_file(&rsync);
        std::os::unix::fs::symlink(slow::real("rsync"), rsync).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let command = self.world.command(arguments);
        if self.kind == Kind::Unprivileged { slow::unprivileged(&self.world, command) } else { command }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments).spawn().unwrap())
    }

    /// Starts a pass for the first copy, does something at that step, and waits for its end.
    fn pass_with(&mut self, step: Step, act: impl FnOnce(&mut Self)) -> Ran {
        let arguments = ["run", "--limit", "1"];
        if step == Step::Before {
            act(self);
            return self.run(&arguments);
        }
        let hangs = self.kind == Kind::Hangs;
        if step == Step::Sending {
            let pass = self.command(&arguments).spawn().unwrap();
            slow::until_staged(&self.world, NAME, BEGUN_BYTES);
            let sender = sender(&pass);
            processes::signal(sender, Signal::STOP).unwrap();
            act(self);
            if !hangs {
                // It may be gone, for what was done to it.
                let _ = processes::signal(sender, Signal::CONT);
            }
            return finish(pass);
        }
        let is_here = step == Step::Verifying || self.kind == Kind::Unprivileged;
        let gate = self.gate.as_ref().unwrap();
        let mut command = self.command(&arguments);
        if is_here {
            command.env("PATH", gate.path());
        }
        let pass = command.spawn().unwrap();
        gate.wait(1);
        act(self);
        let gate = self.gate.as_ref().unwrap();
        if hangs {
            let ran = finish(pass);
            gate.open();
            return ran;
        }
        gate.open();
        finish(pass)
    }

    /// Where the target's folder is now.
    fn there(&self) -> Utf8PathBuf {
        let away = self.world.root.join("away");
        if self.world.there().exists() { self.world.there() } else { away }
    }
}

/// A folder with what a destination needs, and no more.
fn make_tools(world: &World) -> Utf8PathBuf {
    const TOOLS: [&str; 22] = [
        "rsync", "mv", "sync", "df", "stat", "find", "mkdir", "rmdir", "rm", "sh", "bash", "sleep", "touch",
        "mktemp", "chmod", "head", "grep", "cat", "kill", "env", "setpriv", "id",
    ];
    let folder = world.root.join("tools");
    fs::create_dir(&folder).unwrap();
    for tool in TOOLS {
        std::os::unix::fs::symlink(slow::real(tool), folder.join(tool)).unwrap();
    }
    folder
}

fn sender(pass: &Child) -> u32 {
    slow::child_with(pass, "--partial-dir").unwrap()
}

fn set_mode(path: &Utf8Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The mode of a folder, and of those in it.
fn set_modes(folder: &Utf8Path, mode: u32, with_those_below: bool) {
    set_mode(folder, mode);
    if with_those_below {
        for entry in xtask::tree::list(folder).unwrap() {
            let path = Utf8PathBuf::try_from(entry.path).unwrap();
            if folder.join(&path).is_dir() {
                set_mode(&folder.join(path), mode);
            }
        }
    }
}

/// Class, and what it is of, as README's table of faults has them; foreign codes are a copy's, for a person.
fn fault(code: i16) -> (&'static str, &'static str) {
    let own = own_faults().find(|(own, ..)| *own == code);
    own.map_or(("person", "copy"), |(_, class, scope)| (class, scope))
}

/// The rows of README's table of faults, which has a test of its own.
fn own_faults() -> impl Iterator<Item = (i16, &'static str, &'static str)> {
    README.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [code, _, class, scope, _] = fields[..] else { return None };
        Some((code.strip_prefix("| ")?.parse().ok()?, class, scope))
    })
}

/// Makes one cell, and looks at everything that is promised.
fn make_cell(row: &Row, step: Step, becomes: Becomes) {
    let mut site = Site::new(row, step);
    let ran = site.pass_with(step, |site| (row.make)(site, step));
    let standing = site.world.standing(1);
    let told = format!("{standing}\n{}{}", ran.stdout, ran.stderr);
    let (state, exit) = match becomes {
        Faulted(code) => (format!("new {code}"), 1),
        Interrupted => ("new 0".to_owned(), 0),
        Full => ("full 0".to_owned(), 0),
    };
    assert_eq!(standing, state, "{told}");
    assert_eq!(ran.code, exit, "{told}");
    expect_recorded(&site, becomes);
    expect_destination(row, &site, becomes);
    assert_eq!(site.run(&["ledger", "check"]).code, 0);
    // The cause goes away.
    (row.mend)(&mut site);
    if matches!(becomes, Faulted(_)) && step >= Step::Sending && row.kind != Kind::Unprivileged {
        let has_name = site.world.there().join(NAME).exists();
        assert!(has_name || slow::staging(&site.world, NAME).is_some(), "what was sent is kept");
    }
    expect_healed(&site, becomes);
}

/// What the ledger says of the copy, of its host and target, and of the one behind it.
#[track_caller]
fn expect_recorded(site: &Site, becomes: Becomes) {
    let (first, second) = (site.world.copy(1), site.world.copy(2));
    assert_eq!(
        (second["state"].as_str(), &second["fault"], &second["attempts"]),
        (Some("new"), &0.into(), &0.into())
    );
    let target = target_fault(&site.world, "ThreePi")["fault"].clone();
    let host = if site.kind == Kind::Unprivileged { 0.into() } else { host_fault(&site.world) };
    let Faulted(code) = becomes else {
        assert_eq!((host, target), (0.into(), 0.into()));
        return;
    };
    let (class, scope) = fault(code);
    assert_eq!(first["fault_class"], class);
    let of = |its: &str| if scope == its { code } else { 0 };
    assert_eq!((host, target), (of("host").into(), of("target").into()), "the fault that stands");
    assert_eq!(first["attempts"], of("copy").min(1), "only the copy's own faults are counted");
}

/// Whatever has the final name is whole, or is not ours.
#[track_caller]
fn expect_destination(row: &Row, site: &Site, becomes: Becomes) {
    if row.code == 225 || row.code == 227 {
        return;
    }
    let published = site.there().join(NAME);
    if becomes == Full || published.exists() {
        let was = site.world.root.join("as it was");
        assert_eq!(xtask::tree::differences(was, published).unwrap(), Vec::<String>::new());
    }
}

/// With the cause gone, and cleared where it waits for a person, both copies become full and nothing is left.
#[track_caller]
fn expect_healed(site: &Site, becomes: Becomes) {
    if let Some(sshd) = &site.world.sshd {
        assert!(sshd.wait_until_idle(Duration::from_secs(30)), "the far end rests");
    }
    let there = site.world.there();
    let was_full = becomes == Full;
    if let Faulted(code) = becomes
        && let (class, "copy") = fault(code)
        && class != "retry"
    {
        assert_eq!(site.run(&["revert", "--id", "1"]).code, 0);
    }
    site.set_target(&["--bwlimit", "0"]);
    let ran = site.run(&["copy", "ThreePi", site.host(), there.as_str()]);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(
        (site.world.standing(1).as_str(), site.world.standing(2).as_str()),
        ("full 0", "full 0"),
        "{told}"
    );
    assert_eq!(ran.code, 0, "{told}");
    let wanted = if was_full { site.world.root.join("as it was") } else { site.source() };
    assert_eq!(xtask::tree::differences(wanted, there.join(NAME)).unwrap(), Vec::<String>::new());
    site.world.expect_arrived("ThreePi.2");
    assert_eq!(site.world.names_there(), [NAME, "ThreePi.2"], "nothing else is left there");
    assert_eq!(target_fault(&site.world, "ThreePi")["fault"], 0);
    assert_eq!(site.run(&["ledger", "check"]).code, 0);
}

fn needs_root(kind: Kind) -> bool {
    matches!(kind, Kind::PoorUser | Kind::SmallDisk | Kind::Disks)
}

/// Makes every cell of a row that is made here; says of all of them what is wrong.
#[track_caller]
fn make_row(code: i16) {
    let row = ROWS.iter().find(|row| row.code == code).unwrap();
    if needs_root(row.kind) && !is_root() {
        return;
    }
    let mut wrong = Vec::new();
    for (step, cell) in STEPS.into_iter().zip(row.cells) {
        let Made(becomes) = cell else { continue };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| make_cell(row, step, becomes))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            wrong.push(format!("{step:?}, {becomes:?}: {}", text.unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{code}: {}", wrong.join("\n"));
}

#[test]
fn a_source_that_is_missing_is_met_at_every_step() {
    make_row(201);
}

#[test]
fn a_source_that_cannot_be_read_is_met_at_every_step() {
    make_row(202);
}

#[test]
fn a_source_that_changes_is_met_at_every_step() {
    make_row(203);
}

#[test]
fn a_source_that_leads_outside_is_met_at_every_step() {
    make_row(204);
}

#[test]
fn a_host_that_goes_away_is_met_at_every_step() {
    make_row(211);
}

#[test]
fn a_host_that_refuses_the_key_is_met_at_every_step() {
    make_row(212);
}

#[test]
fn a_host_whose_key_is_unknown_is_met_at_every_step() {
    make_row(213);
}

#[test]
fn a_program_that_goes_missing_there_is_met_at_every_step() {
    make_row(214);
}

#[test]
fn a_path_that_goes_missing_is_met_at_every_step() {
    make_row(221);
}

#[test]
fn a_path_that_cannot_be_written_any_more_is_met_at_every_step() {
    make_row(222);
}

#[test]
fn a_disk_over_its_limit_is_met_at_every_step() {
    make_row(223);
}

#[test]
fn a_disk_that_fills_up_is_met_at_every_step() {
    make_row(224);
}

#[test]
fn something_that_takes_the_final_name_is_met_at_every_step() {
    make_row(225);
}

#[test]
fn another_disk_at_the_path_is_met_at_every_step() {
    make_row(227);
}

#[test]
fn damage_in_staging_is_met_at_every_step() {
    make_row(231);
}

#[test]
fn a_deadline_is_met_at_every_step() {
    make_row(241);
}

#[test]
fn a_far_end_that_freezes_is_met_at_every_step() {
    make_row(242);
}

#[test]
fn an_rsync_that_dies_there_is_met_at_every_step() {
    make_row(12);
}

#[test]
fn the_faults_of_an_audit_stay_with_a_full_copy_until_it_is_sent_again() {
    type Damage = fn(&Utf8Path);
    let damages: [(&str, Damage); 2] = [
        ("251", |top| fs::remove_file(top.join("Photcodes.dat")).unwrap()),
        ("252", |top| dvo::flip_byte(&top.join("Images.dat")).unwrap()),
    ];
    for (code, damage) in damages {
        let world = World::new();
        world.prepare("localhost", 1);
        world.ok(&["run"]).is_silent();
        damage(&world.there().join(NAME));
        world.run(&["audit", "--checksum"]).expect(1).says(&format!("fault {code}"));
        assert_eq!(world.standing(1), format!("full {code}"));
        world.ok(&["run"]).is_silent();
        world.ok(&["revert", "--id", "1"]);
        assert_eq!(world.standing(1), format!("full {code}"), "it is left to recopy");
        world.ok(&["ledger", "check"]);
        world.ok(&["recopy", "1"]);
        world.expect_arrived(NAME);
        assert_eq!(world.standing(1), "full 0");
        world.ok(&["audit", "--checksum"]).is_silent();
        slow::expect_only(&world, &[NAME]);
    }
}

/// The words of a cell in README.
fn word(row: &Row, cell: Cell) -> String {
    let met = |code: i16| match fault(code) {
        _ if code != row.code => code.to_string(),
        (class, "copy") => class.to_owned(),
        (_, scope) => scope.to_owned(),
    };
    match cell {
        Made(Faulted(code)) | Proved(code, _) => met(code),
        Made(Interrupted) => "cut off".to_owned(),
        Made(Full) => "full".to_owned(),
        Never(_) => "-".to_owned(),
    }
}

/// The matrix, and why some of its cells cannot happen.
fn render() -> String {
    let mut text = "| fault | made by | before | start | sending | verifying | rename | recording |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut reasons = Vec::new();
    for row in ROWS {
        let words: Vec<String> = row.cells.iter().map(|&cell| word(row, cell)).collect();
        text.push_str(&format!("| {} | {} | {} |\n", row.code, row.cause, words.join(" | ")));
        let mut said = BTreeSet::new();
        for cell in row.cells {
            if let Never(reason) = cell
                && said.insert(reason)
            {
                reasons.push(format!("{} {reason}", row.code));
            }
        }
    }
    text.push_str("\nWhere `-` stands it cannot happen:\n\n");
    for reason in reasons {
        let (code, reason) = reason.split_once(' ').unwrap();
        text.push_str(&format!("- {code}: {reason}\n"));
    }
    text
}

const BEGIN: &str = "<!-- matrix of faults: written by the tests, UPDATE_EXPECT=1 -->\n";
const END: &str = "<!-- end of the matrix -->\n";

#[test]
fn the_matrix_in_readme_is_the_one_that_is_tested() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (matrix, after) = rest.split_once(END).unwrap();
    let rendered = render();
    if std::env::var_os("UPDATE_EXPECT").is_some() && matrix != rendered {
        fs::write(path, format!("{before}{BEGIN}{rendered}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(matrix, rendered, "run this test again with UPDATE_EXPECT=1");
    assert!(rendered.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn every_fault_has_a_row_and_every_test_that_a_cell_names_exists() {
    let rows: BTreeSet<i16> = ROWS.iter().map(|row| row.code).collect();
    assert_eq!(own_faults().count(), 20);
    for (code, ..) in own_faults() {
        assert!(rows.contains(&code), "{code} has no row");
    }
    for cell in ROWS.iter().flat_map(|row| row.cells) {
        let Proved(_, test) = cell else { continue };
        let (module, name) = test.split_once("::").unwrap();
        let file = format!("{}/tests/it/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(file).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {name}()")), "{test} does not exist");
    }
}
