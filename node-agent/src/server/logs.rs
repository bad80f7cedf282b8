//! Containers' logs as the runtime writes them: `TIME STREAM TAG CONTENT`, a line each; tag `P` marks a part
//! of a longer line, `F` its end (the CRI log format).

use jiff::Timestamp;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A container's log is begun anew at this size, and this many old files are kept (the kubelet's defaults).
pub const ROTATE_AT_BYTES: u64 = 10 << 20;
pub const KEPT_FILES: usize = 5;
const BLOCK: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line<'a> {
    pub time: &'a str,
    /// A part of a line that goes on.
    pub is_partial: bool,
    pub content: &'a [u8],
}

/// `None` for what is not in the format.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let _stream = fields
        .next()
        .filter(|stream| matches!(*stream, b"stdout" | b"stderr"))?;
    let tag = fields.next()?;
    let content = fields.next().unwrap_or_default();
    let is_partial = tag.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line {
        time,
        is_partial,
        content,
    })
}

/// What to show of lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    pub timestamps: bool,
    /// Nothing before this time.
    pub since: Option<Timestamp>,
}

/// Turns raw lines into what the user sees.
#[derive(Default)]
pub struct Formatter {
    /// The last line shown was a part.
    in_line: bool,
}

impl Formatter {
    pub fn format(&mut self, raw: &[u8], show: Show, out: &mut Vec<u8>) {
        let Some(line) = parse(raw) else { return };
        if let Some(since) = show.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        if show.timestamps && !self.in_line {
            out.extend(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend(line.content);
        if !line.is_partial {
            out.push(b'\n');
        }
        self.in_line = line.is_partial;
    }
}

/// Where the last `lines` whole lines of a file begin.
pub fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(length);
    }
    let (mut position, mut found) = (length, 0);
    let mut block = vec![0; BLOCK as usize];
    while position > 0 {
        let start = position.saturating_sub(BLOCK);
        let size = (position - start) as usize;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..size])?;
        for (index, _) in block[..size]
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            let end = start + index as u64 + 1;
            // The last line's own end does not begin another.
            if end < length {
                found += 1;
                if found == lines {
                    return Ok(end);
                }
            }
        }
        position = start;
    }
    Ok(0)
}

/// The last lines of a log as text, at most so many bytes.
pub fn last_lines(path: &Path, lines: usize, bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let offset = tail_offset(&mut file, lines as u64).ok()?;
    let length = file.seek(SeekFrom::End(0)).ok()?;
    // A raw line is longer than what it shows, by a time and tags of less than 64 bytes.
    let offset = offset.max(length.saturating_sub(bytes + 64 * lines as u64));
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut raw = Vec::new();
    file.take(bytes + 64 * lines as u64).read_to_end(&mut raw).ok()?;
    let (mut formatter, mut out) = (Formatter::default(), Vec::new());
    raw.split(|byte| *byte == b'\n')
        .for_each(|line| formatter.format(line, Show::default(), &mut out));
    let start = out.len().saturating_sub(bytes as usize);
    Some(String::from_utf8_lossy(&out[start..]).into_owned())
}

/// The files of one container's run, the oldest first; the last is being written.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut old = rotated(path);
    old.sort();
    old.push(path.to_path_buf());
    old
}

fn rotated(path: &Path) -> Vec<PathBuf> {
    let Some((folder, name)) = path.parent().zip(path.file_name()) else {
        return Vec::new();
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// Sets a log aside under a name with the time in it, which is returned. The runtime must be told to open it
/// anew; until then it goes on writing to the old file.
pub fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mut old = rotated(path);
    old.sort();
    let surplus = (old.len() + 2).saturating_sub(KEPT_FILES);
    old.iter()
        .take(surplus)
        .for_each(|file| drop(std::fs::remove_file(file)));
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{}", now.strftime("%Y%m%d-%H%M%S")));
    std::fs::rename(path, &name)?;
    Ok(name.into())
}

pub fn remove(path: &Path) {
    for file in files(path) {
        let _ = std::fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_and_what_is_none_is_left_out() {
        let check = |raw: &str, expected: Option<(&str, bool, &str)>| {
            let found = parse(raw.as_bytes());
            let found = found.map(|l| (l.time, l.is_partial, std::str::from_utf8(l.content).unwrap()));
            assert_eq!(found, expected, "{raw}");
        };
        check(
            "2026-01-02T03:04:05.6Z stdout F hello world",
            Some(("2026-01-02T03:04:05.6Z", false, "hello world")),
        );
        check("t stderr P part", Some(("t", true, "part")));
        check("t stdout F:x:y tagged", Some(("t", false, "tagged")));
        check("t stdout F ", Some(("t", false, "")));
        check("t stdout F", Some(("t", false, "")));
        check("t other F x", None);
        check("", None);
        check("nonsense", None);
    }

    fn shown(raw: &str, show: Show) -> String {
        let (mut formatter, mut out) = (Formatter::default(), Vec::new());
        raw.lines()
            .for_each(|line| formatter.format(line.as_bytes(), show, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_joined_and_times_stand_before_whole_lines() {
        let raw = "2026-01-01T00:00:01Z stdout P a\n2026-01-01T00:00:02Z stdout F b\n2026-01-01T00:00:03Z stderr F c\n";
        assert_eq!(shown(raw, Show::default()), "ab\nc\n");
        let timestamps = Show {
            timestamps: true,
            ..Show::default()
        };
        assert_eq!(
            shown(raw, timestamps),
            "2026-01-01T00:00:01Z ab\n2026-01-01T00:00:03Z c\n"
        );
        let since = Show {
            since: Some("2026-01-01T00:00:03Z".parse().unwrap()),
            ..Show::default()
        };
        assert_eq!(shown(raw, since), "c\n");
    }

    struct Log(PathBuf);

    impl Log {
        fn new(name: &str, text: &str) -> Log {
            let folder = std::env::temp_dir().join(format!("gantry-logs-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("0.log"), text).unwrap();
            Log(folder.join("0.log"))
        }
    }

    impl Drop for Log {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    #[test]
    fn the_tail_begins_at_a_line_wherever_blocks_end() {
        let long = "x".repeat(BLOCK as usize - 1);
        for (text, lines, expected) in [
            ("a\nb\nc\n".to_string(), 2, "b\nc\n"),
            ("a\nb\nc".to_string(), 2, "b\nc"),
            ("a\nb\n".to_string(), 9, "a\nb\n"),
            ("a\nb\n".to_string(), 0, ""),
            (String::new(), 3, ""),
            (format!("a\n{long}\nb\n"), 2, &format!("{long}\nb\n")),
        ] {
            let log = Log::new("tail", &text);
            let offset = tail_offset(&mut File::open(&log.0).unwrap(), lines).unwrap();
            assert_eq!(&text[offset as usize..], expected);
        }
    }

    #[test]
    fn only_so_many_old_logs_are_kept() {
        let log = Log::new("rotate", "");
        for second in 0..9 {
            std::fs::write(&log.0, second.to_string()).unwrap();
            set_aside(&log.0, Timestamp::from_second(second).unwrap()).unwrap();
        }
        std::fs::write(&log.0, "last").unwrap();
        let texts: Vec<String> = files(&log.0)
            .iter()
            .map(|f| std::fs::read_to_string(f).unwrap())
            .collect();
        assert_eq!(texts, ["5", "6", "7", "8", "last"]);
    }
}
