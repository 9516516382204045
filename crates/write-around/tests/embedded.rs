//! Write-around embedded: SQLite and the cache in the process.
#![cfg(feature = "sqlite")]

use writeway_around::{CacheEffect, MemoryCache, WriteAround};
use writeway_testkit::file::{File, note};

#[tokio::test]
async fn a_write_removes_the_cached_copy_and_a_read_fills_it() {
    let file = File::make().await;
    for strict in [false, true] {
        let builder = WriteAround::builder(file.notes()).namespace("notes").time_to_live(std::time::Duration::from_secs(60));
        let builder = if strict { builder.strict() } else { builder };
        let notes = builder.build(MemoryCache::new()).await.expect("build");
        let written = notes.put(note(1, "a")).await.expect("put");
        assert_eq!(written.cache, CacheEffect::Invalidated);
        assert_eq!(notes.get(&1).await.expect("a miss"), written.row);
        file.run("UPDATE notes SET text = 'behind the cache'").await;
        assert_eq!(notes.get(&1).await.expect("a hit"), written.row);
        let written = notes.put(note(1, "b")).await.expect("put");
        assert_eq!(notes.get(&1).await.expect("a miss"), written.row);
        notes.delete(&1).await.expect("delete");
        assert_eq!(notes.get(&1).await.expect("get"), None);
    }
}
