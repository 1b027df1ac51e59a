//! Values on their way there and back: floats, times, letters, and servers with modes of their own.

use xtask::dvo::Shape;
use xtask::mariadb::MariaDbOptions;

use super::ipp::{Ipp, Site, ledger_copies, quoted};
use super::world::{Ran, World};

const OLD: &str = "'2011-05-02 03:04:05'";

#[test]
fn odd_floats_come_and_stay_to_the_last_bit() {
    let odd = [
        "0.1",
        "-0.1",
        "1/3",
        "16777217",
        "123456.789",
        "1e-30",
        "1.4e-45",
        "3.4028234e38",
        "0.30000001",
        "86399.99",
        "1e10",
        "-0.0",
        "0",
        "NULL",
    ];
    let site = Site::prepared(odd.len() as u64);
    for (id, dtime) in (1..).zip(odd) {
        site.ipp.add_copy(&format!("{id}, {}, 'localhost', 0, 'full', {OLD}, {dtime}", site.there()));
    }
    let raw = site.ipp.raw();
    site.sync();
    site.expect_in_step();
    assert_eq!(site.ipp.raw(), raw);
    // Another change of the same rows does not touch the float.
    site.ipp.sql("UPDATE minidvodbCopy SET fault = 3, state = 'new'");
    site.sync();
    site.ok(&["revert", "--all"]);
    site.sync();
    site.expect_in_step();
    let dtimes = |rows: &[String]| -> Vec<String> {
        rows.iter().map(|row| row.rsplit('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(dtimes(&site.ipp.raw()), dtimes(&raw));
}

#[test]
fn the_seconds_that_a_copy_took_are_the_same_on_both_sides() {
    let site = Site::prepared(8);
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
    assert!(site.world.list().iter().all(|copy| copy["dtime"].as_f64().unwrap() > 0.0));
}

#[test]
fn letters_of_western_europe_are_letters() {
    let site = Site::new();
    let there = site.world.there().join("Ziel für €");
    std::fs::create_dir(&there).unwrap();
    let folder = site.world.make("ThreePi é.1 ÿ", Shape::tiny());
    site.ipp.add_merged(1, "Grüße", &folder);
    site.ipp.add_merged(2, "Grüße", "/nowhere/ö".into());
    site.ipp.add_copy(&format!("2, {}, 'localhost', 0, 'full', {OLD}, 9", quoted(there.as_str())));
    site.ok(&["target", "add", "Grüße", "localhost", there.as_str()]);
    site.ok(&["host", "add", "localhost"]);
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    let paths = site.ipp.lines("SELECT DISTINCT minidvodb_rsync_path FROM minidvodbCopy");
    assert_eq!(paths, [there.as_str()]);
    // One byte each, as the table has it.
    let bytes = site.ipp.lines("SELECT DISTINCT HEX(RIGHT(minidvodb_rsync_path, 1)) FROM minidvodbCopy");
    assert_eq!(bytes, ["80"]);
    assert_eq!(super::world::names_in(&there), ["ThreePi é.1 ÿ"]);
    site.expect_in_step();
}

#[test]
fn quotes_and_backslashes_are_letters_too_whatever_the_mode() {
    for mode in ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,PIPES_AS_CONCAT,IGNORE_SPACE"] {
        let options = MariaDbOptions { sql_mode: Some(mode.to_owned()), ..MariaDbOptions::default() };
        let site = Site::of(World::new(), Ipp::own(options));
        let there = site.world.there().join(r#"it's a \ "path" %s ? ; --"#);
        std::fs::create_dir(&there).unwrap();
        let folder = site.world.make("ThreePi.1", Shape::tiny());
        site.ipp.add_merged(1, "ThreePi", &folder);
        site.ok(&["target", "add", "ThreePi", "localhost", there.as_str()]);
        site.ok(&["host", "add", "localhost"]);
        site.ok(&["run"]).is_silent();
        let hex = there.as_str().bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
        assert_eq!(site.ipp.lines("SELECT HEX(minidvodb_rsync_path) FROM minidvodbCopy"), [hex], "{mode}");
        assert_eq!(super::world::names_in(&there), ["ThreePi.1"]);
        site.expect_at_rest();
    }
}

#[test]
fn groups_states_and_hosts_compare_without_case_and_trailing_blanks() {
    let site = Site::new();
    for (id, group, state) in [
        (1, "threepi", "merged"),
        (2, "ThreePi ", "Merged"),
        (3, "THREEPI", "MERGED  "),
        (4, "ThreePi", "merged"),
    ] {
        let folder = site.world.make(&format!("ThreePi.{id}"), Shape::tiny());
        site.ipp.add_run(id, group, &folder, state);
        site.ipp.add_processed(id, 0);
    }
    site.ipp.add_copy(&format!("1, {}, 'LOCALHOST', 0, 'Full', {OLD}, 9", site.there()));
    site.ipp.add_copy(&format!("2, {}, 'LocalHost  ', 0, 'FULL ', {OLD}, 9", site.there()));
    let raw = site.ipp.raw();
    site.add_target();
    let ran = site.ok(&["run"]);
    assert_eq!(site.world.names_there(), ["ThreePi.3", "ThreePi.4"]);
    assert_eq!(site.ipp.raw()[..2], raw, "what is the same is left as it is written");
    assert_eq!(site.ipp.copies().len(), 4);
    assert_eq!(site.world.list().len(), 4);
    assert!(site.world.list().iter().all(|copy| copy["state"] == "full"));
    site.expect_at_rest();
    ran.is_silent();
}

#[test]
fn a_new_row_in_capitals_is_served_once() {
    let site = Site::prepared(1);
    site.ipp.add_copy(&format!("1, {}, 'LocalHost ', 0, 'New ', {OLD}, 0", site.there()));
    let ran = site.ok(&["run"]);
    assert_eq!(site.world.names_there(), ["ThreePi.1"]);
    assert_eq!(site.ipp.lines("SELECT TRIM(state), fault FROM minidvodbCopy"), ["full\t0"]);
    site.expect_at_rest();
    ran.is_silent();
}

/// One story with everything in it, on a server of its own: rows that are there, copies that are made, a fault, a
/// revert, an outage, at rest after each.
#[track_caller]
fn check_server(options: MariaDbOptions) {
    let shown = format!("{options:?}");
    let site = Site::of(World::new(), Ipp::own(options));
    site.prepare(5);
    let there = site.there();
    site.ipp.add_copy(&format!("1, {there}, 'localhost', 0, 'full', {OLD}, 1234.5"));
    site.ipp.add_copy(&format!("2, {there}, 'localhost', 12, 'new', {OLD}, 0"));
    let raw = site.ipp.raw();
    site.sync();
    site.expect_in_step();
    assert_eq!(site.ipp.raw(), raw, "{shown}");
    std::fs::rename(site.world.source("ThreePi.3"), site.world.root.join("lost")).unwrap();
    site.run(&["run"]).expect(1).says("fault 201");
    site.expect_in_step();
    let expected = ["1 localhost full 0", "2 localhost new 12", "3 localhost new 201", "4 localhost full 0"];
    assert_eq!(site.standings_there()[..4], expected, "{shown}");
    let proxy = site.add_proxy();
    site.ok(&["sync"]);
    proxy.cut_before(1);
    site.ok(&["revert", "--all"]);
    std::fs::rename(site.world.root.join("lost"), site.world.source("ThreePi.3")).unwrap();
    site.run(&["run"]).expect(0);
    proxy.mend();
    site.sync();
    assert!(site.standings_there().iter().all(|row| row.ends_with("full 0")), "{:?}", site.standings_there());
    // Times are UTC, whatever the server's own zone is.
    let recent = "SELECT COUNT(*) FROM minidvodbCopy
        WHERE ABS(TIMESTAMPDIFF(SECOND, epoch, UTC_TIMESTAMP())) < 600";
    assert_eq!(site.ipp.number(recent), 4, "{shown}: {:?}", site.ipp.copies());
    assert_eq!(site.ipp.raw()[0], raw[0], "{shown}: what did not change keeps its epoch");
    site.expect_in_step();
}

#[test]
fn strict_servers_with_explicit_timestamps() {
    check_server(MariaDbOptions {
        sql_mode: Some(
            "STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO".to_owned(),
        ),
        explicit_defaults_for_timestamp: Some(true),
        ..MariaDbOptions::default()
    });
}

#[test]
fn strict_servers_with_timestamps_of_the_old_meaning() {
    check_server(MariaDbOptions {
        sql_mode: Some("STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE".to_owned()),
        explicit_defaults_for_timestamp: Some(false),
        ..MariaDbOptions::default()
    });
}

#[test]
fn lenient_servers_with_explicit_timestamps() {
    check_server(MariaDbOptions {
        sql_mode: Some(String::new()),
        explicit_defaults_for_timestamp: Some(true),
        ..MariaDbOptions::default()
    });
}

#[test]
fn lenient_servers_with_timestamps_of_the_old_meaning_in_hawaii() {
    check_server(MariaDbOptions {
        sql_mode: Some(String::new()),
        explicit_defaults_for_timestamp: Some(false),
        extra: vec!["--default-time-zone=-10:00".to_owned()],
        ..MariaDbOptions::default()
    });
}

#[test]
fn servers_that_speak_utf8_read_committed_and_small_packets() {
    check_server(MariaDbOptions {
        extra: [
            "--character-set-server=utf8mb4",
            "--transaction-isolation=READ-COMMITTED",
            "--max-allowed-packet=4096",
            "--net-buffer-length=1024",
            "--sql-mode=TRADITIONAL,ANSI",
            "--init-connect=SET time_zone = '+05:00', sql_mode = 'ANSI_QUOTES', autocommit = 0",
            "--default-time-zone=+05:30",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..MariaDbOptions::default()
    });
}

#[test]
fn a_zero_date_on_a_strict_server_is_read_and_can_be_changed() {
    let options = MariaDbOptions {
        sql_mode: Some("STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE".to_owned()),
        ..MariaDbOptions::default()
    };
    let site = Site::of(World::new(), Ipp::own(options));
    site.prepare(2);
    // Left from the days when the server was lenient.
    site.ipp.sql(&format!(
        "SET sql_mode = '';
         INSERT INTO minidvodbCopy
         (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime)
         VALUES (1, {there}, 'localhost', 0, 'full', '0000-00-00 00:00:00', 3),
                (2, {there}, 'localhost', 12, 'new', '0000-00-00 00:00:00', 3)",
        there = site.there()
    ));
    site.sync();
    site.expect_in_step();
    site.ok(&["revert", "--all"]);
    site.sync();
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn paths_as_long_as_the_column_come_and_go_in_many_rows() {
    let site = Site::new();
    let mut there = site.world.there().as_str().to_owned();
    while there.len() < 254 {
        there.push_str(if there.len() % 50 == 49 { "/" } else { "x" });
    }
    there.push('€');
    there = there.chars().take(255).collect();
    assert!(there.len() > 255, "more bytes here than there");
    // So many lines that their packets are counted from 0 again.
    let many = 4400;
    site.add_bare(1, many);
    let ran = site.run(&["target", "add", "ThreePi", "localhost", &there]);
    if ran.code == 2 {
        // 255 bytes are the limit here, in whatever letters.
        there.pop();
        site.ok(&["target", "add", "ThreePi", "localhost", &there]);
    }
    site.ok(&["host", "add", "localhost"]);
    site.queue();
    let whole = format!("SELECT COUNT(*) FROM minidvodbCopy WHERE minidvodb_rsync_path = {}", quoted(&there));
    assert_eq!(site.ipp.number(&whole), many);
    site.expect_in_step();
}

#[test]
fn the_sums_of_a_first_sync_are_those_that_the_server_makes() {
    let (site, proxy) = Site::behind_proxy(2);
    site.add_bare(3, 300);
    site.add_bare_copies(3, 290, "ipp022", "full");
    // Of other groups, of none, and with values that are written in more than one way.
    site.ipp.add_run(400, "é group", "/data/é".into(), "MERGED ");
    site.ipp.add_run(401, "threepi ", "/data/other".into(), "new");
    for values in [
        "NULL, '/there', 'ipp022', 0, 'full', NULL, NULL",
        "-7, '/there', 'ipp022', 0, 'full', '2011-05-02 03:04:05', 0.1",
        "295, '/é''x', 'IPP030 ', -5, 'Full', '2011-05-02 03:04:05', 1e-30",
        "295, '/there', 'ipp031', 32767, 'odd', NULL, 123456.789",
        "400, '/there', 'ipp031', 0, 'new', NULL, 3.3e38",
    ] {
        let columns = "minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime";
        site.ipp.sql(&format!(
            "SET foreign_key_checks = 0; INSERT INTO minidvodbCopy ({columns}) VALUES ({values})"
        ));
    }
    site.ok(&["sync"]);
    let statements = || {
        proxy.reset();
        site.ok(&["sync"]).is_silent();
        proxy.statements().len()
    };
    // Where a sum was another one, its rows would be read again, and the server's own noted.
    let second = statements();
    assert_eq!(second, statements());
    site.ipp.change(77, "ipp022", "dtime = 2");
    let ran = site.ok(&["sync"]);
    assert!(ran.stdout.contains("1 changed here"), "{}", ran.stdout);
}

/// So many rows go as lines of a file.
const MANY: u64 = 700;

/// A site with so many minidvodbs, and a target.
fn many() -> Site {
    with_many(Site::new())
}

/// The same with a server of its own that has these options.
fn many_on(options: &[&str]) -> Site {
    let extra = options.iter().map(|&option| option.to_owned()).collect();
    with_many(Site::of(World::new(), Ipp::own(MariaDbOptions { extra, ..MariaDbOptions::default() })))
}

fn with_many(site: Site) -> Site {
    site.add_bare(1, MANY);
    site.add_target();
    site
}

/// What a sync says that is to write so many new rows into a table to which something was done.
fn sync_into(site: &Site, statements: &str) -> Ran {
    site.ipp.sql(statements);
    site.ok(&["stage", "off", "load"]);
    site.ok(&["run"]);
    site.run(&["sync"])
}

/// How many statements begin like that.
fn count(statements: &[String], verb: &str) -> usize {
    statements.iter().filter(|statement| statement.starts_with(verb)).count()
}

#[track_caller]
fn expect_all_refused_until_it_is_wide(site: &Site, ran: &Ran) {
    assert!(format!("{ran:?}").contains("is refused"), "{ran:?}");
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), 0);
    site.ipp.sql("ALTER TABLE minidvodbCopy MODIFY minidvodb_rsync_path VARCHAR(255) NOT NULL");
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_server_that_takes_no_lines_gets_many_rows_all_the_same() {
    let site = many_on(&["--local-infile=0"]);
    let proxy = site.add_proxy();
    site.queue();
    let said = proxy.statements();
    assert_eq!((count(&said, "LOAD"), count(&said, "INSERT")), (1, 1), "{said:#?}");
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), MANY);
    site.expect_in_step();
}

/// Pushes many rows to a server with these options, and tells whether the numbers of the rows were read back.
fn reads_numbers_back(options: &[&str]) -> bool {
    let site = many_on(options);
    let proxy = site.add_proxy();
    site.queue();
    let said = proxy.statements();
    assert_eq!(count(&said, "LOAD"), 1, "{said:#?}");
    site.expect_in_step();
    // Each copy knows which row is its own.
    site.ipp.change(77, "localhost", "dtime = 2");
    let ran = site.ok(&["sync"]);
    assert!(ran.stdout.contains("1 changed here"), "{}", ran.stdout);
    site.expect_in_step();
    count(&said, READ_BACK) > 0
}

/// How the statement begins that reads the numbers of new rows back.
const READ_BACK: &str = "SELECT c.minidvodbcopy_id, c.minidvodb_id, c.destination_host FROM";

#[test]
fn rows_that_are_numbered_one_by_one_are_not_read_back() {
    assert!(!reads_numbers_back(&[]));
}

#[test]
fn where_a_server_numbers_rows_in_steps_their_numbers_are_read_back() {
    assert!(reads_numbers_back(&["--auto-increment-increment=3", "--auto-increment-offset=2"]));
}

#[test]
fn rows_that_become_others_there_are_not_taken_for_those_that_went() {
    let site = many();
    let proxy = site.add_proxy();
    // As many rows as went have the numbers that are expected.
    site.ipp.sql(
        "CREATE TRIGGER loud BEFORE INSERT ON minidvodbCopy FOR EACH ROW
         SET NEW.destination_host = UPPER(NEW.destination_host)",
    );
    site.queue();
    assert_eq!(count(&proxy.statements(), READ_BACK), 1, "{:#?}", proxy.statements());
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), MANY);
    site.ok(&["sync"]);
    site.ipp.change(77, "LOCALHOST", "dtime = 2");
    let ran = site.ok(&["sync"]);
    assert!(ran.stdout.contains("1 changed here"), "{}", ran.stdout);
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), MANY);
    assert_eq!(site.conflicts(), 0, "{:#?}", site.log());
}

