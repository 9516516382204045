//! What is PostgreSQL's own in the bookkeeping of write-back.

use diesel_async::AsyncPgConnection;

use crate::sql::bookkeeping::bookkeeping;

bookkeeping!(AsyncPgConnection {
    directory: "migrations/postgres/0001_writeway",
    is_prepared: "to_regclass('writeway_fence') IS NOT NULL AND to_regclass('writeway_batch') IS NOT NULL",
    // They would meet in the catalogue.
    queue: "SELECT pg_advisory_xact_lock(hashtext('writeway migration'))",
    rest: "INSERT INTO writeway_fence SELECT $1, shard, 0, 0 FROM generate_series(1, $2 - 1) shard",
    // Through a shared reference both are under way at once, in this order: they cost one round trip.
    snapshot: |conn, query| {
        let (mut first, mut second) = (&*conn, &*conn);
        let begin = first.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        let (begun, found) = tokio::join!(biased; begin, query.load(&mut second));
        begun.and(found)
    },
    older: "flushed_at < now() - $3 * INTERVAL '1 millisecond'",
});
