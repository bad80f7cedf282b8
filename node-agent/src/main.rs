use clap::Parser as _;
use gantry_node_agent::{Command, cleanup, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let telemetry = gantry_telemetry::init("gantry-node-agent", &command.telemetry)?;
    let outcome = if command.is_cleanup() {
        cleanup(&command.config).await
    } else {
        run(command.config, gantry_telemetry::shutdown::signal()).await
    };
    telemetry.shutdown();
    outcome
}
