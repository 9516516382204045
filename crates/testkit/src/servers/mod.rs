//! Private Redis and PostgreSQL servers: started by the one who needs them, stoppable at will, gone afterwards.
//!
//! `cargo xtask itest` starts one of each for all suites. A fault test must not stop those, so it starts its own from the
//! binaries that xtask names in `WRITEWAY_REDIS_SERVER` and `WRITEWAY_PG_BIN` ([`Redis::from_env`], [`Postgres::from_env`]).
//!
//! Everything here blocks and is plain `std`: starting a server takes a second, and whoever needs one can do nothing else
//! meanwhile. **Invariant:** a server and its directory end with the process that started them, however that process ends
//! ([`Watchdog`]).

mod instance;
mod pg_handshake;
mod port;
mod postgres;
mod redis;
mod resp;
mod user;
mod wait;
mod watchdog;

pub use postgres::Postgres;
pub use redis::Redis;
pub use resp::Resp;
pub use wait::until;
pub use watchdog::Watchdog;

#[cfg(test)]
mod tests;
