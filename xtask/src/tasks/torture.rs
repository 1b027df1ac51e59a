//! `torture`: passes that are killed, hundreds of times, and what came of it.

use anyhow::ensure;
use argh::FromArgs;
use camino::Utf8PathBuf;
use xtask::setup::{self, Tool};

use super::build_release;

/// kill passes at chosen and at random moments, run them again until they are done, and check what they left
#[derive(FromArgs)]
#[argh(subcommand, name = "torture")]
pub(crate) struct Torture {
    /// how many rounds (300)
    #[argh(option, default = "300")]
    rounds: u64,
    /// the number of the first round; a round is made by its number (1)
    #[argh(option, default = "1")]
    seed: u64,
    /// rounds at once (twice the number of processors: a round waits more than it works)
    #[argh(option)]
    workers: Option<u64>,
    /// the program; else the release build of it is made
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

impl Torture {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COPYING)?;
        ensure!(self.rounds > 0, "--rounds 0 tests nothing: give at least 1");
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let torture = xtask::torture::Torture {
            binary: self
                .binary
                .clone()
                .map_or_else(build_release, |binary| Ok(binary.canonicalize_utf8()?))?,
            seed: self.seed,
            rounds: self.rounds,
            workers: self.workers.unwrap_or(2 * processors).clamp(1, self.rounds),
        };
        let began = std::time::Instant::now();
        let tally = torture.run(&|number| println!("round {number} survived"))?;
        println!("\n{tally}in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}
