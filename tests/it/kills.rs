//! Passes that are killed, wholly or in part, at any moment; and passes that meet each other.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Child;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo;
use xtask::processes::{self, Signal};

use super::slow::{self, Gate, Hold};
use super::world::{World, eventually, finish};

const HOST: &str = "ipp0222";

fn world_for(host: &str) -> World {
    if host == "localhost" { World::new() } else { World::with_sshd() }
}

/// A pass in the middle of sending, with all its descendants and its socket folder.
struct Met {
    pass: Child,
    children: Vec<u32>,
    socket: Option<Utf8PathBuf>,
}

#[track_caller]
fn meet(world: &World, host: &str) -> Met {
    let pass = slow::start_and_meet(world, &["run"]);
    let mut met = Met { children: Vec::new(), socket: slow::socket_folder(&pass), pass };
    for part in ["guard-process-group", "--partial-dir"] {
        assert!(slow::child_with(&met.pass, part).is_some(), "{part}");
    }
    if host != "localhost" {
        assert!(slow::child_with(&met.pass, "ControlMaster=yes").is_some());
        assert!(met.socket.as_ref().unwrap().is_dir());
    }
    met.children = processes::descendants(met.pass.id());
    met
}

#[track_caller]
fn expect_nothing_left(world: &World, children: &[u32], socket: Option<&Utf8PathBuf>) {
    slow::expect_gone(world, children, socket.map(|socket| socket.as_path()));
    if let Some(socket) = socket {
        assert!(!socket.exists(), "{socket} is left");
    }
}

/// Waits until the far end has noticed that the near end is gone.
#[track_caller]
fn far_end_rests(world: &mut World) {
    if world.sshd.is_some() {
        assert!(world.sshd().wait_until_idle(Duration::from_secs(30)));
    }
}

/// After a pass was cut off while sending: no fault; the next one goes on from there and makes the copy full.
#[track_caller]
fn expect_resumed(world: &mut World, host: &str) {
    far_end_rests(world);
    let complete = slow::complete_bytes(world, "ThreePi.1");
    assert!(complete >= 500_000, "{complete} bytes are still there");
    slow::log_rsync(world);
    slow::copy_now(world, host).expect(0);
    assert_eq!(slow::outcomes(world, 1), ["interrupted while sending", "full"]);
    let (sent, whole) = (slow::wire_bytes(world)[0], slow::source_bytes(world, "ThreePi.1"));
    assert!(sent < whole - complete + 100_000, "{sent} of {whole} bytes sent again, {complete} were there");
    assert_eq!(world.standing(1), "full 0");
    slow::expect_only(world, &["ThreePi.1"]);
}

#[track_caller]
fn killed_alone(host: &str) {
    let mut world = world_for(host);
    slow::prepare(&world, host, 1);
    let met = meet(&world, host);
    slow::kill_alone(met.pass);
    expect_nothing_left(&world, &met.children, met.socket.as_ref());
    expect_resumed(&mut world, host);
}

#[test]
fn after_sigkill_of_the_pass_alone_its_children_are_gone_and_the_next_pass_goes_on() {
    killed_alone(HOST);
}

#[test]
fn after_sigkill_of_a_pass_to_localhost_its_children_are_gone_and_the_next_pass_goes_on() {
    killed_alone("localhost");
}

#[track_caller]
fn stopped_by(host: &str, signal: Signal, code: i32) {
    let mut world = world_for(host);
    slow::prepare(&world, host, 1);
    let met = meet(&world, host);
    slow::signal(met.pass, signal).expect(code);
    expect_nothing_left(&world, &met.children, met.socket.as_ref());
    assert_eq!(world.standing(1), "new 0", "no fault");
    assert_eq!(slow::outcomes(&world, 1), ["interrupted while sending"], "recorded by the pass itself");
    expect_resumed(&mut world, host);
}

#[test]
fn sigint_ends_the_children_and_exits_130() {
    stopped_by(HOST, Signal::INT, 130);
}

#[test]
fn sigterm_ends_the_children_and_exits_143() {
    stopped_by(HOST, Signal::TERM, 143);
}

#[test]
fn sigterm_ends_a_pass_to_localhost_too() {
    stopped_by("localhost", Signal::TERM, 143);
}

