//! How the ledger's copies of one minidvodb and its rows in the database become the same again.
//!
//! Three-way: what both sides held at the last sync tells which of them has changed. Invariant: pure; a row
//! that no copy can stand for is never written to; two copies never stand for one machine; nothing is taken
//! and nothing is written where both sides already agree.

use std::collections::HashSet;

use jiff::Timestamp;

use super::retry;
use crate::faults::{Class, Fault, Scope};
use crate::model::{
    AbsolutePath, Content, Copy, CopyId, CopyState, FaultState, Group, Host, Machine, MinidvodbId, Name,
    Recopy, Stray, TableRow, Taken, Verified, is_same_text,
};

/// A copy of the ledger, with its row as both sides held it at the last sync.
#[derive(Clone, Debug)]
pub struct Known {
    /// The copy.
    pub copy: Copy,
    /// Its row then; none where they have never met.
    pub synced: Option<TableRow>,
    /// Whether a pass is at it, or was killed at it: then it is not taken away.
    pub is_under_way: bool,
}

/// Which side prevails where both have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The copy here.
    Ledger,
    /// The row there.
    Database,
}

/// What is to be done about a copy or a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Take the row in as a new copy.
    Adopt(TableRow),
    /// Both are the same: note that.
    Remember(CopyId, TableRow),
    /// The copy becomes what the row is.
    Take(CopyId, TableRow),
    /// The row becomes what the copy is.
    Push(CopyId, TableRow),
    /// The copy gets a row.
    Insert(CopyId),
    /// Both have changed.
    Conflict(CopyId, TableRow, Winner),
    /// The row is gone.
    Bury(CopyId),
    /// The row is left as it is.
    Leave(Stray),
    /// Something is to be done once the attempt under way has ended.
    Wait(CopyId),
}

/// Where a row leads to, if it is legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The destination host.
    pub host: Host,
    /// Its machine.
    pub machine: Machine,
    /// The folder there.
    pub path: AbsolutePath,
}

/// Compares the copies of one minidvodb with its rows. `not_taken` says why the ledger does not have the
/// minidvodb itself, if so.
pub fn merge(
    mut rows: Vec<TableRow>,
    known: &[Known],
    not_taken: Option<&str>,
    machine_of: impl Fn(&Host) -> Machine,
) -> Vec<Step> {
    // The first of some that stand for the same: a full one, then the oldest.
    rows.sort_by_key(|row| (!is_same_text(&row.content.state, "full"), row.id));
    rows.iter_mut().for_each(tidy);
    let mut pairs = Vec::new();
    let mut alone: Vec<&Known> = Vec::new();
    for known in known {
        let at = known.synced.as_ref().and_then(|synced| rows.iter().position(|row| row.id == synced.id));
        match at {
            Some(at) => pairs.push((known, rows.remove(at))),
            None => alone.push(known),
        }
    }
    alone.retain(|known| {
        let at = rows.iter().position(|row| is_same_text(&row.content.host, known.copy.host.as_str()));
        at.inspect(|&at| pairs.push((known, rows.remove(at)))).is_none()
    });
    let mut steps = Vec::new();
    let mut taken: HashSet<Machine> = pairs.iter().map(|(known, _)| known.copy.machine.clone()).collect();
    let mut left = Vec::new();
    for (known, row) in pairs {
        // A row that somebody gave to another host may lead where another copy is.
        let moved_to = place(&row, None, &machine_of).ok().map(|place| place.machine);
        let moved_to = moved_to.filter(|machine| *machine != known.copy.machine);
        let is_alone = |machine: &Machine| alone.iter().any(|known| known.copy.machine == *machine);
        match moved_to {
            Some(machine) if taken.contains(&machine) || is_alone(&machine) => {
                let why = format!(
                    "it names machine {machine}, where another copy of minidvodb {} is",
                    row.minidvodb_id
                );
                left.push((row, why));
                continue;
            }
            Some(machine) => taken.insert(machine),
            None => false,
        };
        steps.extend(settle(known, row, &machine_of));
    }
    for row in rows {
        match place(&row, not_taken, &machine_of) {
            Err(why) => left.push((row, why)),
            Ok(place) if taken.contains(&place.machine) => {
                let why = format!(
                    "another row or copy of minidvodb {} is on machine {}",
                    row.minidvodb_id, place.machine
                );
                left.push((row, why));
            }
            Ok(place) => {
                taken.insert(place.machine.clone());
                match alone.iter().position(|known| known.copy.machine == place.machine) {
                    // The same machine under another name.
                    Some(at) if is_untouched(alone[at]) => {
                        steps.push(Step::Take(alone.remove(at).copy.id, row));
                    }

                    Some(at) => {
                        let why = format!(
                            "copy {} stands for machine {} under the name {}",
                            alone[at].copy.id, place.machine, alone[at].copy.host
                        );
                        left.push((row, why));
                    }
                    None => steps.push(Step::Adopt(row)),
                }
            }
        }
    }
    for known in alone {
        match &known.synced {
            None => steps.push(Step::Insert(known.copy.id)),
            Some(_) if known.is_under_way => steps.push(Step::Wait(known.copy.id)),
            // What was verified here since then stands, whoever took its row away meanwhile.
            Some(synced) if is_verified(&known.copy) && synced.content.state != "full" => {
                steps.push(Step::Insert(known.copy.id));
            }
            Some(_) => steps.push(Step::Bury(known.copy.id)),
        }
    }
    steps.extend(left.into_iter().map(|(row, why)| Step::Leave(Stray::of(&row, why))));
    steps
}

