//! The trees that are copied, and the links that they are copied over.
//!
//! Invariant: a tree is the same in every run of the benchmark. Over the delayed link it is smaller, because what
//! a single ssh connection carries there is.

use std::str::FromStr;

use camino::Utf8Path;
use xtask::dvo::{self, Made};
use xtask::slow_link::SlowLink;

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Big,
    Small,
    Mix,
    /// The mix once more, after a change, where its first copy is.
    Recopy,
}

impl Tree {
    pub(super) const ALL: [Tree; 4] = [Tree::Big, Tree::Small, Tree::Mix, Tree::Recopy];

    fn name(self) -> &'static str {
        match self {
            Tree::Big => "big",
            Tree::Small => "small",
            Tree::Mix => "mix",
            Tree::Recopy => "recopy",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Tree::Big => "big files",
            Tree::Small => "small files",
            Tree::Mix => "a DVO-like mix",
            Tree::Recopy => "a second copy of the mix with 1 % changed",
        }
    }

    /// Makes it at `dir`, with this share of its usual files and bytes.
    pub(super) fn make(self, dir: &Utf8Path, link: Link, scale: f64) -> anyhow::Result<Made> {
        let (files, bytes) = self.size(link);
        let (files_scaled, bytes) = ((files as f64 * scale) as u64, (bytes as f64 * scale) as u64);
        Ok(match self {
            Tree::Big => dvo::make_big_files(dir, files, bytes, 2)?,
            Tree::Small => dvo::make_many_small_files(dir, files_scaled.max(100), bytes, 1)?,
            Tree::Mix | Tree::Recopy => dvo::make_mix(dir, bytes, 3)?,
        })
    }

    /// Files (of a mix they follow from its shape) and bytes.
    fn size(self, link: Link) -> (u64, u64) {
        match (self, link) {
            (Tree::Big, Link::Loopback) => (23, 2_200_000_000),
            (Tree::Big, Link::Delayed) => (23, 1_100_000_000),
            (Tree::Small, Link::Loopback) => (40_000, 1_100_000_000),
            (Tree::Small, Link::Delayed) => (4_000, 110_000_000),
            (Tree::Mix | Tree::Recopy, Link::Loopback) => (0, 1_000_000_000),
            (Tree::Mix | Tree::Recopy, Link::Delayed) => (0, 300_000_000),
        }
    }
}

impl FromStr for Tree {
    type Err = String;

    fn from_str(text: &str) -> Result<Tree, String> {
        let tree = Tree::ALL.into_iter().find(|tree| tree.name() == text);
        tree.ok_or_else(|| format!("{text:?} is no tree: give big, small, mix or recopy"))
    }
}

/// Rewrites 1 % of the tree's bytes, others for each round.
pub(super) fn change(source: &Utf8Path, round: u64) -> anyhow::Result<Made> {
    let all = super::lab::contents(source)?;
    Ok(dvo::update_here_and_there(source, all.bytes / 100, 100 + round)?)
}

/// What it is copied over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Loopback,
    Delayed,
}

impl Link {
    pub(super) const ALL: [Link; 2] = [Link::Loopback, Link::Delayed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Link::Loopback => "loopback",
            Link::Delayed => "delayed",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Link::Loopback => "loopback ssh",
            Link::Delayed => "a link of 40 ms and 1 Gbit/s",
        }
    }

    /// Why it cannot be had here.
    pub(super) fn obstacle(self) -> Option<String> {
        match self {
            Link::Loopback => None,
            Link::Delayed => SlowLink::obstacle(),
        }
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Link, String> {
        let link = Link::ALL.into_iter().find(|link| link.name() == text);
        link.ok_or_else(|| format!("{text:?} is no link: give loopback or delayed"))
    }
}
