//! An IPP database for a test, in a private MariaDB, and a world that is set to use it.
//!
//! Invariant: each has a database and a user of its own, so that tests share a server and see nothing of each
//! other. Rows are read and written with the stock client, never with anything of ours.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use xtask::dvo::Shape;
use xtask::mariadb::{self, MariaDb, MariaDbOptions};
use xtask::proxy::Proxy;
use xtask::setup::Tool;

use super::world::{Ran, World};

/// The password of every user in these databases: nothing else looks like it.
pub const PASSWORD: &str = "Kiwi-7f3a-Moa";

/// A database with the predecessor's tables, and a user who may SELECT, INSERT and UPDATE there.
pub struct Ipp {
    server: Server,
    pub database: String,
    pub user: String,
}

enum Server {
    Shared(Arc<MariaDb>),
    Own(Box<MariaDb>),
}

impl Ipp {
    /// In the server that all tests share.
    pub fn shared() -> Self {
        Self::on(Server::Shared(mariadb::shared().unwrap()))
    }

    /// In a server of its own, which may be paused, stopped and killed.
    pub fn own(options: MariaDbOptions) -> Self {
        Self::on(Server::Own(Box::new(MariaDb::start_temporary(options).unwrap())))
    }

    fn on(server: Server) -> Self {
        let ipp = Self { server, database: mariadb::fresh_name(), user: mariadb::fresh_name() };
        ipp.server().create_ipp(&ipp.database).unwrap();
        ipp.server().create_user(&ipp.user, PASSWORD, &ipp.database).unwrap();
        ipp
    }

    pub fn server(&self) -> &MariaDb {
        match &self.server {
            Server::Shared(server) => server,
            Server::Own(server) => server,
        }
    }

    /// The server, where it is this one's own.
    pub fn own_server(&mut self) -> &mut MariaDb {
        match &mut self.server {
            Server::Shared(_) => panic!("this server belongs to others too"),
            Server::Own(server) => server,
        }
    }

    /// Where it is, over TCP.
    pub fn url(&self) -> String {
        self.url_at(self.server().port())
    }

    /// The same through another port of this machine.
    pub fn url_at(&self, port: u16) -> String {
        format!("mysql://{}@127.0.0.1:{port}/{}", self.user, self.database)
    }

