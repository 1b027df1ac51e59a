//! Writes FITS files: an empty primary unit, then one binary table.
//!
//! Invariant: every file is valid FITS: cards of 80 bytes in blocks of 2880, the mandatory keywords in their
//! order, and exactly as many data bytes as the header declares, padded with zeros. Numbers in the rows are
//! noise; this module does not know what they would mean.

use std::io::{self, Write};

use crate::noise::Noise;

/// Header cards and data come in blocks of this many bytes.
pub(crate) const BLOCK_BYTES: u64 = 2880;
const CARD_BYTES: usize = 80;
const CHUNK_BYTES: u64 = 256 * 1024;

/// The type of a column, and for text how a row's value comes to be.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Text { width: usize, value: fn(u64) -> String },
    Short,
    Int,
    Long,
    Float,
    Double,
}

impl Form {
    fn bytes(self) -> usize {
        match self {
            Form::Text { width, .. } => width,
            Form::Short => 2,
            Form::Int | Form::Float => 4,
            Form::Long | Form::Double => 8,
        }
    }

    fn code(self) -> String {
        match self {
            Form::Text { width, .. } => format!("{width}A"),
            Form::Short => "1I".to_owned(),
            Form::Int => "1J".to_owned(),
            Form::Long => "1K".to_owned(),
            Form::Float => "1E".to_owned(),
            Form::Double => "1D".to_owned(),
        }
    }
}

/// One column of a binary table.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
}

/// The value of a header card.
pub(crate) enum Value {
    Flag(bool),
    Number(u64),
    Text(String),
}

/// A keyword of at most eight characters with its value.
pub(crate) type Card = (String, Value);

pub(crate) fn card(keyword: &str, value: Value) -> Card {
    (keyword.to_owned(), value)
}

/// The layout of a binary table.
pub(crate) struct Table {
    pub(crate) extname: &'static str,
    pub(crate) columns: &'static [Column],
}

impl Table {
    pub(crate) fn row_bytes(&self) -> u64 {
        self.columns.iter().map(|column| column.form.bytes() as u64).sum()
    }

    fn header(&self, rows: u64) -> Vec<Card> {
        let mut cards = vec![
            card("XTENSION", Value::Text("BINTABLE".to_owned())),
            card("BITPIX", Value::Number(8)),
            card("NAXIS", Value::Number(2)),
            card("NAXIS1", Value::Number(self.row_bytes())),
            card("NAXIS2", Value::Number(rows)),
            card("PCOUNT", Value::Number(0)),
            card("GCOUNT", Value::Number(1)),
            card("TFIELDS", Value::Number(self.columns.len() as u64)),
            card("EXTNAME", Value::Text(self.extname.to_owned())),
        ];
        for (index, column) in self.columns.iter().enumerate() {
            let number = index + 1;
            cards.push(card(&format!("TTYPE{number}"), Value::Text(column.name.to_owned())));
            cards.push(card(&format!("TFORM{number}"), Value::Text(column.form.code())));
        }
        cards
    }

    /// The text columns of one row, written over the noise.
    fn write_texts(&self, row_number: u64, row: &mut [u8]) {
        let mut start = 0;
        for column in self.columns {
            let end = start + column.form.bytes();
            if let Form::Text { value, .. } = column.form {
                let text = value(row_number);
                let field = &mut row[start..end];
                field.fill(0);
                let kept = text.len().min(field.len());
                field[..kept].copy_from_slice(&text.as_bytes()[..kept]);
            }
            start = end;
        }
    }
}

/// Bytes of a file with these cards and this table, without a single row.
pub(crate) fn empty_bytes(primary: &[Card], table: &Table) -> u64 {
    let primary = primary_header(primary).len();
    let extension = encode_header(&table.header(0)).len();
    (primary + extension) as u64
}

/// Writes the whole file and returns its size. `primary` are the cards after the mandatory ones.
pub(crate) fn write(
    out: &mut impl Write,
    primary: &[Card],
    table: &Table,
    rows: u64,
    noise: &mut Noise,
) -> io::Result<u64> {
    let primary = primary_header(primary);
    let extension = encode_header(&table.header(rows));
    out.write_all(&primary)?;
    out.write_all(&extension)?;
    let data_bytes = write_rows(out, table, rows, noise)?;
    let padding_bytes = data_bytes.next_multiple_of(BLOCK_BYTES) - data_bytes;
    out.write_all(&vec![0; padding_bytes as usize])?;
    Ok((primary.len() + extension.len()) as u64 + data_bytes + padding_bytes)
}

fn write_rows(out: &mut impl Write, table: &Table, rows: u64, noise: &mut Noise) -> io::Result<u64> {
    let row_bytes = table.row_bytes();
    let rows_per_chunk = (CHUNK_BYTES / row_bytes).clamp(1, rows.max(1));
    let has_text = table.columns.iter().any(|column| matches!(column.form, Form::Text { .. }));
    let mut chunk = vec![0; (rows_per_chunk * row_bytes) as usize];
    let mut done = 0;
    while done < rows {
        let now = rows_per_chunk.min(rows - done);
        let bytes = &mut chunk[..(now * row_bytes) as usize];
        noise.fill(bytes);
        if has_text {
            for (index, row) in bytes.chunks_exact_mut(row_bytes as usize).enumerate() {
                table.write_texts(done + index as u64, row);
            }
        }
        out.write_all(bytes)?;
        done += now;
    }
    Ok(rows * row_bytes)
}

/// The header of the primary unit: the mandatory cards, then `cards`.
fn primary_header(cards: &[Card]) -> Vec<u8> {
    let mandatory = [
        card("SIMPLE", Value::Flag(true)),
        card("BITPIX", Value::Number(8)),
        card("NAXIS", Value::Number(0)),
        card("EXTEND", Value::Flag(true)),
    ];
    encode_header(mandatory.iter().chain(cards))
}

/// The cards, an END card, and blanks up to the end of the block.
fn encode_header<'a>(cards: impl IntoIterator<Item = &'a Card>) -> Vec<u8> {
    let mut header = String::new();
    for (keyword, value) in cards {
        header.push_str(&encode_card(keyword, value));
    }
    header.push_str(&format!("{:<CARD_BYTES$}", "END"));
    let mut bytes = header.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES as usize), b' ');
    bytes
}

/// Fixed format: flags and numbers end in column 30, text is quoted from column 11 and at least 8 wide.
fn encode_card(keyword: &str, value: &Value) -> String {
    let value = match value {
        Value::Flag(flag) => format!("{:>20}", if *flag { "T" } else { "F" }),
        Value::Number(number) => format!("{number:>20}"),
        Value::Text(text) => format!("'{:<8}'", text.replace('\'', "''")),
    };
    format!("{:<CARD_BYTES$.CARD_BYTES$}", format!("{keyword:<8}= {value}"))
}
