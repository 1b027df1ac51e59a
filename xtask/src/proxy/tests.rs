//! Each with a real server, and with the stock client or one that speaks just enough to prepare statements.

use std::process::{Command, Output, Stdio};

use super::*;
use crate::mariadb::{self, MariaDb, MariaDbOptions};
use crate::processes::wait_until;

const LIMIT: Duration = Duration::from_secs(20);

struct Fixture {
    proxy: Proxy,
    database: String,
    server: Arc<MariaDb>,
}

impl Fixture {
    /// A proxy to the shared server, and a database with an empty table `t`.
    fn new() -> Fixture {
        let server = mariadb::shared().unwrap();
        let database = mariadb::fresh_name();
        server.sql(&format!("CREATE DATABASE {database}; CREATE TABLE {database}.t (i INT)")).unwrap();
        Fixture { proxy: Proxy::start(server.port()).unwrap(), database, server }
    }

    /// Runs statements, separated by semicolons, with the stock client through the proxy.
    fn run(&self, statements: &str) -> Output {
        let port = format!("--port={}", self.proxy.port());
        Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--protocol=tcp", "--host=127.0.0.1", &port])
            .args(["--batch", "--skip-column-names", "--database", &self.database, "--execute", statements])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn rows(&self) -> String {
        self.server.sql_in(&self.database, "SELECT i FROM t ORDER BY i").unwrap().replace('\n', " ")
    }
}

/// Logs in as root without a password and sends commands one by one.
struct RawClient(TcpStream);

impl RawClient {
    fn connect(port: u16) -> RawClient {
        const CAPABILITIES: u32 = 0x0008_8201; // long password, protocol 4.1, its authentication, plugin names
        let mut client = RawClient(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
        client.0.set_read_timeout(Some(LIMIT)).unwrap();
        let greeting = client.read().unwrap();
        assert_eq!(greeting[0], 10);
        let mut login = CAPABILITIES.to_le_bytes().to_vec();
        login.extend((1_u32 << 24).to_le_bytes());
        login.push(45);
        login.extend([0; 23]);
        login.extend(b"root\0\0mysql_native_password\0");
        client.write(1, &login);
        assert_eq!(client.read().unwrap()[0], 0);
        client
    }

    fn write(&mut self, sequence: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let packet = [&length[..3], &[sequence], payload].concat();
        // Fails only where the connection was lost, which the next read tells.
        let _ = self.0.write_all(&packet);
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header)?;
        let mut payload = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8];
        self.0.read_exact(&mut payload)?;
        Ok(payload)
    }

    fn command(&mut self, command: u8, rest: &[u8]) -> io::Result<Vec<u8>> {
        self.write(0, &[&[command], rest].concat());
        self.read()
    }

    /// Prepares a statement without parameters or columns, and returns its number.
    fn prepare(&mut self, statement: &str) -> [u8; 4] {
        let answer = self.command(0x16, statement.as_bytes()).unwrap();
        assert_eq!(answer[0], 0, "{}", String::from_utf8_lossy(&answer));
        answer[1..5].try_into().unwrap()
    }

    fn execute(&mut self, statement: [u8; 4]) -> io::Result<Vec<u8>> {
        self.command(0x17, &[&statement[..], &[0, 1, 0, 0, 0]].concat())
    }
}

#[test]
fn queries_pass_and_are_noted_over_all_connections() {
    let fixture = Fixture::new();
    let output = fixture.run("INSERT INTO t VALUES (1); SELECT i FROM t");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
    assert!(fixture.run("SELECT REPEAT('x', 3000000) FROM t").stdout.len() > 3_000_000);
    let expected = ["INSERT INTO t VALUES (1)", "SELECT i FROM t", "SELECT REPEAT('x', 3000000) FROM t"];
    assert_eq!(fixture.proxy.statements(), expected);
    fixture.proxy.reset();
    assert!(fixture.proxy.statements().is_empty());
}

