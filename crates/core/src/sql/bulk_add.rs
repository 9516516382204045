//! Adds to the columns of many rows: a macro of two forms, for PostgreSQL and SQLite.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::expression::Expression;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

use super::bulk_upsert::push_columns;

/// Makes the function that [`CountTable::add`](crate::sql::CountTable::add) calls: it adds to any number of rows, and returns them as
/// they then stand.
///
/// ```
/// # #[cfg(feature = "postgres")]
/// # mod example {
/// # use writeway_core::diesel;
/// use diesel::prelude::*;
///
/// diesel::table! { post_counts (id) { id -> BigInt, likes -> BigInt, views -> BigInt, } }
///
/// #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, Queryable, Selectable)]
/// #[diesel(table_name = post_counts)]
/// struct PostCounts { likes: i64, views: i64 }
///
/// writeway_core::counts!(PostCounts { likes, views });
/// writeway_core::bulk_add!(add_counts on post_counts: (i64, PostCounts) { key [id], add [likes, views] });
/// # async fn add(conn: &mut diesel_async::AsyncPgConnection) -> QueryResult<()> {
///
/// let rows: Vec<(i64, PostCounts)> = add_counts(conn, &[(7, PostCounts { likes: 1, views: 3 })]).await?;
/// # Ok(())
/// # }
/// # }
/// ```
///
/// A key of several columns is a tuple: `on scores: ((i64, String), Points) { key [game, player], add [points] }`. Each key comes at
/// most once. `add` names all counters of the struct, which are columns of the same names. Attributes, a visibility and a path are
/// welcome, as in [`bulk_upsert!`](crate::bulk_upsert).
///
/// **A row that is missing** is made, with the defaults in its other columns; what is added must then be a valid row by itself, also
/// where there is one, for SQL checks that first: a column without a default, or a `CHECK` that an increment alone breaks, needs
/// the other form. With `existing only` it is not, and not returned either,
/// so that a [`CountTable`](crate::sql::CountTable) refuses what was to be added to it:
/// `{ key [id], add [likes, views], existing only }`.
///
/// **The columns** hold integers, best `NOT NULL`: a `NULL` is added to as if it were 0, but until then
/// [`fetch`](crate::sql::CountTable::fetch) fails on it. Increments are sent as `BigInt` whatever the column is. Over the column's range the statement fails in PostgreSQL; in SQLite, whose columns have none,
/// over that of 64 bits. A narrower column is read with a cast:
/// `#[diesel(select_expression = post_counts::likes.cast::<BigInt>())]`.
///
/// # PostgreSQL
///
/// One statement of one text, with one array for each column, prepared once per connection: an
/// `INSERT … SELECT … FROM UNNEST(…) ON CONFLICT … DO UPDATE SET likes = COALESCE(likes, 0) + excluded.likes … RETURNING …`, or an
/// `UPDATE … FROM … RETURNING …`. The insert locks the rows in the order of the increments, which is that of the keys. The update
/// locks them in any order: flushes of one namespace have no rows in common, but an update may deadlock with other writers of
/// the table that lock several of its rows. Of two that do, the server ends one; a flush is then tried again.
///
/// # SQLite
///
/// The same with `in Sqlite` at the end, with `VALUES` instead of arrays, and another statement for what is more than 32,766
/// parameters: within a transaction, which a [`Store`](crate::store::Store) opens, all or none are in effect.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # mod example {
/// # use writeway_core::diesel;
/// # use diesel::prelude::*;
/// # diesel::table! { post_counts (id) { id -> BigInt, likes -> BigInt, views -> BigInt, } }
/// # #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, Queryable, Selectable)]
/// # #[diesel(table_name = post_counts)]
/// # struct PostCounts { likes: i64, views: i64 }
/// # writeway_core::counts!(PostCounts { likes, views });
/// writeway_core::bulk_add!(add_counts on post_counts: (i64, PostCounts) { key [id], add [likes, views], existing only } in Sqlite);
/// # }
/// ```
#[macro_export]
macro_rules! bulk_add {
    (
        $(#[$attribute:meta])*
        $visibility:vis $name:ident on $($table:ident)::+: ($key:ty, $counts:ty $(,)?) {
            key [$($k:ident),+ $(,)?], add [$($c:ident),+ $(,)?] $(, $existing:ident only)? $(,)?
        } $(in $backend:ident)?
    ) => {
        $(#[$attribute])*
        $visibility async fn $name(
            conn: &mut $crate::bulk_add!(@connection $($backend)?),
            increments: &[($key, $counts)],
        ) -> $crate::diesel::QueryResult<::std::vec::Vec<($key, $counts)>> {
            // By names of our own: the types may have any other.
            use $crate::sql::bulk_add::parts as writeway_parts;
            use $($table)::+ as writeway_table;

            type WritewayBackend = $crate::bulk_add!(@backend $($backend)?);
            const WRITEWAY_KEYS: &[&str] = &[$(<writeway_table::$k as writeway_parts::Column>::NAME),+];
            const WRITEWAY_COUNTS: &[&str] = &[$(<writeway_table::$c as writeway_parts::Column>::NAME),+];
            const _: () = assert!(
                <$counts as $crate::counts::Counts>::FIELDS.len() == WRITEWAY_COUNTS.len(),
                "`add` must name all counters: what is added to another one would be lost",
            );

            let mut returned = ::std::vec::Vec::with_capacity(increments.len());
            let at_once = writeway_parts::rows_at_once::<WritewayBackend>(WRITEWAY_KEYS.len() + WRITEWAY_COUNTS.len());
            for increments in increments.chunks(at_once) {
                let add = writeway_parts::Add {
                    table: writeway_table::table,
                    keys: WRITEWAY_KEYS,
                    counts: WRITEWAY_COUNTS,
                    increments: $crate::bulk_add!(@increments [$($backend)?] increments [$($k),+] [$($c),+]),
                    existing_only: $crate::bulk_add!(@existing $($existing)?),
                    returned: (
                        $crate::bulk_add!(@one_or_tuple $(writeway_table::$k),+),
                        <$counts as $crate::diesel::SelectableHelper<WritewayBackend>>::as_returning(),
                    ),
                };
                returned.append(&mut $crate::diesel_async::RunQueryDsl::load(add, conn).await?);
            }
            Ok(returned)
        }
    };
    (@connection) => { $crate::diesel_async::AsyncPgConnection };
    (@connection Sqlite) => { $crate::sql::AsyncSqliteConnection };
    (@backend) => { $crate::diesel::pg::Pg };
    (@backend Sqlite) => { $crate::diesel::sqlite::Sqlite };
    (@existing) => { false };
    (@existing existing) => { true };
    (@one_or_tuple $one:expr) => { $one };
    (@one_or_tuple $($each:expr),+) => { ($($each),+) };
    (@increments [] $increments:ident [$($k:ident),+] [$($c:ident),+]) => {{
        #[expect(non_camel_case_types, reason = "the type of each column is known by inference only, hence a parameter")]
        struct WritewayColumns<$($k),+> { $($k: ::std::vec::Vec<$k>),+ }

        let mut columns = WritewayColumns { $($k: ::std::vec::Vec::new()),+ };
        for (($($k),+), _) in $increments {
            $(columns.$k.push($k);)+
        }
        writeway_parts::Arrays((
            $(writeway_parts::bound::<writeway_parts::Array<writeway_parts::SqlTypeOf<writeway_table::$k>>, _>(columns.$k),)+
            $(
                writeway_parts::bound::<writeway_parts::Array<writeway_parts::BigInt>, _>(
                    $increments.iter().map(|(_, counts)| counts.$c).collect::<::std::vec::Vec<i64>>(),
                ),
            )+
        ))
    }};
    (@increments [Sqlite] $increments:ident [$($k:ident),+] [$($c:ident),+]) => {{
        let each = $increments.iter().map(|(($($k),+), counts)| (
            $(writeway_parts::bound::<writeway_parts::SqlTypeOf<writeway_table::$k>, _>($k),)+
            $(writeway_parts::bound::<writeway_parts::BigInt, i64>(counts.$c),)+
        ));
        writeway_parts::Rows(each.collect::<::std::vec::Vec<_>>())
    }};
}

/// What the macro names.
#[doc(hidden)]
pub mod parts {
    #[cfg(feature = "postgres")]
    pub use super::Arrays;
    #[cfg(feature = "sqlite")]
    pub use super::Rows;
    pub use super::{Add, bound, rows_at_once};
    pub use diesel::dsl::SqlTypeOf;
    pub use diesel::query_source::Column;
    #[cfg(feature = "postgres")]
    pub use diesel::sql_types::Array;
    pub use diesel::sql_types::BigInt;
}

/// What differs between the kinds of database.
#[doc(hidden)]
pub trait Adds: Backend {
    /// Of one statement.
    const MAX_PARAMETERS: usize;
    /// What stands before, between and after two copies of a sum, where it would not fail by itself beyond 64 bits.
    const CHECKED: Option<[&'static str; 3]>;
}

#[cfg(feature = "postgres")]
impl Adds for diesel::pg::Pg {
    /// There is one for each column, whatever the number of rows.
    const MAX_PARAMETERS: usize = usize::MAX;
    const CHECKED: Option<[&'static str; 3]> = None;
}

#[cfg(feature = "sqlite")]
impl Adds for diesel::sqlite::Sqlite {
    const MAX_PARAMETERS: usize = super::bulk_upsert::MAX_PARAMETERS;
    /// The sum would become a floating-point number; the least integer has no absolute value, which fails with "integer overflow".
    const CHECKED: Option<[&'static str; 3]> =
        Some(["CASE typeof(", ") WHEN 'integer' THEN ", " ELSE abs(0x8000000000000000) END"]);
}

#[doc(hidden)]
#[must_use]
pub fn rows_at_once<DB: Adds>(columns: usize) -> usize {
    DB::MAX_PARAMETERS / columns
}

/// A parameter.
#[doc(hidden)]
pub fn bound<ST, V>(value: V) -> V::Expression
where
    ST: diesel::sql_types::SqlType + diesel::expression::TypedExpressionType,
    V: diesel::expression::AsExpression<ST>,
{
    value.as_expression()
}

/// One array for each column.
#[cfg(feature = "postgres")]
#[doc(hidden)]
#[derive(Debug)]
pub struct Arrays<B>(pub B);

#[cfg(feature = "postgres")]
impl<B: QueryFragment<diesel::pg::Pg>> QueryFragment<diesel::pg::Pg> for Arrays<B> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("SELECT * FROM UNNEST(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// The parameters of each row.
#[cfg(feature = "sqlite")]
#[doc(hidden)]
#[derive(Debug)]
pub struct Rows<B>(pub Vec<B>);

#[cfg(feature = "sqlite")]
impl<B: QueryFragment<diesel::sqlite::Sqlite>> QueryFragment<diesel::sqlite::Sqlite> for Rows<B> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::sqlite::Sqlite>) -> QueryResult<()> {
        if self.0.len() > 1 {
            // A text for each number of rows would fill the cache of statements.
            out.unsafe_to_cache_prepared();
        }
        let mut row_starts = "VALUES (";
        for row in &self.0 {
            out.push_sql(std::mem::replace(&mut row_starts, "), ("));
            row.walk_ast(out.reborrow())?;
        }
        out.push_sql(")");
        Ok(())
    }
}

/// One statement.
#[doc(hidden)]
#[derive(Debug)]
pub struct Add<T, I, R> {
    pub table: T,
    pub keys: &'static [&'static str],
    pub counts: &'static [&'static str],
    pub increments: I,
    pub existing_only: bool,
    pub returned: R,
}

/// The increments, by a name that no table has.
const BY: &str = "writeway_by";

impl<T, I, R> QueryId for Add<T, I, R> {
    type QueryId = ();
    // The cache's key is the text and the bind types.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T, I, R: Expression> Query for Add<T, I, R> {
    type SqlType = R::SqlType;
}

impl<DB: Adds, T: QueryFragment<DB>, I: QueryFragment<DB>, R: QueryFragment<DB>> QueryFragment<DB> for Add<T, I, R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let (keys, counts) = (self.keys, self.counts);
        out.push_sql("WITH ");
        out.push_identifier(BY)?;
        push_columns(&mut out, " (", [keys, counts])?;
        out.push_sql(") AS (");
        self.increments.walk_ast(out.reborrow())?;
        if self.existing_only {
            out.push_sql(") UPDATE ");
            self.table.walk_ast(out.reborrow())?;
            self.push_sums(&mut out, BY)?;
            out.push_sql(" FROM ");
            out.push_identifier(BY)?;
            let mut before = " WHERE ";
            for key in keys {
                out.push_sql(std::mem::replace(&mut before, " AND "));
                self.push_pair(&mut out, " = ", BY, key)?;
            }
        } else {
            out.push_sql(") INSERT INTO ");
            self.table.walk_ast(out.reborrow())?;
            push_columns(&mut out, " (", [keys, counts])?;
            out.push_sql(") SELECT * FROM ");
            out.push_identifier(BY)?;
            // Without a condition SQLite would take ON for that of a join.
            push_columns(&mut out, " WHERE TRUE ON CONFLICT (", [keys, &[]])?;
            out.push_sql(") DO UPDATE");
            self.push_sums(&mut out, "excluded")?;
        }
        out.push_sql(" RETURNING ");
        self.returned.walk_ast(out.reborrow())
    }
}

