//! Changes that were set aside: look at them, and after the cause is mended drive them again, or decide one by one.

use serde::Serialize;
use serde::de::DeserializeOwned;
use writeway_back::store::FencedStore;
use writeway_back::{DeadLetter, Redrive, Result, WriteBack};

/// Logs what was set aside, and accepts again what SQL refused: to be called once the cause is mended. What fails once more is set
/// aside once more; what is left is for a person.
///
/// # Errors
/// As [`WriteBack::dead_letters`] and [`WriteBack::redrive_all`]; it is safe to repeat it.
pub async fn drive_again<S>(rows: &WriteBack<S>) -> Result<Redrive>
where
    S: FencedStore,
    S::Key: Serialize + DeserializeOwned,
{
    let mut page = rows.dead_letters(None).await?;
    while !page.is_empty() {
        for DeadLetter { reason, cause, tries, .. } in &page {
            // The cause may quote the row: only where personal data may lie.
            tracing::warn!(?reason, cause, tries, "was set aside");
        }
        page = rows.dead_letters(page.last()).await?;
    }
    let done = rows.redrive_all().await?;
    tracing::info!(?done, "dead letters were driven again");
    Ok(done)
}

/// One letter, by hand. With the row as it should be: the letter goes once that is in SQL. Without: the change is gone for good.
///
/// # Errors
/// As [`WriteBack::put`] and [`Ticket::durable`](writeway_back::Ticket::durable), or [`WriteBack::discard`].
pub async fn decide<S>(rows: &WriteBack<S>, letter: DeadLetter<S>, right: Option<S::Row>) -> Result<()>
where
    S: FencedStore,
    S::Key: Serialize + DeserializeOwned,
{
    match right {
        Some(row) => rows.put(row).await?.durable().await,
        None => rows.discard(&[letter]).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use diesel::prelude::*;
    use writeway_back::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
    use writeway_back::sql::{AsyncSqliteConnection, Pools, Sqlite};
    use writeway_back::{Kind, MemoryJournal, Sql, SqlTable, bulk_upsert};

    use super::*;

    diesel::table! {
        carts (id) {
            id -> BigInt,
            items -> BigInt,
        }
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, Queryable, Selectable, Insertable)]
    #[diesel(table_name = carts)]
    struct Cart {
        id: i64,
        items: i64,
    }

    bulk_upsert!(upsert_carts on carts: Cart { key [id], set [items] } in Sqlite);

    struct Carts;

    impl SqlTable for Carts {
        type Connection = AsyncSqliteConnection;
        type Key = i64;
        type Row = Cart;

        fn key(cart: &Cart) -> i64 {
            cart.id
        }

        async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<Vec<Cart>> {
            carts::table.filter(carts::id.eq_any(keys)).select(Cart::as_select()).load(conn).await
        }

        async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Cart]) -> QueryResult<Vec<Cart>> {
            upsert_carts(rows).load(conn).await
        }

        async fn remove(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<usize> {
            diesel::delete(carts::table.filter(carts::id.eq_any(keys))).execute(conn).await
        }
    }

    const REFUSING: &str = "CREATE TABLE carts (id BIGINT PRIMARY KEY, items BIGINT NOT NULL);
        CREATE TRIGGER few BEFORE INSERT ON carts WHEN NEW.items > 9 BEGIN SELECT RAISE(ABORT, 'too many items'); END;";

    async fn run(pools: &Pools<AsyncSqliteConnection>, sql: &str) {
        pools.writers().get().await.unwrap().batch_execute(sql).await.unwrap();
    }

    #[tokio::test]
    async fn letters_are_driven_again_put_right_or_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let pools = Sqlite::open(dir.path().join("carts.db")).await.unwrap();
        run(&pools, REFUSING).await;
        let builder = WriteBack::builder(Sql::<Carts>::new(pools.clone())).namespace("carts").migrate();
        let carts = builder.allow_volatile_changes().build(MemoryJournal::new()).await.unwrap();
        let mut tickets = Vec::new();
        for id in 1..=3 {
            tickets.push(carts.put(Cart { id, items: 10 }).await.unwrap());
        }
        for ticket in tickets {
            assert_eq!(ticket.durable().await.unwrap_err().kind(), Kind::Rejected);
        }
        let by_id = async |id: i64| {
            let mut all = carts.dead_letters(None).await.unwrap();
            // A page is of one shard.
            loop {
                let more = carts.dead_letters(all.last()).await.unwrap();
                if more.is_empty() {
                    break;
                }
                all.extend(more);
            }
            all.into_iter()
                .find(|letter| matches!(&letter.change, Some(writeway_back::Change::Put(cart)) if cart.id == id))
                .unwrap()
        };
        assert!(by_id(1).await.cause.contains("too many items"));
        decide(&carts, by_id(1).await, Some(Cart { id: 1, items: 9 })).await.unwrap();
        decide(&carts, by_id(2).await, None).await.unwrap();
        assert_eq!(carts.get(&2).await.unwrap(), None);

        run(&pools, "DROP TRIGGER few").await;
        assert_eq!(drive_again(&carts).await.unwrap().driven, 1);
        carts.flush().await.unwrap();
        assert_eq!(carts.get(&3).await.unwrap(), Some(Cart { id: 3, items: 10 }));
        assert_eq!(carts.stats().await.unwrap().dead, 0);
    }
}
