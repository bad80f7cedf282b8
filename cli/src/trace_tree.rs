//! A trace as a person reads it: the tree of causes, when each step began and how long it took, and the critical
//! path, the chain of causes that led to what happened last.

use gantry_proto::api::v1::TraceSpan;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

/// What a span is about, best first; the first one that it has is shown.
const SUBJECTS: [&str; 8] = [
    "k8s.container.name",
    "gantry.object",
    "k8s.pod.name",
    "gantry.key",
    "container.image.name",
    "cni.plugin",
    "gantry.resource",
    "gantry.services",
];

/// Spans by their place in the tree.
struct Tree<'a> {
    spans: &'a [TraceSpan],
    /// By start.
    roots: Vec<usize>,
    children: HashMap<&'a str, Vec<usize>>,
    index: HashMap<&'a str, usize>,
    /// The ids of spans that go on.
    open: BTreeSet<String>,
}

/// The trace as text. Spans may come in any order.
pub fn render(trace_id: &str, spans: &[TraceSpan]) -> String {
    let mut spans = spans.to_vec();
    spans.sort_by(|a, b| (a.start_unix_nanos, &a.span_id).cmp(&(b.start_unix_nanos, &b.span_id)));
    // What goes on has lasted at least until the last thing that is known.
    let latest = spans
        .iter()
        .map(|span| span.start_unix_nanos.max(span.end_unix_nanos))
        .max();
    let open: BTreeSet<String> = spans
        .iter_mut()
        .filter(|span| span.end_unix_nanos == 0)
        .map(|span| {
            span.end_unix_nanos = latest.unwrap_or(0);
            span.span_id.clone()
        })
        .collect();
    let tree = Tree::new(&spans, open);
    let (Some(first), Some(last)) = (spans.first(), last(&spans)) else {
        return format!("trace {trace_id}: no process remembers a span of it\n");
    };
    let start = first.start_unix_nanos;
    let path = tree.path_to(last);
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    let mut text = format!(
        "trace {trace_id}: {} in {} spans of {} processes\n\n   START      TOOK\n",
        duration(spans[last].end_unix_nanos.saturating_sub(start)),
        spans.len(),
        services.len()
    );
    for &root in &tree.roots {
        tree.write(&mut text, root, "", "", start, &path);
    }
    let _ = writeln!(
        text,
        "\n* critical path, {} in all; each step with the time until the next began:",
        duration(spans[last].end_unix_nanos.saturating_sub(start))
    );
    for (position, &index) in path.iter().enumerate() {
        let span = &spans[index];
        let until = match path.get(position + 1) {
            Some(&next) => spans[next].start_unix_nanos,
            None => span.end_unix_nanos,
        };
        let _ = writeln!(
            text,
            "{:>8} {:>9}   {}",
            offset(span.start_unix_nanos, start),
            duration(until.saturating_sub(span.start_unix_nanos)),
            title(span)
        );
    }
    text
}

