//! Rows that an operator changes by hand: by the same rules as storage, and with what was before in the log.

use std::fs;

use serde_json::Value;

use super::ipp::Site;
use super::slow::{self, Gate, Hold};
use super::world::{Ran, World, finish, names_in};

const HERE: &str = "localhost";

/// Copies of ThreePi.1 to ThreePi.COUNT to `host` that are still to be made; no pass has been at them.
#[track_caller]
fn queued(host: &str, count: u64) -> World {
    let world = World::new();
    let folders: Vec<_> = (1..=count).map(|id| world.source(&format!("ThreePi.{id}"))).collect();
    let rows: Vec<_> = (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
    world.import(&rows);
    queue_for(&world, host);
    world
}

/// A target for a host, and copies of all minidvodbs in its queue.
#[track_caller]
fn queue_for(world: &World, host: &str) {
    world.ok(&["target", "add", "ThreePi", host, world.there().as_str()]);
    world.ok(&["host", "add", host]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.ok(&["stage", "on", "load"]);
}

/// A copy that is full, verified by its checksums.
#[track_caller]
fn full() -> World {
    let world = World::new();
    world.prepare(HERE, 1);
    world.ok(&["run"]).is_silent();
    world
}

/// `update` of copy 1.
#[track_caller]
fn update(world: &World, options: &[&str]) -> Ran {
    world.run(&[&["update", "--id", "1"], options].concat())
}

#[track_caller]
fn ok(world: &World, options: &[&str]) -> Ran {
    update(world, options).expect(0)
}

/// Refused with exit 2, a reason that has `why`, and nothing changed.
#[track_caller]
fn refused(world: &World, options: &[&str], why: &str) {
    let before = (world.list(), log(world));
    update(world, options).expect(2).says(why);
    assert_eq!((world.list(), log(world)), before, "{options:?}");
    world.ok(&["ledger", "check"]);
}

#[track_caller]
fn log(world: &World) -> Vec<String> {
    world.ok(&["log", "show", "-n", "1000"]).stdout.lines().map(str::to_owned).collect()
}

/// A copy's values but those that the clock makes.
fn without_epoch(mut copy: Value) -> Value {
    copy.as_object_mut().unwrap().remove("epoch");
    copy
}

/// Fails unless only these keys, and the epoch, are different afterwards.
#[track_caller]
fn expect_only_changed(world: &World, before: &Value, keys: &[&str]) {
    let (mut before, mut after) = (without_epoch(before.clone()), without_epoch(world.copy(1)));
    for key in keys {
        assert_ne!(before[key], after[key], "{key}");
        before.as_object_mut().unwrap().remove(*key);
        after.as_object_mut().unwrap().remove(*key);
    }
    assert_eq!(before, after);
    world.ok(&["ledger", "check"]);
}

#[test]
fn only_what_is_named_changes_and_the_log_has_what_was_before() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--set-dtime", "12.5"], &["dtime"]),
        (&["--set-fault", "23"], &["fault", "fault_name", "fault_class"]),
        (&["--set-fault", "path-taken"], &["fault", "fault_name", "fault_class"]),
        (&["--set-fault", "source-changed"], &["fault", "fault_name", "fault_class", "next_try"]),
        (&["--set-path", "/elsewhere"], &["minidvodb_rsync_path"]),
        (&["--set-state", "full"], &["state", "verified"]),
    ];
    for (options, keys) in cases {
        let world = queued("ipp022", 1);
        let before = world.copy(1);
        let ran = ok(&world, options);
        assert!(ran.stdout.contains("\n  was new, fault 0, ipp022:"), "{}", ran.stdout);
        expect_only_changed(&world, &before, keys);
        let log = log(&world);
        let entry = log.last().unwrap();
        assert!(entry.contains("updated copy 1 (ThreePi.1 to ipp022) by hand: was new, fault 0"), "{entry}");
        let (was, is) = entry.split_once("; is ").unwrap();
        assert_ne!(was.split_once(": was ").unwrap().1, is, "{entry}");
    }
}

#[test]
fn zero_is_a_value() {
    let world = queued("ipp022", 1);
    ok(&world, &["--set-fault", "23", "--set-dtime", "7"]);
    assert_eq!(world.standing(1), "new 23");
    let before = world.copy(1);
    ok(&world, &["--set-fault", "0", "--set-dtime", "0"]);
    expect_only_changed(&world, &before, &["fault", "fault_name", "fault_class", "dtime"]);
    assert_eq!((world.standing(1), &world.copy(1)["dtime"]), ("new 0".to_owned(), &Value::from(0.0)));
    ok(&world, &["--set-fault", "-0"]);
    assert_eq!(world.standing(1), "new 0");
}

