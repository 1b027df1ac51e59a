//! The ledger's file in bad luck: cut, flipped, foreign, newer, held, killed over; and its backups.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use expect_test::expect;
use fs2::FileExt as _;
use redb::{Builder, Database, TableDefinition};
use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use super::shown::{Dice, queue, shown};
use super::world::{Ran, World, eventually, finish, names_in};

fn file(world: &World) -> Utf8PathBuf {
    world.state().join("ledger.redb")
}

fn backups(world: &World) -> Utf8PathBuf {
    world.state().join("backup")
}

/// Commands that need the ledger, reading and changing ones.
const COMMANDS: [&[&str]; 19] = [
    &["list"],
    &["list", "--format", "json"],
    &["show", "1"],
    &["minidvodb", "list"],
    &["target", "show"],
    &["host", "show"],
    &["stage", "show"],
    &["ledger", "check"],
    &["ledger", "backup"],
    &["ledger", "compact"],
    &["run"],
    &["run", "--dry-run"],
    &["copy", "ThreePi", "ipp022", "/data/there"],
    &["host", "add", "ipp031"],
    &["host", "del", "ipp022"],
    &["target", "add", "ThreePi", "ipp022", "/data/elsewhere"],
    &["target", "del", "ipp022", "ThreePi"],
    &["stage", "off"],
    &["revert", "--all"],
];

/// Fails unless every command refuses the ledger with exit 78, names it, and leaves it as it is.
#[track_caller]
fn check_refused(world: &World, what: &str) -> String {
    let bytes = fs::read(file(world)).ok();
    let list = world.root.join("good.csv");
    fs::write(&list, "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n").unwrap();
    let mut said = String::new();
    for words in COMMANDS.into_iter().chain([&["minidvodb", "import", list.as_str()][..]]) {
        let ran = world.run(words);
        assert_eq!(ran.code, 78, "{what}: {words:?}:\n{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(file(world).as_str()), "{what}: {words:?} names it: {}", ran.stderr);
        assert!(!ran.stderr.contains("panic"), "{what}: {words:?}: {}", ran.stderr);
        assert!(fs::read(file(world)).ok() == bytes, "{what}: {words:?} leaves it untouched");
        said = ran.stderr;
    }
    said
}

#[test]
fn the_state_folder_is_private_whatever_the_umask() {
    for umask in ["000", "022", "777"] {
        let world = World::new();
        let run = |words: &[&str]| {
            let inner = world.command(words);
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", "umask \"$0\"; exec \"$@\"", umask])
                .arg(inner.get_program())
                .args(inner.get_args());
            command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let output = command.current_dir(&world.root).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let folder = world.make("ThreePi.1", xtask::dvo::Shape::tiny());
        let list = world.root.join("list.csv");
        let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state";
        fs::write(&list, format!("{header}\n1,a,G,{folder},merged\n")).unwrap();
        run(&["minidvodb", "import", list.as_str()]);
        run(&["target", "add", "G", "localhost", world.there().as_str()]);
        run(&["host", "add", "localhost"]);
        run(&["run"]);
        run(&["ledger", "backup"]);
        run(&["ledger", "compact"]);
        assert_eq!(world.standing(1), "full 0");
        let backup = backups(&world).join(&names_in(&backups(&world))[0]);
        run(&["ledger", "restore", backup.as_str()]);
        let mut seen = BTreeSet::new();
        check_private(&world.state(), &mut seen);
        for name in ["ledger.redb", "locks", "backup", "manifests", "G.lock"] {
            assert!(seen.contains(name), "{name} in {seen:?}");
        }
    }
}

/// Fails where a folder is not 0700 or a file is not 0600.
fn check_private(path: &Utf8Path, seen: &mut BTreeSet<String>) {
    let meta = path.symlink_metadata().unwrap();
    seen.insert(path.file_name().unwrap().to_owned());
    let expected = if meta.is_dir() { 0o700 } else { 0o600 };
    assert_eq!(meta.mode() & 0o7777, expected, "{path}: {:o}", meta.mode());
    if meta.is_dir() {
        for name in names_in(path) {
            check_private(&path.join(name), seen);
        }
    }
}

#[test]
fn a_state_folder_that_others_can_write_is_refused() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    let bytes = fs::read(file(&world)).unwrap();
    for mode in [0o777, 0o770, 0o720, 0o702] {
        fs::set_permissions(world.state(), fs::Permissions::from_mode(mode)).unwrap();
        for words in COMMANDS {
            let ran = world.run(words);
            assert_eq!(ran.code, 78, "{mode:o}: {words:?}: {}{}", ran.stdout, ran.stderr);
            assert!(ran.stderr.contains(&format!("type: chmod 700 '{}'", world.state())), "{}", ran.stderr);
        }
    }
    assert_eq!(fs::read(file(&world)).unwrap(), bytes);
    for mode in [0o700, 0o755, 0o750] {
        fs::set_permissions(world.state(), fs::Permissions::from_mode(mode)).unwrap();
        world.ok(&["list"]);
    }
}

#[test]
fn a_new_state_folder_that_others_can_write_is_not_filled() {
    let world = World::new();
    fs::create_dir(world.state()).unwrap();
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o777)).unwrap();
    world.run(&["host", "add", "ipp022"]).expect(78);
    assert_eq!(names_in(&world.state()), [""; 0]);
}

