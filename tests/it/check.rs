//! `check`: what it finds wrong is wrong, and what it tells one to type mends it.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use serde_json::Value;

use super::ipp::{PASSWORD, Site, connect};
use super::mounts::{Mount, is_root};
use super::slow::write_program;
use super::world::{Ran, World, names_in};

/// A world with one minidvodb, its target, and nothing to advise that a test can do something about.
fn world() -> World {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    world.ok(&["source", "add", world.root.join("source").as_str()]);
    world
}

/// The findings of `check --json`.
#[track_caller]
fn findings(ran: &Ran) -> Vec<Value> {
    ran.json()["checks"].as_array().unwrap().clone()
}

#[track_caller]
fn finding(ran: &Ran, check: &str) -> Value {
    let all = findings(ran);
    all.iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no {check} in {all:?}"))
        .clone()
}

/// Checks, expects this alone to fail, types what it says, and expects all to be well then.
#[track_caller]
fn mend(world: &World, check: &str, verdict: &str) -> String {
    let code = i32::from(verdict == "failed");
    let ran = world.run(&["check", "--json"]).expect(code);
    let found = finding(&ran, check);
    assert_eq!(found["verdict"], verdict, "{found}");
    let commands = found["mend"].as_array().unwrap();
    assert!(!commands.is_empty(), "{found}");
    for command in commands {
        let ran = world.shell(command.as_str().unwrap());
        assert_eq!(ran.code, 0, "{command}\n{}{}", ran.stdout, ran.stderr);
    }
    let after = world.run(&["check", "--json"]).expect(0);
    assert_eq!(finding(&after, check)["verdict"], "ok", "{}", after.stdout);
    found["found"].as_str().unwrap().to_owned()
}

