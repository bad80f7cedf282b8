use super::text::{Text, boolean, time};
use super::volumes;
use crate::aligned::tabbed;
use gantry_proto::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStatus, EnvFromSource, EnvVar, PodTemplateSpec, Probe,
    ResourceRequirements, Toleration,
};
use gantry_proto::meta::v1::Quantity;
use std::collections::BTreeMap;

/// A pod template alone, laid out.
pub fn template(template: &PodTemplateSpec) -> String {
    let mut text = Text::default();
    describe_template(template, &mut text);
    tabbed(&text.text, super::PADDING)
}

pub fn describe_template(template: &PodTemplateSpec, text: &mut Text) {
    let spec = template.spec();
    text.line(0, format_args!("Pod Template:"));
    text.labels(1, "Labels", &template.metadata().labels);
    if !template.metadata().annotations.is_empty() {
        text.annotations(1, "Annotations", &template.metadata().annotations);
    }
    if !spec.service_account_name.is_empty() {
        text.line(1, format_args!("Service Account:\t{}", spec.service_account_name));
    }
    let inner = Place {
        indent: "  ",
        name_indent: " ",
    };
    if !spec.init_containers.is_empty() {
        describe("Init Containers", &spec.init_containers, &[], &inner, text);
    }
    describe("Containers", &spec.containers, &[], &inner, text);
    volumes::describe(&spec.volumes, &inner, text);
    if !spec.priority_class_name.is_empty() {
        text.line(
            1,
            format_args!("Priority Class Name:\t{}", spec.priority_class_name),
        );
    }
    text.labels(1, "Node-Selectors", &spec.node_selector);
    text.list(
        1,
        "Tolerations",
        &spec.tolerations.iter().map(toleration).collect::<Vec<_>>(),
    );
}

/// Where a section stands: in a pod, or one level in, in a template.
pub struct Place {
    pub indent: &'static str,
    pub name_indent: &'static str,
}

pub const IN_POD: Place = Place {
    indent: "",
    name_indent: "",
};

pub fn describe(
    title: &str,
    containers: &[Container],
    statuses: &[ContainerStatus],
    place: &Place,
    text: &mut Text,
) {
    let none = if containers.is_empty() { " <none>" } else { "" };
    text.line(0, format_args!("{}{title}:{none}", place.indent));
    for container in containers {
        let status = statuses.iter().find(|status| status.name == container.name);
        text.line(1, format_args!("{}{}:", place.name_indent, container.name));
        basics(container, status, text);
        lines("Command", &container.command, text);
        lines("Args", &container.args, text);
        if let Some(status) = status {
            state("State", status.state(), text);
            if status.last_state().terminated.is_some() {
                state("Last State", status.last_state(), text);
            }
            text.line(2, format_args!("Ready:\t{}", boolean(status.ready)));
            text.line(2, format_args!("Restart Count:\t{}", status.restart_count));
        }
        resources(container.resources(), text);
        let probes = [
            ("Liveness", &container.liveness_probe),
            ("Readiness", &container.readiness_probe),
            ("Startup", &container.startup_probe),
        ];
        for (name, probe) in probes {
            if let Some(probe) = probe {
                text.line(2, format_args!("{name}:\t{}", shown_probe(probe)));
            }
        }
        environment(container, text);
        mounts(container, text);
    }
}

fn basics(container: &Container, status: Option<&ContainerStatus>, text: &mut Text) {
    if let Some(status) = status {
        text.line(2, format_args!("Container ID:\t{}", status.container_id));
    }
    text.line(2, format_args!("Image:\t{}", container.image));
    if let Some(status) = status {
        text.line(2, format_args!("Image ID:\t{}", status.image_id));
    }
    ports("Port", &container.ports, |port| port.container_port, text);
    ports("Host Port", &container.ports, |port| port.host_port, text);
}

fn ports(title: &str, ports: &[ContainerPort], number: fn(&ContainerPort) -> i32, text: &mut Text) {
    let shown: Vec<String> = ports
        .iter()
        .map(|port| format!("{}/{}", number(port), port.protocol))
        .collect();
    match shown.len() {
        0 => text.line(2, format_args!("{title}:\t<none>")),
        1 => text.line(2, format_args!("{title}:\t{}", shown[0])),
        _ => text.line(2, format_args!("{title}s:\t{}", shown.join(", "))),
    }
}

fn lines(title: &str, words: &[String], text: &mut Text) {
    if words.is_empty() {
        return;
    }
    text.line(2, format_args!("{title}:"));
    words
        .iter()
        .flat_map(|word| word.split('\n'))
        .for_each(|line| text.line(3, format_args!("{line}")));
}

fn state(title: &str, state: &ContainerState, text: &mut Text) {
    if let Some(running) = &state.running {
        text.line(2, format_args!("{title}:\tRunning"));
        text.line(3, format_args!("Started:\t{}", time(running.started_at.as_ref())));
    } else if let Some(terminated) = &state.terminated {
        text.line(2, format_args!("{title}:\tTerminated"));
        if !terminated.reason.is_empty() {
            text.line(3, format_args!("Reason:\t{}", terminated.reason));
        }
        if !terminated.message.is_empty() {
            text.line(3, format_args!("Message:\t{}", terminated.message));
        }
        text.line(3, format_args!("Exit Code:\t{}", terminated.exit_code));
        if terminated.signal > 0 {
            text.line(3, format_args!("Signal:\t{}", terminated.signal));
        }
        text.line(
            3,
            format_args!("Started:\t{}", time(terminated.started_at.as_ref())),
        );
        text.line(
            3,
            format_args!("Finished:\t{}", time(terminated.finished_at.as_ref())),
        );
    } else {
        text.line(2, format_args!("{title}:\tWaiting"));
        if let Some(waiting) = state
            .waiting
            .as_ref()
            .filter(|waiting| !waiting.reason.is_empty())
        {
            text.line(3, format_args!("Reason:\t{}", waiting.reason));
        }
    }
}

