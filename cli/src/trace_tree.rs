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
pub struct Tree {
    /// In order of their start. What goes on has lasted at least until the last thing that is known.
    pub spans: Vec<TraceSpan>,
    /// From a root to the span that ended last.
    pub critical_path: Vec<usize>,
    /// By start.
    roots: Vec<usize>,
    /// Of each span.
    children: Vec<Vec<usize>>,
    /// Of each span; none for one whose parent nobody remembers.
    pub parents: Vec<Option<usize>>,
    /// Whether each span goes on.
    open: Vec<bool>,
}

/// A span's line.
pub struct Row {
    pub span: usize,
    pub depth: usize,
    /// The branches that lead to it.
    lead: String,
}

/// The trace as text. Spans may come in any order.
pub fn render(trace_id: &str, spans: &[TraceSpan]) -> String {
    let tree = Tree::new(spans);
    let (Some(summary), Some(start)) = (tree.summary(trace_id), tree.start()) else {
        return format!("trace {trace_id}: no process remembers a span of it\n");
    };
    let mut text = format!("{summary}\n\n   START      TOOK\n");
    for row in tree.rows() {
        let span = &tree.spans[row.span];
        let mark = if tree.critical_path.contains(&row.span) {
            '*'
        } else {
            ' '
        };
        let _ = writeln!(
            text,
            "{:>8} {:>9} {mark} {}{}",
            offset(span.start_unix_nanos, start),
            tree.took(row.span),
            row.lead,
            title(span)
        );
    }
    let _ = writeln!(
        text,
        "\n* critical path, {} in all; each step with the time until the next began:",
        duration(tree.length())
    );
    for (position, &index) in tree.critical_path.iter().enumerate() {
        let span = &tree.spans[index];
        let until = match tree.critical_path.get(position + 1) {
            Some(&next) => tree.spans[next].start_unix_nanos,
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

impl Tree {
    /// Spans may come in any order.
    pub fn new(spans: &[TraceSpan]) -> Tree {
        let mut spans = spans.to_vec();
        spans.sort_by(|a, b| (a.start_unix_nanos, &a.span_id).cmp(&(b.start_unix_nanos, &b.span_id)));
        let open: Vec<bool> = spans.iter().map(|span| span.end_unix_nanos == 0).collect();
        let latest = spans
            .iter()
            .map(|span| span.start_unix_nanos.max(span.end_unix_nanos))
            .max()
            .unwrap_or(0);
        for span in spans.iter_mut().filter(|span| span.end_unix_nanos == 0) {
            span.end_unix_nanos = latest;
        }
        let by_id: HashMap<&str, usize> = spans
            .iter()
            .enumerate()
            .map(|(index, span)| (span.span_id.as_str(), index))
            .collect();
        let parents: Vec<Option<usize>> = spans
            .iter()
            .map(|span| {
                let parent = by_id.get(span.parent_span_id.as_str());
                parent.copied().filter(|_| span.parent_span_id != span.span_id)
            })
            .collect();
        let mut roots = Vec::new();
        let mut children = vec![Vec::new(); spans.len()];
        for (index, parent) in parents.iter().enumerate() {
            // A span whose parent nobody remembers stands at the top.
            match parent {
                Some(parent) => children[*parent].push(index),
                None => roots.push(index),
            }
        }
        let mut tree = Tree {
            spans,
            critical_path: Vec::new(),
            roots,
            children,
            parents,
            open,
        };
        let last = (0..tree.spans.len()).max_by_key(|&index| (tree.spans[index].end_unix_nanos, index));
        if let Some(last) = last {
            tree.critical_path = tree.path_to(last);
        }
        tree
    }

    /// When it began; `None` for a trace without spans.
    pub fn start(&self) -> Option<u64> {
        self.spans.first().map(|span| span.start_unix_nanos)
    }

    /// How long it took until the last span ended.
    pub fn length(&self) -> u64 {
        let ends = self.spans.iter().map(|span| span.end_unix_nanos);
        ends.max().unwrap_or(0).saturating_sub(self.start().unwrap_or(0))
    }

    /// One line about the whole; `None` for a trace without spans.
    pub fn summary(&self, trace_id: &str) -> Option<String> {
        let services: BTreeSet<&str> = self.spans.iter().map(|span| span.service.as_str()).collect();
        (!self.spans.is_empty()).then(|| {
            format!(
                "trace {trace_id}: {} in {} spans of {} processes",
                duration(self.length()),
                self.spans.len(),
                services.len()
            )
        })
    }

    /// How long a span took, or that it goes on.
    pub fn took(&self, index: usize) -> String {
        let span = &self.spans[index];
        match self.open[index] {
            true => "goes on".to_string(),
            false => duration(span.end_unix_nanos.saturating_sub(span.start_unix_nanos)),
        }
    }

    pub fn is_open(&self, index: usize) -> bool {
        self.open[index]
    }

    /// From a root to a span.
    fn path_to(&self, last: usize) -> Vec<usize> {
        let mut path = vec![last];
        let mut seen = BTreeSet::from([last]);
        while let Some(parent) = self.parents[path[path.len() - 1]] {
            // What others report need not be a tree.
            if !seen.insert(parent) {
                break;
            }
            path.push(parent);
        }
        path.reverse();
        path
    }

    /// All spans that hang from a root, parents before their children, siblings by start.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let top = |&root: &usize| (root, 0, String::new(), String::new());
        let mut waiting: Vec<(usize, usize, String, String)> = self.roots.iter().rev().map(top).collect();
        while let Some((span, depth, lead, below)) = waiting.pop() {
            let children = &self.children[span];
            for (position, &child) in children.iter().enumerate().rev() {
                let (branch, more) = match position + 1 == children.len() {
                    true => ("└ ", "  "),
                    false => ("├ ", "│ "),
                };
                waiting.push((
                    child,
                    depth + 1,
                    format!("{below}{branch}"),
                    format!("{below}{more}"),
                ));
            }
            rows.push(Row { span, depth, lead });
        }
        rows
    }
}

/// What a span did, to what.
pub fn label(span: &TraceSpan) -> String {
    let subject = SUBJECTS.iter().find_map(|subject| span.attributes.get(*subject));
    match subject {
        Some(subject) => format!("{} {subject}", span.name),
        None => span.name.clone(),
    }
}

pub fn service(span: &TraceSpan) -> &str {
    span.service.strip_prefix("gantry-").unwrap_or(&span.service)
}

/// All that one line can say of a span. Anybody may have reported it: what would steer a terminal, or begin a line of its
/// own, becomes the sign for what cannot be shown.
pub fn title(span: &TraceSpan) -> String {
    let mut title = format!("{}  [{}]", label(span), service(span));
    if span.error {
        title.push_str("  FAILED");
    }
    if !span.links.is_empty() {
        let _ = write!(title, "  also caused by {}", span.links.join(", "));
    }
    title.replace(char::is_control, "\u{fffd}")
}

pub fn offset(time: u64, start: u64) -> String {
    format!("+{}", duration(time.saturating_sub(start)))
}

/// Such as `0.4ms`, `38ms`, `2.41s`, `3m20s`.
pub fn duration(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    match millis {
        0..10 => format!("{}.{}ms", millis, nanos / 100_000 % 10),
        10..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{:02}s", millis / 1_000, millis % 1_000 / 10),
        _ => format!("{}m{}s", millis / 60_000, millis / 1_000 % 60),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Times in milliseconds; no end for one that goes on.
    pub fn span(id: &str, parent: &str, service: &str, name: &str, start: u64, end: u64) -> TraceSpan {
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
    fn a_span_cannot_steer_the_terminal() {
        let mut evil = span("a", "", "\u{9b}2J", "one\n+0.0ms forged", 1, 2);
        evil.attributes
            .insert("gantry.key".into(), "\u{1b}]0;title\u{7}".into());
        evil.links.push("\r".into());
        let text = render("0af7", &[evil]);
        assert!(
            !text.contains(|letter: char| letter.is_control() && letter != '\n'),
            "{text:?}"
        );
        assert!(
            text.contains("one\u{fffd}+0.0ms forged \u{fffd}]0;title\u{fffd}"),
            "{text:?}"
        );
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
