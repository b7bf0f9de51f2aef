//! Tables by column padding. Rows may be nested by indenting their first cell, as in the service view.

use crate::config::unsafe_to_show;

/// Which side of a column its cells lean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: a header and rows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Whether there is no row.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each ended by a newline, without trailing blanks.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, (title, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(place));
                cells.map(|cell| width(cell)).chain([width(title)]).max().unwrap_or(0)
            })
            .collect();
        let header: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        std::iter::once(&header).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let empty = String::new();
        let cells: Vec<String> = widths
            .iter()
            .zip(&self.columns)
            .enumerate()
            .map(|(place, (width, (_, align)))| pad(row.get(place).unwrap_or(&empty), *width, *align))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    }
}

/// The text without control characters, which a name or a reason must not bring to the terminal.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || unsafe_to_show(c) { '\u{fffd}' } else { c }).collect()
}

fn pad(cell: &str, to: usize, align: Align) -> String {
    let blanks = " ".repeat(to.saturating_sub(width(cell)));
    match align {
        Align::Left => format!("{cell}{blanks}"),
        Align::Right => format!("{blanks}{cell}"),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("NAME", Align::Left), ("HITS", Align::Right)]);
        table.row(["deny".to_owned(), "12".to_owned()]);
        table.row(["partners".to_owned(), "1024".to_owned()]);
        table.row(["empty".to_owned()]);
        assert_eq!(table.render(), "NAME      HITS\ndeny        12\npartners  1024\nempty\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
