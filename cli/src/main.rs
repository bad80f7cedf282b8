#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    gantry_cli::run().await
}