fn resources(resources: &ResourceRequirements, text: &mut Text) {
    let mut amounts = |title: &str, amounts: &BTreeMap<String, Quantity>| {
        if !amounts.is_empty() {
            text.line(2, format_args!("{title}:"));
        }
        amounts
            .iter()
            .for_each(|(name, amount)| text.line(3, format_args!("{name}:\t{}", amount.string)));
    };
    amounts("Limits", &resources.limits);
    amounts("Requests", &resources.requests);
}

pub fn shown_probe(probe: &Probe) -> String {
    let handler = probe.handler();
    let what = if let Some(exec) = &handler.exec {
        format!("exec [{}]", exec.command.join(" "))
    } else if let Some(http) = &handler.http_get {
        let scheme = http.scheme.to_lowercase();
        let scheme = if scheme.is_empty() { "http" } else { &scheme };
        format!("http-get {scheme}://{}:{}{}", http.host, http.port(), http.path)
    } else if let Some(tcp) = &handler.tcp_socket {
        format!("tcp-socket {}:{}", tcp.host, tcp.port())
    } else if let Some(grpc) = &handler.grpc {
        format!(
            "grpc <pod>:{} {}",
            grpc.port,
            grpc.service.as_deref().unwrap_or_default()
        )
    } else {
        "unknown".into()
    };
    format!(
        "{what} delay={}s timeout={}s period={}s #success={} #failure={}",
        probe.initial_delay_seconds,
        probe.timeout_seconds,
        probe.period_seconds,
        probe.success_threshold,
        probe.failure_threshold
    )
}

fn environment(container: &Container, text: &mut Text) {
    if !container.env_from.is_empty() {
        text.line(2, format_args!("Environment Variables from:"));
        container
            .env_from
            .iter()
            .for_each(|source| env_from(source, text));
    }
    let none = if container.env.is_empty() { "\t<none>" } else { "" };
    text.line(2, format_args!("Environment:{none}"));
    container
        .env
        .iter()
        .for_each(|variable| variable_line(variable, text));
}

fn env_from(source: &EnvFromSource, text: &mut Text) {
    let (from, name, optional) = if let Some(config_map) = &source.config_map_ref {
        (
            "ConfigMap",
            &config_map.local_object_reference().name,
            config_map.optional,
        )
    } else if let Some(secret) = &source.secret_ref {
        ("Secret", &secret.local_object_reference().name, secret.optional)
    } else {
        return;
    };
    let prefix = match source.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" with prefix '{prefix}'"),
    };
    text.line(
        3,
        format_args!("{name}\t{from}{prefix}\tOptional: {}", optional.unwrap_or(false)),
    );
}

fn variable_line(variable: &EnvVar, text: &mut Text) {
    let name = &variable.name;
    let Some(source) = &variable.value_from else {
        let mut lines = variable.value.split('\n');
        text.line(3, format_args!("{name}:\t{}", lines.next().unwrap_or_default()));
        return lines.for_each(|line| text.line(3, format_args!("\t{line}")));
    };
    if let Some(field) = &source.field_ref {
        text.line(
            3,
            format_args!("{name}:\t ({}:{})", field.api_version, field.field_path),
        );
    } else if let Some(resource) = &source.resource_field_ref {
        text.line(3, format_args!("{name}:\t ({})", resource.resource));
    } else if let Some(key) = &source.secret_key_ref {
        let secret = &key.local_object_reference().name;
        let optional = key.optional.unwrap_or(false);
        text.line(
            3,
            format_args!(
                "{name}:\t<set to the key '{}' in secret '{secret}'>\tOptional: {optional}",
                key.key
            ),
        );
    } else if let Some(key) = &source.config_map_key_ref {
        let config_map = &key.local_object_reference().name;
        let optional = key.optional.unwrap_or(false);
        text.line(
            3,
            format_args!(
                "{name}:\t<set to the key '{}' of config map '{config_map}'>\tOptional: {optional}",
                key.key
            ),
        );
    }
}

fn mounts(container: &Container, text: &mut Text) {
    let none = if container.volume_mounts.is_empty() {
        "\t<none>"
    } else {
        ""
    };
    text.line(2, format_args!("Mounts:{none}"));
    let mut mounts: Vec<_> = container.volume_mounts.iter().collect();
    mounts.sort_by_key(|mount| &mount.mount_path);
    for mount in mounts {
        let mut flags = if mount.read_only { "ro" } else { "rw" }.to_string();
        if !mount.sub_path.is_empty() {
            flags.push_str(&format!(",path={:?}", mount.sub_path));
        }
        text.line(
            3,
            format_args!("{} from {} ({flags})", mount.mount_path, mount.name),
        );
    }
}

/// As kubectl: `key=value:Effect op=Exists for 300s`.
pub fn toleration(toleration: &Toleration) -> String {
    let mut text = toleration.key.clone();
    if !toleration.value.is_empty() {
        text.push_str(&format!("={}", toleration.value));
    }
    if !toleration.effect.is_empty() {
        text.push_str(&format!(":{}", toleration.effect));
    }
    if toleration.operator == "Exists" && toleration.value.is_empty() {
        let space = if toleration.key.is_empty() && toleration.effect.is_empty() {
            ""
        } else {
            " "
        };
        text.push_str(&format!("{space}op=Exists"));
    }
    if let Some(seconds) = toleration.toleration_seconds {
        text.push_str(&format!(" for {seconds}s"));
    }
    text
}
