//! The fast upserts of PostgreSQL and SQLite as a macro of two forms.

#[cfg(feature = "sqlite")]
mod sqlite;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::AstPass;

#[cfg(feature = "sqlite")]
pub(super) use sqlite::MAX_PARAMETERS;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteUpsert, Statements};

/// Makes a function that upserts any number of rows.
///
/// # PostgreSQL
///
/// One statement of one text, with one array for each column:
/// `INSERT … SELECT * FROM UNNEST(…) ON CONFLICT … DO UPDATE … RETURNING …`.
///
/// Against a multi-row `VALUES` it has no bound of 65,535 parameters and is prepared once per connection. The column types come
/// from diesel's `table!`, the returned columns from the row's `Selectable`; Option fields, composite keys and custom types
/// work. Array columns do not (`UNNEST` flattens them), nor columns of the key list that some unique index does not cover.
/// Columns that are in neither list keep their defaults at an insert and their values at an update.
///
/// ```
/// # #[cfg(feature = "postgres")]
/// # mod example {
/// # use writeway_core::{diesel, diesel_async};
/// use diesel::prelude::*;
/// use diesel_async::{AsyncPgConnection, RunQueryDsl};
///
/// diesel::table! {
///     scores (game, player) { game -> BigInt, player -> Int4, points -> BigInt, note -> Nullable<Text>, }
/// }
///
/// #[derive(Queryable, Selectable)]
/// #[diesel(table_name = scores)]
/// struct Score { game: i64, player: i32, points: i64, note: Option<String> }
///
/// writeway_core::bulk_upsert!(upsert_scores on scores: Score { key [game, player], set [points, note] });
///
/// async fn upsert(conn: &mut AsyncPgConnection, rows: &[Score]) -> QueryResult<Vec<Score>> {
///     upsert_scores(rows).load(conn).await
/// }
/// # }
/// ```
///
/// # SQLite
///
/// With `in Sqlite` at the end, a multi-row `INSERT … VALUES … ON CONFLICT … DO UPDATE … RETURNING …`, and another one for what is
/// more than 32,766 parameters:
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # mod example {
/// # use writeway_core::diesel;
/// use diesel::prelude::*;
/// use writeway_core::sql::AsyncSqliteConnection;
///
/// diesel::table! { users (id) { id -> BigInt, name -> Text, } }
///
/// #[derive(Queryable, Selectable)]
/// #[diesel(table_name = users)]
/// struct User { id: i64, name: String }
///
/// writeway_core::bulk_upsert!(upsert_users on users: User { key [id], set [name] } in Sqlite);
///
/// async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[User]) -> QueryResult<Vec<User>> {
///     upsert_users(rows).load(conn).await
/// }
/// # }
/// ```
///
/// SQLite's `RETURNING` does not see what triggers do to the row (<https://www.sqlite.org/lang_returning.html>): where a trigger
/// changes it, let `upsert` select the rows again, so that these are cached and not those that were sent.
///
/// # In both
///
/// Attributes, a visibility and a path are welcome: `bulk_upsert!(/** Upserts. */ pub upsert_scores on schema::scores: …)`.
/// With `set []` an existing row stays as it is, and is returned.
#[macro_export]
macro_rules! bulk_upsert {
    (
        $(#[$attribute:meta])*
        $visibility:vis $name:ident on $($table:ident)::+: $row:ty { key [$($k:ident),+ $(,)?], set [$($c:ident),* $(,)?] $(,)? }
    ) => {
        $(#[$attribute])*
        #[expect(non_camel_case_types, reason = "the type of each column's field is known by inference only, hence a parameter")]
        $visibility fn $name(rows: &[$row]) -> impl $crate::diesel::query_builder::Query<
            SqlType = $crate::diesel::dsl::SqlTypeOf<$crate::diesel::dsl::AsSelect<$row, $crate::diesel::pg::Pg>>,
        > + $crate::diesel::query_builder::QueryFragment<$crate::diesel::pg::Pg>
          + $crate::diesel::query_builder::QueryId
          + ::core::marker::Send {
            use $($table)::+ as writeway_table;
            use $crate::diesel::dsl::{AsSelect, SqlTypeOf};
            use $crate::diesel::pg::Pg;
            use $crate::diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
            use $crate::diesel::query_source::Column;
            use $crate::diesel::serialize::ToSql;
            use $crate::diesel::sql_types::Array;

            struct Upsert<$($k,)+ $($c,)*> {
                $($k: ::std::vec::Vec<$k>,)+
                $($c: ::std::vec::Vec<$c>,)*
                writeway_returned: AsSelect<$row, Pg>,
            }

            impl<$($k,)+ $($c,)*> QueryId for Upsert<$($k,)+ $($c,)*> {
                type QueryId = Upsert<$($crate::bulk_upsert!(@unit $k),)+ $($crate::bulk_upsert!(@unit $c),)*>;
                const HAS_STATIC_QUERY_ID: bool = true;
            }

            impl<$($k,)+ $($c,)*> Query for Upsert<$($k,)+ $($c,)*> {
                type SqlType = SqlTypeOf<AsSelect<$row, Pg>>;
            }

            impl<$($k,)+ $($c,)*> QueryFragment<Pg> for Upsert<$($k,)+ $($c,)*>
            where
                $(::std::vec::Vec<$k>: ToSql<Array<SqlTypeOf<writeway_table::$k>>, Pg>,)+
                $(::std::vec::Vec<$c>: ToSql<Array<SqlTypeOf<writeway_table::$c>>, Pg>,)*
            {
                fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> $crate::diesel::QueryResult<()> {
                    let keys: &[&str] = &[$(<writeway_table::$k as Column>::NAME),+];
                    let values: &[&str] = &[$(<writeway_table::$c as Column>::NAME),*];
                    out.push_sql("INSERT INTO ");
                    QueryFragment::<Pg>::walk_ast(&writeway_table::table, out.reborrow())?;
                    $crate::sql::bulk_upsert::push_columns(&mut out, " (", [keys, values])?;
                    let mut before = ") SELECT * FROM UNNEST(";
                    $(
                        out.push_sql(::core::mem::replace(&mut before, ", "));
                        out.push_bind_param::<Array<SqlTypeOf<writeway_table::$k>>, _>(&self.$k)?;
                    )+
                    $(
                        out.push_sql(::core::mem::replace(&mut before, ", "));
                        out.push_bind_param::<Array<SqlTypeOf<writeway_table::$c>>, _>(&self.$c)?;
                    )*
                    $crate::sql::bulk_upsert::push_columns(&mut out, ") ON CONFLICT (", [keys, &[]])?;
                    $crate::sql::bulk_upsert::push_assignments(&mut out, ") DO UPDATE SET ", [keys, values])?;
                    out.push_sql(" RETURNING ");
                    QueryFragment::<Pg>::walk_ast(&self.writeway_returned, out.reborrow())
                }
            }

            Upsert {
                $($k: rows.iter().map(|row| &row.$k).collect::<::std::vec::Vec<_>>(),)+
                $($c: rows.iter().map(|row| &row.$c).collect::<::std::vec::Vec<_>>(),)*
                writeway_returned: <$row as $crate::diesel::SelectableHelper<Pg>>::as_returning(),
            }
        }
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis $name:ident on $($table:ident)::+: $row:ty { key [$($k:ident),+ $(,)?], set [$($c:ident),* $(,)?] $(,)? } in Sqlite
    ) => {
        $(#[$attribute])*
        $visibility fn $name<'r>(
            rows: &'r [$row],
        ) -> $crate::sql::SqliteUpsert<impl $crate::sql::bulk_upsert::Statements<Row = $row> + 'r> {
            // By names of our own: the row's type may have any other.
            use $crate::sql::bulk_upsert::parts as writeway_parts;
            use $($table)::+ as writeway_table;

            const WRITEWAY_KEYS: &[&str] = &[$(<writeway_table::$k as writeway_parts::Column>::NAME),+];
            const WRITEWAY_VALUES: &[&str] = &[$(<writeway_table::$c as writeway_parts::Column>::NAME),*];

            struct WritewayUpsert<'r> {
                rows: &'r [$row],
                returned: writeway_parts::AsSelect<$row, writeway_parts::Sqlite>,
            }

            impl writeway_parts::QueryId for WritewayUpsert<'_> {
                type QueryId = ();
                const HAS_STATIC_QUERY_ID: bool = false;
            }

            impl writeway_parts::Query for WritewayUpsert<'_> {
                type SqlType = writeway_parts::SqlTypeOf<writeway_parts::AsSelect<$row, writeway_parts::Sqlite>>;
            }

            impl writeway_parts::QueryFragment<writeway_parts::Sqlite> for WritewayUpsert<'_> {
                fn walk_ast<'b>(&'b self, mut out: writeway_parts::AstPass<'_, 'b, writeway_parts::Sqlite>) -> $crate::diesel::QueryResult<()> {
                    if self.rows.len() > 1 {
                        // A text for each number of rows would fill the cache of statements.
                        out.unsafe_to_cache_prepared();
                    }
                    out.push_sql("INSERT INTO ");
                    writeway_parts::QueryFragment::<writeway_parts::Sqlite>::walk_ast(&writeway_table::table, out.reborrow())?;
                    $crate::sql::bulk_upsert::push_columns(&mut out, " (", [WRITEWAY_KEYS, WRITEWAY_VALUES])?;
                    let mut row_starts = ") VALUES (";
                    for row in self.rows {
                        let mut before = ::core::mem::replace(&mut row_starts, "), (");
                        $(
                            out.push_sql(::core::mem::replace(&mut before, ", "));
                            out.push_bind_param::<writeway_parts::SqlTypeOf<writeway_table::$k>, _>(&row.$k)?;
                        )+
                        $(
                            out.push_sql(::core::mem::replace(&mut before, ", "));
                            out.push_bind_param::<writeway_parts::SqlTypeOf<writeway_table::$c>, _>(&row.$c)?;
                        )*
                    }
                    $crate::sql::bulk_upsert::push_columns(&mut out, ") ON CONFLICT (", [WRITEWAY_KEYS, &[]])?;
                    $crate::sql::bulk_upsert::push_assignments(&mut out, ") DO UPDATE SET ", [WRITEWAY_KEYS, WRITEWAY_VALUES])?;
                    out.push_sql(" RETURNING ");
                    writeway_parts::QueryFragment::<writeway_parts::Sqlite>::walk_ast(&self.returned, out.reborrow())
                }
            }

            struct WritewayRows<'r>(&'r [$row]);

            impl $crate::sql::bulk_upsert::Statements for WritewayRows<'_> {
                type Row = $row;

                fn rows(&self) -> usize {
                    self.0.len()
                }

                fn columns(&self) -> usize {
                    WRITEWAY_KEYS.len() + WRITEWAY_VALUES.len()
                }

                async fn load(
                    &self,
                    rows: ::core::ops::Range<usize>,
                    conn: &mut $crate::sql::AsyncSqliteConnection,
                ) -> $crate::diesel::QueryResult<::std::vec::Vec<$row>> {
                    let returned = <$row as $crate::diesel::SelectableHelper<writeway_parts::Sqlite>>::as_returning();
                    $crate::diesel_async::RunQueryDsl::load(WritewayUpsert { rows: &self.0[rows], returned }, conn).await
                }
            }

            $crate::sql::SqliteUpsert::new(WritewayRows(rows))
        }
    };
    (@unit $column:ident) => { () };
}

