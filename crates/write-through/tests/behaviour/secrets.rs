//! Keys, values and passwords are in no text of ours, whatever fails.

use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use writeway_testkit::double::{Act, Canaries, RawCache, Script, ScriptedCache, ScriptedStore, TestRuntime};
use writeway_through::runtime::Runtime;
use writeway_through::{CacheEffect, Changes, Error, MemoryCache, MemoryStore, Result, WriteThrough};

use crate::rig::CALL;

const KEY: &str = "canarykey";
const VALUE: &str = "canaryvalue";
const DRIVER: &str = "canarydriver";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Secret {
    key: String,
    value: String,
}

fn secret() -> Secret {
    Secret { key: KEY.into(), value: VALUE.into() }
}

/// An error as drivers make them: its own words quote the statement.
fn quoting(make: fn(&'static str) -> Error) -> Error {
    make("a server failed").with_source(std::io::Error::other(format!("{DRIVER} {KEY} {VALUE}")))
}

fn down() -> Error {
    quoting(Error::unavailable)
}

fn rejected() -> Error {
    quoting(Error::rejected)
}

fn unanswered() -> Error {
    quoting(Error::unknown)
}

struct Listener {
    canaries: Canaries,
    errors: usize,
    sources: usize,
}

impl Listener {
    fn hear<T: Debug>(&mut self, answer: Result<T>) {
        let Err(e) = answer else { return };
        self.errors += 1;
        self.sources += usize::from(e.source().is_some_and(|source| source.to_string().contains(DRIVER)));
        self.canaries.look("error", &format!("{e} {e:?} {e:#?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn no_failure_path_tells_a_key_or_a_value() {
    let canaries = Canaries::new(&[KEY, VALUE, DRIVER]);
    let _guard = tracing::subscriber::set_default(canaries.clone());
    let mut listener = Listener { canaries: canaries.clone(), errors: 0, sources: 0 };
    let acts =
        [Act::Pass, Act::Fail(down), Act::Fail(rejected), Act::LoseAnswer(unanswered), Act::Stall, Act::LandAndStall, Act::Panic];
    for strict in [true, false] {
        for call in ["get", "lease", "fill", "invalidate", "finish", "scan", "fetch", "begin", "apply_in", "commit"] {
            for act in acts {
                walk(strict, call, act, &mut listener).await;
            }
        }
    }
    // The listener hears: this test would fail if it did not.
    tracing::error!(name = "control", "a word of no importance");
    println!("{} errors ({} with a driver's words behind them), {} events", listener.errors, listener.sources, canaries.events());
    assert_eq!(canaries.sung(), Vec::<String>::new(), "invariant violated: no key, value or driver's word in any text");
    assert!(listener.errors > 300 && listener.sources > 50 && canaries.events() > 100, "the walk did too little");
    tracing::error!(value = VALUE, "a slip");
    assert_eq!(canaries.sung().len(), 1, "the listener knows the word");
}

async fn walk(strict: bool, call: &'static str, act: Act, listener: &mut Listener) {
    let (sql, redis, runtime) = (Script::new(), Script::new(), TestRuntime::new());
    let cache = RawCache::new(runtime.clone());
    let table = ScriptedStore::new(MemoryStore::new(|secret: &Secret| secret.key.clone()), &sql);
    let builder = WriteThrough::builder(table).namespace("secrets").runtime(Arc::new(runtime.clone())).max_value_bytes(100);
    let builder = if strict { builder } else { builder.eventual().time_to_live(CALL * 60) };
    listener.canaries.look("builder", &format!("{builder:?} {builder:#?}"));
    let secrets = builder.build(ScriptedCache::new(cache.clone(), &redis)).await.expect("build");
    secrets.put(secret()).await.expect("put");
    cache.plant(&format!("secrets:{KEY}"), &[0xD7, b'V', 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    sql.on(call, act);
    redis.on(call, act);
    let key = KEY.to_owned();
    let task = async {
        listener.hear(secrets.get(&key).await);
        listener.hear(secrets.put(secret()).await);
        listener.hear(secrets.put(Secret { value: VALUE.repeat(100), ..secret() }).await);
        listener.hear(secrets.get(&KEY.repeat(200)).await);
        listener.hear(secrets.write(Changes::new().put(secret()).delete("other".into())).await);
        listener.hear(secrets.delete(&key).await);
        listener.hear(secrets.invalidate(std::slice::from_ref(&key)).await);
        listener.hear(secrets.invalidate_all().await);
        let begun = secrets.begin().await;
        if let Ok(mut tx) = begun {
            secrets.publish(&mut tx, &secret());
            secrets.touch(&mut tx, &key);
            listener.canaries.look("tx", &format!("{tx:?} {tx:#?}"));
            listener.hear(tx.commit().await);
        }
        // Last, because a panic of the script's ends it.
        listener.hear(secrets.get_many(&[key.clone(), "other".into()]).await);
    };
    // A panic of the double's is the caller's own.
    let _ = catch(task).await;
    runtime.sleep(CALL * 3).await;
}

/// The work, or nothing if it panicked.
async fn catch<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    std::future::poll_fn(|cx| match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn no_handle_tells_a_key_or_a_value() {
    let canaries = Canaries::new(&[KEY, VALUE]);
    let (table, cache) = (MemoryStore::new(|secret: &Secret| secret.key.clone()), MemoryCache::new());
    let secrets = WriteThrough::builder(table.clone()).namespace("secrets").build(cache.clone()).await.expect("build");
    let written = secrets.put(secret()).await.expect("put");
    assert_eq!(written.cache, CacheEffect::Published);
    canaries.look("table", &format!("{table:?} {table:#?}"));
    canaries.look("cache", &format!("{cache:?} {cache:#?}"));
    assert_eq!(canaries.sung(), Vec::<String>::new(), "invariant violated: no key or value in any text");
}
