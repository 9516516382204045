//! What holds of the ledger, on any database.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use diesel::OptionalExtension as _;
use serde_json::json;
use tokio::task::JoinSet;
use writeway_through::cache::Barriers;
use writeway_through::sql::Pools;
use writeway_through::{Sql, WriteThrough};

use crate::http::call;
use crate::ledger::{Account, Bank, Ledger, Transfer, router};

const CLIENTS: u64 = 8;
const TRANSFERS: u64 = 40;
const MONEY: i64 = 40_000;

/// Each answer is the right one, and a refusal moves nothing.
pub(crate) async fn answers<T: Ledger>(pools: Pools<T::Connection>, cache: impl Barriers) {
    let bank = Bank::<T>::new(pools, cache).await.expect("built");
    let app = router(bank.clone());
    let send = |id: &'static str, from: i64, to: i64, cents: i64| {
        let app = app.clone();
        async move { call(&app, "POST", "/transfers", Some(json!({ "id": id, "from": from, "to": to, "cents": cents }))).await.0 }
    };
    let first = call(&app, "GET", "/accounts/1", None).await;
    assert_eq!(first, (StatusCode::OK, json!({ "id": 1, "cents": 10_000 })), "and now it is cached");
    assert_eq!(send("a", 1, 2, 2_500).await, StatusCode::CREATED);
    assert_eq!(send("a", 1, 2, 2_500).await, StatusCode::OK, "repeated: nothing moves");
    assert_eq!(send("a", 1, 2, 2_501).await, StatusCode::CONFLICT, "another transfer under the same id");
    assert_eq!(send("b", 1, 2, 7_501).await, StatusCode::CONFLICT, "an overdraft");
    assert_eq!(send("c", 1, 99, 1).await, StatusCode::NOT_FOUND);
    assert_eq!(send("d", 99, 1, 1).await, StatusCode::NOT_FOUND);
    for (to, cents) in [(2, 0), (2, -1), (2, i64::MIN), (1, 1)] {
        assert_eq!(send("e", 1, to, cents).await, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(send("b", 1, 2, 7_500).await, StatusCode::CREATED, "a refused transfer has not used up its id");
    for (id, cents) in [(1, 0), (2, 20_000), (3, 10_000), (4, 10_000)] {
        let account = json!({ "id": id, "cents": cents });
        assert_eq!(call(&app, "GET", &format!("/accounts/{id}"), None).await, (StatusCode::OK, account));
    }
    assert_eq!(call(&app, "GET", "/accounts/99", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(&app, "GET", "/total", None).await.1, json!({ "cents": MONEY }));
    assert_eq!(bank.accounts.shutdown(Duration::from_secs(5)).await, 0);
    assert_eq!(send("f", 2, 1, 1).await, StatusCode::SERVICE_UNAVAILABLE, "closed");
}

/// Clients that transfer at random, and of which every other hangs up somewhere: no cent is made or lost, at any moment.
pub(crate) async fn no_cent_is_lost<T: Ledger>(pools: Pools<T::Connection>, cache: impl Barriers + Clone) {
    let bank = Bank::<T>::new(pools.clone(), cache.clone()).await.expect("built");
    let (app, is_over) = (router(bank.clone()), Arc::new(AtomicBool::new(false)));
    let (mut clients, mut auditor) = (JoinSet::new(), JoinSet::new());
    auditor.spawn(audit(app.clone(), is_over.clone()));
    for client in 0..CLIENTS {
        clients.spawn(transfers(app.clone(), client));
    }
    let mut answers = BTreeMap::<Option<u16>, u64>::new();
    let mut sent = Vec::new();
    for (transfer, answer) in clients.join_all().await.into_iter().flatten() {
        *answers.entry(answer.map(|status| status.as_u16())).or_default() += 1;
        sent.push((transfer, answer));
    }
    is_over.store(true, SeqCst);
    let audits: u64 = auditor.join_all().await.into_iter().sum();
    println!("answers {answers:?}, {audits} audits meanwhile");
    let count = |answer: Option<u16>| answers.get(&answer).copied().unwrap_or(0);
    assert!(count(Some(201)) > 20 && count(Some(409)) > 0 && count(None) > 10 && audits > 0, "the harness did too little");

    // What nobody waited for any more ends, too.
    assert_eq!(bank.accounts.shutdown(Duration::from_secs(10)).await, 0, "invariant violated: every commit ends");
    let mut conn = pools.readers().get().await.expect("a connection");
    let mut balances: BTreeMap<i64, i64> = (1..=4).map(|id| (id, 10_000)).collect();
    for (transfer, answer) in &sent {
        let noted = T::noted(&mut conn, &transfer.id).await.optional().expect("asked");
        let is_noted = noted.is_some();
        match answer {
            Some(StatusCode::CREATED) => assert!(is_noted, "invariant violated: what was acknowledged is committed"),
            Some(StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE) => {
                assert!(!is_noted, "invariant violated: what was refused is not committed");
            }
            // It hung up, or nobody knows.
            None | Some(StatusCode::GATEWAY_TIMEOUT) => {}
            Some(other) => panic!("{other} is no answer to {transfer:?}"),
        }
        if is_noted {
            *balances.entry(transfer.source).or_default() -= transfer.cents;
            *balances.entry(transfer.target).or_default() += transfer.cents;
        }
    }
    assert_eq!(T::total(&mut conn).await.expect("a sum"), MONEY);
    // The same cache under a new handle, as the old one is closed: not `Bank::new`, which would remove the copies.
    let builder = WriteThrough::builder(Sql::<T>::new(pools.clone())).namespace("ledger_accounts");
    let again = builder.build(cache).await.expect("built");
    for (id, cents) in balances {
        let account = Some(Account { id, cents });
        assert_eq!(T::fetch(&mut conn, &[id]).await.expect("asked").pop(), account, "invariant violated: a note is a move");
        assert_eq!(again.get(&id).await.expect("get"), account, "invariant violated: the cache agrees with sql");
    }
}

/// Many requests under one id at once: one moves, and all that are answered are told so.
pub(crate) async fn one_id_moves_once<T: Ledger>(pools: Pools<T::Connection>, cache: impl Barriers) {
    let bank = Bank::<T>::new(pools, cache).await.expect("built");
    let (app, mut clients) = (router(bank), JoinSet::new());
    for _ in 0..8 {
        let app = app.clone();
        let body = json!({ "id": "once", "from": 2, "to": 1, "cents": 100 });
        clients.spawn(async move { call(&app, "POST", "/transfers", Some(body)).await.0 });
    }
    let answers = clients.join_all().await;
    let count = |status: StatusCode| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(StatusCode::CREATED), count(StatusCode::OK)), (1, 7), "{answers:?}");
    assert_eq!(call(&app, "GET", "/accounts/1", None).await.1["cents"], json!(10_100));
}

