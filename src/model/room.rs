//! Room on a file system, and what something takes of it.
//!
//! Invariant: counted as `df` counts, and in whole blocks of the file system in question.

/// A file system's room, as `df -Pk`, `df -Pi` and `stat -f` show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its whole size, in bytes.
    pub total_bytes: u64,
    /// What an ordinary user may still write, in bytes.
    pub free_bytes: u64,
    /// The percentage used, as `df` prints it.
    pub used_percent: u8,
    /// Inodes: all, and those still free; none where the file system does not count them.
    pub inodes: Option<Inodes>,
    /// The size of a block, in bytes.
    pub block_bytes: u64,
}

/// The inodes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inodes {
    /// All of them.
    pub total: u64,
    /// Those still free.
    pub free: u64,
}

/// What something takes at the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Allocated bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Need {
    /// The need of one file or folder of `bytes`, in whole blocks.
    pub fn of_file(bytes: u64, block_bytes: u64) -> Self {
        let block = block_bytes.max(1);
        Self { bytes: bytes.div_ceil(block).saturating_mul(block), inodes: 1 }
    }
}

impl std::ops::AddAssign for Need {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

/// The percentage used, as `df` computes it: of what an ordinary user can have, rounded up.
pub fn used_percent(used: u64, available: u64) -> u8 {
    let all = u128::from(used) + u128::from(available);
    if all == 0 {
        return 100;
    }
    u8::try_from((u128::from(used) * 100).div_ceil(all)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_is_rounded_up_as_df_does() {
        assert_eq!(used_percent(97, 3), 97);
        assert_eq!(used_percent(970_001, 29_999), 98);
        assert_eq!(used_percent(0, 10), 0);
        assert_eq!(used_percent(u64::MAX, 0), 100);
        assert_eq!(used_percent(0, 0), 100);
    }

    #[test]
    fn a_file_takes_whole_blocks_and_an_inode() {
        assert_eq!(Need::of_file(1, 4096), Need { bytes: 4096, inodes: 1 });
        assert_eq!(Need::of_file(0, 4096), Need { bytes: 0, inodes: 1 });
        assert_eq!(Need::of_file(8192, 4096), Need { bytes: 8192, inodes: 1 });
    }
}
