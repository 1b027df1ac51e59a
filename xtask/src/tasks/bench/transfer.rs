//! `bench transfer`: whole passes against everything else that an operator might copy a minidvodb with.
//!
//! Invariant: the methods take turns, and each round begins with another one; each first copy goes into a folder
//! that was never there before; everything earlier is on the disk when the clock starts; a copy counts only when
//! it was found complete; and what is not measured is named, with the reason. Old copies are emptied and not
//! removed, since many new files just after a removal can be several times slower.

mod commands;
mod goals;
mod lab;
mod methods;
mod phases;
mod rounds;
mod second;
mod tables;
mod trees;

use std::time::Duration;

use anyhow::{Context, ensure};
use argh::FromArgs;
use camino::{Utf8Path, Utf8PathBuf};
use xtask::dvo::Made;
use xtask::setup::{self, Tool};

use super::{check_room, place, program_or_build};
use lab::{Lab, Outcome};
use methods::{Method, Role};
use rounds::Rounds;
use trees::{Link, Tree};

/// time whole passes against rsync, fpsync, rclone and tar
#[derive(FromArgs)]
#[argh(subcommand, name = "transfer")]
pub(crate) struct Transfer {
    /// rounds that count (3)
    #[argh(option, default = "3")]
    runs: u32,
    /// a tree to copy: big, small, mix or recopy (a second copy with 1 % changed); may be repeated; else all
    #[argh(option)]
    tree: Vec<Tree>,
    /// a link to copy over: loopback or delayed (40 ms, 1 Gbit/s); may be repeated; else both
    #[argh(option)]
    link: Vec<Link>,
    /// files and bytes of the trees, as a share of the usual ones (1.0)
    #[argh(option, default = "1.0")]
    scale: f64,
    /// streams that a pass is told to send with; else what it does by itself
    #[argh(option)]
    streams: Option<u32>,
    /// seconds after which a run of somebody else's program is ended (120)
    #[argh(option, default = "120")]
    patience: u64,
    /// the program; else the release build of it is made
    #[argh(option)]
    binary: Option<Utf8PathBuf>,
}

/// Sources and copies of a first copy together stay about below this; those of second copies somewhat above.
const DISK_BYTES: u64 = 8 << 30;
/// A method of somebody else that takes longer is measured once only.
const SLOW_S: f64 = 40.0;

