//! One cached row, two SQL tables: an order is read and written as a whole, and lies in SQL as a head and its lines.

use serde::{Deserialize, Serialize};
use writeway_back::diesel::prelude::*;
use writeway_back::diesel_async::{AsyncPgConnection, RunQueryDsl};
use writeway_back::{SqlTable, bulk_upsert};

pub(crate) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY, customer TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS order_lines (
        order_id BIGINT REFERENCES orders, position INT, product TEXT NOT NULL,
        quantity INT NOT NULL CONSTRAINT something CHECK (quantity > 0),
        PRIMARY KEY (order_id, position));";

diesel::table! { orders (id) { id -> BigInt, customer -> Text, } }
diesel::table! {
    order_lines (order_id, position) { order_id -> BigInt, position -> Int4, product -> Text, quantity -> Int4, }
}
diesel::allow_tables_to_appear_in_same_query!(orders, order_lines);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer: String,
    /// Product and quantity.
    pub(crate) lines: Vec<(String, i32)>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
struct Head {
    id: i64,
    customer: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = order_lines)]
struct Line {
    order_id: i64,
    position: i32,
    product: String,
    quantity: i32,
}

bulk_upsert!(upsert_heads on orders: Head { key [id], set [customer] });
bulk_upsert!(insert_lines on order_lines: Line { key [order_id, position], set [product, quantity] });

pub(crate) struct Orders;
impl SqlTable for Orders {
    type Connection = AsyncPgConnection;
    type Key = i64;
    type Row = Order;
    fn key(order: &Order) -> i64 {
        order.id
    }
    /// One statement, hence one snapshot: a head never comes with the lines of another moment.
    async fn fetch(conn: &mut AsyncPgConnection, ids: &[i64]) -> QueryResult<Vec<Order>> {
        let joined = orders::table.left_join(order_lines::table.on(order_lines::order_id.eq(orders::id)));
        let joined = joined.filter(orders::id.eq_any(ids)).order((orders::id, order_lines::position));
        let found: Vec<(Head, Option<Line>)> = joined.select((Head::as_select(), Option::<Line>::as_select())).load(conn).await?;
        let mut whole: Vec<Order> = Vec::new();
        for (Head { id, customer }, line) in found {
            if whole.last().is_none_or(|last| last.id != id) {
                whole.push(Order { id, customer, lines: Vec::new() });
            }
            if let (Some(order), Some(line)) = (whole.last_mut(), line) {
                order.lines.push((line.product, line.quantity));
            }
        }
        Ok(whole)
    }
    /// All in the flush's transaction: what fails here undoes the rest.
    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Order]) -> QueryResult<Vec<Order>> {
        let heads: Vec<Head> = rows.iter().map(|order| Head { id: order.id, customer: order.customer.clone() }).collect();
        let lines: Vec<Line> = rows.iter().flat_map(lines_of).collect();
        let ids: Vec<i64> = rows.iter().map(|order| order.id).collect();
        upsert_heads(&heads).load(conn).await?;
        diesel::delete(order_lines::table.filter(order_lines::order_id.eq_any(&ids))).execute(conn).await?;
        insert_lines(&lines).load(conn).await?;
        Self::fetch(conn, &ids).await
    }
    async fn remove(conn: &mut AsyncPgConnection, ids: &[i64]) -> QueryResult<usize> {
        diesel::delete(order_lines::table.filter(order_lines::order_id.eq_any(ids))).execute(conn).await?;
        diesel::delete(orders::table.filter(orders::id.eq_any(ids))).execute(conn).await
    }
}

fn lines_of(order: &Order) -> impl Iterator<Item = Line> {
    (1..).zip(&order.lines).map(|(position, (product, quantity))| Line {
        order_id: order.id,
        position,
        product: product.clone(),
        quantity: *quantity,
    })
}
