//! A private ssh server on the loopback address, with keys, port, configuration and log of its own.
//!
//! Invariant: everything it writes is in the folder it was given (as root it also makes sshd's own
//! `/run/sshd`); it listens on 127.0.0.1 alone, or on the one address of a network namespace that it was given; the ssh configuration that it hands out sends every host name
//! to it and nowhere else; and it ends with its owner, even when that one is killed. It does not know what the
//! connections are used for.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::processes::{self, Signal, wait_until};
use crate::setup::Tool;

/// What a server is to be like. Lines given here come first in their file, where ssh lets the first one win.
#[derive(Debug, Clone, Default)]
pub struct SshdOptions {
    /// Host names whose key the client knows, such as `ipp022` and `ipp0222`. Other names reach the server too,
    /// but their host key is unknown.
    pub aliases: Vec<String>,
    /// Further lines of sshd_config, such as `ForceCommand /bin/false`.
    pub server_lines: Vec<String>,
    /// Further lines of ssh_config, at its beginning, so they can open `Host` blocks of their own.
    pub client_lines: Vec<String>,
    /// Where the server runs, when not beside the client on 127.0.0.1.
    pub network: Option<Network>,
}

/// A network namespace of this machine, and the address in it that is reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// As `ip netns` names it.
    pub namespace: String,
    /// The server listens there.
    pub address: Ipv4Addr,
}

impl SshdOptions {
    /// A server that is known by these names.
    #[must_use]
    pub fn known_as(aliases: &[&str]) -> SshdOptions {
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        SshdOptions { aliases, ..SshdOptions::default() }
    }

    /// The same with another line of sshd_config.
    #[must_use]
    pub fn server_line(mut self, line: &str) -> SshdOptions {
        self.server_lines.push(line.to_owned());
        self
    }

    /// The same with another line of ssh_config.
    #[must_use]
    pub fn client_line(mut self, line: &str) -> SshdOptions {
        self.client_lines.push(line.to_owned());
        self
    }

    /// The same in another network.
    #[must_use]
    pub fn in_network(mut self, network: Network) -> SshdOptions {
        self.network = Some(network);
        self
    }
}

/// A running or stopped private server. Dropping it ends the server and its sessions.
#[derive(Debug)]
pub struct Sshd {
    dir: Utf8PathBuf,
    options: SshdOptions,
    user: String,
    port: u16,
    running: Option<Running>,
}

/// The server's process, and a shell that ends it when we die without having done so ourselves: it waits for
/// the end of its standard input, which is a pipe that only we hold open.
#[derive(Debug)]
struct Running {
    server: Child,
    guard: Option<Child>,
}

