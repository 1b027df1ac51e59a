//! The connection lost, or the program killed, at every single statement in turn: the next one ends in the same
//! state as if nothing had happened, without a duplicate row.

use std::process::Child;

use xtask::proxy::Proxy;

use super::ipp::{Site, ledger_copies};
use super::world::{eventually, finish};

/// A site behind a proxy that can be put back to where it was, with something to do.
struct Stage {
    site: Site,
    proxy: Proxy,
}

/// How a run is hurt at a statement.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// The server does not see the statement.
    CutBefore,
    /// The server has done it, and the program does not hear of it.
    CutAfter,
    /// The same, and the program is killed (SIGKILL).
    KillBefore,
    KillAfter,
}

impl Stage {
    /// Remembers this state of both sides.
    #[track_caller]
    fn remember(site: Site, proxy: Proxy) -> Self {
        for table in ["Run", "Processed", "Copy"] {
            site.ipp.sql(&format!("CREATE TABLE kept{table} AS SELECT * FROM minidvodb{table}"));
        }
        copy_folder(&site.world.state(), &site.world.root.join("kept-state"));
        copy_folder(&site.world.there(), &site.world.root.join("kept-there"));
        Self { site, proxy }
    }

    /// Goes back to it.
    #[track_caller]
    fn put_back(&self) {
        let root = &self.site.world.root;
        self.site.ipp.sql(
            "DELETE FROM minidvodbCopy; DELETE FROM minidvodbProcessed; DELETE FROM minidvodbRun;
             INSERT INTO minidvodbRun SELECT * FROM keptRun;
             INSERT INTO minidvodbProcessed SELECT * FROM keptProcessed;
             INSERT INTO minidvodbCopy SELECT * FROM keptCopy;",
        );
        copy_folder(&root.join("kept-state"), &self.site.world.state());
        copy_folder(&root.join("kept-there"), &self.site.world.there());
        self.proxy.mend();
        self.proxy.reset();
    }

    /// How many statements a run has that is left alone.
    #[track_caller]
    fn count(&self, arguments: &[&str]) -> usize {
        self.put_back();
        self.site.ok(arguments);
        self.proxy.statements().len()
    }

    /// Starts a run and hurts it at its n-th statement. Says whether it came to that.
    #[track_caller]
    fn hurt(&self, arguments: &[&str], blow: Blow, n: usize) -> bool {
        self.put_back();
        match blow {
            Blow::CutBefore | Blow::KillBefore => self.proxy.cut_before(n),
            Blow::CutAfter | Blow::KillAfter => self.proxy.cut_after(n),
        }
        let mut child = self.site.world.start(arguments);
        if matches!(blow, Blow::KillBefore | Blow::KillAfter) {
            eventually("it is cut, or ends", || self.proxy.is_cut() || has_ended(&mut child));
            super::slow::kill_alone(child);
        } else {
            let ran = finish(child);
            assert!(ran.code == 0 || ran.code == 75, "{blow:?} at {n}: {ran:?}");
        }
        let is_cut = self.proxy.is_cut();
        self.proxy.mend();
        // The server notices by itself that the other end is gone, and rolls back.
        eventually("the connections are gone", || self.site.ipp.connections("") == 0);
        is_cut
    }
}

fn has_ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)) | Err(_))
}

#[track_caller]
fn copy_folder(from: &camino::Utf8Path, to: &camino::Utf8Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = std::process::Command::new("cp").args(["-a", "--", from.as_str(), to.as_str()]).status();
    assert!(status.unwrap().success());
}

const LATE: &str = "'2037-12-31 23:59:59'";

