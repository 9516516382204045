//! What the strategies do not do by themselves, and how to do it with them. On SQLite; what PostgreSQL does otherwise is in the chapter.

pub mod keys;
pub mod others;
pub mod rows;
pub mod tables;

#[cfg(test)]
mod tests;
