//! Write-back over every order of its calls, every fault and every crash point, as far as the names say.

mod counters;
mod crashes;
mod everything;
mod faults;
mod levels;
mod poison;
mod races;
mod readers;
mod restarts;
mod setup;
mod spread;
mod takeovers;
mod tickets;
