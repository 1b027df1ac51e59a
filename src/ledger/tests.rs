//! The ledger's own promises: one copy on a machine, one owner of a final path, indexes that agree, damage
//! that is named, steps that migrate.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use redb::ReadableTable as _;

use super::tables::{COPIES, WriteTables};
use super::{Failure, Imported, Ledger, Look, open};
use crate::error::Exit;
use crate::faults::{Class, Fault};
use crate::model::{
    AbsolutePath, Attempt, Copy, CopyId, CopyState, Day, FaultState, FileSystem, Group, Host, LogEntry,
    Machine, Minidvodb, MinidvodbId, MinidvodbState, Outcome, Phase, Room, RoomSeen, TableRow, Tally, Target,
    Verified,
};

pub(super) struct Desk {
    pub(super) ledger: Ledger,
    pub(super) file: Utf8PathBuf,
    _dir: tempfile::TempDir,
}

pub(super) fn desk() -> Desk {
    // In memory, where that is: hundreds of ledgers are made and flushed.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let state = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
    Desk { ledger: Ledger::new(&state), file: state.join("ledger.redb"), _dir: dir }
}

pub(super) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

pub(super) fn group() -> Group {
    Group::parse("ThreePi").unwrap()
}

pub(super) fn minidvodb(id: u64, path: &str) -> Minidvodb {
    Minidvodb {
        id: MinidvodbId(id),
        minidvodb_name: None,
        group: group(),
        path: AbsolutePath::parse(path).unwrap(),
        state: MinidvodbState::Merged,
        processed_fault: Some(0),
        is_from_database: false,
    }
}

pub(super) fn copy(id: u64, minidvodb: &Minidvodb, to: &str, machine: &str) -> Copy {
    Copy::queued(
        CopyId(id),
        minidvodb.id,
        group(),
        host(to),
        Machine::parse(machine).unwrap(),
        AbsolutePath::parse("/there").unwrap(),
        minidvodb.folder_name().unwrap(),
        Timestamp::UNIX_EPOCH,
    )
}

#[test]
fn a_second_copy_of_a_minidvodb_on_a_machine_is_refused_whatever_the_host_is_called() {
    let desk = desk();
    let one = minidvodb(1, "/data/ThreePi.1");
    let refused = desk.ledger.write(|change| {
        change.put_copy(&copy(1, &one, "ipp022", "ipp022"))?.unwrap();
        change.put_copy(&copy(2, &one, "ipp031", "ipp031"))?.unwrap();
        change.put_copy(&copy(3, &one, "ipp0222", "ipp022"))
    });
    assert_eq!(refused.unwrap().unwrap_err().by, CopyId(1));
    desk.ledger.check().unwrap();
    assert_eq!(desk.ledger.read(|ledger| ledger.copy(CopyId(3))).unwrap(), None);
}

/// The tallies as words: `host kind fault copies bytes`.
fn tallies(desk: &Desk) -> Vec<String> {
    let tallies = desk.ledger.read(|ledger| ledger.tallies()).unwrap();
    let line =
        |t: &Tally| format!("{} {} {} {} {}", t.host, t.kind.as_str(), t.fault_code, t.copies, t.bytes);
    tallies.iter().map(line).collect()
}

#[test]
fn copies_are_counted_as_they_come_change_move_and_go() {
    let desk = desk();
    let (one, two) = (minidvodb(1, "/data/ThreePi.1"), minidvodb(2, "/data/ThreePi.2"));
    let mut first = Copy { bytes: Some(100), ..copy(1, &one, "ipp022", "ipp022") };
    let mut second = Copy { bytes: Some(11), ..copy(2, &two, "ipp022", "ipp022") };
    let write = |copy: &Copy| desk.ledger.write(|change| change.put_known_copy(copy)).unwrap();
    write(&first);
    write(&second);
    assert_eq!(tallies(&desk), ["ipp022 new 0 2 111"]);
    let fault = FaultState { fault: Fault::NoRoom, class: Class::Retry, next_try: None };
    first.set_fault_of_making(Some(fault.clone()));
    write(&first);
    second.state = CopyState::full(Verified::Checksum, None);
    second.bytes = Some(12);
    write(&second);
    write(&second);
    assert_eq!(tallies(&desk), ["ipp022 full 0 1 12", "ipp022 retry 224 1 100"]);
    first.set_fault_of_making(Some(FaultState { class: Class::Person, ..fault }));
    write(&first);
    desk.ledger.write(|change| change.bury(&second, Timestamp::UNIX_EPOCH)).unwrap();
    assert_eq!(tallies(&desk), ["ipp022 person 224 1 100"]);
    desk.ledger.check().unwrap();
}

