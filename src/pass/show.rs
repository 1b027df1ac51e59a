//! What is seen of a pass while it goes on: by other processes in its lock's file, by people on their terminal.
//!
//! Invariant: showing decides nothing, fails nothing, and costs a pass that nobody watches no more than the numbers
//! that its lock's file gets once a second.

use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use camino::Utf8Path;

use super::attempt::title;
use crate::lock::PassLock;
use crate::model::{Copy, Phase};
use crate::plan::forecast;
use crate::transfer::rsync::Glance;
use crate::transfer::stream::Outlook;
use crate::ui;
use crate::ui::screen::{Lines, Looks, Screen};

/// The terminal, and how far the pass is with all its jobs.
#[derive(Debug)]
pub(super) struct Board {
    screen: Screen,
    began: Instant,
    sums: Mutex<Sums>,
}

/// What one job shows.
#[derive(Debug)]
pub(super) struct Show {
    board: Arc<Board>,
    job: usize,
    lines: Option<Lines>,
}

/// How far a pass is.
#[derive(Clone, Debug, Default)]
struct Sums {
    done_copies: u64,
    expected_copies: u64,
    /// Bytes that were sent before the copies under way.
    before_bytes: u64,
    /// The copy under way of each job.
    under_way: Vec<Part>,
}

/// How far the copy is that a job is at, if it is at one.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    is_begun: bool,
    /// Bytes that it has sent, of those that it has to.
    sent_bytes: u64,
    total_bytes: u64,
}

impl Board {
    /// Nothing is shown before the first copy begins.
    pub(super) fn new(looks: Looks, jobs: NonZeroU8) -> Arc<Self> {
        let jobs = usize::from(jobs.get());
        let sums = Sums { under_way: vec![Part::default(); jobs], ..Sums::default() };
        Arc::new(Self { screen: Screen::new(looks, jobs), began: Instant::now(), sums: Mutex::new(sums) })
    }

    /// What the job of this number, from 0, shows.
    pub(super) fn show(self: &Arc<Self>, job: usize) -> Show {
        Show { board: Arc::clone(self), job, lines: None }
    }

    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.screen.is_watched()
    }

    /// So many copies more are to be made.
    pub(super) fn expect(&self, copies: u64) {
        let mut sums = self.sums();
        sums.expected_copies = sums.expected_copies.saturating_add(copies);
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_sums(&self) {
        if self.is_watched() {
            let sums = self.sums();
            let text = sums.text(self.began.elapsed().as_secs_f64());
            self.screen.show_pass(sums.done_copies, sums.expected_copies, text);
        }
    }
}

impl Show {
    /// So many copies more are to be made.
    pub(super) fn expect(&mut self, copies: u64) {
        self.board.expect(copies);
    }

    /// A copy begins.
    pub(super) fn begin(&mut self, copy: &Copy) {
        self.board.sums().begin(self.job);
        if self.lines.is_none() {
            self.lines = self.board.screen.lines();
        }
        if let Some(lines) = &mut self.lines {
            lines.begin(&title(copy));
        }
        self.board.show_sums();
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
            self.board.sums().under_way[self.job].total_bytes = total_bytes;
        }
        if let Some(lines) = &mut self.lines {
            lines.show_phase(phase.as_str(), total_bytes);
        }
    }

    /// Files go out as tars.
    pub(super) fn streamed(&mut self, lock: &mut PassLock, outlook: Outlook<'_>) {
        lock.show_sent(outlook.bytes);
        self.board.sums().under_way[self.job].sent_bytes = outlook.bytes;
        self.show_bytes(outlook.bytes, || outlook.file.map(<[u8]>::to_vec));
    }

    /// rsync sends from a folder, when so many bytes of it had been sent before.
    pub(super) fn sent(&mut self, lock: &mut PassLock, before: u64, glance: Glance, folder: &Utf8Path) {
        let bytes = before + glance.written_bytes();
        lock.show_sent(bytes);
        self.board.sums().under_way[self.job].sent_bytes = bytes;
        self.show_bytes(bytes, || glance.file_below(folder));
    }

    /// rsync compares a folder with the destination.
    pub(super) fn compared(&mut self, lock: &mut PassLock, glance: Glance, folder: &Utf8Path) {
        lock.show_done(glance.read_bytes());
        self.show_bytes(glance.read_bytes(), || glance.file_below(folder));
    }

    /// The destination reads back what was sent.
    pub(super) fn read_back(&mut self, lock: &mut PassLock, outlook: Outlook<'_>) {
        lock.show_done(outlook.bytes);
        self.show_bytes(outlook.bytes, || outlook.file.map(<[u8]>::to_vec));
    }

    /// Which file is dealt with is only looked for where somebody watches.
    fn show_bytes(&mut self, bytes: u64, file: impl FnOnce() -> Option<Vec<u8>>) {
        if let Some(lines) = &self.lines {
            lines.show_bytes(bytes, file);
            self.board.show_sums();
        }
    }

    /// The copy under way has come to an end, having sent so many bytes.
    pub(super) fn end(&mut self, lock: &mut PassLock, sent_bytes: u64) {
        lock.show_idle();
        self.board.sums().end(self.job, sent_bytes);
        self.board.show_sums();
    }
}

