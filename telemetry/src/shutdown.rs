//! Ending on a signal.

use tokio::signal::unix::{Signal, SignalKind, signal as listen};
use tokio_util::sync::CancellationToken;

/// Returns a token that is cancelled on the first SIGTERM or SIGINT. A second signal ends the process at
/// once, for the person whose first Ctrl-C seems to have no effect.
///
/// Must be called inside a tokio runtime. The handlers are installed before it returns, so that no later
/// signal is missed.
pub fn signal() -> CancellationToken {
    let token = CancellationToken::new();
    match (listen(SignalKind::terminate()), listen(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => {
            tokio::spawn(wait(terminate, interrupt, token.clone()));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals; SIGTERM will end the process abruptly");
        }
    }
    token
}

async fn wait(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!(signal = name, "shutting down");
    token.cancel();
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::warn!(signal = name, "second signal, exiting at once");
    std::process::exit(1);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_signal_that_comes_right_after_the_call_cancels_the_token() {
        let token = signal();
        assert!(!token.is_cancelled());
        nix::sys::signal::raise(nix::sys::signal::SIGTERM).unwrap();
        tokio::time::timeout(Duration::from_secs(20), token.cancelled())
            .await
            .unwrap();
    }
}
