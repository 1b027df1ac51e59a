//! What README shows of the program is what it prints, on a terminal of 80 columns.
//!
//! A fenced block behind `<!-- shown in WORLD -->` is a session: what follows `$ ` is typed into a shell (`> ` goes
//! on with it), and what follows that is what came back, both outputs together. Blocks of one world are played from
//! top to bottom in one fixture; `<!-- shown in WORLD after EVENT -->` lets something happen to it first. A command
//! that fails is followed by `$ echo $?`. Paths are those that README speaks of (`PATHS`); what is another number in
//! every run is compared as a word (`VOLATILE`), and every stretch of blanks as one. With UPDATE_EXPECT=1 a block
//! that differs is written anew.
//!
//! A new world is a line of `world`, a new event a line of `befall`.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;

use camino::Utf8PathBuf;
use regex::Regex;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use xtask::dvo::{self, Shape};

use super::slow::write_program;
use super::world::World;

/// A path of README's, and the folder below the world's own that stands for it.
const PATHS: [(&str, &str); 4] = [
    ("/data/ipp022.0/gpc1/mini-catdirs/ThreePi", "there"),
    ("/data/ipp004.0/minidvodbs", "source"),
    ("/data/ipp004.0/minidvodbcopy", "state"),
    ("/home/ipp", "home"),
];

/// What differs from run to run or from machine to machine, and the word that it is compared as; in this order.
const VOLATILE: [(&str, &str); 24] = [
    // Lines of `check` and `status` that were broken to fit.
    (r"\n {12,}", " "),
    (r"(?m)^ +(ok|advice) +(rsync|ssh) .*(\n +type: .*)*$", "$2"),
    (r"\d+ ok, \d+ advised", "N ok, N advised"),
    (r"\S+ is \d+(\.\d+){3}, port \d+", "ADDRESS"),
    (r"\(Linux [^)]*\)", "(SYSTEM)"),
    (r"\S+ \([\w/]+\) on /\S*", "FILESYSTEM"),
    (r"\d\.\d\d s (behind|ahead of)", "CLOCK"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?Z?)?", "TIME"),
    (r"/[^ ,]*, \d+ % used", "MOUNT, N % used"),
    (r"\b\d+(\.\d+)? ?%( used)?", "N %$2"),
    (r"\b\d+(\.\d+)? (B|kB|[KMGT]iB)(/s)?", "SIZE$3"),
    (r"\b\d+(\.\d+)? m?s\b", "SECONDS"),
    (r"\b\d+\.\d\d\b", "FLOAT"),
    (r"\b(process|pid) \d+", "$1 PID"),
    (r"\brsync +(version )?v?\d+\.\d+(\.\d+)?", "rsync VERSION"),
    (r"\bOpenSSH_[^ ,]+", "OpenSSH_VERSION"),
    (r"\b[0-9a-f]{16}\b", "LEDGER"),
    (r"\b\w+@[\w.]+: Permission", "USER@HOST: Permission"),
    (r"(, )?\b[\d,]+ inodes", ", N inodes"),
    // The disk and the forecasts of `status`.
    (r"(?m)^(\S+ +)/\S*( +N %)", "${1}MOUNT$2"),
    (r"(?m)(> )?\b\d+ (min|h|days?|years)( (\d+ (min|h)|SECONDS))?$", "SPAN"),
    (r"\b\d{4}-\d\d-\d\d\b", "DAY"),
    // Where rsync lies in a folder of its own, the lines for cron name it.
    (r"PATH=\S+ ", ""),
    (r"(?m)^Environment=PATH=.*\n", ""),
];

/// A README's block.
#[derive(Debug)]
struct Block {
    /// The lines of its text in the README.
    lines: std::ops::Range<usize>,
    world: String,
    event: Option<String>,
    steps: Vec<Step>,
}

/// What is typed, and what comes back.
#[derive(Debug, Default)]
struct Step {
    typed: Vec<String>,
    printed: String,
}

