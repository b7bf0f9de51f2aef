//! Where output goes: data to stdout, words to stderr, colour only on a terminal and without `NO_COLOR`.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;
use crate::config::shown;

/// Form of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; not a contract.
    #[default]
    Table,
    /// One JSON object a line, with `"v":1`; fields are only ever added.
    Json,
}

/// Where a command writes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Form of the data.
    pub format: Format,
    /// Whether words on stderr are left out (errors are not).
    pub quiet: bool,
    /// Whether more words are wanted.
    pub verbose: bool,
    /// Whether to colour.
    pub colour: bool,
    /// Whether stdout is a terminal.
    pub terminal: bool,
}

impl Output {
    /// From the flags and the process's streams.
    #[must_use]
    pub fn new(format: Format, quiet: bool, verbose: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, quiet, verbose, colour, terminal }
    }

    /// Prints `value` as JSON or what `table` makes of it.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] when stdout cannot be written.
    pub fn data<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        self.text(&self.form(value, table)?)
    }

    /// The value in the form asked for: a line of JSON, or what `table` makes of it.
    pub(crate) fn form<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<String, Failure> {
        match self.format {
            Format::Table => Ok(table(value)),
            Format::Json => json_line(value),
        }
    }

    /// Prints `value` under `-o json`; otherwise nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] when stdout cannot be written.
    pub fn json_only<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.data(value, |_value| String::new())
    }

    /// Prints text as it is.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] when stdout cannot be written. A reader that has gone away (`| head`) is no error.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        self.still_read(text).map(|_read| ())
    }

    /// As [`Self::text`], and whether anybody still reads.
    pub(crate) fn still_read(&self, text: &str) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::Failed(format!("cannot write to standard output: {error}"))),
        }
    }

    /// Says something to a person: on stderr, not with `-q`.
    pub fn say(&self, words: &str) {
        if !self.quiet {
            complain(words);
        }
    }

    /// Reports a failure: on stderr, as JSON under `-o json`.
    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::Reported(_)) {
            return;
        }
        let line = match self.format {
            Format::Table => format!("weir: {failure}"),
            Format::Json => {
                let error = serde_json::json!({
                    "code": failure.code(),
                    "exit": failure.exit() as u8,
                    "message": failure.to_string(),
                });
                json_line(&serde_json::json!({ "error": error })).unwrap_or_default().trim_end().to_owned()
            }
        };
        complain(&line);
    }

    /// The text in a colour, where colour is wanted.
    #[must_use]
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8) } else { text.to_owned() }
    }
}

/// Colours, by their ANSI number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Dropped, failed.
    Red = 31,
    /// Steered, fine.
    Green = 32,
    /// Warnings.
    Yellow = 33,
}

/// Version of the JSON contract.
pub(crate) const VERSION: u32 = 1;

/// The value with `"v":1` beside its fields, in one line.
fn json_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        v: u32,
        #[serde(flatten)]
        body: &'a T,
    }
    let json = serde_json::to_string(&Versioned { v: VERSION, body: value });
    json.map(|line| shown(&line).into_owned() + "\n")
        .map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))
}

/// Writes a line to stderr, whatever is in it; there is nowhere to report that this failed.
fn complain(line: &str) {
    let _ignored = writeln!(io::stderr().lock(), "{}", shown(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_failure_or_json_says() {
        let words = "x\u{1b}]0;\u{9b}31m\u{202e}\n\ty";
        assert_eq!(shown(words), "x\\u001B]0;\\u009B31m\\u202E\n\ty");
        let line = json_line(&serde_json::json!({ "name": words })).unwrap();
        assert!(!line.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["name"], words);
    }

    #[test]
    fn json_carries_its_version() {
        #[derive(Serialize)]
        struct Body {
            generation: u64,
        }
        assert_eq!(json_line(&Body { generation: 7 }).unwrap(), "{\"v\":1,\"generation\":7}\n");
    }

    #[test]
    fn colour_is_left_out_where_unwanted() {
        let plain =
            Output { format: Format::Table, quiet: false, verbose: false, colour: false, terminal: false };
        assert_eq!(plain.paint(Colour::Red, "x"), "x");
        let coloured = Output { colour: true, ..plain };
        assert_eq!(coloured.paint(Colour::Red, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