impl Sshd {
    /// Starts a server with fresh keys in `dir`, which is created where it is missing, on a free port, and
    /// returns when it answers.
    ///
    /// # Errors
    /// When a tool is missing, a file cannot be written, or sshd does not start; the message holds what it
    /// logged.
    pub fn start(dir: &Utf8Path, options: SshdOptions) -> io::Result<Sshd> {
        const TRIES: u32 = 20;
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize_utf8()?;
        make_privilege_separation_folder()?;
        fs::create_dir_all(dir.join(HOME))?;
        make_key(&dir.join(CLIENT_KEY))?;
        make_key(&dir.join(HOST_KEY))?;
        let mut sshd = Sshd { dir, options, user: user_name()?, port: 0, running: None };
        sshd.restore_key()?;
        sshd.trust_host_key()?;
        for _ in 0..TRIES {
            sshd.port = free_port()?;
            sshd.write_client_config()?;
            match sshd.launch() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result.map(|()| sshd),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("sshd: no port stayed free in {TRIES} tries")))
    }

    /// The ssh_config that leads here; for `ssh -F`.
    #[must_use]
    pub fn config_path(&self) -> Utf8PathBuf {
        self.dir.join("ssh_config")
    }

    /// The client's list of host keys.
    #[must_use]
    pub fn known_hosts_path(&self) -> Utf8PathBuf {
        self.dir.join("known_hosts")
    }

    /// What the server said, at level VERBOSE, since its first start.
    #[must_use]
    pub fn log_path(&self) -> Utf8PathBuf {
        self.dir.join("sshd.log")
    }

    /// The client's private key, for clients other than ssh.
    #[must_use]
    pub fn client_key_path(&self) -> Utf8PathBuf {
        self.dir.join(CLIENT_KEY)
    }

    /// The name of the user who can log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.options.network.as_ref().map_or(Ipv4Addr::LOCALHOST, |network| network.address)
    }

    /// The port at that address; a restart keeps it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, where it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.server.id())
    }

    /// The processes of the open connections: sshd's own, shells, and what they started.
    #[must_use]
    pub fn sessions(&self) -> Vec<u32> {
        self.pid().map(processes::descendants).unwrap_or_default()
    }

    /// Runs `ssh alias true`, to say early why nothing else will work, such as a locked account.
    ///
    /// # Errors
    /// With what ssh said and where the server's log is.
    pub fn probe(&self, alias: &str) -> io::Result<()> {
        let ssh = Tool::Ssh.require()?;
        let config = self.config_path();
        let output = Command::new(ssh).args(["-F", config.as_str(), "--", alias, "true"]).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let log = self.log_path();
        Err(io::Error::other(format!("ssh to the private sshd failed: {} (its log: {log})", said.trim())))
    }

    /// Ends the server and its sessions; connections are refused from now on. Nothing where it is stopped.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        // Stopped first, so that no connection is accepted after they were listed. It fails only for a server
        // that has ended.
        let _ = processes::signal(running.server.id(), Signal::STOP);
        let sessions = processes::descendants(running.server.id());
        running.end();
        kill_all(&sessions);
    }

    /// Stops the server where it runs, and starts it again on the same port with the same keys.
    ///
    /// # Errors
    /// When it does not start, or somebody else took the port meanwhile.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.launch()
    }

    /// Restarts the server with other lines in its sshd_config than it was started with.
    ///
    /// # Errors
    /// As [`Sshd::restart`].
    pub fn restart_with(&mut self, server_lines: &[&str]) -> io::Result<()> {
        self.options.server_lines = server_lines.iter().map(|&line| line.to_owned()).collect();
        self.restart()
    }

    /// New connections are denied from now on; open ones stay.
    ///
    /// # Errors
    /// When the list of allowed keys cannot be written.
    pub fn revoke_key(&self) -> io::Result<()> {
        fs::write(self.dir.join(AUTHORIZED_KEYS), "")
    }

    /// Undoes [`Sshd::revoke_key`].
    ///
    /// # Errors
    /// When the list of allowed keys cannot be written.
    pub fn restore_key(&self) -> io::Result<()> {
        fs::copy(self.dir.join(format!("{CLIENT_KEY}.pub")), self.dir.join(AUTHORIZED_KEYS)).map(drop)
    }

    /// Restarts the server with a new host key, while the client still knows the old one.
    ///
    /// # Errors
    /// When the key cannot be made, or as [`Sshd::restart`].
    pub fn change_host_key(&mut self) -> io::Result<()> {
        self.stop();
        let key = self.dir.join(HOST_KEY);
        fs::remove_file(&key)?;
        fs::remove_file(self.dir.join(format!("{HOST_KEY}.pub")))?;
        make_key(&key)?;
        self.restart()
    }

    /// Enters the present host key for every alias, in place of what the client knew.
    ///
    /// # Errors
    /// When the list of known hosts cannot be written.
    pub fn trust_host_key(&self) -> io::Result<()> {
        let public = fs::read_to_string(self.dir.join(format!("{HOST_KEY}.pub")))?;
        let key = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let key = key.trim_end();
        let known: String = self.options.aliases.iter().map(|alias| format!("{alias} {key}\n")).collect();
        fs::write(self.known_hosts_path(), known)
    }

    /// Forgets every host key that the client knew.
    ///
    /// # Errors
    /// When the list of known hosts cannot be written.
    pub fn forget_host_key(&self) -> io::Result<()> {
        fs::write(self.known_hosts_path(), "")
    }

    /// Kills (SIGKILL) everything at the far end of the open connections; the server goes on. Returns the
    /// number of processes.
    pub fn kill_sessions(&self) -> usize {
        let sessions = self.sessions();
        kill_all(&sessions);
        sessions.len()
    }

    /// Stops (SIGSTOP) everything at the far end of the open connections: a host that hangs. Returns the
    /// number of processes.
    ///
    /// # Errors
    /// When one may not be signalled.
    pub fn freeze_sessions(&self) -> io::Result<usize> {
        self.signal_sessions(Signal::STOP)
    }

    /// Undoes [`Sshd::freeze_sessions`].
    ///
    /// # Errors
    /// When one may not be signalled.
    pub fn thaw_sessions(&self) -> io::Result<usize> {
        self.signal_sessions(Signal::CONT)
    }

    /// Seconds of processor time that the server and all ended connections have used.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn cpu_seconds(&self) -> io::Result<f64> {
        match self.pid() {
            Some(pid) => processes::cpu_seconds(pid),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "sshd is stopped")),
        }
    }

    /// Waits until no connection is open; false when one still is after `limit`.
    #[must_use]
    pub fn wait_until_idle(&self, limit: Duration) -> bool {
        wait_until(limit, || self.sessions().is_empty())
    }

    fn signal_sessions(&self, signal: Signal) -> io::Result<usize> {
        let sessions = self.sessions();
        for &session in &sessions {
            processes::signal(session, signal)?;
        }
        Ok(sessions.len())
    }

    /// Starts the server on the port chosen before, and waits until it answers.
    fn launch(&mut self) -> io::Result<()> {
        let program = Tool::Sshd.require()?;
        self.write_server_config(&program)?;
        let log_start = fs::metadata(self.log_path()).map_or(0, |metadata| metadata.len());
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let server = self
            .command(&program)?
            .args(["-D", "-e", "-f", self.dir.join(SERVER_CONFIG).as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let mut running = Running { server, guard: None };
        let ready = running.start_guard().and_then(|()| self.wait_until_ready(&mut running, log_start));
        match ready {
            Ok(()) => self.running = Some(running),
            Err(_) => running.end(),
        }
        ready
    }

    /// `ip netns exec` becomes the program that it starts, so the process is sshd's own in either network.
    fn command(&self, program: &Utf8Path) -> io::Result<Command> {
        let Some(network) = &self.options.network else { return Ok(Command::new(program)) };
        let mut command = Command::new(Tool::Ip.require()?);
        command.args(["netns", "exec", &network.namespace, program.as_str()]);
        Ok(command)
    }

    /// Its own log must say that it listens: on a port just taken by somebody else, another server answers.
    fn wait_until_ready(&self, running: &mut Running, log_start: u64) -> io::Result<()> {
        const LIMIT: Duration = Duration::from_secs(20);
        let mut ended = false;
        let mut listens = false;
        let mut log = String::new();
        let wanted = format!("Server listening on {} port {}.", self.address(), self.port);
        wait_until(LIMIT, || {
            ended = matches!(running.server.try_wait(), Ok(Some(_)) | Err(_));
            log = self.log_since(log_start);
            listens = log.contains(&wanted);
            listens || ended
        });
        let log = log.trim();
        if ended && (log.contains("Address already in use") || log.contains("Cannot bind any address")) {
            let message = format!("sshd: port {} was taken by somebody else", self.port);
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        } else if ended {
            Err(io::Error::other(format!("sshd ended at once, saying: {log}")))
        } else if !listens {
            let seconds = LIMIT.as_secs();
            Err(io::Error::other(format!("sshd does not listen after {seconds} seconds, saying: {log}")))
        } else {
            read_banner(self.address(), self.port)
        }
    }

    fn log_since(&self, start: u64) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }

    fn write_server_config(&self, program: &Utf8Path) -> io::Result<()> {
        let path = self.dir.join(SERVER_CONFIG);
        let config = self.server_config();
        // Since OpenSSH 9.8 a client that is denied a few times is kept out for a while, also after the key is
        // back. Older servers do not know the option and would not start.
        let patient = format!("PerSourcePenalties no\n{config}");
        fs::write(&path, patient)?;
        let output = Command::new(program).args(["-t", "-f", path.as_str()]).output()?;
        if output.status.success() { Ok(()) } else { fs::write(&path, config) }
    }

    fn server_config(&self) -> String {
        let host_key = quoted(&self.dir.join(HOST_KEY));
        let allowed = quoted(&percent_escaped(&self.dir.join(AUTHORIZED_KEYS)));
        let own = format!(
            "Port {port}\n\
             ListenAddress {address}\n\
             HostKey {host_key}\n\
             AuthorizedKeysFile {allowed}\n\
             PidFile none\n\
             StrictModes no\n\
             UsePAM no\n\
             UseDNS no\n\
             PubkeyAuthentication yes\n\
             PasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n\
             PermitRootLogin yes\n\
             X11Forwarding no\n\
             PrintMotd no\n\
             PrintLastLog no\n\
             LogLevel VERBOSE\n\
             MaxAuthTries 100\n\
             MaxStartups 1000:30:2000\n\
             MaxSessions 1000\n",
            port = self.port,
            address = self.address(),
        );
        // A Match block reaches to the end of the file, so it has to come last.
        let lines = &self.with_own_home();
        let is_match = |line: &String| line.trim_start().to_ascii_lowercase().starts_with("match ");
        let (first, last) = lines.split_at(lines.iter().position(is_match).unwrap_or(lines.len()));
        format!("{}{own}{}", with_newlines(first), with_newlines(last))
    }

    /// The further lines, with a home for sessions that has nothing of the user's in it: what a login shell
    /// reads there, and does, is not our business. sshd heeds the first `SetEnv` only.
    fn with_own_home(&self) -> Vec<String> {
        let home = format!("\"HOME={}\"", self.dir.join(HOME));
        let mut lines = self.options.server_lines.clone();
        match lines.iter_mut().find(|line| line.starts_with("SetEnv ")) {
            Some(line) if line.contains("HOME=") => {}
            Some(line) => line.push_str(&format!(" {home}")),
            None => lines.insert(0, format!("SetEnv {home}")),
        }
        lines
    }

    fn write_client_config(&self) -> io::Result<()> {
        let aliases: String = self
            .options
            .aliases
            .iter()
            .map(|alias| format!("Host {alias}\n    HostKeyAlias {alias}\n"))
            .collect();
        let config = format!(
            "{first}{aliases}\
             Host *\n\
             \x20   HostName {address}\n\
             \x20   Port {port}\n\
             \x20   User {user}\n\
             \x20   IdentityFile {identity}\n\
             \x20   IdentitiesOnly yes\n\
             \x20   IdentityAgent none\n\
             \x20   PreferredAuthentications publickey\n\
             \x20   UserKnownHostsFile {known}\n\
             \x20   GlobalKnownHostsFile /dev/null\n\
             \x20   StrictHostKeyChecking yes\n\
             \x20   UpdateHostKeys no\n\
             \x20   CheckHostIP no\n\
             \x20   BatchMode yes\n",
            first = with_newlines(&self.options.client_lines),
            address = self.address(),
            port = self.port,
            user = self.user,
            identity = quoted(&percent_escaped(&self.dir.join(CLIENT_KEY))),
            known = quoted(&percent_escaped(&self.known_hosts_path())),
        );
        fs::write(self.config_path(), config)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start_guard(&mut self) -> io::Result<()> {
        // The name is asked for because the number may belong to another process by then.
        const SCRIPT: &str = "read -r _
            read -r name <\"/proc/$1/comm\" && [ \"$name\" = sshd ] || exit 0
            sessions=$(cat \"/proc/$1/task/$1/children\" 2>/dev/null)
            kill \"$1\" $sessions";
        let guard = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh", &self.server.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.guard = Some(guard);
        Ok(())
    }

    /// The guard goes first, while the server's process id cannot belong to anybody else.
    fn end(mut self) {
        for child in self.guard.iter_mut().chain([&mut self.server]) {
            // Both fail only for a process that has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const CLIENT_KEY: &str = "client_key";
const HOST_KEY: &str = "host_key";
/// The home of the sessions.
const HOME: &str = "session-home";
const AUTHORIZED_KEYS: &str = "authorized_keys";
const SERVER_CONFIG: &str = "sshd_config";

/// As root, sshd wants this folder, which a system that never started its own sshd does not have.
fn make_privilege_separation_folder() -> io::Result<()> {
    const FOLDER: &str = "/run/sshd";
    if !rustix::process::geteuid().is_root() || Utf8Path::new(FOLDER).is_dir() {
        return Ok(());
    }
    match fs::create_dir(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(error.kind(), format!("{FOLDER}: {error}")))
        }
        _ => Ok(()),
    }
}

fn make_key(path: &Utf8Path) -> io::Result<()> {
    let program = Tool::SshKeygen.require()?;
    let output = Command::new(program)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "minidvodbcopy-test", "-f", path.as_str()])
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ssh-keygen could not make {path}: {}", said.trim())))
}

fn user_name() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if name.is_empty() {
        return Err(io::Error::other("`id -un` names no user, and ssh cannot log in without a name"));
    }
    Ok(name)
}

/// A port on 127.0.0.1 that nobody listens on at this moment.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn read_banner(address: Ipv4Addr, port: u16) -> io::Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    let address = SocketAddr::from((address, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut banner = [0; 7];
    stream.read_exact(&mut banner)?;
    if &banner == b"SSH-2.0" {
        return Ok(());
    }
    let banner = String::from_utf8_lossy(&banner).into_owned();
    Err(io::Error::other(format!("port {port} answered with {banner:?}, which no sshd would")))
}

/// Kills these processes and waits, bounded, until they are gone.
fn kill_all(pids: &[u32]) {
    for &pid in pids {
        // Fails only for a process that is not ours any more: then it is none of our sessions either.
        let _ = processes::signal(pid, Signal::KILL);
    }
    wait_until(Duration::from_secs(5), || !pids.iter().any(|&pid| processes::is_running(pid)));
}

fn quoted(path: &Utf8Path) -> String {
    format!("\"{path}\"")
}

/// For options in which ssh replaces `%` and a letter.
fn percent_escaped(path: &Utf8Path) -> Utf8PathBuf {
    path.as_str().replace('%', "%%").into()
}

fn with_newlines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests;
