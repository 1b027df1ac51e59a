//! Minidvodbs as the database knows them: which are eligible, and what becomes of those that change.

use super::ipp::Site;

#[test]
fn a_minidvodb_is_eligible_when_it_is_merged_and_processed_without_a_fault() {
    let site = Site::prepared(1);
    let add = |id: u64, state: &str| {
        let folder = site.world.make(&format!("ThreePi.{id}"), xtask::dvo::Shape::tiny());
        site.ipp.add_run(id, "ThreePi", &folder, state);
    };
    for (id, state) in [(2, "new"), (3, "active"), (4, "waiting"), (5, "to_be_merged")] {
        add(id, state);
    }
    for id in [6, 7] {
        add(id, "merged");
    }
    site.ipp.add_processed(6, 5);
    // 7 is merged, and has no row of its processing.
    add(8, "to_be_merged");
    site.ipp.add_processed(8, 0);
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings(), ["1 localhost full 0"]);
    // Each of them becomes eligible in its own way.
    site.ipp.sql("UPDATE minidvodbRun SET state = 'merged' WHERE minidvodb_id = 8");
    site.ipp.sql("UPDATE minidvodbProcessed SET fault = 0 WHERE minidvodb_id = 6");
    site.ipp.add_processed(7, 0);
    site.ok(&["run"]).is_silent();
    let full: Vec<String> = [1, 6, 7, 8].iter().map(|id| format!("{id} localhost full 0")).collect();
    assert_eq!(site.standings(), full);
    site.expect_in_step();
}

