//! Patches beside Kubernetes' own: `kubernetes.jsonl` holds objects and patches, and what Kubernetes 1.36 made of them.
//! `oracle/` is the program that asked.
//!
//! `GANTRY_PATCH_CASES` names a further file of such cases, for a search that is too long to keep.

use gantry_proto::api::v1::PatchType;
use gantry_proto::kinds::KINDS;
use gantry_proto::meta::v1::Status;
use gantry_proto::{KindInfo, patch};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    r#type: String,
    original: Value,
    #[serde(default)]
    patch: Value,
    /// For the type "apply", what is wanted and what there is. The original is what was wanted last, and the result the
    /// patch.
    #[serde(default)]
    modified: Value,
    #[serde(default)]
    current: Value,
    /// Why the patch does not apply, or that what comes of it cannot be read.
    error: Option<String>,
    result: Option<Value>,
}

/// How our answer differs from Kubernetes', if it does.
fn difference(case: &Case) -> Option<String> {
    let info = KINDS.iter().find(|info| info.kind == case.kind).expect("a kind");
    if case.r#type == "apply" {
        let ours = patch::three_way(info.message, &case.original, &case.modified, &case.current);
        let ours = ours.map_err(|error| error.to_string());
        let theirs = match (&case.error, &case.result) {
            (None, Some(theirs)) => Ok(theirs.clone()),
            (theirs, _) => Err(theirs.clone().unwrap_or_default()),
        };
        return (theirs != ours).then(|| {
            format!(
                " {} {}\n  theirs {theirs:?}\n  ours   {ours:?}",
                case.modified, case.current
            )
        });
    }
    let kind = match case.r#type.as_str() {
        "strategic" => PatchType::StrategicMerge,
        "merge" => PatchType::Merge,
        _ => PatchType::Json,
    };
    let ours = patch::apply(kind, info.message, case.original.clone(), &case.patch)
        .map_err(|error| error.to_string())
        .and_then(|patched| canonical(info, &patched).map_err(|error| format!("undecodable: {error}")));
    match (&case.error, case.result.as_ref(), ours) {
        (None, Some(theirs), Ok(ours)) => {
            let theirs = canonical(info, theirs).expect("what Kubernetes printed");
            (theirs != ours).then(|| format!("\n  theirs {theirs}\n  ours   {ours}"))
        }
        (Some(theirs), _, Err(ours)) if same_error(theirs, &ours) => None,
        (theirs, _, ours) => Some(format!("\n  theirs {theirs:?}\n  ours   {ours:?}")),
    }
}

/// The words of decoders differ.
fn same_error(theirs: &str, ours: &str) -> bool {
    let decoding = |text: &str| text.contains("json: ") || text.starts_with("undecodable: ");
    theirs == ours || decoding(theirs) && decoding(ours)
}

/// The object as it is stored, in JSON.
fn canonical(info: &KindInfo, value: &Value) -> Result<Value, String> {
    let (raw, _) = (info.encode_json)(value).map_err(|error| error.to_string())?;
    (info.decode_json)(&raw).map_err(|error| error.to_string())
}

fn check(file: &Path) {
    let lines = BufReader::new(std::fs::File::open(file).expect("cases")).lines();
    let (mut count, mut differences) = (0, Vec::new());
    for line in lines {
        let case: Case = serde_json::from_str(&line.expect("text")).expect("a case");
        count += 1;
        if let Some(difference) = difference(&case) {
            differences.push(format!(
                "{}: {} {}{difference}",
                case.name, case.original, case.patch
            ));
        }
    }
    assert!(count > 0, "no case in {}", file.display());
    assert!(
        differences.is_empty(),
        "{} of {count} cases differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn every_patch_does_what_it_does_in_kubernetes() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/patches/kubernetes.jsonl"));
    if let Some(file) = std::env::var_os("GANTRY_PATCH_CASES") {
        check(&PathBuf::from(file));
    }
}

/// The status that the request is answered with: its code, reason and message, and the cause if there is one.
fn refusal(kind: PatchType, patch: &Value) -> (i32, String, String, String) {
    let pod = json!({"metadata": {"name": "a", "finalizers": []}, "spec": {"containers": [{"name": "a"}]}});
    let error = patch::apply(kind, "gantry.core.v1.Pod", pod, patch).expect_err("refused");
    let status = Status::from(error);
    let cause = status.details().causes.first().map(|cause| cause.message.clone());
    (
        status.code,
        status.reason,
        status.message,
        cause.unwrap_or_default(),
    )
}

#[test]
fn a_patch_that_does_not_apply_is_refused_as_kubernetes_refuses_it() {
    let check = |kind, patch: Value, code, reason: &str, message: &str, cause: &str| {
        let want = (code, reason.to_string(), message.to_string(), cause.to_string());
        assert_eq!(refusal(kind, &patch), want, "{patch}");
    };
    let (strategic, merge, operations) = (PatchType::StrategicMerge, PatchType::Merge, PatchType::Json);
    let rejected = "the server rejected our request due to an error in our request";
    check(
        operations,
        json!([{"op": "test", "path": "/metadata/name", "value": "b"}]),
        422,
        "Invalid",
        rejected,
        "testing value /metadata/name failed: test failed",
    );
    check(
        operations,
        json!([{"op": "remove", "path": "/spec/nothing/x"}]),
        422,
        "Invalid",
        rejected,
        "remove operation does not apply: doc is missing path: \"/spec/nothing/x\": missing value",
    );
    check(
        operations,
        json!({"op": "remove"}),
        400,
        "BadRequest",
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        "",
    );
    let many = vec![json!({"op": "test", "path": "/metadata/name", "value": "a"}); 10_001];
    check(
        operations,
        json!(many),
        413,
        "RequestEntityTooLarge",
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        "",
    );
    check(
        merge,
        json!([]),
        400,
        "BadRequest",
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        "",
    );
    check(merge, json!(null), 400, "BadRequest", "Invalid JSON Patch", "");
    check(
        strategic,
        json!("x"),
        400,
        "BadRequest",
        "json: cannot unmarshal string into Go value of type map[string]interface {}",
        "",
    );
    check(
        strategic,
        json!({"spec": {"$setElementOrder": []}}),
        400,
        "BadRequest",
        "invalid patch format of setElementOrder list",
        "",
    );
    check(
        strategic,
        json!({"metadata": {"finalizers": [["a"]]}}),
        422,
        "Invalid",
        rejected,
        "lists of lists are not supported",
    );
    check(
        strategic,
        json!({"spec": {"containers": [{"image": "b"}]}}),
        500,
        "",
        "map: map[image:b] does not contain declared merge key: name",
        "",
    );
}

#[test]
fn copies_that_copy_themselves_are_stopped() {
    let mut operations =
        vec![json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x".repeat(1000)}})];
    for i in 0..30 {
        operations.push(json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/copy{i}")}));
    }
    let (code, _, _, cause) = refusal(PatchType::Json, &json!(operations));
    assert_eq!(code, 422);
    assert!(
        cause.starts_with("Unable to complete the copy, the accumulated size increase of copy is "),
        "{cause}"
    );
}

#[test]
fn an_object_that_cannot_be_read_after_its_patch_is_told_with_it() {
    let status = patch::undecodable(r#"{"a":1}"#, "why");
    assert_eq!(
        (status.code, status.message.as_str()),
        (422, r#" "" is invalid: patch: Invalid value: "{\"a\":1}": why"#)
    );
}
