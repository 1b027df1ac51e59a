//! The program as its users meet it: the real binary, real rsync, a real sshd on loopback, real files.
//!
//! One module for each family of commands or of bad luck; `world` owns everything that a test needs.

// A test fails by panicking, and a fixture's method that asserts hands its value on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wrong_self_convention)]

mod adopt;
mod adoption;
mod audit;
mod away;
mod basics;
mod by_hand;
mod check;
mod clocks;
mod database;
mod diary;
mod export;
mod filelog;
mod gone;
mod hosts;
mod input;
mod install;
mod ipp;
mod jobs;
mod kills;
mod ledger_file;
mod matrix;
mod merge;
mod metrics;
mod minidvodbs;
mod minidvodbtool;
mod mounts;
mod names;
mod old_ledgers;
mod order;
mod passes;
mod progress;
mod readme;
mod recopy;
mod report;
mod resources;
mod roots;
mod scan;
mod schema;
mod shared;
mod shown;
mod slow;
mod source;
mod space;
mod start;
mod status;
mod stream;
mod sync_kills;
mod tables;
mod torture;
mod trust;
mod values;
mod verify;
mod wiki;
mod words;
mod world;
