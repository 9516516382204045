//! The fault proxy over a local server that counts what reaches it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::tasks::until;
use writeway_testkit::proxy::{Proxy, Rule};

/// Answers every line with itself, and keeps what it saw.
struct Echo {
    address: String,
    seen: Arc<Mutex<String>>,
    _tasks: JoinSet<()>,
}

async fn echo() -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (seen, mut tasks) = (Arc::<Mutex<String>>::default(), JoinSet::new());
    let all = seen.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = all.clone();
            connections.spawn(async move {
                let mut buffer = [0; 1_000];
                while let Ok(n @ 1..) = client.read(&mut buffer).await {
                    seen.lock().expect("not poisoned").push_str(&String::from_utf8_lossy(&buffer[..n]));
                    if client.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Echo { address, seen, _tasks: tasks }
}

impl Echo {
    fn seen(&self) -> String {
        self.seen.lock().expect("not poisoned").clone()
    }

    async fn proxied(&self) -> (Proxy, TcpStream) {
        let proxy = Proxy::start(&self.address).await.expect("a free port");
        let client = connect(&proxy).await;
        (proxy, client)
    }
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy accepts")
}

/// The reply to `text`, which is as long; "" if the connection was closed, `None` if there is none within 300 ms.
async fn ask(client: &mut TcpStream, text: &str) -> Option<String> {
    let reply = async {
        client.write_all(text.as_bytes()).await?;
        let mut reply = vec![0; text.len()];
        client.read_exact(&mut reply).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&reply).into_owned())
    };
    let reply = until(&Tokio, Tokio.now() + Duration::from_millis(300), reply).await;
    reply.map(Result::unwrap_or_default)
}

#[tokio::test]
async fn passes_everything() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    assert_eq!(ask(&mut client, "hello").await.as_deref(), Some("hello"));
    let large = "x".repeat(300_000);
    assert_eq!(ask(&mut client, &large).await, Some(large));
    assert_eq!((proxy.connections(), proxy.cuts()), (1, 0));
}

#[tokio::test]
async fn cuts_before_the_request_arrives() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    proxy.once(Rule::cut_before("COMMIT"));
    assert_eq!(ask(&mut client, "BEGIN;").await.as_deref(), Some("BEGIN;"));
    assert_eq!(ask(&mut client, "COMMIT;").await.as_deref(), Some(""));
    assert_eq!((echo.seen().as_str(), proxy.cuts()), ("BEGIN;", 1));
    assert_eq!(ask(&mut connect(&proxy).await, "COMMIT;").await.as_deref(), Some("COMMIT;"), "only once");
}

#[tokio::test]
async fn cuts_after_the_request_was_carried_out() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    proxy.set(Rule::cut_after("COMMIT"));
    client.write_all(b"COM").await.expect("open");
    Tokio.sleep(Duration::from_millis(50)).await;
    let mut rest = [0; 3];
    client.read_exact(&mut rest).await.expect("the first piece is echoed");
    assert_eq!(ask(&mut client, "MIT;").await.as_deref(), Some(""), "no byte of the reply");
    assert_eq!((echo.seen().as_str(), proxy.cuts()), ("COMMIT;", 1));
    assert_eq!(ask(&mut connect(&proxy).await, "COMMIT;").await.as_deref(), Some(""), "every time");
}

#[tokio::test]
async fn what_was_stalled_arrives_late() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("one"));
    proxy.set(Rule::Stall);
    assert_eq!(ask(&mut client, "two").await, None);
    assert_eq!(echo.seen(), "one");
    proxy.set(Rule::Pass);
    assert_eq!(ask(&mut client, "six").await.as_deref(), Some("two"), "the stalled reply comes first");
    assert_eq!(echo.seen(), "onetwosix");
}

#[tokio::test]
async fn a_muted_server_works_on() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    proxy.set(Rule::Mute);
    assert_eq!(ask(&mut client, "one").await, None);
    assert_eq!(echo.seen(), "one");
}

#[tokio::test]
async fn delays_and_trickles() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    proxy.set(Rule::Delay(Duration::from_millis(60)));
    let started = Tokio.now();
    assert_eq!(ask(&mut client, "slow").await.as_deref(), Some("slow"));
    assert!(Tokio.now() - started >= Duration::from_millis(120), "both ways");
    proxy.set(Rule::Trickle(Duration::from_millis(200)));
    assert_eq!(ask(&mut client, "abc").await, None);
}

#[tokio::test]
async fn refuses_new_connections_and_kills_old_ones() {
    let echo = echo().await;
    let (proxy, mut old) = echo.proxied().await;
    assert_eq!(ask(&mut old, "one").await.as_deref(), Some("one"));
    proxy.set(Rule::Refuse);
    assert_eq!(ask(&mut connect(&proxy).await, "two").await.as_deref(), Some(""));
    assert_eq!(ask(&mut old, "six").await.as_deref(), Some("six"), "the old one goes on");
    proxy.kill_all();
    assert_eq!(ask(&mut old, "ten").await.as_deref(), Some(""));
    proxy.set(Rule::Pass);
    assert_eq!(ask(&mut connect(&proxy).await, "ten").await.as_deref(), Some("ten"));
    assert_eq!(echo.seen(), "onesixten");
}

#[tokio::test]
async fn a_dropped_proxy_ends_with_its_connections() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("one"));
    let port = proxy.port();
    drop(proxy);
    assert_eq!(ask(&mut client, "two").await.as_deref(), Some(""));
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn cuts_in_the_middle_of_a_reply() {
    let echo = echo().await;
    let (proxy, mut client) = echo.proxied().await;
    proxy.once(Rule::CutReply(2));
    client.write_all(b"hello").await.expect("open");
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).await.expect("closed in good order");
    assert_eq!((reply.as_slice(), echo.seen().as_str(), proxy.cuts()), (&b"he"[..], "hello", 1));
    assert_eq!(ask(&mut connect(&proxy).await, "hello").await.as_deref(), Some("hello"), "only once");
}

#[tokio::test]
async fn leads_to_another_server() {
    let (one, two) = (echo().await, echo().await);
    let (proxy, mut old) = one.proxied().await;
    // By now it is led.
    assert_eq!(ask(&mut old, "first").await.as_deref(), Some("first"));
    proxy.lead_to(&two.address);
    assert_eq!(ask(&mut connect(&proxy).await, "new").await.as_deref(), Some("new"));
    assert_eq!(ask(&mut old, "old").await.as_deref(), Some("old"));
    assert_eq!((one.seen().as_str(), two.seen().as_str()), ("firstold", "new"));
}

#[tokio::test]
async fn silences_old_connections() {
    let echo = echo().await;
    let (proxy, mut old) = echo.proxied().await;
    assert_eq!(ask(&mut old, "one").await.as_deref(), Some("one"));
    proxy.silence_all();
    assert_eq!(ask(&mut old, "two").await, None);
    assert_eq!(ask(&mut connect(&proxy).await, "six").await.as_deref(), Some("six"));
    assert_eq!(echo.seen(), "onesix");
    proxy.kill_all();
    assert_eq!(ask(&mut old, "two").await.as_deref(), Some(""), "it was open");
}