#[test]
fn a_row_that_is_refused_hinders_no_other_of_many() {
    let site = many();
    // As lines, the server would pass over it with a warning.
    let ran = sync_into(&site, "ALTER TABLE minidvodbCopy ADD CONSTRAINT no_77 CHECK (minidvodb_id <> 77)");
    assert!(format!("{ran:?}").contains("of minidvodb 77: a row for it is refused"), "{ran:?}");
    let missing = "SELECT COUNT(*) FROM minidvodbCopy WHERE minidvodb_id = 77";
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), MANY - 1);
    assert_eq!(site.ipp.number(missing), 0);
    site.ipp.sql("ALTER TABLE minidvodbCopy DROP CONSTRAINT no_77");
    site.sync();
    site.expect_in_step();
}

#[test]
fn nothing_is_cut_where_a_column_is_too_narrow_for_many_rows() {
    let site = many();
    let ran = sync_into(&site, "ALTER TABLE minidvodbCopy MODIFY minidvodb_rsync_path VARCHAR(4) NOT NULL");
    expect_all_refused_until_it_is_wide(&site, &ran);
}

#[test]
fn what_goes_in_many_rows_is_what_had_come_value_by_value() {
    come_and_go(r#"'/it''s "é€" \0'"#, "utf8mb4");
}

#[test]
fn what_goes_in_plain_characters_is_what_had_come_value_by_value() {
    come_and_go(r#"'/it''s "e" \0'"#, "latin1");
}

/// Takes in rows with odd values, among them such a path, and sends them to another database in these characters.
fn come_and_go(path: &str, characters: &str) {
    let site = Site::new();
    site.add_bare(1, MANY);
    site.add_bare_copies(1, MANY - 50, "ipp022", "full");
    site.add_target();
    let paths = [r"'/a\nb\tc\N'", r"'/\'", r"'/NULL'", path, "'/#--;%_'", "'/ a  b'"];
    let dtimes = ["NULL", "0.1", "1e-45", "3.4028234e38", "-1.17549435e-38", "16777217", "123456.789"];
    let epochs = ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-02-29 23:59:59'"];
    let faults = ["0", "32767", "-32768", "12"];
    for (at, id) in (MANY - 49..=MANY).enumerate() {
        let state = if at % 2 == 0 { "new" } else { "full" };
        site.ipp.sql(&format!(
            "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES';
             INSERT INTO minidvodbCopy
             (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime)
             VALUES ({id}, {}, 'op@IPP030', {}, '{state}', {}, {})",
            paths[at % paths.len()],
            faults[at % faults.len()],
            epochs[at % epochs.len()],
            dtimes[at % dtimes.len()],
        ));
    }
    site.sync();
    // The server's own client prints each backslash twice.
    let copies =
        |ipp: &Ipp| -> Vec<String> { ipp.copies().iter().map(|copy| copy.replace(r"\\", r"\")).collect() };
    let came = copies(&site.ipp);
    assert_eq!(came, ledger_copies(&site.world));

    // Another database, which has none of them, is filled from here.
    let Site { world, .. } = site;
    world.ok(&["database", "del"]);
    let site = Site::of(world, Ipp::shared());
    site.add_bare(1, MANY);
    let proxy = site.add_proxy();
    site.ok(&["sync"]);
    let said = proxy.statements();
    let counted = ["LOAD", "INSERT", "ROLLBACK TO"].map(|verb| count(&said, verb));
    assert_eq!(counted, [1, 0, 0], "{said:#?}");
    let in_these = format!("CHARACTER SET {characters} ");
    assert!(said.iter().any(|said| said.starts_with("LOAD") && said.contains(&in_these)), "{said:#?}");
    assert_eq!(copies(&site.ipp), came);
    site.expect_at_rest();
}

#[test]
fn a_table_that_cannot_undo_anything_is_given_no_lines() {
    let site = many();
    // Without its foreign keys, which that engine does not have.
    let ran = sync_into(
        &site,
        "CREATE TABLE made LIKE minidvodbCopy; DROP TABLE minidvodbCopy; RENAME TABLE made TO minidvodbCopy;
         ALTER TABLE minidvodbCopy ENGINE = MyISAM, MODIFY minidvodb_rsync_path VARCHAR(4) NOT NULL",
    );
    expect_all_refused_until_it_is_wide(&site, &ran);
}
