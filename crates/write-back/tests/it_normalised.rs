//! One cached row in two SQL tables: the example's, on Redis and PostgreSQL.

#[path = "../examples/normalised/orders.rs"]
mod orders;

use std::time::Duration;

use orders::{Order, Orders, TABLES};
use writeway_back::runtime::{Runtime, Tokio};
use writeway_back::store::Store;
use writeway_back::{Changes, Redis, Sql, WriteBack};
use writeway_testkit::harness::{Given, Schema, number};

struct Rig {
    schema: Schema,
    cache: Redis,
    table: Sql<Orders>,
    orders: WriteBack<Sql<Orders>>,
}

async fn rig(test: &str) -> Option<Rig> {
    let given = Given::from_env()?;
    let schema = Schema::make(&given.database, &format!("it_normalised_{test}")).await;
    schema.run(TABLES).await;
    let table = Sql::<Orders>::new(schema.pool(4, Duration::from_millis(1_500)).await);
    let cache = given.cache(&format!("normalised.{test}")).await;
    let orders = open(&table, &cache).await;
    Some(Rig { schema, cache, table, orders })
}

/// One shard: what is put together is flushed together. A server that was given may have no append-only file.
async fn open(table: &Sql<Orders>, cache: &Redis) -> WriteBack<Sql<Orders>> {
    let builder = WriteBack::builder(table.clone()).namespace("orders").shards(1).call_timeout(Duration::from_secs(5));
    builder.migrate().allow_volatile_changes().build(cache.clone()).await.expect("build")
}

fn order(id: i64, customer: &str, lines: &[(&str, i32)]) -> Order {
    let lines = lines.iter().map(|(product, quantity)| ((*product).to_owned(), *quantity)).collect();
    Order { id, customer: customer.into(), lines }
}

impl Rig {
    /// Rows of each table.
    async fn rows(&self) -> (i64, i64) {
        let mut conn = self.schema.connect().await;
        (number(&mut conn, "SELECT count(*) FROM orders").await, number(&mut conn, "SELECT count(*) FROM order_lines").await)
    }

    async fn in_sql(&self, ids: &[i64]) -> Vec<Order> {
        self.table.fetch(ids).await.expect("fetch")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_put_replaced_and_deleted_in_both_tables() {
    let Some(rig) = rig("both").await else { return };
    let (ada, bob) = (order(1, "Ada", &[("tea", 2), ("milk", 1)]), order(2, "Bob", &[]));
    let changes = Changes::new().put(ada.clone()).put(bob.clone());
    rig.orders.write(changes).await.expect("accepted").durable().await.expect("flushed");
    assert_eq!(rig.rows().await, (2, 2));
    assert_eq!(rig.in_sql(&[1, 2]).await, [ada.clone(), bob.clone()], "a head without lines, too");

    let fewer = order(1, "Ada L.", &[("coffee", 3)]);
    let ticket = rig.orders.put(fewer.clone()).await.expect("accepted");
    assert_eq!(rig.orders.get(&1).await.expect("get"), Some(fewer.clone()), "before it is flushed");
    ticket.durable().await.expect("flushed");
    assert_eq!((rig.rows().await, rig.in_sql(&[1]).await), ((2, 1), vec![fewer.clone()]), "lines that are no more are gone");

    rig.schema.run("UPDATE orders SET customer = 'behind the cache'").await;
    assert_eq!(rig.orders.get(&1).await.expect("get"), Some(fewer), "the flush left the whole row, a hit");
    rig.orders.invalidate(&[1, 2]).await.expect("invalidate");
    let joined = order(1, "behind the cache", &[("coffee", 3)]);
    assert_eq!(rig.orders.get(&1).await.expect("get"), Some(joined), "a load joins the tables");

    rig.orders.delete(&1).await.expect("accepted").durable().await.expect("flushed");
    assert_eq!(rig.rows().await, (1, 0));
    assert_eq!(rig.orders.get(&1).await.expect("get"), None);
    let drained = rig.orders.shutdown(Duration::from_secs(10)).await.expect("ended");
    assert_eq!(drained.left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_second_table_leaves_nothing_half_written() {
    let Some(rig) = rig("half").await else { return };
    let before = order(1, "Ada", &[("tea", 2)]);
    rig.orders.put(before.clone()).await.expect("accepted").durable().await.expect("flushed");

    let (after, other) = (order(1, "Ada L.", &[("tea", 3), ("milk", 0)]), order(2, "Bob", &[("tea", 1)]));
    let ticket = rig.orders.write(Changes::new().put(after.clone()).put(other.clone())).await.expect("accepted");
    let deadline = Tokio.now() + Duration::from_secs(30);
    while rig.orders.stats().await.expect("stats").retries == 0 {
        assert!(Tokio.now() < deadline, "the flush of a line that breaks a CHECK fails");
    }
    assert_eq!(rig.in_sql(&[1, 2]).await, [before], "invariant violated: a flush is in effect as a whole or not at all");
    let mut conn = rig.schema.connect().await;
    let batches = number(&mut conn, "SELECT batch FROM writeway_fence WHERE namespace = 'orders'").await;
    assert_eq!(batches, 1, "the fence was rolled back with the rows");
    assert_eq!(rig.orders.get(&1).await.expect("get"), Some(after.clone()), "what was accepted is read");

    rig.schema.run("ALTER TABLE order_lines DROP CONSTRAINT something").await;
    ticket.durable().await.expect("the same batch, once sql takes it");
    assert_eq!(rig.in_sql(&[1, 2]).await, [after, other]);
    let drained = rig.orders.shutdown(Duration::from_secs(10)).await.expect("ended");
    assert_eq!(drained.left, 0);
    let successor = open(&rig.table, &rig.cache).await;
    assert_eq!(successor.stats().await.expect("stats").dead, 0);
}
