//! The words of the trade as types: minidvodb, target, host, copy, attempt; and the IPP database's rows.
//!
//! Invariant: a value of one of these types is legal; what is not is refused, by name, where it comes in.
//! The model does no input or output and knows no other part of the program.

mod attempt;
mod audit;
mod copy;
mod database;
#[cfg(test)]
#[path = "../../tests/fuzz/model.rs"]
mod fuzz;
mod minidvodb;
mod names;
mod room;
mod tally;
mod target;

pub use attempt::{Attempt, Outcome, Phase};
pub use audit::{Audit, Difference, Differences, Extent, Seen};
pub use copy::{
    Copy, CopyId, CopyState, FaultState, Publishing, Recopy, Taken, Verified, final_path, old_name, old_path,
    staged_name, staging_name, staging_path,
};
pub use database::{
    Address, BUCKET_IDS, BucketKey, BucketSum, Buckets, COPY_TABLE, Content, DatabaseRecord, EMPTY_SUM,
    LogEntry, NO_BUCKET, SUMMED_TABLES, Stray, TableRow, Tls, Tombstone, UNKNOWN_SUM, is_same_text,
};
pub use minidvodb::{Candidate, Minidvodb, MinidvodbId, MinidvodbState};
pub use names::{AbsolutePath, Group, Host, Machine, Name, Refused, STAGING};
pub use room::{Inodes, Need, Room, used_percent};
pub use tally::{Day, Kind, RoomSeen, Tally, day_of};
pub use target::{FileSystem, HostRecord, Stages, Standing, Target, Verify};
