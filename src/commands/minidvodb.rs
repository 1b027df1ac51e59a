//! `minidvodb`: the list of minidvodbs known here.
//!
//! Invariant: an import is taken whole, or nothing of it is.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use csv::StringRecord;

use crate::cli::{MinidvodbCommand, MinidvodbImport, MinidvodbList, MinidvodbVerb};
use crate::error::{Error, Exit, IoContext as _, Result};
use crate::ledger::{Failure, Imported, Look as _};
use crate::model::{AbsolutePath, Group, Minidvodb, MinidvodbId, MinidvodbState};
use crate::pass::Context;
use crate::{render, state, ui};

/// No line of a list of minidvodbs is longer.
const LINE_MAX_BYTES: usize = 64 * 1024;
/// Rows of `minidvodb list` that are printed at once.
const CHUNK: usize = 10_000;

pub(super) fn execute(context: &Context, command: MinidvodbCommand) -> Result<Exit> {
    match command.verb {
        MinidvodbVerb::Import(words) => import(context, &words)?,
        MinidvodbVerb::List(words) => list(context, &words)?,
    }
    Ok(Exit::Done)
}

/// What an import did.
#[derive(Default)]
struct Counts {
    added: u64,
    changed: u64,
    unchanged: u64,
    unknown_states: std::collections::BTreeMap<String, u64>,
}

fn import(context: &Context, words: &MinidvodbImport) -> Result<()> {
    let shown = if words.file == "/dev/stdin" { "standard input" } else { &words.file };
    let file = std::fs::File::open(&words.file).map_err(|error| {
        Error::usage(format!("cannot read the list {}: {error}", shown.escape_debug()))
            .hint("name a CSV file, or - for standard input")
    })?;
    // Spooled first: the ledger is not held open while a slow pipe is read.
    let spooled = spool(file, shown)?;
    state::prepare(&context.state_dir)?;
    let counts = context.ledger.write(|change| {
        let mut counts = Counts::default();
        let mut lines: HashMap<u64, u64> = HashMap::new();
        read_list(spooled, shown, |line, minidvodb| {
            if let Some(first) = lines.insert(minidvodb.id.0, line) {
                return Err(at(
                    shown,
                    line,
                    format!("minidvodb_id {} stands on line {first} too", minidvodb.id),
                )
                .into());
            }
            if !minidvodb.state.is_known() {
                *counts.unknown_states.entry(minidvodb.state.as_str().to_owned()).or_default() += 1;
            }
            match change.import_minidvodb(&minidvodb)? {
                Imported::Added => counts.added += 1,
                Imported::Changed => counts.changed += 1,
                Imported::Unchanged => counts.unchanged += 1,
            }
            Ok(())
        })?;
        Ok(counts)
    })?;
    for (word, count) in &counts.unknown_states {
        let minidvodbs = ui::count(*count, "minidvodb is", "minidvodbs are");
        context
            .ui
            .notice(&format!("{minidvodbs} in the state '{word}', which is not known here, and not copied"));
    }
    let Counts { added, changed, unchanged, .. } = counts;
    context
        .ui
        .tell(&format!("minidvodbs from {shown}: {added} added, {changed} changed, {unchanged} unchanged"));
    Ok(())
}

/// The list in a file of our own.
fn spool(mut from: impl Read, shown: &str) -> Result<std::fs::File> {
    use std::io::Seek as _;
    let mut spooled = tempfile::tempfile().or_configuration("cannot make a temporary file")?;
    let mut checked = LineLimit { from: &mut from, line: 1, line_bytes: 0 };
    io::copy(&mut checked, &mut spooled).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Error::usage(format!("{shown}: {error}; nothing of it is kept"))
            .hint("is this a CSV file with a header?"),
        _ => Error::configuration(format!("cannot read {shown}: {error}")),
    })?;
    spooled.rewind().or_configuration("cannot read a temporary file")?;
    Ok(spooled)
}

/// Refuses lines longer than [`LINE_MAX_BYTES`], so that no file can fill the memory.
struct LineLimit<R> {
    from: R,
    line: u64,
    line_bytes: usize,
}

impl<R: Read> Read for LineLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        for part in buffer[..count].split_inclusive(|&b| b == b'\n') {
            self.line_bytes += part.len();
            if self.line_bytes > LINE_MAX_BYTES {
                let message = format!("line {} is longer than {LINE_MAX_BYTES} bytes", self.line);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if part.ends_with(b"\n") {
                self.line += 1;
                self.line_bytes = 0;
            }
        }
        Ok(count)
    }
}

fn at(shown: &str, line: u64, why: impl std::fmt::Display) -> Error {
    Error::usage(format!("{shown}, line {line}: {why}"))
        .hint("nothing of the list is kept; mend the line and import again")
}

