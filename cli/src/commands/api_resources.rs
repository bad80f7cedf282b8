//! `gantry api-resources`: the types that the server has.

use crate::aligned::Aligned;
use crate::output::write;
use crate::session::Session;
use anyhow::Result;

/// Show the types of objects that the server has
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Without the headers
    #[arg(long)]
    no_headers: bool,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let reply = session.connect()?.cluster.discover().await?;
    let mut resources = reply.resources;
    resources.sort_by(|a, b| (&a.group, &a.resource).cmp(&(&b.group, &b.resource)));
    let headers = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
        .map(String::from)
        .to_vec();
    let mut rows = if arguments.no_headers {
        Vec::new()
    } else {
        vec![headers]
    };
    rows.extend(resources.into_iter().map(|resource| {
        let api_version = match resource.group.as_str() {
            "" => resource.version.clone(),
            group => format!("{group}/{}", resource.version),
        };
        let namespaced = resource.namespaced.to_string();
        vec![
            resource.resource,
            resource.short_names.join(","),
            api_version,
            namespaced,
            resource.kind,
        ]
    }));
    write(format_args!("{}", Aligned::default().lines(&rows)));
    Ok(())
}
