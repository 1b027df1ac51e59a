//! What is seen of a pass while it goes on: by other processes in its lock's file, by people on their terminal.
//!
//! Invariant: showing decides nothing, fails nothing, and costs a pass that nobody watches no more than the numbers
//! that its lock's file gets once a second.

use std::time::Instant;

use camino::Utf8Path;

use super::attempt::title;
use crate::lock::PassLock;
use crate::model::{Copy, Phase};
use crate::plan::forecast;
use crate::transfer::rsync::Glance;
use crate::transfer::stream::Outlook;
use crate::ui;
use crate::ui::screen::{Looks, Screen};

/// The terminal, and how far the pass is.
#[derive(Debug)]
pub(super) struct Show {
    screen: Screen,
    began: Instant,
    sums: Sums,
}

/// How far a pass is.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    done_copies: u64,
    expected_copies: u64,
    /// Bytes that were sent before the copy under way.
    before_bytes: u64,
    /// Bytes that the copy under way has sent, of those that it has to.
    sent_bytes: u64,
    total_bytes: u64,
}

impl Show {
    /// Nothing is shown before the first copy begins.
    pub(super) fn new(looks: Looks) -> Self {
        Self { screen: Screen::new(looks), began: Instant::now(), sums: Sums::default() }
    }

    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.screen.is_watched()
    }

    /// So many copies more are to be made.
    pub(super) fn expect(&mut self, copies: u64) {
        self.sums.expected_copies = self.sums.expected_copies.saturating_add(copies);
    }

    /// A copy begins.
    pub(super) fn begin(&mut self, copy: &Copy) {
        let sums = &mut self.sums;
        (sums.sent_bytes, sums.total_bytes) = (0, 0);
        sums.expected_copies = sums.expected_copies.max(sums.done_copies + 1);
        self.screen.begin(&title(copy));
        self.show_sums();
    }

    /// An attempt has reached a phase, which has so many bytes to deal with, or none.
    pub(super) fn phase(
        &mut self,
        lock: &mut PassLock,
        copy: &Copy,
        attempt: u32,
        phase: Phase,
        total_bytes: u64,
    ) {
        lock.show_phase(copy, attempt, phase, total_bytes);
        if phase == Phase::Sending {
            self.sums.total_bytes = total_bytes;
        }
        self.screen.show_phase(phase.as_str(), total_bytes);
    }

    /// Files go out as tars.
    pub(super) fn streamed(&mut self, lock: &mut PassLock, outlook: Outlook<'_>) {
        lock.show_sent(outlook.bytes);
        self.sums.sent_bytes = outlook.bytes;
        self.show_bytes(outlook.bytes, || outlook.file.map(<[u8]>::to_vec));
    }

    /// rsync sends from a folder, when so many bytes of it had been sent before.
    pub(super) fn sent(&mut self, lock: &mut PassLock, before: u64, glance: Glance, folder: &Utf8Path) {
        let bytes = before + glance.written_bytes();
        lock.show_sent(bytes);
        self.sums.sent_bytes = bytes;
        self.show_bytes(bytes, || glance.file_below(folder));
    }

    /// rsync compares a folder with the destination.
    pub(super) fn compared(&mut self, lock: &mut PassLock, glance: Glance, folder: &Utf8Path) {
        lock.show_done(glance.read_bytes());
        self.show_bytes(glance.read_bytes(), || glance.file_below(folder));
    }

    /// Which file is dealt with is only looked for where somebody watches.
    fn show_bytes(&mut self, bytes: u64, file: impl FnOnce() -> Option<Vec<u8>>) {
        if self.is_watched() {
            self.screen.show_bytes(bytes, file().as_deref());
            self.show_sums();
        }
    }

    /// The copy under way has come to an end, having sent so many bytes.
    pub(super) fn end(&mut self, lock: &mut PassLock, sent_bytes: u64) {
        lock.show_idle();
        let sums = &mut self.sums;
        sums.done_copies += 1;
        sums.before_bytes = sums.before_bytes.saturating_add(sent_bytes);
        (sums.sent_bytes, sums.total_bytes) = (0, 0);
        self.show_sums();
    }

    fn show_sums(&self) {
        if self.is_watched() {
            let text = self.sums.text(self.began.elapsed().as_secs_f64());
            self.screen.show_pass(self.sums.done_copies, self.sums.expected_copies, text);
        }
    }
}

impl Sums {
    /// Copies that are made, with the part of the one under way.
    fn done(&self) -> f64 {
        let part = match self.total_bytes {
            0 => 0.0,
            total => self.sent_bytes.min(total) as f64 / total as f64,
        };
        self.done_copies as f64 + part
    }

    /// "3 of 12 copies, 4.13 GiB, 92.1 MiB/s, about 2 min left"
    fn text(&self, elapsed_s: f64) -> String {
        let bytes = self.before_bytes.saturating_add(self.sent_bytes);
        let of = ui::count(self.expected_copies, "copy", "copies");
        let mut text = format!("{} of {of}, {}", self.done_copies, ui::size(bytes));
        if let Some(rate) = forecast::rate_bytes_per_s(bytes, elapsed_s) {
            text.push_str(&format!(", {}/s", ui::size(rate)));
        }
        let left_s = forecast::left_s(elapsed_s, self.done(), self.expected_copies as f64);
        // Of what has hardly begun nothing is foretold.
        let has_begun = self.done() >= 0.01;
        if let Some(left_s) = left_s.filter(|&left_s| left_s > 0 && has_begun) {
            text.push_str(&format!(", about {} left", ui::span(left_s)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pass_says_what_it_knows_and_no_more() {
        let mut sums = Sums { expected_copies: 4, ..Sums::default() };
        assert_eq!(sums.text(0.0), "0 of 4 copies, 0 B");
        (sums.sent_bytes, sums.total_bytes) = (152, 100 << 20);
        assert_eq!(sums.text(1.0), "0 of 4 copies, 152 B, 152 B/s");
        (sums.sent_bytes, sums.total_bytes) = (0, 0);
        sums.done_copies = 1;
        sums.before_bytes = 100 << 20;
        assert_eq!(sums.text(100.0), "1 of 4 copies, 100 MiB, 1 MiB/s, about 5 min left");
        sums.sent_bytes = 50 << 20;
        sums.total_bytes = 100 << 20;
        assert_eq!(sums.text(100.0), "1 of 4 copies, 150 MiB, 1.50 MiB/s, about 2 min 46 s left");
        sums.done_copies = 9;
        assert_eq!(sums.text(100.0), "9 of 4 copies, 150 MiB, 1.50 MiB/s");
    }
}