/// Where the columns are.
struct Columns {
    id: usize,
    name: usize,
    group: usize,
    path: usize,
    state: usize,
    fault: Option<usize>,
}

impl Columns {
    fn find(header: &StringRecord) -> Result<Self, String> {
        let find = |wanted: &str| -> Result<Option<usize>, String> {
            let mut places = header.iter().enumerate().filter(|(_, title)| title.trim() == wanted);
            let first = places.next().map(|(place, _)| place);
            match places.next() {
                None => Ok(first),
                Some(_) => Err(format!("the header has the column {wanted} twice")),
            }
        };
        let need = |wanted: &str| {
            find(wanted)?.ok_or_else(|| {
                format!(
                    "the header has no column {wanted}; it must have minidvodb_id,minidvodb_name,minidvodb_group,minidvodb_path,state, in any order"
                )
            })
        };
        Ok(Self {
            id: need("minidvodb_id")?,
            name: need("minidvodb_name")?,
            group: need("minidvodb_group")?,
            path: need("minidvodb_path")?,
            state: need("state")?,
            fault: find("fault")?,
        })
    }

    fn read(&self, record: &StringRecord) -> Result<Minidvodb, String> {
        let text = |place: usize| record.get(place).unwrap_or_default();
        let refused = |error: crate::model::Refused| error.to_string();
        let name = text(self.name);
        if name.len() > 64 || name.chars().any(char::is_control) {
            return Err(format!(
                "the minidvodb_name '{}' has more than 64 bytes or a control character",
                name.escape_debug()
            ));
        }
        let path = AbsolutePath::parse(text(self.path)).map_err(refused)?;
        path.name().map_err(|error| format!("the path '{path}': {error}"))?;
        let fault = self.fault.map(text).unwrap_or("0").trim();
        Ok(Minidvodb {
            id: MinidvodbId::parse(text(self.id).trim()).map_err(refused)?,
            minidvodb_name: (!name.is_empty()).then(|| name.to_owned()),
            group: Group::parse(text(self.group)).map_err(refused)?,
            path,
            state: MinidvodbState::parse(text(self.state).trim()).map_err(refused)?,
            processed_fault: fault.parse().map_err(|_| {
                format!("the fault '{}' is not a number from -32768 to 32767", fault.escape_debug())
            })?,
        })
    }
}

/// Reads a list, giving each minidvodb with the number of its line.
fn read_list(
    from: impl Read,
    shown: &str,
    mut take: impl FnMut(u64, Minidvodb) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = csv::ReaderBuilder::new().from_reader(BufReader::new(from));
    let header = reader.headers().map_err(|error| at(shown, 1, csv_reason(&error)))?.clone();
    let columns = Columns::find(&strip_mark(&header)).map_err(|why| at(shown, 1, why))?;
    let mut record = StringRecord::new();
    loop {
        let line = reader.position().line();
        if !reader.read_record(&mut record).map_err(|error| at(shown, line, csv_reason(&error)))? {
            return Ok(());
        }
        let line = record.position().map_or(line, csv::Position::line);
        let minidvodb = columns.read(&record).map_err(|why| at(shown, line, why))?;
        take(line, minidvodb)?;
    }
}

/// The header without the mark that some programs put in front of UTF-8.
fn strip_mark(header: &StringRecord) -> StringRecord {
    header.iter().map(|title| title.trim_start_matches('\u{feff}')).collect()
}

fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {}, and the header has {expected_len}", ui::count(*len, "field", "fields"))
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

fn list(context: &Context, words: &MinidvodbList) -> Result<()> {
    let rows = super::read_if_any(context, |ledger| {
        let mut rows = Vec::new();
        ledger.each_minidvodb(|minidvodb| {
            if words.group.as_ref().is_none_or(|group| *group == minidvodb.group) {
                rows.push(minidvodb);
            }
            Ok(true)
        })?;
        Ok(rows)
    })?;
    for (number, chunk) in rows.chunks(CHUNK).enumerate() {
        let mut table = render::new_table(&["id", "name", "group", "path", "state", "fault"]);
        render::align_right(&mut table, 0);
        for minidvodb in chunk {
            table.add_row(render::cells(&[
                &minidvodb.id.to_string(),
                minidvodb.minidvodb_name.as_deref().unwrap_or("-"),
                minidvodb.group.as_str(),
                minidvodb.path.as_str(),
                minidvodb.state.as_str(),
                &minidvodb.processed_fault.to_string(),
            ]));
        }
        let text = render::finish(&table);
        let text =
            if number == 0 { text.as_str() } else { text.split_once('\n').map_or("", |(_, rows)| rows) };
        context.ui.print(text)?;
    }
    if rows.is_empty() {
        context.ui.tell("no minidvodb is known: `minidvodbcopy minidvodb import FILE` takes a list");
    }
    Ok(())
}
