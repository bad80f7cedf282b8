//! Taints from the command line: `key=value:Effect` sets, `key:Effect-` and `key-` remove (kubectl's cmd/taint).

use crate::failure::Failure;
use crate::go_text;
use gantry_proto::core::v1::Taint;
use gantry_proto::selector::label::{key_complaints, value_complaints};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// What is asked for, in the order given.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    pub add: Vec<Taint>,
    /// Without an effect: those of every effect.
    pub remove: Vec<Taint>,
}

/// Tells the changes from the nodes before them.
pub fn split(arguments: &[String]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let is_taint = |argument: &String| argument.contains(['=', ':']) || argument.ends_with('-');
    let first = arguments.iter().position(is_taint).unwrap_or(arguments.len());
    let (nodes, taints) = arguments.split_at(first);
    if let Some(late) = taints.iter().find(|taint| !is_taint(taint)) {
        return Err(Failure::message(format!(
            "all resources must be specified before taint changes: {late}"
        )));
    }
    if nodes.is_empty() {
        return Err(Failure::message(
            "one or more resources must be specified as <resource> <name>",
        ));
    }
    if taints.is_empty() {
        return Err(Failure::message("at least one taint update is required"));
    }
    Ok((nodes.to_vec(), taints.to_vec()))
}

pub fn parse(specs: &[String]) -> Result<Changes, String> {
    let mut changes = Changes::default();
    for spec in specs {
        if let Some(removed) = spec.strip_suffix('-') {
            let taint = taint(removed)?;
            changes.remove.push(Taint {
                value: String::new(),
                ..taint
            });
            continue;
        }
        let taint = taint(spec)?;
        if taint.effect.is_empty() {
            return Err(format!("invalid taint spec: {spec}"));
        }
        if changes.add.iter().any(|other| same(other, &taint)) {
            let shown = format!("{{{} {} {} <nil>}}", taint.key, taint.value, taint.effect);
            return Err(format!("duplicated taints with the same key and effect: {shown}"));
        }
        changes.add.push(taint);
    }
    let conflicts: Vec<String> = changes
        .remove
        .iter()
        .filter(|removed| changes.add.iter().any(|added| is_removed_by(added, removed)))
        .map(|removed| format!("{}={}", removed.key, removed.effect))
        .collect();
    match conflicts.is_empty() {
        true => Ok(changes),
        false => Err(format!(
            "can not both modify and remove the following taint(s) in the same command: {}",
            conflicts.join(", ")
        )),
    }
}

/// `key=value:effect`, `key:effect` or `key`.
fn taint(spec: &str) -> Result<Taint, String> {
    let invalid = || format!("invalid taint spec: {spec}");
    let parts: Vec<&str> = spec.split(':').collect();
    let (pair, effect) = match parts[..] {
        [pair] => (pair, ""),
        [pair, effect] if EFFECTS.contains(&effect) => (pair, effect),
        [_, effect] => {
            return Err(format!(
                "invalid taint effect: {effect}, unsupported taint effect"
            ));
        }
        _ => return Err(invalid()),
    };
    let (key, value) = match pair.split('=').collect::<Vec<_>>()[..] {
        // Without an effect the whole is a key, which must be valid then.
        [..] if parts.len() == 1 => (pair, ""),
        [key] => (key, ""),
        [key, value] => (key, value),
        _ => return Err(invalid()),
    };
    let mut complaints = value_complaints(value);
    if complaints.is_empty() {
        complaints = key_complaints(key);
    }
    match complaints.is_empty() {
        true => Ok(Taint {
            key: key.into(),
            value: value.into(),
            effect: effect.into(),
            ..Taint::default()
        }),
        false => Err(format!("{}, {}", invalid(), complaints.join("; "))),
    }
}

fn same(a: &Taint, b: &Taint) -> bool {
    a.key == b.key && a.effect == b.effect
}

fn is_removed_by(taint: &Taint, removed: &Taint) -> bool {
    taint.key == removed.key && (removed.effect.is_empty() || taint.effect == removed.effect)
}

