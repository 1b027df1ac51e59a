//! `export`: the ledger as CSV and JSON; as SQL, loaded by the stock client into a real, populated table.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use camino::Utf8Path;
use xtask::mariadb::{MariaDb, MariaDbOptions, fresh_name, shared};

use super::shown::queue;
use super::world::{World, finish, names_in};

/// Paths that would do harm, or be something else, were they not taken literally.
const HOSTILE: [&str; 9] = [
    "/data/o'brien",
    "/data/'; DELETE FROM minidvodbCopy; -- ",
    "/data/back\\slash/\\",
    "/data/$(reboot) `x` \"y\"",
    "/data/é€ß",
    "/data/100%_",
    "/data/a;b -- c */ d /* e # f",
    "/data/\\'",
    "/data/x'y\\n€ ",
];

/// 1 and 2 full at localhost; 3 with fault 201; 101 to 109 new, to [`HOSTILE`] paths at ipp022.
fn world() -> World {
    let world = World::new();
    world.prepare("localhost", 3);
    std::fs::remove_file(world.source("ThreePi.3").join("Images.dat")).unwrap();
    world.run(&["run"]).expect(1);
    world.ok(&["host", "add", "ipp022"]);
    for (id, path) in (101..).zip(HOSTILE) {
        let group = format!("G{id}");
        world.import(&[(id, &group, Utf8Path::new(&format!("/data/{group}.{id}")))]);
        world.ok(&["target", "add", &group, "ipp022", path]);
    }
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 12);
    world
}

fn export(world: &World) -> String {
    world.ok(&["export", "--format", "sql"]).stdout
}

/// A database that knows the minidvodbs, with rows of its own: of two pairs that the ledger has, once and
/// twice, and of pairs that it does not have.
fn populated(server: &MariaDb) -> String {
    let database = fresh_name();
    server.create_ipp(&database).unwrap();
    let known: String = (1..=3).chain(101..=109).chain([900]).fold(String::new(), |list, id| {
        list + &format!(
            "INSERT INTO minidvodbRun VALUES ({id}, 'n', 'g', '/x', 'merged', '2020-02-02 02:02:02');\n"
        )
    });
    let rows = "ALTER TABLE minidvodbCopy ADD COLUMN note VARCHAR(64) DEFAULT 'x' FIRST, ADD COLUMN more INT; \
         INSERT INTO minidvodbCopy (minidvodbcopy_id, minidvodb_id, minidvodb_rsync_path, destination_host, \
         fault, state, epoch, dtime, note, more) VALUES \
         (51, 1, '/old', 'localhost', 4, 'new', '2020-01-01 00:00:00', 0, 'mine', 7), \
         (52, 2, '/old', 'localhost', 0, 'new', '2020-01-01 00:00:00', 0, 'mine', 8), \
         (53, 2, '/older', 'localhost', 0, 'full', '2020-01-02 00:00:00', 1.5, NULL, 9), \
         (54, 3, '/old', 'localhost', 0, 'full', '2020-01-01 00:00:00', 0.1, 'mine', 1), \
         (55, 3, '/old', 'localhost', 0, 'full', '2020-01-01 00:00:00', 0.1, 'mine', 2), \
         (56, 1, '/other', 'ipp031', 23, 'new', '2020-01-01 00:00:00', NULL, '', 3), \
         (57, 900, '/other', 'localhost', 0, 'full', '2020-01-01 00:00:00', 3, 'mine', 4), \
         (58, NULL, '/other', 'localhost', 0, 'new', '2020-01-01 00:00:00', 3, 'mine', 5), \
         (59, 101, '/other', 'ipp0222', 0, 'new', '2020-01-01 00:00:00', 3, 'mine', 6);";
    server.sql_in(&database, &format!("SET time_zone = '+00:00';\n{known}{rows}")).unwrap();
    database
}

/// All of the table's rows, or those that a condition meets, with every column.
fn dump(server: &MariaDb, database: &str, condition: &str) -> String {
    let text = format!(
        "SET time_zone = '+00:00'; \
         SELECT *, HEX(minidvodb_rsync_path), CAST(dtime AS DOUBLE) FROM minidvodbCopy \
         WHERE {condition} ORDER BY minidvodbcopy_id"
    );
    server.sql_in(database, &text).unwrap()
}

/// The newest row of a pair: path in hexadecimal, fault, state, epoch, dtime.
fn row_of(server: &MariaDb, database: &str, minidvodb: u64, host: &str) -> String {
    let text = format!(
        "SET time_zone = '+00:00'; SELECT CONCAT_WS('|', HEX(CONVERT(minidvodb_rsync_path USING utf8mb4)), \
         fault, state, epoch, CAST(dtime AS DOUBLE)) \
         FROM minidvodbCopy WHERE minidvodb_id = {minidvodb} AND destination_host = '{host}' \
         ORDER BY epoch DESC LIMIT 1"
    );
    server.sql_in(database, &text).unwrap().trim_end().to_owned()
}

