//! A private MariaDB server on the loopback address, with data, port, socket and log of its own.
//!
//! Invariant: everything it writes is in the folder it was given; no option file of the machine is read; it
//! listens on 127.0.0.1 and its socket alone; and it ends with its owner, even when that one is killed. Whoever
//! holds it shared can use it and make databases, but not stop or pause it. It knows the predecessor's tables,
//! and nothing of who reads them.

mod certificates;
mod process;
mod template;

use std::fs::{self, File};
use std::io::{self, Write};
use std::mem;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use crate::processes::{self, Signal, wait_until};
use crate::setup::Tool;
use crate::sshd::free_port;
use process::Process;

/// What a server is to be like; where an option says nothing, MariaDB's own default holds.
#[derive(Debug, Clone, Default)]
pub struct MariaDbOptions {
    /// The global sql_mode; an empty one is the lenient mode of old servers.
    pub sql_mode: Option<String>,
    /// False gives the first TIMESTAMP column of a table its old meaning: the time of the last update.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// Offers encrypted connections, with a certificate that [`MariaDb::ca`] signed.
    pub tls: bool,
    /// Further options of mariadbd, such as `--max-connections=2`.
    pub extra: Vec<String>,
}

/// A private server, running, paused or stopped. Dropping it kills the server.
#[derive(Debug)]
pub struct MariaDb {
    folder: Utf8PathBuf,
    options: MariaDbOptions,
    port: u16,
    state: State,
    /// Where the server was given no folder: removed after the server has ended.
    _temporary: Option<TempDir>,
}

#[derive(Debug)]
enum State {
    Stopped,
    Running(Process),
    Paused(Process),
}

/// The server with default options that all users in this process share. It ends when the last of them drops it;
/// the next one starts another.
///
/// # Errors
/// As [`MariaDb::start`].
pub fn shared() -> io::Result<Arc<MariaDb>> {
    static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(MariaDb::start_temporary(MariaDbOptions::default())?);
    *shared = Arc::downgrade(&server);
    Ok(server)
}

