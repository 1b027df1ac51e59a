//! What changed since both sides last held the same: here, there, on both sides; and rows that meet for the first time.

use xtask::proxy::Proxy;

use super::ipp::{Ipp, Site, connect, ledger_copies};
use super::world::World;

const OLD: &str = "'2011-05-02 03:04:05'";
const LATE: &str = "'2037-12-31 23:59:59'";

/// A site with copies of 1 to 4, new on both sides, with old epochs, behind a proxy.
fn in_step() -> (Site, Proxy) {
    let (site, proxy) = Site::behind_proxy(4);
    site.queue();
    site.ipp.sql(&format!("UPDATE minidvodbCopy SET epoch = {OLD}"));
    site.sync();
    site.expect_in_step();
    (site, proxy)
}

/// A pass that the database does not hear of: the copy of `ThreePi.1` faults with 201 where `is_lost`, else it
/// becomes full; the others are not tried.
#[track_caller]
fn pass_unheard(site: &Site, proxy: &Proxy, is_lost: bool) {
    if is_lost {
        std::fs::rename(site.world.source("ThreePi.1"), site.world.root.join("lost")).unwrap();
    }
    proxy.cut_before(1);
    site.run(&["run", "--limit", "1"]).expect(i32::from(is_lost));
    let state = if is_lost { "1 localhost new 201" } else { "1 localhost full 0" };
    assert_eq!(site.standings()[0], state);
    assert_eq!(site.standings_there()[0], "1 localhost new 0");
    proxy.mend();
}

/// The epoch that the ledger has for the copy of `ThreePi.1`, as SQL writes it.
#[track_caller]
fn epoch_here(site: &Site) -> String {
    let copies = ledger_copies(&site.world);
    let words: Vec<&str> = copies[0].split(' ').collect();
    format!("'{} {}'", words[4], words[5])
}

/// After both sides changed the copy of `ThreePi.1`: which one stands, and whether that is called a conflict.
#[track_caller]
fn check_both(is_lost: bool, there: impl Fn(&Site) -> String, stands: &str) {
    let (site, proxy) = in_step();
    pass_unheard(&site, &proxy, is_lost);
    let assignments = there(&site);
    site.ipp.change(1, "localhost", &assignments);
    let logged = site.log().len();
    let ran = site.sync();
    assert_eq!(site.standings()[0], stands, "{assignments}\n{ran:?}");
    assert!(ran.stdout.contains(" 1 conflicted"), "{assignments}: {}", ran.stdout);
    site.expect_in_step();
    assert!(site.log().len() > logged, "{assignments}: the log keeps both");
    assert!(site.conflicts() > 0, "{:#?}", site.log());
}

#[test]
fn what_changed_here_alone_is_written() {
    for is_lost in [false, true] {
        let (site, proxy) = in_step();
        pass_unheard(&site, &proxy, is_lost);
        let ids: Vec<u64> = site.ipp.numbered_copies().into_iter().map(|(id, _)| id).collect();
        let ran = site.sync();
        assert!(!ran.stdout.contains(" 4"), "one row, and not all: {}", ran.stdout);
        assert_eq!(site.standings_there(), site.standings());
        assert_eq!(site.ipp.numbered_copies().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
        site.expect_in_step();
        assert_eq!(site.conflicts(), 0);
    }
}

#[test]
fn what_changed_there_alone_is_taken_in() {
    let (site, _proxy) = in_step();
    for (assignments, stands) in [
        (format!("fault = 12, epoch = {LATE}"), "1 localhost new 12"),
        // By hand, and the epoch does not move.
        ("fault = 0".to_owned(), "1 localhost new 0"),
        ("state = 'full', dtime = 321.5".to_owned(), "1 localhost full 0"),
        ("dtime = 321.25".to_owned(), "1 localhost full 0"),
        // As a text, the server would show both of these as 123457.
        ("dtime = 123456.78".to_owned(), "1 localhost full 0"),
        ("dtime = 123456.7".to_owned(), "1 localhost full 0"),
        ("dtime = NULL".to_owned(), "1 localhost full 0"),
        ("dtime = 0".to_owned(), "1 localhost full 0"),
        ("epoch = '2011-05-02 03:04:06'".to_owned(), "1 localhost full 0"),
        ("epoch = NULL".to_owned(), "1 localhost full 0"),
        ("epoch = '0000-00-00 00:00:00', fault = 3".to_owned(), "1 localhost full 3"),
        ("minidvodb_rsync_path = '/data/elsewhere', fault = 0".to_owned(), "1 localhost full 0"),
        ("minidvodb_rsync_path = '/data/Elsewhere'".to_owned(), "1 localhost full 0"),
        // Even a full one, for it changed there alone.
        (format!("state = 'new', epoch = {OLD}"), "1 localhost new 0"),
    ] {
        site.ipp.change(1, "localhost", &assignments);
        site.sync();
        assert_eq!(site.standings()[0], stands, "{assignments}");
        site.expect_in_step();
    }
    assert_eq!(site.conflicts(), 0, "{:#?}", site.log());
}

#[test]
fn many_rows_edited_by_hand_at_once_are_all_taken_in() {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, 600);
    site.add_bare_copies(1, 600, "localhost", "full");
    site.sync();
    for change in [
        "fault = 3 WHERE minidvodb_id % 2 = 0",
        // Half of them back, the other half to it.
        "fault = 3 - fault",
        "fault = 0",
        "dtime = minidvodb_id",
        "dtime = 601 - minidvodb_id",
        "epoch = epoch + INTERVAL minidvodb_id SECOND",
        "state = 'new', dtime = NULL",
        "minidvodb_rsync_path = CONCAT('/data/', minidvodb_id)",
        "minidvodb_rsync_path = CONCAT('/data/', 601 - minidvodb_id)",
    ] {
        site.ipp.sql(&format!("UPDATE minidvodbCopy SET {change}"));
        site.sync();
        site.expect_in_step();
    }
    assert_eq!(site.conflicts(), 0);
}

