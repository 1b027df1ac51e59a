use expect_test::expect;
use xtask::mariadb::{MariaDb, fresh_name, shared};

use super::*;
use crate::error::Exit;
use crate::faults::{Class, Fault};
use crate::model::{AbsolutePath, CopyId, CopyState, FaultState, Group, Host, MinidvodbId, Name, Verified};

/// A new copy of minidvodb 7 to ipp022, of noon.
fn copy() -> Copy {
    let host = Host::parse("ipp022").unwrap();
    let noon = "2026-11-24T12:00:00Z".parse().unwrap();
    Copy::queued(
        CopyId(3),
        MinidvodbId(7),
        Group::parse("ThreePi").unwrap(),
        host.clone(),
        host.default_machine(),
        AbsolutePath::parse("/data/there").unwrap(),
        Name::parse("ThreePi.7").unwrap(),
        noon,
    )
}

fn to_path(path: &str) -> Copy {
    Copy { path: AbsolutePath::parse(path).unwrap(), ..copy() }
}

fn full(fault: Option<i16>) -> Copy {
    let fault = fault.map(|code| FaultState {
        fault: Fault::from_code(code).unwrap(),
        class: Class::Person,
        next_try: None,
    });
    let state =
        CopyState::Full { verified: Verified::Checksum, published: None, fault, recopy: None, audit: None };
    Copy { state, dtime_s: Some(17.25), ..copy() }
}

fn loadable(copies: &[Copy]) -> String {
    let statements: String = copies.iter().map(|copy| statements(copy).unwrap()).collect();
    head(copies.len() as u64, copies[0].epoch.unwrap_or_default()) + &statements + TAIL
}

/// A database in which minidvodb 7 is known.
fn database(server: &MariaDb) -> String {
    let database = fresh_name();
    server.create_ipp(&database).unwrap();
    let known =
        "INSERT INTO minidvodbRun VALUES (7, 'ThreePi.7', 'ThreePi', '/x/ThreePi.7', 'merged', NOW())";
    server.sql_in(&database, known).unwrap();
    database
}

/// All rows, byte for byte.
fn rows(server: &MariaDb, database: &str) -> String {
    let every = "SET time_zone = '+00:00'; SELECT minidvodbcopy_id, minidvodb_id, HEX(minidvodb_rsync_path), \
         destination_host, fault, state, epoch, CAST(dtime AS DOUBLE) FROM minidvodbCopy ORDER BY 1";
    server.sql_in(database, every).unwrap()
}

/// Loads twice; says what is there, the same after both.
#[track_caller]
fn loaded_twice(server: &MariaDb, database: &str, copies: &[Copy]) -> String {
    server.load(database, &loadable(copies)).unwrap();
    let once = rows(server, database);
    // Were a row written again, a TIMESTAMP that each change sets would show it by the clock that has gone on.
    server.load(database, &format!("SET timestamp = UNIX_TIMESTAMP() + 100;\n{}", loadable(copies))).unwrap();
    assert_eq!(rows(server, database), once, "loaded again");
    once
}

