//! An exact decimal amount.

/// In units of 10^-9, never beyond `MOST` on either side of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

/// How many units one is: Kubernetes' smallest amount is 10^-9.
const UNIT_DIGITS: i64 = 9;
const UNITS: i128 = 1_000_000_000;

impl Amount {
    pub const ZERO: Amount = Amount(0);
    pub const ONE: Amount = Amount(UNITS);
    pub const MILLI: Amount = Amount(UNITS / 1000);
    /// 10^29, the greatest power of ten that i128 holds in these units: 1.7 * 10^38 / 10^9. Kubernetes caps
    /// amounts in binary notation at i64's, 9.2 * 10^18.
    pub const MOST: Amount = Amount(10_i128.pow(29 + UNIT_DIGITS as u32));
    pub const MOST_BINARY: Amount = Amount(i64::MAX as i128 * UNITS);

    pub fn of_value(value: i64) -> Amount {
        Amount(i128::from(value) * UNITS)
    }

    pub fn of_milli(milli_value: i64) -> Amount {
        Amount(i128::from(milli_value) * (UNITS / 1000))
    }

    /// `digits` * 2^`binary` * 10^`decimal`, rounded up to the unit and capped.
    pub fn scaled(digits: Digits, binary: u32, decimal: i64) -> Amount {
        let Digits {
            mut number,
            mut dropped,
            mut inexact,
        } = digits;
        if number == 0 {
            return Amount(i128::from(inexact));
        }
        let shifted = loop {
            match number.checked_mul(1 << binary) {
                Some(shifted) => break shifted,
                None => {
                    inexact |= number % 10 != 0;
                    number /= 10;
                    dropped += 1;
                }
            }
        };
        let exponent = decimal.saturating_add(dropped).saturating_add(UNIT_DIGITS);
        let power = u32::try_from(exponent.unsigned_abs())
            .ok()
            .and_then(|e| 10_i128.checked_pow(e));
        let (whole, rest) = match (exponent >= 0, power) {
            (true, Some(power)) => (shifted.saturating_mul(power), false),
            (true, None) => (i128::MAX, false),
            (false, Some(power)) => (shifted / power, shifted % power != 0),
            (false, None) => (0, true),
        };
        Amount(whole.saturating_add(i128::from(rest || inexact))).capped(Amount::MOST)
    }

    pub fn plus(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0)).capped(Amount::MOST)
    }

    pub fn negated(self) -> Amount {
        Amount(-self.0)
    }

    pub fn capped(self, most: Amount) -> Amount {
        Amount(self.0.clamp(-most.0, most.0))
    }

    /// In whole `unit`s, rounded away from zero.
    pub fn rounded_up(self, unit: Amount) -> i64 {
        let whole = self.0 / unit.0 + (self.0 % unit.0).signum();
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount where it is a whole number.
    pub fn whole(self) -> Option<i128> {
        (self.0 % UNITS == 0).then_some(self.0 / UNITS)
    }

    /// A number and an exponent that is a multiple of three, as great as the number can stay whole with and
    /// not above `most`: the amount is the number times ten to the exponent.
    pub fn thousands(self, most: i64) -> (i128, i64) {
        let (mut number, mut exponent) = (self.0, -UNIT_DIGITS);
        while number != 0 && number % 1000 == 0 && exponent + 3 <= most {
            number /= 1000;
            exponent += 3;
        }
        (number, exponent)
    }
}

/// A number as written, without its point: what does not fit is dropped from the right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digits {
    number: i128,
    /// How many digits were dropped: the number stands for one that is greater by so many powers of ten.
    dropped: i64,
    /// Whether a dropped digit was not zero.
    inexact: bool,
}

impl Digits {
    pub fn push(&mut self, digit: u8) {
        let next = self
            .number
            .checked_mul(10)
            .and_then(|n| n.checked_add(i128::from(digit)));
        match next {
            Some(number) if self.dropped == 0 => self.number = number,
            _ => {
                self.dropped = self.dropped.saturating_add(1);
                self.inexact |= digit != 0;
            }
        }
    }
}
