//! Power loss: the ledger on a disk that forgets, or tears, what was not flushed.
//!
//! A pass's transactions run on a recorded disk. For every moment of the record, images are made of what a disk
//! may hold after the power went: everything that was flushed, and of the rest any part. Each image must open,
//! pass the full check, and hold what one of the two commits around that moment had made of the ledger; of a series
//! of transactions only the last one counts.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use redb::{Builder, Durability, StorageBackend};

use super::change::Change;
use super::look::Look as _;
use super::tests::{copy, desk, minidvodb};
use super::{Failure, open};
use crate::model::{Attempt, Copy, CopyId, CopyState, Outcome, Phase, Publishing, Target, Verified};

/// A disk writes so many bytes at once, or not at all.
const SECTOR_BYTES: usize = 512;
/// So many images are made of each moment.
const IMAGES: u64 = 5;

/// Something that was done to the disk.
#[derive(Clone, Debug)]
enum Event {
    Write(usize, Vec<u8>),
    Resize(usize),
    Flush,
    /// A transaction is over.
    Committed,
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, Vec<Event>)>>);

impl Disk {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>, &mut Vec<Event>) -> T) -> T {
        let mut disk = self.0.lock().unwrap();
        let (bytes, events) = &mut *disk;
        work(bytes, events)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.with(|bytes, _| bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let from = usize::try_from(offset).unwrap();
        self.with(|bytes, _| out.copy_from_slice(&bytes[from..from + out.len()]));
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        let len = usize::try_from(len).unwrap();
        self.with(|bytes, events| {
            bytes.resize(len, 0);
            events.push(Event::Resize(len));
        });
        Ok(())
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.with(|_, events| events.push(Event::Flush));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        let from = usize::try_from(offset).unwrap();
        self.with(|bytes, events| {
            bytes[from..from + data.len()].copy_from_slice(data);
            events.push(Event::Write(from, data.to_vec()));
        });
        Ok(())
    }
}