/// Something of everything: here one copy became full, one faulted and three were queued; there one changed, one
/// is gone, one is new at a host unknown here, one changed on both sides, and there is a new minidvodb.
fn everything_at_once() -> Stage {
    let (site, proxy) = Site::behind_proxy(6);
    site.queue();
    site.ipp.sql("UPDATE minidvodbCopy SET epoch = '2011-05-02 03:04:05'");
    for id in 7..=9 {
        let folder = site.world.make(&format!("ThreePi.{id}"), xtask::dvo::Shape::tiny());
        site.ipp.add_merged(id, "ThreePi", &folder);
    }
    site.sync();
    proxy.cut_before(1);
    std::fs::remove_dir_all(site.world.source("ThreePi.2")).unwrap();
    site.run(&["run", "--limit", "2"]).expect(1);
    let folder = site.world.make("ThreePi.10", xtask::dvo::Shape::tiny());
    site.ipp.add_merged(10, "ThreePi", &folder);
    site.ipp.change(2, "localhost", &format!("fault = 7, epoch = {LATE}"));
    site.ipp.change(3, "localhost", "fault = 12");
    site.ipp.sql("DELETE FROM minidvodbCopy WHERE minidvodb_id = 4");
    site.ipp.add_copy(&format!("5, {}, 'ipp099', 0, 'full', '2011-05-02 03:04:05', 9", site.there()));
    proxy.mend();
    Stage::remember(site, proxy)
}

/// What must be so in the end, however it came about.
#[derive(Debug, PartialEq)]
struct End {
    here: Vec<String>,
    there: Vec<String>,
    minidvodbs: String,
    /// Rows that were there before, which keep their ids.
    old: Vec<(u64, String)>,
}

impl End {
    #[track_caller]
    fn of(site: &Site) -> Self {
        let last_old = site.ipp.number("SELECT MAX(minidvodbcopy_id) FROM keptCopy");
        let mut old = site.ipp.numbered_copies();
        old.retain(|(id, _)| *id <= last_old);
        Self {
            here: ledger_copies(&site.world),
            there: site.ipp.copies(),
            minidvodbs: site.ok(&["minidvodb", "list"]).stdout,
            old,
        }
    }
}

#[track_caller]
fn hurt_syncs(blow: Blow) {
    let stage = everything_at_once();
    let site = &stage.site;
    let statements = stage.count(&["sync"]);
    assert!(statements > 3, "{:?}", stage.proxy.statements());
    let undisturbed = End::of(site);
    assert_eq!(undisturbed.here, undisturbed.there);
    assert_eq!(site.conflicts(), 1, "{:#?}", site.log());
    site.expect_in_step();
    for n in 1..=statements {
        let is_cut = stage.hurt(&["sync"], blow, n);
        assert!(is_cut, "{blow:?} at {n} of {statements}");
        let hurt_at = stage.proxy.statements().get(n - 1).cloned();
        let again = site.ok(&["sync"]);
        let end = End::of(site);
        assert_eq!(end, undisturbed, "{blow:?} at {n} of {statements}, {hurt_at:?}: {again:?}");
        assert_eq!(site.conflicts(), 1, "{blow:?} at {n}, {hurt_at:?}: {:#?}", site.log());
        site.expect_in_step();
    }
}

#[test]
fn a_sync_cut_off_before_any_statement_is_made_good_by_the_next_one() {
    hurt_syncs(Blow::CutBefore);
}

#[test]
fn a_sync_cut_off_after_any_statement_is_made_good_by_the_next_one() {
    hurt_syncs(Blow::CutAfter);
}

#[test]
fn a_sync_killed_before_any_statement_is_made_good_by_the_next_one() {
    hurt_syncs(Blow::KillBefore);
}

#[test]
fn a_sync_killed_after_any_statement_is_made_good_by_the_next_one() {
    hurt_syncs(Blow::KillAfter);
}

/// Two minidvodbs to be queued and copied, one that is queued on both sides.
fn a_pass_to_come() -> Stage {
    let (site, proxy) = Site::behind_proxy(1);
    site.queue();
    let folder = site.world.make("ThreePi.2", xtask::dvo::Shape::tiny());
    site.ipp.add_merged(2, "ThreePi", &folder);
    Stage::remember(site, proxy)
}

