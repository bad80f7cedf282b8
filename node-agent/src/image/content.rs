//! Writing blobs and images into containerd, under a lease that keeps them until they are referred to.

use crate::image::archive::{Blob, Image, Source};
use crate::runtime::{Result, Runtime, RuntimeError};
use containerd_client::services::v1 as containerd;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::types::Descriptor;
use std::collections::HashMap;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tonic::Code;

/// CRI's namespace in containerd.
const NAMESPACE: &str = "k8s.io";
/// Large beside the cost of a message, and small beside what the agent has in memory: larger pieces stay there, in the
/// allocator, after the import.
const CHUNK: usize = 256 << 10;
/// An import that was interrupted is collected after this.
const LEASE_SECONDS: i64 = 3600;
/// CRI looks after images with this label.
const MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");

/// A lease in containerd; what is written under it is kept until it is released or expires.
pub struct Lease {
    runtime: Runtime,
    id: String,
}

impl Lease {
    pub async fn take(runtime: &Runtime, name: &str, now: std::time::SystemTime) -> Result<Lease> {
        let expires = jiff::Timestamp::try_from(now).ok().and_then(|now| {
            now.checked_add(jiff::SignedDuration::from_secs(LEASE_SECONDS))
                .ok()
        });
        let labels = expires.map(|time| ("containerd.io/gc.expire".to_string(), time.to_string()));
        let request = containerd::CreateRequest {
            id: name.into(),
            labels: labels.into_iter().collect(),
        };
        let reply = LeasesClient::new(runtime.channel())
            .create(request_in_namespace(request, None))
            .await?;
        let id = reply
            .into_inner()
            .lease
            .map_or_else(|| name.to_string(), |lease| lease.id);
        Ok(Lease {
            runtime: runtime.clone(),
            id,
        })
    }

    pub async fn release(self) -> Result<()> {
        let request = containerd::DeleteRequest {
            id: self.id.clone(),
            sync: false,
        };
        LeasesClient::new(self.runtime.channel())
            .delete(request_in_namespace(request, None))
            .await?;
        Ok(())
    }

    /// Writes a blob, unless it is there already; then only what it refers to is noted.
    pub async fn write(&self, blob: &Blob, archive: &mut File) -> anyhow::Result<()> {
        let labels: HashMap<String, String> = blob
            .refers_to
            .iter()
            .map(|(digest, suffix)| (format!("containerd.io/gc.ref.content.{suffix}"), digest.clone()))
            .collect();
        match self.try_write(blob, archive, &labels).await? {
            Ok(()) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => Ok(self.label(blob, labels).await?),
            Err(status) => Err(RuntimeError::from(status).into()),
        }
    }

    async fn try_write(
        &self,
        blob: &Blob,
        archive: &mut File,
        labels: &HashMap<String, String>,
    ) -> anyhow::Result<std::result::Result<(), tonic::Status>> {
        if let Source::Archive { offset } = blob.source {
            archive.seek(std::io::SeekFrom::Start(offset)).await?;
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut client = ContentClient::new(self.runtime.channel());
        let first = containerd::WriteContentRequest {
            action: containerd::WriteAction::Stat as i32,
            r#ref: format!("gantry-import-{}", blob.digest),
            total: i64::try_from(blob.size)?,
            expected: blob.digest.clone(),
            ..containerd::WriteContentRequest::default()
        };
        sender.send(first.clone()).await?;
        let mut replies = match client.write(request_in_namespace(requests, Some(&self.id))).await {
            Ok(replies) => replies.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        let mut offset = match replies.message().await {
            Ok(Some(status)) => u64::try_from(status.offset).unwrap_or(0),
            Ok(None) => 0,
            Err(status) => return Ok(Err(status)),
        };
        // What an interrupted import wrote is not trusted: the write begins anew.
        if offset > 0 {
            offset = 0;
        }
        loop {
            let left = blob.size - offset;
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let data = match &blob.source {
                Source::Bytes(bytes) => bytes[offset as usize..offset as usize + length].to_vec(),
                Source::Archive { .. } => {
                    let mut data = vec![0; length];
                    archive.read_exact(&mut data).await?;
                    data
                }
            };
            let is_last = left == length as u64;
            let action = if is_last {
                containerd::WriteAction::Commit
            } else {
                containerd::WriteAction::Write
            };
            let request = containerd::WriteContentRequest {
                action: action as i32,
                offset: i64::try_from(offset)?,
                data,
                labels: if is_last { labels.clone() } else { HashMap::new() },
                ..first.clone()
            };
            // A closed stream has its reason in the reply.
            let _ = sender.send(request).await;
            if let Err(status) = replies.message().await {
                return Ok(Err(status));
            }
            offset += length as u64;
            if is_last {
                return Ok(Ok(()));
            }
        }
    }

    async fn label(&self, blob: &Blob, labels: HashMap<String, String>) -> Result<()> {
        if labels.is_empty() {
            return Ok(());
        }
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = containerd::Info {
            digest: blob.digest.clone(),
            labels,
            ..containerd::Info::default()
        };
        let request = containerd::UpdateRequest {
            info: Some(info),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        ContentClient::new(self.runtime.channel())
            .update(request_in_namespace(request, Some(&self.id)))
            .await?;
        Ok(())
    }

    /// Makes the name stand for the image, whatever it stood for before.
    pub async fn name(&self, name: &str, image: &Image) -> Result<()> {
        let target = Descriptor {
            media_type: image.media_type.clone(),
            digest: image.digest.clone(),
            size: i64::try_from(image.size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        let record = containerd::Image {
            name: name.into(),
            labels: [(MANAGED.0.to_string(), MANAGED.1.to_string())].into(),
            target: Some(target),
            ..containerd::Image::default()
        };
        let mut client = ImagesClient::new(self.runtime.channel());
        let create = containerd::CreateImageRequest {
            image: Some(record.clone()),
            ..Default::default()
        };
        match client.create(request_in_namespace(create, Some(&self.id))).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                let update = containerd::UpdateImageRequest {
                    image: Some(record),
                    ..Default::default()
                };
                client
                    .update(request_in_namespace(update, Some(&self.id)))
                    .await?;
                Ok(())
            }
            Err(status) => Err(status.into()),
        }
    }
}

fn request_in_namespace<T>(message: T, lease: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(
        "containerd-namespace",
        tonic::metadata::MetadataValue::from_static(NAMESPACE),
    );
    if let Some(lease) = lease.and_then(|lease| lease.parse().ok()) {
        metadata.insert("containerd-lease", lease);
    }
    request
}
