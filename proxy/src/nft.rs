//! Running `nft`.

use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A full load of 10,000 Services took 6.4 s on a busy machine of two cores; ten times that is a hang.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run nft: {0} (on Debian: apt install nftables)")]
    Start(#[source] std::io::Error),
    #[error("writing rules to nft: {0}")]
    Write(#[source] std::io::Error),
    #[error("nft did not finish within {LIMIT:?}")]
    Slow,
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// Carries out one transaction in this process's network namespace.
pub async fn run(text: &str) -> Result<(), Error> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::Start)?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // nft reads everything before it says anything, so writing first cannot block for ever.
            let written = async {
                stdin.write_all(text.as_bytes()).await?;
                stdin.shutdown().await
            };
            written.await.map_err(Error::Write)?;
        }
        child.wait_with_output().await.map_err(Error::Write)
    };
    let output = tokio::time::timeout(LIMIT, work)
        .await
        .map_err(|_| Error::Slow)??;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::Refused(first_lines(&output.stderr)))
    }
}

/// nft repeats the offending command under each error; the first few lines tell what matters.
fn first_lines(stderr: &[u8]) -> String {
    const LINES: usize = 6;
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .take(LINES)
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" | ")
}
