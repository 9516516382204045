//! Rows that somebody else writes: the database notes which, one task removes them from the cache.

use diesel::prelude::*;
use writeway_through::diesel_async::RunQueryDsl;
use writeway_through::sql::{AsyncSqliteConnection, Pools};

use super::tables::Users;
use super::tables::schema::changed;

/// One round: what a trigger noted leaves the cache, then the list. To be called every so often, by one process or by several.
/// Says how many it found.
///
/// # Errors
/// What failed is found again in the next round.
pub async fn relay(pools: &Pools<AsyncSqliteConnection>, users: &Users) -> anyhow::Result<usize> {
    let noted: Vec<(i64, i64)> = {
        let mut conn = pools.readers().get().await?;
        changed::table.select((changed::seq, changed::user_id)).order(changed::seq).limit(500).load(&mut conn).await?
    };
    let (seqs, ids): (Vec<i64>, Vec<i64>) = noted.into_iter().unzip();
    users.invalidate(&ids).await?;
    // Exactly these: one with a lower number may become visible later.
    let mut conn = pools.writers().get().await?;
    diesel::delete(changed::table.filter(changed::seq.eq_any(&seqs))).execute(&mut conn).await?;
    Ok(seqs.len())
}
