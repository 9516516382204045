//! The condition "the composite key is one of these" as a macro of two forms: PostgreSQL's has one text for any number of keys.

/// Makes a function that says in a `filter` that a key of several columns is one of the given ones:
/// `(a, b) IN (SELECT * FROM UNNEST(…))` in PostgreSQL; with `in Sqlite` at the end `(a, b) IN (VALUES (…), …)`, which has a
/// parameter for each part of each key, 32,766 at most. A key of one column needs none: `id.eq_any(keys)`.
///
/// (`a.eq_any(…).and(b.eq_any(…))` would find the pairs in between, too, which a [`Store`](crate::store::Store) refuses.)
///
/// ```
/// # #[cfg(feature = "postgres")]
/// # mod example {
/// # use writeway_core::{diesel, diesel_async};
/// use diesel::prelude::*;
/// use diesel_async::{AsyncPgConnection, RunQueryDsl};
///
/// diesel::table! {
///     scores (game, player) { game -> BigInt, player -> Text, points -> BigInt, }
/// }
///
/// writeway_core::key_among!(score_among on scores: (i64, String) [game, player]);
///
/// async fn remove(conn: &mut AsyncPgConnection, keys: &[(i64, String)]) -> QueryResult<usize> {
///     diesel::delete(scores::table.filter(score_among(keys))).execute(conn).await
/// }
/// # }
/// ```
#[macro_export]
macro_rules! key_among {
    (
        $(#[$attribute:meta])*
        $visibility:vis $name:ident on $($table:ident)::+: $key:ty [$first:ident, $($k:ident),+ $(,)?]
    ) => {
        $(#[$attribute])*
        #[expect(non_camel_case_types, reason = "the type of each column is known by inference only, hence a parameter")]
        $visibility fn $name(keys: &[$key]) -> impl $crate::diesel::AppearsOnTable<
            $($table)::+::table, SqlType = $crate::diesel::sql_types::Bool,
        >
            + $crate::diesel::expression::ValidGrouping<(), IsAggregate = $crate::diesel::expression::is_aggregate::No>
            + $crate::diesel::query_builder::QueryFragment<$crate::diesel::pg::Pg>
            + $crate::diesel::query_builder::QueryId
            + ::core::marker::Send {
            use $($table)::+ as writeway_table;
            use $crate::diesel::dsl::SqlTypeOf;
            use $crate::diesel::expression::{ValidGrouping, is_aggregate};
            use $crate::diesel::pg::Pg;
            use $crate::diesel::query_builder::{AstPass, QueryFragment, QueryId};
            use $crate::diesel::serialize::ToSql;
            use $crate::diesel::sql_types::{Array, Bool};
            use $crate::diesel::{AppearsOnTable, Expression};

            struct Among<$first, $($k),+> { $first: ::std::vec::Vec<$first>, $($k: ::std::vec::Vec<$k>),+ }

            impl<$first, $($k),+> QueryId for Among<$first, $($k),+> {
                type QueryId = Among<(), $($crate::bulk_upsert!(@unit $k)),+>;
                const HAS_STATIC_QUERY_ID: bool = true;
            }
            impl<$first, $($k),+> Expression for Among<$first, $($k),+> {
                type SqlType = Bool;
            }
            impl<$first, $($k),+> AppearsOnTable<writeway_table::table> for Among<$first, $($k),+> {}
            impl<$first, $($k),+> ValidGrouping<()> for Among<$first, $($k),+> {
                type IsAggregate = is_aggregate::No;
            }
            impl<$first, $($k),+> QueryFragment<Pg> for Among<$first, $($k),+>
            where
                ::std::vec::Vec<$first>: ToSql<Array<SqlTypeOf<writeway_table::$first>>, Pg>,
                $(::std::vec::Vec<$k>: ToSql<Array<SqlTypeOf<writeway_table::$k>>, Pg>,)+
            {
                fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> $crate::diesel::QueryResult<()> {
                    out.push_sql("(");
                    QueryFragment::<Pg>::walk_ast(&writeway_table::$first, out.reborrow())?;
                    $(
                        out.push_sql(", ");
                        QueryFragment::<Pg>::walk_ast(&writeway_table::$k, out.reborrow())?;
                    )+
                    out.push_sql(") IN (SELECT * FROM UNNEST(");
                    out.push_bind_param::<Array<SqlTypeOf<writeway_table::$first>>, _>(&self.$first)?;
                    $(
                        out.push_sql(", ");
                        out.push_bind_param::<Array<SqlTypeOf<writeway_table::$k>>, _>(&self.$k)?;
                    )+
                    out.push_sql("))");
                    Ok(())
                }
            }

            let mut among = Among { $first: ::std::vec::Vec::new(), $($k: ::std::vec::Vec::new()),+ };
            for ($first, $($k),+) in keys {
                among.$first.push($first);
                $(among.$k.push($k);)+
            }
            among
        }
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis $name:ident on $($table:ident)::+: $key:ty [$first:ident, $($k:ident),+ $(,)?] in Sqlite
    ) => {
        $(#[$attribute])*
        $visibility fn $name<'r>(keys: &'r [$key]) -> impl $crate::diesel::AppearsOnTable<
            $($table)::+::table, SqlType = $crate::diesel::sql_types::Bool,
        >
            + $crate::diesel::expression::ValidGrouping<(), IsAggregate = $crate::diesel::expression::is_aggregate::No>
            + $crate::diesel::query_builder::QueryFragment<$crate::diesel::sqlite::Sqlite>
            + $crate::diesel::query_builder::QueryId
            + ::core::marker::Send
            + 'r {
            use $($table)::+ as writeway_table;
            use $crate::diesel::dsl::SqlTypeOf;
            use $crate::diesel::expression::{ValidGrouping, is_aggregate};
            use $crate::diesel::query_builder::{AstPass, QueryFragment, QueryId};
            use $crate::diesel::sql_types::Bool;
            use $crate::diesel::sqlite::Sqlite;
            use $crate::diesel::{AppearsOnTable, Expression};

            struct Among<'r>(&'r [$key]);

            impl QueryId for Among<'_> {
                type QueryId = ();
                const HAS_STATIC_QUERY_ID: bool = false;
            }
            impl Expression for Among<'_> {
                type SqlType = Bool;
            }
            impl AppearsOnTable<writeway_table::table> for Among<'_> {}
            impl ValidGrouping<()> for Among<'_> {
                type IsAggregate = is_aggregate::No;
            }
            impl QueryFragment<Sqlite> for Among<'_> {
                fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> $crate::diesel::QueryResult<()> {
                    if self.0.len() > 1 {
                        // A text for each number of keys would fill the cache of statements.
                        out.unsafe_to_cache_prepared();
                    }
                    out.push_sql("(");
                    QueryFragment::<Sqlite>::walk_ast(&writeway_table::$first, out.reborrow())?;
                    $(
                        out.push_sql(", ");
                        QueryFragment::<Sqlite>::walk_ast(&writeway_table::$k, out.reborrow())?;
                    )+
                    let mut key_starts = ") IN (VALUES (";
                    for ($first, $($k),+) in self.0 {
                        out.push_sql(::core::mem::replace(&mut key_starts, "), ("));
                        out.push_bind_param::<SqlTypeOf<writeway_table::$first>, _>($first)?;
                        $(
                            out.push_sql(", ");
                            out.push_bind_param::<SqlTypeOf<writeway_table::$k>, _>($k)?;
                        )+
                    }
                    out.push_sql("))");
                    Ok(())
                }
            }

            Among(keys)
        }
    };
}