#[test]
fn what_no_copy_can_be_is_refused() {
    let world = queued("ipp022", 1);
    for options in [
        &["--set-state", "drop"][..],
        &["--set-state", ""],
        &["--set-state", "FULL"],
        &["--set-fault", "32768"],
        &["--set-fault", "none"],
        &["--set-fault", ""],
        &["--set-fault", "1.5"],
        &["--set-dtime", "-1"],
        &["--set-dtime", "NaN"],
        &["--set-dtime", "inf"],
        &["--set-dtime", "1e39"],
        &["--set-dtime", ""],
        &["--set-path", "relative"],
        &["--set-path", "/a/../b"],
        &["--set-path", "/new\nline"],
        &["--set-path", "/日本"],
        &["--set-path", ""],
        &["--set-host", "a b"],
        &["--set-host", "-oProxyCommand=x"],
        &["--set-host", ""],
        &[],
    ] {
        refused(&world, options, "");
    }
    let long = format!("/{}", "x".repeat(255));
    refused(&world, &["--set-path", &long], "");
    for ids in [&["--id", "0"][..], &["--id", "-1"], &["--id", "x"], &["--id", "99"], &[]] {
        world.run(&[&["update"], ids, &["--set-fault", "0"]].concat()).expect(2);
    }
}

#[test]
fn without_a_ledger_nothing_is_made_by_hand() {
    let world = World::new();
    update(&world, &["--set-fault", "0"]).expect(78);
    world.run(&["recopy", "1"]).expect(78);
    world.run(&["recopy", "1", "--cancel"]).expect(78);
    assert!(!world.state().join("ledger.redb").exists());
}

