//! Nodes.

use super::field::{Errors, Json, Path, quoted};
use super::{Rules, Target, ip, metadata, names, resources, scheduling};
use gantry_proto::core::v1::Node;
use gantry_proto::meta::v1::StatusCause;

const FEATURE_NAME_MAX: usize = 253;

pub struct Nodes;

impl Rules for Nodes {
    type Object = Node;

    fn set_defaults(&self, node: &mut Node) {
        let spec = node.spec_mut();
        // The two forms say the same; where they differ, the older one is believed.
        if !spec.pod_cidr.is_empty() && spec.pod_cidrs.first() != Some(&spec.pod_cidr) {
            spec.pod_cidrs = vec![spec.pod_cidr.clone()];
        } else if let Some(first) = spec.pod_cidrs.first() {
            spec.pod_cidr.clone_from(first);
        }
        let status = node.status_mut();
        if status.allocatable.is_empty() {
            status.allocatable.clone_from(&status.capacity);
        }
        resources::set_defaults(&mut status.capacity);
        resources::set_defaults(&mut status.allocatable);
    }

    fn prepare_for_create(&self, node: &mut Node) {
        metadata::clear_for_create(node.metadata_mut(), 0);
        // A node registers itself with its status, so that stays; dynamic configuration is gone from Kubernetes.
        node.spec_mut().config_source = None;
        node.status_mut().config = None;
    }

    fn prepare_for_update(&self, new: &mut Node, old: &Node, target: Target) {
        if target == Target::Status {
            metadata::keep_for_status(new.metadata_mut(), old.metadata());
            new.spec.clone_from(&old.spec);
        } else {
            metadata::keep_for_update(new.metadata_mut(), old.metadata());
            new.status.clone_from(&old.status);
        }
    }

    fn validate(&self, node: &Node) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(node, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Node, old: &Node, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        if target != Target::Status {
            validate(new, &mut errors);
        }
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            validate_status(new, &mut errors);
        }
        validate_change(new, old, &mut errors);
        errors.into_causes()
    }

    fn warnings(&self, node: &Node, _old: Option<&Node>) -> Vec<String> {
        let mut warnings = Vec::new();
        if node.spec().config_source.is_some() {
            warnings.push("spec.configSource: the feature is removed".into());
        }
        if !node.spec().external_id.is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        warnings
    }

    fn fields(&self, node: &Node) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", node.spec().unschedulable.to_string())]
    }
}

fn validate(node: &Node, errors: &mut Errors) {
    metadata::validate_strictly(node.metadata(), false, names::dns_subdomain, errors);
    // The path is Kubernetes' own mistake, which clients have learnt.
    scheduling::validate_taints(&node.spec().taints, &Path::new("metadata.taints"), errors);
    validate_status(node, errors);
    let cidrs = &node.spec().pod_cidrs;
    let path = Path::new("spec.podCIDRs");
    for (i, cidr) in cidrs.iter().enumerate() {
        ip::validate_cidr(cidr, &[], &path.index(i), errors);
    }
    let dual = ip::is_dual_stack(cidrs.iter().map(String::as_str));
    if cidrs.len() > 1 && (!dual || cidrs.len() > 2) {
        errors.invalid(
            &path,
            Json::of(cidrs),
            "may specify no more than one CIDR for each IP family",
        );
    }
}

fn validate_status(node: &Node, errors: &mut Errors) {
    let status = node.status();
    for (field, amounts) in [
        ("status.capacity", &status.capacity),
        ("status.allocatable", &status.allocatable),
    ] {
        let path = Path::new(field);
        for (name, quantity) in amounts {
            resources::validate_quantity(name, quantity, &path.child(name), errors);
        }
    }
    let list = Path::new("status.declaredFeatures");
    for (i, feature) in status.declared_features.iter().enumerate() {
        if let Some(why) = feature_error(feature) {
            errors.invalid(&list.index(i), feature, why);
        }
        match status.declared_features.get(i + 1) {
            Some(next) if next == feature => errors.duplicate(&list.index(i + 1), next),
            Some(next) if next < feature => {
                errors.invalid(&list.index(i + 1), next, "list must be sorted alphabetically");
            }
            _ => {}
        }
    }
}

