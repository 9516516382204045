//! What the library itself costs, without a server: calls over the in-process cache and store, and entries to and from bytes.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use writeway_around::WriteAround;
use writeway_core::memory::{MemoryCache, MemoryStore};
use writeway_core::values::Values;
use writeway_through::WriteThrough;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const KEYS: i64 = 1_000;
const CACHE_KEY: &[u8] = b"entries:12345";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    id: i64,
    amount: i64,
    note: String,
}

fn row(id: i64, note_bytes: usize) -> Row {
    Row { id, amount: 500_000, note: "x".repeat(note_bytes) }
}

fn store() -> MemoryStore<i64, Row> {
    MemoryStore::new(|row: &Row| row.id)
}

/// One worker: the cost of the calls, not of waking another core.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn through(runtime: &Runtime) -> WriteThrough<MemoryStore<i64, Row>> {
    runtime.block_on(async {
        let handle = WriteThrough::builder(store()).namespace("entries").time_to_live(HOUR).build(MemoryCache::new());
        let handle = handle.await.expect("good options");
        for id in 0..KEYS {
            handle.put(row(id, 60)).await.expect("in memory");
        }
        handle
    })
}

fn calls(c: &mut Criterion) {
    let runtime = runtime();
    let through = through(&runtime);
    let mut group = c.benchmark_group("in-process");
    group
        .bench_function("get, hit", |b| b.to_async(&runtime).iter(async || through.get(black_box(&7)).await.expect("in memory")));
    let hundred: Vec<i64> = (0..100).collect();
    group.throughput(Throughput::Elements(100));
    group.bench_function("get_many(100), hits", |b| {
        b.to_async(&runtime).iter(async || through.get_many(black_box(&hundred)).await.expect("in memory"));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("put, write-through, strict", |b| {
        b.to_async(&runtime).iter_batched(
            || row(7, 60),
            async |row| through.put(row).await.expect("in memory"),
            BatchSize::SmallInput,
        );
    });
    let around = WriteAround::builder(store()).namespace("entries").time_to_live(HOUR).build(MemoryCache::new());
    let around = runtime.block_on(around).expect("good options");
    group.bench_function("put, write-around, eventual", |b| {
        b.to_async(&runtime).iter_batched(
            || row(7, 60),
            async |row| around.put(row).await.expect("in memory"),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn entries(c: &mut Criterion) {
    for (name, note_bytes) in [("entry, 100 B", 60), ("entry, 1 KiB", 984)] {
        let values = Values::<Row>::new(0, 1 << 20, HOUR);
        let row = row(12_345, note_bytes);
        let (entry, _) = values.entry(CACHE_KEY, Some(&row), 0).expect("short");
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(entry.len() as u64));
        group.bench_function("encode", |b| b.iter(|| values.entry(CACHE_KEY, Some(black_box(&row)), 0).expect("short")));
        group.bench_function("decode", |b| b.iter(|| values.row(CACHE_KEY, black_box(&entry)).expect("whole")));
        group.finish();
    }
}

criterion_group!(benches, calls, entries);
criterion_main!(benches);
