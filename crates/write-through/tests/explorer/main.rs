//! Write-through over every order of its calls, every fault and every crash point: the very type that users build, over the
//! simulated cache and store.
//!
//! A scenario is visited as a whole, or as a whole up to the number of preemptions that it prints; one is drawn at random. With
//! `WRITEWAY_LONG` set, the largest go further.
//! `bugs/` holds what each of them must find.

// What all scenarios stand on
mod setup;
// The orders alone
mod deletes;
mod flights;
mod keys;
mod races;
mod transactions;
// What goes wrong
mod callers;
mod crashes;
mod evictions;
mod faults;
mod slowness;
mod strangers;