/// Spellings that the database takes for the same become one.
fn tidy(row: &mut TableRow) {
    let content = &mut row.content;
    if content.host.ends_with(' ') {
        content.host = content.host.trim_end_matches(' ').into();
    }
    for word in ["new", "full"] {
        if is_same_text(&content.state, word) {
            content.state = word.into();
        }
    }
}

/// Where a row leads to.
///
/// # Errors
/// Why no copy can stand for it.
pub fn place(
    row: &TableRow,
    not_taken: Option<&str>,
    machine_of: impl Fn(&Host) -> Machine,
) -> Result<Place, String> {
    if let Some(why) = not_taken {
        return Err(why.to_owned());
    }
    if !matches!(row.content.state.as_str(), "new" | "full") {
        return Err(format!("its state '{}' is neither new nor full", row.content.state.escape_debug()));
    }
    let path = AbsolutePath::parse(&row.content.path).map_err(|refused| refused.to_string())?;
    let host = Host::parse(&row.content.host).map_err(|refused| refused.to_string())?;
    Ok(Place { machine: machine_of(&host), host, path })
}

/// Whether nobody has done anything with a copy but put it into the queue, here only.
fn is_untouched(known: &Known) -> bool {
    known.synced.is_none()
        && known.copy.last_attempt == 0
        && known.copy.is_new()
        && known.copy.fault().is_none()
}

/// A copy and its row.
fn settle(known: &Known, mut row: TableRow, machine_of: impl Fn(&Host) -> Machine) -> Option<Step> {
    let copy = &known.copy;
    if is_same_text(&row.content.host, copy.host.as_str()) {
        row.content.host = copy.host.as_str().into();
    }
    let here = Content::of(copy);
    let synced = known.synced.as_ref();
    if row.content == here {
        return (synced != Some(&row)).then_some(Step::Remember(copy.id, row));
    }
    let base = synced.map(|synced| &synced.content);
    let changed_here = base.map_or(!is_untouched(known), |base| *base != here);
    let changed_there = base != Some(&row.content);
    if !changed_there {
        return Some(Step::Push(copy.id, row));
    }
    // From here on the row may have to be taken: it must be one that a copy can be.
    if let Err(why) = place(&row, None, machine_of) {
        return Some(Step::Leave(Stray::of(&row, why)));
    }
    let winner = changed_here.then(|| winner(copy, &row.content));
    match winner {
        // Its end would be written over what was taken, and nobody would know.
        None | Some(Winner::Database) if known.is_under_way => Some(Step::Wait(copy.id)),
        None => Some(Step::Take(copy.id, row)),
        Some(winner) => Some(Step::Conflict(copy.id, row, winner)),
    }
}

/// Whether this ledger has verified a full copy itself.
fn is_verified(copy: &Copy) -> bool {
    matches!(copy.state, CopyState::Full { verified: Verified::Checksum | Verified::Quick, .. })
}

/// Both have changed: a copy that was verified here beats one still to be made; else the later one.
fn winner(copy: &Copy, there: &Content) -> Winner {
    let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
    // NULL is before every time; a tie is the ledger's.
    if is_verified(copy) && there.state == "new" || second(copy.epoch) >= second(there.epoch) {
        Winner::Ledger
    } else {
        Winner::Database
    }
}

