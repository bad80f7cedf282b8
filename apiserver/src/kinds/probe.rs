//! Probes and lifecycle hooks.

use super::field::{Errors, Path, not_negative};
use super::{names, ports};
use gantry_proto::core::v1::{
    ExecAction, HttpGetAction, Lifecycle, LifecycleHandler, Probe, SleepAction, TcpSocketAction,
};

/// Which of a container's probes it is; each has one rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Liveness,
    Readiness,
    Startup,
}

pub fn validate(probe: &Probe, kind: Kind, path: &Path, errors: &mut Errors) {
    let handler = probe.handler();
    validate_handler(
        Handler {
            exec: handler.exec.as_ref(),
            http_get: handler.http_get.as_ref(),
            tcp_socket: handler.tcp_socket.as_ref(),
            grpc_port: handler.grpc.as_ref().map(|grpc| grpc.port),
            sleep: None,
        },
        None,
        path,
        errors,
    );
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(value, &path.child(field), errors);
    }
    let grace = path.child("terminationGracePeriodSeconds");
    if let Some(seconds) = probe
        .termination_grace_period_seconds
        .filter(|seconds| *seconds <= 0)
    {
        errors.invalid(&grace, seconds, "must be greater than 0");
    }
    match kind {
        Kind::Liveness | Kind::Startup => {
            if probe.success_threshold != 1 {
                errors.invalid(
                    &path.child("successThreshold"),
                    probe.success_threshold,
                    "must be 1",
                );
            }
        }
        Kind::Readiness => {
            if let Some(seconds) = probe.termination_grace_period_seconds {
                errors.invalid(&grace, seconds, "must not be set for readinessProbes");
            }
        }
    }
}

pub fn validate_lifecycle(
    lifecycle: &Lifecycle,
    grace_seconds: Option<i64>,
    path: &Path,
    errors: &mut Errors,
) {
    for (field, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook {
            validate_handler(Handler::of_hook(hook), grace_seconds, &path.child(field), errors);
        }
    }
}

/// What a probe or a hook does; one of these.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HttpGetAction>,
    tcp_socket: Option<&'a TcpSocketAction>,
    grpc_port: Option<i32>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> Handler<'a> {
    fn of_hook(hook: &'a LifecycleHandler) -> Self {
        Handler {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc_port: None,
            sleep: hook.sleep.as_ref(),
        }
    }
}

fn validate_handler(handler: Handler, grace_seconds: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut present = [
        ("exec", handler.exec.is_some()),
        ("httpGet", handler.http_get.is_some()),
        ("tcpSocket", handler.tcp_socket.is_some()),
        ("grpc", handler.grpc_port.is_some()),
        ("sleep", handler.sleep.is_some()),
    ]
    .into_iter()
    .filter(|(_, present)| *present);
    let Some((first, _)) = present.next() else {
        errors.required(path, "must specify a handler type");
        return;
    };
    let action = path.child(first);
    match first {
        "exec" => {
            if handler.exec.is_some_and(|exec| exec.command.is_empty()) {
                errors.required(&action.child("command"), "");
            }
        }
        "httpGet" => {
            if let Some(http) = handler.http_get {
                validate_http(http, &action, errors);
            }
        }
        "tcpSocket" => {
            if let Some(tcp) = handler.tcp_socket {
                ports::validate_number_or_name(tcp.port(), &action.child("port"), errors);
            }
        }
        "grpc" => ports::validate_number(
            handler.grpc_port.unwrap_or_default(),
            &action.child("port"),
            errors,
        ),
        _ => {
            if let (Some(sleep), Some(grace)) = (handler.sleep, grace_seconds)
                && !(0..=grace).contains(&sleep.seconds)
            {
                let detail =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.invalid(&action, sleep.seconds, detail);
            }
        }
    }
    for (other, _) in present {
        errors.forbidden(&path.child(other), "may not specify more than 1 handler type");
    }
}

fn validate_http(http: &HttpGetAction, path: &Path, errors: &mut Errors) {
    if http.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    ports::validate_number_or_name(http.port(), &path.child("port"), errors);
    if http.scheme != "HTTP" && http.scheme != "HTTPS" {
        errors.not_supported(&path.child("scheme"), &http.scheme, &["HTTP", "HTTPS"]);
    }
    for header in &http.http_headers {
        errors.invalid_each(
            &path.child("httpHeaders"),
            &header.name,
            names::http_header(&header.name),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn check(kind: Kind, value: serde_json::Value, expected: &[&str]) {
        let mut probe: Probe = serde_json::from_value(value).expect("probe");
        super::super::pod_defaults::set_probe_defaults(&mut probe);
        let mut errors = Errors::new();
        validate(&probe, kind, &Path::new("probe"), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn a_probe_does_one_thing() {
        check(Kind::Liveness, json!({"httpGet": {"port": "http"}}), &[]);
        check(
            Kind::Liveness,
            json!({}),
            &["probe: Required value: must specify a handler type"],
        );
        check(
            Kind::Liveness,
            json!({"exec": {}, "tcpSocket": {"port": 0}}),
            &[
                "probe.exec.command: Required value",
                "probe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            ],
        );
        check(
            Kind::Liveness,
            json!({"httpGet": {"port": 70000, "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}}),
            &[
                "probe.httpGet.port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "probe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
                "probe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric \
                 characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
            ],
        );
    }

    #[test]
    fn thresholds_and_grace_depend_on_the_probe() {
        let twice =
            json!({"tcpSocket": {"port": 80}, "successThreshold": 2, "terminationGracePeriodSeconds": 5});
        check(
            Kind::Startup,
            twice.clone(),
            &["probe.successThreshold: Invalid value: 2: must be 1"],
        );
        check(
            Kind::Readiness,
            twice,
            &["probe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes"],
        );
        check(
            Kind::Liveness,
            json!({"tcpSocket": {"port": 80}, "periodSeconds": -1, "terminationGracePeriodSeconds": 0}),
            &[
                "probe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                "probe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            ],
        );
    }

    #[test]
    fn a_hook_may_not_sleep_longer_than_the_pod_may_take_to_stop() {
        let lifecycle: Lifecycle =
            serde_json::from_value(json!({"preStop": {"sleep": {"seconds": 31}}})).expect("hook");
        let mut errors = Errors::new();
        validate_lifecycle(&lifecycle, Some(30), &Path::new("lifecycle"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than \
              terminationGracePeriodSeconds (30)"
            ]
        );
    }
}
