//! An audit: a full copy compared with what was sent, and what came of it.
//!
//! Invariant: what differs is counted in full and named in part, so that a disk that lost everything fills
//! neither the memory nor the ledger.

use std::fmt;

use jiff::Timestamp;

/// How much of a full copy was compared, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Nothing: it was tried, and could not be done.
    Nothing,
    /// Nothing was left to compare it with: only that it is there.
    Presence,
    /// With the source, since no manifest was kept: presence, kind, size and time of everything.
    Source,
    /// With the manifest: presence, kind, size and time of everything.
    Quick,
    /// With the manifest, and the content of every file by its checksum.
    Checksum,
}

impl Extent {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Presence, Self::Source, Self::Quick, Self::Checksum];

    /// The word in the ledger and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Presence => "presence",
            Self::Source => "source",
            Self::Quick => "quick",
            Self::Checksum => "checksum",
        }
    }

    /// The same for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing could be compared",
            Self::Presence => "only that it is there, since there is nothing to compare it with",
            Self::Source => "by the source's sizes and times, since no manifest was kept",
            Self::Quick => "by the manifest's sizes and times",
            Self::Checksum => "by the manifest's checksums",
        }
    }
}

/// The last audit of a full copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When it was made.
    pub at: Timestamp,
    /// How much was compared.
    pub extent: Extent,
    /// By how much of a comparison the fault was found that stands since, if one does: a lesser one does not take
    /// it away.
    pub found_by: Option<Extent>,
    /// Whether the source is another one than what was sent: no fault of the copy.
    pub is_source_changed: bool,
    /// What was found, or why less was compared than was asked for; empty where there is nothing to say.
    pub said: String,
}

/// In what something differs from what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not there.
    Missing,
    /// It is there, and was not sent.
    Extra,
    /// It is a file, a folder, a symlink or something else, and was another of these.
    Kind,
    /// Its size.
    Size,
    /// The time at which it was written.
    Time,
    /// Its content, by its checksum.
    Content,
    /// It can't be read there.
    Unreadable,
}

impl Difference {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "is missing there",
            Self::Extra => "is extra there",
            Self::Kind => "is no longer what it was (file, folder, symlink)",
            Self::Size => "differs in size",
            Self::Time => "differs in time",
            Self::Content => "differs in content",
            Self::Unreadable => "can't be read there",
        }
    }
}

/// Everything in which a folder differs from what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// How many things are not there.
    pub missing: u64,
    /// How many differ, are extra, or can't be read.
    pub other: u64,
    /// What the host said of what it could not list; empty where it listed all.
    pub unlisted: String,
    named: Vec<String>,
}

impl Differences {
    /// So many are named.
    const NAMED: usize = 5;

    /// Notes a difference; `name` is asked for the first few.
    pub fn note(&mut self, difference: Difference, name: impl FnOnce() -> String) {
        self.count(difference, 1);
        if self.named.len() < Self::NAMED {
            self.named.push(format!("{} {}", name(), difference.words()));
        }
    }

    /// Whether one more would be named.
    pub fn has_room(&self) -> bool {
        self.named.len() < Self::NAMED
    }

    /// Notes differences without their names.
    pub fn count(&mut self, difference: Difference, more: u64) {
        match difference {
            Difference::Missing => self.missing += more,
            _ => self.other += more,
        }
    }

    /// Whether there is none.
    pub fn are_none(&self) -> bool {
        self.missing == 0 && self.other == 0 && self.unlisted.is_empty()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join(", "))?;
        let all = self.missing.saturating_add(self.other);
        match all.saturating_sub(self.named.len() as u64) {
            0 => {}
            more => write!(f, ", and {more} more")?,
        }
        if !self.unlisted.is_empty() {
            let comma = if self.named.is_empty() { "" } else { "; " };
            write!(f, "{comma}not all of it can be read there: {}", self.unlisted)?;
        }
        Ok(())
    }
}

/// What an audit saw under the final name of a full copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Gone,
    /// Something that is no folder: what it is, as `stat` says.
    Other(String),
    /// A folder that can't be entered, or of which nothing can be learnt: what was said.
    Closed(String),
    /// A folder that differs so much from what was sent.
    Folder(Differences),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_differences_a_few_are_named_and_all_are_counted() {
        let mut differences = Differences::default();
        assert!(differences.are_none());
        for number in 0..7 {
            differences.note(Difference::Missing, || format!("f{number}"));
        }
        differences.note(Difference::Size, || unreachable!());
        assert_eq!((differences.missing, differences.other), (7, 1));
        let words = differences.to_string();
        assert!(words.starts_with("f0 is missing there, f1 is missing there"), "{words}");
        assert!(words.ends_with("f4 is missing there, and 3 more"), "{words}");
    }
}