/// What the macro names of diesel.
#[cfg(feature = "sqlite")]
#[doc(hidden)]
pub mod parts {
    pub use diesel::dsl::{AsSelect, SqlTypeOf};
    pub use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
    pub use diesel::query_source::Column;
    pub use diesel::sqlite::Sqlite;
}

/// `start`, then the columns.
#[doc(hidden)]
pub fn push_columns<DB: Backend>(out: &mut AstPass<'_, '_, DB>, start: &str, columns: [&[&str]; 2]) -> QueryResult<()> {
    let mut before = start;
    for column in columns.into_iter().flatten() {
        out.push_sql(std::mem::replace(&mut before, ", "));
        out.push_identifier(column)?;
    }
    Ok(())
}

/// `start`, then `column = excluded.column` for each value. A row that has a key only is set to itself: `DO NOTHING` would not
/// return it.
#[doc(hidden)]
pub fn push_assignments<DB: Backend>(
    out: &mut AstPass<'_, '_, DB>,
    start: &str,
    [keys, values]: [&[&str]; 2],
) -> QueryResult<()> {
    let mut before = start;
    for column in if values.is_empty() { keys } else { values } {
        out.push_sql(std::mem::replace(&mut before, ", "));
        out.push_identifier(column)?;
        out.push_sql(" = excluded.");
        out.push_identifier(column)?;
    }
    Ok(())
}
