//! Orders are put as a whole and normalised when they are flushed. `REDIS_URL` and `DATABASE_URL` say where; Redis keeps an
//! append-only file. `cargo run -p writeway-back --features postgres --example normalised`
mod orders;

use std::env::var;
use std::time::Duration;

use orders::{Order, Orders, TABLES};
use writeway_back::diesel_async::pooled_connection::AsyncDieselConnectionManager;
use writeway_back::diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use writeway_back::sql::ServerTimeouts;
use writeway_back::store::Store;
use writeway_back::{Redis, Sql, WriteBack, bb8};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(var("DATABASE_URL")?);
    let timeouts = Box::new(ServerTimeouts::default());
    let pool = bb8::Pool::builder().connection_customizer(timeouts).build(manager).await?;
    pool.get().await?.batch_execute(TABLES).await?;
    let table = Sql::<Orders>::new(pool);
    let redis = Redis::connect(var("REDIS_URL")?).await?;
    let orders = WriteBack::builder(table.clone()).namespace("orders").migrate().build(redis).await?;

    let mut order = Order { id: 7, customer: "Ada".into(), lines: vec![("tea".into(), 1)] };
    for cups in 1..=20 {
        order.lines = vec![("tea".into(), cups), ("milk".into(), 1)];
        let _ticket = orders.put(order.clone()).await?;
    }
    println!("read at once: {:?}", orders.get(&7).await?);
    orders.put(order).await?.durable().await?;
    println!("in both tables: {:?}", table.fetch(&[7]).await?);
    orders.delete(&7).await?.durable().await?;
    println!("in neither: {:?}", table.fetch(&[7]).await?);
    println!("{:?}", orders.shutdown(Duration::from_secs(5)).await?);
    Ok(())
}
