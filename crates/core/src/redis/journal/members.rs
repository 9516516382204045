//! Who is there.

use std::time::Duration;

use super::RedisJournal;
use crate::cache::Id;
use crate::entry::members::MOST;
use crate::error::Result;
use crate::redis::call::{Calls, Repeat};
use crate::redis::script::journal::PRESENT;
use crate::redis::{millis, reply};

impl RedisJournal {
    pub(super) async fn who_is_there(&self, namespace: &str, holder: Id, hold: Duration) -> Result<Vec<Id>> {
        // Only no time at all leaves.
        let hold = if hold.is_zero() { 0 } else { millis(hold) };
        let key = format!("{{{namespace}}}:members");
        let calls = Calls {
            script: &PRESENT,
            count: 1,
            call: &|_, _, cmd| {
                cmd.arg(1).arg(self.redis.full_key(key.as_bytes())).arg(&holder.0[..]).arg(hold).arg(MOST);
            },
            bytes: &|_| 0,
            repeat: Repeat::WhenBroken,
        };
        let mut there = Vec::new();
        for answer in self.redis.run(&calls).await? {
            for id in reply::list(answer)? {
                there.push(Id(reply::text(id)?.try_into().map_err(|_| reply::strange())?));
            }
        }
        there.sort_unstable();
        Ok(there)
    }
}
