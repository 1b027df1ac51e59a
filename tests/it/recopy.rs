//! Full copies that are sent again: the new folder takes the place of the old one, whole for whole, whatever
//! happens at whatever moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::{self, Shape};
use xtask::processes::{self, Signal};

use super::ipp::Site;
use super::mounts::{Mount, is_root};
use super::slow::{self, Gate, Hold, write_program};
use super::world::{Ran, World, eventually, finish, names_in};

const HOST: &str = "ipp0222";
/// A host as `list` and `target` name it, without ssh.
const HERE: &str = "localhost";
/// The system call of renameat2 on x86-64, where perl is to make it.
const EXCHANGE: &str =
    "syscall(316, -100, $ARGV[-2], -100, $ARGV[-1], 2) == 0 or die \"mv: cannot exchange: $!\\n\"";

/// What somebody does to what is there.
type Deed = fn(&Updated);

/// What the destination's mv does when it is asked for an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It does not know of any: coreutils before 9.5.
    Renames,
    /// It exchanges.
    Exchange,
    /// It would, but the file system can't.
    Fails,
    /// It exchanges, and is killed before it can say so.
    Lies,
}

impl Way {
    const ALL: [Self; 4] = [Self::Renames, Self::Exchange, Self::Fails, Self::Lies];

    /// Makes a mv of this kind, which writes down what it is asked in `order.log`; says the folder it is in.
    fn mv(self, world: &World) -> Utf8PathBuf {
        let bin = world.root.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let (log, real) = (world.root.join("order.log"), slow::real("mv"));
        let exchange = match self {
            Self::Renames => "echo 'mv: unrecognized option' >&2; exit 1".to_owned(),
            Self::Exchange => format!("exec perl -e '{EXCHANGE}' -- \"$@\""),
            Self::Fails => "echo 'mv: cannot exchange: Invalid argument' >&2; exit 1".to_owned(),
            Self::Lies => format!("perl -e '{EXCHANGE}' -- \"$@\"; exit 137"),
        };
        let help = if self == Self::Renames { ":" } else { "echo '      --exchange'" };
        write_program(
            &bin.join("mv"),
            &format!(
                "#!/bin/sh\ncase \" $* \" in\n*' --help '*) {help}; exit 0;;\nesac\necho \"mv $*\" >>{log}\ncase \" $* \" in\n*' --exchange '*) {exchange};;\nesac\nexec {real} \"$@\"\n"
            ),
        );
        bin
    }
}

/// A full copy whose source was updated since.
struct Updated {
    world: World,
    host: &'static str,
    way: Way,
    /// The copy's id, and the minidvodb's.
    id: u64,
}

impl Updated {
    /// The copy of the only minidvodb.
    #[track_caller]
    fn new(host: &'static str, way: Way) -> Self {
        let world = if host == HERE { World::new() } else { World::with_sshd() };
        world.prepare(host, 1);
        world.ok(&["run"]).is_silent();
        let mut updated = Self { world, host, way, id: 1 };
        way.mv(&updated.world);
        updated.use_usual_tools();
        updated.update();
        updated
    }

    /// The second of two; the first one is still to be made, and comes before it in the queue.
    #[track_caller]
    fn behind_another(host: &'static str, way: Way) -> Self {
        let mut updated = Self::new(host, way);
        let second = updated.world.make("ThreePi.2", Shape::tiny());
        updated.world.import(&[(2, "ThreePi", &second)]);
        updated.world.ok(&["run"]).is_silent();
        updated.id = 2;
        updated.update();
        // What was copied first is asked for once more.
        fs::remove_dir_all(updated.world.there().join("ThreePi.1")).unwrap();
        updated.world.ok(&["update", "--id", "1", "--set-state", "new"]);
        updated
    }

    fn name(&self) -> String {
        format!("ThreePi.{}", self.id)
    }

    fn source(&self) -> Utf8PathBuf {
        self.world.source(&self.name())
    }

    fn there(&self) -> Utf8PathBuf {
        self.world.there().join(self.name())
    }

    /// What is there now, kept to be compared with later.
    fn old(&self) -> Utf8PathBuf {
        self.world.root.join("old")
    }

    /// Keeps the folder that is there as the old one, and updates the source.
    #[track_caller]
    fn update(&mut self) {
        let _ = fs::remove_dir_all(self.old());
        let status = Command::new("cp").arg("-a").arg(self.there()).arg(self.old()).status().unwrap();
        assert!(status.success());
        dvo::update(&self.source(), 5).unwrap();
        fs::write(self.source().join("added.dat"), "not there before").unwrap();
        fs::remove_file(self.source().join("SkyTable.fits")).ok();
    }

    /// Puts the stand-in of mv first into the PATH of the destination, and other folders before it.
    #[track_caller]
    fn use_tools(&mut self, before: &[&Utf8Path]) {
        let folders = before.iter().map(|folder| format!("{folder}:")).collect::<String>();
        let path = format!("{folders}{}:{}", self.world.root.join("bin"), std::env::var("PATH").unwrap());
        if self.host == HERE {
            self.world.set("PATH", &path);
        } else {
            self.world.set_path_there(&path);
        }
    }

    /// Holds the stand-in of mv at the destination, where its arguments match a pattern.
    #[track_caller]
    fn hold_mv(&mut self, pattern: &str, hold: &Hold) -> Gate {
        let gate = Gate::around(&self.world, "mv", &self.world.root.join("bin/mv"), pattern, hold);
        self.use_tools(&[&gate.bin]);
        gate
    }

    /// The usual tools again.
    #[track_caller]
    fn use_usual_tools(&mut self) {
        self.use_tools(&[]);
    }

    #[track_caller]
    fn recopy(&self, more: &[&str]) -> Ran {
        let id = self.id.to_string();
        self.world.run(&[&["recopy", &id], more].concat())
    }

    #[track_caller]
    fn start_recopy(&self) -> Child {
        self.world.start(&["recopy", &self.id.to_string()])
    }

    fn is_old(&self, folder: &Utf8Path) -> bool {
        is_like(&self.old(), folder)
    }

    fn is_new(&self, folder: &Utf8Path) -> bool {
        is_like(&self.source(), folder)
    }

    /// Where a folder of the copy may be while the two change places.
    fn places(&self) -> Vec<Utf8PathBuf> {
        let mut places = vec![self.there()];
        let staging = self.world.there().join(".minidvodbcopy");
        for ledger in staging.read_dir_utf8().into_iter().flatten().flatten() {
            places.push(ledger.path().join(self.name()));
            places.push(ledger.path().join(format!("old.{}", self.id)));
        }
        places
    }

    /// Fails unless the old folder is whole under its name, and the copy stays full with a fault.
    #[track_caller]
    fn expect_untouched(&self, standing: &str) {
        assert!(self.is_old(&self.there()), "{:?}", xtask::tree::differences(self.old(), self.there()));
        assert_eq!(self.world.standing(self.id), standing);
        self.world.ok(&["ledger", "check"]);
    }

    /// Fails unless the new folder has taken the old one's place and nothing else is there.
    #[track_caller]
    fn expect_replaced(&self) {
        let world = &self.world;
        assert_eq!(world.standing(self.id), "full 0");
        assert_eq!(world.copy(self.id)["verified"], "checksum");
        world.expect_arrived(&self.name());
        let all: Vec<_> = (1..=self.id).map(|id| format!("ThreePi.{id}")).collect();
        assert_eq!(world.names_there(), all, "nothing else is left there");
        assert!(manifest(world, self.id).contains("added.dat"), "the manifest is the new one's");
        assert_eq!(names_in(&world.state().join("manifests")).len() as u64, self.id, "no draft is left");
        assert_eq!(logged(world, "was sent again"), 1);
        world.ok(&["ledger", "check"]);
        world.ok(&["run"]).is_silent();
    }
}

