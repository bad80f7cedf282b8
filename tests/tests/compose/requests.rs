//! Requests to the sample, one after the other, each with its time.

use gantry_tests::{load, network};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two requests: often enough that no gap is missed, and little beside what a node does.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub struct Attempt {
    pub began: Instant,
    /// The pod that answered.
    pub outcome: Result<String, String>,
}

/// Requests under way in the background until they are stopped.
pub struct Requests {
    stop: Arc<AtomicBool>,
    made: Arc<Mutex<Vec<Attempt>>>,
    thread: Option<JoinHandle<()>>,
}

impl Requests {
    /// From the network namespace at a path, each by a connection of its own.
    pub fn start(network_path: String, address: SocketAddr) -> Requests {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ended, list) = (stop.clone(), made.clone());
        let note = move |attempt| list.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
        let thread = std::thread::spawn(move || {
            let entered = network::enter(&network_path);
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                let outcome = match &entered {
                    Ok(()) => load::get(address).map(|body| pod_of(&body)),
                    Err(error) => Err(format!("{error:#}")),
                };
                note(Attempt { began, outcome });
                std::thread::sleep(PAUSE);
            }
        });
        Requests {
            stop,
            made,
            thread: Some(thread),
        }
    }

    /// How many were made so far.
    pub fn count(&self) -> usize {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn stop(mut self) -> Vec<Attempt> {
        self.end();
        std::mem::take(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.end();
    }
}

/// "hello from POD version 1".
fn pod_of(body: &str) -> String {
    body.split_whitespace().nth(2).unwrap_or_default().to_string()
}
