//! Rows on standard output: a table for people, JSON for programs, one row or one document at a
//! time.
//!
//! Text from the network (names) is cleaned before it reaches a terminal. When the reader of a pipe
//! goes away the command ends quietly, as `head` expects.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// The form of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// Columns, for people.
    #[default]
    Table,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// The form of a single answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text, for people.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Figures are set to the right.
    pub right: bool,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub const fn text(title: &'static str) -> Self {
        Self { title, right: false }
    }

    /// A column of figures.
    #[must_use]
    pub const fn figure(title: &'static str) -> Self {
        Self { title, right: true }
    }
}

/// What can be a row of a table and an object of JSON.
pub trait Row: Serialize {
    /// The table's columns.
    const COLUMNS: &'static [Column];
    /// The row's cells, as many as there are columns.
    fn cells(&self) -> Vec<String>;
}

/// Writes rows as they come.
#[derive(Debug)]
pub struct Rows<W> {
    out: W,
    format: RowFormat,
    written: u64,
    widths: Vec<usize>,
    waiting: Vec<Vec<String>>,
}

/// Rows that decide how wide the columns of a long table are.
const MEASURED_ROWS: usize = 256;

/// Longer lines are hard to read; in fewer columns no table fits.
const COLUMNS_MAX: usize = 100;
const COLUMNS_MIN: usize = 60;

/// A cell is cut off beyond this many characters.
const CELL_CHARS_MAX: usize = 60;

impl<W: Write> Rows<W> {
    /// Rows of `T` in `format`, to `out`.
    pub fn new<T: Row>(out: W, format: RowFormat) -> Self {
        let widths = T::COLUMNS.iter().map(|column| column.title.chars().count()).collect();
        Self { out, format, written: 0, widths, waiting: Vec::new() }
    }

    /// Writes one row.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn push<T: Row>(&mut self, row: &T) -> io::Result<()> {
        match self.format {
            RowFormat::Table => {
                self.waiting.push(row.cells().iter().map(|cell| clean(cell)).collect());
                if self.waiting.len() >= MEASURED_ROWS { self.flush::<T>() } else { Ok(()) }
            }
            RowFormat::Json => {
                self.out.write_all(if self.written == 0 { b"[\n" } else { b",\n" })?;
                self.written += 1;
                serde_json::to_writer(&mut self.out, row).map_err(io::Error::from)
            }
            RowFormat::Jsonl => {
                serde_json::to_writer(&mut self.out, row)?;
                self.out.write_all(b"\n")
            }
        }
    }

    /// Writes what is still waiting, so that somebody who looks on sees it.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn flush<T: Row>(&mut self) -> io::Result<()> {
        for row in &self.waiting {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if self.format == RowFormat::Table && self.written == 0 {
            let titles: Vec<String> = T::COLUMNS.iter().map(|c| c.title.to_owned()).collect();
            write_cells(&mut self.out, T::COLUMNS, &self.widths, &titles)?;
        }
        for row in std::mem::take(&mut self.waiting) {
            write_cells(&mut self.out, T::COLUMNS, &self.widths, &row)?;
        }
        self.written += u64::from(self.format == RowFormat::Table);
        self.out.flush()
    }

    /// Ends the table or array.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn finish<T: Row>(mut self) -> io::Result<()> {
        if self.format == RowFormat::Json {
            self.out.write_all(if self.written == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.flush::<T>()
    }
}

/// Writes all `rows` to standard output.
///
/// # Errors
/// When standard output does not take them; a reader that went away is no error.
pub fn print_rows<T: Row>(rows: &[T], format: RowFormat) -> Result<(), Failure> {
    let mut writer = Rows::new::<T>(io::stdout().lock(), format);
    let write = || -> io::Result<()> {
        rows.iter().try_for_each(|row| writer.push(row))?;
        writer.finish::<T>()
    };
    written(write())
}

/// Writes `text` to standard output.
///
/// # Errors
/// When standard output does not take it; a reader that went away is no error.
pub fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes `value` to standard output as indented JSON.
///
/// # Errors
/// When standard output does not take it; a reader that went away is no error.
pub fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Output(e.into()))?;
    print_text(&(text + "\n"))
}

