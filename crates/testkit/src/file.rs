//! A file of SQLite per test, with a table whose rows count their versions: what the embedded tests share.

use tempfile::TempDir;
use writeway_core::diesel::dsl::sql;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::BigInt;
use writeway_core::diesel::upsert::excluded;
use writeway_core::diesel::{self, QueryResult};
use writeway_core::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::{AsyncSqliteConnection, Pools, Sql, SqlTable, Sqlite};

diesel::table! {
    /// The table.
    notes (id) {
        /// Key.
        id -> BigInt,
        /// Never empty.
        text -> Text,
        /// One more with every change of the row.
        version -> BigInt,
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = notes)]
#[serde(crate = "writeway_core::serde")]
pub struct Note {
    /// Key.
    pub id: i64,
    /// Never empty.
    pub text: String,
    /// SQL's.
    pub version: i64,
}

/// A row to put.
#[must_use]
pub fn note(id: i64, text: &str) -> Note {
    Note { id, text: text.to_owned(), version: 0 }
}

/// The table as applications describe it.
#[derive(Debug)]
pub struct Notes;

impl SqlTable for Notes {
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Row = Note;

    fn key(row: &Note) -> i64 {
        row.id
    }

    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<Vec<Note>> {
        notes::table.filter(notes::id.eq_any(keys)).select(Note::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Note]) -> QueryResult<Vec<Note>> {
        let mut returned = Vec::with_capacity(rows.len());
        for Note { id, text, .. } in rows {
            let row = (notes::id.eq(id), notes::text.eq(text), notes::version.eq(1));
            let upsert = diesel::insert_into(notes::table).values(row).on_conflict(notes::id).do_update();
            let upsert = upsert.set((notes::text.eq(excluded(notes::text)), notes::version.eq(notes::version + 1)));
            returned.push(upsert.returning(Note::as_returning()).get_result(conn).await?);
        }
        Ok(returned)
    }

    async fn remove(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(notes::table.filter(notes::id.eq_any(keys))).execute(conn).await
    }
}

/// A file of one test's own.
#[derive(Debug)]
pub struct File {
    /// For this process alone.
    pub pools: Pools<AsyncSqliteConnection>,
    directory: TempDir,
}

impl File {
    /// Makes it, with the table.
    ///
    /// # Panics
    /// If the disk does not let us.
    pub async fn make() -> File {
        let directory = tempfile::tempdir().expect("a directory");
        let file = File { pools: open(&directory).await, directory };
        file.run("CREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL CHECK (text <> ''), version BIGINT NOT NULL)")
            .await;
        file
    }

    /// As another process would find it after the end of this one.
    ///
    /// # Panics
    /// If somebody still holds it.
    pub async fn reopen(self) -> File {
        let File { pools, directory } = self;
        drop(pools);
        File { pools: open(&directory).await, directory }
    }

    /// The table.
    #[must_use]
    pub fn notes(&self) -> Sql<Notes> {
        Sql::new(self.pools.clone())
    }

    /// Runs statements on the writer.
    ///
    /// # Panics
    /// If they are wrong.
    pub async fn run(&self, statements: &str) {
        let mut conn = self.pools.writers().get().await.expect("the writer");
        conn.batch_execute(statements).await.expect("the statements are right");
    }

    /// One number, from a reader.
    ///
    /// # Panics
    /// If the query gives none.
    pub async fn number(&self, query: &str) -> i64 {
        let mut conn = self.pools.readers().get().await.expect("a reader");
        diesel::select(sql::<BigInt>(&format!("({query})"))).get_result(&mut *conn).await.expect("a number")
    }
}

async fn open(directory: &TempDir) -> Pools<AsyncSqliteConnection> {
    Sqlite::open(directory.path().join("notes.db")).await.expect("nobody has it")
}