fn is_like(wanted: &Utf8Path, folder: &Utf8Path) -> bool {
    xtask::tree::differences(wanted, folder).is_ok_and(|differences| differences.is_empty())
}

/// The text of a copy's manifest.
#[track_caller]
fn manifest(world: &World, id: u64) -> String {
    let file = world.state().join(format!("manifests/{id}.tsv.gz"));
    let output = Command::new("zcat").arg(file).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// How many entries of the log have a text.
#[track_caller]
fn logged(world: &World, text: &str) -> usize {
    world.ok(&["log", "show", "-n", "1000"]).stdout.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn the_new_folder_takes_the_old_ones_place_in_either_way_and_nothing_is_left() {
    for way in Way::ALL {
        let updated = Updated::new(HERE, way);
        let before = updated.world.copy(1);
        updated.recopy(&["--reason", "the source was updated"]).expect(0).is_silent();
        updated.expect_replaced();
        let after = updated.world.copy(1);
        assert_ne!(before["dtime"], after["dtime"]);
        assert_eq!(after["attempts"], 2);
        assert_eq!(logged(&updated.world, "is to be sent again: the source was updated"), 1);
    }
}

#[test]
fn over_ssh_too() {
    for way in [Way::Renames, Way::Exchange] {
        let updated = Updated::new(HOST, way);
        updated.recopy(&[]).expect(0).is_silent();
        updated.expect_replaced();
    }
}

#[test]
fn a_copy_can_be_sent_again_and_again() {
    let mut updated = Updated::new(HERE, Way::Exchange);
    updated.recopy(&[]).expect(0);
    for round in 0..3 {
        dvo::update(&updated.source(), 10 + round).unwrap();
        updated.update();
        updated.recopy(&[]).expect(0).is_silent();
        updated.world.expect_arrived("ThreePi.1");
        assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    }
    assert_eq!(logged(&updated.world, "was sent again"), 4);
    updated.world.ok(&["ledger", "check"]);
}

#[test]
fn a_source_that_is_as_it_was_is_sent_again_all_the_same() {
    let updated = Updated::new(HERE, Way::Exchange);
    updated.recopy(&[]).expect(0);
    // Damage that no size and no time shows.
    let inode = fs::metadata(updated.there()).unwrap().ino();
    dvo::flip_byte(&updated.there().join("Images.dat")).unwrap();
    updated.recopy(&[]).expect(0).is_silent();
    updated.world.expect_arrived("ThreePi.1");
    assert_ne!(fs::metadata(updated.there()).unwrap().ino(), inode);
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
}

#[test]
fn what_has_not_changed_becomes_a_link_and_is_not_sent_again() {
    let mut updated = Updated::new(HOST, Way::Exchange);
    fs::write(updated.source().join("large.dat"), vec![7; 9_000_000]).unwrap();
    updated.recopy(&[]).expect(0);
    updated.expect_replaced();
    let inode = |name: &str| fs::metadata(updated.there().join(name)).unwrap().ino();
    let before = (inode("large.dat"), inode("added.dat"));
    fs::write(updated.source().join("added.dat"), "again another text").unwrap();
    slow::log_rsync(&mut updated.world);
    updated.recopy(&[]).expect(0).is_silent();
    updated.world.expect_arrived("ThreePi.1");
    assert_eq!(updated.world.copy(1)["verified"], "checksum");
    let inode = |name: &str| fs::metadata(updated.there().join(name)).unwrap().ino();
    assert_eq!(inode("large.dat"), before.0);
    assert_ne!(inode("added.dat"), before.1);
    assert_eq!(fs::metadata(updated.there().join("large.dat")).unwrap().nlink(), 1, "the old folder is gone");
    let sent = slow::wire_bytes(&updated.world)[0];
    assert!(sent < 500_000, "{sent} bytes were sent again");
}

/// The new folder has links to the old one's files, and what is done to the one must not be done to the other.
#[test]
fn a_killed_recopy_that_goes_on_changes_nothing_of_the_folder_that_it_is_to_replace() {
    type Change = fn(&Utf8Path);
    let changes: [(&str, Change); 4] = [
        ("another time", |file| {
            fs::File::open(file)
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_200_000_000))
                .unwrap();
        }),
        ("another mode", |file| fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap()),
        ("longer", |file| {
            let text = fs::read(file).unwrap();
            fs::write(file, [&text[..], b"and more"].concat()).unwrap();
        }),
        ("shorter", |file| fs::write(file, "x").unwrap()),
    ];
    for host in [HOST, HERE] {
        for (what, change) in changes {
            let mut updated = Updated::new(host, Way::Renames);
            let gate = updated.hold_mv("*' -nT -- '*", &Hold::Before);
            let pass = updated.start_recopy();
            gate.wait(1);
            slow::kill_alone(pass);
            change(&updated.source().join("Images.dat"));
            let next = updated.world.start(&["run"]);
            // It has sent everything again by then.
            gate.wait(2);
            assert!(updated.is_old(&updated.there()), "{what} at {host}");
            gate.open();
            finish(next).expect(0).is_silent();
            updated.expect_replaced();
        }
    }
}

/// Where a pass is killed while two folders change places.
struct Moment {
    what: &'static str,
    tool: &'static str,
    pattern: String,
    hold: Hold,
}

impl Moment {
    fn new(what: &'static str, tool: &'static str, pattern: impl Into<String>, hold: Hold) -> Self {
        Self { what, tool, pattern: pattern.into(), hold }
    }

    /// Every moment of an exchange, in order: those before the ledger's record first.
    fn before_the_record(way: Way) -> Vec<Self> {
        let first = match way {
            Way::Exchange => "*' --exchange '*",
            _ => "*' -nT -- ./ThreePi.2 '*",
        };
        let second = match way {
            Way::Exchange => "*' -nT -- '*'/ThreePi.2 '*'/old.2 '*",
            _ => "*' -nT -- '*'/ThreePi.2 ./ThreePi.2 '*",
        };
        vec![
            Self::new("before the first step", "mv", first, Hold::Before),
            Self::new("after the first step", "mv", first, Hold::After),
            Self::new("before the second step", "mv", second, Hold::Before),
            Self::new("after the second step", "mv", second, Hold::After),
            Self::new("before the flush", "sync", "*' -- . '*", Hold::Before),
            Self::new("before the record", "sync", "*' -- . '*", Hold::After),
        ]
    }

    fn after_the_record() -> Vec<Self> {
        let away = "*' -- '*'/old.2 '*'/.minidvodbcopy/'*";
        let rm = "*' -rf -- '*'/.minidvodbcopy '*";
        vec![
            Self::new("before the old one is moved away", "mv", away, Hold::Before),
            Self::new("after the old one was moved away", "mv", away, Hold::After),
            Self::new("before the old one is removed", "rm", rm, Hold::Before),
            Self::new("after the old one was removed", "rm", rm, Hold::After),
        ]
    }

    /// Starts a recopy and kills it at this moment, children and all.
    #[track_caller]
    fn kill(&self, updated: &mut Updated) {
        let pass = |updated: &Updated| updated.start_recopy();
        self.kill_pass(updated, pass);
    }