/// What came of a write to standard output. A reader that has gone has all it wanted: the command
/// ends.
///
/// # Errors
/// When the write failed for another reason.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::Output(error)),
    }
}

/// Columns for text on standard output: those of its terminal, from 60 to 100; 100 where it is none.
#[must_use]
pub fn columns() -> usize {
    let size = io::stdout().is_terminal().then(crossterm::terminal::size);
    let size = size.and_then(Result::ok);
    size.map_or(COLUMNS_MAX, |(columns, _)| usize::from(columns).clamp(COLUMNS_MIN, COLUMNS_MAX))
}

/// Lines of at most `width` characters, broken between words.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A table as text, for frames and reports.
#[must_use]
pub fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells =
            rows.iter().filter_map(|row| row.get(i)).map(|cell| clean(cell).chars().count());
        cells.max().unwrap_or(0).max(columns[i].title.chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let titles: Vec<String> = columns.iter().map(|c| c.title.to_owned()).collect();
    let mut out = Vec::new();
    for row in std::iter::once(&titles).chain(rows) {
        let row: Vec<String> = row.iter().map(|cell| clean(cell)).collect();
        // Writing to memory does not fail.
        let _ = write_cells(&mut out, columns, &widths, &row);
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Characters that act instead of standing there: controls, and marks that turn the direction of
/// text.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    let turns = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Text without what a terminal would obey, and not too long: names come from the network.
#[must_use]
pub fn clean(text: &str) -> String {
    let visible = |c: char| if is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c };
    let mut chars = text.chars().map(visible);
    let mut short: String = chars.by_ref().take(CELL_CHARS_MAX).collect();
    if chars.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// Colours, or none: they go to a terminal only, and only where nobody has set `NO_COLOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Plain text.
    pub const PLAIN: Self = Self(false);
    /// Colours, whatever standard output is.
    pub const COLOUR: Self = Self(true);

    /// As standard output wants it.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self(
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        )
    }

    /// Bold.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// Less important.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Waste.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    /// As it should be.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// Worth a look.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn write_cells(
    out: &mut impl Write,
    columns: &[Column],
    widths: &[usize],
    cells: &[String],
) -> io::Result<()> {
    let mut line = String::new();
    for ((column, &width), cell) in columns.iter().zip(widths).zip(cells) {
        if column.right {
            line += &format!("{cell:>width$}  ");
        } else {
            line += &format!("{cell:<width$}  ");
        }
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(String, u64);

    impl Row for Pair {
        const COLUMNS: &'static [Column] = &[Column::text("NAME"), Column::figure("N")];
        fn cells(&self) -> Vec<String> {
            vec![self.0.clone(), self.1.to_string()]
        }
    }

    fn written_as(format: RowFormat, rows: &[Pair]) -> String {
        let mut out = Vec::new();
        let mut writer = Rows::new::<Pair>(&mut out, format);
        rows.iter().for_each(|row| writer.push(row).unwrap());
        writer.finish::<Pair>().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [Pair("a".to_owned(), 5), Pair("longer".to_owned(), 12)];
        assert_eq!(written_as(RowFormat::Table, &rows), "NAME     N\na        5\nlonger  12\n");
    }

    #[test]
    fn no_rows_are_a_heading_an_empty_array_or_nothing() {
        assert_eq!(written_as(RowFormat::Table, &[]), "NAME  N\n");
        assert_eq!(written_as(RowFormat::Json, &[]), "[]\n");
        assert_eq!(written_as(RowFormat::Jsonl, &[]), "");
    }

    #[test]
    fn json_is_one_array_and_jsonl_one_object_a_line() {
        let rows = [Pair("a".to_owned(), 5), Pair("b".to_owned(), 6)];
        assert_eq!(written_as(RowFormat::Json, &rows), "[\n[\"a\",5],\n[\"b\",6]\n]\n");
        assert_eq!(written_as(RowFormat::Jsonl, &rows), "[\"a\",5]\n[\"b\",6]\n");
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrapped("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert!(wrapped("", 6).is_empty());
    }

    #[test]
    fn a_name_from_the_network_cannot_command_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}c"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(clean(&"x".repeat(100)).chars().count(), CELL_CHARS_MAX);
    }
}