/// Fails unless the row of every pair of the ledger says what the ledger says.
#[track_caller]
fn expect_as_the_ledger(world: &World, server: &MariaDb, database: &str) {
    for copy in world.list() {
        let text = |key: &str| copy[key].as_str().unwrap().to_owned();
        let path: String = text("minidvodb_rsync_path").bytes().map(|byte| format!("{byte:02X}")).collect();
        let epoch = text("epoch").replace('T', " ").replace('Z', "");
        #[allow(clippy::cast_possible_truncation)] // back to what the ledger holds
        let dtime = f64::from(copy["dtime"].as_f64().unwrap() as f32);
        let host = text("destination_host");
        let found = row_of(server, database, copy["minidvodb_id"].as_u64().unwrap(), &host);
        let (found, found_dtime) = found.rsplit_once('|').unwrap();
        assert_eq!(found, format!("{path}|{}|{}|{epoch}", copy["fault"], text("state")), "{copy}");
        assert_eq!(found_dtime.parse::<f64>().unwrap(), dtime, "{copy}");
    }
}

/// Loads the export of a ledger twice into a populated database, and looks at everything.
#[track_caller]
fn check_loading(world: &World, server: &MariaDb) {
    let database = populated(server);
    let foreign = "minidvodbcopy_id IN (52, 55, 56, 57, 58, 59)";
    let before = dump(server, &database, foreign);
    server.load(&database, &export(world)).unwrap();
    expect_as_the_ledger(world, server, &database);
    assert_eq!(dump(server, &database, foreign), before, "rows of other pairs, and second rows of a pair");
    let changed = server.sql_in(
        &database,
        "SELECT minidvodbcopy_id, fault, state, note, more FROM minidvodbCopy \
         WHERE minidvodbcopy_id IN (51, 53, 54) ORDER BY 1",
    );
    assert_eq!(changed.unwrap(), "51\t0\tfull\tmine\t7\n53\t0\tfull\tNULL\t9\n54\t201\tnew\tmine\t1\n");
    let count = server.sql_in(&database, "SELECT COUNT(*) FROM minidvodbCopy").unwrap();
    assert_eq!(count, "18\n", "nine rows that were there, nine new ones");

    let once = dump(server, &database, "TRUE");
    // An epoch that the server sets by itself would show that its clock has gone on.
    server.load(&database, &format!("SET timestamp = UNIX_TIMESTAMP() + 100;\n{}", export(world))).unwrap();
    assert_eq!(dump(server, &database, "TRUE"), once, "loaded again");
}

fn server(sql_mode: &str, explicit_defaults_for_timestamp: bool, extra: &[&str]) -> MariaDb {
    MariaDb::start_temporary(MariaDbOptions {
        sql_mode: Some(sql_mode.to_owned()),
        explicit_defaults_for_timestamp: Some(explicit_defaults_for_timestamp),
        extra: extra.iter().map(|&option| option.to_owned()).collect(),
        ..MariaDbOptions::default()
    })
    .unwrap()
}

#[test]
fn loaded_into_a_live_table_it_brings_its_pairs_to_the_ledgers_state_and_nothing_else() {
    check_loading(&world(), &shared().unwrap());
}

#[test]
fn it_loads_the_same_in_the_lenient_mode_where_every_change_sets_the_first_timestamp() {
    let server = server("", false, &["--default-time-zone=-10:00"]);
    check_loading(&world(), &server);
}

#[test]
fn it_loads_the_same_where_a_backslash_is_no_escape_and_a_double_quote_quotes_names() {
    let mode = "STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,NO_ZERO_DATE";
    let server = server(mode, true, &["--character-set-server=utf8mb4"]);
    check_loading(&world(), &server);
}

#[test]
fn a_statement_that_fails_leaves_the_table_as_it_was() {
    let (world, server) = (world(), shared().unwrap());
    let database = populated(&server);
    // The last copy's minidvodb is not known there, so that its row breaks the foreign key.
    server.sql_in(&database, "DELETE FROM minidvodbRun WHERE minidvodb_id = 109").unwrap();
    let before = dump(&server, &database, "TRUE");
    let error = server.load(&database, &export(&world)).unwrap_err().to_string();
    assert!(error.contains("foreign key"), "{error}");
    assert_eq!(dump(&server, &database, "TRUE"), before);
}

#[test]
fn a_value_that_a_narrower_column_cannot_hold_is_refused_whatever_the_mode() {
    let (world, server) = (world(), server("", false, &[]));
    let database = populated(&server);
    server
        .sql_in(&database, "ALTER TABLE minidvodbCopy MODIFY minidvodb_rsync_path VARCHAR(12) NOT NULL")
        .unwrap();
    let before = dump(&server, &database, "TRUE");
    let error = server.load(&database, &export(&world)).unwrap_err().to_string();
    assert!(error.contains("Data too long for column 'minidvodb_rsync_path'"), "{error}");
    assert_eq!(dump(&server, &database, "TRUE"), before);
}