#[test]
fn a_miscounted_ledger_is_found() {
    let desk = desk();
    let one = minidvodb(1, "/data/ThreePi.1");
    let the_copy = copy(1, &one, "ipp022", "ipp022");
    desk.ledger
        .write(|change| {
            change.put_known_copy(&the_copy)?;
            change.miscount(&the_copy);
            Ok(())
        })
        .unwrap();
    let error = desk.ledger.check().unwrap_err();
    assert!(error.to_string().contains("miscounted"), "{error}");
}

#[test]
fn attempts_are_counted_once_on_the_day_on_which_they_end() {
    let desk = desk();
    let one = minidvodb(1, "/data/ThreePi.1");
    let the_copy = copy(1, &one, "ipp022", "ipp022");
    let at = |second| Timestamp::from_second(second).unwrap();
    let open = Attempt {
        copy_id: CopyId(1),
        number: 1,
        began: at(86_390),
        ended: None,
        phase: Phase::Sending,
        outcome: Outcome::Open,
        sent_bytes: 0,
        files: 3,
        seconds: 0.0,
        said: String::new(),
    };
    let ended = Attempt {
        ended: Some(at(86_400)),
        outcome: Outcome::Full,
        sent_bytes: 7,
        seconds: 1.5,
        ..open.clone()
    };
    let faulted = Attempt { number: 2, outcome: Outcome::Faulted(Fault::NoRoom), ..ended.clone() };
    for attempt in [&open, &open, &ended, &ended, &faulted] {
        desk.ledger
            .write(|change| {
                change.put_known_copy(&the_copy)?;
                change.put_attempt(&the_copy, attempt)
            })
            .unwrap();
    }
    let days = desk.ledger.read(|ledger| ledger.days(0)).unwrap();
    let of = |outcome| Day {
        day: 1,
        host: host("ipp022"),
        outcome,
        attempts: 1,
        sent_bytes: 7,
        milliseconds: 1500,
    };
    assert_eq!(days, [of(Outcome::Full), of(Outcome::Faulted(Fault::NoRoom))]);
    assert_eq!(desk.ledger.read(|ledger| ledger.days(2)).unwrap(), []);
}

#[test]
fn of_each_day_the_room_seen_last_is_kept_and_the_oldest_days_go() {
    let desk = desk();
    let file_system = FileSystem {
        mount_point: "/data".to_owned(),
        source: "/dev/sda1".to_owned(),
        kind: "ext4".to_owned(),
        id: "1".to_owned(),
    };
    let room =
        |free_bytes| Room { total_bytes: 9, free_bytes, used_percent: 1, inodes: None, block_bytes: 1 };
    let see = |second, free| {
        let at = Timestamp::from_second(second).unwrap();
        let seen = RoomSeen { host: host("ipp022"), file_system: file_system.clone(), at, room: room(free) };
        desk.ledger.write(|change| change.put_room(&seen)).unwrap();
    };
    let free = || -> Vec<(i32, u64)> {
        let rooms = desk.ledger.read(|ledger| ledger.rooms(0)).unwrap();
        rooms.iter().map(|seen| (seen.day(), seen.room.free_bytes)).collect()
    };
    see(10, 8);
    see(20, 7);
    see(15, 99);
    see(86_400, 6);
    assert_eq!(free(), [(0, 7), (1, 6)]);
    see(86_400 * 801, 5);
    assert_eq!(free(), [(1, 6), (801, 5)]);
    desk.ledger.check().unwrap();
}

