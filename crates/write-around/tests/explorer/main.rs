//! Write-around over every order of its calls, every fault and every crash point: the very type that users build, over the
//! simulated cache and store.
//!
//! A scenario is visited as a whole, or as a whole up to the number of preemptions that it prints. `bugs/` holds what they
//! must find.

mod eventual;
mod setup;
mod strict;