#[test]
fn a_place_where_all_is_well_has_nothing_that_fails_and_is_left_as_it_was() {
    let world = world();
    world.ok(&["run"]).is_silent();
    let ledger = world.state().join("ledger.redb");
    let export = world.ok(&["export", "--format", "json"]).stdout;
    let (before, there) = (fs::read(&ledger).unwrap(), world.names_there());
    let ran = world.ok(&["check"]);
    for check in [
        "state folder",
        "file locks",
        "ledger",
        "rsync",
        "ssh",
        "sources",
        "cron",
        "name",
        "connection",
        "programs",
        "clock",
        "path",
        "file system",
        "room",
        "lock",
        "writing",
    ] {
        assert!(ran.stdout.contains(&format!(" {check:<14}")), "no {check} in\n{}", ran.stdout);
    }
    assert!(ran.stdout.lines().last().unwrap().contains("0 failed, 0 not tried"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    assert!(fs::read(&ledger).unwrap() == before, "the ledger has changed");
    assert_eq!(world.ok(&["export", "--format", "json"]).stdout, export);
    assert_eq!(world.names_there(), there, "something is left at the destination");
    assert!(names_in(&world.state()).iter().all(|name| !name.starts_with('.')));
    let json = world.ok(&["check", "--json"]);
    assert_eq!(json.json()["failed"], 0);
    world.ok(&["run"]).is_silent();
}

#[test]
fn lines_fit_into_eighty_columns_but_for_what_is_to_be_pasted() {
    let world = world();
    world.ok(&["target", "add", "ThreePi", "ipp0222", "/no/such/folder"]);
    for line in world.run(&["check"]).expect(1).stdout.lines() {
        let is_one_word = line.split_whitespace().count() <= 2;
        let may_be_long = line.trim_start().starts_with("type: ") || is_one_word || line.contains(" at /");
        assert!(may_be_long || line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_host_key_that_is_not_known_is_trusted_by_what_is_typed() {
    let mut world = world();
    world.sshd().forget_host_key().unwrap();
    let found = mend(&world, "connection", "failed");
    assert!(found.contains("213") && found.contains("fingerprint"), "{found}");
    world.ok(&["run"]).is_silent();
    world.expect_arrived("ThreePi.1");
}

#[test]
fn a_host_key_that_has_changed_is_trusted_by_what_is_typed() {
    let mut world = world();
    world.sshd().change_host_key().unwrap();
    let found = mend(&world, "connection", "failed");
    assert!(found.contains("213"), "{found}");
}

#[test]
fn a_key_that_is_denied_is_to_be_copied_there() {
    let mut world = world();
    world.sshd().revoke_key().unwrap();
    let ran = world.run(&["check", "ipp0222", "--json"]).expect(1);
    let found = finding(&ran, "connection");
    assert!(found["found"].as_str().unwrap().contains("212"), "{found}");
    let command = found["mend"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let words = shlex::split(&command).unwrap();
    assert_eq!((words[0].as_str(), words.last().unwrap().as_str()), ("ssh-copy-id", "ipp0222"));
    let key = words.iter().skip_while(|word| *word != "-i").nth(1).unwrap();
    assert!(key.ends_with(".pub") && fs::metadata(key).is_ok(), "{command}");
    for check in ["programs", "rsync", "clock", "path", "file system", "room", "lock", "writing"] {
        // rsync of this machine was tried.
        let all = findings(&ran);
        let of_there = all.iter().rfind(|finding| finding["check"] == check).unwrap();
        assert_eq!(of_there["verdict"], "not-tried", "{of_there}");
    }
}

#[test]
fn a_host_that_is_away_hides_nothing_of_another() {
    let mut world = world();
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world.sshd().stop();
    let ran = world.run(&["check", "--json"]).expect(1);
    let paths: Vec<(String, String)> = findings(&ran)
        .iter()
        .filter(|finding| finding["check"] == "writing")
        .map(|finding| (finding["of"].to_string(), finding["verdict"].to_string()))
        .collect();
    assert!(paths[0].0.contains("ipp0222") && paths[0].1.contains("not-tried"), "{paths:?}");
    assert!(paths[1].0.contains("localhost") && paths[1].1.contains("ok"), "{paths:?}");
}

#[test]
fn a_path_that_is_not_there_is_made_by_what_is_typed_whatever_its_name() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 1);
    let path = world.root.join("it's $(touch /tmp/x) \"there\"; -x");
    world.ok(&["target", "add", "ThreePi", "ipp0222", path.as_str()]);
    let found = mend(&world, "path", "failed");
    assert!(found.contains("221"), "{found}");
    assert!(path.is_dir());
    world.ok(&["run"]).is_silent();
    assert!(path.join("ThreePi.1").is_dir());
}

#[test]
fn a_state_folder_that_others_may_write_to_is_mended_by_what_is_typed() {
    let world = world();
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o777)).unwrap();
    let found = mend(&world, "state folder", "failed");
    assert!(found.contains("written by others"), "{found}");
}

#[test]
fn a_limit_that_is_passed_is_raised_by_what_is_typed() {
    let world = world();
    world.ok(&["target", "add", "ThreePi", "ipp0222", world.there().as_str(), "--max-used", "1"]);
    let used = finding(&world.run(&["check", "--json"]), "room");
    if used["verdict"] == "ok" {
        // Nothing to be seen on a disk that is empty.
        return;
    }
    let found = mend(&world, "room", "failed");
    assert!(found.contains("223"), "{found}");
}

#[test]
fn another_disk_is_found_and_accepted_by_what_is_typed() {
    if !is_root() {
        return;
    }
    let world = world();
    world.ok(&["run"]).is_silent();
    let mount = Mount::tmpfs(&world.there(), "size=8m");
    let found = mend(&world, "file system", "failed");
    assert!(found.contains("227"), "{found}");
    drop(mount);
}

#[test]
fn sources_that_nobody_named_are_advised_with_the_folder_that_all_lie_in() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    mend(&world, "sources", "advice");
    let shown = world.ok(&["source", "show"]).stdout;
    assert_eq!(shown.trim_end(), world.root.join("source").as_str());
    world.ok(&["run"]).is_silent();
}

#[test]
fn stages_that_are_off_are_advised_and_turned_on_by_what_is_typed() {
    let world = world();
    world.ok(&["stage", "off", "queue", "run"]);
    let found = finding(&world.ok(&["check", "--json"]), "stages");
    assert_eq!(found["verdict"], "advice", "{found}");
    assert!(found["found"].as_str().unwrap().ends_with(": queue, run"), "{found}");
    assert_eq!(world.shell(found["mend"][0].as_str().unwrap()).code, 0, "{found}");
    let all = findings(&world.ok(&["check", "--json"]));
    assert!(all.iter().all(|finding| finding["check"] != "stages"), "{all:?}");
}

#[test]
fn a_ledger_that_knows_no_minidvodb_is_told_where_they_come_from() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let found = finding(&world.ok(&["check", "--json"]), "minidvodbs");
    assert_eq!(found["verdict"], "advice", "{found}");
    let typed: Vec<&str> =
        found["mend"].as_array().unwrap().iter().map(|typed| typed.as_str().unwrap()).collect();
    // What has to be replaced is in capitals, and a scan is only looked at.
    assert!(typed[0].ends_with("minidvodb import FILE.csv"), "{typed:?}");
    assert!(typed[1].ends_with("minidvodb import --scan DIR --group GROUP --dry-run"), "{typed:?}");
    assert!(typed[2].ends_with("database set mysql://USER@HOST/NAME --password-file FILE"), "{typed:?}");
}

