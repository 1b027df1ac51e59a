//! What a pass shows on a terminal while it goes on: a real pseudo-terminal, and a terminal's own idea of what
//! stands on it.
//!
//! `script` gives the program its terminal, as its controlling one, so that a `^C` that is typed is a signal.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use xtask::dvo::Shape;

use super::slow::{self, Gate, Hold};
use super::world::{Ran, World};

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A program on a terminal.
pub struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    bytes: Vec<u8>,
    /// What stood on the terminal, each time that it was looked at.
    frames: Vec<String>,
}

/// What was left when it had ended.
pub struct Left {
    code: Option<i32>,
    bytes: Vec<u8>,
    /// What stands on the terminal.
    pub last: String,
    frames: Vec<String>,
    cursor: (u16, u16),
    is_cursor_hidden: bool,
}

impl Terminal {
    /// Starts the binary on a terminal.
    pub fn start(world: &World, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_typed(world, arguments, "", environment)
    }

    /// The same with more behind what is typed: a redirection.
    fn start_typed(world: &World, arguments: &[&str], more: &str, environment: &[(&str, &str)]) -> Self {
        let like = world.own_command(arguments);
        let words = std::iter::once(like.get_program()).chain(like.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        let typed =
            format!("stty rows {ROWS} cols {COLUMNS}; exec {} {more}", shlex::try_join(words).unwrap());
        let mut command = Command::new("script");
        command.args(["-qefc", &typed, "/dev/null"]).env_clear().current_dir(&world.root);
        command.envs(like.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.env("SHELL", "/bin/sh").env("TERM", "xterm-256color").envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut from = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(ROWS, COLUMNS, 0);
        Self { child, output, screen, bytes: Vec::new(), frames: Vec::new() }
    }

    /// Takes what has come; false when the program has ended.
    fn look(&mut self, patience: Duration) -> bool {
        match self.output.recv_timeout(patience) {
            Ok(bytes) => {
                self.screen.process(&bytes);
                self.bytes.extend(bytes);
                self.frames.push(self.screen.screen().rows(0, COLUMNS).collect::<Vec<_>>().join("\n"));
                true
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => true,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Waits until something stands on the terminal.
    #[track_caller]
    pub fn until(&mut self, what: &str) {
        let began = Instant::now();
        while !self.screen.screen().contents().contains(what) {
            let is_running = self.look(Duration::from_millis(50));
            let shown = self.screen.screen().contents();
            assert!(is_running && began.elapsed() < Duration::from_secs(60), "no {what:?} in:\n{shown}");
        }
    }

    /// Types something.
    fn type_in(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits for the end.
    pub fn end(mut self) -> Left {
        while self.look(Duration::from_secs(60)) {}
        let code = self.child.wait().unwrap().code();
        let screen = self.screen.screen();
        Left {
            code,
            last: screen.contents(),
            cursor: screen.cursor_position(),
            is_cursor_hidden: screen.hide_cursor(),
            bytes: self.bytes,
            frames: self.frames,
        }
    }
}

impl Left {
    /// Fails unless the bars are gone, the cursor is where the next line begins, and every line is whole.
    #[track_caller]
    pub fn expect_clean(&self) {
        for part in ["pass [", "copy [", "copy |", "copy /", "copy -", "copy \\"] {
            assert!(!self.last.contains(part), "{part:?} is left in:\n{}", self.last);
        }
        assert_eq!(self.cursor.1, 0, "the cursor is not at the beginning of a line:\n{}", self.last);
        assert!(!self.is_cursor_hidden);
        for line in self.last.lines().filter(|line| !line.is_empty()) {
            let is_whole = ["minidvodbcopy: ", "  "].iter().any(|start| line.starts_with(start));
            // A long line goes on in the next row.
            assert!(is_whole || self.last.contains(&format!("\n{line}")), "{line:?} in:\n{}", self.last);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn has_frame_with(&self, parts: &[&str]) -> bool {
        self.frames.iter().any(|frame| parts.iter().all(|part| frame.contains(part)))
    }
}

/// Fails where a text has a control character other than a newline.
#[track_caller]
fn expect_plain(text: &str) {
    let control: Vec<char> = text.chars().filter(|&c| c.is_control() && c != '\n').collect();
    assert!(control.is_empty(), "{control:?} in:\n{text}");
}

#[test]
fn a_pass_on_a_terminal_shows_bars_and_leaves_only_lines() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 2);
    let left = Terminal::start(&world, &["run"], &[]).end();
    assert_eq!(left.code, Some(0), "{}", left.last);
    left.expect_clean();
    world.expect_arrived("ThreePi.1");
    world.expect_arrived("ThreePi.2");
    assert!(left.last.contains("ThreePi.1 to ipp0222 (copy 1): full, 11 files"), "{}", left.last);
    assert!(left.last.contains("pass: 2 queued, 2 copied, 0 faulted"), "{}", left.last);
    let frames = left.frames.join("\n=====\n");
    for parts in [
        &[
            "pass [",
            "] 0 of 2 copies, ",
            "copy [",
            "] sending ",
            " of ",
            "/s, ",
            " left",
            "ThreePi.1 to ipp0222",
        ][..],
        &["] 1 of 2 copies, ", "about ", "ThreePi.2 to ipp0222 (copy 2)"],
        &["ThreePi.1 to ipp0222 (copy 1): full", "pass [", "ThreePi.2 to ipp0222"],
        &["ThreePi.1 to ipp0222 (copy 1): n"],
    ] {
        assert!(left.has_frame_with(parts), "no {parts:?} in:\n{frames}");
    }
    let has_three_rows = |frame: &String| {
        let rows: Vec<&str> = frame.lines().collect();
        rows.windows(3).any(|rows| {
            rows[0].starts_with("pass [")
                && rows[1].starts_with("copy [")
                && rows[2].starts_with("     Three")
        })
    };
    assert!(left.frames.iter().any(has_three_rows), "{frames}");
}

#[test]
fn each_phase_is_named_while_it_lasts() {
    let mut world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let connecting = Gate::closed(&world, "ssh", "*ControlMaster=yes*", &Hold::Before);
    let verifying = Gate::closed(&world, "rsync", "*' -n '*", &Hold::Before);
    let flushing = Gate::closed(&world, "sync", "*", &Hold::Before);
    let publishing = Gate::closed(&world, "mv", "*' -nT '*", &Hold::Before);
    world.set_path_there(&format!("{}:{}", flushing.bin, publishing.path()));
    let path = format!("{}:{}", connecting.bin, verifying.path());
    let mut terminal = Terminal::start(&world, &["run"], &[("PATH", &path)]);
    for (phase, gate) in [
        ("connecting", connecting),
        ("verifying", verifying),
        ("flushing", flushing),
        ("publishing", publishing),
    ] {
        gate.wait(1);
        terminal.until(&format!(" {phase}"));
        gate.open();
    }
    let left = terminal.end();
    assert_eq!(left.code, Some(0), "{}", left.last);
    left.expect_clean();
    for phase in ["connecting, ", "flushing, ", "publishing, "] {
        assert!(left.has_frame_with(&["copy ", phase, "ThreePi.1 to ipp0222"]), "{phase}: {}", left.text());
    }
    assert!(left.has_frame_with(&["copy [", "] verifying"]), "{}", left.text());
}

#[test]
fn a_source_of_very_many_files_is_seen_to_be_sized() {
    let world = World::new();
    world.prepare("localhost", 1);
    let folder = world.source("ThreePi.1");
    (0..60_000).for_each(|number| drop(std::fs::File::create(folder.join(number.to_string())).unwrap()));
    // It needs not go further.
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str(), "--max-used", "1"]);
    let left = Terminal::start(&world, &["run", "--limit", "1"], &[]).end();
    assert!(left.has_frame_with(&["copy ", "sizing, ", "ThreePi.1 to localhost"]), "{}", left.text());
}

#[test]
fn a_list_keeps_to_the_width_of_its_terminal_and_loses_nothing() {
    let world = World::new();
    super::shown::queue(&world, "ThreePi", "ipp0222", 2_100);
    let piped = world.ok(&["list"]).stdout;
    assert!(piped.lines().all(|line| line.len() > usize::from(COLUMNS)), "{piped}");
    let shown = Terminal::start(&world, &["list"], &[]).end().text().replace("\r\n", "\n");
    assert!(shown.lines().all(|line| line.len() <= usize::from(COLUMNS)), "{shown}");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&shown), words(&piped));
}

#[test]
fn a_pass_that_is_interrupted_from_the_keyboard_leaves_a_clean_terminal() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let mut terminal = Terminal::start(&world, &["run"], &[]);
    terminal.until("] sending ");
    terminal.type_in(b"\x03");
    let left = terminal.end();
    assert_eq!(left.code, Some(130), "{}", left.last);
    left.expect_clean();
    assert!(left.last.contains("interrupted: the pass was ended by a signal"), "{}", left.last);
    assert!(left.last.contains("stopped by a signal"), "{}", left.last);
    assert_eq!(world.standing(1), "new 0");
}

#[test]
fn a_fault_is_said_whole_between_the_bars() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 3);
    std::fs::create_dir(world.there().join("ThreePi.2")).unwrap();
    let left = Terminal::start(&world, &["run"], &[]).end();
    assert_eq!(left.code, Some(1), "{}", left.last);
    left.expect_clean();
    let said = left.last.replace('\n', "");
    assert!(said.contains("ThreePi.2 to ipp0222 (copy 2): fault 225 path-taken:"), "{}", left.last);
    assert!(left.has_frame_with(&["fault 225 path-taken", "pass [", "copy ["]), "{}", left.last);
    assert!(left.has_frame_with(&["] 2 of 3 copies"]));
    assert_eq!([1, 2, 3].map(|id| world.standing(id)), ["full 0", "new 225", "full 0"]);
}