impl Sums {
    fn begin(&mut self, job: usize) {
        self.under_way[job] = Part { is_begun: true, ..Part::default() };
        let begun = self.under_way.iter().filter(|part| part.is_begun).count() as u64;
        self.expected_copies = self.expected_copies.max(self.done_copies + begun);
    }

    fn end(&mut self, job: usize, sent_bytes: u64) {
        self.under_way[job] = Part::default();
        self.done_copies += 1;
        self.before_bytes = self.before_bytes.saturating_add(sent_bytes);
    }

    /// Copies that are made, with the parts of those under way.
    fn done(&self) -> f64 {
        let parts = self.under_way.iter().map(|part| match part.total_bytes {
            0 => 0.0,
            total => part.sent_bytes.min(total) as f64 / total as f64,
        });
        self.done_copies as f64 + parts.sum::<f64>()
    }

    /// "3 of 12 copies, 4.13 GiB, 92.1 MiB/s, about 2 min left"
    fn text(&self, elapsed_s: f64) -> String {
        let sent: u64 = self.under_way.iter().map(|part| part.sent_bytes).sum();
        let bytes = self.before_bytes.saturating_add(sent);
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
        let mut sums = Sums { expected_copies: 4, under_way: vec![Part::default(); 2], ..Sums::default() };
        assert_eq!(sums.text(0.0), "0 of 4 copies, 0 B");
        sums.begin(0);
        (sums.under_way[0].sent_bytes, sums.under_way[0].total_bytes) = (152, 100 << 20);
        assert_eq!(sums.text(1.0), "0 of 4 copies, 152 B, 152 B/s");
        sums.end(0, 100 << 20);
        assert_eq!(sums.text(100.0), "1 of 4 copies, 100 MiB, 1 MiB/s, about 5 min left");
        sums.begin(1);
        (sums.under_way[1].sent_bytes, sums.under_way[1].total_bytes) = (50 << 20, 100 << 20);
        assert_eq!(sums.text(100.0), "1 of 4 copies, 150 MiB, 1.50 MiB/s, about 2 min 46 s left");
        sums.begin(0);
        (sums.under_way[0].sent_bytes, sums.under_way[0].total_bytes) = (50 << 20, 100 << 20);
        assert_eq!(sums.text(100.0), "1 of 4 copies, 200 MiB, 2 MiB/s, about 1 min 40 s left");
        sums.done_copies = 9;
        assert_eq!(sums.text(100.0), "9 of 4 copies, 200 MiB, 2 MiB/s");
    }

    #[test]
    fn more_copies_under_way_than_were_expected_are_expected() {
        let mut sums = Sums { under_way: vec![Part::default(); 2], ..Sums::default() };
        sums.begin(0);
        sums.begin(1);
        sums.end(0, 0);
        sums.begin(0);
        assert_eq!(sums.text(0.0), "1 of 3 copies, 0 B");
    }
}
