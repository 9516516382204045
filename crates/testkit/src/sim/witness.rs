//! Witnessed operations: the scenario tells what it asks of production code, and the history keeps when and what was answered.
//!
//! The start of an operation is a choice of its own, merged with the operation's first call: its interval begins where it
//! really begins, and a check on intervals is as sharp as it can be.

use std::future::Future;

use writeway_core::change::Change;
use writeway_core::error::{Outcome, Result};

use super::history::{Answer, Read, Write};
use super::locked;
use super::store::{Cell, Store};

impl Store {
    /// A read of one row, by whatever means.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn witness_read(&self, key: u32, read: impl Future<Output = Result<Option<Cell>>>) -> Result<Option<Cell>> {
        let all = self.witness_read_many(&[key], async { read.await.map(|row| vec![row]) }).await;
        all.map(|rows| rows.into_iter().next().flatten())
    }

    /// A read of several rows, answered in the order asked.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn witness_read_many(
        &self,
        keys: &[u32],
        read: impl Future<Output = Result<Vec<Option<Cell>>>>,
    ) -> Result<Vec<Option<Cell>>> {
        let op = self.world().start_op().await;
        let start = self.world().tick();
        let answer = read.await;
        let (end, hit) = (self.world().tick(), self.world().was_hit(&op));
        self.world().end_op(&op);
        self.world().note(|| format!("answered: {}", answer_text(answer.as_ref())));
        if let Ok(rows) = &answer {
            assert_eq!(rows.len(), keys.len(), "one answer per key");
            for (&key, row) in keys.iter().zip(rows) {
                assert!(row.is_none_or(|row| row.key == key), "a row of key {key}, not {row:?}");
                let read = Read { start, end, place: self.place(key), value: row.map(|row| row.value), hit };
                locked(&self.database().state).history.reads.push(read);
            }
            self.world().count(|counts| {
                counts.reads += 1;
                counts.hits += u64::from(hit);
            });
        }
        answer
    }

    /// A write of one row, by whatever means.
    ///
    /// # Errors
    /// Those of `write`.
    pub async fn witness_put<T>(&self, row: Cell, write: impl Future<Output = Result<T>>) -> Result<T> {
        self.witness_write(&[Change::Put(row)], write).await
    }

    /// A delete of one row, by whatever means.
    ///
    /// # Errors
    /// Those of `write`.
    pub async fn witness_delete<T>(&self, key: u32, write: impl Future<Output = Result<T>>) -> Result<T> {
        self.witness_write(&[Change::Delete(key)], write).await
    }

    /// A write of several rows of this table, all or none, by whatever means.
    ///
    /// # Errors
    /// Those of `write`.
    pub async fn witness_write<T>(&self, changes: &[Change<u32, Cell>], write: impl Future<Output = Result<T>>) -> Result<T> {
        let op = self.world().start_op().await;
        let start = self.world().tick();
        let changes = changes.iter().map(|change| self.wanted(change)).collect();
        locked(&self.database().state).history.writes.push(Write { op: op.id, changes, start, answer: None });
        self.world().count(|counts| {
            counts.writes += 1;
            // Until it is answered.
            counts.writes_in_doubt += 1;
        });
        let done = write.await;
        let answer = match done.as_ref().map_err(writeway_core::error::Error::outcome) {
            Ok(_) | Err(Outcome::Applied) => Answer::Committed,
            Err(Outcome::NotApplied) => Answer::NotApplied,
            Err(Outcome::Unknown) => Answer::Unknown,
        };
        let end = self.world().tick();
        self.world().end_op(&op);
        self.world().note(|| format!("answered: {answer:?}{}", done.as_ref().err().map_or(String::new(), |e| format!(" ({e})"))));
        if answer != Answer::Unknown {
            self.world().count(|counts| counts.writes_in_doubt -= 1);
        }
        if let Some(write) = locked(&self.database().state).history.writes.iter_mut().find(|write| write.op == op.id) {
            write.answer = Some((end, answer));
        }
        done
    }
}

fn answer_text(answer: std::result::Result<&Vec<Option<Cell>>, &writeway_core::error::Error>) -> String {
    match answer {
        Ok(rows) => format!("{:?}", rows.iter().map(|row| row.map(|row| row.value)).collect::<Vec<_>>()),
        Err(e) => e.to_string(),
    }
}
