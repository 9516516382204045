//! A record of everything that SQL did to the rows, kept by a trigger in the same transactions.

use std::collections::BTreeMap;

use writeway_core::diesel::dsl::sql;
use writeway_core::diesel::sql_types::{BigInt, Bool, Integer};
use writeway_core::diesel_async::RunQueryDsl;
use writeway_core::sql::Cached;

use super::schema::Schema;

/// One change of one row that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whose row.
    pub player: i32,
    /// What it has now, or had until now.
    pub points: i64,
    /// It was deleted.
    pub gone: bool,
}

/// The record of one schema's table.
#[derive(Clone, Debug)]
pub struct Ledger(Schema);

impl Ledger {
    /// Begins it, in place of the schema's own, which has no deletes.
    pub async fn begin(schema: &Schema) -> Ledger {
        let setup = "
            DROP TRIGGER enter ON scores;
            CREATE TABLE applied (id BIGSERIAL PRIMARY KEY, player INT NOT NULL, points BIGINT NOT NULL, gone BOOL NOT NULL);
            CREATE FUNCTION apply() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
                IF TG_OP = 'DELETE' THEN INSERT INTO applied VALUES (DEFAULT, OLD.player, OLD.points, true);
                ELSE INSERT INTO applied VALUES (DEFAULT, NEW.player, NEW.points, false); END IF;
                RETURN NULL; END $$;
            CREATE TRIGGER apply AFTER INSERT OR UPDATE OR DELETE ON scores FOR EACH ROW EXECUTE FUNCTION apply();";
        schema.run(setup).await;
        Ledger(schema.clone())
    }

    /// All of it, in the order of each row's changes.
    ///
    /// # Panics
    /// If the database does not let us in.
    pub async fn read(&self) -> Vec<Applied> {
        let columns = (sql::<Integer>("player"), sql::<BigInt>("points"), sql::<Bool>("gone FROM applied ORDER BY id"));
        let rows: Vec<(i32, i64, bool)> =
            Cached(diesel::select(columns)).load(&mut self.0.connect().await).await.expect("the record is there");
        rows.into_iter().map(|(player, points, gone)| Applied { player, points, gone }).collect()
    }

    /// What the table holds now.
    ///
    /// # Panics
    /// If the database does not let us in.
    pub async fn holds(&self) -> BTreeMap<i32, i64> {
        let columns = (sql::<Integer>("player"), sql::<BigInt>("points FROM scores"));
        let rows: Vec<(i32, i64)> =
            Cached(diesel::select(columns)).load(&mut self.0.connect().await).await.expect("the table is there");
        rows.into_iter().collect()
    }
}
