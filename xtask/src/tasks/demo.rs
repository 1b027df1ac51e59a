//! `demo`: the tool's story, played on this machine: copies that arrive, and one that faults.
//!
//! Invariant: everything happens in a temporary folder and on the loopback address; nothing is left running or
//! lying about; and the demo fails when something does not come out as it says.

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use xtask::dvo::{self, Shape};
use xtask::setup::{self, Tool};
use xtask::sshd::{Sshd, SshdOptions};
use xtask::tree;

use super::build_release;
use super::program::{Minidvodb, Program, number, text, write_csv};

/// show the tool at work: a private ssh server, three copies, and a fault with its advice
#[derive(FromArgs)]
#[argh(subcommand, name = "demo")]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        setup::ensure_tools(&Tool::COPYING)?;
        let binary = build_release()?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-demo.").tempdir()?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        let stage = Stage::set(top, binary)?;
        stage.copies_arrive()?;
        stage.one_is_copied_by_hand()?;
        stage.a_fault_is_told()?;
        stage.the_host_recovers()?;
        drop(stage);
        temp.close().context("the demo's folder cannot be removed")?;
        println!("\n# That was all. The ssh server is ended, and the folder removed.");
        Ok(())
    }
}

const HOST: &str = "ipp0222";
const MACHINE: &str = "ipp022";
const HOST_REFUSED: i64 = 212;
const THREE_PI: &str = "ThreePi";
const SAS: &str = "SAS";

struct Stage {
    top: Utf8PathBuf,
    program: Program,
    sshd: Sshd,
}

impl Stage {
    fn set(top: &Utf8Path, binary: Utf8PathBuf) -> anyhow::Result<Stage> {
        say(&format!("Everything happens in {top}. {HOST} is a private ssh server on the loopback address."));
        let sshd = Sshd::start(&top.join("sshd"), SshdOptions::known_as(&[HOST, MACHINE]))?;
        sshd.probe(HOST)?;
        let program = Program { binary, state_dir: top.join("state"), ssh_config: sshd.config_path() };
        let stage = Stage { top: top.to_owned(), program, sshd };
        for group in [THREE_PI, SAS] {
            fs::create_dir_all(stage.destination(group))?;
        }
        println!("export MINIDVODBCOPY_STATE_DIR={}", stage.program.state_dir);
        println!("export MINIDVODBCOPY_SSH_CONFIG={}", stage.program.ssh_config);
        Ok(stage)
    }

    fn copies_arrive(&self) -> anyhow::Result<()> {
        say("Three merged minidvodbs in two groups.");
        let minidvodbs = [self.make(1, THREE_PI, 1)?, self.make(2, THREE_PI, 2)?, self.make(3, SAS, 1)?];
        self.import("minidvodbs.csv", &minidvodbs)?;
        say("Where those of one group go, and that this host is on.");
        self.play(&["target", "add", THREE_PI, HOST, self.destination(THREE_PI).as_str()], 0)?;
        self.play(&["host", "add", HOST, "--machine", MACHINE], 0)?;
        say("What cron runs. It is silent without a terminal, so -v.");
        self.play(&["-v", "run"], 0)?;
        self.play(&["list"], 0)?;
        self.play(&["show", "1"], 0)?;
        say("What arrived.");
        for minidvodb in &minidvodbs[..2] {
            self.check_arrived(minidvodb)?;
        }
        self.check_destination(THREE_PI, &["ThreePi.1", "ThreePi.2"])
    }

    fn one_is_copied_by_hand(&self) -> anyhow::Result<()> {
        say("The other group, copied by hand. The target is remembered.");
        self.play(&["-v", "copy", SAS, HOST, self.destination(SAS).as_str()], 0)?;
        self.check_arrived(&self.minidvodb(3, SAS, 1))?;
        self.check_destination(SAS, &["SAS.1"])?;
        say("A second pass finds nothing to do, and says nothing.");
        self.play(&["run"], 0)
    }

    fn a_fault_is_told(&self) -> anyhow::Result<()> {
        say(&format!("A fourth minidvodb. Meanwhile {HOST} lost our key."));
        self.sshd.revoke_key()?;
        self.import("more.csv", &[self.make(4, THREE_PI, 3)?])?;
        self.play(&["run"], 1)?;
        self.play(&["list"], 0)?;
        self.play(&["faults", &HOST_REFUSED.to_string()], 0)?;
        let copy = self.copy_of("ThreePi.3")?;
        let fault = number(&copy, "fault");
        ensure!(fault == Some(HOST_REFUSED), "ThreePi.3 shows fault {fault:?}, not {HOST_REFUSED}");
        ensure!(text(&copy, "state") == "new", "ThreePi.3 is not new any more");
        self.check_destination(THREE_PI, &["ThreePi.1", "ThreePi.2"])
    }

