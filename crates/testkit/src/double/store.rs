//! A store whose calls follow a script.

use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::error::Result;
use writeway_core::store::{Store, Transaction};

use super::script::Script;

/// Any store, with a [`Script`] in front of it. The calls have the names of the port's methods.
#[derive(Clone, Debug)]
pub struct ScriptedStore<S> {
    store: S,
    script: Script,
}

/// A transaction of a [`ScriptedStore`].
#[derive(Debug)]
pub struct ScriptedTx<T> {
    tx: T,
    script: Script,
}

impl<S> ScriptedStore<S> {
    /// In front of `store`.
    #[must_use]
    pub fn new(store: S, script: &Script) -> Self {
        ScriptedStore { store, script: script.clone() }
    }
}

impl<S: Store> Store for ScriptedStore<S> {
    type Key = S::Key;
    type Row = S::Row;
    type Tx = ScriptedTx<S::Tx>;

    fn schema(&self) -> u32 {
        self.store.schema()
    }

    fn key(&self, row: &S::Row) -> S::Key {
        self.store.key(row)
    }

    async fn fetch(&self, keys: &[S::Key]) -> Result<Vec<S::Row>> {
        self.script.play("fetch", keys.len(), self.store.fetch(keys)).await
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<Self::Tx> {
        let tx = self.script.play("begin", 1, self.store.begin(commit_within)).await?;
        Ok(ScriptedTx { tx, script: self.script.clone() })
    }

    async fn apply_in(&self, tx: &mut Self::Tx, changes: &[Change<S::Key, S::Row>]) -> Result<Vec<Stored<S::Row>>> {
        self.script.play("apply_in", changes.len(), self.store.apply_in(&mut tx.tx, changes)).await
    }
}

impl<T: Transaction> Transaction for ScriptedTx<T> {
    async fn commit(self) -> Result<()> {
        self.script.play("commit", 1, self.tx.commit()).await
    }

    async fn rollback(self) {
        let rolled_back = async {
            self.tx.rollback().await;
            Ok(())
        };
        drop(self.script.play("rollback", 1, rolled_back).await);
    }
}