impl<'a> Tree<'a> {
    /// `spans` are in order of their start.
    fn new(spans: &'a [TraceSpan], open: BTreeSet<String>) -> Tree<'a> {
        let index: HashMap<&str, usize> = spans
            .iter()
            .enumerate()
            .map(|(index, span)| (span.span_id.as_str(), index))
            .collect();
        let mut tree = Tree {
            spans,
            roots: Vec::new(),
            children: HashMap::new(),
            index,
            open,
        };
        for (index, span) in spans.iter().enumerate() {
            // A span whose parent nobody remembers stands at the top.
            let parent = span.parent_span_id.as_str();
            let known = tree.index.contains_key(parent) && parent != span.span_id;
            match known {
                true => tree.children.entry(parent).or_default().push(index),
                false => tree.roots.push(index),
            }
        }
        tree
    }

    /// From a root to a span.
    fn path_to(&self, last: usize) -> Vec<usize> {
        let mut path = vec![last];
        while let Some(&parent) = self
            .index
            .get(self.spans[path[path.len() - 1]].parent_span_id.as_str())
        {
            // What others report need not be a tree.
            if path.contains(&parent) {
                break;
            }
            path.push(parent);
        }
        path.reverse();
        path
    }

    fn write(&self, text: &mut String, index: usize, lead: &str, below: &str, start: u64, path: &[usize]) {
        let span = &self.spans[index];
        let mark = if path.contains(&index) { '*' } else { ' ' };
        let took = match self.open.contains(&span.span_id) {
            true => "goes on".to_string(),
            false => duration(span.end_unix_nanos.saturating_sub(span.start_unix_nanos)),
        };
        let _ = writeln!(
            text,
            "{:>8} {took:>9} {mark} {lead}{}",
            offset(span.start_unix_nanos, start),
            title(span)
        );
        let children = self
            .children
            .get(span.span_id.as_str())
            .map_or(&[][..], Vec::as_slice);
        for (position, &child) in children.iter().enumerate() {
            let (branch, more) = match position + 1 == children.len() {
                true => ("└ ", "  "),
                false => ("├ ", "│ "),
            };
            self.write(
                text,
                child,
                &format!("{below}{branch}"),
                &format!("{below}{more}"),
                start,
                path,
            );
        }
    }
}

/// The span that ended last.
fn last(spans: &[TraceSpan]) -> Option<usize> {
    (0..spans.len()).max_by_key(|&index| (spans[index].end_unix_nanos, index))
}

fn title(span: &TraceSpan) -> String {
    let service = span.service.strip_prefix("gantry-").unwrap_or(&span.service);
    let subject = SUBJECTS.iter().find_map(|subject| span.attributes.get(*subject));
    let mut title = span.name.clone();
    if let Some(subject) = subject {
        let _ = write!(title, " {subject}");
    }
    let _ = write!(title, "  [{service}]");
    if span.error {
        title.push_str("  FAILED");
    }
    if !span.links.is_empty() {
        let _ = write!(title, "  also caused by {}", span.links.join(", "));
    }
    title
}

fn offset(time: u64, start: u64) -> String {
    format!("+{}", duration(time.saturating_sub(start)))
}

/// Such as `0.4ms`, `38ms`, `2.41s`, `3m20s`.
fn duration(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    match millis {
        0..10 => format!("{}.{}ms", millis, nanos / 100_000 % 10),
        10..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{:02}s", millis / 1_000, millis % 1_000 / 10),
        _ => format!("{}m{}s", millis / 60_000, millis / 1_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, service: &str, name: &str, start: u64, end: u64) -> TraceSpan {
        TraceSpan {
            service: service.into(),
            span_id: id.into(),
            parent_span_id: parent.into(),
            name: name.into(),
            start_unix_nanos: start * 1_000_000,
            end_unix_nanos: end * 1_000_000,
            ..TraceSpan::default()
        }
    }

    #[test]
    fn a_trace_is_a_tree_with_its_critical_path() {
        let mut reconcile = span(
            "c",
            "b",
            "gantry-controller-manager",
            "deployment.reconcile",
            1012,
            1030,
        );
        reconcile
            .attributes
            .insert("gantry.key".into(), "default/web".into());
        let mut failed = span(
            "e",
            "b",
            "gantry-controller-manager",
            "endpoint_slice.reconcile",
            1013,
            1015,
        );
        failed.error = true;
        let spans = [
            span("d", "c", "gantry-node-agent", "container.start", 1200, 3410),
            span("a", "", "gantry-cli", "gantry apply", 1000, 1011),
            failed,
            span(
                "b",
                "a",
                "gantry-apiserver",
                "gantry.api.v1.Resources/Create",
                1002,
                1010,
            ),
            reconcile,
            span("z", "gone", "gantry-proxy", "proxy.program", 1100, 1101),
        ];
        expect_test::expect![[r#"
            trace 0af7: 2.41s in 6 spans of 5 processes

               START      TOOK
              +0.0ms      11ms * gantry apply  [cli]
              +2.0ms     8.0ms * └ gantry.api.v1.Resources/Create  [apiserver]
               +12ms      18ms *   ├ deployment.reconcile default/web  [controller-manager]
              +200ms     2.21s *   │ └ container.start  [node-agent]
               +13ms     2.0ms     └ endpoint_slice.reconcile  [controller-manager]  FAILED
              +100ms     1.0ms   proxy.program  [proxy]

            * critical path, 2.41s in all; each step with the time until the next began:
              +0.0ms     2.0ms   gantry apply  [cli]
              +2.0ms      10ms   gantry.api.v1.Resources/Create  [apiserver]
               +12ms     188ms   deployment.reconcile default/web  [controller-manager]
              +200ms     2.21s   container.start  [node-agent]
        "#]]
        .assert_eq(&render("0af7", &spans));
    }

    #[test]
    fn what_goes_on_is_told() {
        let spans = [
            span("a", "", "gantry-node-agent", "node-agent.sync", 0, 0),
            span("b", "a", "gantry-node-agent", "container.stop", 2, 9),
        ];
        expect_test::expect![[r#"
            trace 0af7: 9.0ms in 2 spans of 1 processes

               START      TOOK
              +0.0ms   goes on * node-agent.sync  [node-agent]
              +2.0ms     7.0ms * └ container.stop  [node-agent]
        "#]]
        .assert_eq(
            render("0af7", &spans)
                .split("\n* critical")
                .next()
                .unwrap_or_default(),
        );
    }

    #[test]
    fn what_is_not_a_tree_is_shown_all_the_same() {
        assert!(render("0", &[]).contains("no process remembers"));
        let circle = [
            span("a", "b", "x", "one", 1, 2),
            span("b", "a", "x", "two", 1, 3),
            span("c", "c", "x", "own parent", 1, 2),
        ];
        // Nothing of a circle hangs from a root, but it ends.
        assert!(render("0", &circle).contains("own parent"));
    }

    #[test]
    fn durations_are_short() {
        for (nanos, expected) in [
            (0, "0.0ms"),
            (450_000, "0.4ms"),
            (9_990_000, "9.9ms"),
            (38_000_000, "38ms"),
            (2_417_000_000, "2.41s"),
            (200_000_000_000, "3m20s"),
        ] {
            assert_eq!(duration(nanos), expected);
        }
    }
}