/// The fixture of a name.
fn world(name: &str) -> World {
    match name {
        "a worked example" => {
            let world = World::with_sshd();
            give_it_cron(&world);
            let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
            for (id, state) in [(1, "merged"), (2, "merged"), (3, "to_be_merged")] {
                let folder = world.make(&format!("ThreePi.{id}"), Shape::tiny());
                list.push_str(&format!("{id},ThreePi.{id},ThreePi,{folder},{state}\n"));
            }
            std::fs::write(world.root.join("minidvodbs.csv"), list).unwrap();
            world
        }
        "first minutes" => {
            let world = World::with_sshd();
            give_it_cron(&world);
            world.make("2026/ThreePi.1", Shape::tiny());
            world.make("2026/ThreePi.2", Shape::tiny());
            world
        }
        "cron" => World::new(),
        "a glance" => {
            let world = World::with_sshd();
            world.prepare("ipp0222", 4);
            world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
            std::fs::create_dir(world.there().join("ThreePi.1")).unwrap();
            world.run(&["run", "--limit", "3"]).expect(1);
            world.ok(&["target", "add", "ThreePi", "ipp031", "/data/ipp031.0/ThreePi"]);
            world.ok(&["host", "add", "ipp031"]);
            world.run(&["run", "--host", "ipp031"]).expect(1);
            world
        }
        "audited" => {
            let world = World::with_sshd();
            world.prepare("ipp0222", 3);
            world.ok(&["run"]);
            dvo::update(&world.source("ThreePi.2"), 7).unwrap();
            std::fs::remove_file(world.there().join("ThreePi.3/Photcodes.dat")).unwrap();
            world
        }
        other => panic!("README.md shows the world '{other}', which is not one of `world`"),
    }
}

/// A crontab that keeps its lines in a file: no test may touch those of whoever runs it.
fn give_it_cron(world: &World) {
    let bin = world.root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -l ] && exec cat {0}/lines\ncat > {0}/lines.new && mv {0}/lines.new {0}/lines\n",
        world.root
    );
    write_program(&bin.join("crontab"), &script);
}

/// What happens to a world between two blocks.
fn befall(world: &mut World, event: &str) {
    match event {
        "a fourth came and the key was lost" => {
            let folder = world.source("ThreePi.4");
            dvo::make(&folder, Shape::tiny(), 4).unwrap();
            let list = format!(
                "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n4,ThreePi.4,ThreePi,{folder},merged\n"
            );
            world.import_text(&list).expect(0);
            world.sshd().revoke_key().unwrap();
        }
        "its path was mistyped" => {
            world.sshd().restore_key().unwrap();
            world.ok(&["target", "add", "ThreePi", "ipp0222", "/data/ipp022.0/gpc1/ThreePi"]);
        }
        other => panic!("README.md shows the event '{other}', which is not one of `befall`"),
    }
}

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn blocks(readme: &str) -> Vec<Block> {
    let (mut blocks, mut lines) = (Vec::new(), readme.lines().enumerate());
    while let Some((number, line)) = lines.next() {
        let Some(about) = line.strip_prefix("<!-- shown in ").and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        let opens = lines.next().is_some_and(|(_, line)| line.starts_with("```"));
        assert!(opens, "README.md:{}: no fenced block follows", number + 1);
        let first = number + 2;
        let text: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        let (world, event) = about.split_once(" after ").map_or((about, None), |(w, e)| (w, Some(e)));
        blocks.push(Block {
            lines: first..first + text.len(),
            world: world.to_owned(),
            event: event.map(str::to_owned),
            steps: steps(&text, first),
        });
    }
    blocks
}

fn steps(text: &[&str], first: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (line, number) in text.iter().zip(first + 1..) {
        if let Some(typed) = line.strip_prefix("$ ") {
            steps.push(Step { typed: vec![typed.to_owned()], printed: String::new() });
            continue;
        }
        let step = steps.last_mut().unwrap_or_else(|| panic!("README.md:{number}: printed before a command"));
        match line.strip_prefix("> ") {
            Some(typed) if step.printed.is_empty() => step.typed.push(typed.to_owned()),
            _ => step.printed.push_str(&format!("{line}\n")),
        }
    }
    steps
}

/// The folder that stands for a path of README; as long as it, where it can be, so that tables come out alike.
fn folder(world: &World, shown: &str, name: &str) -> Utf8PathBuf {
    let plain = world.root.join(name);
    let missing = if name == "there" { shown.len().saturating_sub(plain.as_str().len()) } else { 0 };
    Utf8PathBuf::from(format!("{plain}{}", "_".repeat(missing)))
}

