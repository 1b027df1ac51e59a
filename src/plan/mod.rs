//! The rules of the pass: what to queue, what to load, whether there is room, when to try again, what to say,
//! and what is to be expected.
//!
//! Invariant: everything here is pure: values in, decisions out, `now` among the values. No disk, no
//! network, no clock, no ledger.

pub mod audit;
pub mod by_hand;
pub mod forecast;
pub mod load;
pub mod merge;
pub mod notice;
pub mod queue;
pub mod retry;
pub mod space;
