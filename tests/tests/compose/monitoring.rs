//! Prometheus scrapes every component, and what Grafana and the alerts ask for is measured.

use crate::SLOW;
use crate::administrator::Administrator;
use gantry_tests::cluster::root;
use gantry_tests::docker::Engine;
use gantry_tests::eventually;
use serde_json::Value;
use std::collections::BTreeSet;

const PROMETHEUS: &str = "http://127.0.0.1:9090/api/v1";

/// Scrape jobs, and how many processes each has.
const TARGETS: [(&str, usize); 7] = [
    ("apiserver", 2),
    ("scheduler", 2),
    ("controller-manager", 2),
    ("node-agent", 3),
    ("proxy", 3),
    ("etcd", 1),
    ("prometheus", 1),
];

/// Words of a query with an underscore that name no metric.
const OTHER_WORDS: [&str; 1] = ["histogram_quantile"];

/// Its image is nowhere: what a node cannot do is counted from the first time on.
const IMPOSSIBLE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: impossible}
spec:
  containers: [{name: c, image: 'nowhere.invalid/impossible:1'}]
";

pub fn sees_every_component(engine: &Engine, administrator: &Administrator) {
    administrator.apply(engine, IMPOSSIBLE);
    every_target_is_up(administrator);
    every_panel_shows_something(administrator);
    every_alert_asks_for_what_is_measured(administrator);
}

fn every_target_is_up(administrator: &Administrator) {
    eventually("Prometheus reaches every target", SLOW, || {
        let targets = administrator.page(&format!("{PROMETHEUS}/targets"), "state=active")?;
        let active = targets["data"]["activeTargets"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if let Some(down) = active.iter().find(|target| target["health"] != "up") {
            return Err(format!(
                "{} is {}: {}",
                down["scrapeUrl"], down["health"], down["lastError"]
            ));
        }
        for (job, wanted) in TARGETS {
            let found = active
                .iter()
                .filter(|target| target["labels"]["job"] == job)
                .count();
            if found != wanted {
                return Err(format!("{found} targets of {job}, {wanted} are wanted"));
            }
        }
        Ok(())
    });
}

fn every_panel_shows_something(administrator: &Administrator) {
    let queries = panel_queries();
    assert!(queries.len() > 20, "{} queries", queries.len());
    for (panel, query) in queries {
        // A rate needs two scrapes.
        eventually(&format!("the panel {panel:?} shows something"), SLOW, || {
            let answer = administrator.page(&format!("{PROMETHEUS}/query"), &format!("query={query}"))?;
            let results = answer["data"]["result"].as_array().map_or(0, Vec::len);
            (results > 0).then_some(()).ok_or(format!("{query}: {answer}"))
        });
    }
}

/// The title and the query of each panel of the dashboard.
fn panel_queries() -> Vec<(String, String)> {
    let path = root().join("deploy/grafana/dashboards/gantry.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let dashboard: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    queries
}

fn every_alert_asks_for_what_is_measured(administrator: &Administrator) {
    let page = |path: &str| -> Result<Value, String> {
        let answer = administrator.page(&format!("{PROMETHEUS}/{path}"), "unused=")?;
        Ok(answer["data"].clone())
    };
    eventually("every alert's metrics are measured", SLOW, || {
        let names = page("label/__name__/values")?;
        let names: BTreeSet<&str> = names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let groups = page("rules")?;
        let groups = groups["groups"].as_array().into_iter().flatten();
        let rules: Vec<&Value> = groups
            .filter_map(|group| group["rules"].as_array())
            .flatten()
            .collect();
        if rules.is_empty() {
            return Err("no alert is loaded".into());
        }
        for rule in rules {
            if rule["health"] == "err" {
                return Err(rule.to_string());
            }
            let query = rule["query"].as_str().unwrap_or_default();
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let mut metrics = words.filter(|word| word.contains('_') && !OTHER_WORDS.contains(word));
            if let Some(metric) = metrics.find(|metric| !names.contains(metric)) {
                return Err(format!(
                    "{} asks for {metric}, which nothing measures",
                    rule["name"]
                ));
            }
        }
        Ok(())
    });
}
