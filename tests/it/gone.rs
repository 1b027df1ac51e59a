//! Rows that are gone from the database: a few, many, all of them, or another database altogether.

use super::ipp::Site;

const OLD: &str = "'2011-05-02 03:04:05'";

/// A site in step with so many full copies at localhost of minidvodbs that are nowhere on disk.
fn with_copies(count: u64) -> Site {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, count);
    site.add_bare_copies(1, count, "localhost", "full");
    site.sync();
    site.expect_in_step();
    site
}

/// Deletes the rows of the first minidvodbs by hand.
#[track_caller]
fn delete_to(site: &Site, last: u64) {
    site.ipp.sql(&format!("DELETE FROM minidvodbCopy WHERE minidvodb_id <= {last}"));
}

/// Nothing is applied until somebody says so.
#[track_caller]
fn expect_guarded(site: &Site) {
    let (copies, raw) = (site.standings(), site.ipp.raw());
    let ran = site.run(&["sync"]).expect(78).says("--accept-deletions");
    assert_eq!(ran.stdout, "");
    site.run(&["sync", "--dry-run"]).expect(78).says("--accept-deletions");
    assert_eq!((site.standings(), site.ipp.raw()), (copies, raw), "nothing is applied");
    site.run(&["sync"]).expect(78).says("--accept-deletions");
}

/// The guard is over once it was said.
#[track_caller]
fn accept(site: &Site) {
    let ran = site.ok(&["sync", "--accept-deletions"]);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    site.expect_in_step();
}

#[test]
fn a_row_deleted_by_hand_is_gone_here_too_and_the_log_keeps_it() {
    let site = with_copies(20);
    let logged = site.log().len();
    delete_to(&site, 1);
    site.sync();
    assert_eq!(site.world.list().len(), 19);
    site.expect_in_step();
    let log = site.log();
    assert_eq!(log.len(), logged + 1, "{log:#?}");
    let line = log.last().unwrap();
    assert!(line.contains("ThreePi.1") || line.contains("minidvodb 1"), "{line}");
    assert!(line.contains("localhost") && line.contains("full"), "{line}");
}

