//! `gantry logs`: what a pod's containers have written.

use crate::cluster::{Cluster, Selection};
use crate::failure::Failure;
use crate::output;
use crate::resource;
use crate::session::{Connected, Session};
use crate::span::Span;
use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::SelectAll;
use gantry_proto::api::v1::LogsRequest;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::core::v1::{Pod, Service};
use gantry_proto::meta::v1::{LabelSelector, Time};
use gantry_proto::selector::Selector;
use gantry_proto::{Key, Kind as _};

/// Lines of each container where pods are selected by label and --tail is not given, as kubectl's.
const SELECTED_TAIL: i64 = 10;
/// Names the container that is meant where none is given.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Show what a pod's containers have written
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// POD, or TYPE/NAME of what has pods
    target: Option<String>,
    /// The container, where it is not given by -c
    container_name: Option<String>,
    #[arg(short, long)]
    container: Option<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Of the container's previous run
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines; -1 for all
    #[arg(long, allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..))]
    tail: Option<i64>,
    /// Only what is younger, such as 5s, 2m or 3h
    #[arg(long)]
    since: Option<Span>,
    /// Only what is younger than this time (RFC 3339)
    #[arg(long, conflicts_with = "since", value_parser = parse_time)]
    since_time: Option<Time>,
    /// At most this many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(1..))]
    limit_bytes: Option<i64>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Of all containers
    #[arg(long)]
    all_containers: bool,
    /// Of the pods whose labels match
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    labels: Option<String>,
    /// Start each line with the pod and container
    #[arg(long)]
    prefix: bool,
    /// How many containers may be followed at once
    #[arg(long, default_value_t = 5)]
    max_log_requests: usize,
}

fn parse_time(text: &str) -> Result<Time, String> {
    let time: jiff::Timestamp = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Time {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    })
}

/// What contradicts itself, in kubectl's words.
fn check(arguments: &Arguments) -> Result<(), Failure> {
    let named = arguments.container.as_ref().or(arguments.container_name.as_ref());
    let text = match named {
        Some(name) if arguments.all_containers => {
            format!("--all-containers=true should not be specified with container name {name}")
        }
        Some(_) if arguments.container.is_some() && arguments.container_name.is_some() => {
            "only one of -c or an inline [CONTAINER] arg is allowed".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Failure::message(text))
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    check(&arguments)?;
    let connected = session.connect()?;
    let pods = pods(&arguments, &connected).await?;
    let mut requests = Vec::new();
    for pod in &pods {
        for container in containers(pod, &arguments)? {
            requests.push(request(pod, container, &arguments));
        }
    }
    if arguments.follow && requests.len() > arguments.max_log_requests {
        return Err(Failure::message(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use \
             --max-log-requests to increase the limit",
            requests.len(),
            arguments.max_log_requests
        ))
        .into());
    }
    let several = requests.len() > 1;
    if arguments.follow && several {
        return follow(requests, &arguments, &connected.cluster).await;
    }
    for request in requests {
        let prefix = prefix(&request, &arguments);
        let mut stream = connected.cluster.logs(request).await?;
        let mut lines = Lines::new(prefix);
        while let Some(reply) = stream
            .message()
            .await
            .map_err(|e| Failure::of_call(e, &connected.cluster.server()))?
        {
            output::bytes(&lines.take(&reply.data));
        }
        output::bytes(&lines.rest());
    }
    Ok(())
}

/// Several containers at once: only whole lines are written, so that they do not mix.
async fn follow(requests: Vec<LogsRequest>, arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let mut streams = SelectAll::new();
    let mut lines = Vec::new();
    for (index, request) in requests.into_iter().enumerate() {
        lines.push(Lines {
            whole: true,
            ..Lines::new(prefix(&request, arguments))
        });
        streams.push(cluster.logs(request).await?.map(move |reply| (index, reply)));
    }
    while let Some((index, reply)) = streams.next().await {
        let reply = reply.map_err(|error| Failure::of_call(error, &cluster.server()))?;
        output::bytes(&lines[index].take(&reply.data));
    }
    lines.iter_mut().for_each(|lines| output::bytes(&lines.rest()));
    Ok(())
}