#[test]
fn a_minidvodb_that_loses_its_processed_row_or_gets_a_fault_is_not_queued_any_more() {
    let site = Site::prepared(4);
    site.sync();
    site.ipp.sql(
        "DELETE FROM minidvodbProcessed WHERE minidvodb_id = 1;
         UPDATE minidvodbProcessed SET fault = 5 WHERE minidvodb_id = 2;
         UPDATE minidvodbRun SET state = 'active' WHERE minidvodb_id = 3",
    );
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings(), ["4 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_queued_minidvodb_that_is_not_merged_any_more_is_not_copied() {
    let site = Site::prepared(2);
    site.queue();
    site.ipp.sql("UPDATE minidvodbRun SET state = 'purged' WHERE minidvodb_id = 1");
    site.ok(&["run"]);
    assert_eq!(site.standings(), ["1 localhost new 0", "2 localhost full 0"]);
    site.ipp.sql("UPDATE minidvodbRun SET state = 'merged' WHERE minidvodb_id = 1");
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_path_that_changes_in_the_database_is_where_it_is_copied_from() {
    let site = Site::prepared(2);
    site.queue();
    let moved = site.world.root.join("elsewhere/ThreePi.1");
    std::fs::create_dir(site.world.root.join("elsewhere")).unwrap();
    std::fs::rename(site.world.source("ThreePi.1"), &moved).unwrap();
    site.ipp.sql(&format!("UPDATE minidvodbRun SET minidvodb_path = '{moved}' WHERE minidvodb_id = 1"));
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    let differences = xtask::tree::differences(&moved, site.world.there().join("ThreePi.1")).unwrap();
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn a_path_that_changes_in_its_case_alone_is_another_path() {
    let site = Site::prepared(1);
    site.queue();
    let moved = site.world.root.join("source/threepi.1");
    std::fs::rename(site.world.source("ThreePi.1"), &moved).unwrap();
    site.ipp.sql(&format!("UPDATE minidvodbRun SET minidvodb_path = '{moved}' WHERE minidvodb_id = 1"));
    site.ok(&["run"]).is_silent();
    assert_eq!(site.world.names_there(), ["threepi.1"]);
}

#[test]
fn a_change_in_minidvodbrun_alone_is_something_that_happened() {
    let site = Site::prepared(2);
    site.sync();
    site.ipp.sql("UPDATE minidvodbRun SET state = 'purged' WHERE minidvodb_id = 1");
    assert!(site.ok(&["sync", "--dry-run"]).stdout.contains("purged"));
    site.sync();
    assert!(site.ok(&["minidvodb", "list"]).stdout.contains("purged"));
    site.ipp.sql("UPDATE minidvodbProcessed SET fault = 5 WHERE minidvodb_id = 2");
    site.sync();
    site.expect_at_rest();
}

#[test]
fn a_minidvodb_without_a_name_is_one() {
    let site = Site::prepared(1);
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_name = NULL");
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings(), ["1 localhost full 0"]);
    site.world.expect_arrived("ThreePi.1");
    site.expect_in_step();
}

#[test]
fn a_minidvodb_whose_path_is_illegal_is_named_once_and_does_not_hinder_the_others() {
    let site = Site::prepared(1);
    for (id, path) in [
        (701, "relative/ThreePi.701"),
        (702, "/data/../ThreePi.702"),
        (703, "/"),
        (704, "/data/.minidvodbcopy"),
    ] {
        site.ipp.add_merged(id, "ThreePi", path.into());
    }
    site.ipp.add_copy(&format!("701, {}, 'localhost', 0, 'full', NULL, 0", site.there()));
    let ran = site.ok(&["sync"]);
    for id in 701..=704 {
        assert!(ran.stderr.contains(&id.to_string()), "{id} is not named in:\n{}", ran.stderr);
    }
    site.expect_at_rest();
    site.ok(&["run"]).is_silent();
    assert_eq!(site.world.names_there(), ["ThreePi.1"]);
    let shown = site.ok(&["database", "show"]).stdout;
    assert!((701..=704).all(|id| shown.contains(&id.to_string())), "{shown}");
}

#[test]
fn two_minidvodbs_with_one_final_path_are_a_fault_and_not_an_overwrite() {
    let site = Site::prepared(1);
    let twin = site.world.root.join("elsewhere/ThreePi.1");
    xtask::dvo::make(&twin, xtask::dvo::Shape::tiny(), 5).unwrap();
    site.ipp.add_merged(2, "ThreePi", &twin);
    site.run(&["run"]).expect(1).says("fault 226");
    site.ok(&["sync"]);
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost new 226"]);
    site.world.expect_arrived("ThreePi.1");
    site.expect_in_step();
}

#[test]
fn a_list_that_was_imported_and_the_database_are_about_the_same_minidvodbs() {
    let site = Site::prepared(2);
    let old = site.world.source("nowhere");
    site.world.import(&[(1, "ThreePi", &old), (2, "ThreePi", &site.world.source("ThreePi.2"))]);
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_minidvodb_that_moves_to_another_group_follows_it() {
    let site = Site::prepared(3);
    let elsewhere = site.world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    site.ok(&["target", "add", "SAS", "localhost", elsewhere.as_str()]);
    site.sync();
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_group = 'SAS' WHERE minidvodb_id = 1");
    // And one that goes where nobody copies from.
    site.ipp.sql("UPDATE minidvodbRun SET minidvodb_group = 'Nowhere' WHERE minidvodb_id = 2");
    site.ok(&["run"]).is_silent();
    assert_eq!(super::world::names_in(&elsewhere), ["ThreePi.1"]);
    assert_eq!(site.world.names_there(), ["ThreePi.3"]);
    site.expect_in_step();
}

#[test]
fn a_minidvodb_that_is_deleted_in_the_database_is_not_copied_any_more() {
    let site = Site::prepared(3);
    site.sync();
    site.ipp.sql(
        "DELETE FROM minidvodbProcessed WHERE minidvodb_id = 1;
         DELETE FROM minidvodbRun WHERE minidvodb_id = 1",
    );
    site.ok(&["run"]);
    site.ok(&["run"]).is_silent();
    let full = ["2 localhost full 0", "3 localhost full 0"];
    assert_eq!(site.standings_there(), full);
    assert_eq!(site.world.names_there(), ["ThreePi.2", "ThreePi.3"], "nothing that the database cannot hold");
    site.expect_at_rest();
}

#[test]
fn the_largest_ids_are_ids() {
    let site = Site::prepared(1);
    let large = i64::MAX.unsigned_abs() - 1;
    let folder = site.world.make("ThreePi.large", xtask::dvo::Shape::tiny());
    site.ipp.add_merged(large, "ThreePi", &folder);
    site.ipp.sql(&format!(
        "INSERT INTO minidvodbCopy
         (minidvodbcopy_id, minidvodb_id, minidvodb_rsync_path, destination_host, fault, state)
         VALUES (9007199254740993, {large}, {}, 'localhost', 0, 'new')",
        site.there()
    ));
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0", &format!("{large} localhost full 0")]);
    let state = "SELECT state FROM minidvodbCopy WHERE minidvodbcopy_id = 9007199254740993";
    assert_eq!(site.ipp.lines(state), ["full"]);
    site.expect_in_step();
}

#[test]
fn ids_that_are_none_are_left_alone() {
    let site = Site::prepared(1);
    site.ipp.sql(
        "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; SET foreign_key_checks = 0;
        INSERT INTO minidvodbRun (minidvodb_id, minidvodb_group, minidvodb_path, state)
        VALUES (0, 'ThreePi', '/data/ThreePi.0', 'merged'), (-5, 'ThreePi', '/data/ThreePi.-5', 'merged');
        INSERT INTO minidvodbProcessed (minidvodb_id, fault) VALUES (0, 0), (-5, 0);
        INSERT INTO minidvodbCopy
        (minidvodbcopy_id, minidvodb_id, minidvodb_rsync_path, destination_host, fault, state)
        VALUES (0, 1, '/data', 'ipp098', 0, 'full'), (-7, 1, '/data', 'ipp099', 0, 'full'),
               (7301, 0, '/data', 'ipp099', 0, 'full'), (7302, -5, '/data', 'ipp099', 0, 'full')",
    );
    let raw = site.ipp.raw();
    let ran = site.ok(&["sync"]);
    assert!(ran.stderr.contains("7301") && ran.stderr.contains("7302"), "{}", ran.stderr);
    site.ok(&["run"]);
    let after = site.ipp.raw();
    assert!(raw.iter().all(|row| after.contains(row)), "{after:#?}");
    assert_eq!(site.world.names_there(), ["ThreePi.1"]);
    site.expect_at_rest();
}

#[test]
fn a_thousand_minidvodbs_and_copies_come_and_go_in_one_sync() {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, 3000);
    site.add_bare_copies(1, 1500, "localhost", "full");
    site.add_bare_copies(1, 3000, "ipp099", "new");
    site.sync();
    assert_eq!(site.world.list().len(), 4500);
    site.expect_in_step();
    site.queue();
    assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), 6000);
    site.expect_in_step();
}
