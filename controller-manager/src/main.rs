use clap::Parser;

#[derive(Parser)]
#[command(
    name = "gantry-controller-manager",
    version,
    about = "Keeps the cluster as its objects ask for"
)]
struct Arguments {
    #[command(flatten)]
    config: gantry_controller_manager::Config,
    #[command(flatten)]
    telemetry: gantry_telemetry::Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let telemetry = gantry_telemetry::init("gantry-controller-manager", &arguments.telemetry)?;
    let result = gantry_controller_manager::run(arguments.config, gantry_telemetry::shutdown::signal()).await;
    telemetry.shutdown();
    result
}
