//! The hash that records and tables are proved by.
//!
//! Invariant: the same parts give the same hash in every version of this program, since it lies on the disk.

use std::cell::RefCell;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What is no longer than this is hashed in one go, which is several times faster.
const SHORT_BYTES: usize = 1024;

thread_local! {
    /// Where parts are put one behind the other.
    static ALL: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SHORT_BYTES));
}

/// The xxh3 of some parts, each with its length in front of it.
pub(super) fn hash_of<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let total: usize = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
    if total > SHORT_BYTES {
        return hash_in_steps(parts);
    }
    ALL.with_borrow_mut(|all| {
        all.clear();
        for part in parts {
            all.extend_from_slice(&(part.len() as u64).to_le_bytes());
            all.extend_from_slice(part);
        }
        xxh3_64(all)
    })
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