    #[track_caller]
    fn kill_pass(&self, updated: &mut Updated, start: impl FnOnce(&Updated) -> Child) {
        let program = match self.tool {
            "mv" => updated.world.root.join("bin/mv"),
            other => slow::real(other),
        };
        let gate = Gate::around(&updated.world, self.tool, &program, &self.pattern, &self.hold);
        updated.use_tools(&[&gate.bin]);
        let reached = gate.reached();
        let pass = start(updated);
        gate.wait(reached + 1);
        let children = processes::descendants(pass.id());
        slow::kill_alone(pass);
        slow::expect_gone(&updated.world, &children, None);
        gate.open();
        if updated.world.sshd.is_some() {
            assert!(updated.world.sshd().wait_until_idle(Duration::from_secs(30)));
        }
        updated.use_usual_tools();
    }
}

impl Updated {
    /// After a kill before the ledger's record: both folders are whole; one of them has the name or is one
    /// rename away from it.
    #[track_caller]
    fn expect_both_whole(&self, what: &str) {
        let places = self.places();
        let places: Vec<_> = places.iter().filter(|place| place.exists()).collect();
        let shown = format!("{what}, {:?}: {places:?}", self.way);
        assert_eq!(places.len(), 2, "{shown}");
        assert_eq!(places.iter().filter(|place| self.is_old(place)).count(), 1, "the old one, {shown}");
        assert_eq!(places.iter().filter(|place| self.is_new(place)).count(), 1, "the new one, {shown}");
        assert_eq!(self.world.standing(self.id), "full 0", "{shown}");
    }

    /// The next pass begins with the exchange, before it makes the copy that waits before it in the queue.
    #[track_caller]
    fn expect_settled_first(&self, what: &str) {
        let shown = format!("{what}, {:?}", self.way);
        let log = self.world.root.join("order.log");
        let has_name = self.there().exists();
        let _ = fs::remove_file(&log);
        self.world.ok(&["run"]).is_silent();
        let order = fs::read_to_string(&log).unwrap();
        let of = |name: &str| order.lines().position(|line| line.ends_with(&format!(" ./{name}")));
        let (own, other) = (of("ThreePi.2"), of("ThreePi.1"));
        assert!(has_name || own.is_some_and(|own| other.is_none_or(|other| own < other)), "{shown}: {order}");
        assert!(has_name || own == Some(0), "the rename comes first, {shown}: {order}");
        assert_eq!(self.world.standing(1), "full 0", "{shown}");
        self.expect_replaced();
    }
}

#[track_caller]
fn killed_before_the_record(host: &'static str, way: Way) {
    for moment in Moment::before_the_record(way) {
        let mut updated = Updated::behind_another(host, way);
        moment.kill(&mut updated);
        updated.expect_both_whole(moment.what);
        updated.expect_settled_first(moment.what);
        let outcomes = slow::outcomes(&updated.world, 2);
        assert!(outcomes[1].starts_with("interrupted"), "{}: {outcomes:?}", moment.what);
        assert_eq!(logged(&updated.world, "was cut off while"), 1, "{}", moment.what);
    }
}

#[test]
fn killed_at_any_step_of_two_renames_both_folders_are_whole_and_the_next_pass_goes_on_first_of_all() {
    killed_before_the_record(HERE, Way::Renames);
}

#[test]
fn killed_at_any_step_of_an_exchange_both_folders_are_whole_and_the_next_pass_goes_on_first_of_all() {
    killed_before_the_record(HERE, Way::Exchange);
}

#[test]
fn killed_at_any_step_over_ssh_both_folders_are_whole_and_the_next_pass_goes_on_first_of_all() {
    killed_before_the_record(HOST, Way::Renames);
}

#[test]
fn killed_at_any_step_behind_the_record_the_old_folder_goes_with_the_next_pass() {
    for way in [Way::Renames, Way::Exchange] {
        for moment in Moment::after_the_record() {
            let mut updated = Updated::behind_another(HERE, way);
            moment.kill(&mut updated);
            assert!(updated.is_new(&updated.there()), "{}", moment.what);
            assert_eq!(updated.world.standing(2), "full 0", "{}", moment.what);
            updated.world.ok(&["run"]).is_silent();
            updated.expect_replaced();
        }
    }
}

#[test]
fn killed_while_the_old_folder_is_half_removed_the_rest_goes_with_the_next_pass() {
    let updated = Updated::new(HERE, Way::Renames);
    let half = updated.world.root.join("bin/rm");
    write_program(
        &half,
        "#!/bin/sh\nfor last; do :; done\nfind \"$last\" -name '*.cpt' -delete\nkill -9 $PPID\nexit 1\n",
    );
    updated.recopy(&[]);
    fs::remove_file(half).unwrap();
    assert!(updated.is_new(&updated.there()));
    assert_eq!(updated.world.standing(1), "full 0");
    updated.world.ok(&["run"]).is_silent();
    updated.expect_replaced();
}

#[test]
fn killed_again_while_it_is_settled_the_pass_after_that_goes_on() {
    for hold in [Hold::Before, Hold::After] {
        let mut updated = Updated::behind_another(HERE, Way::Renames);
        Moment::new("between", "mv", "*' -nT -- ./ThreePi.2 '*", Hold::After).kill(&mut updated);
        assert!(!updated.there().exists());
        let settling = Moment::new("settling", "mv", "*' -nT -- '*'/ThreePi.2 ./ThreePi.2 '*", hold);
        settling.kill_pass(&mut updated, |updated| updated.world.start(&["run"]));
        updated.expect_both_whole("settling");
        updated.expect_settled_first("settling");
    }
}

#[test]
fn a_rename_that_hung_at_the_far_end_is_not_made_when_the_folder_is_being_sent_again() {
    for is_there in [true, false] {
        let world = World::with_sshd();
        slow::prepare(&world, HOST, 1);
        let mut updated = Updated { world, host: HOST, way: Way::Renames, id: 1 };
        Way::Renames.mv(&updated.world);
        if is_there {
            slow::copy_now(&updated.world, HOST).expect(0);
            updated.update();
        }
        slow::set_rate(&updated.world, HOST, "0");
        let gate = updated.hold_mv("*' -nT -- '*", &Hold::Before);
        let pass = if is_there { updated.start_recopy() } else { updated.world.start(&["run"]) };
        gate.wait(1);
        slow::kill_alone(pass);
        // The source is another one by then.
        fs::remove_dir_all(updated.source()).unwrap();
        dvo::make(&updated.source(), slow::SHAPE, 4711).unwrap();
        slow::set_rate(&updated.world, HOST, slow::RATE);
        let next = updated.world.start(&["run"]);
        eventually("it is sent again", || slow::child_with(&next, "--partial-dir").is_some());
        gate.open();
        let is_whole = || match updated.there().exists() {
            true => updated.is_old(&updated.there()) || updated.is_new(&updated.there()),
            false => !is_there,
        };
        while slow::child_with(&next, "--partial-dir").is_some() {
            assert!(is_whole(), "a half folder has its name");
        }
        finish(next).expect(0).is_silent();
        assert_eq!(updated.world.standing(1), "full 0");
        slow::expect_only(&updated.world, &["ThreePi.1"]);
    }
}

#[test]
fn ended_by_sigterm_between_the_renames_the_next_pass_goes_on() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut updated = Updated::behind_another(HERE, Way::Renames);
        let gate = updated.hold_mv("*' -nT -- ./ThreePi.2 '*", &Hold::After);
        let pass = updated.start_recopy();
        gate.wait(1);
        let children = processes::descendants(pass.id());
        let ran = slow::signal(pass, signal);
        assert!([130, 143].contains(&ran.code), "{ran:?}");
        slow::expect_gone(&updated.world, &children, None);
        gate.open();
        updated.use_usual_tools();
        updated.expect_both_whole("a signal");
        updated.expect_settled_first("a signal");
    }
}

