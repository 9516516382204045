//! How much one script takes.

use writeway_core::journal::PAGE;

/// So many bytes besides one row: more would keep the server from others, and might not arrive in time.
const PAGE_BYTES: u64 = 4 << 20;

/// The items in pages of at most so many, never more than [`PAGE`], and of at most so many bytes, never more than
/// [`PAGE_BYTES`]; an item that is longer is a page of its own.
pub(crate) fn pages<T>(items: &[T], most: usize, max_bytes: u64, size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let (most, max_bytes) = (most.clamp(1, PAGE), max_bytes.min(PAGE_BYTES));
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |item: &&T| {
            bytes += size(item) as u64;
            bytes <= max_bytes
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1);
        let (page, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(page)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_in_items_and_bytes_and_never_empty() {
        let lengths = |sizes: &[usize], most, bytes| pages(sizes, most, bytes, |size| *size).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[1; 450], 1_000, 1_000), [PAGE, PAGE, 50]);
        assert_eq!(lengths(&[1; 7], 3, 1_000), [3, 3, 1]);
        assert_eq!(lengths(&[4, 4, 4, 20, 1], 9, 10), [2, 1, 1, 1], "an item that never fits is alone");
        assert_eq!(lengths(&[1 << 20; 9], 9, u64::MAX), [4, 4, 1]);
        assert!(lengths(&[], 9, 10).is_empty());
    }
}
