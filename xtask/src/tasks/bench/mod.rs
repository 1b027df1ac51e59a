//! `bench`: figures for the goals that the design was made for.
//!
//! Invariant: what is compared is measured in turn, on the same machine, in the same run; every sample is shown.

mod figures;
mod idle;
mod transfer;

use argh::FromArgs;

/// measure: `bench transfer` against rsync alone, `bench idle` for passes with nothing to do
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Bench {
    #[argh(subcommand)]
    what: What,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum What {
    Transfer(transfer::Transfer),
    Idle(idle::Idle),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            What::Transfer(transfer) => transfer.run(),
            What::Idle(idle) => idle.run(),
        }
    }
}
