//! Write-back on real servers that lose, freeze, die or stand still, and processes that sleep or are told to end. Every scenario
//! has a Redis of its own and a schema whose trigger records what SQL went through.
//!
//! `WRITEWAY_LONG` asks for the longer forms.

mod backlog;
mod divergent;
mod failover;
mod half_open;
mod histories;
mod large;
mod levels;
mod load;
mod lost_file;
mod odd;
mod poison;
mod redis_away;
mod refusals;
mod rig;
mod rivals;
mod shutdown;
mod spread;
mod sql_away;
mod takeover;
mod window;
mod worker;

fn is_long() -> bool {
    std::env::var_os("WRITEWAY_LONG").is_some()
}
