//! Another Redis in place of the one that was written to: a replica that lagged behind. Handles reach Redis under one address, and nobody restarts them.

use writeway_back::{Sql, Ticket};
use writeway_testkit::harness::{Scores, Verdict};
use writeway_testkit::proxy::{Proxy, Rule};
use writeway_testkit::servers::{self, Resp};

use crate::load::{Load, Shape};
use crate::lost_file::{reads_nothing_older, settled};
use crate::rig::{Handle, Rig, SHARDS, eventually, flushed, put_all};

/// The load has those before.
const FIRST: i32 = 1_000;
pub(crate) const PLAYERS: std::ops::Range<i32> = FIRST..FIRST + 40;

/// Two servers, one of them the other's replica, behind one address.
pub(crate) struct Pair {
    pub(crate) rig: Rig,
    second: servers::Redis,
    /// Handles connect here.
    pub(crate) wire: Proxy,
    /// What the replica receives passes here.
    copying: Proxy,
}

impl Pair {
    pub(crate) async fn new(test: &str) -> Option<Pair> {
        let mut rig = Rig::new(test).await?;
        let wire = rig.proxied_redis().await;
        let copying = Proxy::start(rig.redis_address()).await.expect("a free port");
        let second = servers::Redis::from_env().expect("redis starts")?;
        let pair = Pair { rig, second, wire, copying };
        pair.second().call(&["REPLICAOF", "127.0.0.1", &pair.copying.port().to_string()]).expect("a replica");
        pair.caught_up().await;
        Some(pair)
    }

    pub(crate) fn second(&self) -> Resp {
        Resp::connect(&format!("127.0.0.1:{}", self.second.port())).expect("redis lets us in")
    }

    /// The replica has all that the first server has.
    pub(crate) async fn caught_up(&self) {
        let offset = |redis: &mut Resp, name: &str| {
            let info = redis.call(&["INFO", "replication"]).ok()?.concat();
            let line = info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            line.filter(|_| name != "slave_repl_offset:" || info.contains("master_link_status:up"))
        };
        eventually("the replica to catch up", async || {
            let (first, second) = (&mut self.rig.resp(), &mut self.second());
            let (master, replica) = (offset(first, "master_repl_offset:")?, offset(second, "slave_repl_offset:")?);
            (master == replica).then_some(())
        })
        .await;
    }

    /// The replica is a master from now on, with what it has.
    pub(crate) fn promoted(&self) {
        self.second().call(&["REPLICAOF", "NO", "ONE"]).expect("promoted");
    }

    /// Handles find the second server under the address; a connection that is there ends.
    pub(crate) fn led_to_second(&self) {
        self.wire.lead_to(format!("127.0.0.1:{}", self.second.port()));
        self.wire.kill_all();
    }

    pub(crate) async fn loss_is_told(&self, handle: &Handle, before: u64) {
        eventually("the event", async || {
            let now = handle.stats().await.ok()?.loss_possible;
            (now >= before + u64::from(SHARDS)).then_some(())
        })
        .await;
    }
}

/// What every ticket says is true of SQL. Gives how many were in doubt.
pub(crate) async fn all_settled(rig: &Rig, tickets: &[Ticket<Sql<Scores>>], points: i64) -> usize {
    let mut lost = 0;
    for (player, ticket) in PLAYERS.zip(tickets) {
        lost += usize::from(!settled(rig, ticket, player, points).await);
    }
    lost
}

/// Nothing but what was lost is missing, and nothing else is wrong.
fn only_lost(verdict: Verdict) {
    assert_eq!(Verdict { lost: 0, ..verdict }, Verdict::default(), "invariant violated: sql never goes backwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lagged_behind_takes_over() {
    let Some(mut pair) = Pair::new("lagging").await else { return };
    let handle = pair.rig.handle().await;
    let load = Load::start(&handle, Shape { deletes: true, lossy: true, ..Shape::default() });
    load.goes_on().await;
    drop(put_all(&handle, PLAYERS, 1).await);
    flushed(&handle).await;
    pair.caught_up().await;
    // On the replica they are on their way; in SQL there is something newer.
    let hold = pair.rig.block_sql().await;
    drop(put_all(&handle, PLAYERS, 2).await);
    pair.caught_up().await;
    pair.copying.set(Rule::Stall);
    hold.release().await;
    flushed(&handle).await;
    drop(put_all(&handle, PLAYERS, 3).await);
    flushed(&handle).await;
    load.goes_on().await;
    let tickets = put_all(&handle, PLAYERS, 4).await;
    let before = handle.stats().await.expect("stats").loss_possible;
    pair.rig.redis.kill().expect("killed");
    pair.promoted();
    pair.led_to_second();
    pair.loss_is_told(&handle, before).await;
    let again = load.goes_on().await;
    reads_nothing_older(&pair.rig, &handle, PLAYERS).await;
    let lost = all_settled(&pair.rig, &tickets, 4).await;
    load.stop().await;
    flushed(&handle).await;
    drop(put_all(&handle, PLAYERS, 5).await);
    flushed(&handle).await;
    let stats = handle.stats().await.expect("stats");
    println!("a lagging replica: {}; again after {again:?}; {lost} of {} in doubt; {stats:?}", load.counts(), tickets.len());
    load.answers_are_right();
    only_lost(load.verdict(&pair.rig.ledger).await);
    let rows = pair.rig.steps_of(PLAYERS).await;
    for (player, steps) in &rows {
        let rising = steps.windows(2).all(|two| two[0] < two[1]);
        assert!(rising && steps.ends_with(&[5]), "invariant violated: sql never goes backwards: {player}: {steps:?}");
    }
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: what sql has newer is dropped");
    assert!(lost > 0, "the harness did too little");
}
