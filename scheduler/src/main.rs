use clap::Parser;

#[derive(Parser)]
#[command(name = "gantry-scheduler", version, about = "Assigns pods to nodes")]
struct Arguments {
    #[command(flatten)]
    config: gantry_scheduler::Config,
    #[command(flatten)]
    telemetry: gantry_telemetry::Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let telemetry = gantry_telemetry::init("gantry-scheduler", &arguments.telemetry)?;
    let result = gantry_scheduler::run(arguments.config, gantry_telemetry::shutdown::signal()).await;
    telemetry.shutdown();
    result
}
