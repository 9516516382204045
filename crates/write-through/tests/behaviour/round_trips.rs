//! Faultless life: what is put is read, from where it should be, with as few calls as promised.

use writeway_through::{CacheEffect, Changes, MemoryCache, MemoryStore, WriteThrough};

use crate::rig::{Rig, User, user};

#[tokio::test(start_paused = true)]
async fn a_put_is_a_hit_and_a_delete_a_negative_hit() {
    let rig = Rig::new().await;
    let written = rig.users.put(user(7, "ada")).await.expect("put");
    assert_eq!((written.row, written.cache), (Some(user(7, "ada")), CacheEffect::Published));
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "ada")));
    let gone = rig.users.delete(&7).await.expect("delete");
    assert_eq!((gone.row, gone.cache), (None, CacheEffect::Published));
    assert_eq!(rig.users.get(&7).await.expect("get"), None);
    assert_eq!(rig.sql.count("fetch"), 0, "invariant violated: put publishes");
    assert_eq!(rig.rows.row(&7), None);
}

#[tokio::test(start_paused = true)]
async fn eventual_mode_removes_and_the_next_read_loads() {
    let rig = Rig::eventual().await;
    rig.in_sql_only(user(7, "old")).await;
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "old")));
    let written = rig.users.put(user(7, "ada")).await.expect("put");
    assert_eq!((written.row, written.cache), (Some(user(7, "ada")), CacheEffect::Invalidated));
    assert_eq!(rig.redis.count("begin") + rig.redis.count("finish"), 0, "eventual mode places no barrier");
    for _ in 0..3 {
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "ada")));
    }
    assert_eq!(rig.sql.count("fetch"), 2, "one load before the put and one after");
}

#[tokio::test(start_paused = true)]
async fn a_missing_row_is_cached_as_missing() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        assert_eq!(rig.users.get(&1).await.expect("get"), None);
    }
    assert_eq!(rig.sql.count("fetch"), 1, "invariant violated: negative entries");
    rig.users.put(user(1, "ada")).await.expect("put");
    assert_eq!(rig.users.get(&1).await.expect("get"), Some(user(1, "ada")), "a put replaces the negative entry");
}

#[tokio::test(start_paused = true)]
async fn one_write_commits_all_changes_and_answers_in_key_order() {
    let rig = Rig::new().await;
    rig.seed([user(3, "old"), user(4, "old")]).await;
    let changes = Changes::new().put(user(9, "first")).delete(3).put(user(4, "new")).put(user(9, "last"));
    let written = rig.users.write(changes).await.expect("write");
    let rows: Vec<Option<User>> = written.into_iter().map(|w| w.row).collect();
    assert_eq!(rows, [None, Some(user(4, "new")), Some(user(9, "last"))]);
    assert_eq!((rig.sql.count("commit"), rig.redis.count("begin"), rig.redis.count("finish")), (1, 1, 1));
    let found = rig.users.get_many(&[3, 4, 9]).await.expect("get_many");
    assert_eq!(found, [None, Some(user(4, "new")), Some(user(9, "last"))]);
    assert_eq!(rig.sql.count("fetch"), 0, "all three are hits, the deleted one too");
    assert!(rig.users.write(Changes::new()).await.expect("nothing to do").is_empty());
    assert_eq!(rig.sql.count("commit"), 1, "no changes, no transaction");
}

#[tokio::test(start_paused = true)]
async fn get_many_answers_in_the_order_asked() {
    let rig = Rig::new().await;
    rig.seed([user(1, "hit"), user(2, "hit")]).await;
    rig.in_sql_only(user(5, "miss")).await;
    rig.in_sql_only(user(3, "miss")).await;
    let asked = [5, 1, 5, 99, 3, 2, 1];
    let expected = [Some(user(5, "miss")), Some(user(1, "hit")), Some(user(5, "miss")), None, Some(user(3, "miss"))];
    let found = rig.users.get_many(&asked).await.expect("get_many");
    assert_eq!(found[..5], expected);
    assert_eq!(found[5..], [Some(user(2, "hit")), Some(user(1, "hit"))]);
    for call in ["get", "lease", "fill"] {
        assert_eq!(rig.redis.count(call), 1, "one round of {call}");
    }
    assert_eq!((rig.redis.items("get"), rig.redis.items("fill")), (5, 3), "a key asked twice is one key");
    assert_eq!((rig.sql.count("fetch"), rig.sql.items("fetch")), (1, 3), "one statement for what is missing");
    assert_eq!(rig.users.get_many(&asked).await.expect("again"), found);
    assert_eq!(rig.sql.count("fetch"), 1, "all are hits now, the missing one too");
    assert!(rig.users.get_many(&[]).await.expect("nothing asked").is_empty());
    assert_eq!(rig.redis.count("get"), 2, "nothing asked, no call");
}

#[tokio::test(start_paused = true)]
async fn thousands_of_keys_take_a_round_a_thousand() {
    let rig = Rig::new().await;
    for id in (0..2_500).step_by(2) {
        rig.in_sql_only(user(id, "u")).await;
    }
    let asked: Vec<i64> = (0..2_500).rev().collect();
    for rounds in [3, 3] {
        let found = rig.users.get_many(&asked).await.expect("get_many");
        assert_eq!(found.len(), asked.len());
        for (key, row) in asked.iter().zip(&found) {
            assert_eq!(row.as_ref().map(|row| row.id), (key % 2 == 0).then_some(*key));
        }
        assert_eq!(rig.redis.count("get"), rounds);
        assert_eq!((rig.sql.count("fetch"), rig.sql.items("fetch")), (3, 2_500), "the second time all are hits");
        rig.redis.forget();
    }
}

#[tokio::test(start_paused = true)]
async fn invalidate_and_invalidate_all_reach_only_the_cache() {
    let rig = Rig::new().await;
    rig.seed((0..40).map(|id| user(id, "u"))).await;
    rig.in_sql_only(user(7, "behind")).await;
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "u")), "nobody told the cache");
    rig.users.invalidate(&[7]).await.expect("invalidate");
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "behind")));
    assert_eq!(rig.users.invalidate_all().await.expect("invalidate_all"), 40);
    rig.sql.forget();
    assert_eq!(rig.users.get_many(&[1, 2]).await.expect("get_many"), [Some(user(1, "u")), Some(user(2, "u"))]);
    assert_eq!(rig.sql.count("fetch"), 1);
}

#[tokio::test]
async fn the_same_over_the_cache_in_the_process() {
    let table = MemoryStore::new(|user: &User| user.id);
    let users = WriteThrough::builder(table.clone()).namespace("users").build(MemoryCache::new()).await.expect("build");
    for id in 0..50 {
        let written = users.put(user(id, "u")).await.expect("put");
        assert_eq!(written.cache, CacheEffect::Published);
    }
    users.write(Changes::new().delete(3).put(user(4, "new"))).await.expect("write");
    assert_eq!(users.get_many(&[4, 3, 5]).await.expect("get_many"), [Some(user(4, "new")), None, Some(user(5, "u"))]);
    assert_eq!(table.row(&4), Some(user(4, "new")));
    let other = WriteThrough::builder(table).namespace("users").eventual().time_to_live(std::time::Duration::from_secs(9));
    let cache = MemoryCache::new();
    WriteThrough::builder(MemoryStore::new(|user: &User| user.id)).namespace("users").build(cache.clone()).await.expect("strict");
    crate::rig::assert_refused(other.build(cache).await.map(drop), writeway_through::Kind::Invalid);
}
