//! Tables and columns that are missing, narrower or more than expected, and privileges that are missing.

use xtask::mariadb::MariaDbOptions;

use super::ipp::{Ipp, Site};
use super::world::{Ran, World};

/// A site in step with a copy of each state, and then something changed here that is to be written there.
fn with_something_to_write() -> Site {
    let site = Site::prepared(2);
    site.queue();
    site.ok(&["run", "--limit", "1"]).is_silent();
    site.expect_in_step();
    site
}

/// Breaks something at the database; then a sync must name it and change nothing, a pass copies all the same,
/// and once it is mended a sync catches up.
#[track_caller]
fn check(break_it: &str, named: &[&str], mend: &str) {
    let site = with_something_to_write();
    site.ipp.sql(break_it);
    let ran = site.run(&["sync"]).expect(78);
    for part in named {
        assert!(ran.stderr.contains(part), "{break_it}: no {part} in:\n{}", ran.stderr);
    }
    assert_eq!(ran.stdout, "", "{break_it}");
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost new 0"], "{break_it}");
    let ran = site.run(&["run"]);
    assert_ne!(ran.code, 1, "{break_it}: no copy is to blame:\n{}", ran.stderr);
    assert!(ran.stderr.contains(named[0]), "{break_it}: a pass says it too:\n{}", ran.stderr);
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"], "{break_it}");
    site.ipp.sql(mend);
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_missing_table_is_named_and_nothing_is_applied() {
    for table in ["minidvodbCopy", "minidvodbProcessed", "minidvodbRun"] {
        check(
            &format!("SET foreign_key_checks = 0; RENAME TABLE {table} TO away"),
            &[table],
            &format!("RENAME TABLE away TO {table}"),
        );
    }
}

#[test]
fn a_missing_column_is_named_and_nothing_is_applied() {
    for (table, column, kind) in [
        ("minidvodbCopy", "minidvodb_rsync_path", "VARCHAR(255) NOT NULL"),
        ("minidvodbCopy", "destination_host", "VARCHAR(255) NOT NULL"),
        ("minidvodbCopy", "dtime", "FLOAT"),
        ("minidvodbCopy", "epoch", "TIMESTAMP NULL"),
        ("minidvodbRun", "minidvodb_group", "VARCHAR(64) NOT NULL"),
        ("minidvodbRun", "minidvodb_path", "VARCHAR(255) NOT NULL"),
        ("minidvodbProcessed", "fault", "SMALLINT NOT NULL"),
    ] {
        check(
            &format!("ALTER TABLE {table} CHANGE {column} renamed {kind}"),
            &[column],
            &format!("ALTER TABLE {table} CHANGE renamed {column} {kind}"),
        );
    }
}

/// The user's privileges are changed; from the program's view all of the same connection's are.
#[track_caller]
fn check_without(privilege: &str, table: &str) {
    let site = with_something_to_write();
    let (user, database) = (&site.ipp.user, &site.ipp.database);
    let (mut take, mut give) = (String::new(), String::new());
    for host in ["127.0.0.1", "localhost"] {
        let all = ["minidvodbCopy", "minidvodbProcessed", "minidvodbRun"];
        take.push_str(&format!("REVOKE SELECT, INSERT, UPDATE ON {database}.* FROM '{user}'@'{host}';\n"));
        give.push_str(&format!("GRANT SELECT, INSERT, UPDATE ON {database}.* TO '{user}'@'{host}';\n"));
        for one in all {
            for granted in ["SELECT", "INSERT", "UPDATE"] {
                if (one, granted) != (table, privilege) {
                    take.push_str(&format!("GRANT {granted} ON {database}.{one} TO '{user}'@'{host}';\n"));
                }
            }
        }
    }
    site.ipp.sql(&take);
    // A copy is made that is an UPDATE there, and one queued that is an INSERT.
    let folder = site.world.make("ThreePi.3", xtask::dvo::Shape::tiny());
    site.ipp.add_merged(3, "ThreePi", &folder);
    let ran = site.run(&["run"]);
    assert_ne!(ran.code, 1, "{privilege}: {}", ran.stderr);
    assert!(ran.stderr.contains(table), "{privilege}: no {table} in:\n{}", ran.stderr);
    assert_eq!(site.standings()[..2], ["1 localhost full 0", "2 localhost full 0"]);
    let ran = site.run(&["sync"]).expect(78);
    assert!(ran.stderr.contains(table), "{privilege}: no {table} in:\n{}", ran.stderr);
    site.ipp.sql(&give);
    site.ok(&["run"]);
    site.ok(&["sync"]);
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_user_who_may_not_update_is_named_and_the_copies_are_made_all_the_same() {
    check_without("UPDATE", "minidvodbCopy");
}

#[test]
fn a_user_who_may_not_insert_is_named_and_the_copies_are_made_all_the_same() {
    check_without("INSERT", "minidvodbCopy");
}

#[test]
fn a_user_who_may_not_read_a_table_is_named_and_the_copies_are_made_all_the_same() {
    check_without("SELECT", "minidvodbCopy");
}

#[test]
fn a_user_who_may_only_read_can_still_take_in_what_is_there() {
    let site = Site::prepared(2);
    let (user, database) = (&site.ipp.user, &site.ipp.database);
    site.ipp.sql(&format!("REVOKE INSERT, UPDATE ON {database}.* FROM '{user}'@'127.0.0.1'"));
    site.ipp.add_copy(&format!("1, {}, 'localhost', 0, 'full', '2011-05-02 03:04:05', 9", site.there()));
    site.ok(&["sync"]);
    assert_eq!(site.standings(), ["1 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_read_only_server_is_said_and_hinders_no_copy() {
    let ipp = Ipp::own(MariaDbOptions::default());
    ipp.sql("SET GLOBAL read_only = 1");
    let site = Site::of(World::new(), ipp);
    site.prepare(1);
    let ran = site.run(&["run"]);
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    assert_ne!(ran.stderr, "");
    assert_eq!(site.world.standing(1), "full 0");
    let ran = site.run(&["sync"]);
    assert!(ran.code == 75 || ran.code == 78, "{ran:?}");
    site.ipp.sql("SET GLOBAL read_only = 0");
    site.sync();
    site.expect_in_step();
}

#[test]
fn other_columns_are_left_alone_wherever_they_stand() {
    let site = Site::new();
    site.ipp.sql(
        "ALTER TABLE minidvodbCopy ADD COLUMN note VARCHAR(64) DEFAULT 'untouched' FIRST,
             ADD COLUMN fault_old SMALLINT AFTER minidvodb_id;
         ALTER TABLE minidvodbRun ADD COLUMN minidvodb_host VARCHAR(64) FIRST,
             ADD COLUMN note VARCHAR(255) AFTER minidvodb_group;
         ALTER TABLE minidvodbProcessed ADD COLUMN note VARCHAR(255) FIRST",
    );
    site.prepare(3);
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_host = 'ipp004', note = 'merged'");
    site.ipp.add_copy(&format!("1, {}, 'localhost', 12, 'new', '2011-05-02 03:04:05', 0", site.there()));
    site.ipp.sql("UPDATE minidvodbCopy SET note = 'by hand', fault_old = 77");
    site.ok(&["run"]);
    site.ok(&["revert", "--all"]);
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
    assert_eq!(
        site.ipp
            .lines("SELECT minidvodb_id, note, fault_old, state FROM minidvodbCopy ORDER BY minidvodb_id"),
        ["1\tby hand\t77\tfull", "2\tuntouched\tNULL\tfull", "3\tuntouched\tNULL\tfull"]
    );
}

#[test]
fn columns_in_another_order_are_read_by_name() {
    let site = Site::new();
    site.ipp.sql(
        "ALTER TABLE minidvodbCopy MODIFY dtime FLOAT FIRST, MODIFY state VARCHAR(64) NOT NULL AFTER dtime;
         ALTER TABLE minidvodbRun MODIFY state VARCHAR(64) NOT NULL FIRST",
    );
    site.prepare(1);
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
}

/// A server of one's own, since the mode of the others' must not change.
fn with_mode(mode: &str) -> Site {
    let options = MariaDbOptions { sql_mode: Some(mode.to_owned()), ..MariaDbOptions::default() };
    let site = Site::of(World::new(), Ipp::own(options));
    site.prepare(2);
    site.queue();
    site.expect_in_step();
    site
}

/// After the column was made narrower, the one value that does not fit is named, and what fits is written.
#[track_caller]
fn expect_refused_not_cut(site: &Site, passed: Ran, column: &str, there: &[&str]) {
    let sync = site.run(&["sync"]);
    assert!(sync.code != 0 && sync.code != 70, "{sync:?}");
    assert!((passed.stderr + &sync.stderr).contains(column), "no {column} in:\n{}", sync.stderr);
    assert_eq!(site.standings_there(), there);
}

#[test]
fn a_fault_that_a_narrower_column_cannot_hold_is_refused_and_not_cut() {
    for mode in ["", "STRICT_TRANS_TABLES"] {
        let site = with_mode(mode);
        std::fs::remove_dir_all(site.world.source("ThreePi.1")).unwrap();
        site.ipp.sql("ALTER TABLE minidvodbCopy MODIFY fault TINYINT NOT NULL");
        let ran = site.run(&["run"]).expect(1);
        assert_eq!(site.standings(), ["1 localhost new 201", "2 localhost full 0"]);
        expect_refused_not_cut(&site, ran, "fault", &["1 localhost new 0", "2 localhost full 0"]);
    }
}

#[test]
fn a_path_that_a_narrower_column_cannot_hold_is_refused_and_not_cut() {
    for mode in ["", "STRICT_TRANS_TABLES"] {
        let site = with_mode(mode);
        let length = site.world.there().as_str().len();
        site.ipp.sql(&format!(
            "ALTER TABLE minidvodbCopy MODIFY minidvodb_rsync_path VARCHAR({length}) NOT NULL"
        ));
        let deeper = site.world.there().join("deeper");
        std::fs::create_dir(&deeper).unwrap();
        for id in [3, 4] {
            let group = if id == 3 { "ThreePi" } else { "Other" };
            let folder = site.world.make(&format!("{group}.{id}"), xtask::dvo::Shape::tiny());
            site.ipp.add_merged(id, group, &folder);
        }
        site.ok(&["target", "add", "Other", "localhost", deeper.as_str()]);
        let ran = site.run(&["run"]);
        let rest = ["1 localhost full 0", "2 localhost full 0", "3 localhost full 0"];
        assert_eq!(site.standings(), [&rest[..], &["4 localhost full 0"]].concat());
        expect_refused_not_cut(&site, ran, "minidvodb_rsync_path", &rest);
    }
}

#[test]
fn a_state_that_a_narrower_column_cannot_hold_is_refused_and_not_cut() {
    for mode in ["", "STRICT_TRANS_TABLES"] {
        let site = with_mode(mode);
        site.ipp.sql("ALTER TABLE minidvodbCopy MODIFY state VARCHAR(3) NOT NULL");
        let ran = site.run(&["run"]);
        assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
        expect_refused_not_cut(&site, ran, "state", &["1 localhost new 0", "2 localhost new 0"]);
    }
}
