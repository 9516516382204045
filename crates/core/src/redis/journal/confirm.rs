//! Confirming what was accepted: a mark behind it, on a connection of its own.
//!
//! **Invariant.** What is confirmed was in the server before the write behind which the level was counted, and nothing was lost in
//! between.
//!
//! 1. An accept is answered, over a shared connection. Who asked it joins the line of its level.
//! 2. One worker per level takes all that wait there, on a connection that nobody else uses: a server that is asked to wait answers
//!    nothing else on it. One pipeline asks for all of them.
//! 3. Per shard a script looks whether the shard is still of the incarnation in which it accepted, on this very server: if so, nothing
//!    of it was lost since. It writes the shard's mark. The server's history is one, so all that was answered before lies in front of it.
//! 4. `WAIT` or `WAITAOF` counts from the connection's own last write. Without one of this round, a server from 7.2 on would count
//!    from an old one, and say yes to everything. What it counted is compared with what was asked.
//! 5. Not enough: those whose time is not over wait for the next round, behind a new write.
//!
//! Where an accept's own answer came after its fsync (before 7.2, `appendfsync always`), the same pipeline looks whether that is
//! still so, and writes nothing.
//!
//! The worker ends when nobody waits. Whoever stops waiting has learned nothing; their change stays accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bb8::ManageConnection as _;
use redis::{Pipeline, RedisError, Value};
use tokio::sync::oneshot;

use super::{RedisJournal, judged};
use crate::cache::Declaration;
use crate::error::{Error, Result};
use crate::level::{Confirm, Level, short};
use crate::redis::failure::{Fate, classify, to_error};
use crate::redis::level::{Fsync, Reached, Way, unmet};
use crate::redis::link::Link;
use crate::redis::script::{Form, journal::CONFIRM};
use crate::redis::{PAGE, Redis, whole_millis};
use crate::tasks::until;

/// So many may wait for a level.
const LONGEST_LINE: usize = 10_000;
/// A server that does not get there is asked anew after so long: those who came meanwhile wait no longer for it.
const ROUND: Duration = Duration::from_millis(500);
/// A server looks at its timers ten times a second: so late may a wait in vain be answered.
const LATE: Duration = Duration::from_millis(150);

/// Those who wait, by level.
#[derive(Default)]
pub(in crate::redis) struct Confirms(Mutex<BTreeMap<Level, Line>>);

#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    is_served: bool,
    /// Kept for the next worker.
    link: Option<Link>,
}

struct Waiting {
    of: Vec<Confirm>,
    until: Duration,
    told: oneshot::Sender<Result<()>>,
}

impl Confirms {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<Level, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RedisJournal {
    pub(super) async fn confirm_in_time(&self, level: Level, of: &[Confirm], not_after: Duration) -> Result<()> {
        if level == Level::Memory || of.is_empty() {
            return Ok(());
        }
        let (told, answer) = oneshot::channel();
        let starts = {
            let mut lines = self.redis.shared.confirms.lines();
            let line = lines.entry(level).or_default();
            if line.waiting.len() >= LONGEST_LINE {
                return Err(Error::overloaded("too many accepted changes wait to be confirmed at their level"));
            }
            line.waiting.push(Waiting { of: of.to_vec(), until: not_after, told });
            !std::mem::replace(&mut line.is_served, true)
        };
        let runtime = &self.redis.shared.runtime;
        if starts {
            let worker = Worker { redis: self.redis.clone(), level, link: None, is_over: false };
            runtime.spawn("confirm", Box::pin(worker.run()));
        }
        match until(&**runtime, not_after, answer).await {
            Some(Ok(answer)) => answer,
            // The worker died, or the time is over.
            Some(Err(_)) | None => Err(short()),
        }
    }

    pub(super) async fn not_met(&self, declaration: &Declaration, level: Level) -> Result<Vec<Error>> {
        let deadline = self.redis.deadline();
        let about = self.redis.about(deadline).await?;
        let fsync = if level == Level::LocalFsync { self.fsync(deadline).await? } else { None };
        let mut not_met = about.unmet(declaration);
        not_met.extend(unmet(&about, level, fsync.as_ref()));
        Ok(not_met)
    }

    /// `None` where the server does not tell.
    async fn fsync(&self, deadline: Duration) -> Result<Option<Fsync>> {
        let question = |_: &_| {
            let mut pipeline = Pipeline::with_capacity(1);
            ask_fsync(&mut pipeline);
            pipeline
        };
        match self.redis.exchange(deadline, &question).await?.into_iter().next() {
            Some(Value::ServerError(_)) | None => Ok(None),
            Some(answer) => Fsync::read(answer).map(Some),
        }
    }
}

fn ask_fsync(pipeline: &mut Pipeline) {
    pipeline.cmd("CONFIG").arg("GET").arg(&Fsync::NAMES);
}

/// Serves one line until nobody waits there.
struct Worker {
    redis: Redis,
    level: Level,
    link: Option<Link>,
    /// Nobody waited any more: from then on the line may be another worker's.
    is_over: bool,
}

/// What one pipeline said.
struct Answers {
    /// Of each that was asked for, whether it stands.
    stand: Vec<Result<()>>,
    reached: Reached,
}

impl Worker {
    async fn run(mut self) {
        let redis = self.redis.clone();
        self.link = redis.shared.confirms.lines().get_mut(&self.level).and_then(|line| line.link.take());
        while let Some(group) = self.next() {
            self.round(group).await;
        }
    }

