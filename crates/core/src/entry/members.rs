//! Who is there: the processes of a namespace, each until it has not been heard of for long enough. Pure; a Lua script is its second
//! form.
//!
//! It saves work and gives no safety: whoever is taken for absent may act all the same, and whoever is taken for present may be dead.

use std::collections::BTreeMap;

use crate::cache::Id;

/// No more are kept: who comes when it is full is not listed, and does what nobody else does.
pub const MOST: usize = 1_000;

/// Until when each is taken for present, in the server's milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<Id, u64>);

impl Members {
    /// This one is there for so long from now on; with no time, it leaves. Who has lapsed is forgotten. Says who is there now, in
    /// the order of their ids.
    pub fn present(&mut self, holder: Id, hold: u64, now: u64) -> Vec<Id> {
        self.0.retain(|_, until| *until > now);
        if hold == 0 {
            self.0.remove(&holder);
        } else if self.0.contains_key(&holder) || self.0.len() < MOST {
            self.0.insert(holder, now + hold);
        }
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> Id {
        Id(u128::from(n).to_be_bytes())
    }

    #[test]
    fn who_is_not_heard_of_is_gone_and_who_leaves_is_at_once() {
        let mut members = Members::default();
        assert_eq!(members.present(id(2), 10, 0), [id(2)]);
        assert_eq!(members.present(id(1), 10, 5), [id(1), id(2)]);
        assert_eq!(members.present(id(1), 10, 9), [id(1), id(2)]);
        assert_eq!(members.present(id(1), 10, 10), [id(1)], "until 10 is not at 10");
        assert_eq!(members.present(id(3), 10, 11), [id(1), id(3)]);
        assert_eq!(members.present(id(1), 0, 12), [id(3)]);
        assert_eq!(members.present(id(1), 0, 12), [id(3)], "again, and nothing happens");
    }

    #[test]
    fn they_are_bounded() {
        let mut members = Members::default();
        let most = u16::try_from(MOST).expect("few");
        for n in 0..most {
            members.present(id(n), 10, 0);
        }
        let who = members.present(id(most), 10, 1);
        assert!(who.len() == MOST && !who.contains(&id(most)));
        assert!(members.present(id(0), 10, 1).contains(&id(0)), "who is there stays");
        assert_eq!(members.present(id(most), 10, 10), [id(0), id(most)]);
    }
}