    /// Runs statements as root; times are in UTC.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        let statements = format!("SET time_zone = '+00:00';\n{statements}");
        self.server().sql_in(&self.database, &statements).unwrap()
    }

    /// The lines of an answer.
    #[track_caller]
    pub fn lines(&self, query: &str) -> Vec<String> {
        self.sql(query).lines().map(str::to_owned).collect()
    }

    /// A count, or another single number.
    #[track_caller]
    pub fn number(&self, query: &str) -> u64 {
        let answer = self.sql(query);
        answer.trim().parse().unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// A merged minidvodb, processed without a fault.
    #[track_caller]
    pub fn add_merged(&self, id: u64, group: &str, path: &Utf8Path) {
        self.add_run(id, group, path, "merged");
        self.add_processed(id, 0);
    }

    /// A row of minidvodbRun alone.
    #[track_caller]
    pub fn add_run(&self, id: u64, group: &str, path: &Utf8Path, state: &str) {
        let (group, path, state) = (quoted(group), quoted(path.as_str()), quoted(state));
        self.sql(&format!(
            "INSERT INTO minidvodbRun (minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state)
             VALUES ({id}, CONCAT({group}, '.', {id}), {group}, {path}, {state})"
        ));
    }

    #[track_caller]
    pub fn add_processed(&self, id: u64, fault: i16) {
        self.sql(&format!("INSERT INTO minidvodbProcessed (minidvodb_id, fault) VALUES ({id}, {fault})"));
    }

    /// A row of minidvodbCopy, as SQL writes its values: minidvodb_id, minidvodb_rsync_path, destination_host,
    /// fault, state, epoch, dtime. Says its minidvodbcopy_id.
    #[track_caller]
    pub fn add_copy(&self, values: &str) -> u64 {
        self.number(&format!(
            "INSERT INTO minidvodbCopy
             (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime)
             VALUES ({values}); SELECT LAST_INSERT_ID();"
        ))
    }

    /// Changes the row of a minidvodb and host; nothing else in it moves.
    #[track_caller]
    pub fn change(&self, minidvodb_id: u64, host: &str, assignments: &str) {
        let changed = self.number(&format!(
            "UPDATE minidvodbCopy SET {assignments}
             WHERE minidvodb_id = {minidvodb_id} AND destination_host = {};
             SELECT ROW_COUNT();",
            quoted(host)
        ));
        assert_eq!(changed, 1, "{assignments}");
    }

    /// All rows of minidvodbCopy without their ids, as [`ledger_copies`] writes copies, sorted.
    #[track_caller]
    pub fn copies(&self) -> Vec<String> {
        let mut copies: Vec<String> = self.numbered_copies().into_iter().map(|(_, copy)| copy).collect();
        copies.sort();
        copies
    }

    /// The same with the ids, in their order.
    #[track_caller]
    pub fn numbered_copies(&self) -> Vec<(u64, String)> {
        let rows = self.lines(
            "SELECT minidvodbcopy_id, minidvodb_id, destination_host, minidvodb_rsync_path, state, fault,
                    epoch, CAST(dtime AS DOUBLE)
             FROM minidvodbCopy ORDER BY minidvodbcopy_id",
        );
        rows.iter()
            .map(|row| {
                let fields: Vec<&str> = row.split('\t').collect();
                let [id, minidvodb_id, host, path, state, fault, epoch, dtime] = fields[..] else {
                    panic!("{row}")
                };
                let epoch = if epoch == "0000-00-00 00:00:00" { "NULL" } else { epoch };
                let dtime = dtime.parse::<f64>().map_or("NULL".to_owned(), |dtime| text_of(dtime as f32));
                let copy = format!("{minidvodb_id} {host}:{path} {state} {fault} {epoch} {dtime}");
                (id.parse().unwrap(), copy)
            })
            .collect()
    }

    /// Every byte of minidvodbCopy, to see that nothing at all has moved.
    #[track_caller]
    pub fn raw(&self) -> Vec<String> {
        self.lines(
            "SELECT minidvodbcopy_id, minidvodb_id, HEX(destination_host), HEX(minidvodb_rsync_path),
                    HEX(state), fault, epoch, CAST(dtime AS DOUBLE)
             FROM minidvodbCopy ORDER BY minidvodbcopy_id",
        )
    }

    /// Opens a session as root that stays open, to hold locks.
    pub fn session(&self) -> Session {
        let mut client = Command::new(Tool::MariaDbClient.require().unwrap())
            .args(["--no-defaults", "--user=root", "--skip-ssl", "--batch", "--skip-column-names"])
            .args(["--unbuffered", &format!("--socket={}", self.server().socket())])
            .arg(format!("--database={}", self.database))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
        Session { client, input: Some(input), output: BufReader::new(output) }
    }

    /// How many of the program's connections wait for a lock of somebody else.
    #[track_caller]
    pub fn waiting(&self) -> u64 {
        self.connections("AND state LIKE 'Waiting%'")
    }

    /// How many connections the program has.
    #[track_caller]
    pub fn connections(&self, further: &str) -> u64 {
        let user = quoted(&self.user);
        self.number(&format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = {user} {further}"
        ))
    }

    /// Ends all of the program's connections from the server's side.
    #[track_caller]
    pub fn kill_connections(&self) {
        self.sql(&format!("KILL CONNECTION USER '{}'", self.user));
    }
}