#[track_caller]
fn expect_both_full(site: &Site, what: &str) {
    let full = ["1 localhost full 0", "2 localhost full 0"];
    assert_eq!(site.standings(), full, "{what}");
    assert_eq!(site.standings_there(), full, "{what}");
    for name in ["ThreePi.1", "ThreePi.2"] {
        site.world.expect_arrived(name);
    }
    assert_eq!(site.world.names_there(), ["ThreePi.1", "ThreePi.2"], "{what}");
    site.expect_in_step();
}

#[track_caller]
fn hurt_passes(blow: Blow) {
    let stage = a_pass_to_come();
    let site = &stage.site;
    let statements = stage.count(&["run"]);
    expect_both_full(site, "undisturbed");
    for n in 1..=statements {
        stage.hurt(&["run"], blow, n);
        let what = format!("{blow:?} at {n} of {statements}, {:?}", stage.proxy.statements().get(n - 1));
        if matches!(blow, Blow::CutBefore | Blow::CutAfter) {
            let is_full = |row: &String| row.ends_with("full 0");
            let copies = site.standings();
            assert!(copies.iter().all(is_full), "{what}: no copy is hindered: {copies:?}");
        }
        site.ok(&["run"]);
        site.ok(&["sync"]);
        expect_both_full(site, &what);
    }
}

#[test]
fn a_pass_cut_off_before_any_statement_copies_all_the_same() {
    hurt_passes(Blow::CutBefore);
}

#[test]
fn a_pass_cut_off_after_any_statement_copies_all_the_same() {
    hurt_passes(Blow::CutAfter);
}

#[test]
fn a_pass_killed_at_any_statement_is_made_good_by_the_next_one() {
    hurt_passes(Blow::KillAfter);
}

#[test]
fn a_first_sync_killed_at_any_statement_is_made_good_by_the_next_one() {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, 40);
    site.add_bare_copies(1, 20, "localhost", "full");
    site.add_bare_copies(11, 40, "ipp099", "new");
    let proxy = site.add_proxy();
    let stage = Stage::remember(site, proxy);
    let statements = stage.count(&["sync"]);
    let undisturbed = End::of(&stage.site);
    for blow in [Blow::KillBefore, Blow::KillAfter, Blow::CutAfter] {
        for n in 1..=statements {
            stage.hurt(&["sync"], blow, n);
            stage.site.ok(&["sync"]);
            assert_eq!(End::of(&stage.site), undisturbed, "{blow:?} at {n} of {statements}");
            stage.site.expect_in_step();
        }
    }
}

/// So many copies here that their rows go as lines of a file, and none of them there.
fn many_rows_to_come() -> Stage {
    let site = Site::new();
    site.add_target();
    site.add_bare(1, MANY);
    let proxy = site.add_proxy();
    site.ok(&["sync"]);
    proxy.cut_before(1);
    site.ok(&["stage", "off", "load"]);
    site.ok(&["run"]);
    site.ok(&["stage", "on", "load"]);
    proxy.mend();
    Stage::remember(site, proxy)
}

const MANY: u64 = 600;

#[test]
fn a_push_of_many_rows_killed_at_any_statement_is_made_good_by_the_next_one() {
    let stage = many_rows_to_come();
    let site = &stage.site;
    let statements = stage.count(&["sync"]);
    let said = stage.proxy.statements();
    assert!(said.iter().any(|statement| statement.starts_with("LOAD DATA LOCAL")), "{said:#?}");
    assert!(!said.iter().any(|statement| statement.starts_with("INSERT")), "{said:#?}");
    for blow in [Blow::KillBefore, Blow::KillAfter, Blow::CutAfter] {
        for n in 1..=statements {
            stage.hurt(&["sync"], blow, n);
            site.ok(&["sync"]);
            let what = format!("{blow:?} at {n} of {statements}");
            let pairs = "SELECT COUNT(DISTINCT minidvodb_id, destination_host) FROM minidvodbCopy";
            assert_eq!(site.ipp.number("SELECT COUNT(*) FROM minidvodbCopy"), MANY, "{what}");
            assert_eq!(site.ipp.number(pairs), MANY, "{what}");
            assert_eq!(site.conflicts(), 0, "{what}: {:#?}", site.log());
            site.expect_in_step();
        }
    }
}
