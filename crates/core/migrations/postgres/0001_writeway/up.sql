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
    keys BYTEA NOT NULL,
    flushed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, shard, batch)
);
