//! What is said while something takes long and says nothing itself.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::clock::Stopwatch;

const BETWEEN_REMARKS: Duration = Duration::from_secs(20);

/// Does `work`, and says on stderr every twenty seconds that it is still at it.
pub(crate) fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    during_with(BETWEEN_REMARKS, |watch| eprintln!("      {what}: {watch} so far"), work)
}

fn during_with<T>(between: Duration, mut remark: impl FnMut(&Stopwatch) + Send, work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let watch = Stopwatch::start();
            while wait.recv_timeout(between) == Err(RecvTimeoutError::Timeout) {
                remark(&watch);
            }
        });
        let did = work();
        drop(done);
        did
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_what_is_quick() {
        let mut remarks = 0;
        assert_eq!(during_with(Duration::MAX, |_| remarks += 1, || 7), 7);
        assert_eq!(remarks, 0);
    }

    #[test]
    fn something_is_said_of_what_is_not() {
        let (said, heard) = mpsc::channel();
        let remark = move |_: &Stopwatch| {
            let _nobody_listens_any_more = said.send(());
        };
        during_with(Duration::from_millis(1), remark, || heard.recv()).unwrap();
    }
}
