//! Generated names.

use rand::{Rng, RngExt as _};

/// The letters of Kubernetes' generated names (apimachinery/pkg/util/rand): no vowels, hence no words, and
/// nothing that looks like something else.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LETTERS: usize = 5;
/// 63, so that a generated name is good for a label value too, less the suffix.
const MAX_BASE_BYTES: usize = 63 - SUFFIX_LETTERS;

/// A name that starts with `base`, cut where it would be too long.
pub(super) fn generated(base: &str, rng: &mut impl Rng) -> String {
    let mut name: String = base.to_owned();
    while name.len() > MAX_BASE_BYTES {
        name.pop();
    }
    for _ in 0..SUFFIX_LETTERS {
        name.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    name
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_generated_name_has_five_letters_more_and_at_most_63() {
        let mut rng = StdRng::seed_from_u64(1);
        for base in ["web-", "", &"a".repeat(70)] {
            let name = generated(base, &mut rng);
            let (start, suffix) = name.split_at(name.len() - SUFFIX_LETTERS);
            assert!(base.starts_with(start) && name.len() <= 63, "{name}");
            assert!(suffix.bytes().all(|letter| ALPHABET.contains(&letter)), "{name}");
        }
    }
}