#[test]
fn an_operators_own_copy_and_the_words_that_copy_show_bars() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let there = world.there();
    let left =
        Terminal::start(&world, &["add.minidvodb.copy", "ThreePi", "ipp0222", there.as_str()], &[]).end();
    assert_eq!(left.code, Some(0), "{}", left.last);
    left.expect_clean();
    assert!(left.has_frame_with(&["copy [", "] sending "]), "{}", left.text());
    let left = Terminal::start(&world, &["recopy", "1"], &[]).end();
    assert_eq!(left.code, Some(0), "{}", left.last);
    left.expect_clean();
    assert!(left.has_frame_with(&["] 0 of 1 copy", "copy ["]), "{}", left.text());
}

#[test]
fn bars_are_for_terminals_that_can_move_their_cursor_and_for_nobody_who_is_quiet() {
    let world = World::new();
    world.prepare("localhost", 1);
    let first = Terminal::start(&world, &["run", "-q"], &[]).end();
    assert_eq!((first.code, first.text().as_str()), (Some(0), ""));
    let left = Terminal::start(&world, &["recopy", "1"], &[("TERM", "dumb")]).end();
    assert_eq!(left.code, Some(0), "{}", left.last);
    expect_plain(&left.text().replace("\r\n", "\n"));
    assert!(left.last.contains("(copy 1): full"), "{}", left.last);
}