#[test]
fn rekeying_a_host_moves_its_copies_and_is_refused_where_two_would_meet() {
    let desk = desk();
    let (one, two) = (minidvodb(1, "/data/ThreePi.1"), minidvodb(2, "/data/ThreePi.2"));
    let ipp022 = Machine::parse("ipp022").unwrap();
    desk.ledger
        .write(|change| {
            change.put_copy(&copy(1, &one, "ipp022", "ipp022"))?.unwrap();
            change.put_copy(&copy(2, &two, "ipp0222", "ipp0222"))?.unwrap();
            Ok(())
        })
        .unwrap();
    assert_eq!(desk.ledger.write(|change| change.rekey_host(&host("ipp0222"), &ipp022)).unwrap(), Ok(1));
    desk.ledger.check().unwrap();
    assert_eq!(desk.ledger.read(|ledger| ledger.copy_on(two.id, &ipp022)).unwrap(), Some(CopyId(2)));
    desk.ledger.write(|change| change.put_copy(&copy(3, &one, "ipp031", "ipp031"))).unwrap().unwrap();
    let meeting = desk.ledger.write(|change| change.rekey_host(&host("ipp031"), &ipp022)).unwrap();
    assert_eq!(meeting.unwrap_err().by, CopyId(1));
}

#[test]
fn a_final_path_has_one_owner_until_it_is_given_up() {
    let desk = desk();
    let (one, other) = (minidvodb(1, "/a/ThreePi.1"), minidvodb(2, "/b/ThreePi.1"));
    let (first, second) = (copy(1, &one, "ipp022", "ipp022"), copy(2, &other, "ipp022", "ipp022"));
    desk.ledger
        .write(|change| {
            change.put_copy(&first)?.unwrap();
            change.put_copy(&second)?.unwrap();
            assert!(!change.claim_final_path(&second)?);
            let moved = Copy { path: AbsolutePath::parse("/elsewhere").unwrap(), ..first.clone() };
            change.put_copy(&moved)?.unwrap();
            assert!(change.claim_final_path(&second)?);
            Ok(())
        })
        .unwrap();
    desk.ledger.check().unwrap();
}

#[test]
fn the_queue_holds_the_new_copies_of_a_target_and_no_others() {
    let desk = desk();
    let one = minidvodb(1, "/data/ThreePi.1");
    let mut the_copy = copy(1, &one, "ipp022", "ipp022");
    let pending = || desk.ledger.read(|ledger| ledger.count_pending(&host("ipp022"), &group())).unwrap();
    desk.ledger.write(|change| change.put_known_copy(&the_copy)).unwrap();
    assert_eq!(pending(), 1);
    the_copy.state = CopyState::full(Verified::Checksum, None);
    desk.ledger.write(|change| change.put_known_copy(&the_copy)).unwrap();
    assert_eq!(pending(), 0);
    desk.ledger.check().unwrap();
}

#[test]
fn a_minidvodb_is_a_candidate_once_and_again_when_it_was_merged_anew() {
    let desk = desk();
    let one = minidvodb(1, "/data/ThreePi.1");
    let unmerged = Minidvodb { state: MinidvodbState::parse("active").unwrap(), ..one.clone() };
    let mut target = Target::new(group(), host("ipp022"), AbsolutePath::parse("/there").unwrap());
    let machine = target.host.default_machine();
    let import =
        |minidvodb: &Minidvodb| desk.ledger.write(|change| change.import_minidvodb(minidvodb)).unwrap();
    assert_eq!(import(&one), Imported::Added);
    assert_eq!(import(&one), Imported::Unchanged);
    let found = desk.ledger.read(|ledger| ledger.candidates(&target, &machine, 10)).unwrap();
    assert_eq!((found.candidates.len(), found.has_more), (1, false));
    target.queued_through = found.through;
    assert!(!desk.ledger.read(|ledger| ledger.has_candidates(&target)).unwrap());
    assert_eq!(import(&unmerged), Imported::Changed);
    assert_eq!(import(&one), Imported::Changed);
    assert!(desk.ledger.read(|ledger| ledger.has_candidates(&target)).unwrap());
    desk.ledger.check().unwrap();
}

