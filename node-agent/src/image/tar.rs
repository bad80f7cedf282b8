//! Where the files of a tar archive lie (POSIX ustar and pax, GNU long names).

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

const BLOCK: u64 = 512;
/// Far more files than an image archive has: one per layer, and a few.
const MOST_ENTRIES: usize = 100_000;
/// A long name, or a pax header.
const MOST_HEADER_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    File {
        offset: u64,
        size: u64,
    },
    /// The name that a symbolic or hard link points at, from the archive's root.
    Link(String),
}

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("reading the archive: {0}")]
    Read(#[from] io::Error),
    #[error("not a tar archive: {0}")]
    Malformed(&'static str),
    #[error("the archive is compressed with {0}; decompress it first")]
    Compressed(&'static str),
}

/// The files and links by name, without a leading `./`.
pub fn index(archive: &mut (impl Read + Seek)) -> Result<BTreeMap<String, Entry>, TarError> {
    let length = archive.seek(SeekFrom::End(0))?;
    let mut entries = BTreeMap::new();
    let (mut position, mut extra) = (0, Extra::default());
    while position + BLOCK <= length {
        archive.seek(SeekFrom::Start(position))?;
        let mut header = [0; BLOCK as usize];
        archive.read_exact(&mut header)?;
        if position == 0 {
            refuse_compressed(&header)?;
        }
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        check_sum(&header)?;
        let size = extra.size.unwrap_or(number(&header[124..136])?);
        let body = position + BLOCK;
        let end = body
            .checked_add(size)
            .filter(|end| *end <= length)
            .ok_or(TarError::Malformed("it ends too early"))?;
        position = end.div_ceil(BLOCK) * BLOCK;
        match header[156] {
            b'L' => extra.name = Some(zero_ended(&small(archive, size)?)),
            b'K' => extra.link = Some(zero_ended(&small(archive, size)?)),
            b'x' => extra.read_pax(&small(archive, size)?)?,
            b'g' => {}
            kind => {
                let name = clean(&extra.name.take().unwrap_or_else(|| header_name(&header)));
                let link = extra.link.take().unwrap_or_else(|| zero_ended(&header[157..257]));
                let entry = match kind {
                    b'0' | 0 | b'7' => Some(Entry::File { offset: body, size }),
                    b'1' => Some(Entry::Link(clean(&link))),
                    b'2' => Some(Entry::Link(resolve(&name, &link))),
                    _ => None,
                };
                entries.extend(entry.map(|entry| (name, entry)));
                extra = Extra::default();
                if entries.len() > MOST_ENTRIES {
                    return Err(TarError::Malformed("it has too many entries"));
                }
            }
        }
    }
    Ok(entries)
}

/// What preceding headers say of the next entry.
#[derive(Default)]
struct Extra {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Extra {
    /// Records of the form `LENGTH KEY=VALUE\n`.
    fn read_pax(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        const BAD: TarError = TarError::Malformed("a pax header is damaged");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
            let length: usize = String::from_utf8_lossy(&records[..space])
                .parse()
                .map_err(|_| BAD)?;
            let record = records.get(space + 1..length).ok_or(BAD)?;
            records = &records[length..];
            let text = String::from_utf8_lossy(record);
            match text.trim_end_matches('\n').split_once('=') {
                Some(("path", value)) => self.name = Some(value.to_string()),
                Some(("linkpath", value)) => self.link = Some(value.to_string()),
                Some(("size", value)) => self.size = Some(value.parse().map_err(|_| BAD)?),
                _ => {}
            }
        }
        Ok(())
    }
}

fn refuse_compressed(start: &[u8]) -> Result<(), TarError> {
    match start {
        [0x1f, 0x8b, ..] => Err(TarError::Compressed("gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(TarError::Compressed("zstd")),
        [0xfd, b'7', b'z', ..] => Err(TarError::Compressed("xz")),
        [b'B', b'Z', b'h', ..] => Err(TarError::Compressed("bzip2")),
        _ => Ok(()),
    }
}

fn check_sum(header: &[u8; BLOCK as usize]) -> Result<(), TarError> {
    let sum = |byte: (usize, &u8)| {
        if (148..156).contains(&byte.0) {
            32
        } else {
            u64::from(*byte.1)
        }
    };
    match number(&header[148..156]) {
        Ok(written) if written == header.iter().enumerate().map(sum).sum::<u64>() => Ok(()),
        _ => Err(TarError::Malformed("a header's checksum is wrong")),
    }
}

fn small(archive: &mut impl Read, size: u64) -> Result<Vec<u8>, TarError> {
    if size > MOST_HEADER_BYTES {
        return Err(TarError::Malformed("a header is too long"));
    }
    let mut bytes = vec![0; size as usize];
    archive.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Octal digits, or, with the first bit set, a big-endian number (GNU).
fn number(field: &[u8]) -> Result<u64, TarError> {
    if field[0] & 0x80 != 0 {
        let bytes = &field[field.len() - 8..];
        return Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let text = zero_ended(field);
    match text.trim() {
        "" => Ok(0),
        digits => u64::from_str_radix(digits, 8).map_err(|_| TarError::Malformed("a number is not octal")),
    }
}

fn zero_ended(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn header_name(header: &[u8; BLOCK as usize]) -> String {
    let name = zero_ended(&header[0..100]);
    let is_ustar = &header[257..263] == b"ustar\0";
    match zero_ended(&header[345..500]) {
        prefix if is_ustar && !prefix.is_empty() => format!("{prefix}/{name}"),
        _ => name,
    }
}

fn clean(name: &str) -> String {
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

/// A symbolic link's target, from the archive's root.
fn resolve(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Cursor;

    /// One entry of a ustar archive.
    pub fn entry(name: &str, kind: u8, link: &str, body: &[u8]) -> Vec<u8> {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend(body);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    }

    pub fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes: Vec<u8> = entries.concat();
        bytes.extend([0; 1024]);
        bytes
    }

    #[test]
    fn files_links_and_long_names_are_found() {
        let long = "d/".repeat(80) + "file";
        let pax = format!("path={long}\n");
        let record = format!("{} {pax}", pax.len() + 4);
        let bytes = archive(&[
            entry("./a", b'0', "", b"hello"),
            entry("dir/", b'5', "", b""),
            entry("dir/link", b'2', "../a", b""),
            entry("hard", b'1', "./a", b""),
            entry("long", b'L', "", format!("{long}1\0").as_bytes()),
            entry("short", b'0', "", b"1"),
            entry("pax", b'x', "", record.as_bytes()),
            entry("short", b'0', "", b"2"),
        ]);
        let entries = index(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(entries["a"], Entry::File { offset: 512, size: 5 });
        assert_eq!(entries["dir/link"], Entry::Link("a".into()));
        assert_eq!(entries["hard"], Entry::Link("a".into()));
        assert!(
            entries.contains_key(&format!("{long}1")) && entries.contains_key(&long),
            "{entries:?}"
        );
        assert_eq!(entries.len(), 5);
    }

    #[test]
    fn what_is_no_archive_is_refused_with_the_reason() {
        let check = |bytes: &[u8], part: &str| {
            let error = index(&mut Cursor::new(bytes)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let mut compressed = vec![0x1f, 0x8b];
        compressed.resize(2048, 7);
        check(&compressed, "gzip; decompress");
        check(&[7; 2048], "checksum");
        let mut cut = entry("a", b'0', "", &[1; 5000]);
        cut.truncate(2000);
        check(&cut, "ends too early");
    }
}