#[test]
fn a_copy_set_back_keeps_its_history_and_is_told_what_will_happen() {
    let world = full();
    let before = world.copy(1);
    let ran = ok(&world, &["--set-state", "new"]);
    assert!(ran.stderr.contains("(225)") && ran.stderr.contains("recopy 1"), "{}", ran.stderr);
    expect_only_changed(&world, &before, &["state", "verified"]);
    assert_eq!(slow::outcomes(&world, 1), ["full"]);
    assert!(world.state().join("manifests/1.tsv.gz").exists());
    world.run(&["run"]).expect(1).says("fault 225");
    assert_eq!(slow::outcomes(&world, 1).len(), 2);
    // And forth again.
    ok(&world, &["--set-state", "full", "--set-fault", "0"]);
    assert_eq!((world.standing(1), &world.copy(1)["verified"]), ("full 0".to_owned(), &"by hand".into()));
    world.ok(&["run"]).is_silent();
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_fault_that_stays_is_said_and_a_full_copy_is_never_tried_again_by_itself() {
    let world = queued("ipp022", 1);
    ok(&world, &["--set-fault", "203"]);
    assert!(world.copy(1)["next_try"].is_string());
    ok(&world, &["--set-state", "full"]).says("still shows fault 203").says("--set-fault 0");
    let copy = world.copy(1);
    assert_eq!((copy["fault"].as_u64(), &copy["next_try"]), (Some(203), &Value::Null), "{copy}");
    assert_eq!(copy["fault_class"], "person", "nothing tries it again");
}

#[test]
fn what_was_verified_in_one_place_is_by_hand_in_another() {
    for options in [&["--set-path", "/elsewhere"], &["--set-host", "ipp031"]] {
        let world = full();
        ok(&world, options);
        assert_eq!(world.copy(1)["verified"], "by hand", "{options:?}");
        world.ok(&["ledger", "check"]);
    }
    let world = full();
    ok(&world, &["--set-path", world.there().as_str()]);
    assert_eq!(world.copy(1)["verified"], "checksum", "it was there before");
}

#[test]
fn no_minidvodb_gets_two_copies_on_one_machine_by_hand() {
    let world = queued("ipp022", 2);
    world.ok(&["host", "add", "ipp0222", "--machine", "ipp022"]);
    queue_for(&world, "ipp031");
    assert_eq!(world.list().len(), 4);
    let of_031 = world.list().iter().find(|copy| copy["destination_host"] == "ipp031").unwrap().clone();
    assert_eq!((of_031["minidvodbcopy_id"].as_u64(), of_031["minidvodb_id"].as_u64()), (Some(3), Some(1)));
    for host in ["ipp031", "somebody@ipp031", "IPP031"] {
        refused(&world, &["--set-host", host], "on machine ipp031");
    }
    // Another name of the machine that it is on is its own.
    ok(&world, &["--set-host", "ipp0222"]);
    assert_eq!(world.copy(1)["machine"], "ipp022");
    // The other one may not come after it.
    world.run(&["update", "--id", "3", "--set-host", "ipp022"]).expect(2).says("on machine ipp022");
    world.run(&["update", "--id", "3", "--set-host", "ipp0222"]).expect(2).says("on machine ipp022");
    ok(&world, &["--set-host", "ipp032"]).says("parked").says("target add ThreePi ipp032");
    world.ok(&["update", "--id", "3", "--set-host", "ipp0222"]);
    world.ok(&["ledger", "check"]);
    // The machine that it has left lacks it.
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    let hosts: Vec<_> = world.list().iter().map(|copy| copy["destination_host"].clone()).collect();
    assert_eq!(hosts.iter().filter(|host| **host == "ipp031").count(), 2, "{hosts:?}");
}

#[test]
fn no_two_copies_get_one_final_path_by_hand() {
    let world = World::new();
    let folders = ["a", "b"].map(|folder| world.root.join("source").join(folder).join("ThreePi.1"));
    world.import(&[(1, "A", &folders[0]), (2, "B", &folders[1])]);
    let elsewhere = world.root.join("elsewhere");
    world.ok(&["stage", "off", "load"]);
    world.ok(&["target", "add", "A", "ipp022", world.there().as_str()]);
    world.ok(&["target", "add", "B", "ipp022", elsewhere.as_str()]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["run"]);
    assert_eq!(world.list().len(), 2);
    for path in [elsewhere.to_string(), format!("{elsewhere}//")] {
        refused(&world, &["--set-path", &path], "of copy 2");
    }
    world.ok(&["update", "--id", "2", "--set-path", "/third"]);
    ok(&world, &["--set-path", elsewhere.as_str()]);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_collision_may_be_updated_in_what_does_not_collide() {
    let world = World::new();
    let folders = ["a", "b"].map(|folder| world.root.join("source").join(folder).join("ThreePi.1"));
    world.import(&[(1, "ThreePi", &folders[0]), (2, "ThreePi", &folders[1])]);
    world.ok(&["target", "add", "ThreePi", "ipp022", world.there().as_str()]);
    world.ok(&["host", "add", "ipp022"]);
    world.ok(&["stage", "off", "load"]);
    world.run(&["run"]).expect(1).says("fault 226");
    assert_eq!(world.standing(2), "new 226");
    world.ok(&["update", "--id", "2", "--set-dtime", "3"]);
    world.run(&["update", "--id", "2", "--set-state", "full"]).expect(2).says("of copy 1");
    world.ok(&["update", "--id", "2", "--set-fault", "0"]);
    assert_eq!(world.standing(2), "new 0");
    world.ok(&["update", "--id", "2", "--set-path", "/elsewhere"]);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_copy_that_was_begun_goes_elsewhere_and_leaves_nothing_behind() {
    let world = World::new();
    slow::prepare(&world, HERE, 1);
    slow::kill_alone(slow::start_and_meet(&world, &["run"]));
    let elsewhere = world.root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    slow::set_rate(&world, HERE, "0");
    ok(&world, &["--set-path", elsewhere.as_str()]);
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
    assert!(world.names_there().is_empty(), "{:?}", world.names_there());
    assert_eq!(names_in(&elsewhere), ["ThreePi.1"]);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_killed_attempt_is_recorded_once_though_the_copy_goes_to_another_host() {
    let world = World::new();
    slow::prepare(&world, HERE, 1);
    slow::kill_alone(slow::start_and_meet(&world, &["run"]));
    ok(&world, &["--set-host", "ipp031"]);
    world.ok(&["ledger", "check"]);
    for _ in 0..3 {
        world.ok(&["run"]);
    }
    assert_eq!(slow::outcomes(&world, 1), ["interrupted while sending"]);
    let cut_off = log(&world).iter().filter(|line| line.contains("was cut off while")).count();
    assert!(cut_off <= 1, "{:#?}", log(&world));
    assert_eq!(world.standing(1), "new 0");
    // Its old staging goes, and its place gets a copy of its own.
    slow::set_rate(&world, HERE, "0");
    world.ok(&["run"]);
    slow::expect_only(&world, &["ThreePi.1"]);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_copy_that_was_begun_and_is_called_full_leaves_no_staging() {
    let world = World::new();
    slow::prepare(&world, HERE, 1);
    slow::kill_alone(slow::start_and_meet(&world, &["run"]));
    assert!(slow::staging(&world, "ThreePi.1").is_some());
    ok(&world, &["--set-state", "full"]);
    world.ok(&["run"]);
    world.ok(&["run"]).is_silent();
    assert!(world.names_there().is_empty(), "{:?}", world.names_there());
    assert_eq!((world.standing(1), &world.copy(1)["verified"]), ("full 0".to_owned(), &"by hand".into()));
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_copy_that_a_pass_is_at_is_not_changed() {
    let world = World::new();
    slow::prepare(&world, HERE, 2);
    let pass = slow::start_and_meet(&world, &["run", "--limit", "1"]);
    let pid = pass.id().to_string();
    for options in [
        &["--set-state", "full"],
        &["--set-path", "/elsewhere"],
        &["--set-host", "ipp031"],
        &["--set-fault", "23"],
        &["--set-dtime", "1"],
    ] {
        update(&world, options).expect(75).says(&pid).says("stage off run");
    }
    // Others of the group may be.
    world.ok(&["update", "--id", "2", "--set-fault", "23"]);
    finish(pass).expect(0);
    assert_eq!((world.standing(1), world.standing(2)), ("full 0".to_owned(), "new 23".to_owned()));
    ok(&world, &["--set-dtime", "1"]);
}

#[test]
fn a_rename_that_may_have_happened_is_settled_before_anything_is_changed() {
    let world = World::new();
    world.prepare(HERE, 1);
    let gate = Gate::closed(&world, "mv", "*' -nT '*", &Hold::After);
    let pass = world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
    gate.wait(1);
    slow::kill_alone(pass);
    gate.open();
    for options in [&["--set-state", "full"], &["--set-path", "/elsewhere"], &["--set-host", "ipp031"]] {
        update(&world, options).expect(75).says("`minidvodbcopy run`");
    }
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
    ok(&world, &["--set-state", "new"]);
}

#[test]
fn a_parked_copy_is_said_to_be_parked_and_served_when_it_is_moved_to_a_target() {
    let world = World::new();
    world.prepare(HERE, 1);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]);
    world.ok(&["stage", "on"]);
    ok(&world, &["--set-host", "ipp031"]).says("parked");
    assert_eq!(world.copy(1)["parked"], true);
    ok(&world, &["--set-host", HERE]);
    assert_eq!(world.copy(1)["parked"], false);
    world.ok(&["run"]).is_silent();
    slow::expect_only(&world, &["ThreePi.1"]);
    assert_eq!(world.list().len(), 1);
}

#[test]
fn in_the_database_the_row_follows_whatever_is_changed_by_hand() {
    let site = Site::prepared(2);
    site.queue();
    let ids: Vec<u64> = site.ipp.numbered_copies().into_iter().map(|(id, _)| id).collect();
    for options in [
        &["--set-dtime", "2.5"][..],
        &["--set-fault", "23"],
        &["--set-fault", "0", "--set-dtime", "0"],
        &["--set-path", "/elsewhere"],
        &["--set-host", "ipp031"],
        &["--set-state", "full"],
        &["--set-state", "new"],
        &["--set-host", HERE, "--set-path", "/elsewhere too"],
    ] {
        ok(&site.world, options);
        site.sync();
        site.expect_in_step();
        let now: Vec<u64> = site.ipp.numbered_copies().into_iter().map(|(id, _)| id).collect();
        assert_eq!(now, ids, "{options:?}: the same rows, and no others");
    }
    assert_eq!(site.conflicts(), 0);
}

#[test]
fn what_is_reverted_in_the_ledger_is_reverted_in_the_database() {
    let site = Site::prepared(1);
    fs::create_dir(site.world.there().join("ThreePi.1")).unwrap();
    site.run(&["run"]).expect(1);
    assert_eq!(site.standings_there(), ["1 localhost new 225"]);
    site.ok(&["revert", "--id", "1", "--adopt"]);
    site.sync();
    assert_eq!(site.standings_there(), ["1 localhost new 0"]);
    site.ok(&["run"]);
    site.world.expect_arrived("ThreePi.1");
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn many_copies_reverted_at_once_are_one_entry_for_each_fault() {
    let world = queued("ipp022", 60);
    let fault_of = |id: u64| if id.is_multiple_of(2) { "23" } else { "225" };
    for id in 1..=60 {
        world.ok(&["update", "--id", &id.to_string(), "--set-fault", fault_of(id)]);
    }
    let before = log(&world).len();
    let dry = world.ok(&["revert", "--all", "--dry-run"]).stdout;
    assert_eq!(dry.lines().filter(|line| line.starts_with("would clear")).count(), 60);
    assert_eq!(log(&world).len(), before);
    let ran = world.ok(&["revert", "--all"]).stdout;
    assert_eq!(ran.lines().filter(|line| line.starts_with("cleared")).count(), 60);
    assert_eq!(ran.lines().filter(|line| line.starts_with("  advice was: ")).count(), 60);
    let log = log(&world);
    let entries = &log[before..];
    assert_eq!(entries.len(), 2, "{entries:#?}");
    assert!(entries[0].contains("reverted 30 copies: were 23 rsync-23: copies 2, 4, 6"), "{}", entries[0]);
    assert!(entries[1].contains("reverted 30 copies: were 225 path-taken: copies 1, 3"), "{}", entries[1]);
    assert!(world.list().iter().all(|copy| copy["fault"] == 0));
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_few_copies_reverted_are_an_entry_each_with_what_was_before() {
    let world = queued("ipp022", 3);
    for id in ["1", "2", "3"] {
        world.ok(&["update", "--id", id, "--set-fault", "225"]);
    }
    let before = log(&world).len();
    world.ok(&["revert", "--fault", "225"]);
    let log = log(&world);
    assert_eq!(log.len(), before + 3);
    assert!(
        log[before].contains("reverted copy 1 (ThreePi.1 to ipp022): was new, fault 225"),
        "{}",
        log[before]
    );
}

#[test]
fn faults_of_full_copies_are_not_reverted_and_it_is_said_what_clears_them() {
    let world = full();
    ok(&world, &["--set-fault", "251"]);
    for words in [&["revert", "--all"][..], &["revert", "--id", "1"], &["revert", "--fault", "251"]] {
        let ran = world.ok(words);
        assert!(ran.stderr.contains("audit") && ran.stderr.contains("recopy"), "{}", ran.stderr);
        assert_eq!(world.standing(1), "full 251");
    }
    world.ok(&["recopy", "1"]).says("recovered from 251");
    assert_eq!(world.standing(1), "full 0");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_glance_separates_what_heals_by_itself_from_what_needs_a_person() {
    let world = queued("ipp022", 2);
    ok(&world, &["--set-fault", "203"]);
    world.ok(&["update", "--id", "2", "--set-fault", "225"]);
    let listed = world.ok(&["list", "--faulted"]).stdout;
    let line = |id: &str| listed.lines().find(|line| line.trim_start().starts_with(id)).unwrap().to_owned();
    assert!(line("1").contains("retry, 0 attempts, next try 20"), "{listed}");
    assert!(line("2").contains("person, 0 attempts") && !line("2").contains("next try"), "{listed}");
}

#[test]
fn json_and_csv_of_the_list_stay_as_documented() {
    let world = full();
    ok(&world, &["--set-state", "new"]);
    ok(&world, &["--set-state", "full", "--set-dtime", "1.5"]);
    let listed = world.ok(&["list", "--format", "json"]).stdout;
    let keys = [
        "minidvodbcopy_id",
        "minidvodb_id",
        "minidvodb_rsync_path",
        "destination_host",
        "fault",
        "state",
        "epoch",
        "dtime",
        "minidvodb_name",
        "minidvodb_group",
        "minidvodb_path",
        "machine",
        "fault_name",
        "fault_class",
        "verified",
        "parked",
        "attempts",
        "next_try",
        "bytes",
        "files",
    ];
    let places: Vec<_> = keys.iter().map(|key| listed.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{listed}");
    assert_eq!(listed.matches("\":").count(), keys.len(), "{listed}");
    let csv = world.ok(&["list", "--format", "csv"]).stdout;
    let mut lines = csv.lines();
    assert_eq!(lines.next().unwrap(), keys[..8].join(","));
    let row = lines.next().unwrap();
    let epoch = world.copy(1)["epoch"].as_str().unwrap().replace('T', " ").replace('Z', "");
    assert_eq!(row, format!("1,1,{},localhost,0,full,{epoch},1.5", world.there()));
}

#[test]
fn a_path_with_odd_characters_is_taken_and_shown_escaped() {
    let world = queued("ipp022", 1);
    let odd = "/with 'quotes'/$(x)/-rf/é";
    ok(&world, &["--set-path", odd]);
    assert_eq!(world.copy(1)["minidvodb_rsync_path"], odd);
    assert!(log(&world).last().unwrap().contains(odd));
}
