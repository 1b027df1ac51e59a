//! Each with a real server.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn start(options: MariaDbOptions) -> MariaDb {
    MariaDb::start_temporary(options).unwrap()
}

/// What the stock client says over TCP.
fn over_tcp(server: &MariaDb, options: &[&str], statements: &str) -> io::Result<String> {
    let port = format!("--port={}", server.port());
    stock(&[&["--protocol=tcp", "--host=127.0.0.1", &port], options].concat(), statements)
}

fn stock(options: &[&str], statements: &str) -> io::Result<String> {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--batch", "--skip-column-names"]).args(options);
    run_client(&mut command, statements)
}

#[test]
fn statements_run_and_what_the_client_says_about_a_wrong_one_is_in_the_error() {
    let server = shared().unwrap();
    assert_eq!(server.sql("SELECT 1, 'é\\t'; SELECT NULL;").unwrap(), "1\té\\t\nNULL\n");
    let error = server.sql("SELECT 1;\nSELEKT 2;").unwrap_err().to_string();
    assert!(error.starts_with("mariadb: ") && error.contains("ERROR 1064 (42000) at line 2"), "{error}");
    // More than a pipe holds, in both directions at once.
    let line = format!("SELECT '{}';\n", "x".repeat(1000));
    assert_eq!(server.sql(&line.repeat(1000)).unwrap().lines().count(), 1000);
}

#[test]
fn those_who_share_get_the_same_server_and_names_of_their_own() {
    let (one, other) = (shared().unwrap(), shared().unwrap());
    assert_eq!(one.port(), other.port());
    assert_ne!(fresh_name(), fresh_name());
}

#[test]
fn an_ipp_database_has_the_three_tables_and_guards_their_ids() {
    let server = shared().unwrap();
    let database = fresh_name();
    server.create_ipp(&database).unwrap();
    let tables = server.sql_in(&database, "SHOW TABLES").unwrap();
    assert_eq!(tables.lines().collect::<Vec<_>>(), ["minidvodbCopy", "minidvodbProcessed", "minidvodbRun"]);
    let collations = "SELECT DISTINCT engine, table_collation FROM information_schema.tables
        WHERE table_schema = DATABASE()";
    assert_eq!(server.sql_in(&database, collations).unwrap(), "InnoDB\tlatin1_swedish_ci\n");
    let stray =
        "INSERT INTO minidvodbCopy (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state)
        VALUES (7, '/data/x', 'ipp0222', 0, 'new')";
    assert!(server.load(&database, stray).unwrap_err().to_string().contains("foreign key"));
    server
        .load(&database, "INSERT INTO minidvodbRun VALUES (7, 'ThreePi.7', 'ThreePi', '/d', 'merged', NULL)")
        .unwrap();
    server.load(&database, &format!("{stray}; {stray};")).unwrap();
    assert_eq!(server.sql_in(&database, "SELECT COUNT(*) FROM minidvodbCopy").unwrap(), "2\n");
}

#[test]
fn a_user_reads_and_writes_one_database_and_no_other() {
    let server = shared().unwrap();
    let (database, user) = (format!("{}_x", fresh_name()), fresh_name());
    // As a pattern, the first name would match the second.
    let similar = database.replace('_', "y");
    server.create_ipp(&database).unwrap();
    server.create_ipp(&similar).unwrap();
    server.create_user(&user, "it's a \\ secret", &database).unwrap();
    let login = [format!("--user={user}"), "--password=it's a \\ secret".to_owned()];
    let run = |statements: &str| over_tcp(&server, &login.each_ref().map(String::as_str), statements);
    let add = "INSERT INTO minidvodbRun (minidvodb_group, minidvodb_path, state) VALUES ('g', '/p', 'new');
        UPDATE minidvodbRun SET state = 'merged'; SELECT state FROM minidvodbRun;";
    assert_eq!(run(&format!("USE {database}; {add}")).unwrap(), "merged\n");
    for denied in [
        format!("DELETE FROM {database}.minidvodbRun"),
        format!("DROP TABLE {database}.minidvodbRun"),
        format!("SELECT * FROM {similar}.minidvodbRun"),
    ] {
        assert!(run(&denied).unwrap_err().to_string().contains("denied"), "{denied}");
    }
    let socket = format!("--socket={}", server.socket());
    let said = stock(&[&login[0], &login[1], &socket], "SELECT CURRENT_USER()").unwrap();
    assert_eq!(said, format!("{user}@localhost\n"));
}

