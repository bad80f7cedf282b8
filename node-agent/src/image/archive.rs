//! What an image archive holds: an OCI image layout, or what `docker save` writes.
//!
//! The outcome is a list of blobs in the order in which they must be written (what is referred to first) and
//! of images. A docker archive has no manifest with digests: one is made.

use crate::image::reference;
use crate::image::tar::Entry;
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Manifests, indexes and configurations are some kilobytes.
const MOST_JSON_BYTES: u64 = 4 << 20;
/// Links to links.
const MOST_LINKS: usize = 8;
/// Indexes within indexes.
const DEEPEST_INDEX: usize = 4;
const COPY_BUFFER: usize = 1 << 20;

#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    pub blobs: Vec<Blob>,
    pub images: Vec<Image>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    pub digest: String,
    pub size: u64,
    pub source: Source,
    /// Digests that this blob refers to, with the suffix of their garbage collection label.
    pub refers_to: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Archive { offset: u64 },
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// In full form.
    pub names: Vec<String>,
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    /// The digest of its configuration, which is the image's id for CRI.
    pub id: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading the archive: {0}")]
    Read(#[from] std::io::Error),
    #[error("the archive has neither index.json nor manifest.json: it is not an OCI or docker image archive")]
    NotAnImage,
    #[error("{0} is missing in the archive")]
    Missing(String),
    #[error("{0}: {1}")]
    Json(String, serde_json::Error),
    #[error("{0}")]
    Malformed(String),
}

type Result<T> = std::result::Result<T, ArchiveError>;

pub fn contents<R: Read + Seek>(archive: &mut R, entries: &BTreeMap<String, Entry>) -> Result<Contents> {
    let mut reader = Reader {
        archive,
        entries,
        contents: Contents::default(),
    };
    let has = |name: &str| entries.contains_key(name);
    match (has("index.json"), has("manifest.json")) {
        (true, has_docker) => {
            reader.oci()?;
            // An older `docker save` names its images only in the docker part.
            if has_docker && reader.contents.images.iter().all(|image| image.names.is_empty()) {
                reader.docker_names()?;
            }
        }
        (false, true) => reader.docker()?,
        (false, false) => return Err(ArchiveError::NotAnImage),
    }
    Ok(reader.contents)
}

#[derive(Clone, Debug, Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct Reader<'a, R> {
    archive: &'a mut R,
    entries: &'a BTreeMap<String, Entry>,
    contents: Contents,
}

