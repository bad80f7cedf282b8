//! A container's log as a stream.

use super::logs::{self, Formatter, Show, tail_offset};
use crate::clock::now;
use crate::pod::observed::{Instance, Observed};
use crate::runtime::observe::Observer;
use crate::worker::Shared;
use futures::Stream;
use gantry_proto::Key;
use gantry_proto::api::v1::{LogsReply, LogsRequest};
use gantry_proto::core::v1::{Container, Pod};
use jiff::Timestamp;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How often a followed log is looked at for more.
const POLL: Duration = Duration::from_millis(100);
/// How often the runtime is asked whether the container still runs, while nothing is written: in polls.
const ALIVE_EVERY: u32 = 10;
/// One message of the stream.
const PIECE: usize = 64 << 10;

pub async fn stream(
    shared: Arc<Shared>,
    request: LogsRequest,
) -> Result<impl Stream<Item = Result<LogsReply, Status>>, Status> {
    let key = Key::new(&request.namespace, &request.pod);
    let pod = shared
        .pods
        .get(&key)
        .ok_or_else(|| Status::not_found(format!("pod \"{}\" not found", request.pod)))?;
    let container = container_name(&pod, &request.container)?;
    let observed = Observer::default()
        .observe(&shared.runtime, &pod.metadata().uid)
        .await;
    let observed = observed.map_err(|error| Status::unavailable(error.to_string()))?;
    let run = find_run(&pod, &container, &observed, request.previous)?;
    let show = Show {
        timestamps: request.timestamps,
        since: since(&request),
    };
    let follow = (request.follow && !request.previous).then(|| (shared.clone(), run.id.clone()));
    let mut left = request
        .limit_bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(usize::MAX);
    let tail = request.tail_lines.and_then(|lines| u64::try_from(lines).ok());
    let mut reader = Reader::open(Path::new(&run.log_path), tail);
    Ok(async_stream::stream! {
        let (mut formatter, mut idle) = (Formatter::default(), 0);
        loop {
            let mut data = Vec::new();
            let is_end = match reader.read(&mut formatter, show, &mut data) {
                Ok(is_end) => is_end,
                Err(error) => {
                    yield Err(Status::internal(format!("reading the log: {error}")));
                    return;
                }
            };
            if !data.is_empty() {
                data.truncate(left);
                left -= data.len();
                idle = 0;
                yield Ok(LogsReply { data: data.into() });
            }
            if left == 0 {
                return;
            }
            if is_end {
                let Some((shared, id)) = &follow else { return };
                if idle % ALIVE_EVERY == 0 && idle > 0 && !is_running(shared, id).await {
                    // What it wrote last may have come after the last look.
                    let mut data = Vec::new();
                    if reader.read(&mut formatter, show, &mut data).is_ok() && !data.is_empty() {
                        data.truncate(left);
                        yield Ok(LogsReply { data: data.into() });
                    }
                    return;
                }
                idle += 1;
                tokio::select! {
                    () = shared.shutdown.cancelled() => return,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        }
    })
}

async fn is_running(shared: &Shared, id: &str) -> bool {
    let status = shared.runtime.container_status(id).await;
    status.is_ok_and(|status| status.state == k8s_cri::v1::ContainerState::ContainerRunning as i32)
}

fn container_name(pod: &Pod, wanted: &str) -> Result<String, Status> {
    let (name, spec) = (&pod.metadata().name, pod.spec());
    let names: Vec<&str> = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .map(|c| c.name.as_str())
        .collect();
    match (wanted, &spec.containers[..]) {
        ("", [only]) => Ok(only.name.clone()),
        ("", containers) => {
            let list = |containers: &[Container]| {
                let names = containers.iter().map(|container| container.name.as_str());
                names.collect::<Vec<_>>().join(" ")
            };
            let or_init = match &spec.init_containers[..] {
                [] => String::new(),
                inits => format!(" or one of the init containers: [{}]", list(inits)),
            };
            Err(Status::invalid_argument(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]{or_init}",
                list(containers)
            )))
        }
        (wanted, _) if names.contains(&wanted) => Ok(wanted.to_string()),
        (wanted, _) => Err(Status::invalid_argument(format!(
            "container {wanted} is not valid for pod {name}"
        ))),
    }
}