#[test]
fn modes_and_further_options_reach_the_server() {
    let server = start(MariaDbOptions {
        sql_mode: Some(String::new()),
        explicit_defaults_for_timestamp: Some(false),
        extra: vec!["--max-connections=11".to_owned()],
        ..MariaDbOptions::default()
    });
    let shown = "SELECT @@sql_mode, @@explicit_defaults_for_timestamp, @@max_connections, @@have_ssl";
    assert_eq!(server.sql(shown).unwrap(), "\t0\t11\tDISABLED\n");
    server.create_ipp("ipp").unwrap();
    let implied = server.sql_in("ipp", "SHOW CREATE TABLE minidvodbCopy").unwrap();
    assert!(implied.contains("`epoch` timestamp NOT NULL DEFAULT current_timestamp()"), "{implied}");
    let bad = MariaDbOptions { extra: vec!["--no-such-option".to_owned()], ..MariaDbOptions::default() };
    let error = MariaDb::start_temporary(bad).unwrap_err().to_string();
    assert!(error.contains("no-such-option"), "{error}");
}

#[test]
fn an_encrypted_connection_is_trusted_through_the_right_authority_alone() {
    let server = start(MariaDbOptions { tls: true, ..MariaDbOptions::default() });
    let cipher = "SHOW STATUS LIKE 'Ssl_cipher'";
    let run = |ca: &Utf8Path, host: &str| {
        let (ca, host) = (format!("--ssl-ca={ca}"), format!("--host={host}"));
        over_tcp(&server, &["--user=root", &ca, "--ssl-verify-server-cert", &host], cipher)
    };
    for host in ["127.0.0.1", "localhost"] {
        let shown = run(&server.ca(), host).unwrap();
        assert!(shown.starts_with("Ssl_cipher\tTLS_"), "{host}: {shown}");
    }
    let error = run(&server.other_ca(), "127.0.0.1").unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(over_tcp(&server, &["--user=root", "--skip-ssl"], cipher).unwrap(), "Ssl_cipher\t\n");
}

#[test]
fn a_stopped_or_killed_server_refuses_and_starts_again_with_its_data_and_port() {
    let mut server = start(MariaDbOptions::default());
    let port = server.port();
    server.create_ipp("ipp").unwrap();
    let add = "INSERT INTO minidvodbRun (minidvodb_group, minidvodb_path, state) VALUES ('g', '/p', 'new')";
    for end in [|server: &mut MariaDb| server.stop().unwrap(), MariaDb::kill] {
        server.load("ipp", add).unwrap();
        end(&mut server);
        end(&mut server);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        assert_eq!(server.sql("SELECT 1").unwrap_err().to_string(), "mariadbd is stopped");
        server.start_again().unwrap();
        server.start_again().unwrap();
        assert_eq!(server.port(), port);
    }
    assert_eq!(server.sql_in("ipp", "SELECT COUNT(*) FROM minidvodbRun").unwrap(), "2\n");
}

#[test]
fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let mut server = start(MariaDbOptions::default());
    server.pause().unwrap();
    assert_eq!(server.sql("SELECT 1").unwrap_err().to_string(), "mariadbd is paused");
    let began = Instant::now();
    let error = over_tcp(&server, &["--user=root", "--connect-timeout=1"], "SELECT 1").unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(900), "{error}");
    server.resume().unwrap();
    assert_eq!(server.sql("SELECT 1").unwrap(), "1\n");
    server.pause().unwrap();
    server.stop().unwrap();
}

#[test]
fn a_dropped_server_is_gone_paused_or_not_and_so_is_its_own_folder() {
    for paused in [false, true] {
        let mut server = start(MariaDbOptions::default());
        let (pid, folder) = (server.pid().unwrap(), server.folder().to_owned());
        if paused {
            server.pause().unwrap();
        }
        drop(server);
        assert!(!processes::is_running(pid) && !folder.exists());
    }
}

#[test]
fn the_guard_ends_a_server_whose_owner_died() {
    let mut server = start(MariaDbOptions::default());
    server.pause().unwrap();
    let pid = server.pid().unwrap();
    let State::Paused(process) = &mut server.state else { panic!("it is paused") };
    // An owner's death closes the pipe that the guard reads.
    drop(process.guard().stdin.take());
    assert!(wait_until(LIMIT, || !processes::is_running(pid)));
}

#[test]
fn a_folder_too_deep_for_a_socket_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let deep = Utf8Path::from_path(temp.path()).unwrap().join("x".repeat(110));
    let error = MariaDb::start(&deep, MariaDbOptions::default()).unwrap_err().to_string();
    assert!(error.contains("too long for a socket"), "{error}");
}
