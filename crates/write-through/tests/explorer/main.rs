//! Write-through over every order of its calls, every fault and every crash point: the very type that users build, over the
//! simulated cache and store.
//!
//! Every scenario is visited as a whole, or as a whole up to the number of preemptions that it prints.

// What all scenarios stand on
mod setup;
// One scenario per test, by what goes wrong
mod crashes;
mod faults;
mod races;
