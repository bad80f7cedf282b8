use super::*;
use proptest::prelude::*;

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn text_becomes_what_kubernetes_would_print() {
    fn check(text: &str, want: &str) {
        assert_eq!(quantity(text).string, want, "{text}");
        assert_eq!(quantity(want).string, want, "{want} is canonical");
        if want != "0" {
            assert_eq!(quantity(&format!("-{text}")).string, format!("-{want}"));
        }
    }
    for (text, want) in [
        ("1024Mi", "1Gi"),
        ("307200Ki", "300Mi"),
        ("6Ki", "6Ki"),
        ("1025024Mi", "1001Gi"),
        ("1024Gi", "1Ti"),
        ("3Pi", "3Pi"),
        ("5000m", "5"),
        ("0.5", "500m"),
        ("1000M", "1G"),
        ("0.001T", "1G"),
        ("1000u", "1m"),
        ("1.08", "1080m"),
        ("1080000000n", "1080m"),
        ("1234567M", "1234567M"),
        ("1025", "1025"),
        ("0Ki", "0"),
        ("00", "0"),
        ("0m", "0"),
        (".", "0"),
        (".001e12", "1e9"),
        ("0.001e0", "1e-3"),
        ("1000e-12", "1e-9"),
        ("80e-3", "80e-3"),
        ("1E-3", "1E-3"),
        ("1e14", "100e12"),
        ("1.3E+6", "1300e3"),
        ("100.035k", "100.035k"),
        ("1.2e3", "1200"),
        ("9.01", "9010m"),
        ("8.1k", "8100"),
        ("7.123456M", "7.123456M"),
        ("1.01E", "1010P"),
        ("3.001n", "4n"),
        ("1.1E-9", "2e-9"),
        ("0.0000000001", "1n"),
        ("0.00000012345", "124n"),
        ("9Ei", "9223372036854775807"),
        ("9223372036854775807Ki", "9223372036854775807"),
        ("12E", "12E"),
        ("1000E", "1000E"),
        ("100.035Ki", "102435840m"),
        ("0.5Mi", "512Ki"),
        ("0.05Gi", "53687091200m"),
        ("0.000000000001Ki", "2n"),
        (".0001k", "100m"),
        ("1.", "1."),
        ("1.G", "1.G"),
        ("1e999999999999", "100e27"),
        ("0.00000000000000000000000000000000000000000000000001", "1n"),
        (
            "1234567890123456789012345678901234567890123456789",
            "100000000000E",
        ),
    ] {
        check(text, want);
    }
}

#[test]
fn text_that_is_no_quantity_is_refused() {
    for text in ["", "1.1.M", "1+1.0M", "aoeu", " 1", "1 ", "0.1am", "1/2", "1é"] {
        assert_eq!(Quantity::parse(text), Err(ParseError::Format), "{text}");
    }
    for text in ["0.1mi", ".5i", "1i", "-3.01i", "-3.01e-", "1Ee3", "1e3e", "1K"] {
        assert!(Quantity::parse(text).is_err(), "{text}");
    }
    assert_eq!(Quantity::parse("1K"), Err(ParseError::Suffix));
}

#[test]
fn values_are_rounded_up_and_capped() {
    fn check(text: &str, value: i64, milli_value: i64) {
        let quantity = quantity(text);
        assert_eq!(
            (quantity.value(), quantity.milli_value()),
            (value, milli_value),
            "{text}"
        );
    }
    for (text, value, milli_value) in [
        ("1n", 1, 1),
        ("1m", 1, 1),
        ("1", 1, 1000),
        ("1500m", 2, 1500),
        ("1500100u", 2, 1501),
        ("-1500m", -2, -1500),
        ("1Ki", 1024, 1_024_000),
        ("100E", i64::MAX, i64::MAX),
        ("-100E", i64::MIN, i64::MIN),
        ("9Ei", i64::MAX, i64::MAX),
    ] {
        check(text, value, milli_value);
    }
    assert_eq!(
        Quantity {
            string: "junk".into()
        }
        .value(),
        0
    );
}

#[test]
fn sums_and_differences_keep_the_format_of_the_first_that_is_not_zero() {
    fn check(a: &str, b: &str, sum: &str, difference: &str) {
        let (a, b) = (quantity(a), quantity(b));
        assert_eq!(
            (a.add(&b).string.as_str(), a.sub(&b).string.as_str()),
            (sum, difference),
            "{a} and {b}"
        );
    }
    for (a, b, sum, difference) in [
        ("0", "100m", "100m", "-100m"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "0", "1Gi", "1Gi"),
        ("1Gi", "512Mi", "1536Mi", "512Mi"),
        ("100m", "900m", "1", "-800m"),
        ("1Ki", "1", "1025", "1023"),
        ("1e3", "1", "1001", "999"),
        ("1Gi", "1m", "1073741824001m", "1073741823999m"),
        (
            "100E",
            "1n",
            "100000000000000000000000000001n",
            "99999999999999999999999999999n",
        ),
    ] {
        check(a, b, sum, difference);
    }
}

#[test]
fn comparing_is_by_amount() {
    for (a, b, want) in [
        ("0", "0Gi", Ordering::Equal),
        ("100m", "50m", Ordering::Greater),
        ("50m", "100m", Ordering::Less),
        ("10000T", "100Gi", Ordering::Greater),
        ("1", "1000m", Ordering::Equal),
        ("1Gi", "1G", Ordering::Greater),
        ("-1", "1n", Ordering::Less),
    ] {
        assert_eq!(quantity(a).compare(&quantity(b)), want, "{a} {b}");
    }
}

#[test]
fn formats_are_written_as_kubernetes_writes_them() {
    for (quantity, want) in [
        (Quantity::from_value(1 << 30, Format::BinarySI), "1Gi"),
        (Quantity::from_value(1000, Format::BinarySI), "1k"),
        (Quantity::from_value(1025, Format::BinarySI), "1025"),
        (Quantity::from_value(0, Format::BinarySI), "0"),
        (Quantity::from_milli(1_234_567, Format::BinarySI), "1234567m"),
        (Quantity::from_milli(500, Format::BinarySI), "500m"),
        (Quantity::from_milli(-80, Format::DecimalExponent), "-80e-3"),
        (Quantity::from_milli(2000, Format::DecimalSI), "2"),
        (
            Quantity::from_value(i64::MIN, Format::DecimalSI),
            "-9223372036854775808",
        ),
    ] {
        assert_eq!(quantity.string, want);
    }
    assert!(quantity("-1n").is_negative() && quantity("0e3").is_zero());
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same_amount(milli_value: i64, value: i64) {
        for format in [Format::DecimalSI, Format::BinarySI, Format::DecimalExponent] {
            let (a, b) = (Quantity::from_milli(milli_value, format), Quantity::from_value(value, format));
            prop_assert_eq!(quantity(&a.string).milli_value(), milli_value);
            prop_assert_eq!(quantity(&b.string).value(), value);
            prop_assert_eq!(a.add(&b).sub(&b).compare(&a), Ordering::Equal);
        }
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[-+]?[0-9.]{0,45}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
        if let Ok(parsed) = Quantity::parse(&text) {
            prop_assert_eq!(quantity(&parsed.string), parsed.clone());
            parsed.add(&parsed).sub(&parsed);
        }
    }
}