impl<T, I, R> Add<T, I, R> {
    /// Sets each counter to what it is and what `of` has.
    fn push_sums<'b, DB: Adds>(&'b self, out: &mut AstPass<'_, 'b, DB>, of: &str) -> QueryResult<()>
    where
        T: QueryFragment<DB>,
    {
        let mut before = " SET ";
        for column in self.counts {
            out.push_sql(std::mem::replace(&mut before, ", "));
            out.push_identifier(column)?;
            out.push_sql(" = ");
            let Some([start, between, end]) = DB::CHECKED else {
                self.push_sum(out, of, column)?;
                continue;
            };
            out.push_sql(start);
            self.push_sum(out, of, column)?;
            out.push_sql(between);
            self.push_sum(out, of, column)?;
            out.push_sql(end);
        }
        Ok(())
    }

    /// A sum with `NULL` would be `NULL`, and what is added lost.
    fn push_sum<'b, DB: Adds>(&'b self, out: &mut AstPass<'_, 'b, DB>, of: &str, column: &str) -> QueryResult<()>
    where
        T: QueryFragment<DB>,
    {
        out.push_sql("COALESCE(");
        self.push_pair(out, ", 0) + ", of, column)
    }

    /// The table's column, what is between, and the other's.
    fn push_pair<'b, DB: Adds>(
        &'b self,
        out: &mut AstPass<'_, 'b, DB>,
        between: &str,
        other: &str,
        column: &str,
    ) -> QueryResult<()>
    where
        T: QueryFragment<DB>,
    {
        self.table.walk_ast(out.reborrow())?;
        out.push_sql(".");
        out.push_identifier(column)?;
        out.push_sql(between);
        out.push_identifier(other)?;
        out.push_sql(".");
        out.push_identifier(column)
    }
}
