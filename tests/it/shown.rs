//! Output as it can be compared: the test's own folder, times and processes replaced by words.
//!
//! Also a queue without a single byte sent, for the tests that only look at tables.

use std::io::Write as _;
use std::process::Stdio;

use super::world::{Ran, World, finish};

/// The output with the folder of the test as `ROOT` and every time as `TIME`, cut to no other length.
pub fn shown(world: &World, text: &str) -> String {
    let text = text.replace(world.root.as_str(), "ROOT");
    let characters: Vec<char> = text.chars().collect();
    let (mut shown, mut place) = (String::new(), 0);
    while place < characters.len() {
        let rest = &characters[place..];
        let pattern = ["####-##-##T##:##:##Z", "####-##-## ##:##:##", "########T######Z"]
            .into_iter()
            .find(|pattern| fits(rest, pattern));
        match pattern {
            Some(pattern) => {
                shown.push_str("TIME");
                place += pattern.len();
            }
            None => {
                shown.push(characters[place]);
                place += 1;
            }
        }
    }
    shown
}

fn fits(text: &[char], pattern: &str) -> bool {
    text.len() >= pattern.len()
        && pattern.chars().zip(text).all(|(wanted, &c)| match wanted {
            '#' => c.is_ascii_digit(),
            other => c == other,
        })
}

/// Runs the binary with something on its standard input.
#[track_caller]
pub fn run_with_input(world: &World, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = world.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that refuses early need not read all of it.
    let _ = stdin.write_all(input);
    drop(stdin);
    finish(child)
}

/// Imports `GROUP.1` to `GROUP.COUNT` and queues them for a host, where nothing is sent.
#[track_caller]
pub fn queue(world: &World, group: &str, host: &str, count: u64) {
    let mut list = String::from("minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state\n");
    for id in 1..=count {
        list.push_str(&format!("{id},{group}.{id},{group},/data/{group}.{id},merged\n"));
    }
    world.import_text(&list).expect(0);
    world.ok(&["target", "add", group, host, "/data/there"]);
    world.ok(&["host", "add", host]);
    world.ok(&["stage", "off", "load"]);
    world.ok(&["run"]).is_silent();
    assert_eq!(world.list().len() as u64, count);
}

/// Numbers that look random and are the same in every run (xorshift64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
