//! What a test needs: a folder of its own, a cleared environment, a private sshd, minidvodbs, the binary.
//!
//! Invariant: nothing of the machine's own configuration is used, and nothing is left behind.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use xtask::dvo::{self, Shape};
use xtask::sshd::{Sshd, SshdOptions};

/// The host names that the private sshd answers to.
pub const ALIASES: [&str; 4] = ["ipp022", "ipp0222", "ipp031", "ipp032"];

/// What a run of the binary did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless standard error has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        self
    }

    /// Fails unless nothing at all was printed.
    #[track_caller]
    pub fn is_silent(self) -> Self {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""));
        self
    }

    /// Standard error without the events that `-v` adds: `minidvodbcopy: 03:12:44.120 ...`.
    pub fn told(&self) -> String {
        let is_event = |line: &str| {
            let time = line.strip_prefix("minidvodbcopy: ").and_then(|rest| rest.get(..12));
            time.is_some_and(|time| {
                time.bytes().enumerate().all(|(at, byte)| match at {
                    2 | 5 => byte == b':',
                    8 => byte == b'.',
                    _ => byte.is_ascii_digit(),
                })
            })
        };
        self.stderr.split_inclusive('\n').filter(|line| !is_event(line)).collect()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

/// A folder with a source, a destination and a state folder, and an sshd if asked for.
pub struct World {
    // The sshd goes before its folder does.
    pub sshd: Option<Sshd>,
    pub root: Utf8PathBuf,
    environment: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

impl World {
    /// Without an sshd: for `localhost`, and for commands that copy nothing.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("minidvodbcopy-test.").tempdir().unwrap();
        let root = Utf8PathBuf::try_from(dir.path().canonicalize().unwrap()).unwrap();
        for folder in ["home", "source", "there"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        Self { sshd: None, root, environment: Vec::new(), _dir: dir }
    }

    /// With a private sshd that knows all [`ALIASES`].
    pub fn with_sshd() -> Self {
        Self::with_sshd_options(SshdOptions::known_as(&ALIASES))
    }

    pub fn with_sshd_options(options: SshdOptions) -> Self {
        let mut world = Self::new();
        let folder = world.root.join("sshd");
        std::fs::create_dir(&folder).unwrap();
        let sshd = Sshd::start(&folder, options).unwrap();
        world.set("MINIDVODBCOPY_SSH_CONFIG", sshd.config_path().as_str());
        world.sshd = Some(sshd);
        world
    }

    pub fn sshd(&mut self) -> &mut Sshd {
        self.sshd.as_mut().expect("this world has no sshd")
    }

    /// Lets the destination find its programs by another PATH from now on.
    #[track_caller]
    pub fn set_path_there(&mut self, path: &str) {
        self.sshd().restart_with(&[&format!("SetEnv \"PATH={path}\"")]).unwrap();
    }

    /// Sets a variable for every run from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn state(&self) -> Utf8PathBuf {
        self.root.join("state")
    }

    /// The file log.
    #[track_caller]
    pub fn file_log(&self) -> String {
        std::fs::read_to_string(self.state().join("log/minidvodbcopy.log")).unwrap()
    }

    /// The folder at the destination that targets go to.
    pub fn there(&self) -> Utf8PathBuf {
        self.root.join("there")
    }

    /// The folder that minidvodbs are made in.
    pub fn source(&self, name: &str) -> Utf8PathBuf {
        self.root.join("source").join(name)
    }

    /// The binary with arguments, in the cleared environment; as the user to whom the state folder was given.
    pub fn command(&self, arguments: &[&str]) -> Command {
        use std::os::unix::fs::MetadataExt as _;
        let command = self.own_command(arguments);
        match std::fs::metadata(self.state()) {
            Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() => {
                super::slow::unprivileged(self, command)
            }
            _ => command,
        }
    }

    /// The same as the tests' own user, whoever has the state folder.
    pub fn own_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_minidvodbcopy"));
        command.args(arguments).env_clear().current_dir(&self.root);
        self.set_environment(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn set_environment(&self, command: &mut Command) {
        // Its users have the program on their PATH, and are told to type its name.
        let folder = Utf8Path::new(env!("CARGO_BIN_EXE_minidvodbcopy")).parent().unwrap();
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
        command.env("HOME", self.root.join("home")).env("MINIDVODBCOPY_STATE_DIR", self.state());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.start(arguments))
    }

    /// Runs it and expects success.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        self.run(arguments).expect(0)
    }

    /// Starts the binary and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs what is typed in a shell, with the program on its PATH under both of its names.
    #[track_caller]
    pub fn shell(&self, typed: &str) -> Ran {
        let mut command = self.shell_command(&format!("set -e\n{typed}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap())
    }

    /// A shell that reads a script, with the program on its PATH under both of its names.
    pub fn shell_command(&self, script: &str) -> Command {
        let bin = self.root.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in ["minidvodbcopy", "minidvodbtool"] {
            if !bin.join(name).exists() {
                std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_minidvodbcopy"), bin.join(name)).unwrap();
            }
        }
        let file = self.root.join("typed.sh");
        std::fs::write(&file, script).unwrap();
        let mut path = std::ffi::OsString::from(bin);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("/bin/sh");
        command.arg(file).env_clear().current_dir(&self.root);
        self.set_environment(&mut command);
        command.env("PATH", path);
        command
    }

    /// Makes a small minidvodb; says its folder.
    pub fn make(&self, name: &str, shape: Shape) -> Utf8PathBuf {
        let folder = self.source(name);
        dvo::make(&folder, shape, name.bytes().map(u64::from).sum()).unwrap();
        folder
    }

    /// Imports minidvodbs: (id, group, path), all merged.
    #[track_caller]
    pub fn import(&self, rows: &[(u64, &str, &Utf8Path)]) {
        let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
        for (id, group, path) in rows {
            let path = path.as_str().replace('"', "\"\"");
            list.push_str(&format!("{id},{group}.{id},{group},\"{path}\",merged\n"));
        }
        self.import_text(&list).expect(0);
    }

    /// Imports a list as it is written.
    pub fn import_text(&self, list: &str) -> Ran {
        let file = self.root.join("list.csv");
        std::fs::write(&file, list).unwrap();
        self.run(&["minidvodb", "import", file.as_str()])
    }

    /// Makes and imports `ThreePi.1` to `ThreePi.COUNT`, with a target to `host`, which is switched on.
    #[track_caller]
    pub fn prepare(&self, host: &str, count: u64) {
        let folders: Vec<_> =
            (1..=count).map(|id| self.make(&format!("ThreePi.{id}"), Shape::tiny())).collect();
        let rows: Vec<_> =
            (1..=count).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
        self.import(&rows);
        self.ok(&["target", "add", "ThreePi", host, self.there().as_str()]);
        self.ok(&["host", "add", host]);
    }

    /// All copies, as `list --format json` shows them.
    #[track_caller]
    pub fn list(&self) -> Vec<Value> {
        self.ok(&["list", "--format", "json"]).json().as_array().unwrap().clone()
    }

    /// A copy, by its id.
    #[track_caller]
    pub fn copy(&self, id: u64) -> Value {
        self.list().into_iter().find(|copy| copy["minidvodbcopy_id"] == id).unwrap()
    }

    /// State and fault of a copy: "new 211", "full 0".
    #[track_caller]
    pub fn standing(&self, id: u64) -> String {
        let copy = self.copy(id);
        format!("{} {}", copy["state"].as_str().unwrap(), copy["fault"])
    }

    /// Fails unless the copy of a minidvodb at the destination equals its source, and nothing else is there.
    #[track_caller]
    pub fn expect_arrived(&self, name: &str) {
        let differences = xtask::tree::differences(self.source(name), self.there().join(name)).unwrap();
        assert_eq!(differences, Vec::<String>::new(), "{name}");
    }

    /// The names in the destination folder, sorted.
    pub fn names_there(&self) -> Vec<String> {
        names_in(&self.there())
    }
}

/// Waits for the end of a run.
#[track_caller]
pub fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The names in a folder, sorted.
pub fn names_in(folder: &Utf8Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
    names.sort();
    names
}

/// Waits until a condition holds; fails after a generous while.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(xtask::processes::wait_until(Duration::from_secs(60), condition), "still not: {what}");
}
