//! What is wrong with a configuration, with where (apimachinery's util/validation/field).

use super::ConfigurationError;
use std::fmt;

/// A field, such as `profiles[0].plugins.score`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn root() -> Path {
        Path(String::new())
    }

    pub(super) fn child(&self, name: &str) -> Path {
        match self.0.as_str() {
            "" => Path(name.into()),
            parent => Path(format!("{parent}.{name}")),
        }
    }

    pub(super) fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// All that is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    values: Vec<String>,
    /// Why a profile cannot be made, which is told only where all values are right.
    profile: Option<ConfigurationError>,
}

impl Problems {
    pub(super) fn invalid(&mut self, path: &Path, value: impl fmt::Display, why: &str) {
        self.values.push(format!("{path}: Invalid value: {value}: {why}"));
    }

    pub(super) fn invalid_text(&mut self, path: &Path, value: &str, why: &str) {
        self.invalid(path, format_args!("{value:?}"), why);
    }

    pub(super) fn required(&mut self, path: &Path, why: &str) {
        self.values.push(match why {
            "" => format!("{path}: Required value"),
            why => format!("{path}: Required value: {why}"),
        });
    }

    pub(super) fn forbidden(&mut self, path: &Path, why: &str) {
        self.values.push(format!("{path}: Forbidden: {why}"));
    }

    pub(super) fn duplicate(&mut self, path: &Path, value: &str) {
        self.values.push(format!("{path}: Duplicate value: {value:?}"));
    }

    pub(super) fn not_supported(&mut self, path: &Path, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        self.values.push(format!(
            "{path}: Unsupported value: {value:?}: supported values: {}",
            supported.join(", ")
        ));
    }

    /// The first counts.
    pub(super) fn cannot_be_made(&mut self, error: ConfigurationError) {
        self.profile.get_or_insert(error);
    }

    /// One problem is told as it is, several as a list (util/errors' Aggregate).
    pub(super) fn into_result(mut self) -> Result<(), ConfigurationError> {
        match (self.values.len(), self.profile) {
            (0, None) => Ok(()),
            (0, Some(error)) => Err(error),
            (1, _) => Err(ConfigurationError(self.values.remove(0))),
            _ => Err(ConfigurationError(format!("[{}]", self.values.join(", ")))),
        }
    }
}
