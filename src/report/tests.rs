//! Pages of facts that no test could wait for: many hosts, months, disks that fill.

use jiff::Timestamp;

use super::*;
use crate::faults::Fault;
use crate::model::{
    AbsolutePath, Day, FileSystem, Group, Host, Kind, MinidvodbId, Outcome, Room, RoomSeen, Tally, Target,
    day_of,
};

const GIB: u64 = 1 << 30;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn facts() -> Facts {
    Facts {
        minidvodbs: 1_000_000,
        grid: Grid::TooMany,
        ..Facts::new(now(), "/state".to_owned(), "minidvodbcopy".to_owned())
    }
}

fn tally(name: &str, group: &str, kind: Kind, copies: u64) -> Tally {
    let (bytes, sized) = (copies.saturating_mul(GIB), copies);
    Tally { host: host(name), group: Group::parse(group).unwrap(), kind, fault_code: 0, copies, bytes, sized }
}

fn full_day(name: &str, days_ago: i32, attempts: u64) -> Day {
    Day {
        day: day_of(now()) - days_ago,
        host: host(name),
        outcome: Outcome::Full,
        attempts,
        sent_bytes: attempts * GIB,
        milliseconds: attempts * 10_000,
    }
}

/// A disk of 100 GiB that lost `free` GiB of room in a month, and its target.
fn with_disk(mut facts: Facts, free: u64, used_percent: u8) -> Facts {
    let file_system = FileSystem {
        mount_point: "/data".to_owned(),
        source: "/dev/sda1".to_owned(),
        kind: "ext4".to_owned(),
        id: "1".to_owned(),
    };
    let path = AbsolutePath::parse("/data/x").unwrap();
    let mut target = Target::new(Group::parse("ThreePi").unwrap(), host("ipp022"), path);
    target.file_system = Some(file_system.clone());
    facts.targets.push(target);
    for days_ago in [30, 0] {
        let room = Room {
            total_bytes: 100 * GIB,
            free_bytes: free * GIB,
            used_percent,
            inodes: None,
            block_bytes: 4096,
        };
        let day = day_of(now()) - days_ago;
        let at = charts::moment(day).unwrap();
        facts.rooms.push(RoomSeen { host: host("ipp022"), file_system: file_system.clone(), at, room });
    }
    facts
}

#[test]
fn more_hosts_than_lines_are_drawn_as_one_line_of_all_others() {
    let mut facts = facts();
    for number in 1..=9 {
        let name = format!("ipp{number:03}");
        facts.tallies.push(tally(&name, "ThreePi", Kind::Full, number));
        facts.days.extend((0..200).map(|days_ago| full_day(&name, days_ago, number)));
    }
    let page = page(&facts).unwrap();
    assert!(page.contains("4 other hosts"), "{page}");
    assert!(page.contains("ipp009 <") || page.contains("ipp009<"));
    // The line begins with what came before the days that are shown.
    assert!(page.contains("1800"), "9 a day for 200 days");
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn a_disk_s_limit_is_drawn_with_the_day_on_which_it_is_reached() {
    let mut facts = with_disk(facts(), 23, 77);
    facts.tallies.push(tally("ipp022", "ThreePi", Kind::Full, 60));
    facts.days.push(full_day("ipp022", 30, 60));
    let page = page(&facts).unwrap();
    assert!(page.contains("77 % used, 23 GiB of 100 GiB free"), "{page}");
    // 20 GiB are left until 97 %, and 2 GiB come a day.
    assert!(page.contains("At the present rate it is reached on 2027-01-2"), "{page}");
    assert!(page.contains("(dotted)"));
    assert!(page.contains("var(--limit)"));
}

#[test]
fn a_disk_over_its_limit_has_reached_it_and_one_without_copies_is_not_known() {
    let mut full = with_disk(facts(), 1, 99);
    full.tallies.push(tally("ipp022", "ThreePi", Kind::New, 1));
    assert!(page(&full).unwrap().contains("It is reached"));
    let mut idle = with_disk(facts(), 90, 10);
    idle.tallies.push(tally("ipp031", "ThreePi", Kind::New, 1));
    assert!(page(&idle).unwrap().contains("When it is reached is not known: "));
}

#[test]
fn a_queue_that_does_not_fit_fills_a_disk_at_the_rate_that_status_has_too() {
    let mut facts = with_disk(facts(), 23, 77);
    facts.tallies.push(tally("ipp022", "ThreePi", Kind::New, 60));
    facts.days.push(full_day("ipp022", 20, 1_000));
    facts.days.push(Day { milliseconds: 86_400_000, ..full_day("ipp022", 1, 1) });
    let page = page(&facts).unwrap();
    // 20 GiB are left until 97 %, and since yesterday 1 GiB took a day.
    assert!(page.contains("At the present rate it is reached on 2027-02-04"), "{page}");
}

#[test]
fn what_shows_a_fault_of_its_host_goes_on_by_itself_in_the_numbers_and_in_the_grid() {
    let mut facts = facts();
    let (refused, missing) = (Fault::HostRefused.code(), Fault::SourceMissing.code());
    for (kind, fault_code) in
        [(Kind::Person, refused), (Kind::Person, missing), (Kind::RecopyPerson, refused)]
    {
        facts.tallies.push(Tally { fault_code, ..tally("ipp022", "ThreePi", kind, 1) });
    }
    let row = |id, fault| GridRow {
        group: Group::parse("ThreePi").unwrap(),
        id: MinidvodbId(id),
        name: format!("ThreePi.{id}"),
        copies: [(host("ipp022"), (Kind::Person, fault))].into(),
    };
    facts.grid = Grid::Each(vec![row(1, refused), row(2, missing)]);
    let page = page(&facts).unwrap();
    for wanted in [
        "<strong>1</strong>wait, and go on by themselves",
        "<strong>1</strong>wait for a person",
        "title=\"tried again by itself\">t 1</span>",
        "title=\"waits for a person\">P 1</span>",
        "title=\"full, to be sent again\">R 1</span>",
        "title=\"tried again by itself\">t 212</span>",
        "title=\"waits for a person\">P 201</span>",
    ] {
        assert!(page.contains(wanted), "no {wanted:?} in:\n{page}");
    }
}

#[test]
fn a_million_copies_in_a_thousand_groups_make_a_page_of_bounded_size() {
    let mut facts = facts();
    for group in 0..5_000 {
        facts.tallies.push(tally("ipp022", &format!("G{group}"), Kind::Full, 200));
    }
    let page = page(&facts).unwrap();
    assert!(page.contains("4000 groups left out"));
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn numbers_that_no_ledger_should_hold_make_a_page_too() {
    let mut facts = with_disk(facts(), u64::MAX / GIB, 255);
    facts.tallies.push(tally("ipp022", "ThreePi", Kind::Full, u64::MAX / 2));
    let day = |day, sent_bytes, milliseconds| Day {
        day,
        sent_bytes,
        milliseconds,
        ..full_day("ipp022", 0, u64::from(u32::MAX))
    };
    facts.days = vec![day(i32::MIN, u64::MAX, 0), day(0, 0, u64::MAX), day(i32::MAX, u64::MAX, 1)];
    facts.slowest.push(Slow {
        id: crate::model::CopyId(u64::MAX),
        name: "\u{202e}<b>".to_owned(),
        host: host("ipp022"),
        seconds: f32::MAX,
        bytes: Some(u64::MAX),
    });
    assert!(page(&facts).unwrap().contains("&lt;b&gt;"));
}
