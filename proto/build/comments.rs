//! What `proto/` says about each message and field, as lines of a full name, a tab and the comment.

use prost_types::{DescriptorProto, FileDescriptorProto};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The fields' numbers in `FileDescriptorProto` and `DescriptorProto` that paths of comments are made of.
const MESSAGE: i32 = 4;
const FIELD: i32 = 2;

pub fn of_files(files: Vec<PathBuf>) -> Result<String, protox::Error> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).open_files(files)?;
    let mut lines = BTreeMap::new();
    for file in compiler.file_descriptor_set().file {
        lines.extend(of_file(&file));
    }
    Ok(lines
        .into_iter()
        .map(|(name, comment)| format!("{name}\t{comment}\n"))
        .collect())
}

fn of_file(file: &FileDescriptorProto) -> Vec<(String, String)> {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter_map(|location| {
            let comment = location.leading_comments.as_deref()?;
            let name = name_of(&file.message_type, &location.path)?;
            let words: Vec<&str> = comment.split_whitespace().collect();
            Some((format!("{}.{name}", file.package()), words.join(" ")))
        })
        .collect()
}

/// The message or field at a path; nothing else has comments that are asked for.
fn name_of(messages: &[DescriptorProto], path: &[i32]) -> Option<String> {
    let at = |index: &i32| usize::try_from(*index).ok();
    match path {
        [MESSAGE, message] => Some(messages.get(at(message)?)?.name().to_string()),
        [MESSAGE, message, FIELD, field] => {
            let message = messages.get(at(message)?)?;
            let field = message.field.get(at(field)?)?;
            Some(format!("{}.{}", message.name(), field.name()))
        }
        _ => None,
    }
}
