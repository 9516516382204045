//! Operations: what a caller of production code asked for, from its start to its answer, whoever works for it.

use super::world::World;

impl World {
    /// Starts an operation of the running task. What the task spawns meanwhile works for it too.
    pub(crate) async fn start_op(&self) -> Op {
        self.start_point().await;
        let mut state = self.lock();
        let id = state.fresh_id();
        let outer = state.op.replace(id);
        Op { id, outer }
    }

    /// Ends it.
    pub(crate) fn end_op(&self, op: &Op) {
        self.lock().op = op.outer;
    }

    /// The operation that the running task works for.
    pub(crate) fn op(&self) -> Option<u64> {
        self.lock().op
    }

    /// The cache answered with a value.
    pub(crate) fn mark_hit(&self) {
        let mut state = self.lock();
        if let Some(op) = state.op {
            state.ops_with_hit.push(op);
        }
    }

    /// True if the cache answered this operation with a value.
    pub(crate) fn was_hit(&self, op: &Op) -> bool {
        self.lock().ops_with_hit.contains(&op.id)
    }
}

/// An operation under way.
pub(crate) struct Op {
    pub(crate) id: u64,
    outer: Option<u64>,
}