#[test]
fn after_a_kill_between_the_renames_a_source_that_is_gone_or_changed_hinders_nothing() {
    for is_gone in [true, false] {
        let mut updated = Updated::new(HERE, Way::Renames);
        Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After).kill(&mut updated);
        let sent = updated.world.root.join("sent");
        let staged = slow::staged(&updated.world, "ThreePi.1");
        assert!(Command::new("cp").arg("-a").arg(staged).arg(&sent).status().unwrap().success());
        if is_gone {
            fs::remove_dir_all(updated.source()).unwrap();
        } else {
            dvo::update(&updated.source(), 99).unwrap();
        }
        updated.world.ok(&["run"]).is_silent();
        assert!(is_like(&sent, &updated.there()));
        assert_eq!(updated.world.standing(1), "full 0");
        assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
        updated.world.ok(&["ledger", "check"]);
    }
}

#[test]
fn whoever_opens_the_folder_at_any_moment_finds_the_old_or_the_new_one_whole() {
    for way in [Way::Renames, Way::Exchange] {
        let updated = Updated::new(HERE, way);
        let has_ended = AtomicBool::new(false);
        let (seen, was_missing) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(&updated, &has_ended));
            let ran = updated.recopy(&[]);
            has_ended.store(true, Ordering::Relaxed);
            ran.expect(0);
            watcher.join().unwrap()
        });
        assert_eq!(seen, 2, "the old one and the new one");
        assert!(!was_missing || way == Way::Renames, "an exchange leaves no moment without the name");
        updated.expect_replaced();
    }
}

/// Opens the folder again and again; each one that is met first must be whole. Says how many were met, and
/// whether there was none at times.
fn watch(updated: &Updated, has_ended: &AtomicBool) -> (usize, bool) {
    let (mut seen, mut was_missing) = (BTreeSet::new(), false);
    loop {
        let is_last = has_ended.load(Ordering::Relaxed);
        match fs::File::open(updated.there()) {
            Ok(folder) => {
                let is_first = seen.insert(folder.metadata().unwrap().ino());
                let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
                let opened = Utf8PathBuf::from(format!("/proc/self/fd/{fd}/"));
                let is_whole = || updated.is_old(&opened) || updated.is_new(&opened);
                assert!(!is_first || is_whole(), "neither the old one nor the new one");
            }
            Err(_) => was_missing = true,
        }
        if is_last {
            return (seen.len(), was_missing);
        }
    }
}

#[test]
fn a_source_that_is_gone_leaves_the_old_folder_and_the_copy_full_with_its_fault() {
    let updated = Updated::new(HERE, Way::Renames);
    let away = updated.world.root.join("away");
    fs::rename(updated.source(), &away).unwrap();
    updated.recopy(&[]).expect(1).says("fault 201");
    updated.expect_untouched("full 201");
    assert_eq!(updated.world.copy(1)["fault_class"], "person");
    let listed = updated.world.ok(&["list", "--faulted", "--format", "json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    updated.world.ok(&["run"]).is_silent();
    fs::rename(&away, updated.source()).unwrap();
    updated.world.ok(&["run"]).is_silent();
    updated.expect_untouched("full 201");
    updated.recopy(&[]).expect(0).is_silent();
    updated.expect_replaced();
}

#[test]
fn a_source_that_changes_meanwhile_is_sent_again_by_itself() {
    let mut updated = Updated::new(HERE, Way::Renames);
    let gate = Gate::closed(&updated.world, "rsync", "*' -n '*", &Hold::Before);
    updated.use_tools(&[&gate.bin]);
    let pass = updated.start_recopy();
    gate.wait(1);
    dvo::update(&updated.source(), 44).unwrap();
    gate.open();
    finish(pass).expect(1).says("fault 203");
    updated.expect_untouched("full 203");
    let copy = updated.world.copy(1);
    assert_eq!(copy["fault_class"], "retry");
    assert!(copy["next_try"].is_string(), "{copy}");
    let there = updated.world.there();
    updated.world.ok(&["copy", "ThreePi", HERE, there.as_str()]).says("recovered from 203");
    updated.expect_replaced();
}

#[test]
fn a_host_that_is_down_leaves_the_old_folder_and_the_next_pass_goes_on_when_it_is_back() {
    let mut updated = Updated::new(HOST, Way::Renames);
    updated.world.sshd().stop();
    updated.recopy(&[]).expect(1).says("fault 211");
    updated.expect_untouched("full 211");
    assert_eq!(updated.world.copy(1)["attempts"], 1, "it is not counted");
    updated.world.sshd().restart().unwrap();
    updated.use_usual_tools();
    let there = updated.world.there();
    updated.world.ok(&["copy", "ThreePi", HOST, there.as_str()]).says("recovered from fault 211");
    updated.expect_replaced();
}

#[test]
fn a_host_that_went_down_between_the_renames_gets_the_name_back_first_of_all() {
    let mut updated = Updated::new(HOST, Way::Renames);
    Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After).kill(&mut updated);
    // Over ssh, the script that was cut off may have gone on by itself.
    let (there, staged) = (updated.there(), slow::staging(&updated.world, "ThreePi.1"));
    if let Some(staged) = staged.filter(|_| !there.exists()) {
        assert!(updated.is_new(&staged));
    }
    updated.world.sshd().stop();
    updated.world.run(&["run"]).expect(1).says("fault 211");
    assert_eq!(updated.world.standing(1), "full 211");
    updated.world.ok(&["run"]).is_silent();
    updated.recopy(&["--cancel"]).expect(75);
    updated.world.sshd().restart().unwrap();
    updated.use_usual_tools();
    updated.world.ok(&["copy", "ThreePi", HOST, updated.world.there().as_str()]);
    updated.expect_replaced();
}

#[test]
fn a_disk_too_full_for_two_leaves_the_old_folder_until_there_is_room() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mount = Mount::tmpfs(&world.there(), "size=600k");
    world.prepare(HERE, 1);
    world.ok(&["target", "add", "ThreePi", HERE, world.there().as_str(), "--max-used", "100"]);
    world.ok(&["run"]);
    let mut updated = Updated { world, host: HERE, way: Way::Renames, id: 1 };
    Way::Renames.mv(&updated.world);
    updated.use_usual_tools();
    updated.update();
    // Not even what has changed fits; the rest becomes links.
    mount.fill_to(149);
    updated.recopy(&[]).expect(1).says("fault 224");
    updated.expect_untouched("full 224");
    updated.world.ok(&["run"]).is_silent();
    mount.empty();
    updated.world.ok(&["copy", "ThreePi", HERE, updated.world.there().as_str()]);
    updated.expect_replaced();
    drop(mount);
}

