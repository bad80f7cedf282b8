//! The difference of two objects for a person to read: a unified diff of their indented JSON, as Kubernetes
//! shows where a pod's update is refused.

use serde::Serialize;
use std::fmt::Write as _;

const CONTEXT: usize = 3;
/// Beyond this, what is equal at neither end is shown as replaced as a whole: the table below would have more
/// than a million cells.
const COMPARED_LINES_MAX: usize = 1000;

/// How one line of the diff came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Same,
    Removed,
    Added,
}

pub fn of<T: Serialize>(old: &T, new: &T) -> String {
    let text = |value: &T| {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        // Writing JSON to memory fails only for maps without string keys, and messages have none.
        let _ = value.serialize(&mut serializer);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    unified(&text(old), &text(new))
}

fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let steps = steps(&old, &new);
    let near = |i: usize| {
        let around = i.saturating_sub(CONTEXT)..steps.len().min(i + CONTEXT + 1);
        steps[around].iter().any(|step| *step != Step::Same)
    };
    let mut out = String::new();
    let (mut i, mut at_old, mut at_new) = (0, 0, 0);
    while i < steps.len() {
        if !near(i) {
            (i, at_old, at_new) = (i + 1, at_old + 1, at_new + 1);
            continue;
        }
        let end = (i..steps.len()).find(|i| !near(*i)).unwrap_or(steps.len());
        let count = |skip: Step| steps[i..end].iter().filter(|step| **step != skip).count();
        let (old_count, new_count) = (count(Step::Added), count(Step::Removed));
        let _ = writeln!(
            out,
            "@@ -{} +{} @@",
            range(at_old, old_count),
            range(at_new, new_count)
        );
        for step in &steps[i..end] {
            let (mark, line) = match step {
                Step::Same => (' ', old[at_old]),
                Step::Removed => ('-', old[at_old]),
                Step::Added => ('+', new[at_new]),
            };
            let _ = writeln!(out, "{mark}{line}");
            at_old += usize::from(*step != Step::Added);
            at_new += usize::from(*step != Step::Removed);
        }
        i = end;
    }
    out
}

/// A hunk's place, in the form of diff(1).
fn range(start: usize, count: usize) -> String {
    match count {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        count => format!("{},{count}", start + 1),
    }
}

/// The way from old to new that keeps the most lines.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old_middle, new_middle) = (
        &old_rest[..old_rest.len() - tail],
        &new_rest[..new_rest.len() - tail],
    );
    let mut steps = vec![Step::Same; head];
    if old_middle.len().max(new_middle.len()) > COMPARED_LINES_MAX {
        steps.extend(old_middle.iter().map(|_| Step::Removed));
        steps.extend(new_middle.iter().map(|_| Step::Added));
    } else {
        middle_steps(old_middle, new_middle, &mut steps);
    }
    steps.extend(std::iter::repeat_n(Step::Same, tail));
    steps
}

fn middle_steps(old: &[&str], new: &[&str], steps: &mut Vec<Step>) {
    // common[i][j] is how many lines old[i..] and new[j..] can keep.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let step = if i < old.len() && j < new.len() && old[i] == new[j] {
            Step::Same
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            Step::Removed
        } else {
            Step::Added
        };
        i += usize::from(step != Step::Added);
        j += usize::from(step != Step::Removed);
        steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown_with_those_around_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let new = "a\nb\nc\nd\nX\nY\ng\nh\n";
        assert_eq!(
            unified(old, new),
            "@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n-f\n+X\n+Y\n g\n h\n"
        );
        assert_eq!(unified(old, old), "");
    }

    #[test]
    fn distant_changes_are_shown_apart() {
        let lines = |first: &str, last: &str| {
            let middle: String = (0..20).map(|i| format!("{i}\n")).collect();
            format!("{first}\n{middle}{last}\n")
        };
        let diff = unified(&lines("a", "b"), &lines("A", "B"));
        assert_eq!(diff.matches("@@ -").count(), 2);
        assert!(
            diff.contains("-a\n+A\n 0\n 1\n 2\n@@ -19,4 +19,4 @@\n 17\n 18\n 19\n-b\n+B\n"),
            "{diff}"
        );
    }
}
