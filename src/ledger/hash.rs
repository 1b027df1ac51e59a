//! The hash that records and tables are proved by.
//!
//! Invariant: the same parts give the same hash in every version of this program, since it lies on the disk.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What is no longer than this is hashed in one go, which is several times faster.
const SHORT_BYTES: usize = 1024;

/// The xxh3 of some parts, each with its length in front of it.
pub(super) fn hash_of<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let total: usize = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
    if total > SHORT_BYTES {
        return hash_in_steps(parts);
    }
    let (mut all, mut at) = ([0; SHORT_BYTES], 0);
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        for bytes in [&length[..], part] {
            all[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
    }
    xxh3_64(&all[..total])
}

fn hash_in_steps<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_go_and_many_steps_give_the_same_hash() {
        let text: Vec<u8> = (0..2000_u32).map(|byte| (byte % 251) as u8).collect();
        for length in (0..SHORT_BYTES + 40).chain([2000]) {
            let parts = [&b"copies.1"[..], &text[..length % 7], &text[..length]];
            assert_eq!(hash_of(parts), hash_in_steps(parts), "{length}");
        }
    }
}
