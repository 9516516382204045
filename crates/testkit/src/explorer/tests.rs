//! The explorer is tested with small toys: what it must find, it finds; how many runs there are is known by counting.

mod failure_tests;
mod fault_tests;
mod order_tests;
mod time_tests;

use std::sync::{Arc, Mutex};

use super::*;

/// A server with one register.
#[derive(Clone)]
struct Register {
    world: World,
    value: Arc<Mutex<u64>>,
}

impl Register {
    fn new(world: &World) -> Self {
        Register { world: world.clone(), value: Arc::default() }
    }

    fn now(&self) -> u64 {
        *self.value.lock().unwrap()
    }

    async fn run(&self, what: &'static str, effect: impl FnOnce(&mut u64) -> u64 + Send + 'static) -> Result<u64, Failed> {
        let value = self.value.clone();
        let limit = self.world.now_ms() + 500;
        let call = Call { what: what.into(), side: Side::Store, ends: WRITES, limit, lands_by: None };
        self.world.call(call, move || effect(&mut value.lock().unwrap())).await
    }

    async fn get(&self) -> u64 {
        self.run("get", |value| *value).await.unwrap_or(0)
    }

    async fn set(&self, to: u64) -> Result<u64, Failed> {
        self.run("set", move |value| std::mem::replace(value, to)).await
    }
}

fn points(world: &World, tasks: usize, each: usize) {
    let process = world.process("app");
    for _ in 0..tasks {
        let world = world.clone();
        process.task("points", async move {
            for _ in 0..each {
                world.point("point").await;
            }
        });
    }
}
