//! Owns one row of an answer. Never panics on a column that is not as expected.

use super::error::of_call;
use super::{PgError, Place};
use std::fmt;
use std::sync::Arc;
use tokio_postgres::row::RowIndex;
use tokio_postgres::types::FromSql;

/// One row of an answer.
pub struct Row {
    pub(super) row: tokio_postgres::Row,
    pub(super) place: Arc<Place>,
    pub(super) note: &'static str,
}

impl Row {
    /// Reads a column by number, from 0, or by name.
    ///
    /// # Errors
    /// When there is no such column, or it is NULL or of another type than asked for.
    pub fn get<'a, I, T>(&'a self, column: I) -> Result<T, PgError>
    where
        I: RowIndex + fmt::Display,
        T: FromSql<'a>,
    {
        self.row
            .try_get(column)
            .map_err(|error| of_call(&self.place, self.note, error))
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} columns of `{}`)", self.row.len(), self.note)
    }
}
