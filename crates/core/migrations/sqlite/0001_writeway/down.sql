DROP TABLE IF EXISTS writeway_batch;
DROP TABLE IF EXISTS writeway_fence;