async fn pods(arguments: &Arguments, connected: &Connected) -> Result<Vec<Pod>, Failure> {
    let cluster = &connected.cluster;
    let namespace = connected.namespace.clone();
    match (&arguments.target, &arguments.labels) {
        (Some(_), Some(_)) => Err(Failure::message("only a selector (-l) or a POD name is allowed")),
        (None, None) => Err(Failure::message(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for \
             the logs command",
        )),
        (None, Some(labels)) => {
            let selection = Selection {
                namespace,
                labels: labels.clone(),
                ..Selection::default()
            };
            let pods = cluster.list_as::<Pod>(&selection).await?;
            if pods.is_empty() {
                eprintln!("No resources found in {} namespace.", connected.namespace);
            }
            Ok(pods)
        }
        (Some(target), None) => {
            let (kind, name) = resource::object(std::slice::from_ref(target), Some("pods"))?;
            let key = Key::new(namespace.clone(), name);
            if kind.message == Pod::INFO.message {
                return match cluster.get_as::<Pod>(&key).await {
                    // kubectl says here, and nowhere else, where it has looked.
                    Err(failure) if failure.is_not_found() => Err(Failure::message(format!(
                        "error from server (NotFound): pods \"{}\" not found in namespace \"{}\"",
                        key.name, key.namespace
                    ))),
                    pod => Ok(vec![pod?]),
                };
            }
            let labels = selector_of(kind.kind, &key, cluster).await?;
            let mut pods = cluster
                .list_as::<Pod>(&Selection {
                    namespace,
                    labels,
                    ..Selection::default()
                })
                .await?;
            // As kubectl: the one that is most likely to have something to show.
            pods.sort_by_key(|pod| {
                let ready = pod.status().container_statuses.iter().any(|status| status.ready);
                (
                    pod.status().phase != "Running",
                    !ready,
                    pod.metadata().name.clone(),
                )
            });
            if pods.len() > 1 {
                eprintln!("Found {} pods, using pod/{}", pods.len(), pods[0].metadata().name);
            }
            pods.truncate(1);
            match pods.is_empty() {
                true => Err(Failure::message(format!(
                    "timed out waiting for the condition: {target} has no pods"
                ))),
                false => Ok(pods),
            }
        }
    }
}

async fn selector_of(kind: &str, key: &Key, cluster: &Cluster) -> Result<String, Failure> {
    let text = |selector: Option<&LabelSelector>| {
        let selector = selector.map(Selector::from_label_selector).transpose();
        let selector = selector.map_err(|error| Failure::message(error.to_string()))?;
        selector
            .filter(|selector| !selector.is_empty())
            .map(|selector| selector.to_string())
            .ok_or_else(|| Failure::message(format!("{kind} \"{}\" selects no pods", key.name)))
    };
    match kind {
        "Deployment" => text(cluster.get_as::<Deployment>(key).await?.spec().selector.as_ref()),
        "ReplicaSet" => text(cluster.get_as::<ReplicaSet>(key).await?.spec().selector.as_ref()),
        "Service" => {
            let match_labels = cluster.get_as::<Service>(key).await?.spec().selector.clone();
            text(Some(&LabelSelector {
                match_labels,
                ..LabelSelector::default()
            }))
        }
        other => Err(Failure::message(format!("cannot get the logs from a {other}"))),
    }
}

