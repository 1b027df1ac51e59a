//! A proxy on the loopback address between a database client and its server, which notes the statements that
//! pass and loses the connections at a statement of the test's choice.
//!
//! Invariant: bytes pass unchanged (but for the offer of encryption and compression, which it could not follow);
//! once it has cut, nothing passes until it is mended; its threads end with it. It knows the protocol's framing
//! and no SQL.

mod packets;

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Scope};
use std::time::{Duration, Instant};

use packets::{Conversation, Message};

/// A running proxy. Dropping it closes all of its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy that leads to this port on 127.0.0.1; nobody needs to listen there yet.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(server_port: u16) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, server_port)),
            state: Mutex::default(),
        });
        let acceptor = thread::Builder::new().name("proxy".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        })?;
        Ok(Proxy { address, shared, acceptor: Some(acceptor) })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What the clients ran since the start or the last [`Proxy::reset`], over all connections: texts of queries,
    /// and of prepared statements once for each time they were executed. The one it cut at is the last.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        self.shared.lock().statements.clone()
    }

    /// Loses all connections when the n-th statement, from 1 and counted as in [`Proxy::statements`], comes from
    /// the client: the server does not see it. New connections are closed until [`Proxy::mend`].
    pub fn cut_before(&self, n: usize) {
        self.shared.lock().mode = Mode::CutBefore(n);
    }

    /// Loses all connections after the server has answered the n-th statement; the client does not see the
    /// answer. New connections are closed until [`Proxy::mend`].
    pub fn cut_after(&self, n: usize) {
        self.shared.lock().mode = Mode::CutAfter(n);
    }

    /// Has it cut, and was not mended since?
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.shared.lock().mode == Mode::Cut
    }

    /// Lets connections pass, now and in future.
    pub fn mend(&self) {
        self.shared.lock().mode = Mode::Pass;
    }

    /// Forgets the statements, so that the next one is the first. A cut and the plan of one stay.
    pub fn reset(&self) {
        self.shared.lock().statements.clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.mode = Mode::Ended;
            state.open.values().for_each(|link| link.close());
        }
        // The acceptor sleeps until somebody connects. Where even that fails, waiting for it could last for ever.
        if let (Ok(_), Some(acceptor)) = (TcpStream::connect(self.address), self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    statements: Vec<String>,
    open: HashMap<u64, Arc<Link>>,
    next: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    #[default]
    Pass,
    CutBefore(usize),
    CutAfter(usize),
    Cut,
    Ended,
}

/// What becomes of a statement.
enum Verdict {
    Pass,
    Lose,
    LoseAnswer,
}

/// One client and its connection to the server.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: TcpStream,
    conversation: Mutex<Conversation>,
    /// Since when the answer is waited for that the client shall not see.
    losing_answer: OnceLock<Instant>,
}

const MAX_CONNECTIONS: usize = 200;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns at the end of the proxy, after all connections have ended.
    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for client in listener.incoming() {
                if self.lock().mode == Mode::Ended {
                    break;
                }
                match client {
                    Ok(client) => self.serve(scope, client),
                    // Such as too many open files, which does not go away at once.
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
    }

    /// Starts the threads of a connection. Where that fails the client sees a closed connection.
    fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, client: TcpStream) {
        let work = move || {
            let Ok(link) = self.connect(client) else { return };
            let Some(number) = self.register(&link) else { return };
            thread::scope(|scope| {
                let downstream = || {
                    // A lost connection is what both sides see; there is nobody else to tell.
                    let _ = link.pass_answers();
                    link.close();
                };
                if thread::Builder::new().spawn_scoped(scope, downstream).is_ok() {
                    let _ = self.pass_commands(number, &link);
                }
                if link.losing_answer.get().is_none() {
                    link.close();
                }
            });
            self.lock().open.remove(&number);
        };
        let _ = thread::Builder::new().spawn_scoped(scope, work);
    }

    fn connect(&self, client: TcpStream) -> io::Result<Arc<Link>> {
        const LIMIT: Duration = Duration::from_secs(10);
        let server = TcpStream::connect_timeout(&self.server, LIMIT)?;
        // Otherwise every small packet would wait for the acknowledgement of the one before.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let conversation = Mutex::default();
        Ok(Arc::new(Link { client, server, conversation, losing_answer: OnceLock::new() }))
    }

    /// The connection's number, unless it may not be.
    fn register(&self, link: &Arc<Link>) -> Option<u64> {
        let mut state = self.lock();
        if matches!(state.mode, Mode::Cut | Mode::Ended) || state.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.open.insert(number, Arc::clone(link));
        Some(number)
    }

    fn pass_commands(&self, number: u64, link: &Link) -> io::Result<()> {
        let mut client = BufReader::new(&link.client);
        while let Some(message) = Message::read(&mut client)? {
            let statement = link.conversation().client_says(&message);
            match statement.map_or(Verdict::Pass, |text| self.lock().judge(number, text)) {
                Verdict::Pass => (&link.server).write_all(message.wire())?,
                Verdict::Lose => return Ok(()),
                Verdict::LoseAnswer => return link.lose_answer_to(&message),
            }
        }
        Ok(())
    }
}

impl State {
    /// Notes a statement of the connection with this number, and closes the others where this is the one to cut
    /// at: nothing shall pass on them from now on.
    fn judge(&mut self, number: u64, text: String) -> Verdict {
        if matches!(self.mode, Mode::Cut | Mode::Ended) {
            return Verdict::Lose;
        }
        self.statements.push(text);
        let verdict = match self.mode {
            Mode::CutBefore(n) if self.statements.len() >= n => Verdict::Lose,
            Mode::CutAfter(n) if self.statements.len() >= n => Verdict::LoseAnswer,
            _ => return Verdict::Pass,
        };
        self.mode = Mode::Cut;
        self.open.iter().filter(|(other, _)| **other != number).for_each(|(_, link)| link.close());
        verdict
    }
}

impl Link {
    fn conversation(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        // Fails only where the other side has closed already.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Hands the statement on; the other thread, which waits for the answer, then closes the connection.
    fn lose_answer_to(&self, message: &Message) -> io::Result<()> {
        self.server.set_read_timeout(Some(QUIET))?;
        self.losing_answer.get_or_init(Instant::now);
        let sent = (&self.server).write_all(message.wire());
        if sent.is_err() {
            self.close();
        }
        sent
    }

    fn pass_answers(&self) -> io::Result<()> {
        let mut server = BufReader::new(&self.server);
        loop {
            let read = Message::read(&mut server);
            if let Some(&since) = self.losing_answer.get() {
                return drop_answer(&mut server, matches!(read, Ok(Some(_))), since);
            }
            let Some(mut message) = read? else { return Ok(()) };
            self.conversation().server_says(&mut message);
            (&self.client).write_all(message.wire())?;
        }
    }
}

/// How long nothing must come for an answer to count as ended.
const QUIET: Duration = Duration::from_millis(50);

/// Reads on until some of the answer has come (or has `begun`) and then no more for [`QUIET`], which is the time
/// limit of each read.
fn drop_answer(server: &mut impl Read, mut begun: bool, since: Instant) -> io::Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    let mut bytes = [0; 4096];
    loop {
        match server.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => begun = true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if begun || since.elapsed() >= LIMIT {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
