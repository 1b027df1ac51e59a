//! `bench delay-line`: the process that carries packets over the delayed link of `bench transfer`. A process of
//! its own, so that its memory does not count as that of the commands that are measured.

use std::env;
use std::io::{self, Write};
use std::process::Command;
use std::time::Duration;

use argh::FromArgs;
use xtask::slow_link::delay_line::{Wire, carry};

/// carry packets between two new TUN devices until standard input ends; `bench transfer` starts it
#[derive(FromArgs)]
#[argh(subcommand, name = "delay-line")]
pub(crate) struct DelayLine {
    /// delay from one end to the other, in microseconds
    #[argh(option)]
    delay_us: u64,
    /// bytes that pass in a second
    #[argh(option)]
    rate: u64,
    /// bytes that may wait for their turn
    #[argh(option)]
    queue: u64,
    /// the device at this end
    #[argh(positional)]
    here: String,
    /// the device at the other end
    #[argh(positional)]
    there: String,
}

impl DelayLine {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let delay = Duration::from_micros(self.delay_us);
        let wire = Wire { delay, rate_bytes_per_s: self.rate, queue_bytes: self.queue };
        let ready = || {
            let mut out = io::stdout();
            writeln!(out, "up")?;
            out.flush()
        };
        Ok(carry([&self.here, &self.there], wire, io::stdin(), ready)?)
    }
}

/// This program, about to be such a line; the names of the devices are still to be added.
pub(super) fn command(wire: Wire) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["bench", "delay-line"])
        .args(["--delay-us", &wire.delay.as_micros().to_string()])
        .args(["--rate", &wire.rate_bytes_per_s.to_string()])
        .args(["--queue", &wire.queue_bytes.to_string()]);
    Ok(command)
}
