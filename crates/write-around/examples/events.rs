//! Rows that are written often and read seldom: writes pass the cache by, reads fill it. No server: both sides in the process.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_around::{MemoryCache, MemoryStore, WriteAround};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Event {
    id: i64,
    text: String,
}

#[tokio::main]
async fn main() -> writeway_around::Result<()> {
    let table = MemoryStore::new(|event: &Event| event.id);
    // What a lost invalidation may cost. It has no default: whoever builds the handle says it.
    let builder = WriteAround::builder(table).namespace("events").time_to_live(Duration::from_secs(60));
    let events = builder.build(MemoryCache::new()).await?;

    let written = events.put(Event { id: 7, text: "login".into() }).await?;
    println!("committed {:?}, cache: {:?}", written.row, written.cache);
    println!("a miss fills: {:?}", events.get(&7).await?);
    println!("a hit: {:?}", events.get(&7).await?);
    events.put(Event { id: 7, text: "logout".into() }).await?;
    println!("removed, and loaded again: {:?}", events.get(&7).await?);
    Ok(())
}
