//! Is what the namespace says what SQL holds? For a sample of keys, while everybody writes.

use writeway_around::store::Store;
use writeway_around::{Result, WriteAround};

/// What a comparison found.
#[derive(Debug, PartialEq)]
pub struct Compared<K> {
    /// As in SQL.
    pub same: usize,
    /// Changed in SQL meanwhile: nothing can be said.
    pub changing: usize,
    /// Stood still in SQL, and was another row in the namespace.
    pub different: Vec<K>,
}

/// Reads SQL, the namespace, and SQL again.
///
/// # Errors
/// Those of the reads.
pub async fn compare<S>(table: &S, users: &WriteAround<S>, keys: &[S::Key]) -> Result<Compared<S::Key>>
where
    S: Store<Row: PartialEq>,
{
    let (before, said, after) = (table.fetch(keys).await?, users.get_many(keys).await?, table.fetch(keys).await?);
    let row = |rows: &[S::Row], key: &S::Key| rows.iter().find(|row| table.key(row) == *key).cloned();
    let mut compared = Compared { same: 0, changing: 0, different: Vec::new() };
    for (key, said) in keys.iter().zip(said) {
        let (before, after) = (row(&before, key), row(&after, key));
        match said == after {
            true => compared.same += 1,
            false if before != after => compared.changing += 1,
            false => compared.different.push(key.clone()),
        }
    }
    Ok(compared)
}
