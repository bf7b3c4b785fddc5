//! The name that was probably meant.

/// Names longer than this are compared by their beginnings, which bounds the work.
const LONGEST: usize = 64;

/// The most similar of `names`, at most three, best first; none when nothing is similar.
pub(crate) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let limit = (name.len() / 3).clamp(1, 8);
    let mut found: Vec<(usize, &str)> = names
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    found.sort_unstable();
    found
        .into_iter()
        .take(3)
        .map(|(_, known)| known.to_owned())
        .collect()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().take(LONGEST).collect();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (row, left) in a.bytes().take(LONGEST).enumerate() {
        let mut current = Vec::with_capacity(previous.len());
        let mut last = row + 1;
        current.push(last);
        for (above, right) in previous.windows(2).zip(&b) {
            let (&[diagonal, up], right) = (above, right) else {
                continue;
            };
            last = (diagonal + usize::from(left != *right))
                .min(up + 1)
                .min(last + 1);
            current.push(last);
        }
        previous = current;
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