#[test]
fn an_executed_statement_is_noted_by_the_text_that_was_prepared() {
    let fixture = Fixture::new();
    let mut client = RawClient::connect(fixture.proxy.port());
    let (one, two) = (format!("INSERT INTO {}.t VALUES (1)", fixture.database), "COMMIT");
    let (first, second) = (client.prepare(&one), client.prepare(two));
    client.command(0x0e, b"").unwrap();
    assert!(fixture.proxy.statements().is_empty());
    for statement in [second, first, first] {
        assert_eq!(client.execute(statement).unwrap()[0], 0);
    }
    assert_eq!(fixture.proxy.statements(), [two, &one, &one]);
    assert_eq!(fixture.rows(), "1 1 ");
    fixture.proxy.cut_before(4);
    assert!(client.execute(first).is_err());
    assert_eq!(fixture.rows(), "1 1 ");
}

#[test]
fn a_cut_before_a_statement_keeps_it_from_the_server() {
    let fixture = Fixture::new();
    fixture.proxy.cut_before(2);
    let output = fixture.run("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ERROR 2013 (HY000)"), "{said}");
    assert!(fixture.proxy.is_cut());
    assert_eq!(fixture.rows(), "1 ");
    assert_eq!(fixture.proxy.statements().len(), 2);
    assert!(!fixture.run("SELECT 1").status.success());
    fixture.proxy.mend();
    assert!(fixture.run("INSERT INTO t VALUES (4)").status.success());
    assert_eq!(fixture.rows(), "1 4 ");
}

#[test]
fn a_cut_after_a_commit_keeps_the_answer_from_the_client() {
    let fixture = Fixture::new();
    fixture.proxy.cut_after(3);
    let output = fixture.run("BEGIN; INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ERROR 2013 (HY000)"), "{said}");
    assert_eq!(fixture.rows(), "1 ");
    assert_eq!(fixture.proxy.statements().last().unwrap(), "COMMIT");
}

#[test]
fn a_slow_answer_is_waited_for_before_the_cut() {
    let fixture = Fixture::new();
    fixture.proxy.cut_after(1);
    let output = fixture.run("INSERT INTO t SELECT 1 + SLEEP(0.4)");
    assert!(!output.status.success());
    assert_eq!(fixture.rows(), "1 ");
}

#[test]
fn a_cut_closes_the_other_connections_too() {
    let fixture = Fixture::new();
    let mut idle = RawClient::connect(fixture.proxy.port());
    fixture.proxy.cut_before(1);
    assert!(!fixture.run("SELECT 1").status.success());
    assert_eq!(idle.read().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let mut refused = TcpStream::connect((Ipv4Addr::LOCALHOST, fixture.proxy.port())).unwrap();
    assert_eq!(refused.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn encryption_is_not_offered_to_a_client_that_would_use_it() {
    let server = MariaDb::start_temporary(MariaDbOptions { tls: true, ..MariaDbOptions::default() }).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--protocol=tcp", "--ssl", "--compress"])
        .args([&format!("--port={}", proxy.port()), "--execute", "SELECT 'plain'"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = said.contains("SSL is required");
    assert!(refused || proxy.statements() == ["SELECT 'plain'"], "{said} {:?}", proxy.statements());
}

#[test]
fn a_dropped_proxy_is_gone_and_so_are_its_connections() {
    let fixture = Fixture::new();
    let port = fixture.proxy.port();
    let mut open = RawClient::connect(port);
    let shared = Arc::downgrade(&fixture.proxy.shared);
    drop(fixture);
    assert!(open.read().is_err());
    // Every thread had its share of it, the one that accepts connections too. (The port may be another's by now.)
    assert!(wait_until(LIMIT, || shared.strong_count() == 0));
}

#[test]
fn a_server_that_is_not_there_closes_the_connection() {
    let port = crate::sshd::free_port().unwrap();
    let proxy = Proxy::start(port).unwrap();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
}
