//! Rules about what others run for us: the workflows, and the servers of the compose file that the nightly run uses.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::{Map, Value};

use super::{Complaints, Project};
use crate::ci::Job;

const COMPOSE: &str = "docker/compose.yaml";
const WORKFLOWS: &str = ".github/workflows/";

pub(super) fn complaints(project: &Project) -> Complaints {
    let mut complaints = Vec::new();
    let mut workflows = Vec::new();
    let mut compose = None;
    for (path, text) in project.with_extension("yml").chain(project.with_extension("yaml")) {
        match parse(text) {
            Err(error) => complaints.push(format!("{path}: {error:#}")),
            Ok(value) if path == COMPOSE => compose = Some(value),
            Ok(value) if path.starts_with(WORKFLOWS) => workflows.push((path, value)),
            Ok(_) => {}
        }
    }
    if let Some(compose) = &compose {
        complaints.extend(services(compose));
        complaints.extend(workflows.iter().flat_map(|(path, workflow)| other_servers(path, workflow, &urls(compose))));
        let text = project.text(COMPOSE).unwrap_or_default();
        let unnamed = urls(compose).into_iter().filter(|(name, url)| !text.contains(&format!("{name}={url}")));
        complaints.extend(unnamed.map(|(name, url)| format!("{COMPOSE}: its comment must say {name}={url}")));
        let used = workflows.iter().flat_map(|(_, workflow)| commands(workflow)).any(|run| run.contains(COMPOSE));
        if !used {
            complaints.push(format!("{WORKFLOWS}: no workflow uses {COMPOSE}"));
        }
    }
    if !workflows.is_empty() {
        complaints.extend(jobs_not_run(&workflows));
    }
    complaints
}

/// Every service: an image of a stated version, loopback ports only, and a way to tell when it is ready.
fn services(compose: &Value) -> Complaints {
    let mut complaints = Vec::new();
    for (name, service) in object(&compose["services"]) {
        let image = service["image"].as_str().unwrap_or_default();
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
        if tag.is_none_or(|tag| !tag.contains(|c: char| c.is_ascii_digit())) {
            complaints.push(format!("{COMPOSE}: {name}: the image must have a tag that names a version, not {image:?}"));
        }
        if service["healthcheck"]["test"].is_null() {
            complaints.push(format!("{COMPOSE}: {name}: has no healthcheck"));
        }
        let ports: Vec<_> = list(&service["ports"]).collect();
        if ports.is_empty() || !ports.iter().all(|port| port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:"))) {
            complaints.push(format!("{COMPOSE}: {name}: its ports must be of the form \"127.0.0.1:HERE:THERE\""));
        }
    }
    complaints
}