#[test]
fn of_many_attempts_the_first_and_the_last_are_kept() {
    let desk = desk();
    let the_copy = copy(1, &minidvodb(1, "/data/ThreePi.1"), "ipp022", "ipp022");
    desk.ledger
        .write(|change| {
            change.put_known_copy(&the_copy)?;
            for number in 1..=200 {
                let attempt = Attempt {
                    copy_id: the_copy.id,
                    number,
                    began: Timestamp::UNIX_EPOCH,
                    ended: Some(Timestamp::UNIX_EPOCH),
                    phase: Phase::Sending,
                    outcome: Outcome::Interrupted,
                    sent_bytes: 0,
                    files: 0,
                    seconds: 0.0,
                    said: String::new(),
                };
                change.put_attempt(&the_copy, &attempt)?;
            }
            Ok(())
        })
        .unwrap();
    let attempts = desk.ledger.read(|ledger| ledger.attempts(the_copy.id)).unwrap();
    assert_eq!((attempts[0].number, attempts.last().unwrap().number, attempts.len()), (1, 200, 64));
    desk.ledger.check().unwrap();
}

#[test]
fn what_changes_nothing_commits_nothing() {
    let desk = desk();
    let one = minidvodb(1, "/data/ThreePi.1");
    desk.ledger.write(|change| change.import_minidvodb(&one)).unwrap();
    let bytes = || std::fs::read(&desk.file).unwrap();
    let before = desk.ledger.read(|ledger| ledger.kept_digests()).unwrap();
    desk.ledger.write(|change| change.import_minidvodb(&one)).unwrap();
    assert_eq!(desk.ledger.read(|ledger| ledger.kept_digests()).unwrap(), before);
    let untouched = bytes();
    desk.ledger.read(|ledger| ledger.stages()).unwrap();
    assert_eq!(bytes(), untouched);
}

#[test]
fn a_failed_change_leaves_everything_as_it_was() {
    let desk = desk();
    let failed: Result<(), _> = desk.ledger.write(|change| {
        change.import_minidvodb(&minidvodb(1, "/data/ThreePi.1"))?;
        Err(Failure::Command(crate::error::Error::usage("no")))
    });
    assert_eq!(failed.unwrap_err().exit, Exit::Usage);
    assert_eq!(desk.ledger.check().unwrap().minidvodbs, 0);
}

