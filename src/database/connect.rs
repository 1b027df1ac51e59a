//! Connecting: the address, the secret, the limits, and what every session is told first.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use mysql::prelude::Queryable as _;
use mysql::{Conn, OptsBuilder, SslOpts};

use super::Trouble;
use crate::error::{Error, Result};
use crate::model::{Address, Tls};

/// A connection, its greeting and its first words must come about within this time.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// An answer must begin within this time.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// After so much silence the kernel looks whether the other end is still there.
const KEEP_ALIVE_MS: u32 = 60_000;
/// A connection may rest for so long, as far as the server is concerned: a copy takes hours, and a session that
/// was cut off without a word must not hold its lock much longer.
pub(super) const REST_MAX_S: u32 = 6 * 3600;
/// A password file is no larger.
const SECRET_MAX_BYTES: u64 = 4096;

/// Where the password comes from.
#[derive(Clone, Debug)]
pub struct Secret {
    /// A file that only its owner may read.
    pub file: Option<String>,
    /// `MYSQL_PWD` of the environment.
    pub environment: Option<String>,
}

impl Secret {
    /// The password, read now.
    ///
    /// # Errors
    /// 78 where the file can't be read, or others may read it.
    pub fn read(&self) -> Result<Option<String>> {
        match &self.file {
            Some(file) => read_secret(file).map(Some),
            None => Ok(self.environment.clone()),
        }
    }
}

fn read_secret(file: &str) -> Result<String> {
    let refused = |why: &str| Error::configuration(format!("the password file {file} {why}"));
    let meta = fs::metadata(file).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    if !meta.is_file() {
        return Err(refused("is not a file"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(refused("may be read by others").hint(format!("type: chmod 600 '{file}'")));
    }
    if meta.len() > SECRET_MAX_BYTES {
        return Err(refused("is too large to hold a password only"));
    }
    let text = fs::read_to_string(file).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.contains(['\n', '\r']) {
        return Err(refused("has more than one line: it must hold the password and nothing else"));
    }
    Ok(password.to_owned())
}

/// A connection to the database.
pub struct Database {
    pub(super) conn: Conn,
    /// Whether the server may be asked to take rows as lines of a file; not known before there are many.
    pub(super) takes_lines: Option<bool>,
    /// The database's name.
    pub name: String,
    /// How it was connected.
    options: OptsBuilder,
}

impl Database {
    /// Connects.
    ///
    /// # Errors
    /// Away or refused.
    pub fn connect(address: &Address, password: Option<String>) -> Result<Self, Trouble> {
        if let Some(ca) = &address.ca {
            // The client would only say that there is no such file, not which.
            fs::File::open(ca)
                .map_err(|error| Trouble::Refused(format!("cannot read the ca {ca}: {error}")))?;
        }
        Self::open(options(address, password), address.name.clone())
    }

    fn open(options: OptsBuilder, name: String) -> Result<Self, Trouble> {
        // The client's own limits do not bound the lookup of the name, nor a server that accepts and then
        // sleeps; a thread that is not waited for does.
        let (sender, receiver) = sync_channel(1);
        let used = options.clone();
        std::thread::spawn(move || {
            let _ = sender.send(open(used));
        });
        match receiver.recv_timeout(CONNECT_MAX) {
            Ok(conn) => Ok(Self { conn: conn?, takes_lines: None, name, options }),
            Err(_) => Err(Trouble::Away(format!("no connection within {} s", CONNECT_MAX.as_secs()))),
        }
    }

    /// One more connection to the same database.
    ///
    /// # Errors
    /// Away or refused: a server may grant only so many.
    pub fn another(&self) -> Result<Self, Trouble> {
        Self::open(self.options.clone(), self.name.clone())
    }

    /// Takes the lock `name`, which is server-wide; false where another connection holds it.
    ///
    /// # Errors
    /// Away or refused.
    pub fn try_lock(&mut self, name: &str) -> Result<bool, Trouble> {
        let taken: Option<Option<i64>> = self.conn.exec_first("SELECT GET_LOCK(?, 0)", (name,))?;
        match taken.flatten() {
            Some(1) => Ok(true),
            Some(_) => Ok(false),
            None => Err(Trouble::Away("the server could not say who holds a lock".to_owned())),
        }
    }

    /// Gives the lock `name` back.
    ///
    /// # Errors
    /// Away or refused.
    pub fn unlock(&mut self, name: &str) -> Result<(), Trouble> {
        Ok(self.conn.exec_drop("DO RELEASE_LOCK(?)", (name,))?)
    }

    /// The number that the server knows this connection by.
    pub fn id(&self) -> u32 {
        self.conn.connection_id()
    }

    /// Ends the connection `id` if it is the one that holds the lock `name`, and takes the lock; false where
    /// another one does.
    ///
    /// # Errors
    /// Away or refused.
    pub fn take_over(&mut self, name: &str, id: u32) -> Result<bool, Trouble> {
        let holder: Option<Option<i64>> = self.conn.exec_first("SELECT IS_USED_LOCK(?)", (name,))?;
        if holder.flatten() != Some(i64::from(id)) {
            return Ok(false);
        }
        self.conn.query_drop(format!("KILL CONNECTION {id}"))?;
        let taken: Option<Option<i64>> = self.conn.exec_first("SELECT GET_LOCK(?, 5)", (name,))?;
        Ok(taken.flatten() == Some(1))
    }

    /// Whether the connection still holds the lock `name`.
    ///
    /// # Errors
    /// Away or refused.
    pub fn holds(&mut self, name: &str) -> Result<bool, Trouble> {
        let holds: Option<Option<i64>> =
            self.conn.exec_first("SELECT IS_USED_LOCK(?) = CONNECTION_ID()", (name,))?;
        Ok(holds.flatten() == Some(1))
    }
}

fn open(options: OptsBuilder) -> Result<Conn, mysql::Error> {
    let mut conn = Conn::new(options)?;
    // A server may be told to overlook what the client says of its character set.
    conn.query_drop("SET NAMES utf8mb4")?;
    conn.query_drop(format!(
        "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         SESSION innodb_lock_wait_timeout = 35, SESSION wait_timeout = {REST_MAX_S}"
    ))?;
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
    Ok(conn)
}

fn options(address: &Address, password: Option<String>) -> OptsBuilder {
    let builder = OptsBuilder::new()
        .user(Some(address.user.clone()))
        .pass(password)
        .db_name(Some(address.name.clone()))
        // Else a server on this machine would be left for the socket that it names.
        .prefer_socket(false)
        .tcp_connect_timeout(Some(CONNECT_MAX))
        .read_timeout(Some(ANSWER_MAX))
        .write_timeout(Some(ANSWER_MAX))
        .tcp_keepalive_time_ms(Some(KEEP_ALIVE_MS));
    match &address.socket {
        Some(socket) => builder.socket(Some(socket.clone())),
        None => builder
            .ip_or_hostname(Some(address.host.clone()))
            .tcp_port(address.port)
            .ssl_opts(encryption(address)),
    }
}

fn encryption(address: &Address) -> Option<SslOpts> {
    match address.tls {
        Tls::Off => None,
        Tls::Required => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        Tls::Verify => Some(SslOpts::default().with_root_cert_path(address.ca.clone().map(PathBuf::from))),
    }
}