/// The part of a single large file that has arrived is not sent again.
#[track_caller]
fn resumed_within_a_file(host: &str, signal: Signal) -> World {
    let mut world = world_for(host);
    slow::prepare(&world, host, 1);
    let big = world.source("ThreePi.1").join("Aaa.dat");
    let noise: Vec<u8> = (0..4_000_000u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (at * at)).to_le_bytes()[5])
        .collect();
    fs::write(&big, noise).unwrap();
    let pass = world.start(&["run"]);
    slow::until_staged(&world, "ThreePi.1", 2_500_000);
    let _ = slow::signal(pass, signal);
    far_end_rests(&mut world);
    assert!(!slow::staged(&world, "ThreePi.1").join("Aaa.dat").exists(), "met in the middle of it");
    slow::log_rsync(&mut world);
    slow::copy_now(&world, host).expect(0);
    let (sent, whole) = (slow::wire_bytes(&world)[0], slow::source_bytes(&world, "ThreePi.1"));
    assert!(sent < whole - 1_500_000, "{sent} of {whole} bytes sent again");
    slow::expect_only(&world, &["ThreePi.1"]);
    world
}

#[test]
fn what_is_shown_as_sent_is_what_was_sent() {
    let world = resumed_within_a_file(HOST, Signal::TERM);
    let (sent, whole) = (slow::wire_bytes(&world)[0] as f64, slow::source_bytes(&world, "ThreePi.1"));
    let shown = slow::attempts(&world, 1).pop().unwrap().sent_bytes;
    assert!((shown - sent).abs() < 500_000.0, "{sent} of {whole} bytes were sent again, {shown} are shown");
}

#[test]
fn a_large_file_goes_on_in_its_middle_after_sigkill() {
    let _ = resumed_within_a_file(HOST, Signal::KILL);
}

#[test]
fn a_large_file_to_localhost_goes_on_in_its_middle_after_sigterm() {
    let _ = resumed_within_a_file("localhost", Signal::TERM);
}

#[test]
fn a_large_file_to_localhost_goes_on_in_its_middle_after_sigkill() {
    let _ = resumed_within_a_file("localhost", Signal::KILL);
}

#[test]
fn a_far_end_that_hung_and_wakes_up_when_the_copy_is_full_leaves_it_as_it_is() {
    let mut world = World::with_sshd();
    slow::prepare(&world, HOST, 1);
    let met = meet(&world, HOST);
    let hung = world.sshd().sessions();
    world.sshd().freeze_sessions().unwrap();
    slow::kill_alone(met.pass);
    expect_nothing_left(&world, &met.children, met.socket.as_ref());
    slow::copy_now(&world, HOST).expect(0);
    slow::expect_only(&world, &["ThreePi.1"]);
    for pid in &hung {
        processes::signal(*pid, Signal::CONT).unwrap();
    }
    far_end_rests(&mut world);
    eventually("the far end has ended", || !hung.iter().any(|&pid| processes::is_running(pid)));
    slow::expect_only(&world, &["ThreePi.1"]);
}

