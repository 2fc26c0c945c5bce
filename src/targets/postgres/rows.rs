//! Owns reading the text rows of a message: every result set starts with a tag. Never guesses a missing value.

use super::error::Trouble;
use crate::pg::BatchOutcome;
use jiff::Timestamp;

/// The rows of one message.
pub(super) struct Rows {
    doing: &'static str,
    rows: Vec<Vec<Option<String>>>,
}

/// One row, without its tag.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    doing: &'static str,
    cells: &'a [Option<String>],
}

impl Rows {
    pub(super) fn of(doing: &'static str, outcome: BatchOutcome) -> Self {
        Self {
            doing,
            rows: outcome.rows,
        }
    }

    /// Every row whose first cell is the tag.
    pub(super) fn tagged<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = Line<'a>> + 'a {
        self.rows.iter().filter_map(move |row| {
            let (first, cells) = row.split_first()?;
            (first.as_deref() == Some(tag)).then_some(Line {
                doing: self.doing,
                cells,
            })
        })
    }

    /// The first row with the tag, which must be there.
    pub(super) fn one<'a>(&'a self, tag: &'a str) -> Result<Line<'a>, Trouble> {
        self.tagged(tag)
            .next()
            .ok_or(Trouble::Answer { doing: self.doing })
    }
}

impl<'a> Line<'a> {
    fn wrong(self) -> Trouble {
        Trouble::Answer { doing: self.doing }
    }

    /// A cell that may be NULL.
    pub(super) fn maybe(self, column: usize) -> Option<&'a str> {
        self.cells.get(column)?.as_deref()
    }

    pub(super) fn text(self, column: usize) -> Result<&'a str, Trouble> {
        self.maybe(column).ok_or_else(|| self.wrong())
    }

    pub(super) fn number(self, column: usize) -> Result<i64, Trouble> {
        self.text(column)?.parse().map_err(|_| self.wrong())
    }

    pub(super) fn count(self, column: usize) -> Result<u32, Trouble> {
        self.text(column)?.parse().map_err(|_| self.wrong())
    }

    pub(super) fn yes(self, column: usize) -> Result<bool, Trouble> {
        match self.text(column)? {
            "t" | "true" => Ok(true),
            "f" | "false" => Ok(false),
            _ => Err(self.wrong()),
        }
    }

    pub(super) fn time(self, column: usize) -> Result<Timestamp, Trouble> {
        self.text(column)?.parse().map_err(|_| self.wrong())
    }

    pub(super) fn maybe_time(self, column: usize) -> Result<Option<Timestamp>, Trouble> {
        self.maybe(column)
            .map(|text| text.parse().map_err(|_| self.wrong()))
            .transpose()
    }

    /// A text array printed as JSON.
    pub(super) fn texts(self, column: usize) -> Result<Vec<String>, Trouble> {
        serde_json::from_str(self.text(column)?).map_err(|_| self.wrong())
    }
}
