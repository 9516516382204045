//! One load per key and process: callers that miss together share one flight.
//!
//! **Rule.** A caller may join a flight only while its SQL read has not started. Joining a running read would hand out a row
//! read before the caller asked, older than a write that was acknowledged in between.
//!
//! 1. The first caller leads: it boards, and its flight is open to others.
//! 2. The leader departs right before the SQL read: from here on nobody joins, a new caller leads a new flight.
//! 3. It lands: all that joined get the result. A leader that is dropped before lands nothing, and they are told so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::cache::Bytes;

type Board<T> = Arc<Mutex<HashMap<Bytes, Arc<watch::Sender<Option<T>>>>>>;

/// The flights of one namespace that may still be joined.
#[derive(Debug)]
pub struct Flights<T> {
    open: Board<T>,
}

/// A caller's place in a flight.
#[derive(Debug)]
pub enum Seat<T> {
    /// Nobody was there: load, and land the result. The second part waits for it like everybody else's.
    Lead(Leader<T>, Follower<T>),
    /// Somebody is about to load.
    Follow(Follower<T>),
}

/// Who loads. Dropped, it lands nothing.
#[derive(Debug)]
pub struct Leader<T> {
    key: Bytes,
    open: Board<T>,
    result: Arc<watch::Sender<Option<T>>>,
}

/// Who waits.
#[derive(Debug)]
pub struct Follower<T>(watch::Receiver<Option<T>>);

impl<T: Clone> Flights<T> {
    /// No flight yet.
    #[must_use]
    pub fn new() -> Self {
        Flights { open: Arc::default() }
    }

    /// Joins the open flight of `key`, or leads a new one.
    #[must_use]
    pub fn board(&self, key: &Bytes) -> Seat<T> {
        let mut open = lock(&self.open);
        if let Some(flight) = open.get(key) {
            return Seat::Follow(Follower(flight.subscribe()));
        }
        let result = Arc::new(watch::Sender::new(None));
        open.insert(key.clone(), result.clone());
        let follower = Follower(result.subscribe());
        Seat::Lead(Leader { key: key.clone(), open: self.open.clone(), result }, follower)
    }
}

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Leader<T> {
    /// The read starts now: nobody joins any more.
    pub fn depart(&self) {
        let mut open = lock(&self.open);
        if open.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.result)) {
            open.remove(&self.key);
        }
    }

    /// Hands the result to all that joined.
    pub fn land(self, result: T) {
        self.depart();
        self.result.send_replace(Some(result));
    }
}

impl<T> Drop for Leader<T> {
    fn drop(&mut self) {
        self.depart();
    }
}

impl<T: Clone> Follower<T> {
    /// The flight's result; `None` if its leader died.
    pub async fn landed(mut self) -> Option<T> {
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok().and_then(|result| result.clone())
    }
}

/// Nothing that can panic runs under this lock.
fn lock<T>(board: &Board<T>) -> std::sync::MutexGuard<'_, HashMap<Bytes, Arc<watch::Sender<Option<T>>>>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &Flights<u8>) -> (Leader<u8>, Follower<u8>) {
        match flights.board(&b"k".to_vec()) {
            Seat::Lead(leader, follower) => (leader, follower),
            Seat::Follow(_) => panic!("somebody leads already"),
        }
    }

    #[tokio::test]
    async fn callers_share_a_flight_until_it_departs() {
        let flights = Flights::new();
        let (leader, first) = lead(&flights);
        let Seat::Follow(second) = flights.board(&b"k".to_vec()) else { panic!("the flight is open") };
        leader.depart();
        let (next, third) = lead(&flights);
        leader.land(1);
        assert_eq!((first.landed().await, second.landed().await), (Some(1), Some(1)));
        assert!(matches!(flights.board(&b"k".to_vec()), Seat::Follow(_)), "landing the first leaves the second open");
        next.land(2);
        assert_eq!(third.landed().await, Some(2));
    }

    #[tokio::test]
    async fn a_dead_leader_leaves_nobody_waiting() {
        let flights = Flights::new();
        let (leader, follower) = lead(&flights);
        drop(leader);
        assert_eq!(follower.landed().await, None);
        let _ = lead(&flights);
    }
}
