//! A thousand flipped bits and a hundred truncations: each is refused by name, the file left as it was, or
//! changes nothing of what is read.

use std::fs;

use jiff::Timestamp;

use super::look::Look as _;
use super::tests::{Desk, copy, desk, group, host, make_old, minidvodb};
use super::{Failure, Ledger, Snapshot};
use crate::error::Exit;
use crate::model::{AbsolutePath, Attempt, Copy, CopyId, LogEntry, MinidvodbId, Outcome, Phase, Target};

/// Numbers that look random and are the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A ledger with something in every table that a pass writes.
fn full_desk() -> Desk {
    let desk = desk();
    for chunk in 0..4 {
        desk.ledger.write(|change| (1..=25).try_for_each(|id| fill(change, chunk * 25 + id))).unwrap();
    }
    desk
}

fn fill(change: &mut super::Change<'_>, id: u64) -> Result<(), Failure> {
    let one = minidvodb(id, &format!("/data/ThreePi.{id}"));
    change.import_minidvodb(&one)?;
    change.put_target(&Target::new(group(), host("ipp022"), AbsolutePath::parse("/there").unwrap()))?;
    let mut the_copy: Copy = copy(id, &one, "ipp022", "ipp022");
    the_copy.last_attempt = 1;
    change.put_copy(&the_copy)?.unwrap();
    change.claim_final_path(&the_copy)?;
    let outcome = if id.is_multiple_of(3) { Outcome::Open } else { Outcome::Interrupted };
    let attempt = Attempt {
        copy_id: CopyId(id),
        number: 1,
        began: Timestamp::UNIX_EPOCH,
        ended: (outcome != Outcome::Open).then_some(Timestamp::UNIX_EPOCH),
        phase: Phase::Sending,
        outcome,
        sent_bytes: id * 1000,
        files: id,
        seconds: 1.5,
        said: format!("what rsync said of {id}"),
    };
    change.put_attempt(&the_copy, &attempt)?;
    change.add_log(&LogEntry::of_program(Timestamp::UNIX_EPOCH, None, format!("entry {id}")))
}

/// Everything that a command could show.
fn all_of(ledger: &Snapshot) -> Result<Vec<String>, Failure> {
    let mut all = vec![
        format!("{:?} {:?} {:?}", ledger.stages()?, ledger.targets()?, ledger.hosts()?),
        format!("{:?} {:?} {:?}", ledger.log(usize::MAX)?, ledger.source_roots()?, ledger.ledger_id()?),
        format!("{:?}", ledger.count_pending(&host("ipp022"), &group())?),
        format!("{:?}", ledger.minidvodbs_ahead()?),
    ];
    ledger.each_minidvodb(|minidvodb| {
        all.push(format!("{minidvodb:?} {:?}", ledger.copies_of(MinidvodbId(minidvodb.id.0))?));
        Ok(true)
    })?;
    let mut copies = Vec::new();
    ledger.each_copy(|copy| {
        copies.push(copy);
        Ok(true)
    })?;
    for copy in copies {
        all.push(format!("{copy:?} {:?}", ledger.attempt(copy.id, 1)?));
    }
    ledger.pending_until(&host("ipp022"), &group(), CopyId(0), |copy| {
        all.push(copy.id.to_string());
        Ok(true)
    })?;
    Ok(all)
}

/// Reads a damaged ledger in every way; says what is wrong with how it is answered.
fn complaint(desk: &Desk, damaged: &[u8], good: &[String]) -> Option<String> {
    fs::write(&desk.file, damaged).unwrap();
    // As another process would: nothing is remembered of the file.
    let ledger = Ledger::new(desk.file.parent().unwrap());
    let read = ledger.read(all_of).and_then(|all| ledger.check().map(|_| all));
    match read {
        Ok(all) if all == good => None,
        Ok(_) => Some("a wrong row".to_owned()),
        Err(error) if error.exit != Exit::Configuration => Some(format!("exit {:?}: {error}", error.exit)),
        Err(error) if !error.to_string().contains(desk.file.as_str()) => Some(format!("not named: {error}")),
        Err(_) if fs::read(&desk.file).unwrap() != damaged => Some("refused, and changed".to_owned()),
        Err(_) => None,
    }
}

/// Damages copies of a ledger, on two threads, as `damage` says; each must be answered as it should be.
#[track_caller]
fn check_all_of(make: fn() -> Desk, damages: u64, damage: fn(&mut Vec<u8>, &mut Dice) -> String) {
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            let desk = make();
            let bytes = fs::read(&desk.file).unwrap();
            let good = Ledger::new(desk.file.parent().unwrap()).read(all_of).unwrap();
            let mut complaints = Vec::new();
            for number in (half..damages).step_by(2) {
                let (mut damaged, mut dice) = (bytes.clone(), Dice(4711 + number * 7919));
                (0..9).for_each(|_| {
                    dice.below(2);
                });
                let what = damage(&mut damaged, &mut dice);
                complaints.extend(complaint(&desk, &damaged, &good).map(|text| format!("{what}: {text}")));
            }
            complaints
        })
    });
    let complaints: Vec<String> = halves.into_iter().flat_map(|half| half.join().unwrap()).collect();
    assert!(complaints.is_empty(), "{} of {damages}:\n{}", complaints.len(), complaints.join("\n"));
}

/// A bit where something is written.
#[expect(clippy::ptr_arg, reason = "as the others that damage")]
fn flip(bytes: &mut Vec<u8>, dice: &mut Dice) -> String {
    loop {
        let (place, bit) = (dice.below(bytes.len()), dice.below(8));
        if bytes[place] != 0 {
            bytes[place] ^= 1 << bit;
            return format!("bit {bit} of byte {place}");
        }
    }
}

fn cut(bytes: &mut Vec<u8>, dice: &mut Dice) -> String {
    // Half of them at the end of a page, where a file system would cut.
    let at = dice.below(bytes.len());
    let at = if dice.below(2) == 0 { at } else { at / 4096 * 4096 };
    bytes.truncate(at);
    format!("cut to {at} bytes")
}

#[test]
fn each_of_a_thousand_flipped_bits_is_refused_by_name_or_changes_nothing() {
    check_all_of(full_desk, 1000, flip);
}

#[test]
fn each_of_a_hundred_truncations_is_refused_by_name() {
    check_all_of(full_desk, 100, cut);
}

#[test]
fn a_damaged_ledger_of_an_older_schema_is_refused_before_it_is_brought_up_to_date() {
    let make = || {
        let desk = full_desk();
        make_old(&desk);
        desk
    };
    check_all_of(make, 300, flip);
}
