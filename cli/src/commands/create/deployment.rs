use super::Name;
use serde_json::{Value, json};

/// Create a deployment
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// What its container runs; several for several containers
    #[arg(long, required = true, value_delimiter = ',')]
    image: Vec<String>,
    /// The port that the first container listens on
    #[arg(long)]
    port: Option<u16>,
    /// How many pods
    #[arg(short, long, default_value_t = 1)]
    replicas: i32,
    /// What the container runs in place of its image's command
    #[arg(last = true)]
    command: Vec<String>,
}

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    if arguments.image.len() > 1 && !arguments.command.is_empty() {
        return Err("cannot specify multiple --image options and command".into());
    }
    let name = &arguments.name.name;
    let labels = json!({"app": name});
    let container = |image: &String| {
        let mut container = json!({"name": container_name(image), "image": image});
        if !arguments.command.is_empty() {
            container["command"] = json!(arguments.command);
        }
        container
    };
    let mut containers: Vec<Value> = arguments.image.iter().map(container).collect();
    if let (Some(port), Some(first)) = (arguments.port, containers.first_mut()) {
        first["ports"] = json!([{"containerPort": port}]);
    }
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": arguments.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }))
}

/// The image's last word, without what a container's name may not have.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    let bare = last.split([':', '@']).next().unwrap_or_default();
    bare.replace(['_', '.'], "-")
}
