//! `gantry why`: what keeps a pod from running.

use crate::failure::Failure;
use crate::output::write;
use crate::resource;
use crate::session::Session;
use anyhow::Result;
use gantry_proto::api::v1::{WhyReply, WhyRequest};
use std::fmt::Write as _;

/// Say what keeps a pod from running, node by node, and what would help
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// pod/NAME
    #[arg(required = true)]
    object: Vec<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let (kind, name) = resource::object(&arguments.object, Some("pods"))?;
    if kind.kind != "Pod" {
        return Err(Failure::message(format!("why answers for pods only, not for a {}", kind.kind)).into());
    }
    let request = WhyRequest {
        resource: kind.group_resource(),
        namespace: connected.namespace.clone(),
        name: name.clone(),
    };
    let reply = connected.cluster.why(request).await?;
    write(format_args!("{}", text(&name, &reply)));
    Ok(())
}

/// Nodes that are named; of more than that only the number is told.
const NODES_SHOWN: usize = 8;

fn text(name: &str, reply: &WhyReply) -> String {
    let mut text = format!("pod/{name}: {}\n", reply.summary);
    for group in &reply.groups {
        let nodes = match group.nodes.len() {
            1 => group.nodes[0].clone(),
            count if count <= NODES_SHOWN => format!("{count} nodes: {}", group.nodes.join(", ")),
            count => format!("{count} nodes: {}, …", group.nodes[..NODES_SHOWN].join(", ")),
        };
        let detail = if group.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", group.detail)
        };
        let _ = writeln!(text, "  {}{detail}\n    on {nodes}", group.reason);
    }
    if !reply.remedy.is_empty() {
        let _ = writeln!(text, "What would help: {}", reply.remedy);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::api::v1::WhyGroup;

    #[test]
    fn reasons_are_told_with_their_nodes() {
        let group = |reason: &str, nodes: &[&str], detail: &str| WhyGroup {
            reason: reason.into(),
            nodes: nodes.iter().map(|node| node.to_string()).collect(),
            detail: detail.into(),
        };
        let reply = WhyReply {
            summary: "no node of 3 fits".into(),
            groups: vec![
                group(
                    "Insufficient cpu",
                    &["n1", "n2"],
                    "requests 2 cpu; 500m of 2 free",
                ),
                group("untolerated taint", &["n3"], ""),
            ],
            remedy: "request 500m cpu".into(),
        };
        expect_test::expect![[r#"
            pod/web: no node of 3 fits
              Insufficient cpu (requests 2 cpu; 500m of 2 free)
                on 2 nodes: n1, n2
              untolerated taint
                on n3
            What would help: request 500m cpu
        "#]]
        .assert_eq(&text("web", &reply));
    }
}
