//! Bytes under a key that this process did not put there for this row.

use writeway_testkit::double::RawCache;
use writeway_through::{CacheEffect, Kind, MemoryStore, WriteThrough};

use crate::rig::{Rig, User, assert_refused, user};

/// The bytes of a good entry of row 7.
async fn good(rig: &Rig) -> Vec<u8> {
    rig.seed([user(7, "ada")]).await;
    rig.cache.raw("users:7").expect("published")
}

async fn assert_healed(rig: &Rig, what: &str, bytes: &[u8]) {
    rig.cache.plant("users:7", bytes);
    rig.sql.forget();
    for _ in 0..3 {
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "ada")), "invariant violated: damage is a miss ({what})");
    }
    assert_eq!(rig.sql.count("fetch"), 1, "invariant violated: damage is overwritten by the next fill ({what})");
    rig.cache.plant("users:7", bytes);
    let found = rig.users.get_many(&[6, 7]).await.expect("get_many");
    assert_eq!(found[1], Some(user(7, "ada")), "get_many, {what}");
    let fetched = rig.sql.count("fetch");
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "ada")));
    assert_eq!(rig.sql.count("fetch"), fetched, "get_many heals too ({what})");
    rig.cache.plant("users:7", bytes);
    let written = rig.users.put(user(7, "ada")).await.expect("a put over damage");
    assert_eq!(written.cache, CacheEffect::Published, "{what}");
}

#[tokio::test(start_paused = true)]
async fn damage_is_a_miss_and_is_overwritten() {
    let rig = Rig::new().await;
    let entry = good(&rig).await;
    for cut in 0..entry.len() {
        assert_healed(&rig, "cut", &entry[..cut]).await;
    }
    for at in 0..entry.len() {
        for bit in [0, 3, 7] {
            let mut flipped = entry.clone();
            flipped[at] ^= 1_u8 << bit;
            // A flipped kind or format is somebody else's entry: the next test.
            if !(1..=2).contains(&at) {
                assert_healed(&rig, "flipped", &flipped).await;
            }
        }
    }
    for (what, bytes) in [("empty", &b""[..]), ("text", b"hello"), ("zeros", &[0; 300]), ("ones", &[0xFF; 300])] {
        assert_healed(&rig, what, bytes).await;
    }
    let mut longer = entry.clone();
    longer.push(b' ');
    assert_healed(&rig, "longer", &longer).await;
}

/// Whole entries, made for something else.
#[tokio::test(start_paused = true)]
async fn another_keys_types_or_schemas_entry_is_a_miss() {
    let rig = Rig::new().await;
    good(&rig).await;
    rig.seed([user(8, "eve")]).await;
    let other_key = rig.cache.raw("users:8").expect("published");
    assert_healed(&rig, "another key", &other_key).await;

    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Account {
        id: i64,
        name: String,
        email: Option<String>,
    }
    let cache = RawCache::new(rig.runtime.clone());
    let accounts = MemoryStore::new(|account: &Account| account.id);
    let accounts = WriteThrough::builder(accounts).namespace("users").build(cache.clone()).await.expect("build");
    accounts.put(Account { id: 7, name: "mallory".into(), email: None }).await.expect("put");
    assert_healed(&rig, "another type", &cache.raw("users:7").expect("published")).await;

    let cache = RawCache::new(rig.runtime.clone());
    let newer = schema::Newer(MemoryStore::new(|user: &User| user.id));
    let newer = WriteThrough::builder(newer).namespace("users").build(cache.clone()).await.expect("build");
    newer.put(user(7, "mallory")).await.expect("put");
    assert_healed(&rig, "another schema", &cache.raw("users:7").expect("published")).await;
}

/// The right magic with another kind or format: a newer release, or another strategy.
#[tokio::test(start_paused = true)]
async fn another_kind_or_format_is_left_alone() {
    let rig = Rig::new().await;
    let entry = good(&rig).await;
    for (at, byte) in [(1, b'W'), (1, b'D'), (1, 0), (2, 2), (2, 0xFF)] {
        let mut foreign = entry.clone();
        foreign[at] = byte;
        rig.cache.plant("users:7", &foreign);
        rig.sql.forget();
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "ada")), "read from sql");
        assert_eq!(rig.users.get_many(&[7]).await.expect("get_many"), [Some(user(7, "ada"))]);
        assert_eq!(rig.sql.count("fetch"), 2, "every read is a load");
        assert_refused(rig.users.put(user(7, "new")).await, Kind::Rejected);
        assert_refused(rig.users.delete(&7).await, Kind::Rejected);
        rig.runtime.quiet().await;
        assert_eq!(rig.sql.count("commit"), 0, "invariant violated: writers refuse foreign entries");
        assert_eq!(rig.rows.row(&7), Some(user(7, "ada")));
        assert_eq!(rig.cache.raw("users:7"), Some(foreign), "invariant violated: hands off foreign entries");
    }
    let changes = writeway_through::Changes::new().put(user(6, "new")).put(user(7, "new")).put(user(8, "new"));
    assert_refused(rig.users.write(changes).await, Kind::Rejected);
    rig.runtime.quiet().await;
    assert_eq!((rig.rows.row(&6), rig.rows.row(&8)), (None, None), "all or none");
    assert_eq!(rig.cache.barriers(), 0, "invariant violated: no barrier left");
}

mod schema {
    //! A store whose rows mean something else.

    use std::time::Duration;

    use writeway_through::change::Stored;
    use writeway_through::store::Store;
    use writeway_through::{Change, MemoryStore, Result};

    use crate::rig::User;

    #[derive(Clone)]
    pub(super) struct Newer(pub(super) MemoryStore<i64, User>);

    impl Store for Newer {
        type Key = i64;
        type Row = User;
        type Tx = <MemoryStore<i64, User> as Store>::Tx;

        fn schema(&self) -> u32 {
            1
        }

        fn key(&self, row: &User) -> i64 {
            row.id
        }

        async fn fetch(&self, keys: &[i64]) -> Result<Vec<User>> {
            self.0.fetch(keys).await
        }

        async fn begin(&self, commit_within: Option<Duration>) -> Result<Self::Tx> {
            self.0.begin(commit_within).await
        }

        async fn apply_in(&self, tx: &mut Self::Tx, changes: &[Change<i64, User>]) -> Result<Vec<Stored<User>>> {
            self.0.apply_in(tx, changes).await
        }
    }
}