/// Whatever sum of rows a program may look at instead of the rows: changes that are alike must not cancel in it.
#[test]
fn blocks_of_rows_edited_alike_by_hand_are_all_taken_in() {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, 2400);
    site.add_bare_copies(1, 2400, "localhost", "new");
    site.sync();
    let blocks = [
        ("8 in a row, every 200", "minidvodb_id % 10 < 8 AND minidvodb_id DIV 10 % 20 = 5"),
        (
            "64 of a hundred, every 300",
            "minidvodb_id % 10 < 8 AND minidvodb_id DIV 10 % 10 < 8 AND minidvodb_id DIV 100 % 3 = 1",
        ),
        ("100 in a row, every 300", "minidvodb_id DIV 100 % 3 = 2"),
        ("2 in a row, everywhere", "minidvodb_id % 256 IN (50, 51)"),
    ];
    for fault in 1..=4 {
        for (what, rows) in blocks {
            site.ipp.sql(&format!(
                "UPDATE minidvodbCopy SET fault = IF(fault = {fault}, 0, {fault}) WHERE {rows}"
            ));
            site.ok(&["sync"]);
            let (here, there) = (ledger_copies(&site.world), site.ipp.copies());
            let missed = here.iter().zip(&there).filter(|(here, there)| here != there).count();
            assert_eq!(missed, 0, "rows whose new fault {fault} was not noticed: {what}");
        }
    }
}

#[test]
fn two_rows_whose_values_are_exchanged_by_hand_are_taken_in() {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, 2400);
    site.add_bare_copies(1, 2400, "localhost", "new");
    site.ipp.sql("UPDATE minidvodbCopy SET fault = minidvodb_id % 10");
    site.sync();
    // In each 256 another pair, all of them at once.
    for step in 1..=12 {
        site.ipp.sql(&format!(
            "UPDATE minidvodbCopy SET fault = 9 - fault WHERE minidvodb_id % 256 IN ({step}, 255 - {step})"
        ));
        site.ok(&["sync"]);
        let (here, there) = (ledger_copies(&site.world), site.ipp.copies());
        let missed = here.iter().zip(&there).filter(|(here, there)| here != there).count();
        assert_eq!(missed, 0, "rows that were not noticed: {step}");
    }
}

#[test]
fn a_row_edited_to_what_the_database_calls_the_same_is_no_change() {
    let (site, _proxy) = in_step();
    site.ipp.change(1, "localhost", "state = 'NEW', destination_host = 'LocalHost'");
    site.expect_at_rest();
    site.ipp.change(1, "localhost", "state = 'new ', destination_host = 'localhost  '");
    site.expect_at_rest();
}

#[test]
fn a_row_that_somebody_moves_to_another_host_is_a_copy_there() {
    let (site, _proxy) = in_step();
    site.ipp.change(1, "localhost", "destination_host = 'ipp031', state = 'full'");
    site.sync();
    assert_eq!(site.standings()[0], "1 ipp031 full 0");
    site.expect_in_step();
    site.queue();
    assert_eq!(site.standings()[..2], ["1 ipp031 full 0", "1 localhost new 0"]);
    site.expect_in_step();
}

