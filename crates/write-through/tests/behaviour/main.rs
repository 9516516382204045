//! What a write-through namespace does, without a server: over the in-process store and a cache that shows its bytes, both with
//! a script in front of them, on a clock that only moves when everybody waits.

mod audit;
mod cancel;
mod damage;
mod limits;
mod outages;
mod panics;
mod rig;
mod round_trips;
mod secrets;
mod single_flight;
mod telemetry;
mod transactions;
