//! What a handle answers while the journal is slow, or does not answer.

use std::sync::Arc;
use std::time::Duration;

use writeway_back::change::{Change, Changes};
use writeway_back::error::{Error, Kind, Outcome};
use writeway_back::{MemoryJournal, WriteBackBuilder};
use writeway_core::journal::PAGE;
use writeway_core::runtime::Runtime as _;
use writeway_testkit::double::{Act, Script, TestRuntime};

use crate::doubles::Troubled;
use crate::scripted::ScriptedJournal;
use crate::{Row, builder, row};

pub(crate) fn scripted(runtime: &TestRuntime) -> (ScriptedJournal, Script) {
    let (journal, script) = (MemoryJournal::with(100, Arc::new(runtime.clone())), Script::new());
    (ScriptedJournal { journal, script: script.clone() }, script)
}

pub(crate) fn stuck() -> Troubled {
    Troubled::new(|_| Err(Error::unavailable("sql is away")))
}

pub(crate) fn quick(store: Troubled, runtime: &TestRuntime) -> WriteBackBuilder<Troubled> {
    builder(store).flush_timeout(Duration::from_millis(100)).runtime(Arc::new(runtime.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_take_a_slow_answer_for_a_newer_change() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    let rows = quick(stuck(), &runtime).shards(1).build(journal).await.expect("build");
    let _ = rows.put(row(1, "a")).await.expect("put");
    script.forget();
    script.on("status", Act::HoldAfter);
    let slowly = async {
        script.called("status", 1).await;
        runtime.sleep(Duration::from_millis(50)).await;
        script.on("status", Act::Pass);
    };
    let (flushed, ()) = tokio::join!(rows.flush(), slowly);
    let e = flushed.expect_err("invariant violated: a flush that ends well has everything in sql");
    assert_eq!(e.kind(), Kind::Unavailable, "{e}");
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_a_part_was_accepted_is_in_doubt_also_while_fenced() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    let rows = quick(stuck(), &runtime).shards(1).build(journal).await.expect("build");
    script.on("accept", Act::HoldAfter);
    let fenced = async {
        script.called("accept", 1).await;
        script.on("accept", Act::Fail(Error::fenced));
    };
    let more_than_a_page: Changes<i64, Row> = (0..).take(PAGE + 1).map(|n| Change::Put(row(n, "x"))).collect();
    let (written, ()) = tokio::join!(rows.write(more_than_a_page), fenced);
    let e = written.expect_err("the second page is not accepted");
    assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::Unknown), "invariant violated: a part is accepted: {e}");
    assert!(!e.is_retryable());
    assert_eq!(rows.get(&0).await.expect("get"), Some(row(0, "x")), "of the first page");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_ask_a_silent_journal_shard_by_shard() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    let call_timeout = Duration::from_secs(1);
    let rows = quick(stuck(), &runtime).shards(16).call_timeout(call_timeout).build(journal).await.expect("build");
    script.on("status", Act::Stall);
    let before = runtime.now();
    let e = rows.shutdown(Duration::from_millis(100)).await.expect_err("nobody says what is left");
    assert_eq!(e.kind(), Kind::Unavailable, "{e}");
    let took = runtime.now() - before;
    assert!(took < call_timeout * 3, "one call of the flusher, one for what is left: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_may_take_for_ever() {
    let runtime = TestRuntime::new();
    let (journal, _) = scripted(&runtime);
    let rows = quick(Troubled::new(|_| Ok(())), &runtime).build(journal).await.expect("build");
    let _ = rows.put(row(1, "a")).await.expect("put");
    let drained = rows.shutdown(Duration::MAX).await.expect("shutdown");
    assert_eq!((drained.flushed, drained.left), (1, 0));
}