/// The paths of README in a text, as they are in the world.
fn here(world: &World, text: &str) -> String {
    PATHS
        .iter()
        .fold(text.to_owned(), |text, (shown, name)| text.replace(shown, folder(world, shown, name).as_str()))
}

/// The world's paths in a text, as README has them.
fn shown(world: &World, text: &str) -> String {
    let text = PATHS.iter().fold(text.to_owned(), |text, (shown, name)| {
        text.replace(folder(world, shown, name).as_str(), shown)
    });
    let text = text.replace(env!("CARGO_BIN_EXE_minidvodbcopy"), "/usr/local/bin/minidvodbcopy");
    // Of the fixture's own ssh_config, and where its server is, a user knows nothing.
    let text = match &world.sshd {
        Some(sshd) => text
            .replace(&format!(" -F {}", sshd.config_path()), "")
            .replace(&format!("MINIDVODBCOPY_SSH_CONFIG={} ", sshd.config_path()), ""),
        None => text,
    };
    let text = Regex::new(r"127\.0\.0\.1 is 127\.0\.0\.1, port \d+")
        .unwrap()
        .replace_all(&text, "ipp0222 is 10.10.20.22, port 22");
    let text = Regex::new(r"\(Linux [^)]*\)").unwrap().replace_all(&text, "(Linux 6.1.0-40-amd64)");
    let text = Regex::new(r"(ok +file system +)\S+ \([\w/]+\) on /\S*")
        .unwrap()
        .replace_all(&text, "$1/dev/md0 (xfs) on /data/ipp022.0");
    text.replace(world.root.as_str(), "/home/ipp")
}

/// A text without what differs from run to run.
fn settled(text: &str) -> String {
    let text = VOLATILE.iter().fold(text.to_owned(), |text, (pattern, word)| {
        Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned()
    });
    let blanks = Regex::new("[ \u{2500}-\u{257f}-]{2,}").unwrap();
    text.lines().map(|line| blanks.replace_all(line, " ").trim().to_owned() + "\n").collect()
}

/// Types everything into one shell on a terminal; gives what each command printed, and its exit code.
fn play(world: &World, steps: &[Step]) -> Vec<(String, i32)> {
    let mut script = String::from("set +e\n");
    for step in steps {
        let typed = here(world, &step.typed.join("\n"));
        script.push_str(&format!("{typed}\ns=$?; printf '\\036%d\\036' \"$s\"; (exit \"$s\")\n"));
    }
    let bytes = on_a_terminal(world, &script);
    let mut parts = bytes.split(|&byte| byte == 0o36);
    let mut played = Vec::new();
    while let (Some(printed), Some(code)) = (parts.next(), parts.next()) {
        played.push((seen(printed), std::str::from_utf8(code).unwrap().parse().unwrap()));
    }
    assert_eq!(played.len(), steps.len(), "{}", String::from_utf8_lossy(&bytes));
    played
}

const COLUMNS: u16 = 80;

/// What stands on the screen in the end: progress that was drawn and wiped is gone, wrapped lines are whole.
fn seen(bytes: &[u8]) -> String {
    let mut screen = vt100::Parser::new(2000, COLUMNS, 0);
    screen.process(bytes);
    let text: String =
        screen.screen().contents().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    let text = text.trim_end().to_owned();
    if text.is_empty() { text } else { text + "\n" }
}

/// Everything that a script writes to its terminal.
pub fn on_a_terminal(world: &World, script: &str) -> Vec<u8> {
    let mut master = std::fs::File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let no_tty = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(no_tty).open(name).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut command = world.shell_command(script);
    command.env("TERM", "xterm-256color").stdin(Stdio::null());
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    // Else this process would hold the terminal open for ever.
    drop(command);
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 4096];
    // Reading fails with EIO once nobody has the other end.
    while let Ok(count) = master.read(&mut chunk)
        && count > 0
    {
        bytes.extend_from_slice(&chunk[..count]);
    }
    child.wait().unwrap();
    bytes
}

