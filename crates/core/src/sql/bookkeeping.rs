//! The bookkeeping of write-back, the same in every kind of database but for a few texts.

/// Implements [`Bookkeeping`](super::Bookkeeping) for a connection type.
///
/// - `directory` holds the migration, as the package has it.
/// - `is_prepared` is true when both tables are there.
/// - `queue` makes two processes that make the same table at once do so one after the other.
/// - `rest` makes the fences from 1 up to one less than its second parameter, of the namespace that is its first.
/// - `snapshot` begins a transaction that reads, and has one snapshot for all of its statements, and loads a query in it.
/// - `older` is true of a batch that has been in the log for longer than `$3` milliseconds.
macro_rules! bookkeeping {
    ($connection:ty {
        directory: $directory:literal,
        is_prepared: $is_prepared:literal,
        queue: $queue:literal,
        rest: $rest:literal,
        snapshot: |$conn:ident, $query:ident| $snapshot:expr,
        older: $older:literal $(,)?
    }) => {
        const _: () = {
            use std::time::Duration;

            use diesel::dsl::{max, sql};
            use diesel::prelude::*;
            use diesel::sql_types::{BigInt, Bool, Integer, Text};
            use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

            use crate::journal::Shard;
            use crate::sql::Cached;
            use crate::sql::fence::{Bookkeeping, writeway_batch, writeway_fence};
            use writeway_batch::dsl as log;
            use writeway_fence::dsl as fence;

            /// So many of the oldest batches are looked at after each flush. SQLite numbers its parameters by their first use.
            const TRIM: &str = concat!(
                "DELETE FROM writeway_batch WHERE namespace = $1 AND shard = $2 AND batch IN (",
                "SELECT batch FROM (SELECT batch, flushed_at FROM writeway_batch WHERE namespace = $1 AND shard = $2 ",
                "ORDER BY batch LIMIT 100) oldest WHERE ",
                $older,
                ")"
            );

            impl Bookkeeping for $connection {
                const MIGRATION: &'static str = concat!($directory, "/up.sql of writeway-core");
                const MIGRATION_UP: &'static str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $directory, "/up.sql"));
                const MIGRATION_DOWN: &'static str =
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $directory, "/down.sql"));

                async fn is_prepared(conn: &mut Self) -> QueryResult<bool> {
                    diesel::select(sql::<Bool>($is_prepared)).get_result(conn).await
                }

                async fn migrate(conn: &mut Self) -> QueryResult<()> {
                    conn.batch_execute($queue).await?;
                    conn.batch_execute(Self::MIGRATION_UP).await
                }

                async fn fences(conn: &mut Self, namespace: &str, shards: i32) -> QueryResult<Vec<i64>> {
                    let epochs = || {
                        let fences = fence::writeway_fence.filter(fence::namespace.eq(namespace));
                        fences.order(fence::shard).select(fence::epoch)
                    };
                    // All or none are there. An insert that finds one waits for the flush that holds it, and has nothing to
                    // wait for.
                    let found: Vec<i64> = epochs().load(conn).await?;
                    if !found.is_empty() {
                        return Ok(found);
                    }
                    let first = (fence::namespace.eq(namespace), fence::shard.eq(0), fence::epoch.eq(0), fence::batch.eq(0));
                    // Waits for another process that makes them: whoever makes the first makes all.
                    let first = diesel::insert_into(fence::writeway_fence).values(first).on_conflict_do_nothing();
                    if first.execute(conn).await? > 0 {
                        diesel::sql_query($rest).bind::<Text, _>(namespace).bind::<Integer, _>(shards).execute(conn).await?;
                    }
                    epochs().load(conn).await
                }

                async fn raise(conn: &mut Self, shard: &Shard) -> QueryResult<Option<(i64, i64)>> {
                    let raise = diesel::update(fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number))));
                    let raise = raise.set(fence::epoch.eq(fence::epoch + 1)).returning((fence::epoch, fence::batch));
                    Ok(Cached(raise).load(conn).await?.pop())
                }

                async fn log(conn: &mut Self, shard: &Shard, batch: i64, epoch: i64) -> QueryResult<Vec<(i64, i64, Vec<u8>)>> {
                    let of_shard = log::namespace.eq(&*shard.namespace).and(log::shard.eq(i32::from(shard.number)));
                    let batches = log::writeway_batch.filter(of_shard);
                    let start = batches.filter(log::batch.le(batch).and(log::freeze_epoch.le(epoch))).select(max(log::batch));
                    let start: Option<i64> = start.get_result(conn).await?;
                    let batches = batches.filter(log::batch.ge(start.unwrap_or(0))).order(log::batch);
                    batches.select((log::batch, log::freeze_epoch, log::keys)).load(conn).await
                }

                async fn pass(conn: &mut Self, shard: &Shard, epoch: i64, batch: i64) -> QueryResult<bool> {
                    let open = fence::epoch.eq(epoch).and(fence::batch.lt(batch));
                    let row = fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number))).filter(open);
                    Ok(Cached(diesel::update(row).set(fence::batch.eq(batch))).execute(conn).await? > 0)
                }

                async fn touch(conn: &mut Self, shard: &Shard, epoch: i64) -> QueryResult<bool> {
                    let row = fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number)));
                    let same = diesel::update(row.filter(fence::epoch.eq(epoch))).set(fence::batch.eq(fence::batch));
                    Ok(Cached(same).execute(conn).await? > 0)
                }

                async fn look(conn: &mut Self, shard: &Shard) -> QueryResult<Option<(i64, i64)>> {
                    let row = fence::writeway_fence.find((&*shard.namespace, i32::from(shard.number)));
                    row.select((fence::epoch, fence::batch)).get_result(conn).await.optional()
                }

                async fn snapshot($conn: &mut Self, shards: &[Shard]) -> QueryResult<Vec<(i32, i64)>> {
                    let namespace = shards.first().map_or("", |shard| &*shard.namespace);
                    let numbers: Vec<i32> = shards.iter().map(|shard| shard.number.into()).collect();
                    let rows = fence::writeway_fence.filter(fence::namespace.eq(namespace).and(fence::shard.eq_any(numbers)));
                    let $query = rows.select((fence::shard, fence::batch));
                    $snapshot
                }

                async fn note(
                    conn: &mut Self,
                    shard: &Shard,
                    batch: i64,
                    freeze_epoch: i64,
                    keys: &[u8],
                    keep: Duration,
                ) -> QueryResult<()> {
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
        };
    };
}

pub(super) use bookkeeping;
