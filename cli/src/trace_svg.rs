//! A trace as a picture: one bar for each span, coloured by its service and set in the tree of causes, and the critical
//! path as a line through them.
//!
//! The picture is one SVG file that refers to nothing else and runs nothing. It follows the reader's choice of light or
//! dark where its viewer knows of one, and brings its own background for where it does not.

use crate::trace_tree::{Row, Tree, duration, label, service, title};
use gantry_proto::api::v1::TraceSpan;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Rows of a picture. At 16 pixels each they are the height of five screens, beyond which nobody sees a picture as one;
/// with about 700 bytes each the file is no larger than 300 KB.
const MOST_ROWS: usize = 300;
/// Lines about the axis: more would touch each other.
const MOST_TICKS: u64 = 8;
/// Letters of a row's label: what fits beside the bars.
const LABEL_LETTERS: usize = 58;
/// Of these, what is kept for the number of those that are left out.
const MORE_LETTERS: usize = 6;
/// Letters of the text that a row shows when it is pointed at.
const TITLE_LETTERS: usize = 200;
/// Services that are named; a cluster has six, and others that report spans are few.
const NAMED_SERVICES: usize = 12;

// Pixels.
const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 10.0;
const BARS_LEFT: f64 = 452.0;
/// Room for the text at the end of the longest bar.
const BARS_RIGHT: f64 = 940.0;
const TOP: f64 = 74.0;
const ROW: f64 = 16.0;
const BAR: f64 = 10.0;
const INDENT: f64 = 7.0;
/// Deeper spans are not indented further, so that their labels keep some room.
const MOST_INDENT: usize = 24;
/// A letter's width at most, about, by which a label is cut.
const LETTER: f64 = 6.1;

