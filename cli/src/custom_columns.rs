//! Columns that the user chooses: `-o custom-columns=NAME:.metadata.name,IP:.status.podIP`.

use crate::go_text;
use crate::jsonpath::JsonPath;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct CustomColumns {
    columns: Vec<(String, JsonPath)>,
}

impl CustomColumns {
    /// `<header>:<json-path-expr>`, parted by commas.
    pub fn parse(spec: &str) -> Result<CustomColumns, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".into());
        }
        let column = |part: &str| match part.split_once(':') {
            Some((header, path)) => Ok((header.to_string(), JsonPath::parse_relaxed(path)?)),
            None => Err(format!(
                "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
            )),
        };
        let columns = spec.split(',').map(column).collect::<Result<_, String>>()?;
        Ok(CustomColumns { columns })
    }

    /// A line of headers and a line of expressions, both parted by blanks.
    pub fn parse_template(text: &str) -> Result<CustomColumns, String> {
        let mut lines = text.lines();
        let mut words = |what: &str| match lines.next() {
            Some(line) => Ok(line.split_whitespace().collect::<Vec<_>>()),
            None => Err(format!(
                "invalid template, missing {what} line. Expected format is one line of space separated headers, one line \
                 of space separated column specs."
            )),
        };
        let (headers, paths) = (words("header")?, words("spec")?);
        if headers.len() != paths.len() {
            return Err(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headers.len(),
                paths.len()
            ));
        }
        let column =
            |(header, path): (&&str, &&str)| Ok((header.to_string(), JsonPath::parse_relaxed(path)?));
        let columns = headers
            .iter()
            .zip(&paths)
            .map(column)
            .collect::<Result<_, String>>()?;
        Ok(CustomColumns { columns })
    }

    pub fn headers(&self) -> Vec<String> {
        self.columns.iter().map(|(header, _)| header.clone()).collect()
    }

    pub fn row(&self, object: &Value) -> Result<Vec<String>, String> {
        self.columns.iter().map(|(_, path)| cell(path, object)).collect()
    }
}

fn cell(path: &JsonPath, object: &Value) -> Result<String, String> {
    let found = path.find(object)?;
    if found.first().is_none_or(Vec::is_empty) {
        return Ok("<none>".into());
    }
    let shown: Vec<String> = found
        .iter()
        .flatten()
        .map(|value| go_text::sprint(value))
        .collect();
    Ok(shown.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_show_what_their_expressions_find() {
        let pod = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"containers": [
            {"image": "i:1"}, {"image": "i:2"}]}});
        let check = |spec: &str, expected: &[&str]| {
            let columns = CustomColumns::parse(spec).unwrap();
            assert_eq!(columns.row(&pod).unwrap(), expected, "{spec}");
        };
        check(
            "NAME:.metadata.name,I:spec.containers[*].image",
            &["a", "i:1,i:2"],
        );
        check("A:{.metadata.labels},B:.status.phase", &["map[x:1]", "<none>"]);
        let template = CustomColumns::parse_template("NAME  RSRC\n{metadata.name}  {.kind}\n").unwrap();
        assert_eq!(
            (template.headers(), template.row(&pod).unwrap()),
            (
                vec!["NAME".to_string(), "RSRC".to_string()],
                vec!["a".to_string(), "<none>".to_string()],
            )
        );
    }

    #[test]
    fn a_spec_that_is_none_is_refused_as_kubectl_refuses_it() {
        let check = |spec: &str, expected: &str| {
            assert_eq!(CustomColumns::parse(spec), Err(expected.into()), "{spec}");
        };
        check("", "custom-columns format specified but no custom columns given");
        check(
            "NAME",
            "unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>",
        );
        check(
            "N:{.a}{.b}",
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' \
            or '{.name1.name2}'",
        );
        assert_eq!(
            CustomColumns::parse_template("A B\n.a\n"),
            Err("number of headers (2) and field specifications (1) don't match".into())
        );
    }
}