#[test]
fn a_whole_export() {
    expect![[r#"
        -- minidvodbcopy VERSION, 2026-11-24 12:00:00 UTC: 1 copy for the table minidvodbCopy.
        -- Load it with the stock client: mysql NAME < FILE
        -- Each pair (minidvodb_id, destination_host) gets the state that it has here, in its row or in a new one. No
        -- other row is touched. Loaded again, it changes nothing. A statement that fails ends the client, and nothing
        -- of it is kept.
        SET NAMES utf8mb4;
        SET time_zone = '+00:00';
        -- What does not fit a column is refused, never cut.
        SET sql_mode = 'STRICT_ALL_TABLES';
        START TRANSACTION;
        UPDATE minidvodbCopy SET minidvodb_rsync_path = '/data/there', fault = 0, state = 'new', epoch = '2026-11-24 12:00:00', dtime = 0e0 WHERE minidvodb_id = 7 AND destination_host = 'ipp022' ORDER BY (minidvodb_rsync_path <=> '/data/there' AND fault <=> 0 AND state <=> 'new' AND epoch <=> '2026-11-24 12:00:00') DESC, state <=> 'full' DESC, minidvodbcopy_id LIMIT 1;
        INSERT INTO minidvodbCopy (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime) SELECT 7, '/data/there', 'ipp022', 0, 'new', '2026-11-24 12:00:00', 0e0 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM minidvodbCopy WHERE minidvodb_id = 7 AND destination_host = 'ipp022');
        COMMIT;
    "#]]
    .assert_eq(&loadable(&[copy()]).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn a_full_copy_with_a_fault_and_one_of_which_neither_time_is_known() {
    let unknown = Copy { epoch: None, dtime_s: None, ..full(None) };
    expect![[r#"
        UPDATE minidvodbCopy SET minidvodb_rsync_path = '/data/there', fault = 252, state = 'full', epoch = '2026-11-24 12:00:00', dtime = 1.725e1 WHERE minidvodb_id = 7 AND destination_host = 'ipp022' ORDER BY (minidvodb_rsync_path <=> '/data/there' AND fault <=> 252 AND state <=> 'full' AND epoch <=> '2026-11-24 12:00:00') DESC, state <=> 'full' DESC, minidvodbcopy_id LIMIT 1;
        INSERT INTO minidvodbCopy (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime) SELECT 7, '/data/there', 'ipp022', 252, 'full', '2026-11-24 12:00:00', 1.725e1 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM minidvodbCopy WHERE minidvodb_id = 7 AND destination_host = 'ipp022');
        -- The next has no epoch. The one that is there stays, and a new row gets the present time, because NULL in a TIMESTAMP may be refused or become the time of each load.
        UPDATE minidvodbCopy SET minidvodb_rsync_path = '/data/there', fault = 0, state = 'full', dtime = NULL WHERE minidvodb_id = 7 AND destination_host = 'ipp022' ORDER BY (minidvodb_rsync_path <=> '/data/there' AND fault <=> 0 AND state <=> 'full') DESC, state <=> 'full' DESC, minidvodbcopy_id LIMIT 1;
        INSERT INTO minidvodbCopy (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime) SELECT 7, '/data/there', 'ipp022', 0, 'full', UTC_TIMESTAMP(), NULL FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM minidvodbCopy WHERE minidvodb_id = 7 AND destination_host = 'ipp022');
    "#]]
    .assert_eq(&(statements(&full(Some(252))).unwrap() + &statements(&unknown).unwrap()));
}

#[test]
fn what_is_not_plain_is_written_in_hexadecimal() {
    let shown = |path: &str| text(AbsolutePath::parse(path).unwrap().as_str());
    expect!["'/a b;$(x)%`\"-- /*x*/~'"].assert_eq(&shown("/a b;$(x)%`\"-- /*x*/~"));
    expect!["_utf8mb4 X'2F27'"].assert_eq(&shown("/'"));
    expect!["_utf8mb4 X'2F785C'"].assert_eq(&shown("/x\\"));
    expect!["_utf8mb4 X'2FC3A9E282AC'"].assert_eq(&shown("/é€"));
}

#[test]
fn no_statement_holds_anything_but_plain_ascii() {
    for path in ["/é€", "/'; DROP TABLE minidvodbCopy; -- ", "/\\", "/\u{a0}", "/\"`;#%_"] {
        let lines = statements(&to_path(path)).unwrap();
        assert!(lines.bytes().all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~')), "{lines}");
        assert_eq!((lines.lines().count(), lines.contains('\\')), (2, false), "{lines}");
    }
}

#[test]
fn what_a_column_cannot_hold_is_refused_by_row_and_column() {
    let at = |second| Copy { epoch: Timestamp::from_second(second).ok(), ..copy() };
    let taking = |dtime_s| Copy { dtime_s: Some(dtime_s), ..copy() };
    let large = Copy { minidvodb_id: MinidvodbId(1 << 63), ..copy() };
    let refused: String = [at(0), at(-1), at(1 << 31), taking(f32::NAN), taking(f32::NEG_INFINITY), large]
        .iter()
        .map(|copy| {
            let error = statements(copy).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            error.to_string().lines().next().unwrap().to_owned() + "\n"
        })
        .collect();
    expect![[r#"
        copy 3 (minidvodb 7 to ipp022) does not fit minidvodbCopy: its epoch, 1970-01-01 00:00:00, is not from 1970-01-01 00:00:01 to 2038-01-19 03:14:07 (UTC)
        copy 3 (minidvodb 7 to ipp022) does not fit minidvodbCopy: its epoch, 1969-12-31 23:59:59, is not from 1970-01-01 00:00:01 to 2038-01-19 03:14:07 (UTC)
        copy 3 (minidvodb 7 to ipp022) does not fit minidvodbCopy: its epoch, 2038-01-19 03:14:08, is not from 1970-01-01 00:00:01 to 2038-01-19 03:14:07 (UTC)
        copy 3 (minidvodb 7 to ipp022) does not fit minidvodbCopy: its dtime, NaN, is not a finite number
        copy 3 (minidvodb 7 to ipp022) does not fit minidvodbCopy: its dtime, -inf, is not a finite number
        copy 3 (minidvodb 9223372036854775808 to ipp022) does not fit minidvodbCopy: its minidvodb_id, 9223372036854775808, has more than 63 bits
    "#]]
    .assert_eq(&refused);
    for second in [1, LAST_SECOND] {
        assert!(statements(&at(second)).is_ok());
    }
}

/// Numbers of every size, among them the ones at the edges.
fn floats() -> Vec<f32> {
    let mut floats = vec![0.0, -0.0, 0.1, 1.15, 16_777_217.0, 17_280.5, 0.001, 1e-7];
    floats.extend([f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, f32::MIN, f32::MAX.next_down()]);
    let mut bits: u32 = 1;
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        floats.extend(Some(f32::from_bits(bits)).filter(|float| float.is_finite()));
    }
    floats
}

#[test]
fn the_database_reads_every_dtime_back_as_the_same_32_bits() {
    let server = shared().unwrap();
    let database = fresh_name();
    server.sql(&format!("CREATE DATABASE {database}")).unwrap();
    let floats = floats();
    let mut load = "SET sql_mode = 'STRICT_ALL_TABLES'; \
         CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, dtime FLOAT); INSERT INTO t (dtime) VALUES\n"
        .to_owned();
    let values: Vec<_> =
        floats.iter().map(|&dtime| format!("({})", float(&copy(), dtime).unwrap())).collect();
    load.push_str(&values.join(",\n"));
    server.load(&database, &load).unwrap();
    let back = server.sql_in(&database, "SELECT CAST(dtime AS DOUBLE) FROM t ORDER BY id").unwrap();
    let back: Vec<f64> = back.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(back.len(), floats.len());
    for (&wanted, found) in floats.iter().zip(back) {
        // Only the sign of a zero is lost.
        assert!(f64::from(wanted) == found, "{wanted:e} came back as {found:e}");
    }
}

#[test]
fn the_largest_dtime_is_written_out_because_its_short_text_would_not_fit() {
    expect!["3.4028234663852886e38"].assert_eq(&float(&copy(), f32::MAX).unwrap());
    expect!["1e-1"].assert_eq(&float(&copy(), 0.1).unwrap());
}

#[test]
fn an_unknown_epoch_keeps_the_one_that_is_there_and_gives_a_new_row_the_present() {
    let server = shared().unwrap();
    let database = database(&server);
    let unknown = Copy { epoch: None, dtime_s: None, ..full(None) };
    loaded_twice(&server, &database, std::slice::from_ref(&unknown));
    let recent =
        "SELECT COUNT(*) FROM minidvodbCopy WHERE epoch > NOW() - INTERVAL 1 HOUR AND epoch <= NOW()";
    assert_eq!(server.sql_in(&database, recent).unwrap(), "1\n");

    // A table whose epoch is set by each change, and one whose epoch is not.
    for column in ["NULL DEFAULT NULL", "NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"] {
        let old = "SET sql_mode = ''; UPDATE minidvodbCopy SET state = 'full', epoch = '2011-05-02 03:04:05'";
        let altered = format!("ALTER TABLE minidvodbCopy MODIFY epoch TIMESTAMP {column}; {old}");
        server.sql_in(&database, &altered).unwrap();
        let changed = Copy { epoch: None, ..copy() };
        loaded_twice(&server, &database, std::slice::from_ref(&changed));
    }
}

#[test]
fn a_new_state_of_a_pair_with_several_rows_goes_to_one_row_and_stays_there() {
    let server = shared().unwrap();
    let database = database(&server);
    let rows_of_pair = "DELETE FROM minidvodbCopy; INSERT INTO minidvodbCopy VALUES \
         (11, 7, '/one', 'ipp022', 0, 'new', '2020-01-01 00:00:00', 0), \
         (12, 7, '/two', 'ipp022', 0, 'full', '2020-01-01 00:00:00', 5), \
         (13, 7, '/three', 'IPP022 ', 0, 'full', '2020-01-01 00:00:00', 6)";
    for (wanted, expected) in [
        // The full one becomes new, and it is not another one's turn then.
        (copy(), "11 /one new, 12 /data/there new, 13 /three full"),
        (full(Some(251)), "11 /one new, 12 /data/there full, 13 /three full"),
        // Already as wanted, but for the time that it took.
        (
            Copy { epoch: "2020-01-01T00:00:00Z".parse().ok(), ..to_path("/one") },
            "11 /one new, 12 /two full, 13 /three full",
        ),
    ] {
        server.sql_in(&database, &format!("SET time_zone = '+00:00'; {rows_of_pair}")).unwrap();
        loaded_twice(&server, &database, &[wanted]);
        let found = "SELECT GROUP_CONCAT(CONCAT_WS(' ', minidvodbcopy_id, minidvodb_rsync_path, state) \
             ORDER BY minidvodbcopy_id SEPARATOR ', ') FROM minidvodbCopy";
        assert_eq!(server.sql_in(&database, found).unwrap(), format!("{expected}\n"));
    }
}

#[test]
fn a_path_is_stored_right_whatever_the_character_set_of_its_column() {
    let server = shared().unwrap();
    for character_set in ["latin1", "utf8", "utf8mb4", "latin1 COLLATE latin1_bin"] {
        let database = database(&server);
        let alter = format!("ALTER TABLE minidvodbCopy CONVERT TO CHARACTER SET {character_set}");
        server.sql_in(&database, &alter).unwrap();
        for path in ["/é€ 'x' \\", "/é€ 'x' \\ ", "/É€ 'x' \\", "/~\"`%_;-- \u{a0}Ÿ"] {
            loaded_twice(&server, &database, &[to_path(path)]);
            let found = "SELECT CONCAT(minidvodb_rsync_path, '|') FROM minidvodbCopy";
            let found = server.sql_in(&database, &format!("SET NAMES utf8mb4; {found}")).unwrap();
            // The client escapes in what it prints.
            assert_eq!(found.replace("\\\\", "\\"), format!("{path}|\n"), "{character_set}");
        }
    }
}
