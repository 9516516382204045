//! Which statements a list of changes becomes, and what their answers say of each change. Pure.
//!
//! One `remove` for all deletes, then one `upsert` for all puts, each in key order: locks are taken in key order within each
//! kind, deletes first. Two writers that put what the other deletes may therefore deadlock, which the server ends by refusing
//! one of them (`Unavailable`, nothing changed).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use diesel::QueryResult;

use super::table::SqlTable;
use crate::change::{Change, Stored};
use crate::error::{Error, Result};
use crate::key::Key;

/// What is sent.
pub(super) struct Plan<K, R> {
    deletes: Vec<K>,
    puts: Vec<R>,
}

/// What came back.
pub(super) struct Answer<R> {
    removed: usize,
    rows: Vec<R>,
}

impl<K: Key, R: Clone> Plan<K, R> {
    pub(super) fn of(changes: &[Change<K, R>]) -> Self {
        let mut plan = Plan { deletes: Vec::new(), puts: Vec::new() };
        for change in changes {
            match change {
                Change::Put(row) => plan.puts.push(row.clone()),
                Change::Delete(key) => plan.deletes.push(key.clone()),
            }
        }
        plan
    }

    /// True if it is one statement, or none.
    pub(super) fn is_one_kind(&self) -> bool {
        self.deletes.is_empty() || self.puts.is_empty()
    }

    pub(super) async fn run<T>(&self, conn: &mut T::Connection) -> QueryResult<Answer<R>>
    where
        T: SqlTable<Key = K, Row = R>,
    {
        let removed = if self.deletes.is_empty() { 0 } else { T::remove(conn, &self.deletes).await? };
        let rows = if self.puts.is_empty() { Vec::new() } else { T::upsert(conn, &self.puts).await? };
        Ok(Answer { removed, rows })
    }

    /// One [`Stored`] per change, in the order of the changes.
    ///
    /// # Errors
    /// `Invalid` if the answers cannot belong to what was sent.
    pub(super) fn stored(&self, changes: &[Change<K, R>], answer: Answer<R>, key_of: impl Fn(&R) -> K) -> Result<Vec<Stored<R>>> {
        if answer.removed > self.deletes.len() {
            return Err(Error::invalid("`remove` removed more rows than it was given keys: is the key unique?"));
        }
        // A delete that found no row holds no lock, and the count does not say which one it was.
        let all_were_there = answer.removed == self.deletes.len();
        let mut rows = matched(&self.puts, answer.rows, key_of)?.into_iter();
        let each = |change: &Change<K, R>| match change {
            Change::Delete(_) if all_were_there => Stored::Gone,
            Change::Delete(_) => Stored::Unread,
            Change::Put(_) => rows.next().flatten().map_or(Stored::Unread, Stored::As),
        };
        Ok(changes.iter().map(each).collect())
    }
}

/// The returned row of each put: the one with its key, else one whose key no put has (a trigger changed it).
fn matched<K: Key, R>(puts: &[R], returned: Vec<R>, key_of: impl Fn(&R) -> K) -> Result<Vec<Option<R>>> {
    if returned.len() > puts.len() {
        return Err(Error::invalid("`upsert` returned more rows than it was given"));
    }
    let at: HashMap<K, usize> = puts.iter().enumerate().map(|(i, put)| (key_of(put), i)).collect();
    let mut found: Vec<Option<R>> = std::iter::repeat_with(|| None).take(puts.len()).collect();
    let mut strays = BTreeMap::new();
    for row in returned {
        let key = key_of(&row);
        match at.get(&key).map(|&i| &mut found[i]) {
            Some(free @ None) => *free = Some(row),
            Some(Some(_)) => return Err(Error::invalid("`upsert` returned two rows of one key")),
            None => match strays.entry(key) {
                Entry::Vacant(free) => drop(free.insert(row)),
                Entry::Occupied(_) => return Err(Error::invalid("`upsert` returned two rows of one key")),
            },
        }
    }
    // Which of several puts a stray came from does not matter: all of them and all of the strays count as touched.
    let mut strays = strays.into_values();
    for free in found.iter_mut().filter(|row| row.is_none()) {
        *free = strays.next();
    }
    Ok(found)
}

/// The rows that a fetch of `keys` returned, if they can belong to it.
///
/// # Errors
/// `Invalid` if a row's key was not asked for or came twice: key equality in Rust is then not SQL's, and a row would be cached
/// under a key that is not its own.
pub(super) fn asked_for<K: Key, R>(keys: &[K], rows: Vec<R>, key_of: impl Fn(&R) -> K) -> Result<Vec<R>> {
    let mut asked: HashMap<&K, bool> = keys.iter().map(|key| (key, false)).collect();
    for row in &rows {
        match asked.get_mut(&key_of(row)) {
            Some(seen @ false) => *seen = true,
            Some(true) => return Err(Error::invalid("`fetch` returned two rows of one key: is the key unique?")),
            None => {
                return Err(Error::invalid(
                    "`fetch` returned a row whose key was not asked for: the key's equality in Rust must be the column's in SQL",
                ));
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    type Row = (i32, &'static str);

    fn stored(changes: &[Change<i32, Row>], removed: usize, rows: &[Row]) -> Result<Vec<Stored<Row>>> {
        Plan::of(changes).stored(changes, Answer { removed, rows: rows.to_vec() }, |row| row.0)
    }
    fn put(id: i32) -> Change<i32, Row> {
        Change::Put((id, "put"))
    }

    #[test]
    fn answers_find_their_changes_in_any_order() {
        let changes = [put(1), Change::Delete(2), put(3), put(4)];
        let answer = stored(&changes, 1, &[(4, "d"), (1, "a")]).expect("they fit");
        assert_eq!(answer, [Stored::As((1, "a")), Stored::Gone, Stored::Unread, Stored::As((4, "d"))]);
    }

    #[test]
    fn a_row_under_another_key_belongs_to_a_put_that_got_none() {
        let answer = stored(&[put(1), put(2)], 0, &[(7, "moved"), (1, "a")]).expect("they fit");
        assert_eq!(answer, [Stored::As((1, "a")), Stored::As((7, "moved"))]);
    }

    #[test]
    fn one_missing_row_leaves_all_deletes_unread() {
        let answer = stored(&[Change::Delete(1), Change::Delete(2)], 1, &[]).expect("they fit");
        assert_eq!(answer, [Stored::Unread, Stored::Unread]);
    }

    #[test]
    fn answers_that_cannot_be_are_refused() {
        let refused = |answer: Result<Vec<Stored<Row>>>| answer.err().map(|e| e.kind()) == Some(Kind::Invalid);
        assert!(refused(stored(&[put(1)], 0, &[(1, "a"), (2, "b")])), "more rows than given");
        assert!(refused(stored(&[put(1), put(2)], 0, &[(1, "a"), (1, "b")])), "a key twice");
        assert!(refused(stored(&[put(1), put(2)], 0, &[(7, "a"), (7, "b")])), "a stray twice");
        assert!(refused(stored(&[Change::Delete(1)], 2, &[])), "more removed than given");
    }

    #[test]
    fn a_fetch_may_only_return_what_was_asked_for_once() {
        let fetched = |rows: &[Row]| asked_for(&[1, 2], rows.to_vec(), |row| row.0).map_err(|e| e.kind());
        assert_eq!(fetched(&[(2, "b")]), Ok(vec![(2, "b")]));
        assert_eq!(fetched(&[(3, "c")]), Err(Kind::Invalid));
        assert_eq!(fetched(&[(2, "b"), (2, "b")]), Err(Kind::Invalid));
    }
}