fn feature_error(name: &str) -> Option<String> {
    let segment = |text: &str, first: fn(&u8) -> bool| {
        text.as_bytes().first().is_some_and(first) && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let mut segments = name.split('/');
    let is_right = segments
        .next()
        .is_some_and(|text| segment(text, u8::is_ascii_uppercase))
        && segments.all(|text| segment(text, u8::is_ascii_alphabetic));
    let why = if name.len() > FEATURE_NAME_MAX {
        format!("must be no more than {FEATURE_NAME_MAX} characters")
    } else if !is_right {
        "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or \
         MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            .to_string()
    } else {
        return None;
    };
    Some(format!("invalid feature name {}: {why}", quoted(name)))
}

fn validate_change(new: &Node, old: &Node, errors: &mut Errors) {
    let addresses = &new.status().addresses;
    let path = Path::new("status.addresses");
    for (i, address) in addresses
        .iter()
        .enumerate()
        .filter(|(i, address)| addresses[..*i].contains(address))
    {
        // The names are those of Go's internal type.
        let (kind, text) = (quoted(&address.r#type), quoted(&address.address));
        let shown = Json::text(format!("{{\"Type\":{kind},\"Address\":{text}}}"));
        errors.duplicate(&path.index(i), shown);
    }
    let (new, old) = (new.spec(), old.spec());
    if !old.pod_cidrs.is_empty() && old.pod_cidrs != new.pod_cidrs {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&Path::new("spec.podCIDRs"), detail);
    }
    if !old.provider_id.is_empty() && old.provider_id != new.provider_id {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&Path::new("spec.providerID"), detail);
    }
    if new.external_id != old.external_id {
        errors.forbidden(&Path::new("spec.externalID"), "may not be updated");
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn node(value: Value) -> Node {
        let mut node: Node = serde_json::from_value(value).expect("node");
        node.metadata_mut().name = "n".into();
        Nodes.set_defaults(&mut node);
        node
    }

    #[test]
    fn both_forms_of_the_pod_network_say_the_same() {
        let one = node(json!({"spec": {"podCIDR": "10.244.1.0/24"}}));
        assert_eq!(one.spec().pod_cidrs, ["10.244.1.0/24"]);
        let other = node(json!({"spec": {"podCIDRs": ["10.244.1.0/24"]}}));
        assert_eq!(other.spec().pod_cidr, "10.244.1.0/24");
        assert_eq!(
            lines(Nodes.validate(&node(
                json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}})
            ))),
            [
                "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for \
              each IP family"
            ]
        );
    }

    #[test]
    fn a_pod_network_is_given_once() {
        let (none, one, other) = (
            node(json!({})),
            node(json!({"spec": {"podCIDR": "10.244.1.0/24"}})),
            node(json!({"spec": {"podCIDR": "10.244.2.0/24"}})),
        );
        assert!(Nodes.validate_update(&one, &none, Target::Main).is_empty());
        assert_eq!(
            lines(Nodes.validate_update(&other, &one, Target::Main)),
            ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]
        );
    }

    #[test]
    fn what_a_node_has_it_can_give_unless_it_says_less() {
        let node = node(json!({"status": {"capacity": {"cpu": "4", "memory": "8192Mi"}}}));
        assert_eq!(node.status().allocatable, node.status().capacity);
        assert_eq!(node.status().capacity["memory"].string, "8Gi");
        assert_eq!(Nodes.fields(&node), [("spec.unschedulable", "false".to_string())]);
    }

    #[test]
    fn taints_have_a_key_and_an_effect() {
        let wrong = node(json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}}));
        assert_eq!(
            lines(Nodes.validate(&wrong)),
            [
                "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \
              \"PreferNoSchedule\", \"NoExecute\""
            ]
        );
    }

    #[test]
    fn each_endpoint_writes_its_own_part() {
        let old = node(json!({"spec": {"podCIDR": "10.244.1.0/24"}}));
        let mut new = node(json!({"status": {"phase": "Running"}}));
        Nodes.prepare_for_update(&mut new, &old, Target::Status);
        assert_eq!(new.spec(), old.spec());
        assert!(Nodes.validate_update(&new, &old, Target::Status).is_empty());
        let mut main = node(
            json!({"spec": {"podCIDR": "10.244.1.0/24", "unschedulable": true}, "status": {"phase": "x"}}),
        );
        Nodes.prepare_for_update(&mut main, &old, Target::Main);
        assert!(main.spec().unschedulable && main.status().phase.is_empty());
    }
}