impl<R: Read + Seek> Reader<'_, R> {
    fn oci(&mut self) -> Result<()> {
        let index: Index = self.json("index.json")?;
        for descriptor in index.manifests {
            let Some(id) = self.oci_target(&descriptor, 0)? else {
                continue;
            };
            let names = descriptor
                .annotations
                .get("io.containerd.image.name")
                .or_else(|| {
                    descriptor
                        .annotations
                        .get("org.opencontainers.image.ref.name")
                        .filter(|name| name.contains([':', '/']))
                });
            let names = names
                .and_then(|name| reference::normalized(name))
                .into_iter()
                .collect();
            let (media_type, digest) = (media_type(&descriptor), descriptor.digest);
            self.contents.images.push(Image {
                names,
                media_type,
                digest,
                size: descriptor.size,
                id,
            });
        }
        Ok(())
    }

    /// Adds a manifest or an index and what it refers to. Returns the id of the image for this machine, or
    /// `None` where the archive has not got it.
    fn oci_target(&mut self, target: &Descriptor, depth: usize) -> Result<Option<String>> {
        if depth > DEEPEST_INDEX {
            return Err(ArchiveError::Malformed("indexes are nested too deeply".into()));
        }
        let name = blob_name(&target.digest)?;
        if !self.entries.contains_key(&name) {
            // Other platforms' parts may be left out.
            return if depth > 0 {
                Ok(None)
            } else {
                Err(ArchiveError::Missing(name))
            };
        }
        match media_type(target).as_str() {
            OCI_INDEX | DOCKER_INDEX => {
                let index: Index = self.json(&name)?;
                let (mut id, mut refers_to) = (None, Vec::new());
                for (position, child) in index.manifests.iter().enumerate() {
                    let found = self.oci_target(child, depth + 1)?;
                    if found.is_some() {
                        refers_to.push((child.digest.clone(), format!("m.{position}")));
                    }
                    let is_ours = child.platform.as_ref().is_none_or(is_this_machine);
                    id = id.or(found.filter(|_| is_ours));
                }
                self.add(&name, &target.digest, refers_to)?;
                Ok(id)
            }
            _ => {
                let manifest: Manifest = self.json(&name)?;
                let layers = manifest
                    .layers
                    .iter()
                    .enumerate()
                    .map(|(i, layer)| (layer, format!("l.{i}")));
                let mut refers_to = Vec::new();
                for (part, label) in [(&manifest.config, "config".to_string())]
                    .into_iter()
                    .chain(layers)
                {
                    let part_name = blob_name(&part.digest)?;
                    self.add(&part_name, &part.digest, Vec::new())?;
                    refers_to.push((part.digest.clone(), label));
                }
                self.add(&name, &target.digest, refers_to)?;
                Ok(Some(manifest.config.digest))
            }
        }
    }

    fn docker_names(&mut self) -> Result<()> {
        for docker in self.json::<Vec<DockerImage>>("manifest.json")? {
            let hex = docker
                .config
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .trim_end_matches(".json");
            let names = docker_names(&docker)?;
            let id = format!("sha256:{hex}");
            self.contents
                .images
                .iter_mut()
                .filter(|image| image.id == id)
                .for_each(|image| image.names = names.clone());
        }
        Ok(())
    }

    fn docker(&mut self) -> Result<()> {
        for docker in self.json::<Vec<DockerImage>>("manifest.json")? {
            let config = self.docker_blob(&docker.config, OCI_CONFIG)?;
            let layers: Vec<Value> = docker
                .layers
                .iter()
                .map(|layer| self.docker_blob(layer, ""))
                .collect::<Result<_>>()?;
            let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap_or_default().to_string();
            let mut refers_to = vec![(digest(&config), "config".to_string())];
            refers_to.extend(
                layers
                    .iter()
                    .enumerate()
                    .map(|(i, layer)| (digest(layer), format!("l.{i}"))),
            );
            let id = digest(&config);
            let manifest =
                json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
            let bytes = manifest.to_string().into_bytes();
            let image = Image {
                names: docker_names(&docker)?,
                media_type: OCI_MANIFEST.into(),
                digest: digest_of(&bytes),
                size: bytes.len() as u64,
                id,
            };
            let blob = Blob {
                digest: image.digest.clone(),
                size: image.size,
                source: Source::Bytes(bytes),
                refers_to,
            };
            self.contents.blobs.push(blob);
            self.contents.images.push(image);
        }
        Ok(())
    }

    /// Adds a file of a docker archive under its digest. Returns its descriptor.
    fn docker_blob(&mut self, name: &str, media_type: &str) -> Result<Value> {
        let (offset, size) = self.place(name)?;
        let (digest, start) = self.digest(offset, size)?;
        let media_type = match (media_type, &start[..]) {
            ("", [0x1f, 0x8b, ..]) => format!("{OCI_LAYER}+gzip"),
            ("", [0x28, 0xb5, 0x2f, 0xfd, ..]) => format!("{OCI_LAYER}+zstd"),
            ("", _) => OCI_LAYER.to_string(),
            (known, _) => known.to_string(),
        };
        self.push(Blob {
            digest: digest.clone(),
            size,
            source: Source::Archive { offset },
            refers_to: Vec::new(),
        });
        Ok(json!({"mediaType": media_type, "digest": digest, "size": size}))
    }

    fn add(&mut self, name: &str, digest: &str, refers_to: Vec<(String, String)>) -> Result<()> {
        let (offset, size) = self.place(name)?;
        self.push(Blob {
            digest: digest.into(),
            size,
            source: Source::Archive { offset },
            refers_to,
        });
        Ok(())
    }

    /// Layers are shared between images of one archive.
    fn push(&mut self, blob: Blob) {
        if !self
            .contents
            .blobs
            .iter()
            .any(|other| other.digest == blob.digest)
        {
            self.contents.blobs.push(blob);
        }
    }

    fn place(&self, name: &str) -> Result<(u64, u64)> {
        let mut name = name;
        for _ in 0..MOST_LINKS {
            match self.entries.get(name) {
                Some(Entry::File { offset, size }) => return Ok((*offset, *size)),
                Some(Entry::Link(target)) => name = target,
                None => break,
            }
        }
        Err(ArchiveError::Missing(name.to_string()))
    }

    fn json<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Result<T> {
        let (offset, size) = self.place(name)?;
        if size > MOST_JSON_BYTES {
            return Err(ArchiveError::Malformed(format!(
                "{name} is larger than {MOST_JSON_BYTES} bytes"
            )));
        }
        self.archive.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; size as usize];
        self.archive.read_exact(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| ArchiveError::Json(name.to_string(), error))
    }

    /// The digest of a part of the archive, and its first bytes.
    fn digest(&mut self, offset: u64, size: u64) -> Result<(String, Vec<u8>)> {
        self.archive.seek(SeekFrom::Start(offset))?;
        let (mut context, mut left, mut start) = (Context::new(&SHA256), size, Vec::new());
        let mut buffer = vec![0; COPY_BUFFER];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(COPY_BUFFER).min(COPY_BUFFER);
            self.archive.read_exact(&mut buffer[..wanted])?;
            context.update(&buffer[..wanted]);
            if start.is_empty() {
                start = buffer[..wanted.min(8)].to_vec();
            }
            left -= wanted as u64;
        }
        Ok((hex_digest(context.finish().as_ref()), start))
    }
}

fn docker_names(docker: &DockerImage) -> Result<Vec<String>> {
    let tags = docker.repo_tags.iter().flatten();
    tags.map(|tag| {
        reference::normalized(tag)
            .ok_or_else(|| ArchiveError::Malformed(format!("{tag:?} is not the name of an image")))
    })
    .collect()
}