/// The node's taints as they are to be, and what that is called.
pub fn decide(
    node: &str,
    present: &[Taint],
    changes: &Changes,
    overwrite: bool,
) -> Result<(Vec<Taint>, &'static str), String> {
    let existing: Vec<&str> = changes
        .add
        .iter()
        .filter(|added| present.iter().any(|old| same(old, added)))
        .map(|added| added.key.as_str())
        .collect();
    if !overwrite && !existing.is_empty() {
        return Err(format!(
            "node {node} already has {} taint(s) with same effect(s) and --overwrite is false",
            existing.join(",")
        ));
    }
    let mut taints = changes.add.clone();
    for old in present {
        if !taints.iter().any(|taint| same(taint, old)) {
            taints.push(old.clone());
        }
    }
    let added = taints.len() != present.len();
    let mut missing = Vec::new();
    let mut removed_last = false;
    for removed in &changes.remove {
        let before = taints.len();
        taints.retain(|taint| !is_removed_by(taint, removed));
        removed_last = taints.len() < before;
        if !removed_last {
            let shown = match removed.effect.as_str() {
                "" => removed.key.clone(),
                effect => format!("{}:{effect}", removed.key),
            };
            missing.push(format!("taint {} not found", go_text::quoted(&shown)));
        }
    }
    match &missing[..] {
        [] => {}
        [one] => return Err(one.clone()),
        many => return Err(format!("[{}]", many.join(", "))),
    }
    let outcome = match (added, removed_last, overwrite) {
        (true, true, _) | (_, _, true) => "modified",
        (true, false, false) => "tainted",
        (false, _, false) => "untainted",
    };
    Ok((taints, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn shown(taint: &Taint) -> String {
        format!("{}={}:{}", taint.key, taint.value, taint.effect)
    }

    #[test]
    fn taints_are_set_and_removed_as_kubectl_does() {
        let present = parse(&words("dedicated=db:NoSchedule old:NoExecute"))
            .unwrap()
            .add;
        let check = |specs: &str, overwrite: bool, expected: Result<(&str, &str), &str>| {
            let decided =
                parse(&words(specs)).and_then(|changes| decide("n1", &present, &changes, overwrite));
            let decided = decided
                .map(|(taints, outcome)| (taints.iter().map(shown).collect::<Vec<_>>().join(" "), outcome));
            let expected = expected.map(|(taints, outcome)| (taints.to_string(), outcome));
            assert_eq!(decided, expected.map_err(String::from), "{specs}");
        };
        check(
            "new=1:NoSchedule",
            false,
            Ok((
                "new=1:NoSchedule dedicated=db:NoSchedule old=:NoExecute",
                "tainted",
            )),
        );
        check("old-", false, Ok(("dedicated=db:NoSchedule", "untainted")));
        check(
            "old:NoExecute-",
            false,
            Ok(("dedicated=db:NoSchedule", "untainted")),
        );
        check(
            "new:NoSchedule old-",
            false,
            Ok(("new=:NoSchedule dedicated=db:NoSchedule", "modified")),
        );
        check(
            "dedicated=web:NoSchedule",
            true,
            Ok(("dedicated=web:NoSchedule old=:NoExecute", "modified")),
        );
        check(
            "dedicated=web:NoSchedule",
            false,
            Err("node n1 already has dedicated taint(s) with same effect(s) and --overwrite is false"),
        );
        check(
            "old:NoSchedule-",
            false,
            Err("taint \"old:NoSchedule\" not found"),
        );
        check("none-", false, Err("taint \"none\" not found"));
        check(
            "x:Never",
            false,
            Err("invalid taint effect: Never, unsupported taint effect"),
        );
        check("x=y", false, {
            let text = "invalid taint spec: x=y, name part must consist of alphanumeric characters, '-', '_' or '.', \
                        and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
                        '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
            Err(text)
        });
        check("a:b:c", false, Err("invalid taint spec: a:b:c"));
        check(
            "a:NoExecute a-",
            false,
            Err("can not both modify and remove the following taint(s) in the same command: a="),
        );
        check(
            "a=1:NoExecute a=2:NoExecute",
            false,
            Err("duplicated taints with the same key and effect: {a 2 NoExecute <nil>}"),
        );
    }

    #[test]
    fn nodes_come_before_the_changes() {
        let check = |arguments: &str, expected: &str| {
            let error = split(&words(arguments)).unwrap_err().to_string();
            assert_eq!(error, expected, "{arguments}");
        };
        check(
            "node n1 a:NoExecute n2",
            "error: all resources must be specified before taint changes: n2",
        );
        check("node n1", "error: at least one taint update is required");
        check(
            "a:NoExecute",
            "error: one or more resources must be specified as <resource> <name>",
        );
    }
}