#[test]
fn without_a_ledger_a_list_is_empty_and_nothing_is_made() {
    let world = World::new();
    let ran = world.ok(&["list", "--format", "json"]);
    assert_eq!(ran.json(), json!([]));
    assert_eq!(
        shown(&world, &ran.stderr),
        "minidvodbcopy: there is no ledger in ROOT/state yet: `minidvodbcopy check` says what to do first\n"
    );
    assert_eq!(world.ok(&["list", "--format", "csv"]).stdout.lines().count(), 1);
    assert_eq!(world.ok(&["list"]).stdout.lines().count(), 1);
    assert_eq!(world.ok(&["minidvodb", "list"]).stdout, "");
    assert_eq!(world.ok(&["target", "show", "--json"]).json(), json!([]));
    assert_eq!(world.ok(&["host", "show", "--json"]).json(), json!([]));
    assert_eq!(world.ok(&["stage", "show"]).stdout, "queue on\nload on\nrun on\n");
    world.run(&["show", "1"]).expect(2).says("there is no copy 1");
    world.run(&["host", "del", "ipp022"]).expect(2);
    world.run(&["target", "del", "ipp022", "ThreePi"]).expect(2);
    assert!(!world.state().exists(), "reading makes nothing");
}

#[test]
fn without_a_ledger_a_pass_is_refused() {
    let world = World::new();
    let ran = world.run(&["run"]).expect(78);
    expect![[r#"
        minidvodbcopy: there is no ledger in ROOT/state
          hint: `minidvodbcopy minidvodb import` and `minidvodbcopy target add` make one; is this the right --state-dir?
          hint: `minidvodbcopy check` says what to do first
    "#]].assert_eq(&shown(&world, &ran.stderr));
    for words in [&["run", "--json"][..], &["ledger", "check"], &["ledger", "backup"], &["ledger", "compact"]]
    {
        world.run(words).expect(78).says("there is no ledger in").says("--state-dir");
    }
    assert!(!world.state().exists());
}

#[test]
fn without_a_ledger_the_preview_of_a_pass_is_refused_too() {
    let world = World::new();
    world.run(&["run", "--dry-run"]).expect(78).says("there is no ledger in");
    assert!(!world.state().exists());
}

/// A redb file of another program; its bytes.
fn foreign_redb(world: &World, table: &str, is_clean: bool) -> Vec<u8> {
    let path = world.root.join("foreign.redb");
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, u64>::new(table)).unwrap().insert(1, 2).unwrap();
    txn.commit().unwrap();
    let unclean = fs::read(&path).unwrap();
    drop(db);
    let bytes = if is_clean { fs::read(&path).unwrap() } else { unclean };
    fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn a_file_that_is_no_whole_ledger_is_refused_and_left_untouched() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 20);
    let good = fs::read(file(&world)).unwrap();
    let mut middle = good.clone();
    middle[4096..good.len() / 2].fill(0);
    for (what, bytes) in [
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut by a page", good[..good.len() - 4096].to_vec()),
        ("cut by a byte", good[..good.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("its first 100 bytes", good[..100].to_vec()),
        ("its first 4096 bytes", good[..4096].to_vec()),
        ("a text", b"minidvodb_id,minidvodb_name\n1,x\n".repeat(1000)),
        ("zeros", vec![0; good.len()]),
        ("zeros in its middle", middle),
        ("a store of another program", foreign_redb(&world, "cakes", true)),
        ("a store of another program with one of our names", foreign_redb(&world, "meta.1", true)),
    ] {
        fs::write(file(&world), &bytes).unwrap();
        check_refused(&world, what);
    }
    fs::write(file(&world), &good).unwrap();
    assert_eq!(world.list().len(), 20);
}

#[test]
fn a_store_of_another_program_that_was_killed_is_left_untouched() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    fs::write(file(&world), foreign_redb(&world, "cakes", false)).unwrap();
    check_refused(&world, "a store of another program, not closed");
}

#[test]
fn a_folder_or_a_dangling_link_in_place_of_the_ledger_is_refused() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    fs::remove_file(file(&world)).unwrap();
    std::os::unix::fs::symlink("nowhere", file(&world)).unwrap();
    check_refused(&world, "a dangling link");
    fs::remove_file(file(&world)).unwrap();
    fs::create_dir(file(&world)).unwrap();
    check_refused(&world, "a folder");
}

