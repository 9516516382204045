//! The releases: what a read and a write are in each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use writeway_around::cache::Barriers;
use writeway_around::diesel_async::RunQueryDsl;
use writeway_around::sql::{AsyncSqliteConnection, Pools, Sql};
use writeway_around::{Result, WriteAround};

use crate::recipes::tables::schema::users;
use crate::recipes::tables::{User, UserTable};

/// What the application has.
#[derive(Clone, Debug)]
pub struct App {
    /// Its pool.
    pub pools: Pools<AsyncSqliteConnection>,
    /// Its Redis client.
    pub redis: OldCache,
    /// New: the same table as a namespace, eventual.
    pub users: WriteAround<Sql<UserTable>>,
}

/// The namespace: what every process builds from release 1 on.
///
/// # Errors
/// `Invalid`, `Unavailable`.
pub async fn open(pools: Pools<AsyncSqliteConnection>, cache: impl Barriers) -> Result<WriteAround<Sql<UserTable>>> {
    let users = WriteAround::builder(Sql::<UserTable>::new(pools)).namespace("users");
    // As long as the SETEX of before: how long a lost invalidation may be felt.
    users.time_to_live(Duration::from_secs(600)).build(cache).await
}

/// GET, SETEX and DEL of a Redis client; here a map, so that the tests need no server.
#[derive(Clone, Debug, Default)]
pub struct OldCache(Arc<Mutex<HashMap<String, String>>>);

#[expect(clippy::unused_async, reason = "a client of Redis is asynchronous")]
impl OldCache {
    /// GET
    pub async fn get(&self, key: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// SETEX
    pub async fn setex(&self, key: &str, _seconds: u32, value: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value);
    }

    /// DEL
    pub async fn del(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Release 0: cache-aside by hand.
pub mod by_hand {
    use super::*;

    /// # Errors
    /// SQL's.
    pub async fn get(app: &App, id: i64) -> anyhow::Result<Option<User>> {
        let key = format!("user:{id}");
        if let Some(json) = app.redis.get(&key).await {
            return Ok(Some(serde_json::from_str(&json)?));
        }
        let mut conn = app.pools.readers().get().await?;
        let user = users::table.find(id).select(User::as_select()).first(&mut conn).await.optional()?;
        if let Some(user) = &user {
            app.redis.setex(&key, 600, serde_json::to_string(user)?).await;
        }
        Ok(user)
    }

    /// # Errors
    /// SQL's.
    pub async fn rename(app: &App, id: i64, name: &str) -> anyhow::Result<()> {
        let mut conn = app.pools.writers().get().await?;
        diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(&mut conn).await?;
        app.redis.del(&format!("user:{id}")).await;
        Ok(())
    }
}

/// Release 1: writers also remove what the namespace may hold. Nobody reads it yet.
pub mod invalidating {
    use super::*;

    pub use super::by_hand::get;

    /// # Errors
    /// SQL's.
    pub async fn rename(app: &App, id: i64, name: &str) -> anyhow::Result<()> {
        {
            let mut conn = app.pools.writers().get().await?;
            diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(&mut conn).await?;
        }
        // After the commit, both of them. What fails here is as old as the time-to-live allows, and no reason to fail the write.
        app.redis.del(&format!("user:{id}")).await;
        if let Err(error) = app.users.invalidate(&[id]).await {
            tracing::warn!(%error, "not invalidated");
        }
        Ok(())
    }
}

/// Release 2: readers read the namespace.
pub mod reading {
    use super::*;

    pub use super::invalidating::rename;

    /// # Errors
    /// The namespace's.
    pub async fn get(app: &App, id: i64) -> anyhow::Result<Option<User>> {
        Ok(app.users.get(&id).await?)
    }
}

/// Release 3: writers write through the namespace, and go on deleting the old key for whoever may be rolled back.
pub mod writing {
    use super::*;

    pub use super::reading::get;

    /// # Errors
    /// The namespace's and SQL's; nothing is changed unless the commit's own error says so.
    pub async fn rename(app: &App, id: i64, name: &str) -> anyhow::Result<()> {
        let mut tx = app.users.begin().await?;
        diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(tx.connection()).await?;
        app.users.touch(&mut tx, &id);
        tx.commit().await?;
        app.redis.del(&format!("user:{id}")).await;
        Ok(())
    }
}

/// Release 4: the old keys are nobody's any more.
pub mod done {
    use super::*;

    pub use super::reading::get;

    /// # Errors
    /// As before.
    pub async fn rename(app: &App, id: i64, name: &str) -> anyhow::Result<()> {
        let mut tx = app.users.begin().await?;
        diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(tx.connection()).await?;
        app.users.touch(&mut tx, &id);
        tx.commit().await?;
        Ok(())
    }
}
