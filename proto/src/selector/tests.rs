use super::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

#[test]
fn a_selector_matches_the_labels_that_kubernetes_says() {
    fn check(selector: &str, set: &str, want: bool) {
        assert_eq!(
            Selector::parse(selector).unwrap().matches(&labels(set)),
            want,
            "{selector} on {set}"
        );
    }
    for (selector, set) in [
        ("", "x=y"),
        ("x=y", "x=y"),
        ("x=y,z=w", "x=y,z=w"),
        ("x!=y,z!=w", "x=z,z=a"),
        ("notin=in", "notin=in"),
        ("x", "x=z"),
        ("!x", "y=z"),
        ("x>1", "x=2"),
        ("x<1", "x=0"),
        ("baz=blah", "foo=bar,baz=blah"),
        ("x in (a,b)", "x=b"),
        ("x notin (a,b)", "y=b"),
        ("x in (,a)", "x="),
    ] {
        check(selector, set, true);
    }
    for (selector, set) in [
        ("x=z", ""),
        ("x=y", "x=z"),
        ("x=y,z=w", "x=w,z=w"),
        ("x!=y,z!=w", "x=z,z=w"),
        ("x", "y=z"),
        ("!x", "x=z"),
        ("x>1", "x=0"),
        ("x>1", "x=many"),
        ("x<1", "x=2"),
        ("foo=bar,foobar=bar,baz=blah", "foo=bar,baz=blah"),
        ("x in (a,b)", "y=b"),
        ("x notin (a,b)", "x=b"),
    ] {
        check(selector, set, false);
    }
}

#[test]
fn what_is_parsed_prints_sorted_and_parses_again() {
    for (text, want) in [
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("", ""),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x=", "x="),
        ("x= ", "x="),
        ("x=,z= ", "x=,z="),
        ("x= ,z= ", "x=,z="),
        ("!x", "!x"),
        ("x>1", "x>1"),
        ("x>1,z<5", "x>1,z<5"),
        ("a==b", "a==b"),
        ("\tz \n, y in (b , a)", "y in (a,b),z"),
        ("x in ()", "x in ()"),
        ("x in (,)", "x in ()"),
        ("x in (a,,b),y notin ()", "x in (,a,b),y notin ()"),
        ("x notin (in,notin)", "x notin (in,notin)"),
        ("example.com/a-b=c_d.e", "example.com/a-b=c_d.e"),
    ] {
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.to_string(), want);
        assert_eq!(Selector::parse(want).unwrap().to_string(), want);
    }
}

#[test]
fn what_is_no_selector_is_refused_in_kubernetes_words() {
    for (text, want) in [
        (
            "x=a||y=b",
            "unable to parse requirement: values[0][x]: Invalid value: \"a||y\": a valid label must be",
        ),
        ("x==a==b", "found '==', expected: ',' or 'end of string'"),
        ("!x=a", "found '=', expected: ',' or 'end of string'"),
        (
            "x<a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("x=a,", "found '', expected: identifier after ','"),
        (",x", "found ',', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "x y",
            "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        (
            "x in (a b)",
            "unable to parse requirement: found 'b', expected: ',' or ')'",
        ),
        (
            "x in (a",
            "unable to parse requirement: found '', expected: ',' or ')'",
        ),
        (
            "x in (=)",
            "unable to parse requirement: found '=', expected: ',', ')' or identifier",
        ),
        (
            "x=(",
            "unable to parse requirement: found '(', expected: identifier",
        ),
        (
            "-x=a",
            "unable to parse requirement: <nil>: Invalid value: \"-x\": name part must consist of",
        ),
        (
            "A.com/x=a",
            "unable to parse requirement: <nil>: Invalid value: \"A.com/x\": prefix part a lowercase RFC 1123",
        ),
        (
            "a/b/c",
            "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key must consist",
        ),
        (
            "/x",
            "unable to parse requirement: <nil>: Invalid value: \"/x\": prefix part must be non-empty",
        ),
    ] {
        let error = Selector::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(want), "{text}: {error}");
    }
}

#[test]
fn a_label_selector_means_its_labels_and_its_expressions() {
    let expression = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: values.iter().map(|v| v.to_string()).collect(),
    };
    let selector = |expressions: Vec<_>| {
        Selector::from_label_selector(&LabelSelector {
            match_labels: labels("app=web"),
            match_expressions: expressions,
        })
    };
    let parsed = selector(vec![
        expression("tier", "In", &["b", "a"]),
        expression("a", "Exists", &[]),
        expression("b", "DoesNotExist", &[]),
        expression("c", "NotIn", &["d"]),
    ]);
    assert_eq!(
        parsed.unwrap().to_string(),
        "a,app=web,!b,c notin (d),tier in (a,b)"
    );
    assert!(
        Selector::from_label_selector(&LabelSelector::default())
            .unwrap()
            .is_empty()
    );
    for (expression, want) in [
        (
            expression("a", "Gt", &["1"]),
            "\"Gt\" is not a valid label selector operator",
        ),
        (
            expression("a", "In", &[]),
            "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            expression("a", "Exists", &["b"]),
            "values: Invalid value: [\"b\"]: values set must be empty for exists and does not exist",
        ),
    ] {
        assert_eq!(selector(vec![expression]).unwrap_err().to_string(), want);
    }
}

#[test]
fn a_map_is_a_selector_for_each_of_its_entries() {
    let selector = Selector::from_map(&labels("a=1,b=2"));
    assert!(selector.matches(&labels("a=1,b=2,c=3")));
    assert!(!selector.matches(&labels("a=1")));
    assert_eq!(selector.to_string(), "a=1,b=2");
}

#[test]
fn a_field_selector_parses_matches_and_prints() {
    for (text, want) in [
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("", ""),
        ("z==c,x!=a", "x!=a,z=c"),
        ("x=", "x="),
        ("x=a\\,b", "x=a\\,b"),
        ("x=a\\=\\\\", "x=a\\=\\\\"),
        (",,x=a,", "x=a"),
        ("=", ""),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().to_string(), want, "{text}");
    }
    for (text, want) in [
        (
            "x=a||y=b",
            "invalid field selector: unescaped character in value: 61",
        ),
        ("x", "invalid selector: 'x'; can't understand 'x'"),
        ("x=a\\b", "invalid field selector: invalid escape sequence: \\b"),
        ("x=a\\", "invalid field selector: invalid escape sequence: \\"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), want);
    }
    let selector = FieldSelector::parse("spec.nodeName=n1,status.phase!=Running,spec.absent=").unwrap();
    let matches = |phase: &str| {
        selector.matches(|field| match field {
            "spec.nodeName" => Some("n1".to_string()),
            "status.phase" => Some(phase.to_string()),
            _ => None,
        })
    };
    assert!(matches("Pending"));
    assert!(!matches("Running"));
    assert_eq!(selector.required_value("spec.nodeName"), Some("n1"));
    assert_eq!(selector.required_value("status.phase"), None);
}