impl Transfer {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(self.runs > 0, "--runs 0 measures nothing: give at least 1");
        ensure!(self.scale > 0.0, "--scale {} leaves nothing to copy: give a number above 0", self.scale);
        setup::ensure_tools(&Tool::COPYING)?;
        let place = place()?;
        check_room(&place, (1.5 * DISK_BYTES as f64 * self.scale) as u64, "--scale")?;
        let binary = program_or_build(self.binary.as_deref())?;
        let temp = tempfile::Builder::new().prefix("minidvodbcopy-bench.").tempdir_in(place)?;
        let top = Utf8Path::from_path(temp.path()).context("the temporary folder's name is not UTF-8")?;
        println!("everything is in {top}, which is removed at the end");
        let missing = missing_peers();
        let mut met = Vec::new();
        for link in chosen(&self.link, &Link::ALL) {
            if let Some(obstacle) = link.obstacle() {
                println!("\n{}: not measured: {obstacle}", link.title());
                continue;
            }
            let mut lab = Lab::open(&top.join(link.name()), &binary, link, self.lab_options())?;
            for tree in chosen(&self.tree, &Tree::ALL) {
                met.extend(self.measure(&mut lab, tree, &missing)?);
                lab.clear()?;
            }
        }
        temp.close().context("the benchmark's folder cannot be removed")?;
        let not_met = met.iter().filter(|met| !**met).count();
        println!("\ngoals: {} met, {not_met} NOT met", met.len() - not_met);
        Ok(())
    }

    fn lab_options(&self) -> lab::Options {
        let patience = Duration::from_secs(self.patience);
        lab::Options { streams: self.streams, patience, disk_bytes: DISK_BYTES }
    }

    /// Measures one tree, prints its table and its goals, and tells of each goal that was judged if it is met.
    fn measure(&self, lab: &mut Lab, tree: Tree, missing: &[Missing]) -> anyhow::Result<Vec<bool>> {
        let link = lab.link();
        let made = tree.make(&lab.source(), link, self.scale)?;
        println!("\n### {}, {}: {} files, {} bytes\n", tree.title(), link.title(), made.files, made.bytes);
        let mut rounds = Rounds::default();
        let mut methods = Method::all_for(tree, link);
        methods.retain(|method| match missing.iter().find(|missing| method.tool() == Some(missing.tool)) {
            Some(missing) => {
                rounds.note(*method, format!("not measured: {}", missing.reason));
                false
            }
            None => true,
        });
        if tree == Tree::Recopy {
            self.second_copies(lab, made, &methods, &mut rounds)?;
        } else {
            self.first_copies(lab, made, &methods, &mut rounds)?;
        }
        tables::print(&rounds, &methods)?;
        Ok(goals::print(&goals::of(tree, link), &rounds))
    }

    /// One copy that does not count, which brings the source into memory, then the rounds.
    fn first_copies(
        &self,
        lab: &mut Lab,
        made: Made,
        methods: &[Method],
        rounds: &mut Rounds,
    ) -> anyhow::Result<()> {
        lab.first_copy(Method::Rsync, made)?;
        for round in 0..self.runs {
            self.round(round, methods, rounds, |method| lab.first_copy(method, made))?;
        }
        Ok(())
    }

    /// Each method has a copy of its own, and brings it up to date in each round, which begins with a change.
    fn second_copies(
        &self,
        lab: &mut Lab,
        made: Made,
        methods: &[Method],
        rounds: &mut Rounds,
    ) -> anyhow::Result<()> {
        let standing = second::make_standing_copies(lab, methods, made)?;
        for round in 0..self.runs {
            let changed = trees::change(&lab.source(), u64::from(round))?;
            println!("changed: {} files, {} bytes", changed.files, changed.bytes);
            let made = lab::contents(&lab.source())?;
            self.round(round, methods, rounds, |method| second::update(lab, method, &standing, made))?;
        }
        Ok(())
    }

    /// Lets every method have its turn, a different one first in each round, and prints its seconds at once: who
    /// breaks off a long run still has them.
    fn round(
        &self,
        round: u32,
        methods: &[Method],
        rounds: &mut Rounds,
        mut copy: impl FnMut(Method) -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<()> {
        rounds.begin();
        println!("round {}, in seconds:", round + 1);
        let mut order = methods.to_vec();
        order.rotate_left(round as usize % methods.len().max(1));
        for method in order {
            if round > 0 && rounds.has_note(method) {
                continue;
            }
            match copy(method) {
                Ok(Outcome::Done(measured)) => {
                    rounds.add(method, measured);
                    println!("  {:8.2} {}", measured.wall_s, method.title());
                    if method.role() == Role::Peer && measured.wall_s > SLOW_S && self.runs > 1 {
                        rounds.note(method, format!("one run only, as it takes more than {SLOW_S:.0} s"));
                    }
                }
                Ok(Outcome::GaveUp) => {
                    rounds.note(method, format!("more than {} s, then ended", self.patience));
                }
                Err(error) if method.role() == Role::Peer => {
                    rounds.note(method, format!("not measured: {error:#}"));
                }
                Err(error) => return Err(error.context(method.title())),
            }
        }
        Ok(())
    }
}

/// A peer's program that could not be had.
struct Missing {
    tool: Tool,
    reason: String,
}

/// Installs the peers where that is allowed; one that cannot be had is no error, and keeps no other away.
fn missing_peers() -> Vec<Missing> {
    Tool::COMPETING
        .into_iter()
        .filter_map(|tool| {
            let reason = setup::ensure_tools(&[tool]).err()?.to_string();
            Some(Missing { tool, reason })
        })
        .collect()
}

/// What was asked for, or everything.
fn chosen<T: Copy>(asked: &[T], all: &[T]) -> Vec<T> {
    if asked.is_empty() { all.to_vec() } else { asked.to_vec() }
}