#[test]
fn a_row_deleted_and_written_again_under_another_id_is_the_same_copy() {
    let (site, _proxy) = in_step();
    site.ipp.sql(
        "CREATE TABLE kept AS SELECT * FROM minidvodbCopy WHERE minidvodb_id <= 2;
         DELETE FROM minidvodbCopy WHERE minidvodb_id <= 2;
         INSERT INTO minidvodbCopy
         (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime)
         SELECT minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime FROM kept",
    );
    site.ok(&["sync"]);
    let new = "new 0";
    assert_eq!(site.standings(), (1..=4).map(|id| format!("{id} localhost {new}")).collect::<Vec<_>>());
    site.expect_in_step();
    site.ok(&["run"]).is_silent();
    assert!(site.standings_there().iter().all(|row| row.ends_with("full 0")), "{:?}", site.standings_there());
    site.expect_in_step();
}

#[test]
fn a_verified_copy_beats_a_new_row_however_late() {
    check_both(false, |_| format!("fault = 7, epoch = {LATE}"), "1 localhost full 0");
}

#[test]
fn between_two_full_ones_the_later_epoch_stands() {
    check_both(false, |_| format!("state = 'full', fault = 3, epoch = {LATE}"), "1 localhost full 3");
    check_both(false, |_| format!("state = 'full', fault = 3, epoch = {OLD}"), "1 localhost full 0");
}

#[test]
fn between_two_new_ones_the_later_epoch_stands() {
    check_both(true, |_| format!("fault = 7, epoch = {LATE}"), "1 localhost new 7");
    check_both(true, |_| "fault = 7, epoch = '2011-05-02 03:04:07'".to_owned(), "1 localhost new 201");
}

#[test]
fn a_full_row_that_is_later_beats_a_new_copy_and_an_earlier_one_does_not() {
    check_both(true, |_| format!("state = 'full', dtime = 9, epoch = {LATE}"), "1 localhost full 0");
    check_both(true, |_| format!("state = 'full', dtime = 9, epoch = {OLD}"), "1 localhost new 201");
}

#[test]
fn a_row_without_an_epoch_loses() {
    check_both(true, |_| "fault = 7, epoch = NULL".to_owned(), "1 localhost new 201");
    check_both(true, |_| "fault = 7, epoch = '0000-00-00 00:00:00'".to_owned(), "1 localhost new 201");
}

#[test]
fn of_two_changes_in_the_same_second_the_ledgers_stands() {
    check_both(true, |site| format!("fault = 7, epoch = {}", epoch_here(site)), "1 localhost new 201");
    let second_later = |site: &Site| format!("fault = 7, epoch = {} + INTERVAL 1 SECOND", epoch_here(site));
    check_both(true, second_later, "1 localhost new 7");
}

#[test]
fn the_same_change_on_both_sides_is_no_conflict() {
    let (site, proxy) = in_step();
    pass_unheard(&site, &proxy, true);
    let dtime = site.world.copy(1)["dtime"].clone();
    let same = format!("fault = 201, epoch = {}, dtime = {dtime}", epoch_here(&site));
    site.ipp.change(1, "localhost", &same);
    site.ok(&["sync"]);
    assert_eq!(site.standings()[0], "1 localhost new 201");
    assert_eq!(site.conflicts(), 0, "{:#?}", site.log());
    site.expect_in_step();
}

#[test]
fn a_conflict_is_logged_with_both_sides_and_dry_runs_show_it() {
    let (site, proxy) = in_step();
    pass_unheard(&site, &proxy, true);
    site.ipp.change(1, "localhost", &format!("fault = 7, epoch = {LATE}"));
    let shown = site.ok(&["sync", "--dry-run"]).stdout;
    assert!(shown.contains("201") && shown.contains('7'), "{shown}");
    site.sync();
    let log = site.log();
    let line = log.iter().find(|line| line.contains("both changed")).unwrap();
    assert!(line.contains("201") && line.contains("fault 7"), "{line}");
    assert!(line.contains("ThreePi.1") || line.contains("localhost"), "{line}");
    // Oldest first, and the last ones on request.
    let last = site.ok(&["log", "show", "-n", "1"]).stdout;
    let json = site.ok(&["log", "show", "-n", "1", "--json"]).json();
    assert_eq!(json[0]["who"], "minidvodbcopy");
    assert!(json[0]["minidvodbcopy_id"].is_u64(), "{json}");
    assert_eq!(last.lines().collect::<Vec<_>>(), [log.last().unwrap().as_str()]);
}

