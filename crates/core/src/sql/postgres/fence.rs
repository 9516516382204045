//! The bookkeeping of write-back in PostgreSQL.

use std::time::Duration;

use diesel::dsl::{max, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::journal::Shard;
use crate::sql::Cached;
use crate::sql::fence::Bookkeeping;

/// Makes the tables `writeway_fence` and `writeway_batch`, for teams that run their migrations themselves. In the package, it is
/// `migrations/postgres/0001_writeway/up.sql`; running it twice does no harm.
pub const MIGRATION_UP: &str = include_str!("../../../migrations/postgres/0001_writeway/up.sql");
/// Removes them.
pub const MIGRATION_DOWN: &str = include_str!("../../../migrations/postgres/0001_writeway/down.sql");

/// So many of the oldest batches are looked at after each flush.
const TRIM: &str = "
    DELETE FROM writeway_batch WHERE namespace = $1 AND shard = $2 AND batch IN (
        SELECT batch FROM (
            SELECT batch, flushed_at FROM writeway_batch WHERE namespace = $1 AND shard = $2 ORDER BY batch LIMIT 100
        ) oldest WHERE flushed_at < now() - $3 * INTERVAL '1 millisecond')";

/// Two processes that make the same table at once would meet in the catalogue: they queue here.
const QUEUE: &str = "SELECT pg_advisory_xact_lock(hashtext('writeway migration'))";

diesel::table! {
    writeway_fence (namespace, shard) {
        namespace -> Text,
        shard -> Integer,
        epoch -> BigInt,
        batch -> BigInt,
    }
}

diesel::table! {
    writeway_batch (namespace, shard, batch) {
        namespace -> Text,
        shard -> Integer,
        batch -> BigInt,
        freeze_epoch -> BigInt,
        keys -> Binary,
    }
}

use writeway_batch::dsl as log;
use writeway_fence::dsl as fence;

impl Bookkeeping for AsyncPgConnection {
    const MIGRATION: &'static str = "migrations/postgres/0001_writeway/up.sql of writeway-core";

    async fn is_prepared(conn: &mut Self) -> QueryResult<bool> {
        let both = "to_regclass('writeway_fence') IS NOT NULL AND to_regclass('writeway_batch') IS NOT NULL";
        diesel::select(sql::<Bool>(both)).get_result(conn).await
    }

    async fn migrate(conn: &mut Self) -> QueryResult<()> {
        conn.batch_execute(QUEUE).await?;
        conn.batch_execute(MIGRATION_UP).await
    }

    async fn fences(conn: &mut Self, namespace: &str, shards: i32) -> QueryResult<i64> {
        let count = || fence::writeway_fence.filter(fence::namespace.eq(namespace)).count();
        // All or none are there. An insert that finds one waits for the flush that holds it, and has nothing to wait for.
        let found = count().get_result(conn).await?;
        if found > 0 {
            return Ok(found);
        }
        let first = (fence::namespace.eq(namespace), fence::shard.eq(0), fence::epoch.eq(0), fence::batch.eq(0));
        // Waits for another process that makes them: whoever makes the first makes all.
        let is_new = diesel::insert_into(fence::writeway_fence).values(first).on_conflict_do_nothing().execute(conn).await? > 0;
        if is_new {
            let rest = "INSERT INTO writeway_fence SELECT $1, shard, 0, 0 FROM generate_series(1, $2 - 1) shard";
            diesel::sql_query(rest).bind::<Text, _>(namespace).bind::<Integer, _>(shards).execute(conn).await?;
        }
        count().get_result(conn).await
    }

    async fn raise(conn: &mut Self, shard: &Shard) -> QueryResult<Option<(i64, i64)>> {
        let raise = diesel::update(fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number))));
        let raise = raise.set(fence::epoch.eq(fence::epoch + 1)).returning((fence::epoch, fence::batch));
        Ok(Cached(raise).load(conn).await?.pop())
    }

    async fn log(conn: &mut Self, shard: &Shard, over: i64) -> QueryResult<Vec<(i64, i64, Vec<u8>)>> {
        let of_shard = log::namespace.eq(&*shard.namespace).and(log::shard.eq(i32::from(shard.number)));
        let batches = log::writeway_batch.filter(of_shard);
        let start: Option<i64> = batches.filter(log::batch.le(over)).select(max(log::batch)).get_result(conn).await?;
        let batches = batches.filter(log::batch.ge(start.unwrap_or(0))).order(log::batch);
        batches.select((log::batch, log::freeze_epoch, log::keys)).load(conn).await
    }

    async fn pass(conn: &mut Self, shard: &Shard, epoch: i64, batch: i64) -> QueryResult<bool> {
        let open = fence::epoch.eq(epoch).and(fence::batch.lt(batch));
        let row = fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number))).filter(open);
        Ok(Cached(diesel::update(row).set(fence::batch.eq(batch))).execute(conn).await? > 0)
    }

    async fn look(conn: &mut Self, shard: &Shard) -> QueryResult<Option<(i64, i64)>> {
        let row = fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number)));
        row.select((fence::epoch, fence::batch)).get_result(conn).await.optional()
    }

    async fn note(conn: &mut Self, shard: &Shard, batch: i64, freeze_epoch: i64, keys: &[u8], keep: Duration) -> QueryResult<()> {
        let number = i32::from(shard.number);
        let row = (
            log::namespace.eq(&*shard.namespace),
            log::shard.eq(number),
            log::batch.eq(batch),
            log::freeze_epoch.eq(freeze_epoch),
            log::keys.eq(keys),
        );
        Cached(diesel::insert_into(log::writeway_batch).values(row)).execute(conn).await?;
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let trim = diesel::sql_query(TRIM);
        let trim = trim.bind::<Text, _>(&*shard.namespace).bind::<Integer, _>(number).bind::<BigInt, _>(keep);
        Cached(trim).execute(conn).await.map(drop)
    }
}
