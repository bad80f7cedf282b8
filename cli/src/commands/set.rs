//! `gantry set image`: another image for a container.

use crate::cluster::shown;
use crate::failure::Failure;
use crate::hints;
use crate::output::line;
use crate::resource;
use crate::session::{Connected, Session};
use crate::suggest;
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::{Key, KindInfo};
use serde_json::{Value, json};

/// Change one thing about a workload
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Give containers another image
    Image {
        /// TYPE/NAME... CONTAINER=IMAGE...; * for all containers
        #[arg(required = true, num_args = 2..)]
        arguments: Vec<String>,
    },
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let What::Image { arguments } = arguments.what;
    let connected = session.connect()?;
    let (images, objects): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| argument.contains('='));
    let images = images
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(container, image)| (container.to_string(), image.to_string()))
        .collect::<Vec<_>>();
    if images.is_empty() {
        return Err(Failure::message("at least one image update is required, as CONTAINER=IMAGE").into());
    }
    let mut failed = false;
    for target in resource::targets(&objects)? {
        let Some(name) = target.name else {
            return Err(Failure::message("resource(s) were provided, but no name was specified").into());
        };
        let key = Key::new(connected.namespace_of(target.kind), name);
        match set_images(target.kind, &key, &images, &connected).await {
            Ok(true) => line(format_args!("{} image updated", shown(target.kind, &key.name))),
            Ok(false) => {}
            Err(failure) => {
                failed = true;
                hints::tell(&failure, &connected).await;
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// Returns whether anything had to be changed.
async fn set_images(
    kind: &'static KindInfo,
    key: &Key,
    images: &[(String, String)],
    connected: &Connected,
) -> Result<bool, Failure> {
    let current = connected.cluster.get(kind, key).await?.json()?;
    let path: &[&str] = if kind.kind == "Pod" {
        &["spec"]
    } else {
        &["spec", "template", "spec"]
    };
    let Some(pod_spec) = path.iter().try_fold(&current, |value, field| value.get(field)) else {
        return Err(Failure::message(format!(
            "the object is not a pod or does not have a pod template: {}",
            kind.kind
        )));
    };
    let Some(changes) = changes(pod_spec, images)? else {
        return Ok(false);
    };
    let patch = path
        .iter()
        .rev()
        .fold(changes, |inner, field| json!({ *field: inner }));
    let patched = connected
        .cluster
        .patch(kind, key, PatchType::StrategicMerge, &patch, false);
    patched.await.map(|_| true)
}

/// The part of the patch that is within the pod's spec; `None` where all images are as wanted.
fn changes(pod_spec: &Value, images: &[(String, String)]) -> Result<Option<Value>, Failure> {
    let mut patch = serde_json::Map::new();
    let mut found = Vec::new();
    let mut names = Vec::new();
    for list in ["containers", "initContainers"] {
        let mut changed = Vec::new();
        for container in pod_spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            names.push(name.to_string());
            let wanted = images
                .iter()
                .filter(|(container, _)| container == name || container == "*");
            for (container, image) in wanted {
                found.push(container.clone());
                let same = |entry: &Value| entry["name"] == name;
                changed.retain(|entry| !same(entry));
                changed.push(json!({"name": name, "image": image}));
            }
        }
        changed.retain(|change| {
            let containers = pod_spec[list].as_array().into_iter().flatten();
            !containers
                .clone()
                .any(|c| c["name"] == change["name"] && c["image"] == change["image"])
        });
        if !changed.is_empty() {
            patch.insert(list.into(), changed.into());
        }
    }
    if let Some((missing, _)) = images.iter().find(|(container, _)| !found.contains(container)) {
        let hint = match suggest::nearest(missing, names.iter().map(String::as_str)) {
            Some(near) => format!(". Did you mean \"{near}\"?"),
            None => format!("; there is: {}", names.join(", ")),
        };
        return Err(Failure::message(format!(
            "unable to find container named \"{missing}\"{hint}"
        )));
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_that_differ_are_changed() {
        let spec = json!({"containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}],
            "initContainers": [{"name": "init", "image": "init:1"}]});
        let check = |images: &[(&str, &str)], expected: Option<Value>| {
            let images: Vec<_> = images
                .iter()
                .map(|(c, i)| (c.to_string(), i.to_string()))
                .collect();
            assert_eq!(changes(&spec, &images).unwrap(), expected);
        };
        check(
            &[("web", "web:2")],
            Some(json!({"containers": [{"name": "web", "image": "web:2"}]})),
        );
        check(&[("web", "web:1")], None);
        check(
            &[("init", "i:2")],
            Some(json!({"initContainers": [{"name": "init", "image": "i:2"}]})),
        );
        let all = json!({"containers": [{"name": "web", "image": "x"}, {"name": "log", "image": "x"}],
            "initContainers": [{"name": "init", "image": "x"}]});
        check(&[("*", "x")], Some(all));
        let error = changes(&spec, &[("wbe".into(), "x".into())])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "error: unable to find container named \"wbe\". Did you mean \"web\"?"
        );
    }
}
