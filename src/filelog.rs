//! The file log: what each pass did, event by event, in the state folder; with `-v` also on standard error.
//!
//! Every part of the program says what it does as `tracing` events, and knows no more of it; this listens.
//! Invariants: one line for an event, whole, with every control character escaped and of bounded length; a log
//! that cannot be written is said once to whoever watches, and never stops or fails anything. A command that
//! finds nothing to do writes one line. This must not know what a pass is: it is handed the clock, the command
//! line and the folder.

mod file;

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use camino::Utf8Path;
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context as Spans, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::error::{Exit, Result};
use crate::ui::{self, Ui};
use file::LogFile;

/// An event's text has at most about so many bytes; what children say has been clipped before.
const TEXT_MAX_BYTES: usize = 12_000;

/// What a panic said, for the log's last line.
static BUG: OnceLock<String> = OnceLock::new();

/// How much of a command is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Nothing: it only shows or sets something.
    Nothing,
    /// For whoever asked with `-v`; a dry run leaves no trace.
    Shown,
    /// All of it, in the file.
    Kept,
}

/// What the log is told of the program.
#[derive(Debug)]
pub struct Teller<'a> {
    /// The state folder.
    pub state_dir: &'a Utf8Path,
    /// What people see.
    pub ui: Ui,
    /// The clock.
    pub clock: fn() -> Timestamp,
    /// Who runs the program.
    pub user: &'a str,
    /// The command line.
    pub command_line: &'a str,
}

/// The log of this process, until its end is told.
#[derive(Debug)]
pub struct FileLog {
    listener: Option<Arc<Listener>>,
    began: Timestamp,
}

/// Begins to listen, once in a process.
pub fn begin(keeping: Keeping, teller: &Teller<'_>) -> FileLog {
    let began = (teller.clock)();
    if keeping == Keeping::Nothing {
        return FileLog { listener: None, began };
    }
    let opening = format!(
        "minidvodbcopy {}, user {}: {}",
        env!("CARGO_PKG_VERSION"),
        ui::shell_word(teller.user),
        teller.command_line
    );
    let listener = Arc::new(Listener {
        clock: teller.clock,
        ui: teller.ui,
        pid: std::process::id(),
        pages: Mutex::new(Pages {
            opening: Some((began, opening)),
            file: (keeping == Keeping::Kept).then(|| LogFile::new(teller.state_dir)),
            lost: 0,
            has_complained: false,
        }),
    });
    // Where somebody listens already, they go on.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(Ear(Arc::clone(&listener))));
    FileLog { listener: Some(listener), began }
}

/// Keeps what a panic said until the log is closed.
pub fn note_bug(text: &str) {
    let _ = BUG.set(text.to_owned());
}

impl FileLog {
    /// Tells how the command ended.
    pub fn end(mut self, result: &Result<Exit>) {
        let (exit, said) = match result {
            Ok(exit) => (*exit, String::new()),
            Err(error) => (error.exit, format!(": {error}")),
        };
        self.close(exit, &said);
    }

    fn close(&mut self, exit: Exit, said: &str) {
        let Some(listener) = self.listener.take() else { return };
        let now = (listener.clock)();
        let seconds = now.duration_since(self.began).as_secs_f64().max(0.0);
        let end = format!("exit {} after {seconds:.3} s{said}", exit as u8);
        let mut pages = listener.pages();
        match pages.opening.take_if(|_| exit == Exit::Done) {
            Some((_, opening)) => {
                listener.write(
                    &mut pages,
                    &Line::new(now, Level::INFO, format!("nothing to do: {opening}: {end}")),
                );
            }
            None => {
                let level = if matches!(exit, Exit::Done) { Level::INFO } else { Level::WARN };
                listener.write(&mut pages, &Line::new(now, level, format!("ended: {end}")));
            }
        }
    }
}

impl Drop for FileLog {
    /// Only a panic comes by here with the log still open.
    fn drop(&mut self) {
        let said = BUG.get().map_or("", String::as_str);
        self.close(Exit::Bug, &format!(": a bug: {said}"));
    }
}

