//! What is SQLite's own in the bookkeeping of write-back.

use super::AsyncSqliteConnection;
use crate::sql::bookkeeping::bookkeeping;

bookkeeping!(AsyncSqliteConnection {
    directory: "migrations/sqlite/0001_writeway",
    is_prepared: "2 = (SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('writeway_fence', 'writeway_batch'))",
    // Whoever has begun to write is alone.
    queue: "",
    rest: "WITH RECURSIVE series(shard) AS (SELECT 1 UNION ALL SELECT shard + 1 FROM series WHERE shard < ?2 - 1)
        INSERT INTO writeway_fence SELECT ?1, shard, 0, 0 FROM series WHERE shard < ?2",
    snapshot: |conn, query| {
        conn.batch_execute("BEGIN").await?;
        query.load(conn).await
    },
    older: "flushed_at < (julianday('now') - 2440587.5) * 86400000 - $3",
});