#[test]
fn the_message_about_a_damaged_ledger() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let good = fs::read(file(&world)).unwrap();
    fs::write(file(&world), b"").unwrap();
    let empty = world.run(&["list"]).expect(78).stderr;
    fs::write(file(&world), &good[..good.len() / 2]).unwrap();
    let half = world.run(&["list"]).expect(78).stderr;
    fs::write(file(&world), foreign_redb(&world, "cakes", true)).unwrap();
    let foreign = world.run(&["list"]).expect(78).stderr;
    expect![[r#"
        minidvodbcopy: the ledger ROOT/state/ledger.redb is damaged: it is not a whole redb file: Database file is empty and creating a new database was not requested
          hint: it was left untouched
          hint: there is no backup in ROOT/state/backup; move the file away to begin a new ledger, which will not know what is where
    "#]].assert_eq(&shown(&world, &empty));
    assert!(
        shown(&world, &half).starts_with("minidvodbcopy: the ledger ROOT/state/ledger.redb is damaged: ")
    );
    expect![[r#"
        minidvodbcopy: the ledger ROOT/state/ledger.redb is damaged: it is not a ledger of minidvodbcopy: Table 'meta.1' does not exist
          hint: it was left untouched
          hint: there is no backup in ROOT/state/backup; move the file away to begin a new ledger, which will not know what is where
    "#]].assert_eq(&shown(&world, &foreign));
}

/// A name for a daily backup made then.
fn daily(world: &World, stamp: &str) -> Utf8PathBuf {
    backups(world).join(format!("ledger-{stamp}.redb"))
}

#[test]
fn the_newest_backup_is_named_and_what_is_told_to_type_restores_it() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    let copies = world.list();
    for name in names_in(&backups(&world)) {
        fs::remove_file(backups(&world).join(name)).unwrap();
    }
    let good = fs::read(file(&world)).unwrap();
    fs::write(daily(&world, "20260101T000000Z"), b"an older one, not to be named").unwrap();
    fs::write(daily(&world, "20260102T000000Z"), &good).unwrap();
    let damaged = &good[..good.len() / 2];
    fs::write(file(&world), damaged).unwrap();
    let said = check_refused(&world, "cut in half");
    assert!(said.contains(daily(&world, "20260102T000000Z").as_str()), "{said}");
    let told = said.split('`').nth(1).unwrap();
    let typed: Vec<&str> = told.split(' ').skip(1).collect();
    let ran = world.ok(&typed);
    expect![[r#"
        ROOT/state/backup/ledger-TIME.redb is the ledger now
        what it replaced is kept as ROOT/state/backup/replaced-TIME.redb
    "#]]
    .assert_eq(&shown(&world, &ran.stdout));
    assert_eq!(world.list(), copies);
    world.ok(&["ledger", "check"]);
    let replaced: Vec<String> =
        names_in(&backups(&world)).into_iter().filter(|name| name.starts_with("replaced-")).collect();
    assert_eq!(replaced.len(), 1);
    assert_eq!(fs::read(backups(&world).join(&replaced[0])).unwrap(), damaged, "what it replaced is kept");
    assert!(ran.stdout.contains(&replaced[0]));
}

#[test]
fn a_newer_backup_made_by_hand_is_the_one_that_is_named() {
    let world = World::new();
    world.ok(&["stage", "off", "run"]);
    fs::copy(file(&world), daily(&world, "20200102T000000Z")).unwrap();
    let by_hand = world.ok(&["ledger", "backup"]).stdout;
    fs::write(file(&world), b"").unwrap();
    world.run(&["list"]).expect(78).says(&format!("the newest backup is {}", by_hand.trim()));
}

#[test]
fn a_damaged_backup_is_refused_and_the_present_ledger_stays() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 5);
    let good = fs::read(file(&world)).unwrap();
    let backup = world.root.join("backup.redb");
    let before = names_in(&world.state());
    let mut flipped = good.clone();
    let record = good.windows(14).rposition(|window| window == b"/data/ThreePi.").unwrap();
    flipped[record + 8] ^= 4;
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("a text", b"something else".to_vec()),
        ("a store of another program", foreign_redb(&world, "cakes", true)),
        ("a newer one", with_schema(&good, &world, 99)),
    ] {
        fs::write(&backup, &bytes).unwrap();
        let ran = world.run(&["ledger", "restore", backup.as_str()]);
        assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{backup} is not put in place")), "{what}: {}", ran.stderr);
        assert_eq!(fs::read(file(&world)).unwrap(), good, "{what}");
        assert_eq!(fs::read(&backup).unwrap(), bytes, "{what}: the backup is left as it is");
        assert_eq!(names_in(&world.state()), before, "{what}: no scraps are left");
    }
    // One flipped bit in a place that may or may not be in use: then it is refused, or all is well.
    fs::write(&backup, &flipped).unwrap();
    let copies = world.list();
    if world.run(&["ledger", "restore", backup.as_str()]).code == 78 {
        assert_eq!(fs::read(file(&world)).unwrap(), good);
    }
    assert_eq!(world.list(), copies);
}

#[test]
fn a_damaged_backup_is_not_called_the_ledger_in_the_refusal() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let backup = world.root.join("backup.redb");
    fs::write(&backup, b"something else").unwrap();
    let ran = world.run(&["ledger", "restore", backup.as_str()]).expect(78);
    assert!(
        !ran.stderr.contains(".ledger.restore."),
        "a temporary file means nothing to people: {}",
        ran.stderr
    );
    assert!(!ran.stderr.contains(&format!("restore {backup}` puts it in place")), "{}", ran.stderr);
}

#[test]
fn a_backup_that_is_not_there_or_is_a_folder_is_refused() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    let good = fs::read(file(&world)).unwrap();
    for from in ["nowhere.redb", "there"] {
        let ran = world.run(&["ledger", "restore", from]);
        assert!(matches!(ran.code, 2 | 78), "{from}: {} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains(from), "{}", ran.stderr);
    }
    assert_eq!(fs::read(file(&world)).unwrap(), good);
}

