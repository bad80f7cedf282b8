fn main() -> std::process::ExitCode {
    gantry_node_agent::cni_timer()
}
