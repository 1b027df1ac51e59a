//! `script`: a file of the wiki page's words.
//!
//! Invariant: nothing of a script is done unless all of it can be read.

use std::fs::File;
use std::io::{self, Read};

use super::words::{self, Step};
use crate::cli::Script;
use crate::cli::script::{self, MAX_BYTES};
use crate::error::{Error, Exit, Result};
use crate::pass::Context;

pub(super) fn execute(context: &Context, command: &Script) -> Result<Exit> {
    let is_stdin = command.file == "-" || command.file == "/dev/stdin";
    let shown = if is_stdin { "standard input" } else { &command.file };
    let bytes = read(is_stdin, shown)?;
    let lines = script::parse(&bytes).map_err(|bad| {
        Error::usage(bad.why)
            .at(place(shown, bad.number))
            .hint("nothing of the script was done; mend the line and type it again")
    })?;
    let steps: Vec<Step> = lines
        .into_iter()
        .map(|line| Step { word: line.word, place: Some(place(shown, line.number)) })
        .collect();
    words::execute(context, &steps)
}

/// A line as compilers name it.
fn place(shown: &str, number: usize) -> String {
    format!("{}:{number}", shown.escape_debug())
}

/// The whole script, or a refusal of one that is too long to be one.
fn read(is_stdin: bool, shown: &str) -> Result<Vec<u8>> {
    let refused = |error: &dyn std::fmt::Display| {
        Error::usage(format!("cannot read the script {}: {error}", shown.escape_debug()))
            .hint("name a file with the wiki page's words, or - for standard input")
    };
    let from: Box<dyn Read> = if is_stdin {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(shown).map_err(|error| refused(&error))?)
    };
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_BYTES).map_err(Error::bug)?;
    from.take(most + 1).read_to_end(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => refused(&"it is a folder"),
        _ => refused(&error),
    })?;
    if bytes.len() > MAX_BYTES {
        return Err(refused(&format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