#[test]
fn a_minidvodb_whose_folder_is_away_is_advised_with_its_fault() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 3);
    assert_eq!(finding(&world.ok(&["check", "--json"]), "minidvodbs")["verdict"], "ok");
    fs::remove_dir_all(world.source("ThreePi.2")).unwrap();
    let found = finding(&world.ok(&["check", "--json"]), "minidvodbs");
    assert_eq!(found["verdict"], "advice", "{found}");
    let text = found["found"].as_str().unwrap();
    assert!(text.starts_with("1 of 3 ") && text.contains("201") && text.contains("ThreePi.2"), "{text}");
}

/// A program that is found before this machine's own.
fn program(world: &mut World, name: &str, script: &str) {
    let bin = world.root.join("programs");
    fs::create_dir_all(&bin).unwrap();
    write_program(&bin.join(name), &format!("#!/bin/sh\n{script}\n"));
    world.set("PATH", &format!("{bin}:/usr/bin:/bin"));
}

#[test]
fn only_a_line_that_starts_passes_over_this_ledger_is_one() {
    let mut world = world();
    let table = world.root.join("table");
    let keep = format!("[ \"$1\" = -l ] && exec cat {table}; cat > {table}");
    program(&mut world, "crontab", &keep);
    program(&mut world, "systemctl", "exit 1");
    let state = world.state();
    for other in [
        "# */10 * * * * minidvodbcopy run".to_owned(),
        format!("0 6 * * * minidvodbcopy --state-dir {state} report --output /run/x.html"),
        "*/10 * * * * minidvodbcopy run".to_owned(),
        format!("*/10 * * * * minidvodbcopy --state-dir {} run", world.root.join("other")),
    ] {
        fs::write(&table, format!("{other}\n")).unwrap();
        let found = finding(&world.ok(&["check", "--json"]), "cron");
        assert_eq!(found["verdict"], "advice", "{other}: {found}");
    }
    let found = finding(&world.ok(&["check", "--json"]), "cron");
    let typed = found["mend"][0].as_str().unwrap();
    let path = format!("PATH={}:$PATH", world.root.join("programs"));
    assert_eq!(world.shell(&format!("export {path}\n{typed}")).code, 0, "{typed}");
    let found = finding(&world.ok(&["check", "--json"]), "cron");
    assert_eq!(found["verdict"], "ok", "{found}\n{}", fs::read_to_string(&table).unwrap());
    assert!(fs::read_to_string(&table).unwrap().contains("other"), "a line of somebody else is gone");
}

#[test]
fn a_timer_of_systemd_is_as_good_as_cron() {
    let mut world = world();
    program(&mut world, "crontab", "exit 1");
    let enabled = "[ \"$*\" = '--user is-enabled minidvodbcopy.timer' ] && echo enabled";
    program(&mut world, "systemctl", enabled);
    let found = finding(&world.ok(&["check", "--json"]), "cron");
    assert_eq!(found["verdict"], "ok", "{found}");
    program(&mut world, "systemctl", "echo disabled; exit 1");
    let found = finding(&world.ok(&["check", "--json"]), "cron");
    assert_eq!(found["verdict"], "advice", "{found}");
}

