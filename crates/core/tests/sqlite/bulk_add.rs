//! `bulk_add!(… in Sqlite)`: rows that are there and rows that are not, keys of one column and of several, sums beyond 64 bits.

use writeway_core::diesel::prelude::*;
use writeway_core::diesel::{self, QueryResult};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::AsyncSqliteConnection;
use writeway_core::{bulk_add, counts};

use crate::support::File;

mod schema {
    writeway_core::diesel::table! {
        scores (game, player) {
            game -> BigInt,
            player -> Text,
            /// A column that is called otherwise in SQL.
            #[sql_name = "the points"]
            points -> BigInt,
            lost -> BigInt,
        }
    }
}
use schema::scores;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[serde(crate = "writeway_core::serde")]
#[diesel(table_name = scores)]
struct Points {
    lost: i64,
    points: i64,
}
counts!(Points { points, lost });

bulk_add! {
    /// Makes what is missing.
    add_points on schema::scores: ((i64, String), Points) { key [game, player], add [points, lost] } in Sqlite
}
bulk_add!(add_existing on scores: ((i64, String), Points) { key [game, player], add [points, lost], existing only, } in Sqlite);

type Row = ((i64, String), Points);

fn of(game: i64, points: i64, lost: i64) -> Row {
    ((game, "a".into()), Points { lost, points })
}

async fn prepared() -> File {
    let file = File::make().await;
    let table = "CREATE TABLE scores (game BIGINT, player TEXT, \"the points\" BIGINT NOT NULL, lost BIGINT NOT NULL,
        note TEXT DEFAULT 'new', PRIMARY KEY (game, player))";
    file.run(table).await;
    file
}

async fn in_order(
    file: &File,
    add: impl AsyncFnOnce(&mut AsyncSqliteConnection) -> QueryResult<Vec<Row>>,
) -> QueryResult<Vec<Row>> {
    let mut conn = file.pools.writers().get().await.expect("the writer");
    let mut rows = add(&mut conn).await?;
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows)
}

#[tokio::test]
async fn rows_are_added_to_and_what_is_missing_is_made_or_left_missing() {
    let file = prepared().await;
    let made = in_order(&file, async |conn| add_points(conn, &[of(1, 5, 1), of(2, -3, 0)]).await).await.expect("added");
    assert_eq!(made, [of(1, 5, 1), of(2, -3, 0)]);
    let more = [of(1, 1, 0), of(2, 4, 2), of(3, 0, 7)];
    let added = in_order(&file, async |conn| add_existing(conn, &more).await).await.expect("added");
    assert_eq!(added, [of(1, 6, 1), of(2, 1, 2)], "what is missing is not returned");
    assert_eq!(file.number("SELECT count(*) FROM scores WHERE note = 'new'").await, 2);
    let added = in_order(&file, async |conn| add_points(conn, &more).await).await.expect("added");
    assert_eq!(added, [of(1, 7, 1), of(2, 5, 4), of(3, 0, 7)]);
    let none = in_order(&file, async |conn| add_points(conn, &[]).await).await.expect("no statement");
    assert!(none.is_empty());
}

#[tokio::test]
async fn more_rows_than_one_statement_takes_are_several() {
    let file = prepared().await;
    // Four parameters each, 32,766 in a statement.
    let all: Vec<Row> = (0..10_000).map(|game| of(game, game, 1)).collect();
    let made = in_order(&file, async |conn| add_points(conn, &all).await).await.expect("added");
    assert_eq!(made, all);
    let added = in_order(&file, async |conn| add_existing(conn, &all).await).await.expect("added");
    assert!(added.into_iter().eq((0..10_000).map(|game| of(game, 2 * game, 2))));
}

#[tokio::test]
async fn a_sum_beyond_64_bits_is_refused() {
    let file = prepared().await;
    let most = [of(1, i64::MAX, i64::MIN)];
    assert_eq!(in_order(&file, async |conn| add_points(conn, &most).await).await.expect("it fits"), most);
    for too_much in [of(1, 1, 0), of(1, 0, -1)] {
        let refused = in_order(&file, async |conn| add_points(conn, std::slice::from_ref(&too_much)).await).await;
        let text = refused.expect_err("invariant violated: sums are exact").to_string();
        assert_eq!(text, "integer overflow");
        let refused = in_order(&file, async |conn| add_existing(conn, std::slice::from_ref(&too_much)).await).await;
        refused.expect_err("invariant violated: sums are exact");
    }
    let exact = "SELECT count(*) FROM scores WHERE typeof(\"the points\") = 'integer' AND typeof(lost) = 'integer'";
    assert_eq!(file.number(exact).await, 1);
    let back = in_order(&file, async |conn| add_points(conn, &[of(1, -1, 1)]).await).await.expect("it fits");
    assert_eq!(back, [of(1, i64::MAX - 1, i64::MIN + 1)]);
}
