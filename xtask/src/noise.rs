//! Bytes that look random and are the same for the same seed.
//!
//! Invariant: no clock and no global state; two machines make the same bytes. Not for secrets.

/// A stream of pseudo-random numbers (SplitMix64).
pub(crate) struct Noise {
    state: u64,
}

impl Noise {
    pub(crate) fn new(seed: u64) -> Noise {
        Noise { state: seed }
    }

    /// A stream of its own for part number `part`, so that one part's size does not change the next part.
    pub(crate) fn branch(seed: u64, part: u64) -> Noise {
        let mut noise = Noise::new(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        noise.next();
        noise
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Fills `bytes`, which general compression cannot shrink afterwards.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        let last = self.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}
