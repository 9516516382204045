//! What is PostgreSQL's own in the bookkeeping of write-back.

use diesel_async::AsyncPgConnection;

use crate::sql::bookkeeping::bookkeeping;

bookkeeping!(AsyncPgConnection {
    directory: "migrations/postgres/0001_writeway",
    is_prepared: "to_regclass('writeway_fence') IS NOT NULL AND to_regclass('writeway_batch') IS NOT NULL",
    // They would meet in the catalogue.
    queue: "SELECT pg_advisory_xact_lock(hashtext('writeway migration'))",
    rest: "INSERT INTO writeway_fence SELECT $1, shard, 0, 0 FROM generate_series(1, $2 - 1) shard",
    older: "flushed_at < now() - $3 * INTERVAL '1 millisecond'",
});
