use super::*;
use serde_json::json;

fn pods() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x", "tier": "front"}},
            "status": {"phase": "Running", "restarts": 3, "ips": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}},
        {"metadata": {"name": "b"}, "status": {"phase": "Pending", "restarts": 0, "ratio": 0.5, "none": null}},
    ]})
}

#[test]
fn templates_print_what_kubectl_prints() {
    let check = |template: &str, expected: &str| {
        let path = JsonPath::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(path.text(&pods()).as_deref(), Ok(expected), "{template}");
    };
    check("{.kind}", "List");
    check("{$.kind}", "List");
    check("{.items[*].metadata.name}", "a b");
    check("{.items[0].metadata.name}", "a");
    check("{.items[-1].metadata.name}", "b");
    check("{.items[0:2].metadata.name}", "a b");
    check("{.items[0].status.ips[0:3:2]}", "10.0.0.1 10.0.0.3");
    check("{.items[0].status.ips[1:]}", "10.0.0.2 10.0.0.3");
    check("{.items[0].status.ips[0,2]}", "10.0.0.1 10.0.0.3");
    check("{.items[0].status.ips[-2:]}", "10.0.0.2 10.0.0.3");
    check("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x");
    check("{.items[0].metadata.labels['tier']}", "front");
    check("{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}", "x");
    check(
        "{range .items[*]}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\n\"}{end}",
        "a\tRunning\nb\tPending\n",
    );
    check("{range .items[*]}[{.metadata.name}] {end}done", "[a] [b] done");
    check(
        "{range .items[*]}{.metadata.name}:{range .status.conditions[*]}{.type}={.status};{end}{\"\\n\"}{end}",
        "a:Ready=True;Initialized=False;\nb:\n",
    );
    check("{.items[?(@.status.phase==\"Running\")].metadata.name}", "a");
    check("{.items[?(@.status.restarts>=0)].metadata.name}", "a b");
    check("{.items[?(@.status.restarts>2)].metadata.name}", "a");
    check("{.items[?(@.status.phase!='Running')].metadata.name}", "b");
    check("{.items[?(@.metadata.labels)].metadata.name}", "a");
    check(
        "{.items[*].status.conditions[?(@.type==\"Ready\")].status}",
        "True",
    );
    check("{..name}", "a b");
    check(
        "{.items[1].status}",
        "{\"none\":null,\"phase\":\"Pending\",\"ratio\":0.5,\"restarts\":0}",
    );
    check("{.items[1].status.none}", "null");
    check("{.items[1].status.ratio}", "0.5");
    check(
        "{.items[0].status.ips}",
        "[\"10.0.0.1\",\"10.0.0.2\",\"10.0.0.3\"]",
    );
    check("{.missing.field}", "");
    check("{range .missing[*]}{.x}{end}after", "after");
    check("name: {.items[0].metadata.name}!", "name: a!");
    check(
        "{.items[*]['metadata.name', 'status.phase']}",
        "a b Running Pending",
    );
    check("{true} {3} {'text'}", "true 3 text");
}

#[test]
fn what_is_no_template_is_refused_as_client_go_refuses_it() {
    let check = |template: &str, expected: &str| {
        assert_eq!(JsonPath::parse(template), Err(expected.into()), "{template}");
    };
    check("{.metadata.name", "unclosed action");
    check("{.items[0}", "unterminated array");
    check("{.items[x]}", "invalid array index x");
    check("{.items[?(@.a==1}", "unterminated filter");
    check("{.items[?(@.a==1)}", "unclosed array expect ]");
    check("{'text}", "unterminated quoted string");
    check("{....}", "invalid multiple recursive descent");
    check("{;}", "unrecognized character in action: U+003B ';'");
    check(
        "{.items[?(@.a=~1)]}",
        "unrecognized character in action: U+007E '~'",
    );
}

#[test]
fn what_does_not_fit_the_object_is_refused_as_client_go_refuses_it() {
    let check = |template: &str, expected: &str| {
        let path = JsonPath::parse(template).unwrap();
        assert_eq!(path.text(&pods()), Err(expected.into()), "{template}");
    };
    check("{.items[5]}", "array index out of bounds: index 5, length 2");
    check("{.kind[0]}", "string is not array or slice");
    check("{end}", "not in range, nothing to end");
    check("{metadata.name}", "unrecognized identifier metadata");
    check(
        "{.items[?(@.status.phase>3)]}",
        "incompatible types for comparison",
    );
    check(
        "{.items[1:0].x}",
        "starting index 1 is greater than ending index 0",
    );
    check("{.items[0].status.ips[0:2:0]}", "step must be > 0");
    check(
        "{.items[?(@.status.restarts=3)]}",
        "unrecognized filter operator =",
    );
}

#[test]
fn columns_and_sort_keys_are_taken_in_four_forms() {
    for text in [
        "metadata.name",
        ".metadata.name",
        "{metadata.name}",
        "{.metadata.name}",
    ] {
        assert_eq!(relaxed(text).as_deref(), Ok("{.metadata.name}"), "{text}");
    }
    assert!(
        relaxed("{.a}{.b}")
            .unwrap_err()
            .starts_with("unexpected path string")
    );
}

#[test]
fn each_nodes_values_can_be_had_as_json() {
    let path = JsonPath::parse("{.items[*].metadata.name}").unwrap();
    assert_eq!(path.json(&pods()), Ok(vec![json!(["a", "b"])]));
}
