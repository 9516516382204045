//! What a handle answers while the journal is slow, or does not answer.

use std::sync::Arc;
use std::time::Duration;

use writeway_back::error::{Error, Kind};
use writeway_back::{MemoryJournal, WriteBackBuilder};
use writeway_core::runtime::Runtime as _;
use writeway_testkit::double::{Act, Script, TestRuntime};

use crate::doubles::Troubled;
use crate::scripted::ScriptedJournal;
use crate::{builder, row};

fn scripted(runtime: &TestRuntime) -> (ScriptedJournal, Script) {
    let (journal, script) = (MemoryJournal::with(100, Arc::new(runtime.clone())), Script::new());
    (ScriptedJournal { journal, script: script.clone() }, script)
}

fn stuck() -> Troubled {
    Troubled::new(|_| Err(Error::unavailable("sql is away")))
}

fn quick(store: Troubled, runtime: &TestRuntime) -> WriteBackBuilder<Troubled> {
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