#[test]
fn a_recopy_that_met_its_deadline_goes_on_or_is_given_up_and_its_staging_goes() {
    for is_given_up in [true, false] {
        let world = World::new();
        slow::prepare(&world, HERE, 1);
        slow::copy_now(&world, HERE).expect(0);
        let mut updated = Updated { world, host: HERE, way: Way::Renames, id: 1 };
        updated.update();
        let there = updated.world.there();
        let target = ["target", "add", "ThreePi", HERE, there.as_str()];
        updated.world.ok(&[&target[..], &["--bwlimit", "500", "--deadline", "2"]].concat());
        updated.recopy(&[]).expect(1).says("fault 241");
        updated.expect_untouched("full 241");
        assert!(slow::staged_bytes(&updated.world, "ThreePi.1") > 0);
        updated.world.ok(&[&target[..], &["--bwlimit", "0", "--deadline", "17280"]].concat());
        if is_given_up {
            updated.recopy(&["--cancel"]).expect(0);
            assert_eq!(updated.world.standing(1), "full 0");
            updated.world.ok(&["run"]).is_silent();
            updated.expect_untouched("full 0");
            assert_eq!(updated.world.names_there(), ["ThreePi.1"], "its staging is gone");
            assert_eq!(logged(&updated.world, "is not sent again after all"), 1);
            updated.recopy(&["--cancel"]).expect(0);
        } else {
            updated.world.ok(&["copy", "ThreePi", HERE, there.as_str()]);
            updated.expect_replaced();
        }
    }
}

#[test]
fn a_minidvodb_that_is_not_merged_any_more_is_refused_and_one_that_waits_is_left() {
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state";
    let mut updated = Updated::new(HOST, Way::Renames);
    let source = updated.source();
    let import = |updated: &Updated, state: &str| {
        updated.world.import_text(&format!("{header}\n1,ThreePi.1,ThreePi,{source},{state}\n")).expect(0);
    };
    import(&updated, "new");
    updated.recopy(&[]).expect(2).says("not merged");
    updated.expect_untouched("full 0");
    import(&updated, "merged");
    updated.world.sshd().stop();
    updated.recopy(&[]).expect(1);
    import(&updated, "new");
    updated.world.sshd().restart().unwrap();
    updated.use_usual_tools();
    let there = updated.world.there();
    updated.world.run(&["copy", "ThreePi", HOST, there.as_str()]).expect(0);
    updated.expect_untouched("full 0");
    import(&updated, "merged");
    updated.world.ok(&["run"]);
    updated.expect_replaced();
}

#[test]
fn what_somebody_else_put_in_the_folders_place_is_never_touched() {
    let put: [(&str, Deed); 4] = [
        ("another folder", |updated| {
            fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
            dvo::make(&updated.there(), Shape::tiny(), 77).unwrap();
        }),
        ("an equal folder", |updated| {
            fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
            let status = Command::new("cp").arg("-a").arg(updated.old()).arg(updated.there()).status();
            assert!(status.unwrap().success());
        }),
        ("a symlink to it", |updated| {
            fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
            symlink(updated.world.root.join("away"), updated.there()).unwrap();
        }),
        ("a file", |updated| {
            fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
            fs::write(updated.there(), "precious").unwrap();
        }),
    ];
    for way in [Way::Renames, Way::Exchange] {
        for (what, put) in put {
            let updated = Updated::new(HERE, way);
            put(&updated);
            let inode = fs::symlink_metadata(updated.there()).unwrap().ino();
            updated.recopy(&[]).expect(1).says("fault 225");
            assert_eq!(updated.world.standing(1), "full 225", "{what}");
            assert_eq!(fs::symlink_metadata(updated.there()).unwrap().ino(), inode, "{what}");
            assert!(updated.is_old(&updated.world.root.join("away")), "{what}");
            updated.world.ok(&["run"]).is_silent();
            updated.recopy(&["--cancel"]).expect(0);
            assert_eq!(updated.world.standing(1), "full 0", "{what}");
            updated.world.ok(&["run"]).is_silent();
            assert_eq!(updated.world.names_there(), ["ThreePi.1"], "{what}");
            updated.world.ok(&["ledger", "check"]);
        }
    }
}

#[test]
fn what_comes_into_the_folders_place_at_the_last_moment_is_not_touched_either() {
    let mut updated = Updated::new(HERE, Way::Renames);
    let gate = Gate::closed(&updated.world, "rsync", "*' -n '*", &Hold::After);
    updated.use_tools(&[&gate.bin]);
    let pass = updated.start_recopy();
    gate.wait(1);
    fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
    dvo::make(&updated.there(), Shape::tiny(), 77).unwrap();
    gate.open();
    finish(pass).expect(1).says("fault 225");
    dvo::make(&updated.world.root.join("same"), Shape::tiny(), 77).unwrap();
    assert!(is_like(&updated.world.root.join("same"), &updated.there()));
    updated.recopy(&["--cancel"]).expect(0);
    updated.world.ok(&["run"]).is_silent();
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
}

#[test]
fn what_comes_into_the_folders_place_between_the_renames_leaves_both_folders_whole() {
    let mut updated = Updated::new(HERE, Way::Renames);
    Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After).kill(&mut updated);
    fs::create_dir(updated.there()).unwrap();
    fs::write(updated.there().join("precious"), "precious").unwrap();
    updated.world.run(&["run"]).expect(1).says("fault 225");
    assert_eq!(fs::read_to_string(updated.there().join("precious")).unwrap(), "precious");
    assert_eq!(updated.world.standing(1), "full 225");
    let places = updated.places();
    assert!(places.iter().any(|place| updated.is_old(place)), "{places:?}");
    // It goes away again: the copy is sent again, and nothing of the first time is left.
    fs::remove_dir_all(updated.there()).unwrap();
    updated.recopy(&[]).expect(0);
    updated.world.expect_arrived("ThreePi.1");
    assert_eq!(updated.world.standing(1), "full 0");
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    updated.world.ok(&["ledger", "check"]);
}

#[test]
fn a_folder_with_files_that_this_ledger_did_not_put_there_is_not_replaced() {
    let puts: [Deed; 2] = [
        |updated| fs::write(updated.there().join("notes"), "mine").unwrap(),
        |updated| symlink("Images.dat", updated.there().join("notes")).unwrap(),
    ];
    for put in puts {
        let updated = Updated::new(HERE, Way::Exchange);
        put(&updated);
        updated.recopy(&[]).expect(1).says("fault 225");
        assert!(fs::symlink_metadata(updated.there().join("notes")).is_ok());
        assert_eq!(updated.world.standing(1), "full 225");
        // Moved away, it hinders nothing.
        fs::rename(updated.there().join("notes"), updated.world.root.join("notes")).unwrap();
        updated.recopy(&[]).expect(0);
        updated.world.expect_arrived("ThreePi.1");
        assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    }
}

#[test]
fn a_folder_that_has_got_the_inode_of_the_removed_one_is_not_taken_for_it() {
    for _ in 0..5 {
        let updated = Updated::new(HERE, Way::Exchange);
        // Many file systems give it to the next folder that is made.
        fs::remove_dir_all(updated.there()).unwrap();
        fs::create_dir(updated.there()).unwrap();
        fs::write(updated.there().join("precious"), "precious").unwrap();
        updated.recopy(&[]).expect(1).says("fault 225");
        assert_eq!(fs::read_to_string(updated.there().join("precious")).unwrap(), "precious");
        fs::remove_dir_all(updated.there()).unwrap();
        updated.recopy(&[]).expect(0);
        updated.world.expect_arrived("ThreePi.1");
        assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    }
}

#[test]
fn an_old_folder_of_another_exchange_is_not_in_the_way() {
    let updated = Updated::new(HERE, Way::Renames);
    let ledger = manifest(&updated.world, 1);
    let header: serde_json::Value = serde_json::from_str(ledger.lines().next().unwrap()).unwrap();
    let old =
        updated.world.there().join(".minidvodbcopy").join(header["ledger"].as_str().unwrap()).join("old.1");
    fs::create_dir_all(old.join("n0000")).unwrap();
    updated.recopy(&[]).expect(0).is_silent();
    updated.expect_replaced();
}

