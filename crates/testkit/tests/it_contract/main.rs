//! The contract suite over a real Redis (`REDIS_URL`) and a real PostgreSQL (`DATABASE_URL`).

mod postgres;
mod redis;
