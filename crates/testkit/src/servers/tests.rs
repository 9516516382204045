//! What can be said without a server on the machine; the servers themselves are in `tests/it_servers.rs`.

use std::fs;
use std::time::Duration;

use super::{Watchdog, until};

#[test]
fn a_watchdog_cleans_up_when_dropped() {
    let dir = tempfile::tempdir().unwrap().keep();
    fs::write(dir.join("file"), "x").unwrap();
    let watchdog = Watchdog::new("TERM", &["rm".as_ref(), "-r".as_ref(), dir.as_os_str()]).unwrap();
    assert!(dir.exists());
    drop(watchdog);
    assert!(!dir.exists());
}

#[test]
fn a_watchdog_ends_what_it_watches_even_when_that_is_stopped() {
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(sleeper.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let mut watchdog = Watchdog::new("TERM", &["true"]).unwrap();
    watchdog.watch(&[pid]).unwrap();
    let waiting = std::thread::spawn(move || drop(watchdog));
    assert!(!sleeper.wait().unwrap().success());
    waiting.join().unwrap();
}

#[test]
fn waiting_ends_at_its_limit() {
    let waited = until("nothing", Duration::from_millis(50), || Ok(None::<()>));
    assert!(waited.unwrap_err().to_string().contains("gave up on nothing"));
}
