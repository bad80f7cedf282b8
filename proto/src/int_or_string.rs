//! `IntOrString`: ports by number or name, counts or percentages.

use crate::meta::v1::IntOrString;

impl From<i32> for IntOrString {
    fn from(number: i32) -> Self {
        IntOrString {
            r#type: 0,
            int_val: number,
            str_val: String::new(),
        }
    }
}

impl From<String> for IntOrString {
    fn from(text: String) -> Self {
        IntOrString {
            r#type: 1,
            int_val: 0,
            str_val: text,
        }
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl std::fmt::Display for IntOrString {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.as_int() {
            Some(number) => write!(f, "{number}"),
            None => f.write_str(&self.str_val),
        }
    }
}

/// How a percentage of a whole becomes a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Up,
    Down,
}

impl IntOrString {
    pub fn as_int(&self) -> Option<i32> {
        (self.r#type == 0).then_some(self.int_val)
    }

    pub fn as_str(&self) -> Option<&str> {
        (self.r#type != 0).then_some(self.str_val.as_str())
    }

    /// The percentage, where the value is one such as "25%".
    pub fn percent(&self) -> Option<i32> {
        self.as_str()?.strip_suffix('%')?.parse().ok()
    }

    /// The value itself, or that percentage of `total` (apimachinery's GetScaledValueFromIntOrPercent).
    /// `None` for a string that is not a percentage.
    pub fn scaled(&self, total: i32, rounding: Rounding) -> Option<i32> {
        if let Some(number) = self.as_int() {
            return Some(number);
        }
        let product = i64::from(self.percent()?) * i64::from(total);
        let whole = match rounding {
            Rounding::Up => (product + 99).div_euclid(100),
            Rounding::Down => product.div_euclid(100),
        };
        i32::try_from(whole).ok()
    }
}