    fn the_host_recovers(&self) -> anyhow::Result<()> {
        say("The key is back. The next probe would find out by itself; `copy` looks now.");
        self.sshd.restore_key()?;
        self.play(&["-v", "copy", THREE_PI, HOST, self.destination(THREE_PI).as_str()], 0)?;
        self.play(&["list"], 0)?;
        self.check_arrived(&self.minidvodb(4, THREE_PI, 3))?;
        self.check_destination(THREE_PI, &["ThreePi.1", "ThreePi.2", "ThreePi.3"])
    }

    fn destination(&self, group: &str) -> Utf8PathBuf {
        self.top.join("data/ipp022.0/gpc1/mini-catdirs").join(group)
    }

    fn minidvodb(&self, id: u64, group: &'static str, number: u32) -> Minidvodb {
        let path = self.top.join("data/ipp004.0/minidvodbs").join(format!("{group}.{number}"));
        Minidvodb { id, group, path }
    }

    fn make(&self, id: u64, group: &'static str, number: u32) -> anyhow::Result<Minidvodb> {
        let minidvodb = self.minidvodb(id, group, number);
        let made = dvo::make(&minidvodb.path, Shape::tiny(), id)?;
        println!("{}: {} files, {} bytes", minidvodb.path, made.files, made.bytes);
        Ok(minidvodb)
    }

    fn import(&self, file: &str, minidvodbs: &[Minidvodb]) -> anyhow::Result<()> {
        let csv = self.top.join(file);
        write_csv(&csv, minidvodbs)?;
        println!("\n$ cat {csv}\n{}", fs::read_to_string(&csv)?.trim_end());
        self.play(&["minidvodb", "import", csv.as_str()], 0)
    }

    /// Shows the command, then what it says, then a bad exit code; fails on another code than this one.
    fn play(&self, args: &[&str], code: i32) -> anyhow::Result<()> {
        println!("\n$ minidvodbcopy {}", args.join(" "));
        io::stdout().flush()?;
        let status = self.program.command(args).status()?;
        if status.code() != Some(0) {
            println!("# {status}");
        }
        let command = args.join(" ");
        ensure!(
            status.code() == Some(code),
            "`minidvodbcopy {command}`: {status}, expected exit code {code}"
        );
        Ok(())
    }

    fn copy_of(&self, name: &str) -> anyhow::Result<Value> {
        let mut copies = self.program.copies()?;
        copies.retain(|copy| text(copy, "minidvodb_name") == name);
        ensure!(copies.len() == 1, "`list` knows {} copies of {name}, not one", copies.len());
        Ok(copies.remove(0))
    }

    /// The copy is full in the ledger, and the same byte by byte at the destination.
    fn check_arrived(&self, minidvodb: &Minidvodb) -> anyhow::Result<()> {
        let name = minidvodb.name();
        let state = text(&self.copy_of(name)?, "state").to_owned();
        ensure!(state == "full", "the copy of {name} is {state:?}, not full");
        let arrived = self.destination(minidvodb.group).join(name);
        let entries = tree::list(&arrived)?;
        if minidvodb.id == 1 {
            println!("\n{arrived}/");
            for entry in &entries {
                println!("{:>10}  {}", entry.bytes, entry.path.display());
            }
        }
        let differences = tree::differences(&minidvodb.path, &arrived)?;
        ensure!(differences.is_empty(), "{arrived} differs from its source: {}", differences.join("; "));
        println!("# {arrived}: {} entries, the same byte by byte as {}", entries.len(), minidvodb.path);
        Ok(())
    }

    /// Nothing but these names is there, no staging folder either.
    fn check_destination(&self, group: &str, names: &[&str]) -> anyhow::Result<()> {
        let folder = self.destination(group);
        let mut found = Vec::new();
        for item in folder.read_dir_utf8()? {
            found.push(item?.file_name().to_owned());
        }
        found.sort_unstable();
        ensure!(found == names, "{folder} holds {found:?}, expected {names:?}");
        Ok(())
    }
}

fn say(sentence: &str) {
    println!("\n# {sentence}");
}