#[test]
fn what_was_damaged_is_replaced_and_what_was_removed_is_sent_anew() {
    let damages: [fn(&Utf8Path); 3] = [
        |there| fs::write(there.join("Images.dat"), "x").unwrap(),
        |there| fs::remove_file(there.join("Images.dat")).unwrap(),
        |there| {
            fs::remove_file(there.join("Images.dat")).unwrap();
            fs::create_dir(there.join("Images.dat")).unwrap();
        },
    ];
    for damage in damages {
        let damaged = Updated::new(HERE, Way::Exchange);
        damage(&damaged.there());
        damaged.recopy(&[]).expect(0).is_silent();
        damaged.expect_replaced();
    }
    let removed = Updated::new(HERE, Way::Exchange);
    fs::remove_dir_all(removed.there()).unwrap();
    removed.recopy(&[]).expect(0).is_silent();
    removed.world.expect_arrived("ThreePi.1");
    assert_eq!(removed.world.names_there(), ["ThreePi.1"]);
    assert_eq!(removed.world.standing(1), "full 0");
    removed.world.ok(&["ledger", "check"]);
}

#[test]
fn a_folder_that_cannot_be_moved_is_that_copys_own_fault_and_keeps_no_other_waiting() {
    let updated = Updated::behind_another(HERE, Way::Fails);
    // Another one behind it, too.
    let third = updated.world.make("ThreePi.3", Shape::tiny());
    updated.world.import(&[(3, "ThreePi", &third)]);
    let real = slow::real("mv");
    write_program(
        &updated.world.root.join("bin/mv"),
        &format!(
            "#!/bin/sh\ncase \" $* \" in *' -nT -- ./ThreePi.2 '*) echo 'mv: cannot move: Operation not permitted' >&2; exit 1;; esac\nexec {real} \"$@\"\n"
        ),
    );
    let ran = updated.recopy(&[]).expect(1);
    assert!(ran.stderr.contains("Operation not permitted"), "{}", ran.stderr);
    let fault = updated.world.copy(2)["fault"].clone();
    updated.expect_untouched(&format!("full {fault}"));
    assert_eq!(updated.world.copy(2)["fault_class"], "person");
    updated.world.ok(&["run"]).is_silent();
    let attempts = updated.world.copy(2)["attempts"].clone();
    assert_eq!(updated.world.standing(1), "full 0", "the queue goes on");
    assert_eq!(updated.world.standing(3), "full 0", "the queue goes on");
    updated.world.ok(&["run"]).is_silent();
    assert_eq!(updated.world.copy(2)["attempts"], attempts, "it waits for a person");
    updated.recopy(&["--cancel"]).expect(0);
    updated.world.ok(&["run"]).is_silent();
    assert_eq!(updated.world.names_there(), ["ThreePi.1", "ThreePi.2", "ThreePi.3"]);
    updated.expect_untouched("full 0");
}

#[test]
fn an_old_folder_that_cannot_be_removed_yet_goes_with_a_later_pass() {
    let updated = Updated::new(HERE, Way::Exchange);
    let failing = updated.world.root.join("bin/rm");
    write_program(&failing, "#!/bin/sh\necho 'rm: cannot remove: Operation not permitted' >&2\nexit 1\n");
    updated.recopy(&[]).expect(0);
    assert_eq!(updated.world.standing(1), "full 0");
    updated.world.expect_arrived("ThreePi.1");
    // Not even a second one is in its way.
    dvo::update(&updated.source(), 9).unwrap();
    updated.recopy(&[]).expect(0);
    updated.world.expect_arrived("ThreePi.1");
    updated.world.ok(&["run"]);
    fs::remove_file(failing).unwrap();
    updated.world.ok(&["run"]).is_silent();
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    updated.world.ok(&["ledger", "check"]);
}

#[test]
fn a_copy_that_was_called_full_by_hand_is_refused_and_the_way_out_works() {
    let updated = Updated::new(HERE, Way::Renames);
    updated.world.ok(&["update", "--id", "1", "--set-state", "new"]);
    updated.world.ok(&["update", "--id", "1", "--set-state", "full"]);
    assert_eq!(updated.world.copy(1)["verified"], "by hand");
    let ran = updated.recopy(&[]).expect(2).says("not published by this ledger");
    assert!(ran.stderr.contains("--set-state new --set-fault 0"), "{}", ran.stderr);
    updated.expect_untouched("full 0");
    fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
    updated.world.ok(&["update", "--id", "1", "--set-state", "new", "--set-fault", "0"]);
    updated.world.ok(&["run"]).is_silent();
    updated.world.expect_arrived("ThreePi.1");
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    assert!(updated.is_old(&updated.world.root.join("away")));
}

#[test]
fn what_is_no_full_copy_of_a_target_is_refused() {
    let updated = Updated::new(HERE, Way::Renames);
    updated.world.run(&["recopy", "99"]).expect(2).says("there is no copy 99");
    updated.world.run(&["recopy", "99", "--cancel"]).expect(2);
    updated.world.run(&["recopy", "0"]).expect(2);
    let second = updated.world.make("ThreePi.2", Shape::tiny());
    updated.world.import(&[(2, "ThreePi", &second)]);
    updated.world.ok(&["stage", "off", "run"]);
    updated.world.ok(&["run"]);
    updated.world.run(&["recopy", "2"]).expect(2).says("is new");
    updated.world.ok(&["stage", "on"]);
    updated.world.ok(&["target", "del", HERE, "ThreePi"]);
    updated.recopy(&[]).expect(2).says("target add");
    updated.expect_untouched("full 0");
    updated.world.ok(&["target", "add", "ThreePi", HERE, updated.world.there().as_str()]);
    updated.recopy(&[]).expect(0);
    updated.world.expect_arrived("ThreePi.1");
}

#[test]
fn a_host_that_is_off_is_served_and_a_stage_that_is_off_is_said() {
    let updated = Updated::new(HERE, Way::Renames);
    updated.world.ok(&["stage", "off", "run"]);
    updated.recopy(&[]).expect(0).says("stage on");
    updated.expect_untouched("full 0");
    updated.world.ok(&["run"]).is_silent();
    updated.expect_untouched("full 0");
    updated.world.ok(&["stage", "on", "run"]);
    updated.world.ok(&["host", "del", HERE]);
    updated.world.ok(&["run"]).is_silent();
    updated.expect_untouched("full 0");
    updated.recopy(&[]).expect(0).is_silent();
    updated.expect_replaced();
}

#[test]
fn a_stage_that_is_off_keeps_a_killed_recopy_from_sending_again() {
    let mut updated = Updated::new(HERE, Way::Renames);
    Moment::new("before", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::Before).kill(&mut updated);
    dvo::update(&updated.source(), 8).unwrap();
    updated.world.ok(&["stage", "off", "run"]);
    updated.world.ok(&["run"]).is_silent();
    updated.world.ok(&["run"]).is_silent();
    updated.expect_untouched("full 0");
    updated.world.ok(&["stage", "on", "run"]);
    updated.world.ok(&["run"]).is_silent();
    updated.expect_replaced();
}

