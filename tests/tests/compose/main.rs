//! docker-compose.yml on a real Docker Engine, with the images that `make images` builds: the cluster comes up, is
//! used from its own containers and from the machine, is measured, loses one part after the other, and goes.

mod administrator;
mod requests;
mod sample;
mod monitoring;
mod failover;

use administrator::Administrator;
use gantry_tests::cluster::{condition, items};
use gantry_tests::docker::{Engine, Leftovers};
use gantry_tests::eventually;
use std::time::{Duration, Instant};

/// The services that run; `init` ends.
const SERVICES: [&str; 12] = [
    "etcd",
    "apiserver-1",
    "apiserver-2",
    "scheduler-1",
    "scheduler-2",
    "controller-manager-1",
    "controller-manager-2",
    "node-1",
    "node-2",
    "node-3",
    "prometheus",
    "cli",
];

/// How long things may take that start containers, on two busy cores.
const SLOW: Duration = Duration::from_secs(90);

#[test]
fn a_cluster_in_containers_serves_through_every_loss_and_leaves_nothing() {
    let engine = match Engine::with_images("compose") {
        Ok(engine) => engine,
        Err(error) => panic!("{error:#}"),
    };
    engine.told_last(|| the_cluster_is_used_and_loses_its_parts(&engine));
}

fn the_cluster_is_used_and_loses_its_parts(engine: &Engine) {
    let administrator = Administrator::new(&engine.access());
    let start = Instant::now();
    engine.must_compose(&["up", "--detach", "--no-build"]);
    println!("up returned after {:?}", start.elapsed());
    every_service_is_healthy(engine);
    three_nodes_are_ready(&administrator);
    println!("the cluster was whole after {:?}", start.elapsed());

    sample::is_applied_from_its_container(engine);
    println!("the sample was rolled out after {:?}", start.elapsed());
    sample::is_served_from_every_node(engine, &administrator);
    sample::has_its_trace_in_the_cluster(&administrator);
    administrator.lists_services_by_reflection();
    println!("the sample was used after {:?}", start.elapsed());
    monitoring::sees_every_component(engine, &administrator);
    println!("all was measured after {:?}", start.elapsed());
    failover::no_request_fails_without_one_of_the_control_plane(engine, &administrator);
    failover::a_killed_nodes_pods_run_elsewhere(engine, &administrator);
    every_service_is_healthy(engine);
    println!(
        "{}",
        engine.must_docker(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"])
    );

    // A node that ended without a chance to clean up must not leave anything either.
    engine.must_docker(&["kill", &engine.container("node-2")]);
    let start = Instant::now();
    engine.must_compose(&["down", "--volumes"]);
    println!("down returned after {:?}", start.elapsed());
    eventually("nothing is left", SLOW, || {
        let left = engine.leftovers();
        (left == Leftovers::default())
            .then_some(())
            .ok_or(format!("{left:?}"))
    });
}

fn every_service_is_healthy(engine: &Engine) {
    let format = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
    eventually("every service is healthy", SLOW, || {
        for service in SERVICES {
            let container = engine.container(service);
            let state = engine.docker(&["inspect", "--format", format, &container]).stdout;
            // The administrator's shell does nothing that could be checked.
            let wanted = if service == "cli" {
                "running"
            } else {
                "running healthy"
            };
            if state.trim() != wanted {
                return Err(format!("{service} is {}", state.trim()));
            }
        }
        Ok(())
    });
}

fn three_nodes_are_ready(administrator: &Administrator) {
    eventually("three nodes are Ready", SLOW, || {
        let nodes = administrator.json(&["get", "nodes"])?;
        let ready = items(&nodes)
            .iter()
            .filter(|node| condition(node, "Ready") == "True")
            .count();
        (ready == 3).then_some(()).ok_or(format!("{ready} are"))
    });
}
