//! What readers and writers of two handles are told, key by key, while the servers fail: as if all calls of a key had happened one
//! after the other. A reader that answers one read in
//! thirty from an old copy is found out by the same harness.

use std::time::Duration;

use writeway_back::Result;
use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_testkit::harness::{Registers, Remembering, record, score};
use writeway_testkit::proxy::{Proxy, Rule};

use crate::is_long;
use crate::rig::{Handle, Rig, eventually};

/// Each call by either of them.
struct Two([Handle; 2]);

impl Two {
    fn any(&self) -> &Handle {
        &self.0[usize::from(Tokio.random().is_multiple_of(2))]
    }
}

impl Registers for Two {
    async fn write(&self, player: i32, value: Option<i64>) -> Result<()> {
        match value {
            Some(points) => self.any().put(score(player, points)).await.map(drop),
            None => self.any().delete(&(1, player)).await.map(drop),
        }
    }

    async fn read(&self, player: i32) -> Result<Option<i64>> {
        Ok(self.any().get(&(1, player)).await?.map(|row| row.points))
    }
}

async fn rig(test: &str) -> Option<(Rig, Proxy, Two)> {
    let mut rig = Rig::new(test).await?;
    // Reads are strong for as long as Redis loses nothing.
    rig.fsync_always();
    let proxy = rig.proxied_redis().await;
    let two = Two([rig.handle().await, rig.handle().await]);
    Some((rig, proxy, two))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_under_faults_are_linearizable() {
    let Some((mut rig, proxy, two)) = rig("histories").await else { return };
    let watched = two.0[0].clone();
    let faults = async {
        for round in 0..if is_long() { 40 } else { 2 } {
            Tokio.sleep(seconds(1)).await;
            rig.redis.pause().expect("paused");
            Tokio.sleep(Duration::from_millis(1_200)).await;
            rig.redis.resume().expect("resumed");
            Tokio.sleep(seconds(1)).await;
            // Requests arrive, and nobody hears of it; then late.
            proxy.set(Rule::Mute);
            Tokio.sleep(Duration::from_millis(700)).await;
            proxy.set(Rule::Pass);
            rig.end_sessions().await;
            Tokio.sleep(seconds(1)).await;
            for _ in 0..10 {
                Tokio.sleep(Duration::from_millis(50)).await;
                proxy.kill_all();
            }
            proxy.set(Rule::Stall);
            Tokio.sleep(Duration::from_millis(1_500)).await;
            proxy.set(Rule::Pass);
            Tokio.sleep(seconds(1)).await;
            tokio::task::block_in_place(|| {
                rig.redis.kill().expect("killed");
                rig.redis.restart().expect("restarted");
            });
            eventually("redis to be used again", async || watched.stats().await.ok()).await;
            println!("round {round} of faults is over");
        }
        Tokio.sleep(seconds(1)).await;
    };
    let (keys, shown) = record(two, faults).await;
    println!("{keys} keys");
    shown.is_linear(1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_remembers_is_found_out() {
    let Some((_rig, _proxy, two)) = rig("remembers").await else { return };
    let (keys, shown) = record(Remembering::new(two), Tokio.sleep(seconds(2))).await;
    println!("{keys} keys, {} of them wrong", shown.wrong.len());
    assert!(!shown.wrong.is_empty(), "the harness does not see a reader that answers from an old copy");
}