#[test]
fn while_another_pass_is_at_the_group_it_is_noted_and_done_later() {
    let world = World::new();
    slow::prepare(&world, HERE, 1);
    slow::copy_now(&world, HERE).expect(0);
    let mut updated = Updated { world, host: HERE, way: Way::Renames, id: 1 };
    updated.update();
    slow::set_rate(&updated.world, HERE, slow::RATE);
    let second = updated.world.make("ThreePi.2", slow::SHAPE);
    updated.world.import(&[(2, "ThreePi", &second)]);
    let pass = updated.world.start(&["run"]);
    slow::until_staged(&updated.world, "ThreePi.2", slow::FIRST_BYTES);
    let ran = updated.recopy(&["--reason", "now"]).expect(75);
    assert!(ran.stderr.contains("the next pass does it"), "{}", ran.stderr);
    updated.expect_untouched("full 0");
    // A pass at another copy is no reason not to give it up; one at this copy is.
    slow::set_rate(&updated.world, HERE, "0");
    finish(pass).expect(0);
    updated.world.ok(&["run"]).is_silent();
    updated.world.expect_arrived("ThreePi.1");
    updated.world.expect_arrived("ThreePi.2");
    assert_eq!(updated.world.names_there(), ["ThreePi.1", "ThreePi.2"]);
}

#[test]
fn a_recopy_under_way_is_neither_given_up_nor_changed() {
    let world = World::new();
    slow::prepare(&world, HERE, 1);
    slow::copy_now(&world, HERE).expect(0);
    let mut updated = Updated { world, host: HERE, way: Way::Renames, id: 1 };
    updated.update();
    slow::set_rate(&updated.world, HERE, slow::RATE);
    let pass = updated.start_recopy();
    slow::until_staged(&updated.world, "ThreePi.1", slow::FIRST_BYTES);
    let pid = pass.id().to_string();
    updated.recopy(&["--cancel"]).expect(75).says(&pid);
    updated.recopy(&[]).expect(75).says(&pid);
    updated.world.run(&["update", "--id", "1", "--set-state", "new"]).expect(75).says(&pid);
    finish(pass).expect(0);
    updated.expect_replaced();
}

#[test]
fn names_that_a_shell_would_take_for_something_else_change_places_too() {
    let names =
        ["with a  'blank' and \"quotes\"", "-rf", "$(touch trap)`touch trap`;touch trap", "*[a]?", "old.1"];
    for way in [Way::Renames, Way::Exchange] {
        let world = World::new();
        let folders: Vec<_> = names.iter().map(|name| world.make(name, Shape::tiny())).collect();
        let rows: Vec<_> =
            (1..).zip(&folders).map(|(id, folder)| (id, "ThreePi", folder.as_path())).collect();
        world.import(&rows);
        world.ok(&["target", "add", "ThreePi", HERE, world.there().as_str()]);
        world.ok(&["host", "add", HERE]);
        world.ok(&["run"]).is_silent();
        let mut updated = Updated { world, host: HERE, way, id: 1 };
        way.mv(&updated.world);
        updated.use_usual_tools();
        for (id, folder) in (1..).zip(&folders) {
            dvo::update(folder, id).unwrap();
            updated.world.ok(&["recopy", &id.to_string()]).is_silent();
        }
        let mut sorted = names.map(str::to_owned);
        sorted.sort();
        assert_eq!(updated.world.names_there(), sorted);
        names.iter().for_each(|name| updated.world.expect_arrived(name));
        let made = xtask::tree::list(&updated.world.root).unwrap();
        assert!(made.iter().all(|entry| !entry.path.ends_with("trap")), "nothing was executed");
        updated.world.ok(&["ledger", "check"]);
    }
}

#[test]
fn a_minidvodb_called_like_the_old_folder_of_a_recopy_does_not_meet_it() {
    for moment in [
        Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After),
        Moment::new("the record is made", "mv", "*' -- '*'/old.1 '*'/.minidvodbcopy/'*", Hold::Before),
    ] {
        let mut updated = Updated::new(HERE, Way::Renames);
        let namesake = updated.world.make("old.1", Shape::wide());
        // Of another group, so that it is served at the same time; and it has been begun.
        updated.world.import(&[(2, "Other", &namesake)]);
        let there = updated.world.there();
        let target = ["target", "add", "Other", HERE, there.as_str()];
        updated.world.ok(&[&target[..], &["--bwlimit", "300", "--deadline", "2"]].concat());
        updated.world.run(&["run", "--group", "Other"]).expect(1).says("fault 241");
        updated.world.ok(&[&target[..], &["--bwlimit", "0", "--deadline", "1000"]].concat());
        moment.kill(&mut updated);
        updated.world.ok(&["copy", "Other", HERE, there.as_str()]);
        updated.world.expect_arrived("old.1");
        assert!(updated.places().iter().any(|place| updated.is_new(place)), "{}", moment.what);
        updated.world.ok(&["run"]).is_silent();
        updated.world.expect_arrived("ThreePi.1");
        updated.world.expect_arrived("old.1");
        assert_eq!(updated.world.names_there(), ["ThreePi.1", "old.1"]);
        assert!(updated.world.list().iter().all(|copy| copy["state"] == "full" && copy["fault"] == 0));
        updated.world.ok(&["ledger", "check"]);
    }
}

#[test]
fn read_only_folders_change_places_for_a_user_without_privileges() {
    for way in [Way::Renames, Way::Exchange] {
        let mut world = World::new();
        let source = world.make("ThreePi.1", Shape::tiny());
        world.import(&[(1, "ThreePi", &source)]);
        let bin = way.mv(&world);
        slow::give_away(&world);
        set_modes(&source, 0o555);
        let copy = ["copy", "ThreePi", HERE, world.there().as_str()].map(str::to_owned);
        slow::run_unprivileged(&world, &copy.each_ref().map(String::as_str)).expect(0);
        set_modes(&source, 0o755);
        let changed = dvo::update(&source, 6).unwrap();
        slow::give_away(&world);
        assert!(changed.exists());
        set_modes(&source, 0o555);
        world.set("PATH", &format!("{bin}:{}", std::env::var("PATH").unwrap()));
        slow::run_unprivileged(&world, &["recopy", "1"]).expect(0).is_silent();
        slow::expect_only(&world, &["ThreePi.1"]);
        let mode = fs::metadata(world.there().join("ThreePi.1")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o555);
    }
}

#[test]
fn a_killed_recopy_of_read_only_folders_goes_on_for_a_user_without_privileges() {
    let mut world = World::new();
    let source = world.make("ThreePi.1", Shape::tiny());
    world.import(&[(1, "ThreePi", &source)]);
    let bin = Way::Renames.mv(&world);
    let gate = Gate::around(&world, "mv", &bin.join("mv"), "*' -nT -- ./ThreePi.1 '*", &Hold::Before);
    slow::give_away(&world);
    set_modes(&source, 0o555);
    world.ok(&["copy", "ThreePi", HERE, world.there().as_str()]);
    set_modes(&source, 0o755);
    dvo::update(&source, 6).unwrap();
    slow::give_away(&world);
    set_modes(&source, 0o555);
    world.set("PATH", &gate.path());
    let pass = world.start(&["recopy", "1"]);
    gate.wait(1);
    slow::kill_alone(pass);
    gate.open();
    world.ok(&["copy", "ThreePi", HERE, world.there().as_str()]);
    slow::expect_only(&world, &["ThreePi.1"]);
    let mode = fs::metadata(world.there().join("ThreePi.1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o555);
}

/// Lets nobody write to a tree, or its owner again.
#[track_caller]
fn set_modes(folder: &Utf8Path, mask: u32) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mask)).unwrap();
        for entry in folder.read_dir_utf8().unwrap() {
            let path = entry.unwrap().path().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else {
                fs::set_permissions(&path, fs::Permissions::from_mode(mask & 0o666)).unwrap();
            }
        }
    }
}

