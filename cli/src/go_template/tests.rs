use super::*;
use serde_json::json;

fn pods() -> Value {
    json!({"kind": "List", "count": 2, "secret": "aGk=", "labels": {"app": "web", "x": "1"}, "items": [
        {"name": "a", "images": ["i:1", "i:2"]}, {"name": "b", "images": []}]})
}

#[test]
fn templates_print_what_kubectl_prints() {
    let check = |template: &str, expected: &str| {
        let parsed = GoTemplate::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(parsed.text(&pods()).as_deref(), Ok(expected), "{template}");
    };
    check("{{.kind}}", "List");
    check("{{.missing.deeper}}", "<no value>");
    check("{{range .items}}{{.name}}{{\"\\n\"}}{{end}}", "a\nb\n");
    check("{{range $i, $p := .items}}{{$i}}={{$p.name}} {{end}}", "0=a 1=b ");
    check("{{range $k, $v := .labels}}{{$k}}={{$v}},{{end}}", "app=web,x=1,");
    check(
        "{{range .items}}{{range .images}}{{.}};{{else}}none{{end}}{{end}}",
        "i:1;i:2;none",
    );
    check(
        "{{range .items}}{{if eq .name \"b\"}}{{break}}{{end}}{{.name}}{{end}}",
        "a",
    );
    check(
        "{{range .items}}{{if eq .name \"a\"}}{{continue}}{{end}}{{.name}}{{end}}",
        "b",
    );
    check("{{if .missing}}a{{else if .kind}}b{{else}}c{{end}}", "b");
    check("{{if and .kind (not .missing)}}y{{end}}", "y");
    check("{{with .labels}}{{.app}}-{{$.kind}}{{end}}", "web-List");
    check("{{with .missing}}x{{else}}none{{end}}", "none");
    check("{{$x := .kind}}{{$x}}", "List");
    check("{{$n := 0}}{{range .items}}{{$n = .name}}{{end}}{{$n}}", "b");
    check("{{.labels}}", "map[app:web x:1]");
    check("{{index .items 0}}", "map[images:[i:1 i:2] name:a]");
    check("{{(index .items 1).name}}", "b");
    check("{{index .labels \"app\"}}", "web");
    check("{{len .items}}{{.labels.app | len}}", "23");
    check("{{.secret | base64decode}}", "hi");
    check(
        "{{.kind | printf \"%s-%5d|%-4s|%q\" \"a\" .count \"b\"}}",
        "a-    2|b   |\"List\"",
    );
    check(
        "{{print 1 2 \"x\" 3}} {{println .kind true}}",
        "1 2x3 List true\n",
    );
    check(
        "{{eq .count 1 2}} {{ne .count 2}} {{lt .count 3}} {{ge \"b\" \"a\"}}",
        "true false true true",
    );
    check("a  {{- .kind -}}  b {{/* nothing */}}", "aListb ");
    check("{{exists . \"kind\"}} {{exists . \"none\"}}", "true false");
    check("{{`raw \"}}`}}", "raw \"}}");
    check("{{or .missing \"else\"}}", "else");
}

#[test]
fn what_is_no_template_is_refused_as_go_refuses_it() {
    let check = |template: &str, expected: &str| {
        assert_eq!(GoTemplate::parse(template), Err(expected.into()), "{template}");
    };
    check("{{.kind", "template: output:1: unclosed action");
    check("{{foo}}", "template: output:1: function \"foo\" not defined");
    check("{{end}}", "template: output:1: unexpected {{end}}");
    check("\n{{if .x}}a", "template: output:2: unexpected EOF");
    check("{{\"a}}", "template: output:1: unterminated quoted string");
    check("{{}}", "template: output:1: missing value for command");
    assert!(GoTemplate::parse(&"{{if .x}}".repeat(200)).is_err());
    assert!(GoTemplate::parse(&format!("{{{{{}}}}}", "(".repeat(200))).is_err());
}

#[test]
fn what_does_not_fit_the_object_is_refused_as_go_refuses_it() {
    let check = |template: &str, expected: &str| {
        let error = GoTemplate::parse(template).unwrap().text(&pods()).unwrap_err();
        assert!(error.ends_with(expected), "{template}: {error}");
    };
    check(
        "{{index .items 5}}",
        "template: output:1:2: executing \"output\" at <index .items 5>: error calling index: index out of range: 5",
    );
    check(
        "{{gt .count 1.0}}",
        "at <gt .count 1.0>: error calling gt: incompatible types for comparison",
    );
    check(
        "{{.kind.x}}",
        "at <.kind.x>: can't evaluate field x in type string",
    );
    check(
        "{{range .kind}}{{end}}",
        "at <.kind>: range can't iterate over List",
    );
}
