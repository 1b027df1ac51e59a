//! The main job: import, target, host, run, and what `list` then says.

use super::world::World;

#[test]
fn a_pass_copies_every_merged_minidvodb_over_ssh() {
    let world = World::with_sshd();
    world.prepare("ipp0222", 2);
    world.ok(&["run"]).is_silent();
    for (id, name) in [(1, "ThreePi.1"), (2, "ThreePi.2")] {
        assert_eq!(world.standing(id), "full 0");
        world.expect_arrived(name);
    }
    assert_eq!(world.names_there(), ["ThreePi.1", "ThreePi.2"], "no staging folder is left");
    let copy = world.copy(1);
    assert_eq!((copy["verified"].as_str(), copy["attempts"].as_u64()), (Some("checksum"), Some(1)));
    assert!(copy["dtime"].as_f64().unwrap() > 0.0);
    world.ok(&["run"]).is_silent();
}

#[test]
fn localhost_is_copied_to_without_ssh() {
    let world = World::new();
    world.prepare("localhost", 1);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.standing(1), "full 0");
    world.expect_arrived("ThreePi.1");
}
