//! Generates the types from `proto/`: prost messages and tonic services, presence accessors, and each
//! message's JSON form from its descriptor.

#[path = "build/comments.rs"]
mod comments;
#[path = "build/json.rs"]
mod json;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(false)
        .open_files(proto_files(Path::new("proto"))?)?;
    // Written whole, options included: reflection and everything generic over the schema read it.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    // Apart, because few programs show them.
    fs::write(
        out.join("comments.txt"),
        comments::of_files(proto_files(Path::new("proto"))?)?,
    )?;
    let pool = compiler.descriptor_pool();

    let mut config = prost_build::Config::new();
    config
        .btree_map(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com");
    // An object's bytes are shared between the cache, the log of events and every reply.
    config.extern_path(".google.protobuf.Any", "crate::any::Any");
    config.bytes([".gantry.api.v1", ".gantry.meta.v1.Unknown"]);
    tonic_prost_build::configure()
        .build_transport(true)
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;

    for package in packages(&pool) {
        fs::write(
            out.join(format!("{package}.json.rs")),
            package_code(&pool, &package)?,
        )?;
    }
    Ok(())
}

fn proto_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                files.push(path.strip_prefix(root).unwrap_or(&path).to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The packages whose messages are resources or parts of them. The services' own messages have no JSON form
/// beyond protobuf's.
fn packages(pool: &DescriptorPool) -> Vec<String> {
    let mut packages: Vec<String> = pool
        .files()
        .map(|f| f.package_name().to_string())
        .filter(|p| {
            p.starts_with("gantry.")
                && !["gantry.api.v1", "gantry.node.v1", "gantry.scheduler.v1"].contains(&p.as_str())
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

fn package_code(pool: &DescriptorPool, package: &str) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    let messages = pool
        .all_messages()
        .filter(|m| m.package_name() == package && !m.is_map_entry());
    for message in messages {
        accessors(&mut code, &message)?;
        json::message(&mut code, pool, &message)?;
    }
    Ok(code)
}

/// `pod.spec()` for reading and `pod.spec_mut()` for writing, so that decisions are not littered with
/// `Option`: an absent message reads as its empty value.
fn accessors(code: &mut String, message: &MessageDescriptor) -> std::fmt::Result {
    let name = json::type_name(message);
    writeln!(code, "impl {name} {{")?;
    writeln!(code, "    /// The value that an absent `{name}` reads as.")?;
    writeln!(code, "    pub fn empty() -> &'static Self {{")?;
    writeln!(
        code,
        "        static EMPTY: ::std::sync::LazyLock<{name}> = ::std::sync::LazyLock::new({name}::default);"
    )?;
    writeln!(code, "        &EMPTY\n    }}")?;
    for field in message.fields() {
        let Kind::Message(target) = field.kind() else {
            continue;
        };
        if field.is_list() || field.is_map() {
            continue;
        }
        let (field_name, path) = (json::rust_name(field.name()), json::rust_path(message, &target));
        writeln!(code, "    pub fn {field_name}(&self) -> &{path} {{")?;
        writeln!(
            code,
            "        self.{field_name}.as_ref().unwrap_or_else(|| {path}::empty())\n    }}"
        )?;
        writeln!(
            code,
            "    pub fn {}_mut(&mut self) -> &mut {path} {{",
            field.name()
        )?;
        writeln!(code, "        self.{field_name}.get_or_insert_default()\n    }}")?;
    }
    writeln!(code, "}}\n")
}