/// What the variables must say for the servers of the compose file.
fn urls(compose: &Value) -> [(&'static str, String); 2] {
    let services = &compose["services"];
    let port = |service: &str| {
        let port = list(&services[service]["ports"]).next().and_then(Value::as_str).and_then(|port| port.split(':').nth(1));
        port.unwrap_or_default().to_owned()
    };
    let said = |name: &str| services["postgres"]["environment"][name].as_str().unwrap_or_default();
    let (user, password, database) = (said("POSTGRES_USER"), said("POSTGRES_PASSWORD"), said("POSTGRES_DB"));
    [
        ("REDIS_URL", format!("redis://127.0.0.1:{}/", port("redis"))),
        ("DATABASE_URL", format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", port("postgres"))),
    ]
}

/// Server variables in a workflow that lead elsewhere.
fn other_servers(path: &str, workflow: &Value, urls: &[(&str, String)]) -> Complaints {
    let mut complaints = Vec::new();
    walk(workflow, &mut |object| {
        for (name, url) in urls {
            if let Some(found) = object.get(*name).filter(|found| found.as_str() != Some(url)) {
                complaints.push(format!("{path}: {name} is {found}, but {COMPOSE} makes it {url}"));
            }
        }
    });
    complaints
}

/// Jobs of `cargo xtask ci` that no workflow runs: by name, or by `matrix.job`. `.ci/run` is the integration run.
fn jobs_not_run(workflows: &[(&str, Value)]) -> Complaints {
    let mut run = BTreeSet::new();
    for (_, workflow) in workflows {
        for command in commands(workflow) {
            let job = command.split_once("cargo xtask ci ").and_then(|(_, rest)| rest.split_whitespace().next());
            run.extend(job.map(str::to_owned));
            run.extend(command.contains(".ci/run").then(|| "itest".to_owned()));
        }
        for (_, job) in object(&workflow["jobs"]) {
            run.extend(list(&job["strategy"]["matrix"]["job"]).filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let jobs = Job::value_variants().iter().filter_map(|job| Some(job.to_possible_value()?.get_name().to_owned()));
    jobs.filter(|job| !run.contains(job)).map(|job| format!("{WORKFLOWS}: no workflow runs `cargo xtask ci {job}`")).collect()
}

/// All `run:` of a workflow.
fn commands(workflow: &Value) -> Vec<&str> {
    let steps = object(&workflow["jobs"]).flat_map(|(_, job)| list(&job["steps"]));
    steps.filter_map(|step| step["run"].as_str()).collect()
}

fn walk(value: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| walk(value, visit));
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

pub(super) fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// One document, with every scalar as its text, for that is all that is asked of it.
pub(super) fn parse(text: &str) -> Result<Value> {
    let documents = Yaml::load_from_str(text).context("is no YAML")?;
    let [document] = &documents[..] else { anyhow::bail!("holds {} documents, and should be one", documents.len()) };
    Ok(plain(document))
}

fn plain(yaml: &Yaml<'_>) -> Value {
    if let Some(mapping) = yaml.as_mapping() {
        return mapping.iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), plain(value))).collect();
    }
    if let Some(sequence) = yaml.as_sequence() {
        return sequence.iter().map(plain).collect();
    }
    if let Some(number) = yaml.as_integer() {
        return number.into();
    }
    yaml.as_str().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
# REDIS_URL=redis://127.0.0.1:1/ DATABASE_URL=postgres://u:p@127.0.0.1:2/d
services:
  redis:
    image: redis:7.4.1-alpine
    ports: ["127.0.0.1:1:6379"]
    healthcheck: { test: ["CMD", "redis-cli", "ping"] }
  postgres:
    image: example.org:5000/postgres:17.2
    environment: { POSTGRES_USER: u, POSTGRES_PASSWORD: p, POSTGRES_DB: d }
    ports: ["127.0.0.1:2:5432"]
    healthcheck: { test: ["CMD", "pg_isready"] }
"#;

    fn workflow() -> String {
        let jobs: Vec<_> = Job::value_variants().iter().filter_map(|job| job.to_possible_value()).collect();
        let jobs: Vec<_> = jobs.iter().map(|job| job.get_name()).collect();
        let matrix = format!("jobs:\n  gate:\n    strategy: {{ matrix: {{ job: [{}] }} }}\n", jobs.join(", "));
        matrix
            + "    env:\n      REDIS_URL: redis://127.0.0.1:1/\n      DATABASE_URL: postgres://u:p@127.0.0.1:2/d\n"
            + "    steps:\n      - run: docker compose -f docker/compose.yaml up --wait\n"
    }

    fn complain(compose: &str, workflow: &str) -> Complaints {
        let files = [(COMPOSE, compose), (".github/workflows/ci.yml", workflow)];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).to_vec();
        complaints(&Project { root: "".into(), files })
    }

    #[test]
    fn services_have_a_version_a_healthcheck_and_loopback_ports() {
        assert_eq!(complain(GOOD, &workflow()), Complaints::new());
        for (from, to) in [
            ("redis:7.4.1-alpine", "redis:latest"),
            ("redis:7.4.1-alpine", "redis"),
            ("/postgres:17.2", "/postgres"),
            ("healthcheck: { test: [\"CMD\", \"pg_isready\"] }", "restart: never"),
            ("127.0.0.1:1:6379", "0.0.0.0:1:6379"),
            ("services:", "services: ["),
        ] {
            assert_ne!(complain(&GOOD.replace(from, to), &workflow()), Complaints::new(), "{to}");
        }
    }

    #[test]
    fn workflows_lead_to_the_servers_of_the_compose_file() {
        for (from, to) in [("127.0.0.1:1/", "127.0.0.1:9/"), ("u:p@", "u:q@"), ("docker/compose.yaml", "compose.yaml")] {
            assert_eq!(complain(GOOD, &workflow().replace(from, to)).len(), 1, "{to}");
        }
        assert_eq!(complain(&GOOD.replace("# REDIS_URL", "#"), &workflow()).len(), 1);
    }

    #[test]
    fn every_job_is_run_by_some_workflow() {
        assert_eq!(complain(GOOD, &workflow().replace("fmt, ", "")).len(), 1);
    }
}
