//! What `bulk_upsert!(… in Sqlite)` returns: as many statements as the rows have parameters for.

use std::future::Future;
use std::ops::Range;

use diesel::QueryResult;

use crate::sql::sqlite::AsyncSqliteConnection;

/// SQLite's bound on the parameters of a statement: its default since 3.32, <https://www.sqlite.org/limits.html>.
pub(in crate::sql) const MAX_PARAMETERS: usize = 32_766;

/// An upsert of any number of rows in SQLite.
#[derive(Clone, Copy, Debug)]
pub struct SqliteUpsert<S>(S);

/// What the macro writes for each table.
#[doc(hidden)]
pub trait Statements: Send {
    type Row: Send;
    fn rows(&self) -> usize;
    /// Parameters of each row.
    fn columns(&self) -> usize;
    /// One statement.
    fn load(
        &self,
        rows: Range<usize>,
        conn: &mut AsyncSqliteConnection,
    ) -> impl Future<Output = QueryResult<Vec<Self::Row>>> + Send;
}

impl<S: Statements> SqliteUpsert<S> {
    #[doc(hidden)]
    pub fn new(statements: S) -> Self {
        SqliteUpsert(statements)
    }

    /// Inserts or replaces the rows, and returns them. What does not fit into the 32,766 parameters of one statement is sent in
    /// several: within a transaction, which a [`Store`](crate::store::Store) opens, all or none are in effect.
    ///
    /// # Errors
    /// diesel's, as they come.
    pub async fn load(self, conn: &mut AsyncSqliteConnection) -> QueryResult<Vec<S::Row>> {
        let SqliteUpsert(statements) = self;
        let (all, step) = (statements.rows(), MAX_PARAMETERS / statements.columns());
        let mut returned = Vec::with_capacity(all);
        for from in (0..all).step_by(step) {
            returned.append(&mut statements.load(from..all.min(from + step), conn).await?);
        }
        Ok(returned)
    }
}
