//! Medians and the like.

/// The value below which `share` (0 to 1) of the values lie; 0 where there are none.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * share).round() as usize)
        .copied()
        .unwrap_or(0.0)
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// Between which values the true median lies with at least 95 % (the order statistics that the binomial distribution
/// names); the smallest and the largest where there are too few values to say that.
pub fn median_interval(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(&smallest), Some(&largest)) = (sorted.first(), sorted.last()) else {
        return (0.0, 0.0);
    };
    // How likely it is that `below` of all values are less than the true median.
    let mut likely = 0.5_f64.powi(i32::try_from(sorted.len()).unwrap_or(i32::MAX));
    let (mut tail, mut interval) = (likely, (smallest, largest));
    for below in 1..sorted.len() / 2 {
        likely *= (sorted.len() - below + 1) as f64 / below as f64;
        if 2.0 * tail > 0.05 {
            break;
        }
        interval = (sorted[below - 1], sorted[sorted.len() - below]);
        tail += likely;
    }
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let values = [5.0, 1.0, 3.0, 2.0, 4.0];
        for (share, value) in [(0.0, 1.0), (0.5, 3.0), (0.9, 5.0), (1.0, 5.0)] {
            assert_eq!(percentile(&values, share), value);
        }
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn the_interval_of_a_median_leaves_out_what_chance_may_give() {
        let check = |count: u32, expected: (f64, f64)| {
            let values: Vec<f64> = (1..=count).map(f64::from).collect();
            assert_eq!(median_interval(&values), expected, "{count}");
        };
        // The ranks of a table of the sign test at 5 %.
        check(1, (1.0, 1.0));
        check(5, (1.0, 5.0));
        check(10, (2.0, 9.0));
        check(15, (4.0, 12.0));
        check(20, (6.0, 15.0));
        assert_eq!(median_interval(&[]), (0.0, 0.0));
    }
}
