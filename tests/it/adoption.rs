//! What the predecessor and others left in the database: taken in as what it is, never lost, never queued twice.

use super::ipp::{Site, connect, ledger_copies};
use super::world::World;

const OLD: &str = "'2011-05-02 03:04:05'";

#[test]
fn a_pass_reads_minidvodbs_copies_them_and_writes_the_copies() {
    let site = Site::prepared(2);
    site.ok(&["run"]).is_silent();
    for name in ["ThreePi.1", "ThreePi.2"] {
        site.world.expect_arrived(name);
    }
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    let recent = "SELECT COUNT(*) FROM minidvodbCopy
        WHERE ABS(TIMESTAMPDIFF(SECOND, epoch, UTC_TIMESTAMP())) < 600 AND dtime > 0";
    assert_eq!(site.ipp.number(recent), 2, "{:?}", site.ipp.copies());
    site.expect_in_step();
}

#[test]
fn the_operators_copy_of_a_group_reads_and_writes_the_database_too() {
    let site = Site::new();
    let folder = site.world.make("ThreePi.1", xtask::dvo::Shape::tiny());
    site.ipp.add_merged(1, "ThreePi", &folder);
    site.ok(&["copy", "ThreePi", "localhost", site.world.there().as_str()]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_sync_says_what_it_did_in_one_line_and_then_nothing() {
    let site = Site::prepared(3);
    site.ipp.add_copy(&format!("1, {}, 'localhost', 0, 'full', {OLD}, 9", site.there()));
    let ran = site.sync();
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains('3') && ran.stdout.contains('1'), "minidvodbs and copies: {}", ran.stdout);
    site.expect_in_step();
    // With -v too, nothing happened.
    assert_eq!(site.ok(&["sync"]).stdout, "");
}

#[test]
fn a_user_who_may_connect_only_once_syncs_all_the_same() {
    let site = Site::prepared(3);
    site.ipp.add_copy(&format!("1, {}, 'localhost', 0, 'full', {OLD}, 9", site.there()));
    let may_connect = |times: u32| {
        for host in ["127.0.0.1", "localhost"] {
            let user = &site.ipp.user;
            site.ipp.sql(&format!("ALTER USER '{user}'@'{host}' WITH MAX_USER_CONNECTIONS {times}"));
        }
    };
    may_connect(1);
    let ran = site.sync();
    // The server may not have seen yet that it is gone.
    may_connect(0);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("3 minidvodbs and 1 copy came"), "{}", ran.stdout);
    site.expect_in_step();
    assert_eq!(site.ok(&["sync"]).stdout, "");
}

#[test]
fn a_dry_run_prints_each_difference_and_changes_nothing() {
    let site = Site::prepared(4);
    site.sync();
    site.queue();
    site.expect_in_step();
    site.ipp.change(1, "localhost", "fault = 12");
    site.ipp.add_copy(&format!("2, {}, 'ipp099', 0, 'full', {OLD}, 9", site.there()));
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id = 3");
    let before = (site.ledger_bytes(), site.ipp.raw());
    let ran = site.ok(&["sync", "--dry-run"]);
    for (part, what) in [("12", "changed"), ("ipp099", "new"), ("localhost", "gone")] {
        assert!(ran.stdout.contains(part), "{what}: {}", ran.stdout);
    }
    assert_eq!(ran.stdout.lines().count(), 3, "one for each:\n{}", ran.stdout);
    assert!((site.ledger_bytes(), site.ipp.raw()) == before, "nothing moves");
    assert_eq!(site.ok(&["sync", "--dry-run"]).stdout, ran.stdout);
    site.sync();
    site.expect_in_step();
    site.ok(&["sync", "--dry-run"]).is_silent();
}