#[test]
fn a_backup_is_restored_where_there_is_no_ledger_any_more() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 2);
    let copies = world.list();
    let backup = world.root.join("kept.redb");
    assert_eq!(world.ok(&["ledger", "backup", "kept.redb"]).stdout, "kept.redb\n");
    assert_eq!(fs::metadata(&backup).unwrap().mode() & 0o777, 0o600);
    fs::remove_dir_all(world.state()).unwrap();
    world.ok(&["ledger", "restore", "kept.redb"]);
    assert_eq!(world.list(), copies);
    assert!(backup.exists());
}

#[test]
fn restoring_twice_at_once_keeps_both_that_were_replaced() {
    let world = World::new();
    world.ok(&["stage", "off", "run"]);
    let backup = world.root.join("kept.redb");
    world.ok(&["ledger", "backup", backup.as_str()]);
    for _ in 0..3 {
        world.ok(&["ledger", "restore", backup.as_str()]);
    }
    let replaced = names_in(&backups(&world)).iter().filter(|name| name.starts_with("replaced-")).count();
    assert_eq!(replaced, 3);
}

#[test]
fn backups_by_hand_may_follow_each_other_at_once() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let made: BTreeSet<String> = (0..3).map(|_| world.ok(&["ledger", "backup"]).stdout).collect();
    assert_eq!(made.len(), 3);
    assert!(made.iter().all(|file| Utf8Path::new(file.trim()).exists()), "{made:?}");
}

#[test]
fn nothing_is_restored_under_a_pass() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["run"]);
    let backup = world.root.join("kept.redb");
    world.ok(&["ledger", "backup", backup.as_str()]);
    world.ok(&["stage", "off", "queue"]);
    let present = fs::read(file(&world)).unwrap();
    let lock = fs::File::open(world.state().join("locks/localhost/ThreePi.lock")).unwrap();
    lock.lock_exclusive().unwrap();
    let ran = world.run(&["ledger", "restore", backup.as_str()]).expect(75).says("ThreePi.lock");
    assert!(ran.stderr.contains(&std::process::id().to_string()), "names who holds it: {}", ran.stderr);
    assert_eq!(fs::read(file(&world)).unwrap(), present);
    fs2::FileExt::unlock(&lock).unwrap();
    world.ok(&["ledger", "restore", backup.as_str()]);
}

#[test]
fn a_backup_replaces_nothing() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let there = world.root.join("there.redb");
    fs::write(&there, "mine").unwrap();
    let ran = world.run(&["ledger", "backup", there.as_str()]).expect(2);
    expect![[r#"
        minidvodbcopy: ROOT/there.redb is already there, and a backup replaces nothing
          hint: name a file that does not exist
    "#]]
    .assert_eq(&shown(&world, &ran.stderr));
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    let link = world.root.join("link.redb");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    world.run(&["ledger", "backup", link.as_str()]).expect(2);
    world.run(&["ledger", "backup", file(&world).as_str()]).expect(2);
    world.run(&["ledger", "backup", "/nowhere/at/all.redb"]).expect(78).says("/nowhere/at");
}

#[test]
fn a_damaged_ledger_is_not_backed_up() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    let before = names_in(&backups(&world));
    let good = fs::read(file(&world)).unwrap();
    fs::write(file(&world), &good[..good.len() / 2]).unwrap();
    world.run(&["ledger", "backup", "new.redb"]).expect(78);
    assert!(!world.root.join("new.redb").exists());
    for name in &before {
        fs::remove_file(backups(&world).join(name)).unwrap();
    }
    world.run(&["run"]).expect(78);
    assert_eq!(names_in(&backups(&world)), [""; 0], "nor by a pass");
}

#[test]
fn a_pass_backs_the_ledger_up_once_a_day_and_keeps_seven() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    let good = fs::read(file(&world)).unwrap();
    for day in 1..=9 {
        fs::write(daily(&world, &format!("2026010{day}T030000Z")), &good).unwrap();
    }
    for other in ["by-hand-20200101T000000Z.redb", "replaced-20200101T000000Z.redb", "notes.txt"] {
        fs::write(backups(&world).join(other), &good).unwrap();
    }
    world.ok(&["run"]).is_silent();
    let after = names_in(&backups(&world));
    let of_passes: Vec<&String> = after.iter().filter(|name| name.starts_with("ledger-")).collect();
    assert_eq!(of_passes.len(), 7, "{after:?}");
    assert_eq!(
        of_passes[..6],
        ["4", "5", "6", "7", "8", "9"].map(|day| format!("ledger-2026010{day}T030000Z.redb")).each_ref()
    );
    assert!(of_passes[6].as_str() > "ledger-20260110", "{after:?}");
    assert_eq!(after.len(), 10, "what is not the passes' own is left alone: {after:?}");
    world.ok(&["run"]).is_silent();
    assert_eq!(names_in(&backups(&world)), after, "once a day only");
    let newest = backups(&world).join(of_passes[6]);
    world.ok(&["ledger", "restore", newest.as_str()]);
}