/// Told apart on a light and on a dark ground, and by most who see colours otherwise.
const COLOURS: [&str; 8] = [
    "#3b82c4", "#d97706", "#2a9d6f", "#b0569b", "#7a8a2e", "#6d6bd0", "#8c6d4f", "#4b8f9c",
];

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#24292f}\
.title{font-size:14px;font-weight:600}\
.dim{fill:#66707b}\
.ground{fill:#ffffff}\
.grid{stroke:#d5dae0;stroke-width:1}\
.way{fill:none;stroke:#cf222e;stroke-width:1.5;stroke-linejoin:round}\
.critical{font-weight:600}\
.failed{stroke:#cf222e;stroke-width:2}\
.open{fill-opacity:.45;stroke:#66707b;stroke-dasharray:3 2}\
@media(prefers-color-scheme:dark){\
text{fill:#e6edf3}.dim{fill:#9aa5b1}.ground{fill:#0d1117}.grid{stroke:#30363d}\
.way{stroke:#ff7b72}.failed{stroke:#ff7b72}.open{stroke:#9aa5b1}}";

/// The trace as an SVG document. Spans may come in any order. Those that took less than `shortest_nanos` are left out,
/// unless they lead to longer ones or are on the critical path; so are the shortest of very many. What is left out is
/// counted where it was.
pub fn render(trace_id: &str, spans: &[TraceSpan], shortest_nanos: u64) -> String {
    let tree = Tree::new(spans);
    let rows = tree.rows();
    let shown = shown(&tree, &rows, shortest_nanos);
    let picture = Picture {
        start: tree.start().unwrap_or(0),
        // A trace without length would have no scale.
        length: tree.length().max(1),
        services: services(&tree),
        critical: tree.critical_path.iter().copied().collect(),
        lines: lines(&rows, &shown),
        tree: &tree,
    };
    let summary = tree.summary(trace_id);
    let heading = summary.unwrap_or_else(|| format!("trace {trace_id}: no process remembers a span of it"));
    picture.draw(&heading, rows.len() - shown.len())
}

struct Picture<'a> {
    tree: &'a Tree,
    start: u64,
    length: u64,
    services: Vec<&'a str>,
    critical: BTreeSet<usize>,
    lines: Vec<Line>,
}

/// A row that is drawn.
struct Line {
    span: usize,
    depth: usize,
    /// Spans that hang from it and are not drawn.
    left_out: usize,
}

/// Which spans are drawn: each with all that led to it.
fn shown(tree: &Tree, rows: &[Row], shortest_nanos: u64) -> BTreeSet<usize> {
    let reachable: BTreeSet<usize> = rows.iter().map(|row| row.span).collect();
    let path = tree.critical_path.iter().filter(|span| reachable.contains(span));
    let mut shown: BTreeSet<usize> = path.copied().take(MOST_ROWS).collect();
    let took = |span: usize| {
        let span = &tree.spans[span];
        span.end_unix_nanos.saturating_sub(span.start_unix_nanos)
    };
    let mut longest_first: Vec<usize> = rows
        .iter()
        .map(|row| row.span)
        // What failed is to be seen, however short it was.
        .filter(|&span| took(span) >= shortest_nanos || tree.spans[span].error)
        .collect();
    longest_first.sort_by_key(|&span| (!tree.spans[span].error, std::cmp::Reverse(took(span)), span));
    for span in longest_first {
        let mut missing = Vec::new();
        let mut next = Some(span);
        while let Some(span) = next.filter(|span| !shown.contains(span)) {
            if shown.len() + missing.len() == MOST_ROWS {
                missing.clear();
                break;
            }
            missing.push(span);
            next = tree.parents[span];
        }
        shown.extend(missing);
    }
    shown
}

/// `rows` has parents before their children, so what is left out belongs to the last shown line that is less deep.
fn lines(rows: &[Row], shown: &BTreeSet<usize>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    // The lines from a root to where we are.
    let mut way: Vec<usize> = Vec::new();
    for row in rows {
        while way.last().is_some_and(|&line| lines[line].depth >= row.depth) {
            way.pop();
        }
        if shown.contains(&row.span) {
            way.push(lines.len());
            lines.push(Line {
                span: row.span,
                depth: row.depth,
                left_out: 0,
            });
        } else if let Some(&line) = way.last() {
            lines[line].left_out += 1;
        }
    }
    lines
}

/// In the order in which they had their first part.
fn services(tree: &Tree) -> Vec<&str> {
    let mut services: Vec<&str> = Vec::new();
    for span in &tree.spans {
        if !services.contains(&service(span)) && services.len() < NAMED_SERVICES {
            services.push(service(span));
        }
    }
    services
}

impl Picture<'_> {
    fn draw(&self, heading: &str, left_out: usize) -> String {
        let bottom = TOP + self.lines.len() as f64 * ROW;
        let height = bottom + 30.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\">\n\
             <title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"22\">{0}</text>\n",
            escaped(heading, TITLE_LETTERS)
        );
        self.legend(&mut svg);
        self.axis(&mut svg, bottom);
        for (row, line) in self.lines.iter().enumerate() {
            self.line(&mut svg, line, TOP + row as f64 * ROW);
        }
        self.way(&mut svg);
        let mut note =
            "The line is the critical path: the chain of causes that led to what ended last.".to_string();
        if left_out > 0 {
            let _ = write!(
                note,
                " Short spans not shown: {left_out}; +n stands where n of them were."
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"dim\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n</svg>",
            bottom + 20.0,
            escaped(&note, TITLE_LETTERS)
        );
        svg
    }

    fn legend(&self, svg: &mut String) {
        let mut x = MARGIN;
        for name in &self.services {
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"34\" width=\"10\" height=\"10\" rx=\"2\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"43\">{}</text>",
                self.colour(name),
                x + 14.0,
                escaped(name, 24)
            );
            x += 14.0 + name.chars().count().min(24) as f64 * LETTER + 16.0;
        }
    }

    fn axis(&self, svg: &mut String, bottom: f64) {
        let step = step(self.length);
        for tick in 0..=self.length / step {
            // A clock may be anywhere.
            let x = self.x(self.start.saturating_add(tick * step));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {} V{bottom}\"/>\
                 <text class=\"dim\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">+{}</text>",
                TOP - 6.0,
                TOP - 10.0,
                match tick {
                    0 => "0".into(),
                    _ => duration(tick * step),
                }
            );
        }
    }

    fn line(&self, svg: &mut String, line: &Line, y: f64) {
        let span = &self.tree.spans[line.span];
        let indent = line.depth.min(MOST_INDENT) as f64 * INDENT;
        let room = ((BARS_LEFT - MARGIN - indent) / LETTER) as usize;
        let more = match line.left_out {
            0 => String::new(),
            left_out => format!("<tspan class=\"dim\" dx=\"5\">+{left_out}</tspan>"),
        };
        let letters = room
            .min(LABEL_LETTERS)
            .saturating_sub(MORE_LETTERS * usize::from(line.left_out > 0));
        let (left, right) = (self.x(span.start_unix_nanos), self.x(span.end_unix_nanos));
        let mut class = String::new();
        if span.error {
            class.push_str(" failed");
        }
        if self.tree.is_open(line.span) {
            class.push_str(" open");
        }
        let weight = match self.critical.contains(&line.span) {
            true => " class=\"critical\"",
            false => "",
        };
        let failed = if span.error { " failed" } else { "" };
        let _ = writeln!(
            svg,
            "<g><title>{} {}</title><text{weight} x=\"{:.1}\" y=\"{:.1}\">{}{more}</text>\
             <rect class=\"bar{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"1.5\" fill=\"{}\"/>\
             <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\">{}{failed}</text></g>",
            escaped(&title(span), TITLE_LETTERS),
            self.tree.took(line.span),
            MARGIN + indent,
            y + 11.0,
            escaped(&label(span), letters),
            y + 3.0,
            // What took no time at this scale is to be seen all the same.
            (right - left).max(1.5),
            self.colour(service(span)),
            right.max(left + 1.5) + 4.0,
            y + 11.0,
            self.tree.took(line.span),
        );
    }

    /// Through each step of the critical path until the next one begins, and down to that.
    fn way(&self, svg: &mut String) {
        let mut way = String::new();
        let critical = self.lines.iter().enumerate();
        let critical = critical.filter(|(_, line)| self.critical.contains(&line.span));
        let mut last = None;
        for (row, line) in critical {
            let span = &self.tree.spans[line.span];
            let (x, y) = (self.x(span.start_unix_nanos), TOP + row as f64 * ROW + 8.0);
            let _ = match way.is_empty() {
                true => write!(way, "M{x:.1} {y:.1}"),
                false => write!(way, " H{x:.1} V{y:.1}"),
            };
            last = Some(span);
        }
        if let Some(span) = last {
            let _ = writeln!(
                svg,
                "<path class=\"way\" d=\"{way} H{:.1}\"/>",
                self.x(span.end_unix_nanos)
            );
        }
    }

    fn x(&self, time: u64) -> f64 {
        let share = time.saturating_sub(self.start) as f64 / self.length as f64;
        BARS_LEFT + share.min(1.0) * (BARS_RIGHT - BARS_LEFT)
    }

    fn colour(&self, service: &str) -> &'static str {
        let known = self.services.iter().position(|known| *known == service);
        COLOURS[known.unwrap_or(NAMED_SERVICES) % COLOURS.len()]
    }
}

/// One, two or five of a decimal unit, so that the axis has few enough lines.
fn step(length: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [1, 2, 5].map(|times| unit.saturating_mul(times)) {
            if length / step <= MOST_TICKS {
                return step;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// Text for an XML document, of so many letters at most. What XML cannot hold at all becomes the sign for that.
fn escaped(text: &str, letters: usize) -> String {
    let mut cut: String = text.chars().take(letters).collect();
    if text.chars().nth(letters).is_some() {
        cut.pop();
        cut.push('…');
    }
    let mut escaped = String::with_capacity(cut.len());
    for letter in cut.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}')
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace_tree::tests::span;

    #[test]
    fn a_trace_is_bars_by_service_in_a_tree_with_its_critical_path() {
        let mut failed = span("d", "b", "gantry-proxy", "proxy.program", 1013, 1015);
        failed.error = true;
        let spans = [
            span("c", "b", "gantry-node-agent", "container.start", 1200, 3410),
            span("a", "", "gantry-cli", "gantry apply", 1000, 1011),
            span("b", "a", "gantry-apiserver", "Resources/Create", 1002, 1010),
            span("e", "b", "gantry-apiserver", "store.txn", 1003, 1004),
            failed,
            span("o", "c", "gantry-node-agent", "container.probes", 3000, 0),
        ];
        let svg = render("0af7", &spans, 2_000_000);
        let drawn = svg.split("</style>\n").nth(1).unwrap_or_default();
        expect_test::expect![[r##"
            <rect class="ground" width="1000" height="184"/>
            <text class="title" x="10" y="22">trace 0af7: 2.41s in 6 spans of 4 processes</text>
            <rect x="10.0" y="34" width="10" height="10" rx="2" fill="#3b82c4"/><text x="24.0" y="43">cli</text>
            <rect x="58.3" y="34" width="10" height="10" rx="2" fill="#d97706"/><text x="72.3" y="43">apiserver</text>
            <rect x="143.2" y="34" width="10" height="10" rx="2" fill="#2a9d6f"/><text x="157.2" y="43">proxy</text>
            <rect x="203.7" y="34" width="10" height="10" rx="2" fill="#b0569b"/><text x="217.7" y="43">node-agent</text>
            <path class="grid" d="M452.0 68 V154"/><text class="dim" x="452.0" y="64" text-anchor="middle">+0</text>
            <path class="grid" d="M553.2 68 V154"/><text class="dim" x="553.2" y="64" text-anchor="middle">+500ms</text>
            <path class="grid" d="M654.5 68 V154"/><text class="dim" x="654.5" y="64" text-anchor="middle">+1.00s</text>
            <path class="grid" d="M755.7 68 V154"/><text class="dim" x="755.7" y="64" text-anchor="middle">+1.50s</text>
            <path class="grid" d="M857.0 68 V154"/><text class="dim" x="857.0" y="64" text-anchor="middle">+2.00s</text>
            <g><title>gantry apply  [cli] 11ms</title><text class="critical" x="10.0" y="85.0">gantry apply</text><rect class="bar" x="452.0" y="77.0" width="2.2" height="10" rx="1.5" fill="#3b82c4"/><text class="dim" x="458.2" y="85.0">11ms</text></g>
            <g><title>Resources/Create  [apiserver] 8.0ms</title><text class="critical" x="17.0" y="101.0">Resources/Create<tspan class="dim" dx="5">+1</tspan></text><rect class="bar" x="452.4" y="93.0" width="1.6" height="10" rx="1.5" fill="#d97706"/><text class="dim" x="458.0" y="101.0">8.0ms</text></g>
            <g><title>proxy.program  [proxy]  FAILED 2.0ms</title><text x="24.0" y="117.0">proxy.program</text><rect class="bar failed" x="454.6" y="109.0" width="1.5" height="10" rx="1.5" fill="#2a9d6f"/><text class="dim" x="460.1" y="117.0">2.0ms failed</text></g>
            <g><title>container.start  [node-agent] 2.21s</title><text class="critical" x="24.0" y="133.0">container.start</text><rect class="bar" x="492.5" y="125.0" width="447.5" height="10" rx="1.5" fill="#b0569b"/><text class="dim" x="944.0" y="133.0">2.21s</text></g>
            <g><title>container.probes  [node-agent] goes on</title><text class="critical" x="31.0" y="149.0">container.probes</text><rect class="bar open" x="857.0" y="141.0" width="83.0" height="10" rx="1.5" fill="#b0569b"/><text class="dim" x="944.0" y="149.0">goes on</text></g>
            <path class="way" d="M452.0 82.0 H452.4 V98.0 H492.5 V130.0 H857.0 V146.0 H940.0"/>
            <text class="dim" x="10" y="174">The line is the critical path: the chain of causes that led to what ended last. Short spans not shown: 1; +n stands where n of them were.</text>
            </svg>
        "##]]
        .assert_eq(drawn);
    }

    #[test]
    fn text_cannot_leave_its_place() {
        let mut evil = span("a", "", "</style><x>", "</text><script>\"'&\u{1}", 1, 2);
        evil.attributes.insert("gantry.key".into(), "<b>".repeat(400));
        let svg = render("<id>", &[evil], 0);
        for part in ["<script", "<x>", "<b>", "<id>", "\u{1}"] {
            assert!(!svg.contains(part), "{part} in {svg}");
        }
        assert!(
            svg.contains("&lt;/text&gt;&lt;script&gt;&quot;&#39;&amp;\u{fffd}"),
            "{svg}"
        );
        assert!(svg.len() < 4_000, "{}", svg.len());
    }

    #[test]
    fn what_is_too_much_is_counted_and_the_critical_path_and_failures_stay() {
        let mut spans = vec![span("root", "", "cli", "root", 0, 10)];
        for number in 0..5_000 {
            spans.push(span(
                &format!("s{number}"),
                "root",
                "apiserver",
                "work",
                number,
                number + 1 + number % 7,
            ));
        }
        spans[1].error = true;
        spans[1].name = "broken".into();
        let svg = render("0af7", &spans, 0);
        assert_eq!(svg.matches("<g>").count(), MOST_ROWS);
        assert!(svg.contains("Short spans not shown: 4701; +n"), "{svg}");
        assert!(svg.contains(">+4701<") && svg.contains("broken"), "{svg}");
        assert!(svg.len() < 300_000, "{}", svg.len());
        // As deep as it is long: the labels keep some room, and nothing recurses.
        let deep: Vec<TraceSpan> = (0..5_000)
            .map(|number| {
                let parent = format!("d{}", number - 1);
                span(
                    &format!("d{number}"),
                    &parent,
                    "cli",
                    "step",
                    number as u64,
                    6_000,
                )
            })
            .collect::<Vec<_>>();
        assert_eq!(render("0af7", &deep, 0).matches("<g>").count(), MOST_ROWS);
    }

    #[test]
    fn nothing_and_what_is_not_a_tree_is_drawn_too() {
        assert!(render("0af7", &[], 0).contains("no process remembers"));
        let circle = [span("a", "b", "x", "one", 1, 2), span("b", "a", "x", "two", 1, 3)];
        assert!(render("0", &circle, 0).ends_with("</svg>\n"));
        // A clock that was set back between two spans.
        let back = [span("a", "", "x", "one", 5, 6), span("b", "a", "x", "two", 4, 3)];
        assert!(!render("0", &back, 0).contains("width=\"-"));
        let mut never = span("a", "", "x", "at the end of time", 0, 0);
        never.start_unix_nanos = u64::MAX;
        assert!(render("0", &[never], 0).contains("at the end of time"));
    }

    #[test]
    fn the_axis_has_few_lines_at_round_times() {
        for (length, expected) in [
            (1, 1),
            (8, 1),
            (9, 2),
            (2_410_000_000, 500_000_000),
            (u64::MAX, 5_000_000_000_000_000_000),
        ] {
            assert_eq!(step(length), expected, "{length}");
        }
    }
}