/// Takes events, and writes them down.
struct Listener {
    clock: fn() -> Timestamp,
    ui: Ui,
    pid: u32,
    pages: Mutex<Pages>,
}

impl Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("pid", &self.pid).finish_non_exhaustive()
    }
}

struct Pages {
    /// The first line, until there is a second one.
    opening: Option<(Timestamp, String)>,
    file: Option<LogFile>,
    /// Lines that could not be written since the last that could.
    lost: u64,
    has_complained: bool,
}

/// An event, ready to be written but for what differs between a file and a terminal.
struct Line {
    at: Timestamp,
    level: Level,
    /// What it happened to: ` copy=3 attempt=1`.
    place: String,
    text: String,
    /// People have been told so in so many words.
    was_said: bool,
}

impl Line {
    fn new(at: Timestamp, level: Level, text: String) -> Self {
        Self { at, level, place: String::new(), text, was_said: false }
    }

    fn text(&self) -> String {
        ui::clip_middle(&ui::escape_all(&self.text), TEXT_MAX_BYTES)
    }
}

impl Listener {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, pages: &mut Pages, line: &Line) {
        if let Some((began, opening)) = pages.opening.take() {
            self.write(pages, &Line::new(began, Level::INFO, format!("began: {opening}")));
        }
        if !line.was_said {
            let time = line.at.strftime("%H:%M:%S%.3f");
            self.ui.detail(&format!("{time}{}: {}", line.place, line.text()));
        }
        let Some(file) = &mut pages.file else { return };
        let mut text = self.filed(line);
        if pages.lost > 0 {
            let lost = format!("{} lines before this could not be written", pages.lost);
            text.insert_str(0, &self.filed(&Line::new(line.at, Level::WARN, lost)));
        }
        match file.append(&text) {
            Ok(()) => pages.lost = 0,
            Err(why) => {
                pages.lost += 1;
                if !std::mem::replace(&mut pages.has_complained, true) {
                    let path = file.path();
                    self.ui.tell_only(&format!("the log {path} cannot be written, all else goes on: {why}"));
                }
            }
        }
    }

    /// A line of the file.
    fn filed(&self, line: &Line) -> String {
        let time = line.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        format!("{time} {} {}{}: {}\n", line.level, self.pid, line.place, line.text())
    }
}

/// The listener as `tracing` knows it.
struct Ear(Arc<Listener>);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Ear {
    /// What libraries have to say may hold what nobody should read.
    fn enabled(&self, metadata: &Metadata<'_>, _: Spans<'_, S>) -> bool {
        metadata.target().starts_with("minidvodbcopy") && *metadata.level() <= Level::INFO
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, spans: Spans<'_, S>) {
        let mut words = Words::default();
        attributes.record(&mut words);
        if let Some(span) = spans.span(id) {
            span.extensions_mut().insert(SpanPlace(words.values));
        }
    }

    fn on_event(&self, event: &Event<'_>, spans: Spans<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let mut place = String::new();
        for span in spans.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanPlace(values)) = span.extensions().get() {
                place.push_str(values);
            }
        }
        let line = Line {
            at: (self.0.clock)(),
            level: *event.metadata().level(),
            place,
            text: words.message + &words.values,
            was_said: event.metadata().target() == ui::SAID,
        };
        self.0.write(&mut self.0.pages(), &line);
    }
}

/// The values of a span, as they stand in front of what happens in it.
struct SpanPlace(String);

/// The fields of an event or span as text.
#[derive(Default)]
struct Words {
    message: String,
    values: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let word = ui::shell_word(format!("{value:?}"));
            let _ = write!(self.values, " {}={word}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_however_wild_and_long_its_text() {
        let line = Line::new(Timestamp::UNIX_EPOCH, Level::INFO, "a\nb\u{1b}[2J\u{202e}".to_owned());
        assert_eq!(line.text(), "a\\nb\\u{1b}[2J\\u{202e}");
        let line = Line::new(Timestamp::UNIX_EPOCH, Level::INFO, "\n".repeat(1 << 20));
        assert!(line.text().len() < TEXT_MAX_BYTES + 100);
    }
}