/// A transaction of a pass.
type Step = Box<dyn FnOnce(&mut Change<'_>) -> Result<(), Failure>>;

fn step(work: impl FnOnce(&mut Change<'_>) -> Result<(), Failure> + 'static) -> Step {
    Box::new(work)
}

fn attempt(copy: &Copy, phase: Phase, outcome: Outcome) -> Attempt {
    Attempt {
        copy_id: copy.id,
        number: 1,
        began: Timestamp::UNIX_EPOCH,
        ended: None,
        phase,
        outcome,
        sent_bytes: 0,
        files: 3,
        seconds: 1.0,
        said: "x".repeat(2000),
    }
}

/// What a pass over three minidvodbs writes, from the import to the last copy being full.
fn a_pass() -> Vec<Step> {
    let host = super::tests::host("ipp022");
    let target =
        Target::new(super::tests::group(), host, crate::model::AbsolutePath::parse("/there").unwrap());
    let copies: Vec<Copy> = (1..=3)
        .map(|id| copy(id, &minidvodb(id, &format!("/data/ThreePi.{id}")), "ipp022", "ipp022"))
        .collect();
    let mut steps = vec![
        step(|change| {
            (1..=30).try_for_each(|id| {
                change.import_minidvodb(&minidvodb(id, &format!("/data/ThreePi.{id}"))).map(drop)
            })
        }),
        step(move |change| change.put_target(&target)),
    ];
    let queued = copies.clone();
    steps.push(step(move |change| queued.iter().try_for_each(|copy| change.put_known_copy(copy))));
    for mut copy in copies {
        copy.attempts = 1;
        copy.last_attempt = 1;
        let begun = copy.clone();
        steps.push(step(move |change| {
            change.put_known_copy(&begun)?;
            change.put_attempt(&begun, &attempt(&begun, Phase::Connecting, Outcome::Open))
        }));
        let folder = Publishing { device: 1, inode: copy.id.0, verified: Verified::Checksum, dtime_s: 1.5 };
        copy.set_publishing(Some(folder));
        let publishing = copy.clone();
        steps.push(step(move |change| {
            change.put_known_copy(&publishing)?;
            change.put_attempt(&publishing, &attempt(&publishing, Phase::Publishing, Outcome::Open))
        }));
        copy.state = CopyState::full(Verified::Checksum, Some(folder));
        steps.push(step(move |change| {
            change.put_attempt(&copy, &attempt(&copy, Phase::Recording, Outcome::Full))?;
            change.put_known_copy(&copy)
        }));
    }
    steps
}

/// What a ledger holds, in as much as tells one commit from another.
fn told(ledger: &super::Ledger) -> Result<String, crate::error::Error> {
    ledger.check()?;
    ledger.read(|ledger| {
        let copies: Vec<_> = (1..=3).map(|id| ledger.copy(CopyId(id))).collect::<Result<_, _>>()?;
        let attempts: Vec<_> = (1..=3).map(|id| ledger.attempts(CopyId(id))).collect::<Result<_, _>>()?;
        Ok(format!("{} {:?} {copies:?} {attempts:?}", ledger.count_minidvodbs()?, ledger.targets()?.len()))
    })
}

/// An image of a disk after the power went at `moment`: what was flushed, and any part of the rest.
fn image(start: &[u8], events: &[Event], moment: usize, number: u64) -> Vec<u8> {
    let flushed =
        events[..moment].iter().rposition(|event| matches!(event, Event::Flush)).map_or(0, |at| at + 1);
    let mut bytes = start.to_vec();
    let mut seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ moment as u64;
    let mut dice = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    for (at, event) in events[..moment].iter().enumerate() {
        let is_flushed = at < flushed;
        match event {
            Event::Resize(len) if is_flushed || number != 1 || *len > bytes.len() => bytes.resize(*len, 0),
            Event::Write(from, data) => {
                // 0: all of it arrived; 1: nothing did; else each sector may or may not.
                for (part, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                    let arrives = is_flushed || number == 0 || (number > 1 && dice(2) == 0);
                    let from = from + part * SECTOR_BYTES;
                    if arrives {
                        bytes.resize(bytes.len().max(from + sector.len()), 0);
                        bytes[from..from + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn power_that_goes_at_any_moment_of_a_pass_leaves_one_commit_or_the_next() {
    lose_power(1, Durability::Immediate, 300);
}

#[test]
fn power_that_goes_at_any_moment_of_a_series_leaves_its_beginning_or_its_end() {
    lose_power(4, Durability::None, 100);
}

/// Loses it at every moment of a pass whose transactions find the file open, so many behind each other.
fn lose_power(at_once: usize, durability: Durability, images_min: u64) {
    let desk = desk();
    desk.ledger
        .write(|change| {
            change.put_target(&Target::new(
                super::tests::group(),
                super::tests::host("ipp031"),
                crate::model::AbsolutePath::parse("/there").unwrap(),
            ))
        })
        .unwrap();
    let start = std::fs::read(&desk.file).unwrap();
    let disk = Disk::default();
    disk.with(|bytes, _| bytes.clone_from(&start));
    let mut states = vec![told(&desk.ledger).unwrap()];
    let mut steps = a_pass().into_iter().peekable();
    while steps.peek().is_some() {
        // Opened and closed for each transaction, or for each series, as the program does.
        let db = Builder::new().create_with_backend(disk.clone()).unwrap();
        for step in steps.by_ref().take(at_once) {
            open::transaction(&db, durability, step).unwrap();
        }
        db.close().unwrap();
        disk.with(|_, events| events.push(Event::Committed));
        std::fs::write(&desk.file, disk.with(|bytes, _| bytes.clone())).unwrap();
        states.push(told(&desk.ledger).unwrap());
    }
    let events = disk.with(|_, events| events.clone());
    let (mut images, mut commit) = (0, 0);
    for moment in 0..=events.len() {
        if moment > 0 && matches!(events[moment - 1], Event::Committed) {
            commit += 1;
        }
        if !events
            .get(moment)
            .is_none_or(|next| matches!(next, Event::Flush | Event::Committed | Event::Resize(_)))
            && moment % 7 != 0
        {
            continue;
        }
        for number in 0..IMAGES {
            std::fs::write(&desk.file, image(&start, &events, moment, number)).unwrap();
            let ledger = super::Ledger::new(desk.file.parent().unwrap());
            let found =
                told(&ledger).unwrap_or_else(|error| panic!("moment {moment}, image {number}: {error}"));
            let is_known = found == states[commit] || states.get(commit + 1) == Some(&found);
            assert!(
                is_known,
                "moment {moment}, image {number} is neither commit {commit} nor the next: {found}"
            );
            images += 1;
        }
    }
    assert!(images > images_min, "{images} images of {} events", events.len());
}
