//! `bench resources`: the memory that commands take with a huge ledger, and a pass with a huge minidvodb.
//!
//! Invariant: every command that is measured ends with the exit code that it should.

use std::fs::{self, File};
use std::process::Stdio;

use anyhow::Context;
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use xtask::setup::{self, Tool};

use super::figures::{mebibytes, time};
use super::idle::{GROUP, HOST, ledger_bytes, prepare, queue_all};
use super::{check_room, place, program_or_build};
use crate::tasks::program::Program;

/// measure the memory of commands with a huge ledger and of a pass with a huge minidvodb
#[derive(FromArgs)]
#[argh(subcommand, name = "resources")]
pub(crate) struct Resources {
    /// copies in the ledger (1000000)
    #[argh(option, default = "1_000_000")]
    copies: u64,
    /// empty files in the minidvodb (1000000; 0: none is copied)
    #[argh(option, default = "1_000_000")]
    files: u64,
    /// memory that a command of the ledger may take, in MiB (64)
    #[argh(option, default = "64.0")]
    most: f64,
    /// the program; else the release build of it is made
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

/// Files in one folder of the minidvodb.
const FILES_PER_FOLDER: u64 = 1000;
/// What a ledger takes at most, and a file at both ends, in bytes on the disk.
const BYTES_PER_COPY: u64 = 4000;
const BYTES_PER_FILE: u64 = 1000;

impl Resources {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COPYING)?;
        let place = place()?;
        check_room(
            &place,
            self.copies * BYTES_PER_COPY + self.files * BYTES_PER_FILE,
            "--copies and --files",
        )?;
        let binary = program_or_build(self.binary.as_deref())?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-bench.").tempdir_in(place)?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        println!("\n  {:<62} {:>8} {:>9}", "command", "s", "peak MiB");
        if self.copies > 0 {
            self.measure_ledger(&prepare(&top.join("ledger"), binary.clone(), self.copies)?)?;
        }
        if self.files > 0 {
            self.measure_files(&top.join("files"), binary)?;
        }
        Ok(temp.close()?)
    }

    fn measure_ledger(&self, program: &Program) -> anyhow::Result<()> {
        queue_all(program, self.copies)?;
        println!(
            "  the ledger has {} copies, {:.0} MiB",
            self.copies,
            mebibytes(ledger_bytes(&program.state_dir)?)
        );
        let mut too_much = Vec::new();
        for (line, code) in [
            ("list", 0),
            ("list --format json", 0),
            ("list --format csv", 0),
            ("list --format mdc", 0),
            ("list --faulted", 0),
            ("export --format csv", 0),
            ("export --format json", 0),
            ("export --format sql", 0),
            ("export --format mdc", 0),
            ("minidvodb list", 0),
            ("show 1", 0),
            ("faults", 0),
            ("status", 0),
            ("metrics", 0),
            ("report --output PAGE", 0),
            ("check", 0),
            ("run", 0),
            ("revert --all --dry-run", 0),
            ("update --id 1 --set-fault 201", 0),
            ("revert --id 1", 0),
            ("ledger check", 0),
            ("ledger backup", 0),
            ("ledger compact", 0),
            ("minidvodbtool -updateminidvodbcopy -state new -set_state full", 0),
            ("report --output PAGE", 0),
            // Nothing is there: it says so, and goes on.
            ("audit --limit 1000", 1),
            ("audit", 1),
        ] {
            let page = program.state_dir.join("../page.html");
            let words: Vec<&str> =
                line.split(' ').map(|word| if word == "PAGE" { page.as_str() } else { word }).collect();
            let sample = time(program.command(&words).stdout(Stdio::null()).stderr(Stdio::null()), code)?;
            let peak = mebibytes(sample.peak_bytes);
            println!("  {line:<62} {:8.2} {peak:9.1}", sample.wall_s);
            if peak > self.most {
                too_much.push(line);
            }
        }
        match too_much.as_slice() {
            [] => println!("  goal: at most {} MiB each: met", self.most),
            lines => println!("  goal: at most {} MiB each: not met by {}", self.most, lines.join(", ")),
        }
        Ok(())
    }

    /// A pass of one minidvodb with very many files, to this machine.
    fn measure_files(&self, top: &Utf8Path, binary: Utf8PathBuf) -> anyhow::Result<()> {
        let program = prepare(top, binary, 1)?;
        let source = top.join(format!("here/{GROUP}.1"));
        fs::create_dir_all(&source)?;
        fs::write(source.join("Images.dat"), "images")?;
        for number in 0..self.files {
            let folder = source.join(format!("n{:05}", number / FILES_PER_FOLDER));
            if number % FILES_PER_FOLDER == 0 {
                fs::create_dir(&folder)?;
            }
            File::create(folder.join(format!("{number:08}.cpt")))?;
        }
        let sample = time(program.command(&["run", "--host", HOST]).stdout(Stdio::null()), 0)?;
        anyhow::ensure!(program.count_copies("full", 0)? == 1, "the copy is not full");
        println!(
            "  {:<62} {:8.2} {:9.1}  (rsync's children among it)",
            format!("a pass of {} files", self.files),
            sample.wall_s,
            mebibytes(sample.peak_bytes)
        );
        Ok(())
    }
}