/// Some writers leave out the media type of what they think obvious.
fn media_type(descriptor: &Descriptor) -> String {
    match descriptor.media_type.as_str() {
        "" => OCI_MANIFEST.to_string(),
        known => known.to_string(),
    }
}

fn is_this_machine(platform: &Platform) -> bool {
    platform.os == "linux" && platform.architecture == crate::node::go_architecture()
}

fn blob_name(digest: &str) -> Result<String> {
    match digest.split_once(':') {
        Some((algorithm, hex)) if reference::is_digest(digest) => Ok(format!("blobs/{algorithm}/{hex}")),
        _ => Err(ArchiveError::Malformed(format!(
            "{digest:?} is not a sha256 digest"
        ))),
    }
}

pub fn digest_of(bytes: &[u8]) -> String {
    hex_digest(ring::digest::digest(&SHA256, bytes).as_ref())
}

fn hex_digest(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("sha256:".to_string(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tar::{index, tests as tar};
    use std::io::Cursor;

    fn read(bytes: &[u8]) -> Result<Contents> {
        let mut archive = Cursor::new(bytes);
        let entries = index(&mut archive).unwrap();
        contents(&mut archive, &entries)
    }

    #[test]
    fn a_docker_archive_gets_a_manifest_with_true_digests() {
        let manifest =
            json!([{"Config": "c.json", "RepoTags": ["hello"], "Layers": ["a/layer.tar", "b/layer.tar"]}]);
        let bytes = tar::archive(&[
            tar::entry("manifest.json", b'0', "", manifest.to_string().as_bytes()),
            tar::entry("c.json", b'0', "", b"{}"),
            tar::entry("a/layer.tar", b'0', "", b"layer"),
            tar::entry("b/layer.tar", b'2', "../a/layer.tar", b""),
        ]);
        let contents = read(&bytes).unwrap();
        let image = &contents.images[0];
        assert_eq!(image.names, ["docker.io/library/hello:latest"]);
        assert_eq!(image.id, digest_of(b"{}"));
        let digests: Vec<&str> = contents.blobs.iter().map(|blob| blob.digest.as_str()).collect();
        assert_eq!(
            digests,
            [digest_of(b"{}").as_str(), &digest_of(b"layer"), &image.digest]
        );
        let Source::Bytes(manifest) = &contents.blobs[2].source else {
            panic!("the manifest is made")
        };
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        assert_eq!(manifest["layers"][1]["mediaType"], OCI_LAYER);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(
            contents.blobs[2].refers_to[1],
            (digest_of(b"layer"), "l.0".to_string())
        );
    }

    fn blob(bytes: &[u8]) -> Vec<u8> {
        tar::entry(&blob_name(&digest_of(bytes)).unwrap(), b'0', "", bytes)
    }

    #[test]
    fn an_oci_layout_is_read_through_its_index() {
        let (config, layer) = (b"{\"a\":1}".to_vec(), b"layer".to_vec());
        let part = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": digest_of(bytes), "size": bytes.len()});
        let manifest =
            json!({"schemaVersion": 2, "config": part(&config, OCI_CONFIG), "layers": [part(&layer, OCI_LAYER)]})
                .to_string()
                .into_bytes();
        let mut top = part(&manifest, OCI_MANIFEST);
        top["annotations"] = json!({"org.opencontainers.image.ref.name": "quay.io/a/b:v1"});
        let index = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
        let bytes = tar::archive(&[
            tar::entry("oci-layout", b'0', "", b"{}"),
            tar::entry("index.json", b'0', "", index.as_bytes()),
            blob(&config),
            blob(&layer),
            blob(&manifest),
        ]);
        let contents = read(&bytes).unwrap();
        assert_eq!(contents.images[0].names, ["quay.io/a/b:v1"]);
        assert_eq!(contents.images[0].id, digest_of(&config));
        assert_eq!(contents.blobs.last().unwrap().digest, digest_of(&manifest));
        assert_eq!(contents.blobs.len(), 3);
    }

    #[test]
    fn a_damaged_archive_is_refused_with_what_is_wrong() {
        let check = |entries: &[Vec<u8>], part: &str| {
            let error = read(&tar::archive(entries)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(
            &[tar::entry("x", b'0', "", b"")],
            "neither index.json nor manifest.json",
        );
        check(
            &[tar::entry("manifest.json", b'0', "", b"[")],
            "manifest.json: EOF",
        );
        let manifest = json!([{"Config": "c.json", "Layers": []}]).to_string();
        check(
            &[tar::entry("manifest.json", b'0', "", manifest.as_bytes())],
            "c.json is missing",
        );
        let manifest = json!([{"Config": "c.json", "RepoTags": ["A B"], "Layers": []}]).to_string();
        let config = tar::entry("c.json", b'0', "", b"{}");
        check(
            &[tar::entry("manifest.json", b'0', "", manifest.as_bytes()), config],
            "\"A B\" is not the name",
        );
    }
}
