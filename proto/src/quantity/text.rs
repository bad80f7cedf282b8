//! A quantity's text: reading any notation, writing the canonical one.

use super::amount::{Amount, Digits};
use super::{Format, ParseError};

pub struct Parsed {
    pub amount: Amount,
    pub format: Format,
    /// Whether Kubernetes keeps the text as it is rather than writing its own.
    pub canonical: bool,
}

/// Decimal suffixes and their powers of ten.
const DECIMAL: [(&str, i64); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Binary suffixes and their powers of two.
const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

/// So many digits are read by Kubernetes without a big number; only then is a text kept as it is.
const MAX_SHORT_DIGITS: usize = 18;

pub fn parse(text: &str) -> Result<Parsed, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = split_digits(unsigned.trim_start_matches('0'));
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    check_suffix(suffix)?;
    let (binary, exponent, format) = interpret(suffix)?;

    let mut digits = Digits::default();
    whole
        .bytes()
        .chain(fraction.bytes())
        .for_each(|byte| digits.push(byte - b'0'));
    let decimal = exponent.saturating_sub(fraction.len() as i64);
    let mut amount = Amount::scaled(digits, binary, decimal);
    if format == Format::BinarySI {
        amount = amount.capped(Amount::MOST_BINARY);
    }
    let canonical = match format {
        Format::BinarySI => is_kept_binary(whole, fraction, binary),
        _ => is_kept_decimal(whole, fraction, decimal),
    };
    Ok(Parsed {
        amount: if negative { amount.negated() } else { amount },
        format,
        canonical: canonical && amount != Amount::ZERO && amount < Amount::MOST || text == "0",
    })
}

pub fn write(amount: Amount, format: Format) -> String {
    if amount == Amount::ZERO {
        return "0".to_string();
    }
    let one_ki = Amount::of_value(1024);
    match (format, amount.whole()) {
        // A binary suffix would round a small amount or one that is not whole.
        (Format::BinarySI, Some(whole)) if amount >= one_ki || amount <= one_ki.negated() => {
            let powers = BINARY.iter().rev().find(|(_, power)| whole % (1 << power) == 0);
            powers.map_or(whole.to_string(), |(suffix, power)| {
                format!("{}{suffix}", whole >> power)
            })
        }
        (Format::BinarySI | Format::DecimalSI, _) => {
            let (number, exponent) = amount.thousands(18);
            let suffix = DECIMAL
                .iter()
                .find(|(_, power)| *power == exponent)
                .map_or("", |(suffix, _)| suffix);
            format!("{number}{suffix}")
        }
        (Format::DecimalExponent, _) => match amount.thousands(i64::MAX) {
            (number, 0) => number.to_string(),
            (number, exponent) => format!("{number}e{exponent}"),
        },
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Letters, a sign and digits, of which any may be missing.
fn check_suffix(suffix: &str) -> Result<(), ParseError> {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if split_digits(rest).1.is_empty() {
        Ok(())
    } else {
        Err(ParseError::Format)
    }
}

fn interpret(suffix: &str) -> Result<(u32, i64, Format), ParseError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(text, _)| *text == suffix) {
        return Ok((0, *power, Format::DecimalSI));
    }
    if let Some((_, power)) = BINARY.iter().find(|(text, _)| *text == suffix) {
        return Ok((*power, 0, Format::BinarySI));
    }
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .and_then(|digits| digits.parse().ok());
    exponent
        .map(|exponent| (0, exponent, Format::DecimalExponent))
        .ok_or(ParseError::Suffix)
}

/// A decimal text of which Kubernetes believes that it is canonical: its digits, read without the point, have
/// a scale that is a multiple of three and are no multiple of a thousand.
fn is_kept_decimal(whole: &str, fraction: &str, decimal: i64) -> bool {
    whole.len() + fraction.len() <= MAX_SHORT_DIGITS
        && decimal >= -9
        && decimal % 3 == 0
        && !whole.is_empty()
        && !format!("{whole}{fraction}").ends_with("000")
}

/// The same for a binary text: a whole number that is no multiple of eight.
fn is_kept_binary(whole: &str, fraction: &str, binary: u32) -> bool {
    fraction.is_empty()
        && whole.len() + binary as usize * 3 / 10 <= 14
        && whole.parse::<i64>().is_ok_and(|number| number % 8 != 0)
}