#[test]
fn an_export_that_is_cut_off_changes_nothing() {
    let (world, server) = (world(), shared().unwrap());
    let database = populated(&server);
    let before = dump(&server, &database, "TRUE");
    let whole = export(&world);
    let end = whole.find("COMMIT;").unwrap();
    for length in [end, end - 1, end / 2, end * 3 / 4] {
        // Where the cut leaves no whole statement, the client fails.
        let _ = server.load(&database, &whole[..length]);
        assert_eq!(dump(&server, &database, "TRUE"), before, "cut off after {length} bytes");
    }
}

#[test]
fn csv_and_json_are_what_list_prints() {
    let world = world();
    for format in ["csv", "json"] {
        let list = world.ok(&["list", "--format", format]).stdout;
        assert_eq!(world.ok(&["export", "--format", format]).stdout, list);
        world.ok(&["export", "--format", format, "--output", "out"]).is_silent();
        assert_eq!(std::fs::read_to_string(world.root.join("out")).unwrap(), list);
    }
    assert_eq!(world.ok(&["export"]).stdout, world.ok(&["list", "--format", "csv"]).stdout);
}

#[test]
fn an_export_to_a_file_is_private_and_replaces_the_file_that_is_there() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    let file = world.root.join("out.sql");
    std::fs::write(&file, "old").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let names = names_in(&world.root);
    world.ok(&["export", "--format", "sql", "--output", file.as_str()]).is_silent();
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("COMMIT;\n"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names_in(&world.root), names, "nothing is left beside it");
    world.ok(&["-v", "export", "--output", "out.sql"]).says("2 copies in out.sql");

    // A link stays, and what it leads to is replaced.
    symlink("out.sql", world.root.join("link")).unwrap();
    world.ok(&["export", "--format", "json", "--output", "link"]);
    assert!(world.root.join("link").is_symlink());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with('['));
}

#[test]
fn a_place_that_cannot_be_an_exports_is_refused_with_the_reason() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    std::fs::write(world.root.join("plain"), "as before").unwrap();
    symlink("nowhere", world.root.join("dangling")).unwrap();
    let names = names_in(&world.root);
    let state = |name: &str| world.state().join(name).to_string();
    for (file, code, reason) in [
        ("there", 2, "there is a folder"),
        ("new/", 2, "new/ is a folder"),
        (".", 2, ". is a folder"),
        ("/dev/null", 2, "/dev/null is no plain file"),
        ("/dev/stdout", 2, "/dev/stdout is no plain file"),
        ("dangling", 2, "dangling is a symlink that leads nowhere"),
        (&state("ledger.redb"), 2, "is in the state folder"),
        (&state("backup/x.csv"), 2, "is in the state folder"),
        ("missing/out.csv", 78, "the folder of missing/out.csv is not there"),
        ("plain/out.csv", 78, "cannot look at plain/out.csv"),
        ("/proc/out.csv", 78, "cannot write into the folder of /proc/out.csv"),
    ] {
        let ran = world.run(&["export", "--output", file]).expect(code).says(reason);
        assert!(
            ran.stderr.contains("\n  hint: name ") || ran.stderr.contains("name a file elsewhere"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains("without --output, it goes to standard output"), "{ran:?}");
        assert_eq!(ran.stdout, "", "{file}");
    }
    assert_eq!(names_in(&world.root), names);
    assert_eq!(std::fs::read_to_string(world.root.join("plain")).unwrap(), "as before");
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_disk_that_is_full_leaves_the_file_that_is_there() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 200);
    let file = world.root.join("out.sql");
    std::fs::write(&file, "as before").unwrap();
    let names = names_in(&world.root);
    // A limit on the size of files stands for the full disk.
    let inner = world.command(&["export", "--format", "sql", "--output", file.as_str()]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finish(command.spawn().unwrap())
        .expect(78)
        .says("cannot write")
        .says("what was there before is as it was");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as before");
    assert_eq!(names_in(&world.root), names);
}

#[test]
fn without_a_ledger_nothing_is_exported_and_no_file_is_replaced() {
    let world = World::new();
    std::fs::write(world.root.join("out"), "as before").unwrap();
    for format in ["csv", "json", "sql"] {
        let ran = world.run(&["export", "--format", format]).expect(78).says("there is no ledger in");
        assert_eq!(ran.stdout, "");
        world
            .run(&["export", "--format", format, "--output", "out"])
            .expect(78)
            .says("there is no ledger in");
    }
    assert_eq!(std::fs::read_to_string(world.root.join("out")).unwrap(), "as before");
    assert!(!world.state().exists());
}

#[test]
fn a_ledger_without_copies_exports_nothing_that_could_be_loaded_wrong() {
    let (world, server) = (World::new(), shared().unwrap());
    world.ok(&["host", "add", "ipp022"]);
    let database = populated(&server);
    let before = dump(&server, &database, "TRUE");
    server.load(&database, &export(&world)).unwrap();
    assert_eq!(dump(&server, &database, "TRUE"), before);
    assert_eq!(world.ok(&["export", "--format", "json"]).stdout, "[]\n");
}
