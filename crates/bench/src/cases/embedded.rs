//! The ratios where there is no server. A hit in the process has nothing raw to be compared with.

use anyhow::{Context, Result};
use diesel_async::SimpleAsyncConnection;
use writeway_back::WriteBack;
use writeway_core::sql::{AsyncSqliteConnection, Pool, Sql, SqlTable};
use writeway_through::WriteThrough;

use super::{Case, LATER, On, VALUE_BYTES, back_by_through, call, put_strict, row, some, strict, timed};
use crate::place::{Embedded, Place};
use crate::plan::Plan;
use crate::subject::TIME_TO_LIVE;
use crate::table::{Row, SqliteEntries};

/// How many cases there are.
pub(crate) const COUNT: usize = 3;

/// The same file by diesel alone.
#[derive(Clone)]
struct Raw(Pool<AsyncSqliteConnection>);

impl Raw {
    async fn put(&self, row: Row) -> Result<Row> {
        let mut conn = self.0.get().await?;
        conn.batch_execute("BEGIN IMMEDIATE").await?;
        let row = SqliteEntries::upsert(&mut conn, &[row]).await?.pop().context("no row")?;
        conn.batch_execute("COMMIT").await?;
        Ok(row)
    }
}

/// # Errors
/// SQLite's.
pub(crate) async fn prepare(place: &mut Embedded, plan: &Plan) -> Result<Vec<Case>> {
    place.reset(i64::from(plan.keys), VALUE_BYTES).await?;
    let keys = u64::from(plan.keys);
    let on = Raw(place.pools().writers().clone());
    let raw = call(&On { it: on, keys }, |raw, n| async move { timed(some(raw.it.put(row(raw.any(n))))).await });
    let through = WriteThrough::builder(place.store()).namespace("through").time_to_live(TIME_TO_LIVE);
    let through: WriteThrough<Sql<SqliteEntries>> = through.build(place.cache().await?).await?;
    let through = put_strict(&On { it: through, keys });
    let back = WriteBack::builder(place.store()).namespace("back").migrate().allow_volatile_changes();
    let back = back.time_to_live(TIME_TO_LIVE).max_delay(LATER).max_batch(10_000).max_dirty(1_000_000);
    let back = On { it: back.build(place.journal().await?).await?, keys };
    let back = call(&back, |ours, n| async move { timed(some(ours.it.put(row(ours.any(n))))).await });
    let mut cases = Vec::from(strict("BEGIN IMMEDIATE, upsert, COMMIT", &raw, &through));
    cases.push(back_by_through(back, through));
    Ok(cases)
}
