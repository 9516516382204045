//! The counters of a run: a table to which is added, and the forms in which its flushes stand still, or go past the fence.

use std::time::Duration;

use diesel::prelude::*;
use writeway_back::counts::Snapshot;
use writeway_back::diesel_async::{AsyncPgConnection, RunQueryDsl};
use writeway_back::journal::Shard;
use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::serde::{Deserialize, Serialize};
use writeway_back::{CountStore, CountTable, Result, SqlCounts, bulk_add, counts};
use writeway_core::cache::BoxFuture;
use writeway_testkit::harness::{Halting, Moment, say};

diesel::table! { posts (id) { id -> BigInt, likes -> BigInt, } }

pub(crate) const CREATE: &str = "CREATE TABLE posts (id BIGINT PRIMARY KEY, likes BIGINT NOT NULL)";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = posts)]
#[serde(crate = "writeway_back::serde")]
pub(crate) struct Likes {
    pub(crate) likes: i64,
}
counts!(Likes { likes });

bulk_add!(add_likes on posts: (i64, Likes) { key [id], add [likes] });

pub(crate) struct Posts;

impl CountTable for Posts {
    type Connection = AsyncPgConnection;
    type Key = i64;
    type Counts = Likes;

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<(i64, Likes)>> {
        posts::table.filter(posts::id.eq_any(keys)).select((posts::id, Likes::as_select())).load(conn).await
    }

    async fn add(conn: &mut AsyncPgConnection, by: &[(i64, Likes)]) -> QueryResult<Vec<(i64, Likes)>> {
        add_likes(conn, by).await
    }
}

/// The table whose flushes stand still between the commit and the acknowledgement, for processes to die and sleep there.
#[derive(Clone)]
pub(crate) struct Lingering {
    pub(crate) table: SqlCounts<Posts>,
    pub(crate) fenced: bool,
}

impl CountStore for Lingering {
    type Key = i64;
    type Counts = Likes;
    type Tallies = Halting<<SqlCounts<Posts> as CountStore>::Tallies>;

    fn tallies(&self) -> Self::Tallies {
        let halting = Halting::new(self.table.tallies(), lingers);
        if self.fenced { halting } else { halting.fenceless() }
    }

    async fn fetch_at(&self, shards: &[Shard], keys: &[i64]) -> Result<Snapshot<i64, Likes>> {
        self.table.fetch_at(shards, keys).await
    }
}

fn lingers(moment: Moment) -> BoxFuture<'static, ()> {
    if moment == Moment::Already {
        say("already 1");
    }
    let millis = u64::try_from(Tokio.random() % 80).unwrap_or(0);
    Tokio.sleep(Duration::from_millis(if moment == Moment::Committed { millis } else { 0 }))
}
