//! A few rounds of `cargo xtask torture`, of which the whole is a task of its own.

use xtask::torture::Torture;

#[test]
fn passes_that_are_killed_again_and_again_lose_nothing() {
    let torture =
        Torture { binary: env!("CARGO_BIN_EXE_minidvodbcopy").into(), seed: 1, rounds: 10, workers: 1 };
    let tally = torture.run(&|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(tally.rounds, 10);
}