#[test]
fn a_backup_dated_in_the_future_does_not_push_the_others_out() {
    let world = World::new();
    world.ok(&["stage", "on"]);
    fs::copy(file(&world), daily(&world, "29990101T000000Z")).unwrap();
    fs::copy(file(&world), daily(&world, "20200101T000000Z")).unwrap();
    let count = || names_in(&backups(&world)).len();
    world.ok(&["run"]);
    assert_eq!(count(), 3, "one for today");
    // As if an hour had passed.
    let today = names_in(&backups(&world))[1].clone();
    let hour_ago = Command::new("date").args(["-u", "-d", "1 hour ago", "+%Y%m%dT%H%M%SZ"]).output().unwrap();
    let hour_ago = String::from_utf8(hour_ago.stdout).unwrap();
    fs::rename(backups(&world).join(today), daily(&world, hour_ago.trim())).unwrap();
    world.ok(&["run"]);
    assert_eq!(count(), 3, "and no second one for today: {:?}", names_in(&backups(&world)));
}

#[test]
fn a_compacted_ledger_says_the_same() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 500);
    let copies = world.list();
    let before = fs::metadata(file(&world)).unwrap().len();
    let ran = world.ok(&["ledger", "compact"]);
    assert!(ran.stdout.contains(" before, ") && ran.stdout.ends_with(" after\n"), "{}", ran.stdout);
    assert!(fs::metadata(file(&world)).unwrap().len() <= before);
    assert_eq!(world.list(), copies);
    world.ok(&["ledger", "check"]);
    world.ok(&["host", "add", "ipp031"]);
    world.ok(&["ledger", "compact"]);
    assert_eq!(world.list(), copies);
}