#[test]
fn a_deleted_row_may_be_queued_again_and_is_another_copy() {
    let site = Site::prepared(2);
    site.queue();
    let ids = site.ipp.numbered_copies();
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id = 1");
    site.ok(&["run"]).is_silent();
    assert_eq!(site.standings_there(), ["1 localhost full 0", "2 localhost full 0"]);
    let again = site.ipp.numbered_copies();
    assert!(again.last().unwrap().0 > ids[1].0, "{again:?}");
    site.world.expect_arrived("ThreePi.1");
    site.expect_in_step();
    // And again, however often.
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id = 1");
    site.sync();
    assert_eq!(site.standings(), ["2 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_deleted_row_does_not_come_back_by_itself() {
    let site = with_copies(20);
    delete_to(&site, 3);
    site.sync();
    site.ok(&["stage", "off", "queue"]);
    site.ok(&["run"]).is_silent();
    assert_eq!((site.world.list().len(), site.ipp.copies().len()), (17, 17));
    site.expect_in_step();
}

#[test]
fn a_row_that_is_put_back_is_a_copy_again() {
    let site = with_copies(20);
    delete_to(&site, 2);
    site.sync();
    site.add_bare_copies(1, 2, "localhost", "full");
    site.sync();
    assert_eq!(site.world.list().len(), 20);
    site.expect_in_step();
}

#[test]
fn ten_deletions_are_taken_and_eleven_of_few_are_not() {
    let site = with_copies(40);
    delete_to(&site, 10);
    site.sync();
    assert_eq!(site.world.list().len(), 30);
    delete_to(&site, 21);
    expect_guarded(&site);
    accept(&site);
    assert_eq!(site.world.list().len(), 19);
    // What was accepted was that: the guard is up again.
    delete_to(&site, 32);
    expect_guarded(&site);
}

#[test]
fn one_percent_of_deletions_is_taken_and_more_is_not() {
    let site = with_copies(1300);
    delete_to(&site, 13);
    site.sync();
    assert_eq!(site.world.list().len(), 1287);
    delete_to(&site, 26);
    expect_guarded(&site);
    accept(&site);
    assert_eq!(site.world.list().len(), 1274);
}

#[test]
fn an_empty_table_is_not_believed_even_where_few_are_gone() {
    for count in [1, 3, 20] {
        let site = with_copies(count);
        site.ipp.sql("DELETE FROM minidvodbCopy");
        expect_guarded(&site);
        accept(&site);
        assert!(site.world.list().is_empty());
    }
}

#[test]
fn a_truncated_table_is_not_believed() {
    let site = with_copies(5);
    site.ipp.sql("TRUNCATE TABLE minidvodbCopy");
    expect_guarded(&site);
}

#[test]
fn a_table_that_was_empty_from_the_beginning_is_no_loss() {
    let site = Site::prepared(1);
    site.sync();
    site.expect_in_step();
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
}

#[test]
fn a_table_restored_from_an_old_backup_is_not_believed() {
    let site = with_copies(30);
    site.ipp.sql("CREATE TABLE backup AS SELECT * FROM minidvodbCopy");
    site.add_bare(31, 50);
    site.add_bare_copies(31, 50, "localhost", "full");
    site.sync();
    assert_eq!(site.world.list().len(), 50);
    site.ipp.sql(
        "DELETE FROM minidvodbCopy;
         INSERT INTO minidvodbCopy SELECT * FROM backup",
    );
    expect_guarded(&site);
    // Brought up to date again, it is what it was.
    site.add_bare_copies(31, 50, "localhost", "full");
    site.ok(&["sync"]);
    assert_eq!(site.world.list().len(), 50);
    site.expect_in_step();
}

/// Makes the database anew, with the same name, tables, user and minidvodbs.
#[track_caller]
fn make_anew(site: &Site) {
    site.ipp.server().sql(&format!("DROP DATABASE {}", site.ipp.database)).unwrap();
    site.ipp.server().create_ipp(&site.ipp.database).unwrap();
    site.add_bare(1, 5);
}

#[test]
fn another_database_under_the_same_name_is_not_believed() {
    let site = with_copies(5);
    make_anew(&site);
    site.ipp.add_copy(&format!("5, {}, 'ipp099', 0, 'new', {OLD}, 0", site.there()));
    expect_guarded(&site);
    let (ran, copies) = (site.run(&["run"]), site.standings());
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    assert_eq!(copies.len(), 5, "{copies:?}");
    assert_eq!(site.ipp.copies().len(), 1, "and nothing is written to it");
    site.ok(&["sync", "--accept-deletions"]);
    site.expect_in_step();
}

#[test]
fn a_table_that_was_only_altered_is_the_same_one() {
    let site = with_copies(20);
    site.ipp.sql("ALTER TABLE minidvodbCopy ADD COLUMN note VARCHAR(64)");
    site.expect_in_step();
    site.ipp.sql("OPTIMIZE TABLE minidvodbCopy");
    site.expect_in_step();
    // Made anew and with rows gone, it could be a restored one: somebody must say so (if the server's clock,
    // which tells whole seconds, has moved on since the table was made).
    site.ipp.sql("ALTER TABLE minidvodbCopy FORCE");
    delete_to(&site, 2);
    accept(&site);
    site.expect_in_step();
}

#[test]
fn a_database_restored_from_its_own_dump_of_today_is_the_same_one() {
    let site = with_copies(20);
    site.ipp.sql(
        "CREATE TABLE dump LIKE minidvodbCopy; INSERT INTO dump SELECT * FROM minidvodbCopy;
         DROP TABLE minidvodbCopy; RENAME TABLE dump TO minidvodbCopy",
    );
    site.ok(&["sync"]);
    assert_eq!(site.world.list().len(), 20);
    site.expect_in_step();
}

#[test]
fn a_pass_applies_no_mass_deletion_and_queues_nothing_twice() {
    let site = Site::prepared(12);
    site.ok(&["run"]).is_silent();
    site.expect_in_step();
    let before = site.world.list();
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id > 1");
    let raw = site.ipp.raw();
    let ran = site.run(&["run"]);
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    assert!(ran.stderr.contains("minidvodbcopy sync") && ran.stderr.contains("11"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("is away"), "it is there, and not believed: {}", ran.stderr);
    assert_eq!(site.world.list(), before);
    assert_eq!(site.ipp.raw(), raw, "nothing is written to a table that is not believed");
    site.run(&["run"]).is_silent();
    site.ok(&["sync", "--accept-deletions"]);
    assert_eq!(site.standings(), ["1 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_pass_over_a_database_that_is_not_believed_still_copies_what_is_new() {
    let site = Site::prepared(13);
    site.ok(&["run", "--limit", "12"]).is_silent();
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id <= 12");
    let ran = site.run(&["run"]);
    assert!(ran.code != 1 && ran.code != 70, "{ran:?}");
    let copies = site.standings();
    assert_eq!(copies.len(), 13);
    assert_eq!(copies[12], "13 localhost full 0");
    site.world.expect_arrived("ThreePi.13");
}
