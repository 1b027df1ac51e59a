//! The program as its users meet it: the real binary, real rsync, a real sshd on loopback, real files.
//!
//! One module for each family of commands or of bad luck; `world` owns everything that a test needs.

mod basics;
mod world;