#[test]
fn a_check_counts_what_is_there() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    world.ok(&["host", "add", "ipp031"]);
    expect![[r#"
        ROOT/state/ledger.redb is whole: 3 minidvodbs, 1 target, 2 hosts, 3 copies, 0 attempts
    "#]]
    .assert_eq(&shown(&world, &world.ok(&["ledger", "check"]).stdout));
}

/// The ledger with another schema version in its meta table.
fn with_schema(good: &[u8], world: &World, version: u32) -> Vec<u8> {
    const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta.1");
    let path = world.root.join("other-schema.redb");
    fs::write(&path, good).unwrap();
    let db = Builder::new().open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    let payload = version.to_string().into_bytes();
    let mut hasher = Xxh3::new();
    for part in [&b"meta.1"[..], b"schema", &[1], &payload] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let record = [&[1][..], &hasher.digest().to_le_bytes(), &payload].concat();
    txn.open_table(META).unwrap().insert("schema", record.as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn a_newer_ledger_is_refused_by_its_number_and_left_untouched() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    let good = fs::read(file(&world)).unwrap();
    fs::write(file(&world), with_schema(&good, &world, 5)).unwrap();
    assert_eq!(world.list().len(), 1, "the helper of this test makes sound ledgers");
    let newer = with_schema(&good, &world, 8);
    fs::write(file(&world), &newer).unwrap();
    for words in COMMANDS {
        let ran = world.run(words);
        assert_eq!(ran.code, 78, "{words:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("has schema 8"), "{words:?}: {}", ran.stderr);
        assert!(fs::read(file(&world)).unwrap() == newer, "{words:?} leaves it untouched");
    }
    let ran = world.run(&["list"]);
    expect![[r#"
        minidvodbcopy: the ledger has schema 8, and this minidvodbcopy 0.1.0 knows 5 at most
          hint: use the newer minidvodbcopy that wrote it; it was left untouched
    "#]]
    .assert_eq(&shown(&world, &ran.stderr));
    fs::write(file(&world), with_schema(&good, &world, 0)).unwrap();
    check_refused(&world, "schema 0");
}

/// Puts a ledger that an older program has written into a world's state folder.
#[track_caller]
fn take_in_ledger(world: &World, name: &str) {
    let packed = format!("{}/testdata/ledgers/{name}.gz", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("zcat").arg(packed).output().unwrap();
    assert!(output.status.success());
    fs::create_dir(world.state()).unwrap();
    fs::write(file(world), output.stdout).unwrap();
}

#[test]
fn a_ledger_of_schema_2_is_backed_up_and_gone_on_with() {
    let world = World::new();
    take_in_ledger(&world, "schema-2.redb");
    let standings: Vec<String> = (1..=4).map(|id| world.standing(id)).collect();
    assert_eq!(standings, ["full 0", "new 225", "new 201", "new 0"]);
    assert_eq!(world.copy(1)["verified"], "checksum");
    let backups = names_in(&world.state().join("backup"));
    assert!(backups.iter().any(|name| name.contains("before-schema-5")), "{backups:?}");
    world.ok(&["ledger", "check"]);
    assert!(world.ok(&["show", "1"]).stdout.contains("7 B sent  full"));
    assert!(world.ok(&["log", "show"]).stdout.contains("the operators' own words"));
    // What is new can be done with what is old: a folder that was published then may be replaced.
    world.run(&["recopy", "1"]).expect(1).says("fault 201");
    assert_eq!(world.standing(1), "full 201");
    world.ok(&["recopy", "1", "--cancel"]);
    world.ok(&["revert", "--id", "2", "--adopt"]);
    world.ok(&["update", "--id", "3", "--set-state", "full", "--set-fault", "0"]);
    let standings: Vec<String> = (1..=4).map(|id| world.standing(id)).collect();
    assert_eq!(standings, ["full 0", "new 0", "full 0", "new 0"]);
    world.ok(&["ledger", "check"]);
}

/// What the reading commands print of a sound ledger.
struct Known {
    good: Vec<u8>,
    printed: Vec<(&'static [&'static str], String)>,
}

const READING: [&[&str]; 6] = [
    &["list", "--format", "json"],
    &["ledger", "check"],
    &["minidvodb", "list"],
    &["target", "show", "--json"],
    &["host", "show", "--json"],
    &["stage", "show"],
];

/// A ledger with 25 minidvodbs, two targets, 50 copies, and attempts of one of them.
fn world_to_damage() -> (World, Known) {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 25);
    world.ok(&["target", "add", "ThreePi", "localhost", world.there().as_str()]);
    world.ok(&["host", "add", "localhost"]);
    world.ok(&["stage", "on"]);
    world.run(&["run", "--host", "localhost", "--limit", "3"]).expect(1);
    world.ok(&["stage", "off", "run"]);
    assert_eq!(world.list().len(), 50);
    let printed = READING.into_iter().map(|words| (words, world.ok(words).stdout)).collect();
    let good = fs::read(file(&world)).unwrap();
    (world, Known { good, printed })
}

impl Known {
    /// Runs a reading command on a damaged ledger; says what is wrong with what it does.
    fn complaint(&self, world: &World, bytes: &[u8], command: usize) -> Option<String> {
        fs::write(file(world), bytes).unwrap();
        let (words, printed) = &self.printed[command];
        let ran = world.run(words);
        let complaint = if ran.stderr.contains("panic") {
            "speaks of a panic"
        } else if ran.code == 78 && fs::read(file(world)).unwrap() != bytes {
            "refused it and changed it"
        } else if ran.code == 78 && !ran.stderr.contains(file(world).as_str()) {
            "did not name it"
        } else if ran.code == 78 || (ran.code == 0 && ran.stdout == *printed) {
            return None;
        } else if ran.code == 0 {
            "printed something else"
        } else {
            "left with another exit code"
        };
        let Ran { code, stdout, stderr } = ran;
        let stdout: String = stdout.chars().take(300).collect();
        Some(format!("{words:?} {complaint}: exit {code}\n{stdout}\n{stderr}"))
    }

    /// Flips these bits, one at a time; every command must print what it printed before, or refuse.
    #[track_caller]
    fn check_flips(&self, world: &World, bits: &[(usize, u8)], commands: impl Fn(usize) -> Vec<usize>) {
        let mut complaints = Vec::new();
        for (number, &(place, bit)) in bits.iter().enumerate() {
            let mut bytes = self.good.clone();
            bytes[place] ^= 1 << bit;
            for command in commands(number) {
                let complaint = self.complaint(world, &bytes, command);
                complaints.extend(complaint.map(|text| format!("bit {bit} of byte {place}: {text}")));
            }
        }
        let count = complaints.len();
        complaints.truncate(5);
        assert!(count == 0, "{count} of {} flips:\n{}", bits.len(), complaints.join("\n"));
    }

    /// Places that hold something.
    fn places_in_use(&self) -> Vec<usize> {
        (0..self.good.len()).filter(|&place| self.good[place] != 0).collect()
    }
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let (world, known) = world_to_damage();
    let mut dice = Dice::new(4711);
    let used = known.places_in_use();
    let mut bits: Vec<(usize, u8)> =
        (0..200).map(|_| (used[dice.below(used.len())], dice.below(8) as u8)).collect();
    bits.extend((0..100).map(|_| (dice.below(known.good.len()), dice.below(8) as u8)));
    known.check_flips(&world, &bits, |number| vec![0, 1, 2 + number % 4]);
}

#[test]
fn a_flipped_bit_in_the_header_is_refused_or_changes_nothing() {
    let (world, known) = world_to_damage();
    let mut dice = Dice::new(815);
    // The magic number, then the byte that says which of the two roots counts, then sizes and the two roots.
    let mut bits: Vec<(usize, u8)> = (0..8).map(|bit| (9, bit)).collect();
    bits.extend((0..320).map(|place| (place, dice.below(8) as u8)));
    known.check_flips(&world, &bits, |_| vec![0]);
}

#[test]
fn a_flipped_bit_in_a_key_of_the_meta_table_is_refused_or_changes_nothing() {
    let (world, known) = world_to_damage();
    let mut bits = Vec::new();
    for key in ["counters", "digests", "ledger_id", "schema", "stages"] {
        let mut found = 0;
        for place in 0..known.good.len() - key.len() {
            if known.good[place..].starts_with(key.as_bytes()) {
                bits.extend([(place, 0), (place + key.len() - 1, 1)]);
                found += 1;
            }
        }
        assert!(found > 0, "{key}");
    }
    known.check_flips(&world, &bits, |_| vec![0, 1, 5]);
}

#[test]
fn a_ledger_that_lost_a_record_of_its_meta_table_is_refused() {
    const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta.1");
    let (world, known) = world_to_damage();
    let mut complaints = Vec::new();
    for key in ["counters", "digests", "ledger_id", "schema", "stages"] {
        fs::write(file(&world), &known.good).unwrap();
        let db = hold(&world);
        let txn = db.begin_write().unwrap();
        assert!(txn.open_table(META).unwrap().remove(key).unwrap().is_some(), "{key}");
        txn.commit().unwrap();
        drop(db);
        let bytes = fs::read(file(&world)).unwrap();
        for words in [
            &["ledger", "check"][..],
            &["stage", "show"],
            &["run"],
            &["host", "add", "ipp099"],
            &["ledger", "backup", &format!("{key}.redb")],
        ] {
            let ran = world.run(words);
            if ran.code != 78 || fs::read(file(&world)).unwrap() != bytes {
                complaints.push(format!("without {key}, {words:?}: exit {}: {}", ran.code, ran.stdout));
                fs::write(file(&world), &bytes).unwrap();
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_change_of_a_ledger_with_a_flipped_bit_is_whole_or_refused() {
    let (world, known) = world_to_damage();
    let mut dice = Dice::new(42);
    let used = known.places_in_use();
    let mut complaints = Vec::new();
    for _ in 0..100 {
        let (place, bit) = (used[dice.below(used.len())], dice.below(8));
        let mut bytes = known.good.clone();
        bytes[place] ^= 1 << bit;
        fs::write(file(&world), &bytes).unwrap();
        let ran = world.run(&["host", "add", "ipp099"]);
        let now = fs::read(file(&world)).unwrap();
        let is_right = match ran.code {
            78 => now == bytes && !ran.stderr.contains("panic"),
            0 => {
                let list = world.run(&["list", "--format", "json"]);
                let check = world.run(&["ledger", "check"]);
                let hosts = world.run(&["host", "show"]).stdout;
                (list.code, &list.stdout) == (0, &known.printed[0].1)
                    && check.code == 0
                    && hosts.contains("ipp099")
            }
            _ => false,
        };
        if !is_right {
            complaints.push(format!("bit {bit} of byte {place}: exit {}: {}", ran.code, ran.stderr));
        }
    }
    assert!(
        complaints.is_empty(),
        "{} of 100:\n{}",
        complaints.len(),
        complaints[..complaints.len().min(5)].join("\n")
    );
}

/// The ledger as a writer that was killed leaves it.
fn not_closed(world: &World) -> Vec<u8> {
    let db = Builder::new().open(file(world)).unwrap();
    let bytes = fs::read(file(world)).unwrap();
    drop(db);
    bytes
}

#[test]
fn a_ledger_that_was_not_closed_is_whole() {
    let (world, known) = world_to_damage();
    let unclean = not_closed(&world);
    assert!(unclean != known.good, "a writer leaves its mark");
    for command in 0..READING.len() {
        fs::write(file(&world), &unclean).unwrap();
        assert_eq!(known.complaint(&world, &unclean, command), None);
        let (words, printed) = &known.printed[command];
        fs::write(file(&world), &unclean).unwrap();
        assert_eq!(world.ok(words).stdout, *printed, "it is not refused");
    }
}

#[test]
fn a_flipped_bit_in_a_ledger_that_was_not_closed_is_refused_or_changes_nothing() {
    let (world, mut known) = world_to_damage();
    known.good = not_closed(&world);
    let mut dice = Dice::new(7);
    let used = known.places_in_use();
    let bits: Vec<(usize, u8)> =
        (0..150).map(|_| (used[dice.below(used.len())], dice.below(8) as u8)).collect();
    known.check_flips(&world, &bits, |_| vec![0]);
}

/// A little more than the time that a command takes when nobody kills it.
fn time_of(world: &World, words: &[&str]) -> Duration {
    let began = Instant::now();
    world.ok(words);
    began.elapsed() * 5 / 4
}

/// Starts a command and kills it at some moment; whether it had ended well before.
fn kill_somewhere(world: &World, words: &[&str], dice: &mut Dice, most: Duration) -> bool {
    let mut child = world.start(words);
    let (began, after) =
        (Instant::now(), Duration::from_micros(dice.below(most.as_micros() as usize) as u64));
    while began.elapsed() < after && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let _ = child.kill();
    let ran = finish(child);
    assert!(matches!(ran.code, 0 | -1), "{words:?}: {} {}", ran.code, ran.stderr);
    ran.code == 0
}

#[test]
fn a_command_killed_at_any_moment_leaves_a_whole_ledger() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 5);
    let copies = world.list();
    let mut dice = Dice::new(1);
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n";
    let list = world.root.join("many.csv");
    let short = time_of(&world, &["host", "add", "host"]);
    let mut long = None;
    let mut killed = 0;
    for round in 0..40 {
        let host = format!("host{round}");
        let rows: String =
            (1000..1500).map(|id| format!("{id},a,Round{round},/data/{round}.{id},merged\n")).collect();
        fs::write(&list, format!("{header}{rows}")).unwrap();
        let words: &[&str] = match round % 4 {
            0 => &["host", "add", &host],
            1 => &["stage", if round % 8 == 1 { "off" } else { "on" }, "run"],
            2 => &["minidvodb", "import", list.as_str()],
            _ => &[
                "target",
                "add",
                "ThreePi",
                "ipp022",
                if round % 8 == 3 { "/data/x" } else { "/data/there" },
            ],
        };
        let most = match round % 4 {
            2 => *long.get_or_insert_with(|| time_of(&world, words)),
            _ => short,
        };
        let is_done = kill_somewhere(&world, words, &mut dice, most);
        killed += usize::from(!is_done);
        world.ok(&["ledger", "check"]);
        assert_eq!(world.list().len(), copies.len());
        let rows =
            world.ok(&["minidvodb", "list", "--group", &format!("Round{round}")]).stdout.lines().count();
        match round % 4 {
            0 if is_done => assert!(world.ok(&["host", "show"]).stdout.contains(&host)),
            2 => assert!(rows == 501 || (!is_done && rows == 0), "whole or not at all: {rows}"),
            _ => {}
        }
    }
    assert!(killed > 0, "none was killed: the moments of this test are ill chosen");
}

#[test]
fn a_first_command_killed_at_any_moment_leaves_no_half_ledger() {
    let mut dice = Dice::new(99);
    let most = time_of(&World::new(), &["host", "add", "first"]);
    for _ in 0..15 {
        let world = World::new();
        let is_done = kill_somewhere(&world, &["host", "add", "first"], &mut dice, most);
        if file(&world).exists() {
            world.ok(&["ledger", "check"]);
        } else {
            assert!(!is_done);
        }
        world.ok(&["host", "add", "second"]);
        world.ok(&["ledger", "check"]);
    }
}

/// Holds the ledger as a writer does.
fn hold(world: &World) -> Database {
    Builder::new().open(file(world)).unwrap()
}

/// Whether a process waits, as seen from here: it is there after it had time to end.
fn assert_waits_while_held(world: &World, words: &[&str]) -> Ran {
    let held = hold(world);
    let mut child = world.start(words);
    std::thread::sleep(Duration::from_secs(1)); // how long the ledger is held, not for how long we wait
    assert!(child.try_wait().unwrap().is_none(), "{words:?} did not wait");
    drop(held);
    finish(child)
}

#[test]
fn a_command_waits_for_the_ledger_while_it_is_held() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    assert_waits_while_held(&world, &["host", "add", "ipp031"]).expect(0).is_silent();
    assert!(world.ok(&["host", "show"]).stdout.contains("ipp031"));
    assert_waits_while_held(&world, &["list"]).expect(0);
}

#[test]
fn backup_restore_and_compact_wait_for_the_ledger_too() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    assert_waits_while_held(&world, &["ledger", "backup", "kept.redb"]).expect(0);
    assert_waits_while_held(&world, &["ledger", "compact"]).expect(0);
    assert_waits_while_held(&world, &["ledger", "restore", "kept.redb"]).expect(0);
}

#[test]
fn readers_do_not_wait_for_each_other() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 1);
    let held = Builder::new().open_read_only(file(&world)).unwrap();
    world.ok(&["list"]);
    world.ok(&["ledger", "check"]);
    drop(held);
}

#[test]
fn ten_writers_at_once_all_succeed() {
    let world = World::new();
    let writers: Vec<_> = (0..10).map(|n| world.start(&["host", "add", &format!("host{n}")])).collect();
    for writer in writers {
        finish(writer).expect(0).is_silent();
    }
    assert_eq!(world.ok(&["host", "show", "--json"]).json().as_array().unwrap().len(), 10);
    let lists: Vec<String> = (0..10)
        .map(|n| {
            let path = world.root.join(format!("list{n}.csv"));
            let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state";
            fs::write(&path, format!("{header}\n{n}1,a,G,/data/{n},merged\n")).unwrap();
            path.to_string()
        })
        .collect();
    let writers: Vec<_> = lists.iter().map(|list| world.start(&["minidvodb", "import", list])).collect();
    for writer in writers {
        finish(writer).expect(0).is_silent();
    }
    assert_eq!(world.ok(&["minidvodb", "list"]).stdout.lines().count(), 11);
    world.ok(&["ledger", "check"]);
    assert_eq!(
        names_in(&world.state()),
        ["backup", "ledger.redb", "locks", "manifests"],
        "no scraps are left"
    );
}

#[test]
fn a_writer_goes_on_when_the_one_that_held_the_ledger_is_killed() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    let unclean = not_closed(&world);
    fs::write(file(&world), unclean).unwrap();
    let mut child = world.start(&["host", "add", "ipp031"]);
    eventually("the host is added", || child.try_wait().unwrap().is_some());
    finish(child).expect(0);
    assert_eq!(world.list().len(), 3);
    world.ok(&["ledger", "check"]);
}

#[test]
fn a_ledger_that_does_not_fit_on_the_disk_is_refused_with_the_reason() {
    let world = World::new();
    // A limit on the size of files stands for the full disk.
    let mut command = Command::new("/bin/sh");
    let inner = world.command(&["host", "add", "ipp022"]);
    command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains(world.state().as_str()) && !said.contains("damaged"), "{said}");
    assert!(!file(&world).exists());
    world.ok(&["host", "add", "ipp022"]);
}

#[test]
fn a_command_that_cannot_write_leaves_the_ledger_as_it_was() {
    let world = World::new();
    queue(&world, "ThreePi", "ipp022", 3);
    let copies = world.list();
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n";
    let rows: String = (100..30_000).map(|id| format!("{id},a,Big,/data/{id},merged\n")).collect();
    let list = world.root.join("big.csv");
    fs::write(&list, format!("{header}{rows}")).unwrap();
    let blocks = fs::metadata(file(&world)).unwrap().len() / 512 + 2048;
    let inner = world.command(&["minidvodb", "import", list.as_str()]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(!said.contains("panic") && !said.contains("damaged"), "{said}");
    assert_eq!(world.list(), copies);
    assert_eq!(world.ok(&["minidvodb", "list", "--group", "Big"]).stdout, "");
    world.ok(&["ledger", "check"]);
}
