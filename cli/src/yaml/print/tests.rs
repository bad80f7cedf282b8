use super::*;
use serde_json::json;

#[test]
fn keys_are_in_natural_order() {
    let mut keys = ["b", "a10", "a2", "A", "a-1", "a", "1", "10", "9", "_x", "a01"];
    keys.sort_by(|a, b| natural_order(a, b));
    assert_eq!(keys.join(" "), "_x 1 9 10 A a a-1 a01 a2 a10 b");
}

#[test]
fn what_would_be_read_as_something_else_is_quoted() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            print(&json!({ "k": text })),
            format!("k: {expected}\n"),
            "{text:?}"
        );
    };
    check("plain text", "plain text");
    check("", "\"\"");
    check("true", "\"true\"");
    check("y", "\"y\"");
    check("1", "\"1\"");
    check("1e3", "\"1e3\"");
    check("100m", "100m");
    check("0x1F", "\"0x1F\"");
    check("10.0.0.1", "10.0.0.1");
    check("12:30", "\"12:30\"");
    check("2026-11-20T13:00:00Z", "\"2026-11-20T13:00:00Z\"");
    check("2026-11-20", "\"2026-11-20\"");
    check("a: b", "'a: b'");
    check("a:b", "a:b");
    check("- a", "'- a'");
    check("-a", "-a");
    check("#a", "'#a'");
    check("a #b", "'a #b'");
    check("*", "'*'");
    check("it's", "it's");
    check("'", "''''");
    check(" a", "' a'");
    check("a\tb", "\"a\\tb\"");
    check("{}", "'{}'");
    check("ü", "ü");
}

#[test]
fn several_lines_are_a_block() {
    let check = |text: &str, expected: &str| assert_eq!(print(&json!({ "k": text })), expected, "{text:?}");
    check("a\nb\n", "k: |\n  a\n  b\n");
    check("a\nb", "k: |-\n  a\n  b\n");
    check("a\n\n", "k: |+\n  a\n\n");
    check("  a\nb", "k: |2-\n    a\n  b\n");
    check("a \nb", "k: \"a \\nb\"\n");
}

#[test]
fn containers_are_laid_out_as_kubectl_does() {
    let value = json!({"a": {"b": [{"c": 1, "d": []}, "x", [1, [2]], {}]}, "e": {}, "f": null, "g": 1.5});
    let expected =
        "a:\n  b:\n  - c: 1\n    d: []\n  - x\n  - - 1\n    - - 2\n  - {}\ne: {}\nf: null\ng: 1.5\n";
    assert_eq!(print(&value), expected);
}

#[test]
fn long_lines_are_continued_at_a_space() {
    let text = format!("{} end", "word ".repeat(18).trim_end());
    let printed = print(&json!({"key": text}));
    let expected = format!("key: {}word\n  word word end\n", "word ".repeat(15));
    assert_eq!(printed, expected);
}

#[test]
fn a_whole_object_is_printed_as_kubectl_printed_it() {
    let value: Value = serde_json::from_str(include_str!("kubectl.json")).unwrap();
    expect_test::expect_file!["kubectl.yaml"].assert_eq(&print(&value));
}
