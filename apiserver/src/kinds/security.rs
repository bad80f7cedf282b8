//! Security contexts of pods and containers.

use super::field::{Errors, Json, Path, inclusive_range, quoted};
use super::names;
use super::volume::validate_descending;
use gantry_proto::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, SecurityContext, Sysctl};
use std::collections::BTreeSet;

const SYSCTL_PATTERN: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const APP_ARMOR_NAME_MAX: usize = 4095;
const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

pub fn validate_container(context: &SecurityContext, host_users: bool, path: &Path, errors: &mut Errors) {
    for (field, id) in [
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ] {
        validate_id(id, &path.child(field), errors);
    }
    if let Some(proc_mount) = context.proc_mount.as_deref() {
        let path = path.child("procMount");
        if proc_mount != "Default" && proc_mount != "Unmasked" {
            errors.not_supported(&path, proc_mount, &["Default", "Unmasked"]);
        }
        if host_users && proc_mount == "Unmasked" {
            errors.invalid(&path, proc_mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    validate_seccomp(
        context.seccomp_profile.as_ref(),
        &path.child("seccompProfile"),
        errors,
    );
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path, shown(context), detail);
        }
        for _ in context
            .capabilities()
            .add
            .iter()
            .filter(|capability| *capability == "CAP_SYS_ADMIN")
        {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, shown(context), detail);
        }
    }
    validate_app_armor(
        context.app_armor_profile.as_ref(),
        &path.child("appArmorProfile"),
        errors,
    );
}

pub fn validate_pod(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(context) = &spec.security_context else {
        return;
    };
    for (field, id) in [
        ("fsGroup", context.fs_group),
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ] {
        validate_id(id, &path.child(field), errors);
    }
    let groups = path.child("supplementalGroups");
    for (i, group) in context.supplemental_groups.iter().enumerate() {
        validate_id(Some(*group), &groups.index(i), errors);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
    validate_sysctls(&context.sysctls, spec, &path.child("sysctls"), errors);
    one_of(
        &context.fs_group_change_policy,
        &["Always", "OnRootMismatch"],
        &path.child("fsGroupChangePolicy"),
        errors,
    );
    validate_seccomp(
        context.seccomp_profile.as_ref(),
        &path.child("seccompProfile"),
        errors,
    );
    validate_app_armor(
        context.app_armor_profile.as_ref(),
        &path.child("appArmorProfile"),
        errors,
    );
    let groups_policy = path.child("supplementalGroupsPolicy");
    one_of(
        &context.supplemental_groups_policy,
        &["Merge", "Strict"],
        &groups_policy,
        errors,
    );
    // More than Recursive needs SELinuxMount, which is off.
    one_of(
        &context.se_linux_change_policy,
        &["Recursive"],
        &path.child("seLinuxChangePolicy"),
        errors,
    );
}

fn one_of(value: &Option<String>, supported: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(value) = value.as_deref().filter(|value| !supported.contains(value)) {
        errors.not_supported(path, value, supported);
    }
}

fn validate_id(id: Option<i64>, path: &Path, errors: &mut Errors) {
    let most = i64::from(i32::MAX);
    if let Some(id) = id.filter(|id| !(0..=most).contains(id)) {
        errors.invalid(path, id, inclusive_range(0, most));
    }
}

fn validate_sysctls(sysctls: &[Sysctl], spec: &PodSpec, list: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let item = list.index(i);
        let path = item.child("name");
        if sysctl.name.is_empty() {
            errors.required(&path, "");
        } else if !names::is_sysctl(&sysctl.name) {
            let detail = format!("must have at most 253 characters and match regex {SYSCTL_PATTERN}");
            errors.invalid(&path, &sysctl.name, detail);
        } else if seen.contains(&sysctl.name) {
            errors.duplicate(&path, &sysctl.name);
        }
        let name = sysctl.name.replace('/', ".");
        let of_network = name.starts_with("net.");
        let of_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || name == "kernel.sem";
        if spec.host_network && of_network {
            errors.invalid(
                &path,
                &sysctl.name,
                "may not be specified when 'hostNetwork' is true",
            );
        } else if spec.host_ipc && of_ipc {
            errors.invalid(&path, &sysctl.name, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(&sysctl.name);
    }
}

fn validate_seccomp(profile: Option<&SeccompProfile>, path: &Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    match profile.r#type.as_str() {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        kind if !PROFILE_TYPES.contains(&kind) => {
            errors.not_supported(&path.child("type"), kind, PROFILE_TYPES)
        }
        _ => {}
    }
    let localhost = path.child("localhostProfile");
    match (profile.r#type == "Localhost", &profile.localhost_profile) {
        (true, None) => errors.required(&localhost, "must be set when seccomp type is Localhost"),
        (true, Some(file)) => validate_descending(file, &localhost, errors),
        (false, Some(_)) => {
            errors.invalid(
                &localhost,
                Json::text(seccomp_shown(profile)),
                "can only be set when seccomp type is Localhost",
            );
        }
        (false, None) => {}
    }
}

