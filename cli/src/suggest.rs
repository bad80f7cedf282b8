//! The word that was probably meant.

/// The candidate that is nearest to `word`, where one is near: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    let near = |candidate: &'a str| {
        let lower = candidate.to_lowercase();
        let distance = distance(&word, &lower);
        // Of two that are as near, the one with the same first letter: that is seldom mistyped.
        let other_start = !lower.starts_with(|first| word.starts_with(first));
        (distance <= limit).then_some((distance, other_start, candidate))
    };
    let found = candidates
        .into_iter()
        .filter_map(near)
        .min_by_key(|(distance, other, _)| (*distance, *other));
    found.map(|(_, _, candidate)| candidate)
}

/// Damerau and Levenshtein's: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let check = |word, expected| {
            assert_eq!(
                nearest(word, ["pods", "deployments", "services", "nodes"]),
                expected,
                "{word}"
            );
        };
        check("pdos", Some("pods"));
        check("Deploymnet", Some("deployments"));
        check("servces", Some("services"));
        check("nods", Some("nodes"));
        check("gateways", None);
        check("", None);
    }
}
