//! Columns under each other, as Go's tabwriter lays them out for kubectl.

/// Spaces between columns.
const PADDING: usize = 3;
/// A column's least width, padding included.
const LEAST_WIDTH: usize = 6;

/// Lays out rows that may come in several parts, as from a watch: a column is never narrower than in an
/// earlier part.
#[derive(Default)]
pub struct Aligned {
    widths: Vec<usize>,
}

impl Aligned {
    /// The rows as lines. A row's last cell is not padded.
    pub fn lines(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            for (column, cell) in row.iter().enumerate() {
                if column == self.widths.len() {
                    self.widths.push(0);
                }
                let width = (cell.chars().count() + PADDING).max(LEAST_WIDTH);
                self.widths[column] = self.widths[column].max(width);
            }
        }
        let mut text = String::new();
        for row in rows {
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if column + 1 < row.len() {
                    let padding = self.widths[column].saturating_sub(cell.chars().count());
                    text.extend(std::iter::repeat_n(' ', padding));
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Aligns the tab-separated cells of a text. A column is a run of neighbouring lines that have a cell there, so
/// that a description's sections are aligned each for itself. `padding` is the space after the widest cell.
pub fn tabbed(text: &str, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            // The last cell of a line ends no column.
            let has_cell = |line: &&Vec<&str>| line.len() > column + 1;
            let end = start + lines[start..].iter().take_while(has_cell).count();
            let widest = lines[start..end]
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            for line in &mut widths[start..end] {
                line[column] = widest + padding;
            }
            start = end.max(start + 1);
        }
    }
    let mut laid_out = Vec::with_capacity(lines.len());
    for (cells, widths) in lines.iter().zip(&widths) {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < cells.len() {
                let padding = widths[column].saturating_sub(cell.chars().count());
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        laid_out.push(line);
    }
    laid_out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        text.lines()
            .map(|line| line.split('|').map(String::from).collect())
            .collect()
    }

    #[test]
    fn columns_are_three_spaces_apart_and_stay_where_they_were() {
        let mut aligned = Aligned::default();
        assert_eq!(
            aligned.lines(&rows("NAME|READY|AGE\nweb-1|1/1|5s")),
            "NAME    READY   AGE\nweb-1   1/1     5s\n"
        );
        assert_eq!(aligned.lines(&rows("a|0/1|1s")), "a       0/1     1s\n");
        assert_eq!(
            aligned.lines(&rows("longer-name|0/1|1s")),
            "longer-name   0/1     1s\n"
        );
    }

    #[test]
    fn a_narrow_column_is_six_wide() {
        assert_eq!(Aligned::default().lines(&rows("A|B\n1|2")), "A     B\n1     2\n");
    }

    #[test]
    fn sections_of_a_text_are_aligned_each_for_itself() {
        let text = "Name:\tweb\nNamespace:\tdefault\nSection:\n  a:\tb\n  longer:\tc\n";
        let expected = "Name:       web\nNamespace:  default\nSection:\n  a:       b\n  longer:  c\n";
        assert_eq!(tabbed(text, 2), expected);
    }
}
