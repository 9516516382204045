//! A caller that drops its future, at any await.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::state::{Parked, Phase};
use super::world::World;

impl World {
    /// `None` if the caller lost patience: the explorer drops `work` at any of its awaits, as often as `cancels` allow.
    pub fn cancellable<F: Future + Send>(&self, work: F) -> impl Future<Output = Option<F::Output>> + Send + use<F> {
        Cancellable { world: self.clone(), work: Some(Box::pin(work)), id: None }
    }
}

struct Cancellable<F> {
    world: World,
    work: Option<Pin<Box<F>>>,
    id: Option<u64>,
}

impl<F: Future> Future for Cancellable<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(id) = self.id
            && !self.world.lock().cancellable.iter().any(|call| call.id == id)
        {
            self.world.note(|| "  ✗ its caller drops it".to_owned());
            self.work = None;
            return Poll::Ready(None);
        }
        let Some(work) = self.work.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let world = self.world.clone();
        let mut state = world.lock();
        if let (Phase::Explored, None, Some(task)) = (state.phase, self.id, state.running) {
            let id = state.fresh_id();
            state.cancellable.push(Parked { id, task, waker: cx.waker().clone() });
            self.id = Some(id);
        }
        Poll::Pending
    }
}

impl<F> Drop for Cancellable<F> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.world.lock().cancellable.retain(|call| call.id != id);
        }
    }
}
