//! What strict and lenient decoding say about text that is not as it should be.

use gantry_proto::meta::v1::Duration;
use gantry_proto::{Kind, apps, core, json};

fn complaints<K: Kind>(text: &str) -> Vec<String> {
    json::decode::<K>(text.as_bytes())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .complaints
}

#[test]
fn duplicate_fields_are_found_at_every_depth() {
    fn check(text: &str, want: &[&str]) {
        assert_eq!(complaints::<core::v1::Pod>(text), want, "{text}");
    }
    check(
        r#"{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"spec":{"containers":[{},{"env":[],"env":[]}]},"kind":"Pod","kind":"Pod"}"#,
        &[
            r#"duplicate field "metadata.name""#,
            r#"duplicate field "metadata.labels.x""#,
            r#"duplicate field "spec.containers[1].env""#,
            r#"duplicate field "kind""#,
        ],
    );
    check(r#"{"metadata":{"labels":{"a":"1","b":"1"}}}"#, &[]);
}

#[test]
fn of_duplicates_the_last_wins() {
    let text = br#"{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}}}"#;
    let pod = json::decode::<core::v1::Pod>(text).ok().unwrap().object;
    assert_eq!((&*pod.metadata().name, &*pod.metadata().labels["x"]), ("b", "2"));
}

#[test]
fn no_more_than_a_hundred_complaints_are_kept() {
    let fields: Vec<String> = (0..1000).map(|i| format!("\"x{i}\":1")).collect();
    assert_eq!(
        complaints::<core::v1::Pod>(&format!("{{{}}}", fields.join(","))).len(),
        100
    );
    let twice = vec!["\"kind\":\"Pod\""; 1000].join(",");
    assert_eq!(complaints::<core::v1::Pod>(&format!("{{{twice}}}")).len(), 100);
}

#[test]
fn an_error_of_types_is_told_by_its_path_and_one_of_syntax_by_its_place() {
    fn check(text: &str, want: &str) {
        let error = json::decode::<apps::v1::Deployment>(text.as_bytes())
            .err()
            .expect(text);
        assert_eq!(error.to_string(), want, "{text}");
    }
    for (text, want) in [
        (
            r#"{"spec":{"replicas":"3"}}"#,
            r#"spec.replicas: invalid type: string "3", expected i32"#,
        ),
        (
            r#"{"spec":{"replicas":3000000000}}"#,
            "spec.replicas: invalid value: integer `3000000000`, expected i32",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}}}"#,
            "spec.template.spec.containers[0].resources.limits.cpu: quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("[]", "invalid type: sequence, expected an object"),
        (r#"{"spec":"#, "EOF while parsing a value at line 1 column 8"),
        (
            r#"{"spec":{"replicas":3}} x"#,
            "trailing characters at line 1 column 25",
        ),
        (
            r#"{"spec":{"replicas":3,}}"#,
            "trailing comma at line 1 column 23",
        ),
        ("", "EOF while parsing a value at line 1 column 0"),
    ] {
        check(text, want);
    }
    let value = serde_json::json!({"spec": {"replicas": "3"}});
    let error = json::decode_value::<apps::v1::Deployment>(&value).err().unwrap();
    assert_eq!(
        error.to_string(),
        r#"spec.replicas: invalid type: string "3", expected i32"#
    );
}

#[test]
fn text_that_is_nested_too_deep_is_an_error_or_skipped_but_never_overflows_the_stack() {
    const DEEP: usize = 1_000_000;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
        for (text, want) in [
            (
                format!(r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{nested}}}]}}}}"#),
                "recursion limit exceeded at line 1",
            ),
            (
                format!(r#"{{"kind":"Pod","kind":"Pod","unknown":{nested}}}"#),
                "recursion limit exceeded at line 1",
            ),
            (
                format!(r#"{{"spec":[{nested}]}}"#),
                "spec: invalid type: sequence, expected an object",
            ),
        ] {
            let error = json::decode::<core::v1::Pod>(text.as_bytes())
                .err()
                .unwrap()
                .to_string();
            assert!(error.starts_with(want), "{error}");
        }
        // What is not in the schema is skipped without recursion.
        assert_eq!(
            complaints::<core::v1::Pod>(&format!(r#"{{"unknown":{nested}}}"#)),
            [r#"unknown field "unknown""#]
        );
    }
}

#[test]
fn times_are_kept_to_their_own_precision() {
    let text = br#"{"metadata":{"creationTimestamp":"2026-01-02T03:04:05.678Z"},"eventTime":"1969-12-31T23:59:58.1234567+00:00"}"#;
    let event = json::decode::<core::v1::Event>(text).ok().unwrap().object;
    assert_eq!(event.metadata().creation_timestamp().nanos, 0);
    assert_eq!(event.event_time().nanos, 123_456_000);
    let value = json::to_value(&event);
    assert_eq!(value["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(value["eventTime"], "1969-12-31T23:59:58.123456Z");
}

#[test]
fn durations_are_written_as_go_writes_them_and_read_back() {
    const SECOND: i64 = 1_000_000_000;
    for (nanos, want) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3 * SECOND + 300_000_000, "3.3s"),
        (10 * SECOND, "10s"),
        (90 * SECOND, "1m30s"),
        (245 * SECOND + 1_000_000, "4m5.001s"),
        (3600 * SECOND, "1h0m0s"),
        (-90 * SECOND, "-1m30s"),
    ] {
        let duration = Duration { duration: nanos };
        assert_eq!(serde_json::to_value(duration).unwrap(), want);
        assert_eq!(
            serde_json::from_value::<Duration>(want.into()).unwrap(),
            duration,
            "{want}"
        );
    }
}
