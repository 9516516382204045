//! The first five minutes: no server, a table and a cache in the process.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_through::{MemoryCache, MemoryStore, WriteThrough};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: i64,
    name: String,
}

#[tokio::main]
async fn main() -> writeway_through::Result<()> {
    let table = MemoryStore::new(|user: &User| user.id);
    let users = WriteThrough::builder(table).namespace("users").build(MemoryCache::new()).await?;

    let written = users.put(User { id: 7, name: "Ada".into() }).await?;
    println!("committed {:?}, cache: {:?}", written.row, written.cache);
    println!("hit: {:?}", users.get(&7).await?);
    users.delete(&7).await?;
    println!("gone: {:?}", users.get(&7).await?);
    println!("left running: {}", users.shutdown(Duration::from_secs(1)).await);
    Ok(())
}