#[test]
fn a_record_changed_behind_our_back_is_named() {
    let desk = desk();
    let the_copy = copy(7, &minidvodb(1, "/data/ThreePi.1"), "ipp022", "ipp022");
    desk.ledger.write(|change| change.put_known_copy(&the_copy)).unwrap();
    let db = redb::Database::open(&desk.file).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    {
        let mut copies = txn.open_table(COPIES).unwrap();
        let mut bytes = copies.get(7).unwrap().unwrap().value().to_vec();
        let at = bytes.len() - 4;
        bytes[at] ^= 1;
        copies.insert(7, bytes.as_slice()).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    let error = Ledger::new(desk.file.parent().unwrap()).read(|ledger| ledger.stages()).unwrap_err();
    assert_eq!(error.exit, Exit::Configuration);
    assert!(error.to_string().contains("record 7 of table copies.1: its checksum is wrong"), "{error}");
}

#[test]
fn an_entry_lost_behind_our_back_is_noticed() {
    let desk = desk();
    let the_copy = copy(7, &minidvodb(1, "/data/ThreePi.1"), "ipp022", "ipp022");
    desk.ledger.write(|change| change.put_known_copy(&the_copy)).unwrap();
    let db = redb::Database::open(&desk.file).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    txn.open_table(super::tables::PAIRS).unwrap().remove((1, "ipp022")).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = Ledger::new(desk.file.parent().unwrap()).read(|ledger| ledger.stages()).unwrap_err();
    assert!(error.to_string().contains("pairs.1"), "{error}");
}

#[test]
fn of_the_log_the_last_ten_thousand_entries_are_kept() {
    let desk = desk();
    let entry = |number: u32| LogEntry::of_program(Timestamp::UNIX_EPOCH, None, number.to_string());
    desk.ledger.write(|change| (1..=10_003).try_for_each(|number| change.add_log(&entry(number)))).unwrap();
    let kept = desk.ledger.read(|ledger| ledger.log(usize::MAX)).unwrap();
    assert_eq!(kept.len(), 10_000);
    assert_eq!((kept[0].text.as_str(), kept[9_999].text.as_str()), ("4", "10003"));
    desk.ledger.write(|change| change.add_log(&entry(10_004))).unwrap();
    let last = desk.ledger.read(|ledger| ledger.log(2)).unwrap();
    assert_eq!(last.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["10003", "10004"]);
    desk.ledger.check().unwrap();
}

#[test]
fn once_a_day_a_ledger_that_is_mostly_air_is_compacted_and_says_the_same() {
    let desk = desk();
    let fill = |letter: &str| {
        let text = letter.repeat(3_000);
        desk.ledger.write(|change| {
            (0..10_000).try_for_each(|_| {
                change.add_log(&LogEntry::of_program(Timestamp::UNIX_EPOCH, None, text.clone()))
            })
        })
    };
    let on_disk = || std::fs::metadata(&desk.file).unwrap().blocks() * 512;
    let day = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
    fill("a").unwrap();
    let full = on_disk();
    desk.ledger.back_up_daily(day(1)).unwrap();
    assert!(on_disk() > full * 9 / 10, "what is full is left as it is");
    // All entries make way for others.
    fill("b").unwrap();
    let wasteful = on_disk();
    desk.ledger.back_up_daily(day(2)).unwrap();
    assert!(on_disk() < wasteful * 6 / 10, "{} of {wasteful} bytes", on_disk());
    let log = desk.ledger.read(|ledger| ledger.log(usize::MAX)).unwrap();
    assert!(log.len() == 10_000 && log.iter().all(|entry| entry.text.starts_with('b')));
    desk.ledger.check().unwrap();
}

/// Makes the ledger one of schema 1, which had fewer tables and nothing of databases.
pub(super) fn make_old(desk: &Desk) {
    use super::tables::{AHEAD, BUCKETS, DAYS, LEVEL, LOG, ROOMS, STRAYS, SYNCED, TALLIES, TOMBSTONES};
    let db = redb::Database::open(&desk.file).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    for table in [SYNCED, TOMBSTONES, LOG] {
        txn.delete_table(table).unwrap();
    }
    txn.delete_table(STRAYS).unwrap();
    txn.delete_table(AHEAD).unwrap();
    txn.delete_table(LEVEL).unwrap();
    txn.delete_table(BUCKETS).unwrap();
    txn.delete_table(TALLIES).unwrap();
    txn.delete_table(DAYS).unwrap();
    txn.delete_table(ROOMS).unwrap();
    put_schema(&txn, 1, |digests| {
        let later = ["level.1", "synced.1", "strays.1", "tombstones.1", "log.1", "ahead.1", "buckets.1"];
        for name in later.into_iter().chain(["tallies.1", "days.1", "rooms.1"]) {
            digests.remove(name);
        }
    });
    txn.commit().unwrap();
}

/// Writes another schema's version, and digests that are right after a change.
fn put_schema(txn: &redb::WriteTransaction, version: u32, change: impl FnOnce(&mut super::tables::Digests)) {
    use super::records::{Place, decode, encode};
    use super::tables::{DIGESTS, META, digest_of_meta};
    let mut meta = txn.open_table(META).unwrap();
    let place = |key: &str| Place::new("meta.1", key);
    let schema = encode(&place("schema"), &version).unwrap();
    meta.insert("schema", schema.as_slice()).unwrap();
    let kept = meta.get(DIGESTS).unwrap().unwrap().value().to_vec();
    let mut digests = decode(&place(DIGESTS), &kept).unwrap();
    change(&mut digests);
    digests.insert("meta.1".to_owned(), digest_of_meta(&meta).unwrap());
    let digests = encode(&place(DIGESTS), &digests).unwrap();
    meta.insert(DIGESTS, digests.as_slice()).unwrap();
}

#[test]
fn a_ledger_of_the_first_schema_is_backed_up_and_brought_up_to_date_by_reading_it() {
    let desk = desk();
    let the_copy = copy(7, &minidvodb(1, "/data/ThreePi.1"), "ipp022", "ipp022");
    desk.ledger.write(|change| change.put_known_copy(&the_copy)).unwrap();
    make_old(&desk);
    let ledger = Ledger::new(desk.file.parent().unwrap());
    std::fs::create_dir_all(desk.file.parent().unwrap().join("backup")).unwrap();
    let (found, ahead) =
        ledger.read(|ledger| Ok((ledger.copy(CopyId(7))?, ledger.minidvodbs_ahead()?))).unwrap();
    assert_eq!(found, Some(the_copy));
    assert_eq!(ahead.into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(ledger.check().unwrap().copies, 1);
    assert!(ledger.newest_backup().unwrap().as_str().contains("before-schema-"));
}

/// Makes the ledger one of schema 4, which kept all rows that copies have met, and records as JSON.
fn make_fourth(desk: &Desk, rows: &[(CopyId, TableRow)], copies: &[(u64, &str)]) {
    use super::records::{Form, Place, frame};
    use super::tables::{LEVEL, SYNCED, digest_of};
    let db = redb::Database::open(&desk.file).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    txn.delete_table(LEVEL).unwrap();
    {
        let mut synced = txn.open_table(SYNCED).unwrap();
        for (id, row) in rows {
            let epoch = row.content.epoch.map_or(0, Timestamp::as_second);
            let json = format!(
                r#"{{"id":{},"minidvodb_id":{},"path":"{}","host":"{}","state":"{}","epoch_s":{epoch},"dtime_s":0.0}}"#,
                row.id, row.minidvodb_id, row.content.path, row.content.host, row.content.state
            );
            let bytes = frame(Form::Json, &Place::new("synced.1", id), json.as_bytes());
            synced.insert(id.0, bytes.as_slice()).unwrap();
        }
        let mut kept = txn.open_table(COPIES).unwrap();
        for (id, json) in copies {
            let bytes = frame(Form::Json, &Place::new("copies.1", id), json.as_bytes());
            kept.insert(id, bytes.as_slice()).unwrap();
        }
        put_schema(&txn, 4, |digests| {
            digests.remove("level.1");
            digests.insert("synced.1".to_owned(), digest_of("synced.1", &synced).unwrap());
            digests.insert("copies.1".to_owned(), digest_of("copies.1", &kept).unwrap());
        });
    }
    txn.commit().unwrap();
}

#[test]
fn of_a_ledger_of_the_fourth_schema_the_rows_stay_known() {
    let desk = desk();
    let copies: Vec<Copy> = (1..=3)
        .map(|id| copy(id, &minidvodb(id, &format!("/data/ThreePi.{id}")), "ipp022", "ipp022"))
        .collect();
    // The third one has met no row, and the second one has changed since.
    let changed = Copy { dtime_s: Some(2.5), ..copies[1].clone() };
    let rows: Vec<(CopyId, TableRow)> =
        copies[..2].iter().map(|copy| (copy.id, TableRow::of(70 + copy.id.0, copy))).collect();
    desk.ledger
        .write(|change| {
            copies.iter().try_for_each(|copy| change.put_known_copy(copy))?;
            rows.iter().try_for_each(|(id, row)| change.put_synced(*id, row))?;
            change.put_known_copy(&changed)
        })
        .unwrap();
    let look = |ledger: &Ledger| {
        ledger.check().unwrap();
        ledger
            .read(|ledger| {
                let of = |id| Ok::<_, Failure>((ledger.copy(CopyId(id))?, ledger.synced(CopyId(id))?));
                Ok(([of(1)?, of(2)?, of(3)?], ledger.minidvodbs_ahead()?, ledger.count_synced()?))
            })
            .unwrap()
    };
    let expected = look(&desk.ledger);
    assert_eq!(expected.0[0], (Some(copies[0].clone()), Some(rows[0].1.clone())));
    assert_eq!(expected.0[1], (Some(changed), Some(rows[1].1.clone())));
    assert_eq!((expected.0[2].1.as_ref(), expected.1.len(), expected.2), (None, 2, 2));
    let epoch = copies[0].epoch.unwrap().as_second();
    let first = format!(
        r#"{{"id":1,"minidvodb_id":1,"group":"ThreePi","host":"ipp022","machine":"ipp022","path":"{}","name":"{}","state":"new","epoch_s":{epoch},"dtime_s":0.0}}"#,
        copies[0].path, copies[0].name
    );
    make_fourth(&desk, &rows, &[(1, &first)]);
    std::fs::create_dir_all(desk.file.parent().unwrap().join("backup")).unwrap();
    let ledger = Ledger::new(desk.file.parent().unwrap());
    assert_eq!(look(&ledger), expected);
    let is_level = |id| ledger.read(|ledger| ledger.is_level(id, &[rows[0].1.clone()])).unwrap();
    assert!(is_level(1) && !is_level(2));
}

#[test]
fn a_copy_that_changes_keeps_the_row_that_it_was_like() {
    let desk = desk();
    let before = copy(7, &minidvodb(1, "/data/ThreePi.1"), "ipp022", "ipp022");
    let row = TableRow::of(5, &before);
    let after = Copy { dtime_s: Some(2.5), ..before.clone() };
    let known = || {
        desk.ledger.check().unwrap();
        desk.ledger.read(|ledger| Ok((ledger.synced(CopyId(7))?, ledger.count_ahead()?))).unwrap()
    };
    let write = |copy: &Copy| desk.ledger.write(|change| change.put_known_copy(copy)).unwrap();
    write(&before);
    assert_eq!(known(), (None, 1));
    desk.ledger.write(|change| change.put_synced(CopyId(7), &row)).unwrap();
    assert_eq!(known(), (Some(row.clone()), 0));
    write(&after);
    assert_eq!(known(), (Some(row.clone()), 1));
    // It may come back to what it was, or the row become what it is.
    write(&before);
    assert_eq!(known(), (Some(row.clone()), 0));
    write(&after);
    let new_row = TableRow::of(5, &after);
    desk.ledger.write(|change| change.put_synced(CopyId(7), &new_row)).unwrap();
    assert_eq!(known(), (Some(new_row), 0));
    desk.ledger.write(|change| change.forget_rows()).unwrap();
    assert_eq!(known(), (None, 1));
}

#[test]
fn a_step_migrates_and_an_older_program_refuses_what_came_of_it() {
    fn step(tables: &mut WriteTables<'_>) -> Result<(), Failure> {
        tables.eligible.put(&("Migrated", 1), &1)
    }
    let desk = desk();
    desk.ledger.write(|change| change.import_minidvodb(&minidvodb(1, "/data/ThreePi.1"))).unwrap();
    let db = redb::Database::open(&desk.file).unwrap();
    open::migrate(&db, &[step], super::migrations::CURRENT + 1).unwrap();
    drop(db);
    let error = Ledger::new(desk.file.parent().unwrap()).read(|ledger| ledger.stages()).unwrap_err();
    assert_eq!(error.exit, Exit::Configuration);
    assert!(error.to_string().contains(&format!("has schema {}", super::migrations::CURRENT + 1)), "{error}");
}
