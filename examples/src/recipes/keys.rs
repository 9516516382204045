//! Many keys: a second one, lists, and filling a cache before it is asked.

use diesel::prelude::*;
use writeway_through::diesel_async::RunQueryDsl;
use writeway_through::sql::{AsyncSqliteConnection, Pools};

use super::tables::schema::users;
use super::tables::{Addresses, User, Users};

/// Secondary key: two reads, both cached.
///
/// # Errors
/// Those of the reads.
pub async fn by_email(users: &Users, addresses: &Addresses, email: &str) -> anyhow::Result<Option<User>> {
    let Some(address) = addresses.get(&email.to_owned()).await? else { return Ok(None) };
    let user = users.get(&address.id).await?;
    // Two reads are two moments: in between the address may have gone to somebody else.
    Ok(user.filter(|user| user.email == email))
}

/// Secondary key: whoever changes it names the row, the old key and the new one.
///
/// # Errors
/// Nothing is changed unless the commit's own error says so.
pub async fn move_to(users: &Users, addresses: &Addresses, id: i64, email: &str) -> anyhow::Result<Option<User>> {
    let mut tx = users.begin().await?;
    // In PostgreSQL with `.for_update()`: else two of these may both take the same address for the old one.
    let old = users::table.find(id).select(users::email).first::<String>(tx.connection()).await.optional()?;
    let Some(old) = old else { return Ok(None) };
    let user: User = diesel::update(users::table.find(id))
        .set(users::email.eq(email))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await?;
    users.publish(&mut tx, &user);
    addresses.touch(&mut tx, &old);
    addresses.touch(&mut tx, &user.email);
    tx.commit().await?;
    Ok(Some(user))
}

/// Lists: which rows, SQL says; what is in them, mostly the cache.
///
/// # Errors
/// Those of the reads.
pub async fn busiest(pools: &Pools<AsyncSqliteConnection>, users: &Users, most: i64) -> anyhow::Result<Vec<User>> {
    let ids: Vec<i64> = {
        let mut conn = pools.readers().get().await?;
        users::table.select(users::id).order((users::visits.desc(), users::id)).limit(most).load(&mut conn).await?
    };
    // The connection is back in its pool: what the cache lacks needs one. A row that is gone by now is none.
    Ok(users.get_many(&ids).await?.into_iter().flatten().collect())
}

/// Warming up: reads page by page what will be asked for.
///
/// # Errors
/// Those of the reads: what was read by then is cached.
pub async fn warm_up(pools: &Pools<AsyncSqliteConnection>, users: &Users) -> anyhow::Result<usize> {
    let (mut after, mut seen) = (i64::MIN, 0);
    loop {
        let page: Vec<i64> = {
            let mut conn = pools.readers().get().await?;
            users::table.select(users::id).filter(users::id.gt(after)).order(users::id).limit(1_000).load(&mut conn).await?
        };
        let Some(&last) = page.last() else { return Ok(seen) };
        users.get_many(&page).await?;
        (after, seen) = (last, seen + page.len());
    }
}
