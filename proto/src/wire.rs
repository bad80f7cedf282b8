//! Looking into an encoded object without decoding it. Every kind's metadata is its field 1.

use crate::meta::v1::ObjectMeta;
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};
use std::ops::Range;

const METADATA_FIELD: u32 = 1;
const RESOURCE_VERSION_FIELD: u32 = 6;

/// The object with its `metadata.resourceVersion` set, everything else as it is. Bytes that are no message are
/// returned unchanged: whoever decodes them says what is wrong.
pub fn splice_resource_version(raw: &Bytes, resource_version: &str) -> Bytes {
    splice(raw, resource_version).unwrap_or_else(|_| raw.clone())
}

/// Decodes an object's metadata and nothing else.
pub fn metadata(raw: &[u8]) -> Result<ObjectMeta, DecodeError> {
    let mut metadata = ObjectMeta::default();
    for field in fields(raw)?.into_iter().filter(Field::is_metadata) {
        metadata.merge(&raw[field.content])?;
    }
    Ok(metadata)
}

fn splice(raw: &[u8], resource_version: &str) -> Result<Bytes, DecodeError> {
    // One more field than there was, in the worst case: two keys, two lengths of up to 10 bytes each.
    let mut out = BytesMut::with_capacity(raw.len() + resource_version.len() + 24);
    let objects = fields(raw)?;
    // Of a message that comes in several parts, the last part's scalars are the ones that count.
    let Some(last) = objects.iter().rposition(Field::is_metadata) else {
        put_metadata(&mut out, &[], resource_version)?;
        out.put_slice(raw);
        return Ok(out.freeze());
    };
    for (i, field) in objects.into_iter().enumerate() {
        if i == last {
            put_metadata(&mut out, &raw[field.content], resource_version)?;
        } else {
            out.put_slice(&raw[field.whole]);
        }
    }
    Ok(out.freeze())
}

fn put_metadata(out: &mut BytesMut, metadata: &[u8], resource_version: &str) -> Result<(), DecodeError> {
    let fields = fields(metadata)?;
    let kept: Vec<Field> = fields
        .into_iter()
        .filter(|field| field.number != RESOURCE_VERSION_FIELD)
        .collect();
    let place = kept
        .iter()
        .position(|field| field.number > RESOURCE_VERSION_FIELD)
        .unwrap_or(kept.len());
    let kept_length: usize = kept.iter().map(|field| field.whole.len()).sum();
    let version = resource_version.to_string();
    let version_length = encoding::string::encoded_len(RESOURCE_VERSION_FIELD, &version);

    encoding::encode_key(METADATA_FIELD, WireType::LengthDelimited, out);
    encoding::encode_varint((kept_length + version_length) as u64, out);
    kept[..place]
        .iter()
        .for_each(|field| out.put_slice(&metadata[field.whole.clone()]));
    encoding::string::encode(RESOURCE_VERSION_FIELD, &version, out);
    kept[place..]
        .iter()
        .for_each(|field| out.put_slice(&metadata[field.whole.clone()]));
    Ok(())
}

/// Where a field lies in a message.
struct Field {
    number: u32,
    wire_type: WireType,
    /// With its key and its length.
    whole: Range<usize>,
    /// Without; empty for a field that has no length.
    content: Range<usize>,
}

impl Field {
    fn is_metadata(&self) -> bool {
        self.number == METADATA_FIELD && self.wire_type == WireType::LengthDelimited
    }
}

fn fields(message: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let (mut rest, mut fields) = (message, Vec::new());
    while !rest.is_empty() {
        let start = message.len() - rest.len();
        let (number, wire_type) = encoding::decode_key(&mut rest)?;
        let mut content = rest;
        encoding::skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
        let end = message.len() - rest.len();
        let content_start = match wire_type {
            WireType::LengthDelimited => {
                encoding::decode_varint(&mut content)?;
                message.len() - content.len()
            }
            _ => end,
        };
        fields.push(Field {
            number,
            wire_type,
            whole: start..end,
            content: content_start..end,
        });
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::Pod;
    use proptest::prelude::*;

    fn check(pod: Pod, resource_version: &str) {
        let spliced = splice_resource_version(&pod.encode_to_vec().into(), resource_version);
        let mut want = pod;
        want.metadata_mut().resource_version = resource_version.into();
        assert_eq!(Pod::decode(spliced.clone()).unwrap(), want);
        assert_eq!(
            spliced,
            want.encode_to_vec(),
            "the encoding is what prost would write"
        );
        assert_eq!(metadata(&spliced).unwrap(), *want.metadata());
    }

    proptest! {
        #[test]
        fn splicing_is_setting_the_version_and_encoding_again(
            name in "[a-z]{0,200}", old in "[0-9]{0,3}", new in "[0-9]{1,20}", uid in "[a-z]{0,3}",
            generation in 0..1000i64, node in "[a-z]{0,3}",
        ) {
            let mut pod = Pod::default();
            let metadata = pod.metadata_mut();
            metadata.name = name;
            metadata.resource_version = old;
            metadata.uid = uid;
            metadata.generation = generation;
            pod.spec_mut().node_name = node;
            check(pod, &new);
        }
    }

    #[test]
    fn an_object_without_metadata_gets_some() {
        check(Pod::default(), "7");
    }

    #[test]
    fn of_metadata_in_two_parts_the_version_is_the_spliced_one() {
        let part = |name: &str, version: &str| {
            let mut pod = Pod::default();
            pod.metadata_mut().name = name.into();
            pod.metadata_mut().resource_version = version.into();
            pod.encode_to_vec()
        };
        let raw: Bytes = [part("a", "1"), part("b", "2")].concat().into();
        let pod = Pod::decode(splice_resource_version(&raw, "3")).unwrap();
        assert_eq!(
            (&*pod.metadata().name, &*pod.metadata().resource_version),
            ("b", "3")
        );
    }

    #[test]
    fn bytes_that_are_no_message_stay_as_they_are() {
        for raw in [&b"\xff\xff"[..], b"\x0a\x05ab", b"\x0a\x02\xff\xff"] {
            assert_eq!(splice_resource_version(&Bytes::from(raw), "1"), raw);
            assert!(metadata(raw).is_err());
        }
    }
}