/// The text of a block as it came out.
fn rendered(world: &World, steps: &[Step], played: &[(String, i32)]) -> String {
    let mut text = String::new();
    for (step, (printed, _)) in steps.iter().zip(played) {
        for (number, line) in step.typed.iter().enumerate() {
            text.push_str(&format!("{}{line}\n", if number == 0 { "$ " } else { "> " }));
        }
        text.push_str(&shown(world, printed));
    }
    text
}

#[test]
fn what_readme_shows_is_what_is_printed() {
    let readme = std::fs::read_to_string(README).unwrap();
    let lines: Vec<&str> = readme.lines().collect();
    let blocks = blocks(&readme);
    assert!(!blocks.is_empty(), "README shows nothing");
    let mut worlds: Vec<(String, World)> = Vec::new();
    let mut renewed: Vec<(std::ops::Range<usize>, String)> = Vec::new();
    for Block { lines: range, world: name, event, steps } in blocks {
        if !worlds.iter().any(|(known, _)| *known == name) {
            let world = world(&name);
            for (shown, name) in PATHS.iter().filter(|(_, name)| *name == "there") {
                std::fs::create_dir_all(folder(&world, shown, name)).unwrap();
            }
            worlds.push((name.clone(), world));
        }
        let (_, world) = worlds.iter_mut().find(|(known, _)| *known == name).unwrap();
        if let Some(event) = event {
            befall(world, &event);
        }
        let played = play(world, &steps);
        for (number, (step, (printed, code))) in steps.iter().zip(&played).enumerate() {
            let asked = steps.get(number + 1).is_some_and(|next| next.typed == ["echo $?"]);
            assert!(
                *code == 0 || asked,
                "README.md:{}: exit {code} is not shown: {:?}\n{printed}",
                range.start,
                step.typed
            );
        }
        let was: String = lines[range.clone()].iter().map(|line| format!("{line}\n")).collect();
        let is = rendered(world, &steps, &played);
        if settled(&was) == settled(&is) {
            continue;
        }
        let place = format!("README.md:{}: UPDATE_EXPECT=1 writes it anew", range.start);
        if std::env::var_os("UPDATE_EXPECT").is_none() {
            assert_eq!(settled(&was), settled(&is), "{place}");
        }
        renewed.push((range, is));
    }
    if renewed.is_empty() {
        return;
    }
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    for (range, text) in renewed.into_iter().rev() {
        lines.splice(range, text.lines().map(str::to_owned));
    }
    std::fs::write(README, lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_session_is_read_with_what_was_typed_and_what_was_printed() {
    let text = "x\n<!-- shown in W after E -->\n```text\n$ a \\\n> b\n1\n$ c\n```\ny\n";
    let [block] = &blocks(text)[..] else { panic!() };
    assert_eq!((block.world.as_str(), block.event.as_deref(), block.lines.clone()), ("W", Some("E"), 3..7));
    let steps: Vec<_> =
        block.steps.iter().map(|step| (step.typed.join("\n"), step.printed.as_str())).collect();
    assert_eq!(steps, [("a \\\nb".to_owned(), "1\n"), ("c".to_owned(), "")]);
}

#[test]
fn what_differs_from_run_to_run_compares_alike_and_all_else_does_not() {
    let alike = [
        ("full, 6 files, 17.17 MiB in 1.1 s", "full, 6 files, 1.2 GiB in 12 s"),
        (
            "ThreePi to ipp0222: /, 17 % used of at most 97 %, 75.83 GiB free",
            "ThreePi to ipp0222: /tmp, 5 % used of at most 97 %, 1 TiB free",
        ),
        ("  1   ThreePi.1   2026-11-24 00:19:53", " 1 ThreePi.1  2027-01-01 10:00:00"),
    ];
    for (a, b) in alike {
        assert_eq!(settled(a), settled(b));
    }
    for (a, b) in
        [("6 files", "7 files"), ("exit 1", "exit 2"), ("copy 1", "copy 2"), ("fault 211", "fault 212")]
    {
        assert_ne!(settled(a), settled(b));
    }
}

#[test]
fn a_terminal_shows_what_is_left_of_progress_and_joins_what_was_wrapped() {
    let world = World::new();
    let script = "printf 'half\\r\\033[2K'; printf '%0100d\\n' 7; [ -t 1 ] && stty size <&1";
    let text = seen(&on_a_terminal(&world, script));
    assert_eq!(text, format!("{:0>100}\n24 80\n", 7));
}