/// The sum and the balances, again and again; says how often. Balances come from the cache, and fill it.
async fn audit(app: Router, is_over: Arc<AtomicBool>) -> u64 {
    let mut audits = 0;
    while !is_over.load(SeqCst) {
        let (status, body) = call(&app, "GET", "/total", None).await;
        if status == StatusCode::OK {
            assert_eq!(body, json!({ "cents": MONEY }), "invariant violated: the sum is the same at every moment");
            audits += 1;
        }
        for id in 1..=4 {
            call(&app, "GET", &format!("/accounts/{id}"), None).await;
        }
    }
    audits
}

async fn transfers(app: Router, client: u64) -> Vec<(Transfer, Option<StatusCode>)> {
    let (mut random, mut answers) = (fastrand::Rng::with_seed(client), Vec::new());
    for n in 0..TRANSFERS {
        let source = random.i64(1..=4);
        let target = (source + random.i64(0..3)) % 4 + 1;
        let transfer = Transfer { id: format!("{client}-{n}"), source, target, cents: random.i64(1..=6_000) };
        let body = json!(transfer);
        let answer = call(&app, "POST", "/transfers", Some(body));
        let answer = if n % 2 == 0 { Some(answer.await) } else { hang_up_after(random.u32(0..16), answer).await };
        answers.push((transfer, answer.map(|(status, _)| status)));
    }
    answers
}

/// The answer, unless it does not come within so many polls.
async fn hang_up_after<T>(mut polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let answer = poll_fn(move |context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    });
    answer.await
}