/// The copy as its row has it.
///
/// # Errors
/// Why no copy can be like that.
pub fn take(
    copy: &Copy,
    row: &TableRow,
    machine_of: impl Fn(&Host) -> Machine,
    now: Timestamp,
) -> Result<Copy, String> {
    let Place { host, machine, path } = place(row, None, machine_of)?;
    let content = &row.content;
    let is_elsewhere = (&host, &path) != (&copy.host, &copy.path);
    let fault = fault_of(copy.id, copy.fault(), content, now);
    let mut after =
        Copy { host, machine, path, epoch: content.epoch, dtime_s: content.dtime_s, ..copy.clone() };
    if fault.is_none() {
        after.forget_tries();
    }
    if is_elsewhere {
        after.to_send_bytes = None;
    }
    after.state = match (&copy.state, content.state.as_str()) {
        (CopyState::Full { verified, published, fault: known, recopy, audit }, "full") if !is_elsewhere => {
            let (fault, recopy) = share_fault(fault, known.as_ref(), recopy.clone());
            let (verified, published, audit) = (*verified, *published, audit.clone());
            CopyState::Full { verified, published, fault, recopy, audit }
        }
        (_, "full") => {
            CopyState::Full { verified: Verified::Adopted, published: None, fault, recopy: None, audit: None }
        }
        (CopyState::New { publishing, taken, .. }, _) if !is_elsewhere => {
            CopyState::New { fault, publishing: *publishing, taken: *taken }
        }
        _ => CopyState::New { fault, publishing: None, taken: Taken::Refuse },
    };
    Ok(after)
}

/// The copy that a row becomes which no copy is known of, and which leads to this place.
pub fn adopt(
    id: CopyId,
    (minidvodb, group, name): (MinidvodbId, &Group, &Name),
    place: &Place,
    content: &Content,
    now: Timestamp,
) -> Copy {
    let Place { host, machine, path } = place.clone();
    let fault = fault_of(id, None, content, now);
    let state = match content.state.as_str() {
        "full" => {
            CopyState::Full { verified: Verified::Adopted, published: None, fault, recopy: None, audit: None }
        }
        _ => CopyState::New { fault, publishing: None, taken: Taken::Refuse },
    };
    let queued = Copy::queued(id, minidvodb, group.clone(), host, machine, path, name.clone(), now);
    Copy { state, epoch: content.epoch, dtime_s: content.dtime_s, ..queued }
}

/// A row has one fault; of a full copy that is to be sent again it may be that sending's.
fn share_fault(
    fault: Option<FaultState>,
    known: Option<&FaultState>,
    recopy: Option<Recopy>,
) -> (Option<FaultState>, Option<Recopy>) {
    match recopy {
        Some(recopy) if recopy.fault.is_some() && recopy.fault == fault => (known.cloned(), Some(recopy)),
        recopy => (fault, recopy.map(|recopy| Recopy { fault: None, ..recopy })),
    }
}

/// The fault that a row shows, with what is known of it here where it is the same.
fn fault_of(
    copy: CopyId,
    known: Option<&FaultState>,
    content: &Content,
    now: Timestamp,
) -> Option<FaultState> {
    let fault = Fault::from_code(content.fault)?;
    if let Some(known) = known.filter(|known| known.fault == fault) {
        return Some(known.clone());
    }
    let class = if content.state == "full" { Class::Person } else { fault.class() };
    let next_try =
        (class == Class::Retry && fault.scope() == Scope::Copy).then(|| retry::next_try(now, 1, copy.0));
    Some(FaultState { fault, class, next_try })
}