#[test]
fn a_clock_that_differs_is_advice_with_how_it_was_measured() {
    let mut world = world();
    let found = finding(&world.ok(&["check", "--json"]), "clock");
    assert_eq!(found["verdict"], "ok", "{found}");
    world.set("MINIDVODBCOPY_TEST_CLOCK_SHIFT_S", "3600");
    let found = finding(&world.ok(&["check", "--json"]), "clock");
    assert_eq!(found["verdict"], "advice", "{found}");
    let text = found["found"].as_str().unwrap();
    assert!(text.contains(" s behind this machine's, give or take 0."), "{text}");
    assert!(text.starts_with("3599.") || text.starts_with("3600."), "{text}");
    assert_eq!(found["mend"][0], "sudo timedatectl set-ntp true");
}

#[test]
fn a_pass_under_way_is_named_and_not_disturbed() {
    let world = world();
    let folder = world.state().join("locks/ipp0222");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join("ThreePi.lock"))
        .unwrap();
    for made in [world.state().join("locks"), folder.clone()] {
        fs::set_permissions(made, fs::Permissions::from_mode(0o700)).unwrap();
    }
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = world.ok(&["check", "--json"]);
    let found = finding(&ran, "lock");
    assert!(found["found"].as_str().unwrap().contains(&std::process::id().to_string()), "{found}");
    assert_eq!(finding(&ran, "writing")["verdict"], "not-tried");
    assert_eq!(world.names_there(), [""; 0]);
}

#[test]
fn a_host_that_is_not_known_yet_can_be_tried_before_it_is_added() {
    let world = World::with_sshd();
    let ran = world.run(&["check", "ipp031", "--json"]).expect(0);
    assert_eq!(finding(&ran, "connection")["verdict"], "ok");
    assert!(!world.state().exists(), "nothing is made");
    world.run(&["check", "no-such-host", "--json"]).expect(1);
}

#[test]
fn a_damaged_ledger_is_said_and_what_needs_it_is_not_tried() {
    let world = world();
    fs::write(world.state().join("ledger.redb"), "no ledger").unwrap();
    let ran = world.run(&["check", "--json"]).expect(1);
    assert_eq!(finding(&ran, "ledger")["verdict"], "failed");
    assert_eq!(finding(&ran, "sources")["verdict"], "not-tried");
    assert_eq!(finding(&ran, "ssh")["verdict"], "ok");
}

#[test]
fn a_program_that_is_missing_here_is_named_with_its_package() {
    let mut world = world();
    world.set("PATH", "/nowhere");
    let ran = world.run(&["check", "--json"]).expect(1);
    let found = finding(&ran, "ssh");
    assert_eq!(found["mend"][0], "sudo apt-get install openssh-client");
    assert!(found["found"].as_str().unwrap().contains("/nowhere"), "{found}");
}

#[test]
fn under_cron_the_environment_is_poor_and_what_only_a_login_has_is_missed() {
    let mut world = world();
    let ran = world.ok(&["check", "--as-cron"]);
    let first = ran.stdout.lines().next().unwrap();
    assert!(first.contains("PATH=/usr/bin:/bin") && first.contains("SHELL=/bin/sh"), "{first}");
    assert!(first.contains("MINIDVODBCOPY_SSH_CONFIG="), "{first}");
    assert!(!first.contains("SSH_AUTH_SOCK"), "{first}");
    assert!(ran.stdout.lines().last().unwrap().contains(" 0 failed"), "{}", ran.stdout);
    // What the login's PATH has is no use to cron.
    let site = Site::of(world, super::ipp::Ipp::shared());
    world = site.world;
    world.ok(&["database", "del"]);
    world.ok(&["database", "set", &site.ipp.url()]);
    world.set("MYSQL_PWD", PASSWORD);
    world.ok(&["check"]);
    let ran = world.run(&["check", "--as-cron", "--json"]).expect(1);
    let found = findings(&ran).into_iter().find(|finding| finding["verdict"] == "failed").unwrap();
    assert!(found["found"].as_str().unwrap().contains("MYSQL_PWD is not set"), "{found}");
    assert!(!ran.stdout.contains(PASSWORD));
    connect(&world, &site.ipp.url());
    world.ok(&["check", "--as-cron"]);
}

#[test]
fn a_database_that_is_well_has_all_that_a_sync_needs() {
    let site = Site::prepared(1);
    site.world.ok(&["run"]).is_silent();
    let ran = site.world.ok(&["check", "--json"]);
    for check in ["tables", "privileges", "locks there", "other writers"] {
        assert_eq!(finding(&ran, check)["verdict"], "ok", "{}", ran.stdout);
    }
}