#[test]
fn changes_on_both_sides_in_different_columns_are_a_conflict_of_the_whole_row() {
    // No row is made of two halves that nobody wrote.
    check_both(true, |_| format!("dtime = 5, epoch = {LATE}"), "1 localhost new 0");
}

#[test]
fn a_copy_that_moved_to_another_path_here_is_moved_there() {
    let (site, _proxy) = in_step();
    let elsewhere = site.world.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    site.ok(&["target", "add", "ThreePi", "localhost", elsewhere.as_str()]);
    site.sync();
    let paths = site.ipp.lines("SELECT DISTINCT minidvodb_rsync_path FROM minidvodbCopy");
    assert_eq!(paths, [elsewhere.as_str()]);
    site.expect_in_step();
}

#[test]
fn after_changes_on_either_side_of_a_deleted_row_both_sides_agree() {
    for is_lost in [false, true] {
        let (site, proxy) = in_step();
        pass_unheard(&site, &proxy, is_lost);
        site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id = 1");
        site.ok(&["sync"]);
        site.expect_in_step();
    }
}

/// A world that worked without a database: 1 is full, 2 has the fault 201, 3 is only queued; and a database with
/// a row for each of them.
#[track_caller]
fn first_meeting(rows: [&str; 3]) -> Site {
    let world = World::new();
    world.prepare("localhost", 3);
    std::fs::rename(world.source("ThreePi.2"), world.root.join("lost")).unwrap();
    world.run(&["run", "--limit", "2"]).expect(1);
    let site = Site { world, ipp: Ipp::shared() };
    for (id, row) in (1..=3).zip(rows) {
        site.ipp.add_merged(id, "ThreePi", &site.world.source(&format!("ThreePi.{id}")));
        if !row.is_empty() {
            site.ipp.add_copy(&format!("{id}, {}, 'localhost', {row}", site.there()));
        }
    }
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost new 201", "3 localhost new 0"]);
    connect(&site.world, &site.ipp.url());
    site.sync();
    site.expect_in_step();
    site
}

#[test]
fn what_nobody_has_there_is_written_at_the_first_meeting() {
    let site = first_meeting(["", "", ""]);
    assert_eq!(site.standings(), ["1 localhost full 0", "2 localhost new 201", "3 localhost new 0"]);
}

#[test]
fn a_copy_that_was_only_queued_gives_way_to_the_row_at_the_first_meeting() {
    for (row, stands) in [
        (format!("0, 'full', {OLD}, 9"), "3 localhost full 0"),
        (format!("12, 'new', {OLD}, 0"), "3 localhost new 12"),
        ("0, 'full', NULL, NULL".to_owned(), "3 localhost full 0"),
        (format!("0, 'new', {OLD}, 0"), "3 localhost new 0"),
    ] {
        let site = first_meeting(["", "", &row]);
        assert_eq!(site.standings()[2], stands, "{row}");
    }
}

#[test]
fn at_the_first_meeting_a_verified_copy_beats_a_new_row_and_else_the_later_epoch_stands() {
    let late_new = format!("4, 'new', {LATE}, 0");
    let (late_full, old_full) = (format!("3, 'full', {LATE}, 9"), format!("3, 'full', {OLD}, 9"));
    let old_new = format!("4, 'new', {OLD}, 0");
    let site = first_meeting([&late_new, &late_new, ""]);
    assert_eq!(site.standings()[..2], ["1 localhost full 0", "2 localhost new 4"]);
    let site = first_meeting([&late_full, &late_full, ""]);
    assert_eq!(site.standings()[..2], ["1 localhost full 3", "2 localhost full 3"]);
    let site = first_meeting([&old_full, &old_full, ""]);
    assert_eq!(site.standings()[..2], ["1 localhost full 0", "2 localhost new 201"]);
    let site = first_meeting([&old_new, &old_new, ""]);
    assert_eq!(site.standings()[..2], ["1 localhost full 0", "2 localhost new 201"]);
}

#[test]
fn what_the_ledger_made_full_is_not_queued_again_by_a_first_meeting() {
    let site = first_meeting(["", "", &format!("0, 'full', {OLD}, 9")]);
    site.run(&["run"]);
    assert_eq!(site.world.list().len(), 3);
    assert_eq!(site.world.names_there(), ["ThreePi.1"]);
}
