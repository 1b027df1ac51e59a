//! `cargo xtask TASK`: everything that is done to this repository besides editing it.
//!
//! Invariant: a task that did not do all it says ends with an error and exit code 1; a task that does not
//! exist, with the list of those that do and exit code 2.

#![allow(clippy::print_stdout, reason = "the tasks talk to the person who typed them")]

mod tasks;

use std::process::ExitCode;

use argh::{EarlyExit, FromArgs};

use tasks::{bench, demo, dist, fuzz, test, test_report, torture};

/// Tasks of the minidvodbcopy repository.
#[derive(FromArgs)]
struct Xtask {
    #[argh(subcommand)]
    task: Task,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Task {
    Demo(demo::Demo),
    Test(test::Test),
    TestReport(test_report::TestReport),
    Ci(test::Ci),
    Dist(dist::Dist),
    Bench(bench::Bench),
    Torture(torture::Torture),
    Fuzz(fuzz::Fuzz),
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let task = match Xtask::from_args(&[NAME], &args) {
        Ok(xtask) => xtask.task,
        Err(exit) => return explain(&exit),
    };
    match task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const NAME: &str = "cargo xtask";
const USAGE: u8 = 2;

impl Task {
    fn run(&self) -> anyhow::Result<()> {
        match self {
            Task::Demo(demo) => demo.run(),
            Task::Test(test) => test.run(),
            Task::TestReport(test_report) => test_report.run(),
            Task::Ci(ci) => ci.run(),
            Task::Dist(dist) => dist.run(),
            Task::Bench(bench) => bench.run(),
            Task::Torture(torture) => torture.run(),
            Task::Fuzz(fuzz) => fuzz.run(),
        }
    }
}

/// Help that was asked for goes to standard output; a mistake gets the reason and the list of tasks.
fn explain(exit: &EarlyExit) -> ExitCode {
    if exit.status.is_ok() {
        println!("{}", exit.output.trim_end());
        return ExitCode::SUCCESS;
    }
    eprintln!("{}\n", exit.output.trim_end());
    if let Err(help) = Xtask::from_args(&[NAME], &["--help"]) {
        eprintln!("{}", help.output.trim_end());
    }
    ExitCode::from(USAGE)
}