/// Somebody kills one process of a pass: the pass ends by itself, soon, and a later one makes the copy full.
#[track_caller]
fn one_process_killed(host: &str, find: impl FnOnce(&World, &Child) -> u32) {
    let world = world_for(host);
    slow::prepare(&world, host, 1);
    let met = meet(&world, host);
    processes::signal(find(&world, &met.pass), Signal::KILL).unwrap();
    let ran = finish(met.pass);
    assert!(ran.code == 0 || ran.code == 1, "{ran:?}");
    let copy = world.copy(1);
    let class = copy["fault_class"].as_str().unwrap_or("none");
    assert!(copy["state"] == "new" && ["none", "retry"].contains(&class), "{copy}\n{}", ran.stderr);
    slow::expect_gone(&world, &met.children, met.socket.as_deref());
    slow::copy_now(&world, host).expect(0);
    assert_eq!(world.standing(1), "full 0");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_killed_rsync_is_no_persons_business() {
    one_process_killed(HOST, |_, pass| slow::child_with(pass, "--partial-dir").unwrap());
}

#[test]
fn a_killed_local_rsync_is_no_persons_business() {
    one_process_killed("localhost", |_, pass| slow::child_with(pass, "--partial-dir").unwrap());
}

#[test]
fn a_killed_receiver_of_a_local_rsync_is_no_persons_business() {
    one_process_killed("localhost", |_, pass| {
        let all = processes::descendants(pass.id());
        all.into_iter().rfind(|&pid| slow::command_line(pid).starts_with("rsync")).unwrap()
    });
}

#[test]
fn a_killed_ssh_is_no_persons_business() {
    one_process_killed(HOST, |_, pass| slow::child_with(pass, "ControlMaster=yes").unwrap());
}

#[test]
fn a_killed_ssh_client_of_rsync_is_no_persons_business() {
    one_process_killed(HOST, |_, pass| slow::child_with(pass, "ProxyCommand=false").unwrap());
}

#[test]
fn a_killed_guard_is_no_persons_business() {
    one_process_killed(HOST, |_, pass| slow::child_with(pass, "guard-process-group").unwrap());
}

#[test]
fn a_killed_session_of_sshd_is_no_persons_business() {
    one_process_killed(HOST, |world, _| {
        let sessions = world.sshd.as_ref().unwrap().sessions();
        sessions.into_iter().find(|&pid| slow::command_line(pid).contains("sshd")).unwrap()
    });
}

#[test]
fn a_killed_rsync_at_the_destination_is_no_persons_business() {
    one_process_killed(HOST, |world, _| {
        let sessions = world.sshd.as_ref().unwrap().sessions();
        sessions.into_iter().find(|&pid| slow::command_line(pid).contains("rsync --server")).unwrap()
    });
}

#[test]
fn a_killed_shell_at_the_destination_is_no_persons_business() {
    one_process_killed(HOST, |world, _| {
        let sessions = world.sshd.as_ref().unwrap().sessions();
        sessions.into_iter().find(|&pid| slow::command_line(pid).contains("/bin/sh -s")).unwrap()
    });
}

/// A pass to this machine in which a tool is killed where it works at the destination, once.
#[track_caller]
fn tool_killed(tool: &str, when: &str) -> World {
    let world = World::new();
    world.prepare("localhost", 1);
    let (folder, mark) = (world.root.join("deadly"), world.root.join("killed"));
    fs::create_dir(&folder).unwrap();
    let real = format!("/usr/bin/{tool}");
    assert!(Utf8Path::new(&real).exists());
    let deadly = format!(
        "#!/bin/sh\ncase \"$*\" in {when}) [ -e {mark} ] || {{ : > {mark}; kill -KILL $$; }};; esac\nexec {real} \"$@\"\n"
    );
    slow::write_program(&folder.join(tool), &deadly);
    let path = format!("{folder}:/usr/bin:/bin");
    let killed = finish(world.command(&["run"]).env("PATH", &path).spawn().unwrap());
    assert!(mark.exists(), "{tool} was not called");
    killed.expect(0);
    world
}

/// That is not the tool's failure, and nobody's business. What it had done or not done is seen by the next pass,
/// which has nothing to send.
#[track_caller]
fn one_tool_killed(tool: &str, when: &str) {
    let world = tool_killed(tool, when);
    assert_eq!(world.standing(1), "new 0");
    assert!(slow::outcomes(&world, 1)[0].starts_with("interrupted"), "{:?}", slow::outcomes(&world, 1));
    world.ok(&["run"]);
    assert_eq!(world.standing(1), "full 0");
    assert_eq!(slow::attempts(&world, 1)[1].sent_bytes, 0.0);
    assert_eq!(world.names_there(), ["ThreePi.1"]);
}

#[test]
fn a_killed_sync_at_the_destination_is_no_persons_business() {
    one_tool_killed("sync", "*");
}

#[test]
fn a_killed_mv_at_the_destination_is_no_persons_business() {
    one_tool_killed("mv", "'-nT '*");
}

#[test]
fn a_killed_mkdir_at_the_destination_is_called_again_at_once() {
    let world = tool_killed("mkdir", "*");
    assert_eq!(world.standing(1), "full 0");
    assert_eq!(world.names_there(), ["ThreePi.1"]);
}

#[test]
fn passes_that_end_well_leave_no_socket_folder() {
    let world = World::with_sshd();
    world.prepare(HOST, 4);
    for _ in 0..4 {
        let gate = Gate::closed(&world, "rsync", "*' -n '*", &Hold::Before);
        let reached = gate.reached();
        let pass = world.command(&["run", "--limit", "1"]).env("PATH", gate.path()).spawn().unwrap();
        gate.wait(reached + 1);
        let socket = slow::socket_folder(&pass).unwrap();
        assert!(socket.is_dir());
        gate.open();
        finish(pass).expect(0).is_silent();
        assert!(!socket.exists(), "{socket} is left");
    }
}

#[test]
fn a_pass_whose_guard_was_killed_leaves_no_socket_folder() {
    let world = World::with_sshd();
    slow::prepare(&world, HOST, 1);
    let met = meet(&world, HOST);
    processes::signal(slow::child_with(&met.pass, "guard-process-group").unwrap(), Signal::KILL).unwrap();
    finish(met.pass);
    expect_nothing_left(&world, &met.children, met.socket.as_ref());
}

/// A world whose copy was killed with its rename held at the gate: after it has been done, or before.
struct Renamed {
    world: World,
    inode: u64,
}

/// `tool` at the destination is held; `where_` it is then, the pass is killed.
#[track_caller]
fn killed_at(host: &str, tool: &str, pattern: &str, hold: &Hold) -> Renamed {
    let mut world = world_for(host);
    world.prepare(host, 1);
    let gate = Gate::closed(&world, tool, pattern, hold);
    let pass = if host == "localhost" {
        world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap()
    } else {
        world.set_path_there(&gate.path());
        world.start(&["run"])
    };
    gate.wait(1);
    slow::kill_alone(pass);
    gate.open();
    far_end_rests(&mut world);
    let there = world.there().join("ThreePi.1");
    let folder = if there.exists() { there } else { slow::staged(&world, "ThreePi.1") };
    let inode = fs::metadata(folder).unwrap().ino();
    Renamed { world, inode }
}

/// The rename was done when the pass was killed.
#[track_caller]
fn killed_after_rename(host: &str) -> Renamed {
    let renamed = killed_at(host, "mv", "*' -nT '*", &Hold::After);
    assert!(renamed.world.there().join("ThreePi.1").is_dir());
    assert_eq!(renamed.world.standing(1), "new 0");
    renamed
}

impl Renamed {
    /// The next pass makes the copy full without sending anything.
    #[track_caller]
    fn expect_completed(&self) {
        let world = &self.world;
        world.ok(&["run"]);
        assert_eq!(world.standing(1), "full 0");
        let attempts = slow::attempts(world, 1);
        assert_eq!(attempts.len(), 2);
        assert!(attempts[0].outcome.starts_with("interrupted"), "{attempts:?}");
        assert_eq!((attempts[1].sent_bytes, attempts[1].outcome.as_str()), (0.0, "full"));
        assert_eq!(world.names_there(), ["ThreePi.1"]);
        assert_eq!(fs::metadata(world.there().join("ThreePi.1")).unwrap().ino(), self.inode);
        assert!(world.copy(1)["dtime"].as_f64().unwrap() > 0.0);
        world.ok(&["run"]).is_silent();
    }
}

#[test]
fn a_pass_killed_after_the_rename_is_completed_by_the_next_one_without_sending() {
    let renamed = killed_after_rename(HOST);
    renamed.expect_completed();
    renamed.world.expect_arrived("ThreePi.1");
}

#[test]
fn a_pass_killed_while_the_rename_is_flushed_is_completed_by_the_next_one() {
    let renamed = killed_at(HOST, "sync", "*' -- . '*", &Hold::Before);
    renamed.expect_completed();
    renamed.world.expect_arrived("ThreePi.1");
}

#[test]
fn a_pass_killed_before_the_rename_is_completed_by_the_next_one_without_sending() {
    let renamed = killed_at("localhost", "mv", "*' -nT '*", &Hold::Before);
    assert!(!renamed.world.there().join("ThreePi.1").exists());
    renamed.expect_completed();
    renamed.world.expect_arrived("ThreePi.1");
}

/// SIGTERM while a program at the destination does not come back: the pass ends all the same, at once.
#[track_caller]
fn stopped_at(tool: &str, pattern: &str, hold: &Hold) {
    let mut world = World::with_sshd();
    world.prepare(HOST, 1);
    let gate = Gate::closed(&world, tool, pattern, hold);
    world.set_path_there(&gate.path());
    let pass = world.start(&["run"]);
    gate.wait(1);
    let children = processes::descendants(pass.id());
    slow::signal(pass, Signal::TERM).expect(143);
    expect_nothing_left(&world, &children, None);
    assert!(slow::outcomes(&world, 1)[0].starts_with("interrupted"));
    gate.open();
    far_end_rests(&mut world);
    world.ok(&["run"]);
    assert_eq!(slow::attempts(&world, 1)[1].sent_bytes, 0.0, "nothing is sent again");
    assert_eq!(world.standing(1), "full 0");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn sigterm_ends_a_pass_whose_destination_flushes_its_disk() {
    stopped_at("sync", "*' -- ./.minidvodbcopy'*", &Hold::Before);
}

#[test]
fn sigterm_ends_a_pass_whose_rename_does_not_come_back() {
    stopped_at("mv", "*' -nT '*", &Hold::After);
}

#[test]
fn a_rename_is_completed_although_the_source_has_changed_since() {
    let renamed = killed_after_rename("localhost");
    dvo::update(&renamed.world.source("ThreePi.1"), 5).unwrap();
    renamed.expect_completed();
}

#[test]
fn a_rename_is_completed_although_the_source_is_gone() {
    let renamed = killed_after_rename("localhost");
    fs::remove_dir_all(renamed.world.source("ThreePi.1")).unwrap();
    renamed.expect_completed();
}

#[test]
fn a_rename_is_completed_although_the_minidvodb_is_not_merged_any_more() {
    let renamed = killed_after_rename("localhost");
    let world = &renamed.world;
    let source = world.source("ThreePi.1");
    let header = "minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state";
    world.import_text(&format!("{header}\n1,x,ThreePi,{source},new\n")).expect(0);
    renamed.expect_completed();
}

#[test]
fn a_folder_that_somebody_put_in_place_of_the_renamed_one_is_left_alone() {
    let renamed = killed_after_rename("localhost");
    let world = &renamed.world;
    let there = world.there().join("ThreePi.1");
    fs::rename(&there, world.root.join("away")).unwrap();
    // Even an equal one is not ours.
    dvo::make(&there, dvo::Shape::tiny(), 77).unwrap();
    world.run(&["run"]).expect(1).says("fault 225");
    assert_eq!(world.standing(1), "new 225");
    dvo::make(&world.root.join("same"), dvo::Shape::tiny(), 77).unwrap();
    assert_eq!(xtask::tree::differences(world.root.join("same"), there).unwrap(), Vec::<String>::new());
}

#[test]
fn a_renamed_folder_that_somebody_changed_is_not_called_full() {
    for is_source_gone in [false, true] {
        let renamed = killed_after_rename("localhost");
        let world = &renamed.world;
        dvo::update(&world.there().join("ThreePi.1"), 5).unwrap();
        if is_source_gone {
            fs::remove_dir_all(world.source("ThreePi.1")).unwrap();
        }
        world.run(&["run"]).expect(1);
        let copy = world.copy(1);
        assert_eq!((copy["state"].as_str(), copy["fault_class"].as_str()), (Some("new"), Some("person")));
    }
}

#[test]
fn killed_twenty_five_times_at_any_moment_a_pass_loses_nothing() {
    const COPIES: u64 = 5;
    let world = World::with_sshd();
    slow::prepare(&world, HOST, COPIES);
    slow::set_rate(&world, HOST, "20000");
    let mut number = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..25 {
        let pass = world.start(&["run"]);
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Not to wait for anything, but to be early at times, and late at others.
        std::thread::sleep(Duration::from_millis((number >> 33) % 900));
        slow::kill_alone(pass);
    }
    for _ in 0..10 {
        if world.list().len() as u64 == COPIES && world.list().iter().all(|copy| copy["state"] == "full") {
            break;
        }
        slow::copy_now(&world, HOST);
    }
    let copies = world.list();
    let ids: Vec<_> = copies.iter().map(|copy| copy["minidvodb_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=COPIES).collect::<Vec<_>>(), "one row each");
    assert!(copies.iter().all(|copy| copy["state"] == "full"), "{copies:#?}");
    let names: Vec<_> = (1..=COPIES).map(|id| format!("ThreePi.{id}")).collect();
    slow::expect_only(&world, &names.iter().map(String::as_str).collect::<Vec<_>>());
    world.ok(&["ledger", "check"]);
}

/// Killed `count` times before it could connect.
#[track_caller]
fn killed_without_progress(world: &World, count: usize) {
    let gate = Gate::closed(world, "ssh", "*ControlMaster=yes*", &Hold::Before);
    for time in 1..=count {
        let pass = world.command(&["run"]).env("PATH", gate.path()).spawn().unwrap();
        gate.wait(time);
        slow::kill_alone(pass);
    }
    gate.open();
}

#[test]
fn the_eighth_interruption_in_a_row_without_progress_is_a_fault() {
    let world = World::with_sshd();
    world.prepare(HOST, 1);
    killed_without_progress(&world, 8);
    let ran = world.run(&["run"]);
    assert_eq!(world.standing(1), "new 241");
    assert_eq!(world.copy(1)["fault_class"], "retry");
    let outcomes = slow::outcomes(&world, 1);
    assert_eq!(outcomes[..7], vec!["interrupted while connecting"; 7]);
    assert!(outcomes[7].starts_with("fault 241"), "{outcomes:?}");
    ran.says("fault 241");
    world.ok(&["copy", "ThreePi", HOST, world.there().as_str()]);
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn the_seventh_interruption_in_a_row_is_none() {
    let world = World::with_sshd();
    world.prepare(HOST, 1);
    killed_without_progress(&world, 7);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(1), "full 0");
    slow::expect_only(&world, &["ThreePi.1"]);
}

#[test]
fn a_second_pass_for_the_same_host_and_group_keeps_out_of_the_way() {
    let world = World::with_sshd();
    slow::prepare(&world, HOST, 1);
    let pass = slow::start_and_meet(&world, &["run"]);
    let pid = pass.id().to_string();
    world.run(&["copy", "ThreePi", HOST, world.there().as_str()]).expect(75).says(&pid);
    world.ok(&["run"]).is_silent();
    let summary = world.ok(&["run", "--json"]).json();
    assert_eq!((summary["skipped"].as_u64(), summary["copied"].as_u64()), (Some(1), Some(0)));
    // Every reading command works meanwhile.
    assert_eq!(world.standing(1), "new 0");
    for reading in
        [&["list"][..], &["show", "1"], &["target", "show"], &["host", "show"], &["ledger", "check"]]
    {
        world.ok(reading);
    }
    assert!(processes::is_running(pass.id()), "it is still sending");
    slow::kill_alone(pass);
    // The lock goes with its holder, at once.
    slow::copy_now(&world, HOST).expect(0);
    slow::expect_only(&world, &["ThreePi.1"]);
}

/// Two passes are both about to send at the same moment; then both end well.
#[track_caller]
fn both_at_once(world: &World, first: &[&str], second: &[&str]) {
    let gate = Gate::closed(world, "rsync", "*partial-dir*", &Hold::Before);
    let passes =
        [first, second].map(|arguments| world.command(arguments).env("PATH", gate.path()).spawn().unwrap());
    eventually("both passes send at once", || gate.reached() == 2);
    gate.open();
    for pass in passes {
        finish(pass).expect(0).is_silent();
    }
    assert!(world.list().iter().all(|copy| copy["state"] == "full"));
    assert_eq!(world.list().len(), 2);
}

#[test]
fn passes_for_two_groups_to_one_host_work_at_the_same_time() {
    let world = World::with_sshd();
    world.prepare(HOST, 1);
    let other = world.make("Other.1", dvo::Shape::tiny());
    world.import(&[(2, "Other", &other)]);
    world.ok(&["target", "add", "Other", HOST, world.there().as_str()]);
    both_at_once(&world, &["run", "--group", "ThreePi"], &["run", "--group", "Other"]);
    slow::expect_only(&world, &["Other.1", "ThreePi.1"]);
}

#[test]
fn passes_for_two_hosts_work_at_the_same_time() {
    let world = World::with_sshd();
    world.prepare(HOST, 1);
    let there = world.root.join("there too");
    fs::create_dir(&there).unwrap();
    world.ok(&["target", "add", "ThreePi", "ipp031", there.as_str()]);
    world.ok(&["host", "add", "ipp031"]);
    both_at_once(&world, &["run", "--host", HOST], &["run", "--host", "ipp031"]);
    slow::expect_only(&world, &["ThreePi.1"]);
    let differences = xtask::tree::differences(world.source("ThreePi.1"), there.join("ThreePi.1")).unwrap();
    assert_eq!(differences, Vec::<String>::new());
}
