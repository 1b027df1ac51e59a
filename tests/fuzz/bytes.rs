//! Bytes to throw at a parser: real ones, real ones that were damaged, and noise.
//!
//! `PROPTEST_CASES` says how many (`cargo xtask fuzz` sets it). A case that was found is kept in
//! `testdata/fuzz/`, and tried first from then on.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

/// Cases of each target where the environment does not say.
const CASES: u32 = 1500;

/// How a target is run; what it finds goes into the file of its name.
pub(crate) fn config(file: &'static str) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    Config {
        cases,
        max_shrink_iters: 2000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..Config::default()
    }
}

/// Every file in a folder of `testdata`.
pub(crate) fn samples(folder: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/testdata/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Something that is done to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize, usize),
    Double(usize, usize),
    Insert(usize, Vec<u8>),
}

/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 18] = [
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"%",
    b"-",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"99999999999999999999999",
    b"\xff",
    b"\xc3",
    "\u{202e}".as_bytes(),
    b"\\#012",
    b"\"",
    b"'",
    b",",
    b"/",
];

fn damage() -> impl Strategy<Value = Damage> {
    let piece = prop_oneof![(0..PIECES.len()).prop_map(|at| PIECES[at].to_vec()), vec(any::<u8>(), 0..6),];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, by)| Damage::Flip(at, by)),
        (any::<usize>(), 0..40usize).prop_map(|(at, count)| Damage::Cut(at, count)),
        (any::<usize>(), 0..40usize).prop_map(|(at, count)| Damage::Double(at, count)),
        (any::<usize>(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        let place = |at: usize| at % (bytes.len() + 1);
        match damage {
            Damage::Flip(at, by) if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] ^= by;
            }
            Damage::Flip(..) => {}
            Damage::Cut(at, count) => {
                let (from, to) = (place(at), (place(at) + count).min(bytes.len()));
                bytes.drain(from..to);
            }
            Damage::Double(at, count) => {
                let (from, to) = (place(at), (place(at) + count).min(bytes.len()));
                let part = bytes[from..to].to_vec();
                bytes.splice(to..to, part);
            }
            Damage::Insert(at, piece) => {
                let at = place(at);
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// One of the samples, damaged, or noise.
pub(crate) fn like(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let real = (0..samples.len(), vec(damage(), 0..8))
        .prop_map(move |(which, damages)| damaged(samples[which].clone(), damages));
    prop_oneof![8 => real, 1 => vec(any::<u8>(), 0..300)]
}

/// The same as text, lossily.
pub(crate) fn text_like(samples: &[&str]) -> impl Strategy<Value = String> + use<> {
    let samples = samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    like(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Words of a command line: known ones, damaged ones, and any bytes.
pub(crate) fn words_like(known: &'static [&'static str]) -> impl Strategy<Value = Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStringExt as _;
    let whole = (0..known.len()).prop_map(|at| known[at].as_bytes().to_vec());
    let word =
        prop_oneof![6 => whole, 1 => like(known.iter().map(|word| word.as_bytes().to_vec()).collect())];
    vec(word.prop_map(std::ffi::OsString::from_vec), 0..9)
}
