//! `minidvodb`: the list of minidvodbs known here.
//!
//! Invariant: a list is taken whole, or nothing of it is.

mod scan;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

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
const CHUNK: usize = 2_000;

pub(super) fn execute(context: &Context, command: MinidvodbCommand) -> Result<Exit> {
    match command.verb {
        MinidvodbVerb::Import(words) => import(context, &words),
        MinidvodbVerb::List(words) => list(context, &words).map(|()| Exit::Done),
    }
}

/// What an import did.
#[derive(Default)]
struct Counts {
    added: u64,
    changed: u64,
    unchanged: u64,
    unknown_states: std::collections::BTreeMap<String, u64>,
}

/// A list, or what is found under a folder.
fn import(context: &Context, words: &MinidvodbImport) -> Result<Exit> {
    let refused = |why: &str| {
        Err(Error::usage(why).hint("`minidvodbcopy help minidvodb import` shows what can be typed"))
    };
    match (&words.file, &words.scan, &words.group) {
        (Some(_), Some(_), _) => refused("a list and --scan cannot go together"),
        (None, None, _) => refused("name a list, or a folder with --scan DIR --group GROUP"),
        (None, Some(_), None) => refused("--scan needs --group: a folder does not say which group it is of"),
        (Some(_), None, Some(_)) => refused("--group goes with --scan: a list names the group of each"),
        (Some(_), None, None) if words.dry_run => refused("--dry-run goes with --scan"),
        (Some(file), None, None) => import_list(context, file).map(|()| Exit::Done),
        (None, Some(folder), Some(group)) => scan::import(context, folder, group, words.dry_run),
    }
}

fn import_list(context: &Context, file: &str) -> Result<()> {
    let is_stdin = file == "-" || file == "/dev/stdin";
    let shown = if is_stdin { "standard input" } else { file };
    let from: Box<dyn Read> = if is_stdin { Box::new(io::stdin()) } else { Box::new(open_list(shown)?) };
    // Spooled first: the ledger is not held open while a slow pipe is read.
    let spooled = spool(from, shown)?;
    state::prepare(&context.state_dir)?;
    let counts = context.ledger.write(|change| {
        let mut counts = Counts::default();
        let mut places: HashMap<u64, u64> = HashMap::new();
        read_list(&spooled, shown, |place, minidvodb| {
            if let Some(first) = places.insert(minidvodb.id.0, place) {
                let first = line_of(&spooled, first);
                let why = format!("minidvodb_id {} stands on line {first} too", minidvodb.id);
                return Err(at(shown, line_of(&spooled, place), why).into());
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
        if counts.added + counts.changed > 0 {
            change.raise_doubts();
        }
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

fn open_list(shown: &str) -> Result<File> {
    let refused = |error: &dyn std::fmt::Display| {
        Error::usage(format!("cannot read the list {}: {error}", shown.escape_debug()))
            .hint("name a CSV file, or - for standard input")
    };
    let file = File::open(shown).map_err(|error| refused(&error))?;
    match file.metadata() {
        Ok(meta) if meta.is_dir() => Err(refused(&"it is a folder")),
        Ok(_) => Ok(file),
        Err(error) => Err(refused(&error)),
    }
}

/// The list in a file of our own.
fn spool(mut from: impl Read, shown: &str) -> Result<File> {
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
            processed_fault: Some(fault.parse().map_err(|_| {
                format!("the fault '{}' is not a number from -32768 to 32767", fault.escape_debug())
            })?),
            is_from_database: false,
        })
    }
}

/// Reads a list, giving each minidvodb with its place in the file, in bytes.
pub(super) fn read_list(
    list: &File,
    shown: &str,
    mut take: impl FnMut(u64, Minidvodb) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = csv::ReaderBuilder::new().from_reader(BufReader::new(list));
    let header = reader.headers().map_err(|error| at(shown, 1, csv_reason(&error)))?.clone();
    let columns = Columns::find(&strip_mark(&header)).map_err(|why| at(shown, 1, why))?;
    let mut record = StringRecord::new();
    loop {
        let place = reader.position().byte();
        let is_record = reader
            .read_record(&mut record)
            .map_err(|error| at(shown, line_of(list, place), csv_reason(&error)))?;
        if !is_record {
            return Ok(());
        }
        let minidvodb = columns.read(&record).map_err(|why| at(shown, line_of(list, place), why))?;
        take(place, minidvodb)?;
    }
}

/// The number of the line that a record begins on, which may have empty lines before it.
fn line_of(list: &File, place: u64) -> u64 {
    let (mut line, mut at, mut buffer) = (1, 0, vec![0u8; LINE_MAX_BYTES]);
    loop {
        let count = match list.read_at(&mut buffer, at) {
            Ok(0) | Err(_) => return line,
            Ok(count) => count,
        };
        for (&byte, position) in buffer[..count].iter().zip(at..) {
            if position >= place && byte != b'\n' && byte != b'\r' {
                return line;
            }
            line += u64::from(byte == b'\n');
        }
        at += count as u64;
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
    let header = ["id", "name", "group", "path", "state", "fault"];
    let mut columns = render::Columns::new(&header, &[0]).within(context.ui.width());
    let (mut kept, mut chunks) = (Vec::new(), 0);
    each_chunk(context, words, |lines| {
        lines.iter().for_each(|line| columns.fit(line));
        chunks += 1;
        kept = if chunks == 1 { lines } else { Vec::new() };
        Ok(())
    })?;
    if chunks == 0 {
        let import = context.own_command(&["minidvodb", "import", "FILE"]);
        context.ui.tell(&format!("no minidvodb is known: `{import}` takes a list"));
        return Ok(());
    }
    context.ui.print(&columns.header())?;
    if chunks == 1 {
        return context.ui.print(&columns.rows(&kept));
    }
    // They are gone through twice where they are many: once for the columns' widths.
    each_chunk(context, words, |lines| context.ui.print(&columns.rows(&lines)))
}

/// Gives the minidvodbs that are meant to `take`, as rows of the table, so many at a time.
fn each_chunk(
    context: &Context,
    words: &MinidvodbList,
    mut take: impl FnMut(Vec<[String; 6]>) -> Result<()>,
) -> Result<()> {
    let is_wanted =
        |minidvodb: &Minidvodb| words.group.as_ref().is_none_or(|group| *group == minidvodb.group);
    let mut after = None;
    loop {
        let found = super::read_if_any(context, |ledger| ledger.minidvodbs_behind(after, CHUNK, is_wanted))?;
        let Some(last) = found.last() else { return Ok(()) };
        after = Some(last.id);
        take(found.iter().map(cells_of).collect())?;
        if found.len() < CHUNK {
            return Ok(());
        }
    }
}

fn cells_of(minidvodb: &Minidvodb) -> [String; 6] {
    [
        minidvodb.id.to_string(),
        minidvodb.minidvodb_name.clone().unwrap_or_else(|| "-".to_owned()),
        minidvodb.group.to_string(),
        minidvodb.path.to_string(),
        minidvodb.state.as_str().to_owned(),
        minidvodb.processed_fault.map_or_else(|| "-".to_owned(), |fault| fault.to_string()),
    ]
}