/// The names of the containers that are meant.
fn containers(pod: &Pod, arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let spec = pod.spec();
    let of = |containers: &[gantry_proto::core::v1::Container]| -> Vec<String> {
        containers
            .iter()
            .map(|container| container.name.clone())
            .collect()
    };
    let (init, main) = (of(&spec.init_containers), of(&spec.containers));
    let all: Vec<String> = init.iter().chain(&main).cloned().collect();
    if arguments.all_containers {
        return Ok(all);
    }
    let name = &pod.metadata().name;
    if let Some(container) = arguments.container.as_ref().or(arguments.container_name.as_ref()) {
        if all.contains(container) {
            return Ok(vec![container.clone()]);
        }
        let hint = match crate::suggest::nearest(container, all.iter().map(String::as_str)) {
            Some(near) => format!(". Did you mean \"{near}\"?"),
            None => format!("; it has: {}", all.join(", ")),
        };
        return Err(Failure::message(format!(
            "container {container} is not valid for pod {name}{hint}"
        )));
    }
    let annotated = pod
        .metadata()
        .annotations
        .get(DEFAULT_CONTAINER)
        .filter(|named| all.contains(named));
    if let Some(container) = annotated {
        return Ok(vec![container.clone()]);
    }
    let Some(first) = main.first() else {
        return Err(Failure::message(format!("pod {name} has no containers")));
    };
    if all.len() > 1 {
        let others = main
            .iter()
            .cloned()
            .chain(init.iter().map(|name| format!("{name} (init)")));
        eprintln!(
            "Defaulted container \"{first}\" out of: {}",
            others.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(vec![first.clone()])
}

fn request(pod: &Pod, container: String, arguments: &Arguments) -> LogsRequest {
    let default_tail = arguments.labels.as_ref().map(|_| SELECTED_TAIL);
    LogsRequest {
        namespace: pod.metadata().namespace.clone(),
        pod: pod.metadata().name.clone(),
        container,
        follow: arguments.follow,
        previous: arguments.previous,
        tail_lines: arguments.tail.or(default_tail).filter(|lines| *lines >= 0),
        // A part of a second counts as a whole one, as for kubectl.
        since_seconds: arguments.since.map(|since| since.0.as_secs_f64().ceil() as i64),
        since_time: arguments.since_time,
        limit_bytes: arguments.limit_bytes,
        timestamps: arguments.timestamps,
    }
}

fn prefix(request: &LogsRequest, arguments: &Arguments) -> String {
    match arguments.prefix {
        true => format!("[pod/{}/{}] ", request.pod, request.container),
        false => String::new(),
    }
}

/// Puts a prefix before each line of a stream that comes in pieces.
struct Lines {
    prefix: String,
    /// Hold back what is not a whole line yet.
    whole: bool,
    unfinished: Vec<u8>,
    at_start: bool,
}

/// A longer line is passed on in parts.
const LONGEST_LINE_BYTES: usize = 1 << 20;

impl Lines {
    fn new(prefix: String) -> Lines {
        Lines {
            prefix,
            whole: false,
            unfinished: Vec::new(),
            at_start: true,
        }
    }

    /// What can be written now.
    fn take(&mut self, data: &[u8]) -> Vec<u8> {
        let mut ready = Vec::new();
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if !self.whole || part.ends_with(b"\n") || self.unfinished.len() > LONGEST_LINE_BYTES {
                self.release(&mut ready);
            }
        }
        ready
    }

    /// What is left when the stream has ended.
    fn rest(&mut self) -> Vec<u8> {
        let mut ready = Vec::new();
        if !self.unfinished.is_empty() {
            self.release(&mut ready);
        }
        ready
    }

    fn release(&mut self, ready: &mut Vec<u8>) {
        if self.at_start {
            ready.extend_from_slice(self.prefix.as_bytes());
        }
        self.at_start = self.unfinished.ends_with(b"\n");
        ready.append(&mut self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_prefix_however_the_stream_is_cut() {
        let check = |whole: bool, pieces: &[&str], expected: &[&str]| {
            let mut lines = Lines {
                whole,
                ..Lines::new("> ".into())
            };
            let mut written: Vec<String> = pieces
                .iter()
                .map(|piece| String::from_utf8(lines.take(piece.as_bytes())).unwrap())
                .collect();
            written.push(String::from_utf8(lines.rest()).unwrap());
            assert_eq!(written, expected);
        };
        check(false, &["a\nb", "c\nd"], &["> a\n> b", "c\n> d", ""]);
        check(true, &["a\nb", "c\nd"], &["> a\n", "> bc\n", "> d"]);
        check(true, &["\n\n"], &["> \n> \n", ""]);
    }
}