/// The context with the names of Go's internal type, as Kubernetes shows it. What only Windows has is left out.
fn shown(context: &SecurityContext) -> Json {
    fn json<T: serde::Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap_or_default()
    }
    let list = |names: &Vec<String>| {
        if names.is_empty() {
            "null".to_string()
        } else {
            json(names)
        }
    };
    let capabilities = context
        .capabilities
        .as_ref()
        .map_or("null".to_string(), |capabilities| {
            format!(
                "{{\"Add\":{},\"Drop\":{}}}",
                list(&capabilities.add),
                list(&capabilities.drop)
            )
        });
    let se_linux = context
        .se_linux_options
        .as_ref()
        .map_or("null".to_string(), |options| {
            let fields = [&options.user, &options.role, &options.r#type, &options.level].map(json);
            let [user, role, kind, level] = fields;
            format!("{{\"User\":{user},\"Role\":{role},\"Type\":{kind},\"Level\":{level}}}")
        });
    let seccomp = context
        .seccomp_profile
        .as_ref()
        .map_or("null".to_string(), seccomp_shown);
    let app_armor = context
        .app_armor_profile
        .as_ref()
        .map_or("null".to_string(), |profile| {
            let (kind, file) = (json(&profile.r#type), json(&profile.localhost_profile));
            format!("{{\"Type\":{kind},\"LocalhostProfile\":{file}}}")
        });
    let fields = [
        ("Capabilities", capabilities),
        ("Privileged", json(&context.privileged)),
        ("SELinuxOptions", se_linux),
        ("WindowsOptions", "null".to_string()),
        ("RunAsUser", json(&context.run_as_user)),
        ("RunAsGroup", json(&context.run_as_group)),
        ("RunAsNonRoot", json(&context.run_as_non_root)),
        ("ReadOnlyRootFilesystem", json(&context.read_only_root_filesystem)),
        (
            "AllowPrivilegeEscalation",
            json(&context.allow_privilege_escalation),
        ),
        ("ProcMount", json(&context.proc_mount)),
        ("SeccompProfile", seccomp),
        ("AppArmorProfile", app_armor),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    Json::text(format!("{{{}}}", fields.join(",")))
}

fn seccomp_shown(profile: &SeccompProfile) -> String {
    let file = serde_json::to_string(&profile.localhost_profile).unwrap_or_default();
    format!(
        "{{\"Type\":{},\"LocalhostProfile\":{file}}}",
        quoted(&profile.r#type)
    )
}

fn validate_app_armor(profile: Option<&AppArmorProfile>, path: &Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let localhost = path.child("localhostProfile");
    match (profile.r#type.as_str(), &profile.localhost_profile) {
        ("Localhost", None) => errors.required(&localhost, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.invalid(&localhost, name, "must not be padded with whitespace");
            } else if name.is_empty() {
                errors.required(&localhost, "must be set when AppArmor type is Localhost");
            }
            if name.len() > APP_ARMOR_NAME_MAX {
                errors.too_long(&localhost, APP_ARMOR_NAME_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(
                &localhost,
                name,
                "can only be set when AppArmor type is Localhost",
            );
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.required(
            &path.child("type"),
            "type is required when appArmorProfile is set",
        ),
        (kind, _) => errors.not_supported(&path.child("type"), kind, PROFILE_TYPES),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn check(value: serde_json::Value, expected: &[&str]) {
        let context: SecurityContext = serde_json::from_value(value).expect("context");
        let mut errors = Errors::new();
        validate_container(&context, true, &Path::new("securityContext"), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn users_and_privileges_make_sense() {
        check(json!({"runAsUser": 1000, "privileged": true}), &[]);
        check(
            json!({"runAsUser": -1, "runAsGroup": 2147483648i64}),
            &[
                "securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "securityContext.runAsGroup: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
            ],
        );
        check(
            json!({"privileged": true, "allowPrivilegeEscalation": false}),
            &[
                "securityContext: Invalid value: {\"Capabilities\":null,\"Privileged\":true,\
               \"SELinuxOptions\":null,\"WindowsOptions\":null,\"RunAsUser\":null,\"RunAsGroup\":null,\
               \"RunAsNonRoot\":null,\"ReadOnlyRootFilesystem\":null,\"AllowPrivilegeEscalation\":false,\
               \"ProcMount\":null,\"SeccompProfile\":null,\"AppArmorProfile\":null}: cannot set \
               `allowPrivilegeEscalation` to false and `privileged` to true",
            ],
        );
        check(
            json!({"procMount": "Unmasked", "seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "x"}}),
            &[
                "securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
                "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is \
                 Localhost",
                "securityContext.appArmorProfile.type: Unsupported value: \"x\": supported values: \"Localhost\", \
                 \"RuntimeDefault\", \"Unconfined\"",
            ],
        );
    }

    #[test]
    fn sysctls_of_the_host_are_not_a_pods_to_set() {
        let spec: PodSpec =
            serde_json::from_value(json!({"hostNetwork": true, "securityContext": {"sysctls": [
                {"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "Bad", "value": ""},
            ]}}))
            .expect("spec");
        let mut errors = Errors::new();
        validate_pod(&spec, &Path::new("spec.securityContext"), &mut errors);
        let got = lines(errors.into_causes());
        assert_eq!(
            got[0],
            "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.ip_forward\": may not be specified when \
             'hostNetwork' is true"
        );
        assert!(
            got[1].starts_with(
                "spec.securityContext.sysctls[1].name: Invalid value: \"Bad\": must have at most"
            )
        );
    }
}
