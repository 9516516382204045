//! From eventual to strict while everything runs: two namespaces over one table, for as long as the change takes.

use diesel::prelude::*;
use writeway_around::WriteAround;
use writeway_through::diesel_async::RunQueryDsl;
use writeway_through::{Sql, WriteThrough};

use crate::recipes::tables::schema::users;
use crate::recipes::tables::{User, UserTable};

/// The namespace that is left, and the one that is gone to.
#[derive(Clone, Debug)]
pub struct Both {
    /// `users`, recorded as eventual.
    pub eventual: WriteAround<Sql<UserTable>>,
    /// `users.strict`, recorded as strict.
    pub strict: WriteThrough<Sql<UserTable>>,
}

/// Releases 5 and 6: every write tells both. Release 5 reads `eventual`, release 6 reads `strict`.
///
/// # Errors
/// Nothing is changed unless the commit's own error says so.
pub async fn rename(both: &Both, id: i64, name: &str) -> anyhow::Result<()> {
    // The strict one opens it: its barriers stand before the COMMIT.
    let mut tx = both.strict.begin().await?;
    diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(tx.connection()).await?;
    // Never `publish` here: a release 4 that still runs would not remove what it leaves.
    both.strict.touch(&mut tx, &id);
    both.eventual.touch(&mut tx, &id);
    tx.commit().await?;
    Ok(())
}

/// Release 7: strict only.
///
/// # Errors
/// As [`rename`].
pub async fn rename_strict(users: &WriteThrough<Sql<UserTable>>, id: i64, name: &str) -> anyhow::Result<()> {
    let mut tx = users.begin().await?;
    let user: User = diesel::update(users::table.find(id))
        .set(users::name.eq(name))
        .returning(User::as_returning())
        .get_result(tx.connection())
        .await?;
    users.publish(&mut tx, &user);
    tx.commit().await?;
    Ok(())
}