#[test]
fn colours_are_for_whoever_does_not_refuse_them() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    const CYAN: &str = "\u{1b}[36m";
    let plain = Terminal::start(&world, &["run"], &[("NO_COLOR", "1")]).end();
    assert!(plain.has_frame_with(&["copy ["]) && !plain.text().contains(CYAN), "{}", plain.text());
    assert!(!plain.text().contains("m\u{1b}") && !plain.text().contains("[0m"), "{}", plain.text());
    let coloured = Terminal::start(&world, &["recopy", "1"], &[]).end();
    assert!(coloured.text().contains(CYAN), "{}", coloured.text());
}

#[test]
fn without_a_terminal_there_is_not_one_control_character() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let ran = world.ok(&["run", "-v"]);
    assert!(ran.stderr.contains("phase: sending"), "{}", ran.stderr);
    expect_plain(&ran.stderr);
    let errors = world.root.join("errors");
    let typed = format!("2>{errors}");
    let left = Terminal::start_typed(&world, &["recopy", "1"], &typed, &[]).end();
    let said = std::fs::read_to_string(errors).unwrap();
    assert_eq!((left.code, left.text().as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("(copy 1): full"), "standard output is a terminal: {said}");
    expect_plain(&said);
}

#[test]
fn the_names_of_files_do_not_reach_the_terminal_as_they_are() {
    let world = World::with_sshd();
    let folder = world.make("ThreePi.1", Shape::tiny());
    let name = "clear\u{1b}[2Jred\u{1b}[31m\nline\u{202e}";
    std::fs::write(folder.join(name), vec![7; 4_000_000]).unwrap();
    world.import(&[(1, "ThreePi", &folder)]);
    slow::set_rate(&world, "ipp0222", slow::RATE);
    world.ok(&["host", "add", "ipp0222"]);
    let left = Terminal::start(&world, &["run"], &[("NO_COLOR", "1")]).end();
    assert_eq!(left.code, Some(0), "{}", left.last);
    left.expect_clean();
    assert!(!left.text().contains("\u{1b}[2J") && !left.text().contains("\u{1b}[31m"));
    assert!(!left.text().contains('\u{202e}'));
    assert!(left.has_frame_with(&[r"clear\u{1b}[2Jred"]), "{}", left.text());
    world.expect_arrived("ThreePi.1");
}

/// A terminal can be narrower than anything that is to stand on it.
#[test]
fn a_terminal_of_one_column_ends_no_pass() {
    let world = World::with_sshd();
    slow::prepare(&world, "ipp0222", 1);
    let like = world.own_command(&["run"]);
    let program = like.get_program().to_str().unwrap().to_owned();
    let mut command = Command::new("script");
    command.args(["-qefc", &format!("stty rows 1 cols 1; exec {program} run"), "/dev/null"]);
    command.env_clear().envs(like.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.env("SHELL", "/bin/sh").env("TERM", "xterm").current_dir(&world.root);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran: Ran = super::world::finish(command.spawn().unwrap());
    ran.expect(0);
    world.expect_arrived("ThreePi.1");
}