/// A session that holds its locks until it is dropped.
pub struct Session {
    client: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Runs a statement that answers nothing, and returns when it is done.
    #[track_caller]
    pub fn run(&mut self, statement: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{statement}; SELECT 'done';").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A world that uses an IPP database.
pub struct Site {
    // The program's folder goes before the database does.
    pub world: World,
    pub ipp: Ipp,
}

impl Site {
    /// A world without an sshd, and a database in the shared server.
    pub fn new() -> Self {
        Self::of(World::new(), Ipp::shared())
    }

    /// The same with minidvodbs `ThreePi.1` to `ThreePi.COUNT` in the database, merged, and a target for them to
    /// `localhost`, which is on.
    #[track_caller]
    pub fn prepared(count: u64) -> Self {
        let site = Self::new();
        site.prepare(count);
        site
    }

    #[track_caller]
    pub fn of(world: World, ipp: Ipp) -> Self {
        connect(&world, &ipp.url());
        Self { world, ipp }
    }

    /// [`Site::prepared`], with a proxy between the program and the server.
    #[track_caller]
    pub fn behind_proxy(count: u64) -> (Self, Proxy) {
        let site = Self::prepared(count);
        let proxy = site.add_proxy();
        (site, proxy)
    }

    /// Puts a proxy between the program and the server.
    #[track_caller]
    pub fn add_proxy(&self) -> Proxy {
        let proxy = Proxy::start(self.ipp.server().port()).unwrap();
        connect(&self.world, &self.ipp.url_at(proxy.port()));
        proxy
    }

    #[track_caller]
    pub fn prepare(&self, count: u64) {
        for id in 1..=count {
            let folder = self.world.make(&format!("ThreePi.{id}"), Shape::tiny());
            self.ipp.add_merged(id, "ThreePi", &folder);
        }
        self.add_target();
    }

    /// The target of ThreePi to `localhost`, which is on.
    #[track_caller]
    pub fn add_target(&self) {
        self.ok(&["target", "add", "ThreePi", "localhost", self.world.there().as_str()]);
        self.ok(&["host", "add", "localhost"]);
    }

    /// Minidvodbs that are nowhere on disk, for rows that nobody copies: FIRST to LAST.
    #[track_caller]
    pub fn add_bare(&self, first: u64, last: u64) {
        let of_each =
            |values: &dyn Fn(u64) -> String| (first..=last).map(values).collect::<Vec<_>>().join(",\n");
        let source = quoted(self.world.source("bare").as_str());
        self.ipp.sql(&format!(
            "INSERT INTO minidvodbRun (minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state)
             VALUES {};
             INSERT INTO minidvodbProcessed (minidvodb_id, fault) VALUES {};",
            of_each(&|id| format!("({id}, 'ThreePi.{id}', 'ThreePi', CONCAT({source}, '.{id}'), 'merged')")),
            of_each(&|id| format!("({id}, 0)")),
        ));
    }

    /// Rows of minidvodbCopy for [`Site::add_bare`]: all at one host, in one state.
    #[track_caller]
    pub fn add_bare_copies(&self, first: u64, last: u64, host: &str, state: &str) {
        let there = quoted(self.world.there().as_str());
        let host = quoted(host);
        let rows: Vec<String> = (first..=last)
            .map(|id| format!("({id}, {there}, {host}, 0, '{state}', '2011-05-02 03:04:05', 1.5)"))
            .collect();
        self.ipp.sql(&format!(
            "INSERT INTO minidvodbCopy
             (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime) VALUES {}",
            rows.join(",\n")
        ));
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.world.run(arguments)
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        self.world.ok(arguments)
    }

    /// Queues for all targets on both sides, and copies nothing.
    #[track_caller]
    pub fn queue(&self) {
        self.ok(&["stage", "off", "load"]);
        self.ok(&["run"]);
        self.ok(&["stage", "on", "load"]);
        self.ok(&["sync"]);
    }

    /// A sync that has something to do, and says so in one line.
    #[track_caller]
    pub fn sync(&self) -> Ran {
        let ran = self.ok(&["sync"]);
        assert_eq!(ran.stdout.lines().count(), 1, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
        ran
    }

    /// Fails unless a sync finds nothing to do, says nothing and moves nothing on either side.
    #[track_caller]
    pub fn expect_at_rest(&self) {
        let before = (self.ipp.raw(), ledger_copies(&self.world));
        self.ok(&["sync"]).is_silent();
        assert_eq!((self.ipp.raw(), ledger_copies(&self.world)), before);
    }

    /// Fails unless both sides hold the same copies, and a sync agrees.
    #[track_caller]
    pub fn expect_in_step(&self) {
        assert_eq!(self.ipp.copies(), ledger_copies(&self.world), "the database, and the ledger");
        self.expect_at_rest();
    }

    /// State and fault of each copy of the ledger, by minidvodb and host: `1 localhost new 0`.
    #[track_caller]
    pub fn standings(&self) -> Vec<String> {
        standings(&self.world)
    }

    /// State and fault of each row of the database, likewise.
    #[track_caller]
    pub fn standings_there(&self) -> Vec<String> {
        self.ipp.lines(
            "SELECT CONCAT_WS(' ', minidvodb_id, destination_host, state, fault)
             FROM minidvodbCopy ORDER BY minidvodb_id, destination_host, minidvodbcopy_id",
        )
    }

    /// The lines of the operators' log.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        self.ok(&["log", "show"]).stdout.lines().map(str::to_owned).collect()
    }

    /// How many conflicts the operators' log keeps.
    #[track_caller]
    pub fn conflicts(&self) -> usize {
        self.log().iter().filter(|line| line.contains("both changed")).count()
    }

    /// A file with the password, which nobody else can read.
    #[track_caller]
    pub fn password_file(&self) -> Utf8PathBuf {
        self.world.root.join("password")
    }

    /// The bytes of the ledger.
    #[track_caller]
    pub fn ledger_bytes(&self) -> Vec<u8> {
        std::fs::read(self.world.state().join("ledger.redb")).unwrap()
    }

    /// The path of the target, as SQL writes it.
    pub fn there(&self) -> String {
        quoted(self.world.there().as_str())
    }
}

/// Sets the database of a world, with a password file that nobody else can read.
#[track_caller]
pub fn connect(world: &World, url: &str) {
    let file = world.root.join("password");
    write_password(&file, PASSWORD, 0o600);
    world.ok(&["database", "set", url, "--password-file", file.as_str()]);
}

#[track_caller]
pub fn write_password(file: &Utf8Path, password: &str, mode: u32) {
    let _ = std::fs::remove_file(file);
    std::fs::write(file, format!("{password}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// State and fault of each copy in a world's ledger: `1 localhost new 0`.
#[track_caller]
pub fn standings(world: &World) -> Vec<String> {
    let mut copies = world.list();
    copies.sort_by_key(|copy| (copy["minidvodb_id"].as_u64(), text(&copy["destination_host"])));
    copies
        .iter()
        .map(|copy| {
            let (host, state) = (text(&copy["destination_host"]), text(&copy["state"]));
            format!("{} {host} {state} {}", copy["minidvodb_id"], copy["fault"])
        })
        .collect()
}

/// All copies in a world's ledger without their ids, sorted: `1 localhost:/data/x full 0 EPOCH DTIME`.
#[track_caller]
pub fn ledger_copies(world: &World) -> Vec<String> {
    let mut copies: Vec<String> = world.list().iter().map(copy_text).collect();
    copies.sort();
    copies
}

#[track_caller]
fn copy_text(copy: &Value) -> String {
    let epoch = copy["epoch"].as_str().map_or("NULL".to_owned(), |epoch| {
        let at: jiff::Timestamp = epoch.parse().unwrap();
        at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    });
    let dtime = copy["dtime"].as_f64().map_or("NULL".to_owned(), |dtime| text_of(dtime as f32));
    let (host, path) = (text(&copy["destination_host"]), text(&copy["minidvodb_rsync_path"]));
    let (state, fault) = (text(&copy["state"]), &copy["fault"]);
    format!("{} {host}:{path} {state} {fault} {epoch} {dtime}", copy["minidvodb_id"])
}

/// A float by its very bits, and readable.
fn text_of(dtime: f32) -> String {
    format!("{dtime:e}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// A text as SQL writes it, whatever the server's sql_mode.
pub fn quoted(text: &str) -> String {
    assert!(!text.contains('\\'), "{text}");
    format!("'{}'", text.replace('\'', "''"))
}
