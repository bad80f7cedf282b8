//! `Quantity`: parsing, canonical form and arithmetic (apimachinery's api/resource).
//!
//! A quantity is its text; the amount behind it is exact to 10^-9. Amounts of more than [`Amount::MOST`] are
//! capped, where Kubernetes computes on without a bound.

mod amount;
mod text;

use crate::meta::v1::Quantity;
use amount::Amount;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

impl Quantity {
    /// Text in any of the formats, such as `1.5`, `100m`, `1Gi` or `12e6`; kept as it is where Kubernetes
    /// would, and made canonical otherwise.
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        let parsed = text::parse(text)?;
        let string = if parsed.canonical {
            text.to_string()
        } else {
            text::write(parsed.amount, parsed.format)
        };
        Ok(Quantity { string })
    }

    pub fn from_value(value: i64, format: Format) -> Quantity {
        Quantity::of(Amount::of_value(value), format)
    }

    /// Of so many thousandths.
    pub fn from_milli(milli_value: i64, format: Format) -> Quantity {
        Quantity::of(Amount::of_milli(milli_value), format)
    }

    /// The amount rounded away from zero to a whole number; the nearest i64 where it is beyond.
    pub fn value(&self) -> i64 {
        self.amount().rounded_up(Amount::ONE)
    }

    /// The amount in thousandths, rounded away from zero; the nearest i64 where it is beyond.
    pub fn milli_value(&self) -> i64 {
        self.amount().rounded_up(Amount::MILLI)
    }

    /// The sum in this quantity's format, or in the other's where this one is zero.
    pub fn add(&self, other: &Quantity) -> Quantity {
        self.combine(other, Amount::plus)
    }

    /// The difference in this quantity's format, or in the other's where this one is zero.
    pub fn sub(&self, other: &Quantity) -> Quantity {
        self.combine(other, |a, b| a.plus(b.negated()))
    }

    /// By amount: `1` and `1000m` are equal. `==` compares the text.
    pub fn compare(&self, other: &Quantity) -> Ordering {
        self.amount().cmp(&other.amount())
    }

    pub fn is_zero(&self) -> bool {
        self.amount() == Amount::ZERO
    }

    pub fn is_negative(&self) -> bool {
        self.amount() < Amount::ZERO
    }

    pub fn format(&self) -> Format {
        self.read().1
    }

    fn of(amount: Amount, format: Format) -> Quantity {
        Quantity {
            string: text::write(amount, format),
        }
    }

    fn combine(&self, other: &Quantity, operation: impl Fn(Amount, Amount) -> Amount) -> Quantity {
        let ((amount, format), (other_amount, other_format)) = (self.read(), other.read());
        let format = if amount == Amount::ZERO {
            other_format
        } else {
            format
        };
        Quantity::of(operation(amount, other_amount), format)
    }

    fn amount(&self) -> Amount {
        self.read().0
    }

    /// Text that did not come through [`Quantity::parse`] and is no quantity reads as zero.
    fn read(&self) -> (Amount, Format) {
        text::parse(&self.string).map_or((Amount::ZERO, Format::DecimalSI), |parsed| {
            (parsed.amount, parsed.format)
        })
    }
}

/// The notation in which a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Powers of 1000: `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    DecimalSI,
    /// Powers of 1024: `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    BinarySI,
    /// Such as `12e6`.
    DecimalExponent,
}

/// Text that is not a quantity. The words are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if self.string.is_empty() { "0" } else { &self.string })
    }
}

#[cfg(test)]
mod tests;