/// The guard against a database that lost its rows, or is another one: so many rows gone at once are not
/// believed.
pub fn is_mass_deletion(gone: u64, synced: u64) -> bool {
    gone > 10 && gone.saturating_mul(100) > synced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine_of(host: &Host) -> Machine {
        match host.as_str() {
            "ipp0222" => Machine::parse("ipp022").unwrap(),
            _ => host.default_machine(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn copy(host: &str) -> Copy {
        let host = Host::parse(host).unwrap();
        let path = AbsolutePath::parse("/data/ThreePi.7").unwrap();
        Copy::queued(
            CopyId(1),
            MinidvodbId(7),
            Group::parse("ThreePi").unwrap(),
            host.clone(),
            machine_of(&host),
            AbsolutePath::parse("/there").unwrap(),
            path.name().unwrap(),
            at(100),
        )
    }

    fn full(mut copy: Copy, verified: Verified, second: i64) -> Copy {
        copy.state = CopyState::full(verified, None);
        copy.last_attempt = 1;
        copy.dtime_s = Some(1.5);
        copy.epoch = Some(at(second));
        copy
    }

    fn row(id: u64, host: &str, state: &str, second: Option<i64>) -> TableRow {
        let content = Content {
            path: "/there".to_owned(),
            host: host.into(),
            fault: 0,
            state: state.into(),
            epoch: second.map(at),
            dtime_s: Some(0.0),
        };
        TableRow { id, minidvodb_id: MinidvodbId(7), content }
    }

    fn known(copy: Copy, synced: Option<TableRow>) -> Known {
        Known { copy, synced, is_under_way: false }
    }

    fn steps(rows: &[TableRow], known: &[Known]) -> Vec<Step> {
        merge(rows.to_vec(), known, None, machine_of)
    }

    #[test]
    fn what_is_the_same_on_both_sides_needs_nothing() {
        let synced = row(5, "ipp022", "new", Some(100));
        assert_eq!(steps(std::slice::from_ref(&synced), &[known(copy("ipp022"), Some(synced.clone()))]), []);
        let first = steps(std::slice::from_ref(&synced), &[known(copy("ipp022"), None)]);
        assert_eq!(first, [Step::Remember(CopyId(1), synced)]);
    }

    #[test]
    fn a_change_on_one_side_wins() {
        let synced = row(5, "ipp022", "new", Some(100));
        let done = full(copy("ipp022"), Verified::Checksum, 200);
        let here = steps(std::slice::from_ref(&synced), &[known(done, Some(synced.clone()))]);
        assert_eq!(here, [Step::Push(CopyId(1), synced.clone())]);
        let changed = row(5, "ipp022", "full", Some(50));
        let there = steps(std::slice::from_ref(&changed), &[known(copy("ipp022"), Some(synced))]);
        assert_eq!(there, [Step::Take(CopyId(1), changed)]);
    }

    #[test]
    fn of_two_changes_the_verified_one_wins_then_the_later_one_then_the_ledger() {
        let synced = row(5, "ipp022", "new", Some(100));
        let conflict = |here: Copy, there: &TableRow| match &steps(
            std::slice::from_ref(there),
            &[known(here, Some(synced.clone()))],
        )[..]
        {
            [Step::Conflict(_, _, winner)] => *winner,
            other => panic!("{other:?}"),
        };
        let faulted = |second| {
            let mut there = row(5, "ipp022", "new", second);
            there.content.fault = 4;
            there
        };
        assert_eq!(
            conflict(full(copy("ipp022"), Verified::Checksum, 200), &faulted(Some(900))),
            Winner::Ledger
        );
        assert_eq!(
            conflict(full(copy("ipp022"), Verified::ByHand, 200), &faulted(Some(900))),
            Winner::Database
        );
        assert_eq!(
            conflict(full(copy("ipp022"), Verified::ByHand, 200), &faulted(Some(200))),
            Winner::Ledger
        );
        assert_eq!(
            conflict(full(copy("ipp022"), Verified::ByHand, 200), &faulted(Some(199))),
            Winner::Ledger
        );
        assert_eq!(conflict(full(copy("ipp022"), Verified::ByHand, 200), &faulted(None)), Winner::Ledger);
        let mut unknown = full(copy("ipp022"), Verified::ByHand, 0);
        unknown.epoch = None;
        assert_eq!(conflict(unknown, &faulted(Some(1))), Winner::Database);
    }

    #[test]
    fn a_copy_that_is_adopted_is_what_one_that_was_just_queued_would_become() {
        for (state, fault) in [("new", 0), ("full", 0), ("new", 12), ("full", 252)] {
            let mut row = row(3, "ipp0222", state, Some(300));
            row.content.fault = fault;
            let queued = copy("ipp0222");
            let of = (queued.minidvodb_id, &queued.group, &queued.name);
            let place = place(&row, None, machine_of).unwrap();
            let adopted = adopt(queued.id, of, &place, &row.content, at(400));
            assert_eq!(Ok(adopted), take(&queued, &row, machine_of, at(400)), "{state} {fault}");
        }
    }

    #[test]
    fn rows_of_hosts_without_a_copy_are_adopted_once_for_each_machine() {
        let rows =
            [row(3, "ipp022", "new", None), row(4, "ipp0222", "full", None), row(5, "ipp031", "new", None)];
        let steps = steps(&rows, &[]);
        assert_eq!(steps[..2], [Step::Adopt(rows[1].clone()), Step::Adopt(rows[2].clone())]);
        assert!(matches!(&steps[2..], [Step::Leave(stray)] if stray.row_id == 3), "{steps:?}");
    }

    #[test]
    fn a_copy_that_was_only_queued_gives_way_to_a_row_of_its_machine() {
        let there = row(4, "ipp0222", "full", Some(1));
        let taken = steps(std::slice::from_ref(&there), &[known(copy("ipp022"), None)]);
        assert_eq!(taken, [Step::Take(CopyId(1), there.clone())]);
        let mut begun = copy("ipp022");
        begun.last_attempt = 1;
        let kept = steps(std::slice::from_ref(&there), &[known(begun, None)]);
        assert!(matches!(&kept[..], [Step::Insert(_), Step::Leave(_)]), "{kept:?}");
    }

    #[test]
    fn a_row_that_is_gone_takes_its_copy_with_it_unless_a_pass_is_at_it() {
        let synced = row(5, "ipp022", "new", Some(100));
        let mut gone = known(copy("ipp022"), Some(synced));
        assert_eq!(steps(&[], std::slice::from_ref(&gone)), [Step::Bury(CopyId(1))]);
        gone.copy = full(copy("ipp022"), Verified::Checksum, 200);
        assert_eq!(steps(&[], std::slice::from_ref(&gone)), [Step::Insert(CopyId(1))]);
        gone.is_under_way = true;
        assert_eq!(steps(&[], &[gone]), [Step::Wait(CopyId(1))]);
        assert_eq!(steps(&[], &[known(copy("ipp022"), None)]), [Step::Insert(CopyId(1))]);
    }

    #[test]
    fn what_changes_there_during_an_attempt_waits_for_its_end() {
        let synced = row(5, "ipp022", "new", Some(100));
        let mut here = known(copy("ipp022"), Some(synced));
        here.is_under_way = true;
        let there = row(5, "ipp022", "full", Some(900));
        assert_eq!(steps(&[there], &[here]), [Step::Wait(CopyId(1))]);
    }

    #[test]
    fn a_row_moved_to_where_another_row_is_is_left_there() {
        let synced = row(1, "ipp022", "new", Some(100));
        let rows = [row(1, "ipp031", "new", Some(100)), row(3, "ipp031", "new", Some(100))];
        let steps = steps(&rows, &[known(copy("ipp022"), Some(synced))]);
        assert!(
            matches!(&steps[..], [Step::Take(_, taken), Step::Leave(left)] if taken.id == 1 && left.row_id == 3),
            "{steps:?}"
        );
    }

    #[test]
    fn spellings_that_the_database_takes_for_the_same_are_the_same() {
        let there = row(5, "IPP022 ", "Full ", Some(1));
        let steps = steps(&[there], &[known(copy("ipp022"), None)]);
        assert!(
            matches!(&steps[..], [Step::Take(_, row)] if row.content.host == "ipp022" && row.content.state == "full"),
            "{steps:?}"
        );
    }

    #[test]
    fn what_no_copy_can_be_is_left_there() {
        for (host, state, path) in [("a/b", "new", "/x"), ("ipp022", "drop", "/x"), ("ipp022", "new", "x")] {
            let mut there = row(5, host, state, None);
            path.clone_into(&mut there.content.path);
            assert!(matches!(&steps(&[there], &[])[..], [Step::Leave(_)]), "{host} {state} {path}");
        }
        assert!(matches!(
            &merge(vec![row(5, "ipp022", "new", None)], &[], Some("its path is bad"), machine_of)[..],
            [Step::Leave(_)]
        ));
    }

    #[test]
    fn a_taken_row_makes_the_copy_what_the_row_is() {
        let mut there = row(5, "ipp022", "new", Some(7));
        there.content.fault = 23;
        let taken = take(&copy("ipp022"), &there, machine_of, at(0)).unwrap();
        assert_eq!(Content::of(&taken), there.content);
        assert_eq!(taken.fault().unwrap().class, Class::Person);
        let there = row(5, "ipp031", "full", None);
        let taken = take(&taken, &there, machine_of, at(0)).unwrap();
        assert_eq!(Content::of(&taken), there.content);
        assert_eq!(taken.machine.as_str(), "ipp031");
        assert!(matches!(taken.state, CopyState::Full { verified: Verified::Adopted, .. }));
    }

    #[test]
    fn more_than_ten_and_more_than_one_in_a_hundred_is_a_mass() {
        assert!(!is_mass_deletion(10, 10));
        assert!(is_mass_deletion(11, 11));
        assert!(is_mass_deletion(11, 1099));
        assert!(!is_mass_deletion(11, 1100));
    }
}
