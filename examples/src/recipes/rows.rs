//! One row: a part of it, on a condition, with an id of SQL's, added to; and several rows together.

use diesel::prelude::*;
use writeway_through::diesel_async::RunQueryDsl;

use super::tables::schema::{orders, requests, users};
use super::tables::{Addresses, Order, Orders, User, Users};

/// Partial update: one column, and the others as they are.
///
/// # Errors
/// Nothing is changed unless the commit's own error says so.
pub async fn rename(users: &Users, id: i64, name: &str) -> anyhow::Result<Option<User>> {
    let mut tx = users.begin().await?;
    let renamed = diesel::update(users::table.find(id))
        .set(users::name.eq(name))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await
        .optional()?;
    let Some(user) = renamed else { return Ok(None) };
    users.publish(&mut tx, &user);
    tx.commit().await?;
    Ok(Some(user))
}

/// Compare-and-set: only if nobody changed the row since it was read.
///
/// # Errors
/// As [`rename`].
pub async fn rename_if(users: &Users, read: &User, name: &str) -> anyhow::Result<Option<User>> {
    let mut tx = users.begin().await?;
    let as_read = users::table.find(read.id).filter(users::version.eq(read.version));
    let renamed = diesel::update(as_read)
        .set((users::name.eq(name), users::version.eq(read.version + 1)))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await
        .optional()?;
    // Somebody was faster: nothing was changed, and the dropped transaction is rolled back.
    let Some(user) = renamed else { return Ok(None) };
    users.publish(&mut tx, &user);
    tx.commit().await?;
    Ok(Some(user))
}

/// Serial ids: SQL gives the id, and the row is cached as SQL returned it.
///
/// # Errors
/// As [`rename`]; an address that is taken is diesel's `UniqueViolation`.
pub async fn register(users: &Users, addresses: &Addresses, email: &str, name: &str) -> anyhow::Result<User> {
    let mut tx = users.begin().await?;
    let user: User = diesel::insert_into(users::table)
        .values((users::email.eq(email), users::name.eq(name)))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await?;
    users.publish(&mut tx, &user);
    // Whoever asked for the address before was told that it is nobody's, and so is the cache.
    addresses.touch(&mut tx, &user.email);
    tx.commit().await?;
    Ok(user)
}

/// Counters: SQL adds.
///
/// # Errors
/// As [`rename`].
pub async fn visit(users: &Users, id: i64) -> anyhow::Result<Option<i64>> {
    let mut tx = users.begin().await?;
    let counted: Option<User> = diesel::update(users::table.find(id))
        .set(users::visits.eq(users::visits + 1))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await
        .optional()?;
    let Some(user) = counted else { return Ok(None) };
    users.publish(&mut tx, &user);
    tx.commit().await?;
    Ok(Some(user.visits))
}

/// The same once, however often it is asked for: what may be repeated after `Unknown`. False: it was done before.
///
/// # Errors
/// As [`rename`].
pub async fn visit_once(users: &Users, request: &str, id: i64) -> anyhow::Result<bool> {
    let mut tx = users.begin().await?;
    let noted = diesel::insert_into(requests::table)
        .values(requests::id.eq(request))
        .on_conflict_do_nothing()
        .execute(tx.connection())
        .await?;
    if noted == 0 {
        return Ok(false);
    }
    diesel::update(users::table.find(id)).set(users::visits.eq(users::visits + 1)).execute(tx.connection()).await?;
    users.touch(&mut tx, &id);
    tx.commit().await?;
    Ok(true)
}

/// Several tables: an order and what its user is known for, together or not at all.
///
/// # Errors
/// As [`rename`].
pub async fn order(users: &Users, orders: &Orders, user_id: i64, total: i64) -> anyhow::Result<Order> {
    // The strict one of the two opens the transaction.
    let mut tx = users.begin().await?;
    let user: User = diesel::update(users::table.find(user_id))
        .set(users::visits.eq(users::visits + 1))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await?;
    let order: Order = diesel::insert_into(orders::table)
        .values((orders::user_id.eq(user_id), orders::total.eq(total)))
        .returning(Order::as_returning())
        .get_result(tx.connection())
        .await?;
    users.publish(&mut tx, &user);
    orders.touch(&mut tx, &order.id);
    tx.commit().await?;
    Ok(order)
}
