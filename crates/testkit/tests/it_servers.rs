//! The private servers themselves: that they survive what fault tests do to them, and that nothing of them stays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use writeway_testkit::servers::{Postgres, Redis, Resp, until};

const LIMIT: Duration = Duration::from_secs(10);

fn redis(server: &Redis) -> anyhow::Result<Resp> {
    Resp::connect(&format!("127.0.0.1:{}", server.port()))
}

#[test]
fn redis_keeps_its_data_through_a_kill_and_its_url_for_life() {
    let Some(mut server) = Redis::from_env().unwrap() else { return };
    let url = server.url();
    redis(&server).unwrap().call(&["SET", "k", "v"]).unwrap();
    // Once written to the file, SIGKILL does not take it back.
    server.kill().unwrap();
    assert!(server.pid().is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(redis(&server).unwrap().call(&["GET", "k"]).unwrap(), ["v"]);
    assert_eq!(redis(&server).unwrap().call(&["CONFIG", "GET", "maxmemory-policy"]).unwrap(), ["maxmemory-policy", "noeviction"]);
    redis(&server).unwrap().call(&["DEBUG", "SLEEP", "0"]).unwrap();
}

#[test]
fn a_paused_redis_answers_after_it_is_resumed() {
    let Some(mut server) = Redis::from_env().unwrap() else { return };
    server.pause().unwrap();
    let port = server.port();
    let asked = std::thread::spawn(move || Resp::connect(&format!("127.0.0.1:{port}")).unwrap().call(&["PING"]).unwrap());
    until("the question to be on its way", LIMIT, || Ok(state(server.pid()?)?.starts_with('T').then_some(()))).unwrap();
    assert!(!asked.is_finished());
    server.resume().unwrap();
    assert_eq!(asked.join().unwrap(), ["PONG"]);
}

#[test]
fn postgres_restarts_after_a_stop_a_kill_and_a_kill_while_paused() {
    let Some(mut server) = Postgres::from_env().unwrap() else { return };
    let url = server.url();
    server.stop().unwrap();
    server.restart().unwrap();
    server.kill().unwrap();
    server.restart().unwrap();
    server.pause().unwrap();
    server.resume().unwrap();
    server.pause().unwrap();
    server.kill().unwrap();
    server.restart().unwrap();
    assert_eq!(server.url(), url);
}

#[test]
fn nothing_is_left_of_a_dropped_server_even_a_paused_one() {
    let (Some(mut redis), Some(mut postgres)) = (Redis::from_env().unwrap(), Postgres::from_env().unwrap()) else { return };
    redis.pause().unwrap();
    postgres.pause().unwrap();
    let dirs: [PathBuf; 2] = [redis.dir().into(), postgres.dir().into()];
    let pids = [redis.pid().unwrap(), postgres.pid().unwrap()];
    drop((redis, postgres));
    assert!(dirs.iter().all(|dir| !dir.exists()));
    assert!(pids.iter().all(|pid| state(*pid).unwrap().is_empty()));
}

#[test]
fn a_binary_that_does_not_serve_is_an_error_that_says_so() {
    let error = Redis::start(Path::new("/bin/false")).unwrap_err();
    assert!(error.to_string().contains("ended at once"), "{error:#}");
    assert!(Redis::start(Path::new("/nonexistent/redis-server")).is_err());
}

/// The process's state as `ps` shows it; empty where there is no such process.
fn state(pid: u32) -> anyhow::Result<String> {
    let output = std::process::Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