    /// Those who wait, but no more than fit into a pipeline. `None` ends the worker.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut lines = self.redis.shared.confirms.lines();
        let line = lines.get_mut(&self.level)?;
        line.waiting.retain(|waiting| !waiting.told.is_closed());
        if line.waiting.is_empty() {
            line.is_served = false;
            line.link = self.link.take();
            self.is_over = true;
            return None;
        }
        // Of many who wait for one shard, each costs no more than the first.
        let mut asked = BTreeSet::new();
        let fits = |waiting: &&Waiting| {
            asked.extend(waiting.of.iter().cloned());
            asked.len() <= PAGE
        };
        let count = line.waiting.iter().take_while(fits).count().max(1);
        Some(line.waiting.drain(..count).collect())
    }

    async fn round(&mut self, group: Vec<Waiting>) {
        let runtime = self.redis.shared.runtime.clone();
        let all: BTreeSet<&Confirm> = group.iter().flat_map(|waiting| &waiting.of).collect();
        let all: Vec<Confirm> = all.into_iter().cloned().collect();
        let last = group.iter().map(|waiting| waiting.until).max().unwrap_or_default();
        let wait = last.saturating_sub(runtime.now()).clamp(Duration::from_millis(1), ROUND);
        let answers = self.ask(&all, wait).await;
        let now = runtime.now();
        let mut left = Vec::new();
        for waiting in group {
            let answer = match &answers {
                Err(e) => Err(e.clone()),
                Ok(Answers { stand, reached }) => {
                    let mut its = all.iter().zip(stand).filter(|(one, _)| waiting.of.contains(one));
                    match (its.find_map(|(_, stands)| stands.clone().err()), reached) {
                        (Some(e), _) => Err(e),
                        (None, Reached::Yes) => Ok(()),
                        (None, Reached::Never(e)) => Err(Error::unknown(format!("accepted, but not at its level: {e}"))),
                        (None, Reached::NotYet) if waiting.until > now => {
                            left.push(waiting);
                            continue;
                        }
                        (None, Reached::NotYet) => Err(short()),
                    }
                }
            };
            // Nobody may be waiting any more.
            let _ = waiting.told.send(answer);
        }
        if let Some(line) = self.redis.shared.confirms.lines().get_mut(&self.level) {
            // They came first.
            line.waiting.splice(..0, left);
        }
    }

    /// One pipeline. A connection that was cut while it was idle is left, and the question asked again: it changes nothing.
    async fn ask(&mut self, all: &[Confirm], wait: Duration) -> Result<Answers> {
        let shared = self.redis.shared.clone();
        loop {
            let held = self.link.take().filter(Link::is_sound);
            let is_new = held.is_none();
            let link = match held {
                Some(link) => link,
                None => shared.connector.connect().await?,
            };
            let Some(way) = Way::of(self.level, link.release()) else {
                return Ok(Answers { stand: all.iter().map(|_| Ok(())).collect(), reached: Reached::Yes });
            };
            let limit = shared.runtime.now() + wait + LATE + shared.limits.response_timeout;
            let question = self.question(&link, all, way, wait);
            let answers = match until(&*shared.runtime, limit, link.ask(&question)).await {
                // It may have been cut without a word. What it still says is of no use to anybody.
                None if is_new => return Err(short()),
                None => continue,
                Some(answers) => answers.and_then(|answers| if_sound(&link, answers)),
            };
            match answers {
                Ok(answers) => {
                    self.link = Some(link);
                    return understood(way, answers);
                }
                Err(e) if is_new || classify(&e).link == Fate::Keep => return Err(to_error(e)),
                Err(e) => link.settle(classify(&e).link),
            }
        }
    }

    fn question(&self, link: &Link, all: &[Confirm], way: Way, wait: Duration) -> Pipeline {
        let journal = RedisJournal { redis: self.redis.clone() };
        let mut pipeline = Pipeline::with_capacity(all.len() + 1);
        for Confirm { shard, inc } in all {
            let stem = shard.stem();
            let mut cmd = CONFIRM.cmd(Form::Whole);
            cmd.arg(2).arg(journal.part(&stem, "meta")).arg(journal.part(&stem, "mark"));
            cmd.arg(link.identity()).arg(inc.map_or(String::new(), |inc| inc.to_string()));
            cmd.arg(u8::from(way != Way::Always));
            pipeline.add_command(cmd);
        }
        let wait = whole_millis(wait).max(1);
        match way {
            Way::Wait(n) => pipeline.cmd("WAIT").arg(n).arg(wait),
            Way::WaitAof => pipeline.cmd("WAITAOF").arg(1).arg(0).arg(wait),
            Way::Always => {
                ask_fsync(&mut pipeline);
                &mut pipeline
            }
        };
        pipeline
    }
}

/// The answers, unless one of them says that this connection is to be left.
fn if_sound(link: &Link, answers: Vec<Value>) -> std::result::Result<Vec<Value>, RedisError> {
    for answer in &answers {
        if let Value::ServerError(e) = answer {
            let e = RedisError::from(e.clone());
            let fate = classify(&e).link;
            if fate != Fate::Keep {
                link.settle(fate);
                return Err(e);
            }
        }
    }
    Ok(answers)
}

fn understood(way: Way, mut answers: Vec<Value>) -> Result<Answers> {
    let level = way.judge(answers.pop().unwrap_or(Value::Nil))?;
    let stand = answers.into_iter().map(|answer| judged(answer).map(drop)).collect();
    Ok(Answers { stand, reached: level })
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.is_over {
            // It was stopped in the middle: those who wait are not to wait for nobody.
            self.redis.shared.confirms.lines().remove(&self.level);
        }
    }
}