#[test]
fn a_dry_run_before_the_first_sync_writes_nothing_on_either_side() {
    let site = Site::prepared(2);
    site.ipp.add_copy(&format!("1, {}, 'localhost', 0, 'full', {OLD}, 9", site.there()));
    let raw = site.ipp.raw();
    let ran = site.ok(&["sync", "--dry-run"]);
    assert!(ran.stdout.contains("ThreePi.2"), "minidvodbs are differences too:\n{}", ran.stdout);
    assert_eq!(site.standings(), Vec::<String>::new());
    assert_eq!(site.ok(&["minidvodb", "list"]).stdout, "");
    assert_eq!(site.ipp.raw(), raw);
}

#[test]
fn a_dry_run_of_a_pass_reads_the_database_and_changes_nothing_there() {
    let site = Site::prepared(1);
    site.sync();
    let (raw, bytes) = (site.ipp.raw(), site.ledger_bytes());
    let ran = site.ok(&["run", "--dry-run"]);
    assert!(ran.stdout.contains("ThreePi.1"), "{}", ran.stdout);
    assert_eq!(site.ipp.raw(), raw);
    assert!(site.ledger_bytes() == bytes);
}

#[test]
fn groups_without_a_target_are_left_alone() {
    let site = Site::prepared(1);
    site.ipp.add_merged(7, "SAS", &site.world.source("SAS.7"));
    site.ipp.add_copy(&format!("7, {}, 'localhost', 0, 'full', {OLD}, 9", site.there()));
    site.sync();
    let listed = site.ok(&["minidvodb", "list"]).stdout;
    assert!(listed.contains("ThreePi.1") && !listed.contains("SAS"), "{listed}");
    assert_eq!(site.standings(), Vec::<String>::new());
    site.ok(&["target", "add", "SAS", "localhost", site.world.there().as_str()]);
    site.sync();
    assert_eq!(site.standings(), ["7 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_group_whose_target_is_gone_loses_nothing() {
    let site = Site::prepared(2);
    site.ok(&["run", "--limit", "1"]).is_silent();
    site.ok(&["target", "del", "localhost", "ThreePi"]);
    site.ok(&["sync"]);
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost new 0"]);
    site.add_target();
    site.ok(&["run"]);
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn rows_are_taken_in_as_what_they_are_and_never_queued_again() {
    let site = Site::prepared(8);
    let there = site.there();
    for values in [
        format!("1, {there}, 'localhost', 0, 'full', {OLD}, 1234.5"),
        format!("2, {there}, 'localhost', 12, 'new', {OLD}, 0"),
        format!("3, {there}, 'localhost', 3, 'full', {OLD}, 77"),
        format!("4, {there}, 'localhost', 0, 'full', NULL, NULL"),
        format!("5, {there}, 'localhost', 201, 'new', '0000-00-00 00:00:00', NULL"),
        format!("6, {there}, 'localhost', -1, 'new', {OLD}, -1"),
        format!("7, {there}, 'localhost', 32767, 'new', '2038-01-19 03:14:07', 0"),
    ] {
        site.ipp.add_copy(&values);
    }
    let raw = site.ipp.raw();
    site.sync();
    assert_eq!(ledger_copies(&site.world), site.ipp.copies());
    assert_eq!(site.ipp.raw(), raw, "not even a zero date is touched");
    // Once a day it reminds of the faults that wait for a person.
    site.ok(&["run"]).says("12");
    site.ok(&["run"]).is_silent();
    assert_eq!(site.ipp.raw()[..7], raw, "nothing of them is tried");
    assert_eq!(site.standings().len(), 8);
    assert_eq!(site.world.names_there(), ["ThreePi.8"], "the only one that nobody knew of");
    for copy in site.world.list() {
        let adopted = copy["minidvodb_id"] != 8 && copy["state"] == "full";
        assert_eq!(copy["verified"] == "adopted", adopted, "{copy}");
    }
    site.expect_in_step();
}

#[test]
fn a_new_row_that_was_there_is_served_under_its_own_id() {
    let site = Site::prepared(2);
    let id = site.ipp.add_copy(&format!("2, {}, 'localhost', 0, 'new', {OLD}, 0", site.there()));
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    let state = site.ipp.lines(&format!("SELECT state FROM minidvodbCopy WHERE minidvodbcopy_id = {id}"));
    assert_eq!(state, ["full"]);
    site.expect_in_step();
}

#[test]
fn a_fault_that_somebody_else_met_is_reverted_here_and_there() {
    let site = Site::prepared(1);
    site.ipp.add_copy(&format!("1, {}, 'localhost', 12, 'new', {OLD}, 0", site.there()));
    site.sync();
    site.ok(&["revert", "--fault", "12"]);
    site.sync();
    assert_eq!(site.standings_there(), ["1 localhost new 0"]);
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn copies_at_hosts_that_are_unknown_here_come_along_and_the_hosts_are_named_once() {
    let site = Site::prepared(2);
    let there = site.there();
    site.ipp.add_copy(&format!("1, {there}, 'ipp099', 0, 'full', {OLD}, 9"));
    site.ipp.add_copy(&format!("2, {there}, 'backup@ipp098', 0, 'new', {OLD}, 0"));
    let ran = site.sync();
    assert!(ran.stderr.contains("ipp099") && ran.stderr.contains("ipp098"), "{}", ran.stderr);
    assert_eq!(site.standings(), ["1 ipp099 full 0", "2 backup@ipp098 new 0"]);
    site.expect_in_step();
    site.ok(&["run"]).is_silent();
    let all = ["1 ipp099 full 0", "1 localhost full 0", "2 backup@ipp098 new 0", "2 localhost full 0"];
    assert_eq!(site.standings(), all);
    site.ok(&["target", "add", "ThreePi", "ipp099", "/data/ipp099.0"]);
    site.ok(&["host", "add", "ipp099"]);
    site.queue();
    assert_eq!(site.standings()[..3], ["1 ipp099 full 0", "1 localhost full 0", "2 backup@ipp098 new 0"]);
    assert_eq!(site.standings()[3], "2 ipp099 new 0", "and the other one is not queued again");
    site.expect_in_step();
}

/// A site for a target to ipp0222, a second name of the machine ipp022; nothing is loaded.
fn with_two_names() -> Site {
    let site = Site::of(World::new(), super::ipp::Ipp::shared());
    site.ok(&["target", "add", "ThreePi", "ipp0222", "/data/ipp022.0"]);
    site.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    site.ok(&["stage", "off", "load"]);
    site.add_bare(1, 4);
    site
}

#[test]
fn a_copy_under_another_name_of_the_machine_is_a_copy() {
    let site = with_two_names();
    site.ipp.add_copy(&format!("1, '/data/x', 'ipp022', 0, 'full', {OLD}, 9"));
    site.ipp.add_copy(&format!("2, '/data/x', 'IPP022', 5, 'new', {OLD}, 9"));
    site.ipp.add_copy(&format!("3, '/data/x', 'mdc@ipp022', 0, 'new', {OLD}, 9"));
    site.ok(&["run"]);
    site.ok(&["sync"]);
    let hosts = site.ipp.lines("SELECT minidvodb_id, destination_host FROM minidvodbCopy");
    assert_eq!(hosts, ["1\tipp022", "2\tIPP022", "3\tmdc@ipp022", "4\tipp0222"]);
    assert_eq!(site.world.list().len(), 4);
    site.expect_at_rest();
}

/// What cannot stand for a copy: it is left as it is, blocks what it names, and is named once.
#[track_caller]
fn expect_left_alone(site: &Site, rows: &[u64]) {
    let before: Vec<_> = site.ipp.raw();
    let of_row = |id: &u64| {
        let front = format!("{id}\t");
        before.iter().find(|row| row.starts_with(&front)).unwrap().clone()
    };
    let ran = site.ok(&["sync"]);
    for id in rows {
        assert!(ran.stderr.contains(&id.to_string()), "row {id} is not named in:\n{}", ran.stderr);
    }
    site.ok(&["sync"]).is_silent();
    site.ok(&["run"]).is_silent();
    let after = site.ipp.raw();
    for id in rows {
        assert!(after.contains(&of_row(id)), "row {id} was {}, and now:\n{after:#?}", of_row(id));
    }
    let shown = site.ok(&["database", "show"]).stdout;
    for id in rows {
        assert!(shown.contains(&id.to_string()), "row {id} is not named in:\n{shown}");
    }
    site.expect_at_rest();
}

/// Ids that cannot be mistaken for another number of a message.
#[track_caller]
fn start_ids_at(site: &Site, id: u64) {
    site.ipp.sql(&format!("ALTER TABLE minidvodbCopy AUTO_INCREMENT = {id}"));
}

#[test]
fn a_row_without_a_minidvodb_is_left_alone_and_named() {
    let site = Site::prepared(1);
    start_ids_at(&site, 7301);
    let rows = [
        site.ipp.add_copy(&format!("NULL, {}, 'localhost', 0, 'new', {OLD}, 0", site.there())),
        site.ipp.add_copy(&format!("NULL, {}, 'localhost', 0, 'full', {OLD}, 0", site.there())),
    ];
    expect_left_alone(&site, &rows);
    assert_eq!(site.standings(), ["1 localhost full 0"]);
}

#[test]
fn of_duplicates_one_at_most_is_taken_and_the_others_are_left_alone_and_named() {
    let site = Site::prepared(2);
    start_ids_at(&site, 7301);
    let values = format!("1, {}, 'localhost', 0, 'new', {OLD}, 0", site.there());
    let rows = [site.ipp.add_copy(&values), site.ipp.add_copy(&values), site.ipp.add_copy(&values)];
    let ran = site.ok(&["sync"]);
    let named = rows.iter().filter(|id| ran.stderr.contains(&id.to_string())).count();
    assert!(named >= 2, "{}", ran.stderr);
    site.expect_at_rest();
    site.ok(&["run"]).is_silent();
    let of_one = "SELECT COUNT(*) FROM minidvodbCopy WHERE minidvodb_id = 1";
    assert_eq!(site.ipp.number(of_one), 3, "none is added, none is lost");
    let untouched = site.ipp.number(&format!("{of_one} AND state = 'new' AND epoch = {OLD}"));
    assert!(untouched >= 2, "{:?}", site.ipp.copies());
    assert!(site.world.list().iter().filter(|copy| copy["minidvodb_id"] == 1).count() <= 1);
    let shown = site.ok(&["database", "show"]).stdout;
    assert!(rows.iter().filter(|id| shown.contains(&id.to_string())).count() >= 2, "{shown}");
    site.expect_at_rest();
}

#[test]
fn duplicates_that_differ_are_left_alone_like_others() {
    let site = Site::prepared(1);
    let there = site.there();
    site.ipp.add_copy(&format!("1, {there}, 'localhost', 4, 'new', {OLD}, 0"));
    site.ipp.add_copy(&format!("1, {there}, 'LOCALHOST ', 0, 'full', {OLD}, 9"));
    let raw = site.ipp.raw();
    site.ok(&["sync"]);
    site.ok(&["run"]).is_silent();
    assert_eq!(site.ipp.raw(), raw);
    assert_eq!(site.world.names_there(), Vec::<String>::new());
    site.expect_at_rest();
}

#[test]
fn a_duplicate_that_comes_later_moves_nothing() {
    let site = Site::prepared(1);
    site.ok(&["run"]).is_silent();
    start_ids_at(&site, 7301);
    let row =
        site.ipp.add_copy(&format!("1, {}, 'localhost', 4, 'new', '2037-01-01 00:00:00', 0", site.there()));
    expect_left_alone(&site, &[row]);
    assert_eq!(site.standings(), ["1 localhost full 0"]);
}

#[test]
fn a_duplicate_whose_fellow_is_deleted_is_taken_in() {
    let site = Site::prepared(1);
    let values = format!("1, {}, 'localhost', 0, 'new', {OLD}, 0", site.there());
    let rows = [site.ipp.add_copy(&values), site.ipp.add_copy(&values)];
    site.ok(&["sync"]);
    site.ipp.sql(&format!("DELETE FROM minidvodbCopy WHERE minidvodbcopy_id = {}", rows[0]));
    site.ok(&["sync"]);
    assert_eq!(site.standings(), ["1 localhost new 0"]);
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
    let shown = site.ok(&["database", "show"]).stdout;
    assert!(!shown.contains("left as it is"), "{shown}");
}

#[test]
fn a_second_row_on_a_machine_under_another_name_is_left_alone_and_named() {
    let site = with_two_names();
    start_ids_at(&site, 7301);
    let first = site.ipp.add_copy(&format!("1, '/data/x', 'ipp022', 0, 'full', {OLD}, 9"));
    let second = site.ipp.add_copy(&format!("1, '/data/x', 'ipp0222', 0, 'new', {OLD}, 9"));
    let raw = site.ipp.raw();
    let ran = site.ok(&["sync"]);
    let names = |text: &str| [first, second].iter().any(|id| text.contains(&id.to_string()));
    assert!(names(&ran.stderr), "{}", ran.stderr);
    site.ok(&["run"]);
    site.ok(&["sync"]);
    assert_eq!(site.ipp.raw()[..2], raw);
    assert_eq!(site.world.list().iter().filter(|copy| copy["minidvodb_id"] == 1).count(), 1);
    assert!(names(&site.ok(&["database", "show"]).stdout));
    site.expect_at_rest();
}

#[test]
fn rows_with_illegal_values_are_left_alone_and_block_what_they_name() {
    let site = Site::prepared(9);
    start_ids_at(&site, 7301);
    let there = site.there();
    let rows: Vec<u64> = [
        format!("1, 'relative', 'localhost', 0, 'new', {OLD}, 0"),
        format!("2, '/data/../etc', 'localhost', 0, 'new', {OLD}, 0"),
        format!("3, '', 'localhost', 0, 'full', {OLD}, 0"),
        format!("4, {there}, 'localhost', 0, 'gone', {OLD}, 0"),
        format!("5, {there}, 'localhost', 0, '', {OLD}, 0"),
        format!("6, {there}, '-oProxyCommand=x', 0, 'new', {OLD}, 0"),
        format!("6, {there}, 'two words', 0, 'full', {OLD}, 0"),
        format!("7, {there}, '', 0, 'full', {OLD}, 0"),
        format!("8, CONCAT('/data/', CHAR(7)), 'localhost', 0, 'new', {OLD}, 0"),
    ]
    .iter()
    .map(|values| site.ipp.add_copy(values))
    .collect();
    expect_left_alone(&site, &rows);
    assert_eq!(site.world.names_there(), ["ThreePi.6", "ThreePi.7", "ThreePi.9"], "what no row names");
    assert_eq!(site.world.list().len(), 3);
    // Mended by hand, it is a copy like others.
    site.ipp.change(4, "localhost", "state = 'full'");
    site.ok(&["sync"]);
    assert!(site.standings().contains(&"4 localhost full 0".to_owned()), "{:?}", site.standings());
    site.expect_at_rest();
}

#[test]
fn a_row_that_becomes_illegal_is_named_and_the_copy_stays() {
    let site = Site::prepared(2);
    site.ok(&["run"]).is_silent();
    site.ipp.change(1, "localhost", "state = 'lost'");
    let raw = site.ipp.raw();
    assert_ne!(site.ok(&["sync"]).stderr, "");
    site.ok(&["run"]).is_silent();
    assert_eq!(site.ipp.raw(), raw);
    assert_eq!(site.world.names_there(), ["ThreePi.1", "ThreePi.2"]);
    site.expect_at_rest();
    site.ipp.change(1, "localhost", "state = 'full'");
    site.ok(&["sync"]);
    site.expect_in_step();
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
}

#[test]
fn a_copy_that_the_database_cannot_hold_is_named_and_does_not_hinder_the_others() {
    let site = Site::prepared(2);
    // Imported by hand; the database has never heard of 77.
    let folder = site.world.make("ThreePi.77", xtask::dvo::Shape::tiny());
    site.world.import(&[(77, "ThreePi", &folder)]);
    let ran = site.run(&["run"]);
    let sync = site.run(&["sync"]);
    assert!((ran.stderr.clone() + &sync.stderr).contains("77"), "{ran:?} {sync:?}");
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0", "77 localhost full 0"]);
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    assert_eq!(site.world.names_there(), ["ThreePi.1", "ThreePi.2", "ThreePi.77"]);
    // When it becomes known there, it follows.
    site.ipp.add_merged(77, "ThreePi", &folder);
    site.sync();
    site.expect_in_step();
}

#[test]
fn a_first_pull_of_everything_ends_like_one_that_takes_row_by_row() {
    let site = Site::new();
    site.add_bare(1, 40);
    site.add_bare_copies(1, 20, "ipp022", "full");
    site.add_bare_copies(15, 20, "ipp031", "new");
    // One that cannot be taken, of another group, and one that no run has.
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_path = 'relative' WHERE minidvodb_id IN (8, 25)");
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_group = 'Other' WHERE minidvodb_id = 9");
    site.ipp.sql("UPDATE minidvodbProcessed SET fault = 3 WHERE minidvodb_id = 10");
    // What cannot be told from a text of the whole row, and what could be mistaken in it.
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_path = '/data/é' WHERE minidvodb_id IN (2, 40)");
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_path = '/data/a\\nb' WHERE minidvodb_id = 3");
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_name = NULL WHERE minidvodb_id = 4");
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_name = '~' WHERE minidvodb_id = 5");
    site.ipp.change(6, "ipp022", "minidvodb_rsync_path = '/there/é'");
    site.ipp.change(7, "ipp022", "minidvodb_rsync_path = '/there\\n7', fault = 3");
    site.ipp.change(16, "ipp031", "minidvodb_rsync_path = '/there/é'");
    for (id, of) in [
        ("21", "'/there', 'IPP022 ', 0, 'Full '"),
        ("22", "'/there', 'ipp022', 12, 'new'"),
        ("23", "'/there', 'op@ipp022', 0, 'new'"),
        ("23", "'/there', 'ipp022', 0, 'full'"),
        ("24", "'/there', 'ipp022', 0, 'odd'"),
        ("25", "'/there', 'ipp022', 0, 'full'"),
        ("26", "'there', 'ipp022', 0, 'full'"),
        ("27", "'/there', 'a/b', 0, 'full'"),
        ("28", "'/there', 'Ipp040', 0, 'full'"),
        ("29", "'/there', 'ipp040', 252, 'full'"),
        ("NULL", "'/there', 'ipp022', 0, 'full'"),
        ("NULL", "'/there/é', 'ipp022', 0, 'full'"),
        ("40", "'/there/é', 'ipp022', 0, 'full'"),
        ("99", "'/there', 'ipp022', 0, 'full'"),
    ] {
        site.ipp.sql(&format!(
            "SET foreign_key_checks = 0; INSERT INTO minidvodbCopy
             (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime)
             VALUES ({id}, {of}, {OLD}, 1.5)"
        ));
    }
    site.add_target();
    let other = World::new();
    connect(&other, &site.ipp.url());
    other.ok(&["target", "add", "ThreePi", "localhost", site.world.there().as_str()]);
    other.ok(&["host", "add", "localhost"]);
    // Whoever knows one minidvodb already takes the usual way.
    other.import(&[(1000, "Other", &site.world.source("bare"))]);

    let (at_once, row_by_row) = (site.run(&["sync"]), other.run(&["sync"]));
    assert_eq!(ledger_copies(&site.world), ledger_copies(&other));
    let lines = |said: &str| {
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&at_once.told()), lines(&row_by_row.told()));
    let ids = |world: &World| -> Vec<_> {
        world.list().iter().map(|copy| (copy["copy_id"].clone(), copy["minidvodb_id"].clone())).collect()
    };
    assert_eq!(ids(&site.world), ids(&other));
    for world in [&site.world, &other] {
        world.ok(&["sync"]).is_silent();
        // Whatever the sums are.
        world.ok(&["sync", "--dry-run", "--accept-deletions"]).is_silent();
        world.ok(&["sync", "--accept-deletions"]).is_silent();
    }
}
