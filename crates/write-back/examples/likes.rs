//! A burst of writes on a few hot rows, and how few of them SQL sees. No server: a table and a journal in the process.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_back::{MemoryJournal, MemoryStore, WriteBack};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Post {
    id: i64,
    likes: u64,
}

#[tokio::main]
async fn main() -> writeway_back::Result<()> {
    let table = MemoryStore::new(|post: &Post| post.id);
    // A change may wait for a minute. A journal in the process dies with it: that has to be accepted by name.
    let builder = WriteBack::builder(table.clone()).namespace("posts").max_delay(Duration::from_secs(60));
    let posts = builder.allow_volatile_changes().build(MemoryJournal::new()).await?;

    for likes in 1..=1_000 {
        let _ticket = posts.put(Post { id: likes % 3, likes: likes.unsigned_abs() }).await?;
    }
    println!("read at once: {:?}", posts.get(&1).await?);
    println!("in sql so far: {:?}", table.row(&1));

    let ticket = posts.put(Post { id: 7, likes: 1 }).await?;
    posts.flush().await?;
    ticket.durable().await?;
    println!("durable: {:?}", table.row(&7));
    let stats = posts.stats().await?;
    println!("accepted {}, rows written to sql {}, in {} batches", stats.accepted, stats.flushed, stats.batches);
    println!("{:?}", posts.shutdown(Duration::from_secs(1)).await?);
    Ok(())
}
