//! How a level is asked for, by a server that writes down what it is told and answers by a script: also of releases that this
//! machine does not have.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_core::error::{Kind, Outcome};
use writeway_core::journal::{Confirm, Journal, Level, Shard};
use writeway_core::redis::{Redis, RedisJournal};
use writeway_core::runtime::{Runtime, Tokio};

/// One that knows `WAITAOF`.
const INFO: &str = "redis_version:7.4.0\r\nrun_id:one\r\nmaster_replid:two\r\nrole:master\r\naof_enabled:1\r\n\
                    maxmemory_policy:noeviction\r\nloading:0\r\n";

/// What one connection was told, a command per line.
type Told = Arc<Mutex<Vec<Vec<String>>>>;

struct Double {
    url: String,
    told: Told,
    /// Of the script.
    stands: Arc<Mutex<&'static str>>,
}

impl Double {
    /// With the answers to `WAIT` and `WAITAOF`, one after the other; the last one stays.
    fn start(answers: &[&'static str]) -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("redis://{}/", listener.local_addr().expect("an address"));
        let (told, answers) = (Told::default(), Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>())));
        let stands = Arc::new(Mutex::new(":1\r\n"));
        let double = Double { url, told: told.clone(), stands: stands.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (told, answers, stands) = (told.clone(), answers.clone(), stands.clone());
                let place = {
                    let mut told = told.lock().expect("no panic");
                    told.push(Vec::new());
                    told.len() - 1
                };
                std::thread::spawn(move || serve(stream, place, &told, &answers, &stands));
            }
        });
        double
    }

    async fn journal(&self) -> RedisJournal {
        let redis = Redis::builder(self.url.clone()).response_timeout(Duration::from_secs(5)).connect().await;
        redis.expect("a server").into()
    }

    /// Everything that the connection that waits was told after it was made.
    fn waiting(&self) -> Vec<String> {
        let told = self.told.lock().expect("no panic");
        let waits = |words: &&Vec<String>| words.iter().any(|line| line.starts_with("WAIT"));
        let words = told.iter().find(waits).expect("one waits");
        words.iter().filter(|line| !line.starts_with("INFO") && !line.starts_with("TIME")).cloned().collect()
    }
}

fn serve(stream: TcpStream, place: usize, told: &Told, answers: &Mutex<VecDeque<&'static str>>, stands: &Mutex<&'static str>) {
    let mut writer = stream.try_clone().expect("a stream");
    let mut reader = BufReader::new(stream);
    while let Some(words) = command(&mut reader) {
        let answer = match words[0].as_str() {
            "TIME" => "*2\r\n$1\r\n1\r\n$1\r\n0\r\n".to_owned(),
            "INFO" => format!("${}\r\n{INFO}\r\n", INFO.len()),
            "EVAL" => (*stands.lock().expect("no panic")).to_owned(),
            "WAIT" | "WAITAOF" => {
                let mut answers = answers.lock().expect("no panic");
                let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
                answer.expect("one at least").to_owned()
            }
            _ => "+OK\r\n".to_owned(),
        };
        // The script's text says nothing here.
        let line = if words[0] == "EVAL" { format!("EVAL {}", words[2..].join(" ")) } else { words.join(" ") };
        told.lock().expect("no panic")[place].push(line);
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut number = || -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse().ok()
    };
    let count = number()?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length: usize = line.trim_end().get(1..)?.parse().ok()?;
        let mut word = vec![0; length + 2];
        reader.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..length]).into_owned());
    }
    Some(words)
}

fn of(number: u16, inc: u64) -> Confirm {
    Confirm { shard: Shard { namespace: "posts".into(), number }, inc: Some(inc) }
}

/// Without the time that the server is given.
fn without_times(lines: Vec<String>) -> Vec<String> {
    let short = |line: String| {
        if line.starts_with("WAIT") { line.rsplit_once(' ').map_or(line.clone(), |cut| cut.0.to_owned()) } else { line }
    };
    lines.into_iter().map(short).collect()
}

const NONE: &str = "*2\r\n:0\r\n:0\r\n";
const DISK: &str = "*2\r\n:1\r\n:0\r\n";

#[tokio::test]
async fn every_count_is_of_a_write_of_its_own_round() {
    let double = Double::start(&[NONE, DISK]);
    let journal = double.journal().await;
    let asked = journal.confirm(Level::LocalFsync, &[of(0, 4), of(3, 4)], Tokio.now() + Duration::from_secs(20)).await;
    asked.expect("the second round");
    let keys = |n: u16| format!("EVAL 2 writeway:{{posts:{n}}}:meta writeway:{{posts:{n}}}:mark one:two 4 1");
    let round = [keys(0), keys(3), "WAITAOF 1 0".to_owned()];
    let expected: Vec<String> = round.iter().chain(&round).cloned().collect();
    assert_eq!(without_times(double.waiting()), expected, "invariant violated: every count is of a write of its own round");
}

#[tokio::test]
async fn too_few_are_not_enough_and_that_is_told_in_time() {
    for (level, answer) in [(Level::LocalFsync, NONE), (Level::Replicated(2), ":1\r\n"), (Level::Replicated(1), ":0\r\n")] {
        let double = Double::start(&[answer]);
        let journal = double.journal().await;
        let (start, within) = (Tokio.now(), Duration::from_millis(300));
        let error = journal.confirm(level, &[of(0, 4)], start + within).await.expect_err("too few");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
        let took = Tokio.now() - start;
        assert!(
            took >= within && took < within + Duration::from_secs(2),
            "invariant violated: every call ends by its deadline: {took:?}"
        );
    }
}

#[tokio::test]
async fn what_is_of_another_incarnation_is_not_confirmed_whatever_is_counted() {
    let double = Double::start(&[":5\r\n"]);
    *double.stands.lock().expect("no panic") = "$5\r\nEPOCH\r\n";
    let journal = double.journal().await;
    let asked = journal.confirm(Level::Replicated(1), &[of(0, 4)], Tokio.now() + Duration::from_secs(20)).await;
    assert_eq!(asked.map_err(|e| e.kind()), Err(Kind::Fenced));
}

#[tokio::test]
async fn a_server_that_refuses_to_wait_confirms_nothing() {
    let double = Double::start(&["-NOPERM this user has no permissions\r\n"]);
    let journal = double.journal().await;
    let asked = journal.confirm(Level::Replicated(1), &[of(0, 4)], Tokio.now() + Duration::from_secs(20)).await;
    assert_eq!(asked.map_err(|e| e.kind()), Err(Kind::Invalid));
}