#[test]
fn what_is_to_be_sent_again_is_shown_before_it_is_done() {
    let updated = Updated::new(HERE, Way::Renames);
    updated.world.ok(&["stage", "off", "run"]);
    updated.recopy(&["--reason", "a bell\u{7} and more"]).expect(0);
    updated.recopy(&[]).expect(0);
    let shown = updated.world.ok(&["show", "1"]).stdout;
    assert!(shown.contains("to be sent again: a bell\\u{7} and more"), "{shown}");
    let listed = updated.world.ok(&["list", "--pending"]).stdout;
    assert!(listed.contains("to be sent again"), "{listed}");
    updated.world.ok(&["stage", "on", "run"]);
    let preview = updated.world.ok(&["run", "--dry-run"]).stdout;
    assert!(preview.contains("would copy ThreePi.1"), "{preview}");
    updated.expect_untouched("full 0");
}

#[test]
fn in_the_database_the_row_stays_full_and_its_time_moves() {
    let site = Site::prepared(1);
    site.ok(&["run"]);
    let before = site.ipp.copies();
    dvo::update(&site.world.source("ThreePi.1"), 5).unwrap();
    eventually("the clock is at another second", || {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        !before[0].contains(&now)
    });
    site.ok(&["recopy", "1"]).is_silent();
    let after = site.ipp.copies();
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    assert_ne!(before, after, "epoch and dtime");
    site.world.expect_arrived("ThreePi.1");
    site.expect_in_step();
}

#[test]
fn a_copy_that_came_from_the_database_is_refused_and_the_way_out_works() {
    let site = Site::prepared(1);
    let there = site.world.there();
    dvo::make(&there.join("ThreePi.1"), Shape::tiny(), 3).unwrap();
    site.ipp.add_copy(&format!("1, {}, 'localhost', 0, 'full', '2011-05-02 03:04:05', 1.5", site.there()));
    site.ok(&["run"]);
    assert_eq!(site.world.copy(1)["verified"], "adopted");
    site.run(&["recopy", "1"]).expect(2).says("not published by this ledger");
    fs::rename(there.join("ThreePi.1"), site.world.root.join("away")).unwrap();
    site.ok(&["update", "--id", "1", "--set-state", "new", "--set-fault", "0"]);
    site.ok(&["run"]);
    site.world.expect_arrived("ThreePi.1");
    assert_eq!(site.standings_there(), ["1 localhost full 0"]);
    site.expect_in_step();
}

#[test]
fn a_row_set_to_new_in_the_middle_of_an_exchange_does_not_break_it_off() {
    let site = Site::prepared(1);
    site.ok(&["run"]);
    let Site { world, ipp } = site;
    let mut updated = Updated { world, host: HERE, way: Way::Renames, id: 1 };
    Way::Renames.mv(&updated.world);
    updated.use_usual_tools();
    updated.update();
    Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After).kill(&mut updated);
    ipp.change(1, HERE, "state = 'new', epoch = '2031-01-01 00:00:00'");
    updated.world.ok(&["sync"]);
    updated.world.ok(&["run"]);
    updated.expect_replaced();
    let rows = ipp.lines("SELECT CONCAT_WS(' ', minidvodb_id, state, fault) FROM minidvodbCopy");
    assert_eq!(rows, ["1 full 0"]);
}

#[test]
fn a_target_that_is_deleted_in_the_middle_of_an_exchange_settles_it_when_it_is_back() {
    let mut updated = Updated::new(HERE, Way::Renames);
    Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After).kill(&mut updated);
    updated.world.ok(&["target", "del", HERE, "ThreePi"]);
    updated.world.ok(&["run"]).is_silent();
    updated.expect_both_whole("no target");
    let elsewhere = updated.world.root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    updated.world.ok(&["target", "add", "ThreePi", HERE, elsewhere.as_str()]);
    updated.world.ok(&["run"]).is_silent();
    updated.world.expect_arrived("ThreePi.1");
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    assert_eq!(updated.world.standing(1), "full 0");
    assert_eq!(names_in(&elsewhere), Vec::<String>::new());
}

#[test]
fn a_path_that_is_gone_in_the_middle_of_an_exchange_is_the_targets_fault_and_it_goes_on_when_it_is_back() {
    let mut updated = Updated::new(HERE, Way::Renames);
    Moment::new("between", "mv", "*' -nT -- ./ThreePi.1 '*", Hold::After).kill(&mut updated);
    let away = updated.world.root.join("away");
    fs::rename(updated.world.there(), &away).unwrap();
    updated.world.run(&["run"]).expect(1).says("fault 221");
    assert_eq!(updated.world.standing(1), "full 221");
    fs::rename(&away, updated.world.there()).unwrap();
    updated.world.ok(&["copy", "ThreePi", HERE, updated.world.there().as_str()]);
    updated.expect_replaced();
}

#[test]
fn a_new_folder_that_was_changed_before_it_was_recorded_is_a_persons_business_once() {
    let mut updated = Updated::new(HERE, Way::Renames);
    Moment::new("renamed", "sync", "*' -- . '*", Hold::After).kill(&mut updated);
    fs::write(updated.there().join("scribble"), "x").unwrap();
    updated.world.run(&["run"]).expect(1).says("fault 231");
    assert_eq!(updated.world.standing(1), "full 231");
    let attempts = updated.world.copy(1)["attempts"].clone();
    updated.world.ok(&["run"]).is_silent();
    updated.world.ok(&["run"]).is_silent();
    assert_eq!(updated.world.copy(1)["attempts"], attempts, "it waits for a person");
    assert!(updated.places().iter().any(|place| updated.is_old(place)), "the old one is whole still");
    // The way out: move it away, and say so.
    fs::rename(updated.there(), updated.world.root.join("away")).unwrap();
    updated.recopy(&[]).expect(0);
    updated.world.expect_arrived("ThreePi.1");
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
    updated.world.ok(&["ledger", "check"]);
}

#[test]
fn a_removed_copy_at_an_older_path_is_not_sent_below_the_mount_point_of_its_disk() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut disk = Mount::tmpfs(&world.there(), "size=8m");
    world.prepare(HERE, 2);
    world.ok(&["run", "--limit", "1"]);
    let elsewhere = world.root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    world.ok(&["target", "add", "ThreePi", HERE, elsewhere.as_str()]);
    disk.unmount();
    world.run(&["recopy", "1"]).expect(1).says("fault 227").says("mount its disk");
    assert_eq!(names_in(&world.there()), Vec::<String>::new());
    assert_eq!(world.standing(1), "full 227");
    // It is not the target's business: what goes to its own path goes on.
    world.run(&["run"]);
    assert_eq!(world.standing(2), "full 0");
    assert_eq!(names_in(&world.there()), Vec::<String>::new());
    world.ok(&["recopy", "1", "--cancel"]);
    assert_eq!(world.standing(1), "full 0");
}

#[test]
fn a_copy_verified_quickly_is_sent_again_and_verified_by_checksum() {
    let updated = Updated::new(HERE, Way::Exchange);
    updated.world.ok(&[
        "target",
        "add",
        "ThreePi",
        HERE,
        updated.world.there().as_str(),
        "--verify",
        "quick",
    ]);
    updated.recopy(&[]).expect(0).is_silent();
    // Sizes and times prove nothing of what became a link to the old folder's files.
    assert_eq!(updated.world.copy(1)["verified"], "checksum");
    updated.world.expect_arrived("ThreePi.1");
    assert_eq!(updated.world.names_there(), ["ThreePi.1"]);
}
