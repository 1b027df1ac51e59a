//! What the tests, the demo and the benchmarks of minidvodbcopy stand on: small imitations of DVO databases,
//! a private sshd and a private MariaDB on the loopback address, a link with delay, a proxy that loses database
//! connections on command, a headless browser and a look at its pictures, a comparison of two trees, the tools
//! of the machine, and what goes to other machines, with a check that a binary is static.
//!
//! Invariant: nothing here talks to any address but loopback and the far end of its own link, writes outside the
//! folder it was given (the installation of missing packages and sshd's own `/run/sshd` excepted), or ends a
//! process that it did not start. Only `torture` and `dist` know minidvodbcopy, and they from outside: its
//! commands, its lock file, its ledger's bytes.

pub mod chromium;
pub mod dist;
pub mod dvo;
pub mod elf;
mod fits;
pub mod mariadb;
mod noise;
pub mod pack;
pub mod picture;
pub mod processes;
pub mod proxy;
pub mod setup;
pub mod slow_link;
pub mod sshd;
pub mod torture;
pub mod tree;
