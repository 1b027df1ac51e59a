//! `fuzz`: millions of damaged inputs for every parser; what is found is kept in `testdata/fuzz/`.

use argh::FromArgs;
use xshell::cmd;

use super::{cargo, shell};

/// throw damaged input at every parser
#[derive(FromArgs)]
#[argh(subcommand, name = "fuzz")]
pub(crate) struct Fuzz {
    /// cases of each target (1000000)
    #[argh(option, default = "1_000_000")]
    cases: u64,
}

impl Fuzz {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (shell, cargo, cases) = (shell()?, cargo(), self.cases.to_string());
        // Optimised for the time it takes to run, not for the time it takes to build.
        cmd!(shell, "{cargo} test --profile fuzz --package minidvodbcopy --lib -- fuzz")
            .env("PROPTEST_CASES", cases)
            .run()?;
        println!("each target withstood {} cases", self.cases);
        Ok(())
    }
}
