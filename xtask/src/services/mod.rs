//! Where Redis and PostgreSQL come from: given by URL, found on the machine, installed, or not at all.
//!
//! Each of the two is settled for itself, in that order, and the run says what it took. All of it is gone when [`Services`] is
//! dropped or the run dies: processes, directories, and what was made in servers that were given.

mod find;
mod given;
mod install;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use writeway_testkit::servers::{Postgres, Redis};

use crate::clock::Stopwatch;
use crate::interrupt;
use crate::progress;

pub(crate) use given::clear;

pub(crate) struct Services {
    redis: Option<RedisSource>,
    postgres: Option<PostgresSource>,
    /// Also beside a given one: fault tests stop and freeze servers of their own.
    binaries: Binaries,
}

/// What was found on the machine.
pub(crate) struct Binaries {
    /// `redis-server` or `valkey-server`.
    pub(crate) redis: Option<PathBuf>,
    /// The directory of `initdb` and `postgres`.
    pub(crate) postgres: Option<PathBuf>,
}

enum RedisSource {
    Given(given::Prefix),
    Private { server: Redis, prefix: String },
}

enum PostgresSource {
    Given(given::Database),
    Private(Postgres),
}

impl Services {
    /// Finds or starts both; `install` allows the system's package manager.
    pub(crate) fn start(install: bool) -> Result<Self> {
        println!("==> services");
        let name = format!("writeway_{:012x}", fastrand::u64(..1 << 48));
        let (redis_url, postgres_url) = (url("REDIS_URL"), url("DATABASE_URL"));
        let binaries = Binaries::find(install, redis_url.is_none(), postgres_url.is_none())?;
        let redis = match (redis_url, &binaries.redis) {
            (Some(url), _) => Some(given_redis(url, &name)?),
            (None, Some(binary)) => Some(private_redis(binary, name.clone())?),
            (None, None) => None,
        };
        interrupt::check()?;
        let postgres = match (postgres_url, &binaries.postgres) {
            (Some(url), _) => Some(given_postgres(&url, &name)?),
            (None, Some(bin)) => Some(private_postgres(bin)?),
            (None, None) => None,
        };
        interrupt::check()?;
        let services = Self { redis, postgres, binaries };
        for what in services.missing() {
            println!("      {what}: none");
        }
        Ok(services)
    }

    /// What could be had neither way.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        absent(self.redis.is_none(), self.postgres.is_none())
    }

    /// Of what there is no binary here, so that a fault test cannot start one of its own.
    pub(crate) fn not_startable(&self) -> Vec<&'static str> {
        self.binaries.missing()
    }

    /// What tests read.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = Vec::new();
        if let Some(source) = &self.redis {
            let (url, prefix) = match source {
                RedisSource::Given(given) => (given.url.clone(), &given.name),
                RedisSource::Private { server, prefix } => (server.url(), prefix),
            };
            env.extend([("REDIS_URL", url), ("WRITEWAY_PREFIX", prefix.clone())]);
        }
        match &self.postgres {
            Some(PostgresSource::Given(given)) => env.push(("DATABASE_URL", given.url.clone())),
            Some(PostgresSource::Private(server)) => {
                env.push(("DATABASE_URL", server.url()));
                env.extend(server.user().map(|user| ("WRITEWAY_PG_USER", user.to_owned())));
            }
            None => {}
        }
        env.extend(self.binaries.redis.iter().map(|binary| ("WRITEWAY_REDIS_SERVER", binary.display().to_string())));
        env.extend(self.binaries.postgres.iter().map(|bin| ("WRITEWAY_PG_BIN", bin.display().to_string())));
        env
    }
}

impl Binaries {
    /// Looks for both; with `install`, gets those that are needed and not there from the system's package manager.
    pub(crate) fn find(install: bool, need_redis: bool, need_postgres: bool) -> Result<Self> {
        let look = || Self { redis: find::redis(), postgres: find::postgres() };
        let found = look();
        let (redis, postgres) = (need_redis && found.redis.is_none(), need_postgres && found.postgres.is_none());
        if !install || !(redis || postgres) {
            return Ok(found);
        }
        install::install(redis, postgres)?;
        let found = look();
        if (redis && found.redis.is_none()) || (postgres && found.postgres.is_none()) {
            bail!("what the package manager installed is not found, or too old: Redis must be 7 or later");
        }
        Ok(found)
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        absent(self.redis.is_none(), self.postgres.is_none())
    }
}

fn absent(redis: bool, postgres: bool) -> Vec<&'static str> {
    [(redis, "Redis"), (postgres, "PostgreSQL")].into_iter().filter_map(|(absent, name)| absent.then_some(name)).collect()
}

/// An empty variable is none: that is how a CI matrix says so.
fn url(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|url| !url.is_empty())
}

fn given_redis(url: String, name: &str) -> Result<RedisSource> {
    let given = progress::during("connecting to REDIS_URL", || given::Prefix::new(url, name))?;
    println!("      Redis: the one that REDIS_URL names, keys under {name}");
    Ok(RedisSource::Given(given))
}

fn given_postgres(url: &str, name: &str) -> Result<PostgresSource> {
    let given = progress::during("connecting to DATABASE_URL", || given::Database::new(url, name))?;
    println!("      PostgreSQL: the one that DATABASE_URL names, in a database {name}");
    Ok(PostgresSource::Given(given))
}

fn private_redis(binary: &Path, prefix: String) -> Result<RedisSource> {
    let watch = Stopwatch::start();
    let server = Redis::start(binary)?;
    say_private("Redis", server.port(), binary, &watch);
    Ok(RedisSource::Private { server, prefix })
}

fn private_postgres(bin: &Path) -> Result<PostgresSource> {
    let watch = Stopwatch::start();
    let server = progress::during("starting PostgreSQL", || Postgres::start(bin))?;
    say_private("PostgreSQL", server.port(), bin, &watch);
    Ok(PostgresSource::Private(server))
}

fn say_private(what: &str, port: u16, from: &Path, watch: &Stopwatch) {
    println!("      {what}: a private one from {}, on port {port} of this machine only, ready in {watch}", from.display());
}