/// Types what mends the database; the private server's root has no password that could be asked for.
#[track_caller]
fn as_the_servers_root(site: &Site, found: &Value) {
    let commands = found["mend"].as_array().unwrap();
    assert!(!commands.is_empty(), "{found}");
    for command in commands {
        let command = command.as_str().unwrap();
        assert!(command.starts_with("mysql -h 127.0.0.1 -P "), "{command}");
        let ran = site.world.shell(&command.replace(" -u root -p ", " -u root "));
        assert_eq!(ran.code, 0, "{command}\n{}", ran.stderr);
    }
}

#[test]
fn a_privilege_that_is_missing_is_granted_by_what_is_typed() {
    let site = Site::prepared(1);
    let (user, database) = (&site.ipp.user, site.ipp.database.replace('_', "\\_"));
    site.ipp.sql(&format!(
        "REVOKE INSERT, UPDATE ON `{database}`.* FROM '{user}'@'127.0.0.1';
         REVOKE INSERT, UPDATE ON `{database}`.* FROM '{user}'@'localhost';"
    ));
    let before = site.ipp.raw();
    let ran = site.world.run(&["check", "--json"]).expect(1);
    let found = finding(&ran, "privileges");
    assert_eq!(found["verdict"], "failed", "{found}");
    let text = found["found"].as_str().unwrap();
    assert!(text.contains("INSERT on minidvodbCopy") && text.contains("UPDATE on minidvodbCopy"), "{text}");
    assert!(!text.contains("SELECT on"), "{text}");
    as_the_servers_root(&site, &found);
    let ran = site.world.ok(&["check", "--json"]);
    assert_eq!(finding(&ran, "privileges")["verdict"], "ok");
    assert_eq!(site.ipp.raw(), before, "nothing was written");
}

#[test]
fn a_column_that_is_missing_or_of_another_type_is_made_by_what_is_typed() {
    let site = Site::prepared(1);
    site.ipp.sql("ALTER TABLE minidvodbCopy DROP COLUMN dtime, MODIFY COLUMN fault VARCHAR(8)");
    let ran = site.world.run(&["check", "--json"]).expect(1);
    let found = finding(&ran, "tables");
    let text = found["found"].as_str().unwrap();
    assert!(text.contains("minidvodbCopy has no column dtime"), "{text}");
    assert!(text.contains("minidvodbCopy.fault is of type varchar"), "{text}");
    as_the_servers_root(&site, &found);
    assert_eq!(finding(&site.world.ok(&["check", "--json"]), "tables")["verdict"], "ok");
}

#[test]
fn a_database_that_is_away_is_said_and_the_rest_not_tried() {
    let site = Site::prepared(1);
    connect(&site.world, "mysql://ipp@127.0.0.1:1/gpc1");
    let ran = site.world.run(&["check", "--json"]).expect(1);
    let all = findings(&ran);
    let of_database: Vec<&Value> =
        all.iter().filter(|finding| finding["of"].as_str().unwrap().starts_with("database")).collect();
    assert_eq!(of_database[0]["verdict"], "failed");
    assert_eq!(of_database.len(), 5);
    assert!(of_database[1..].iter().all(|finding| finding["verdict"] == "not-tried"));
}

#[test]
fn rows_of_somebody_else_within_a_day_are_pointed_out_and_older_ones_are_not() {
    let site = Site::prepared(2);
    site.world.ok(&["run"]).is_silent();
    let found = finding(&site.world.ok(&["check", "--json"]), "other writers");
    assert_eq!(found["verdict"], "ok", "{found}");
    site.ipp.change(2, "localhost", "state = 'new', fault = 9, epoch = UTC_TIMESTAMP()");
    let found = finding(&site.world.ok(&["check", "--json"]), "other writers");
    assert_eq!(found["verdict"], "advice", "{found}");
    assert!(found["found"].as_str().unwrap().contains("minidvodb 2"), "{found}");
    site.ipp.change(2, "localhost", "epoch = '2011-05-02 03:04:05'");
    let found = finding(&site.world.ok(&["check", "--json"]), "other writers");
    assert_eq!(found["verdict"], "ok", "{found}");
}