/// A name for a database or a user that nobody else in this process has.
#[must_use]
pub fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("ipp{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl MariaDb {
    /// Starts a server with fresh data in `folder`, which is created where it is missing and holds no server
    /// yet, on a free port, and returns when it answers.
    ///
    /// # Errors
    /// When a tool is missing, a file cannot be written, the folder's path is too long for a socket, or
    /// mariadbd does not start; the message holds what it logged.
    pub fn start(folder: &Utf8Path, options: MariaDbOptions) -> io::Result<MariaDb> {
        Self::start_in(folder, options, None)
    }

    /// The same in a folder of its own, which goes with the server.
    ///
    /// # Errors
    /// As [`MariaDb::start`], or when there is no temporary folder.
    pub fn start_temporary(options: MariaDbOptions) -> io::Result<MariaDb> {
        let temporary = tempfile::Builder::new().prefix("mariadb").tempdir()?;
        let folder = Utf8PathBuf::try_from(temporary.path().to_owned()).map_err(io::Error::other)?;
        Self::start_in(&folder, options, Some(temporary))
    }

    /// The port on 127.0.0.1; it stays the same.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> Utf8PathBuf {
        self.folder.join("s")
    }

    /// Where everything of this server is.
    #[must_use]
    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// What the server said since its first start.
    #[must_use]
    pub fn log_path(&self) -> Utf8PathBuf {
        self.folder.join("mariadbd.log")
    }

    /// The authority that signed the certificate of a server with `tls`.
    #[must_use]
    pub fn ca(&self) -> Utf8PathBuf {
        self.folder.join(certificates::CA)
    }

    /// Of a server with `tls`: an authority that did not sign it.
    #[must_use]
    pub fn other_ca(&self) -> Utf8PathBuf {
        self.folder.join(certificates::OTHER_CA)
    }

    /// The server's process, where it runs or is paused.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Stopped => None,
            State::Running(process) | State::Paused(process) => Some(process.id()),
        }
    }

    /// Runs statements as root with the stock client, in UTF-8, and returns what it prints: a line for each row,
    /// values separated by tabs, no column names. It ends at the first statement that fails.
    ///
    /// # Errors
    /// When the server does not run, or with what the client said.
    pub fn sql(&self, statements: &str) -> io::Result<String> {
        self.client(None, statements)
    }

    /// The same with a default database.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn sql_in(&self, database: &str, statements: &str) -> io::Result<String> {
        self.client(Some(database), statements)
    }

    /// Feeds the text of a file of statements, such as a dump, to the stock client.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn load(&self, database: &str, text: &str) -> io::Result<()> {
        self.sql_in(database, text).map(drop)
    }

    /// The command of a stock client, such as `mariadb-dump`: root over TCP, which is how programs connect.
    ///
    /// # Errors
    /// When the client is missing.
    pub fn client_command(&self, client: Tool) -> io::Result<Command> {
        let mut command = Command::new(client.require()?);
        process::with_pinned_environment(&mut command)
            .args(["--no-defaults", "--user=root", "--skip-ssl", "--protocol=tcp", "--host=127.0.0.1"])
            .arg(format!("--port={}", self.port))
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Makes a database with the three tables of minidvodbs, empty.
    ///
    /// # Errors
    /// When it exists already, or as [`MariaDb::sql`].
    pub fn create_ipp(&self, database: &str) -> io::Result<()> {
        self.sql(&format!("CREATE DATABASE {} CHARACTER SET latin1", name(database)))?;
        self.load(database, include_str!("mariadb/ipp.sql"))
    }

    /// Makes a user who may SELECT, INSERT and UPDATE in this database and nothing else, over TCP and over the
    /// socket. For a user who is there already, this gives a further database, and the password is the new one.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn create_user(&self, user: &str, password: &str, database: &str) -> io::Result<()> {
        // In a grant, these two stand for one and for any characters.
        let database = name(&database.replace('_', "\\_").replace('%', "\\%"));
        let (user, password) = (text(user), text(password));
        let grant = |host: &str| {
            format!(
                "GRANT SELECT, INSERT, UPDATE ON {database}.* TO {user}@'{host}' IDENTIFIED BY {password};\n"
            )
        };
        self.sql(&(grant("127.0.0.1") + &grant("localhost"))).map(drop)
    }

    /// Ends the server in order. Nothing where it is stopped.
    ///
    /// # Errors
    /// When it did not end in time (it is killed then), or not successfully.
    pub fn stop(&mut self) -> io::Result<()> {
        const LIMIT: Duration = Duration::from_secs(30);
        self.resume()?;
        let State::Running(process) = mem::replace(&mut self.state, State::Stopped) else { return Ok(()) };
        let status = process.stop(LIMIT)?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("mariadbd ended with {status}: see its log {}", self.log_path())))
    }

    /// Ends the server at once (SIGKILL). Nothing where it is stopped.
    pub fn kill(&mut self) {
        self.state = State::Stopped;
    }

    /// Starts a stopped or killed server on the same port and data. Nothing where it is not stopped.
    ///
    /// # Errors
    /// When it does not start, or somebody else took the port meanwhile.
    pub fn start_again(&mut self) -> io::Result<()> {
        match self.state {
            State::Stopped => self.launch(),
            State::Running(_) | State::Paused(_) => Ok(()),
        }
    }

    /// Stops the server's process (SIGSTOP): connections are made by the kernel, but nothing is answered.
    ///
    /// # Errors
    /// When the server is stopped, or may not be signalled.
    pub fn pause(&mut self) -> io::Result<()> {
        self.state = match mem::replace(&mut self.state, State::Stopped) {
            State::Stopped => return Err(not_running("stopped")),
            State::Running(process) | State::Paused(process) => {
                processes::signal(process.id(), Signal::STOP)?;
                State::Paused(process)
            }
        };
        Ok(())
    }

    /// Undoes [`MariaDb::pause`]. Nothing where the server is not paused.
    ///
    /// # Errors
    /// When the server may not be signalled.
    pub fn resume(&mut self) -> io::Result<()> {
        self.state = match mem::replace(&mut self.state, State::Stopped) {
            State::Paused(process) => {
                processes::signal(process.id(), Signal::CONT)?;
                State::Running(process)
            }
            other => other,
        };
        Ok(())
    }

    fn start_in(
        folder: &Utf8Path,
        options: MariaDbOptions,
        temporary: Option<TempDir>,
    ) -> io::Result<MariaDb> {
        const TRIES: u32 = 20;
        fs::create_dir_all(folder.join("tmp"))?;
        let folder = folder.canonicalize_utf8()?;
        let mut server = MariaDb { folder, options, port: 0, state: State::Stopped, _temporary: temporary };
        server.check_socket_length()?;
        template::fill(&server.data(), &FILE_OPTIONS)?;
        if server.options.tls {
            certificates::write(&server.folder)?;
        }
        for _ in 0..TRIES {
            server.port = free_port()?;
            match server.launch() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result.map(|()| server),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("mariadbd: no port stayed free in {TRIES} tries"),
        ))
    }

    fn check_socket_length(&self) -> io::Result<()> {
        const LIMIT_BYTES: usize = 107;
        let socket = self.socket();
        let bytes = socket.as_str().len();
        if bytes <= LIMIT_BYTES {
            return Ok(());
        }
        let message =
            format!("{socket}: {bytes} bytes are too long for a socket, which has at most {LIMIT_BYTES}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    fn data(&self) -> Utf8PathBuf {
        self.folder.join("data")
    }

    /// Starts the server on the port chosen before, and waits until it answers.
    fn launch(&mut self) -> io::Result<()> {
        let program = Tool::MariaDbServer.require()?;
        let log_start = fs::metadata(self.log_path()).map_or(0, |metadata| metadata.len());
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mark = format!("--datadir={}", self.data());
        let mut command = Command::new(program);
        command.arg("--no-defaults").arg(&mark).args(self.arguments());
        let mut process = Process::start(&mut command, log, &mark)?;
        self.wait_until_ready(&mut process, log_start)?;
        self.state = State::Running(process);
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let folder = &self.folder;
        let mut arguments = vec![
            format!("--socket={}", self.socket()),
            format!("--pid-file={folder}/mariadbd.pid"),
            format!("--tmpdir={folder}/tmp"),
            format!("--port={}", self.port),
        ];
        arguments.extend(FILE_OPTIONS.into_iter().chain(RUN_OPTIONS).map(str::to_owned));
        arguments.extend(process::user_option().map(str::to_owned));
        if self.options.tls {
            let file = |option, name| format!("--ssl-{option}={folder}/{name}");
            arguments.push(file("ca", certificates::CA));
            arguments.push(file("cert", certificates::SERVER));
            arguments.push(file("key", certificates::SERVER_KEY));
        } else {
            arguments.push("--skip-ssl".to_owned());
        }
        arguments.extend(self.options.sql_mode.iter().map(|mode| format!("--sql-mode={mode}")));
        arguments.extend(
            self.options
                .explicit_defaults_for_timestamp
                .map(|explicit| format!("--explicit-defaults-for-timestamp={}", u8::from(explicit))),
        );
        arguments.extend_from_slice(&self.options.extra);
        arguments
    }

    /// Its own log must say that it is ready: on a port just taken by somebody else, another server answers.
    fn wait_until_ready(&self, process: &mut Process, log_start: u64) -> io::Result<()> {
        const LIMIT: Duration = Duration::from_secs(60);
        let (mut ended, mut log) = (false, String::new());
        let is_ready = |log: &str| log.contains("ready for connections");
        wait_until(LIMIT, || {
            ended = process.has_ended();
            log = self.log_since(log_start);
            is_ready(&log) || ended
        });
        let log = log.trim();
        if ended && log.contains("Address already in use") {
            let message = format!("mariadbd: port {} was taken by somebody else", self.port);
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        } else if ended {
            Err(io::Error::other(format!("mariadbd ended at once, saying: {log}")))
        } else if !is_ready(log) {
            let seconds = LIMIT.as_secs();
            Err(io::Error::other(format!("mariadbd is not ready after {seconds} seconds, saying: {log}")))
        } else {
            Ok(())
        }
    }

    fn log_since(&self, start: u64) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }

    fn client(&self, database: Option<&str>, statements: &str) -> io::Result<String> {
        match &self.state {
            State::Stopped => return Err(not_running("stopped")),
            State::Paused(_) => return Err(not_running("paused")),
            State::Running(_) => {}
        }
        let mut command = Command::new(Tool::MariaDbClient.require()?);
        command
            .args(["--no-defaults", "--user=root", "--skip-ssl", "--connect-timeout=30"])
            .args(["--batch", "--skip-column-names", "--default-character-set=utf8mb4"])
            .arg(format!("--socket={}", self.socket()))
            .args(database.map(|database| format!("--database={database}")));
        run_client(&mut command, statements)
    }
}

/// Options that the first data and every start must agree on, because they shape the files.
const FILE_OPTIONS: [&str; 6] = [
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=32M",
    "--innodb-use-native-aio=0",
    // The data need to outlive a killed server, not a machine without power.
    "--innodb-flush-log-at-trx-commit=2",
    "--debug-no-sync",
    "--performance-schema=off",
];

const RUN_OPTIONS: [&str; 5] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--innodb-buffer-pool-load-at-startup=off",
    "--innodb-buffer-pool-dump-at-shutdown=off",
];

/// Feeds `statements` to a stock client and returns what it printed.
fn run_client(command: &mut Command, statements: &str) -> io::Result<String> {
    let mut client = process::with_pinned_environment(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let input = client.stdin.take();
    let output = thread::scope(|scope| {
        // Fails only where the client ended before it had read everything, and then its status says why.
        scope.spawn(move || input.map(|mut input| input.write_all(statements.as_bytes())));
        client.wait_with_output()
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("mariadb: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

fn not_running(state: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, format!("mariadbd is {state}"))
}

/// A name as SQL writes it.
fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL writes it.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests;