fn find_run<'a>(
    pod: &Pod,
    container: &str,
    observed: &'a Observed,
    previous: bool,
) -> Result<&'a Instance, Status> {
    let name = &pod.metadata().name;
    let runs = observed.containers.get(container).map_or(&[][..], Vec::as_slice);
    if previous {
        return runs.get(1).ok_or_else(|| {
            Status::invalid_argument(format!(
                "previous terminated container \"{container}\" in pod \"{name}\" not found"
            ))
        });
    }
    runs.first().ok_or_else(|| {
        let mut statuses = pod
            .status()
            .container_statuses
            .iter()
            .chain(&pod.status().init_container_statuses);
        let status = statuses.find(|status| status.name == container);
        let waiting = status.and_then(|status| status.state().waiting.as_ref());
        let reason = waiting.map_or("ContainerCreating", |waiting| waiting.reason.as_str());
        let why = match reason {
            "ErrImagePull" | "ImagePullBackOff" => "trying and failing to pull image".to_string(),
            reason => reason.to_string(),
        };
        Status::invalid_argument(format!(
            "container \"{container}\" in pod \"{name}\" is waiting to start: {why}"
        ))
    })
}

fn since(request: &LogsRequest) -> Option<Timestamp> {
    match (&request.since_time, request.since_seconds) {
        (Some(time), _) => Timestamp::new(time.seconds, 0).ok(),
        (None, Some(seconds)) => {
            let now = Timestamp::try_from(now()).ok()?;
            now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok()
        }
        (None, None) => None,
    }
}

/// Reads a log from file to file as it is set aside.
struct Reader {
    path: PathBuf,
    /// Files yet to be read, the next one last.
    ahead: Vec<PathBuf>,
    file: Option<(BufReader<File>, u64)>,
    /// A line whose end is not written yet.
    unfinished: Vec<u8>,
    /// The file was read to its end after it was seen to be set aside.
    is_drained: bool,
}

impl Reader {
    fn open(path: &Path, tail: Option<u64>) -> Reader {
        let mut ahead = logs::files(path);
        ahead.reverse();
        let mut reader = Reader {
            path: path.to_path_buf(),
            ahead,
            file: None,
            unfinished: Vec::new(),
            is_drained: false,
        };
        if let Some(tail) = tail {
            // Counted in the newest file only, as the kubelet does.
            reader.ahead.clear();
            if let Ok(mut file) = File::open(path) {
                let offset = tail_offset(&mut file, tail).unwrap_or(0);
                let _ = file.seek(SeekFrom::Start(offset));
                reader.use_file(file);
            }
        }
        reader
    }

    fn use_file(&mut self, file: File) {
        let inode = file.metadata().map(|metadata| metadata.ino()).unwrap_or(0);
        self.file = Some((BufReader::with_capacity(PIECE, file), inode));
    }

    /// Appends what is there, up to a piece. Returns whether that is all for now.
    fn read(&mut self, formatter: &mut Formatter, show: Show, out: &mut Vec<u8>) -> std::io::Result<bool> {
        while out.len() < PIECE {
            if self.file.is_none() {
                match self.ahead.pop().map(File::open) {
                    Some(Ok(file)) => self.use_file(file),
                    // Removed in between.
                    Some(Err(_)) => continue,
                    None => match File::open(&self.path) {
                        Ok(file) => self.use_file(file),
                        Err(_) => return Ok(true),
                    },
                }
            }
            let Some((file, inode)) = &mut self.file else {
                return Ok(true);
            };
            file.read_until(b'\n', &mut self.unfinished)?;
            if self.unfinished.last() == Some(&b'\n') {
                self.unfinished.pop();
                formatter.format(&self.unfinished, show, out);
                self.unfinished.clear();
                continue;
            }
            // The end of this file: go on with the next, if this one was set aside.
            let newest = std::fs::metadata(&self.path).map(|metadata| metadata.ino()).ok();
            if self.ahead.is_empty() && newest.is_none_or(|newest| newest == *inode) {
                return Ok(true);
            }
            // The runtime wrote to it until it had opened the next.
            if !std::mem::replace(&mut self.is_drained, true) {
                continue;
            }
            self.is_drained = false;
            self.file = None;
            self.unfinished.clear();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_followed_log_goes_on_in_the_next_file_and_loses_nothing_of_the_last() {
        let folder = std::env::temp_dir().join(format!("gantry-log-stream-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        let line = |text: &str| format!("2026-01-01T00:00:00Z stdout F {text}\n");
        std::fs::write(&path, line("a")).unwrap();
        let mut reader = Reader::open(&path, None);
        let mut formatter = Formatter::default();
        let mut read = || {
            let mut out = Vec::new();
            while !reader.read(&mut formatter, Show::default(), &mut out).unwrap() {}
            String::from_utf8(out).unwrap()
        };
        assert_eq!(read(), "a\n");
        let mut writer = File::options().append(true).open(&path).unwrap();
        logs::set_aside(&path, Timestamp::UNIX_EPOCH).unwrap();
        write!(writer, "{}", line("b")).unwrap();
        assert_eq!(read(), "b\n");
        write!(writer, "{}", line("c")).unwrap();
        std::fs::write(&path, line("d")).unwrap();
        assert_eq!(read(), "c\nd\n");
        assert_eq!(read(), "");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
