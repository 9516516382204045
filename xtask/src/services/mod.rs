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

pub(crate) use given::clear;

pub(crate) struct Services {
    redis: Option<RedisSource>,
    postgres: Option<PostgresSource>,
}

enum RedisSource {
    Given(given::Prefix),
    Private { server: Redis, binary: PathBuf, prefix: String },
}

enum PostgresSource {
    Given(given::Database),
    Private { server: Postgres, bin: PathBuf },
}

impl Services {
    /// Finds or starts both; `install` allows the system's package manager.
    pub(crate) fn start(install: bool) -> Result<Self> {
        println!("==> services");
        let name = format!("writeway_{:012x}", fastrand::u64(..1 << 48));
        let urls = (url("REDIS_URL"), url("DATABASE_URL"));
        let mut found = (find::redis(), find::postgres());
        let missing = (urls.0.is_none() && found.0.is_none(), urls.1.is_none() && found.1.is_none());
        if install && (missing.0 || missing.1) {
            install::install(missing.0, missing.1)?;
            found = (find::redis(), find::postgres());
            if (missing.0 && found.0.is_none()) || (missing.1 && found.1.is_none()) {
                bail!("what the package manager installed is not found, or too old: Redis must be 7 or later");
            }
        }
        let redis = match (urls.0, found.0) {
            (Some(url), _) => Some(given_redis(url, &name)?),
            (None, Some(binary)) => Some(private_redis(binary, name.clone())?),
            (None, None) => None,
        };
        interrupt::check()?;
        let postgres = match (urls.1, found.1) {
            (Some(url), _) => Some(given_postgres(&url, &name)?),
            (None, Some(bin)) => Some(private_postgres(bin)?),
            (None, None) => None,
        };
        interrupt::check()?;
        let services = Self { redis, postgres };
        for what in services.missing() {
            println!("      {what}: none");
        }
        Ok(services)
    }

    /// What could be had neither way.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let redis = self.redis.is_none().then_some("Redis");
        let postgres = self.postgres.is_none().then_some("PostgreSQL");
        redis.into_iter().chain(postgres).collect()
    }

    /// What tests read. `WRITEWAY_REDIS_SERVER` and `WRITEWAY_PG_BIN` are there only for private servers: a fault test
    /// starts one more of its own from them.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = Vec::new();
        match &self.redis {
            Some(RedisSource::Given(given)) => {
                env.push(("REDIS_URL", given.url.clone()));
                env.push(("WRITEWAY_PREFIX", given.name.clone()));
            }
            Some(RedisSource::Private { server, binary, prefix }) => {
                env.push(("REDIS_URL", server.url()));
                env.push(("WRITEWAY_PREFIX", prefix.clone()));
                env.push(("WRITEWAY_REDIS_SERVER", binary.display().to_string()));
            }
            None => {}
        }
        match &self.postgres {
            Some(PostgresSource::Given(given)) => env.push(("DATABASE_URL", given.url.clone())),
            Some(PostgresSource::Private { server, bin }) => {
                env.push(("DATABASE_URL", server.url()));
                env.push(("WRITEWAY_PG_BIN", bin.display().to_string()));
                env.extend(server.user().map(|user| ("WRITEWAY_PG_USER", user.to_owned())));
            }
            None => {}
        }
        env
    }
}

/// An empty variable is none: that is how a CI matrix says so.
fn url(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|url| !url.is_empty())
}

fn given_redis(url: String, name: &str) -> Result<RedisSource> {
    let given = given::Prefix::new(url, name)?;
    println!("      Redis: the one that REDIS_URL names, keys under {name}");
    Ok(RedisSource::Given(given))
}

fn given_postgres(url: &str, name: &str) -> Result<PostgresSource> {
    let given = given::Database::new(url, name)?;
    println!("      PostgreSQL: the one that DATABASE_URL names, in a database {name}");
    Ok(PostgresSource::Given(given))
}

fn private_redis(binary: PathBuf, prefix: String) -> Result<RedisSource> {
    let watch = Stopwatch::start();
    let server = Redis::start(&binary)?;
    say_private("Redis", server.port(), &binary, &watch);
    Ok(RedisSource::Private { server, binary, prefix })
}

fn private_postgres(bin: PathBuf) -> Result<PostgresSource> {
    let watch = Stopwatch::start();
    let server = Postgres::start(&bin)?;
    say_private("PostgreSQL", server.port(), &bin, &watch);
    Ok(PostgresSource::Private { server, bin })
}

fn say_private(what: &str, port: u16, from: &Path, watch: &Stopwatch) {
    println!("      {what}: a private one from {}, on port {port} of this machine only, ready in {watch}", from.display());
}
