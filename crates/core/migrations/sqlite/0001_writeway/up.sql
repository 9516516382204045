-- What write-back keeps beside the rows: one fence per shard, and a log of the batches that are in effect.
CREATE TABLE IF NOT EXISTS writeway_fence (
    namespace TEXT NOT NULL,
    shard INTEGER NOT NULL,
    epoch BIGINT NOT NULL,
    batch BIGINT NOT NULL,
    PRIMARY KEY (namespace, shard)
);
CREATE TABLE IF NOT EXISTS writeway_batch (
    namespace TEXT NOT NULL,
    shard INTEGER NOT NULL,
    batch BIGINT NOT NULL,
    freeze_epoch BIGINT NOT NULL,
    keys BLOB NOT NULL,
    -- Milliseconds since 1970.
    flushed_at BIGINT NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    PRIMARY KEY (namespace, shard, batch)
);
