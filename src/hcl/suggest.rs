//! "Did you mean …?": finds the known word nearest to an unknown one.

/// The candidate nearest to `word`, if one is near enough to be meant.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 100 {
        return None;
    }
    let word_lower = word.to_lowercase();
    // Every short word is near to every other; those must be the same but for their case.
    let length = word.chars().count();
    let allowed = if length < 3 { 0 } else { (length / 3).min(4) };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word_lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` or, if nothing is near, the text given.
pub fn or_did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match did_you_mean(word, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (row, from) in left.iter().enumerate() {
        let mut current = vec![row + 1; width];
        for (column, to) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            current[column + 1] = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *from == right[column - 1] && left[row - 1] == *to;
            if swapped {
                current[column + 1] = current[column + 1].min(before_last[column - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        let words = ["vm_type", "omi_name", "source_omi", "source_omi_filter"];
        assert_eq!(did_you_mean("vm_typ", words), Some("vm_type"));
        assert_eq!(did_you_mean("omi_nmae", words), Some("omi_name"));
        assert_eq!(did_you_mean("SOURCE_OMI", words), Some("source_omi"));
        assert_eq!(did_you_mean("instance_kind", words), None);
        assert_eq!(did_you_mean("", words), None);
        assert_eq!((did_you_mean("e", ["a"]), did_you_mean("A", ["a"])), (None, Some("a")));
    }

    #[test]
    fn distances_are_counted() {
        assert_eq!((distance("abc", "abc"), distance("abc", "acb"), distance("", "abc")), (0, 1, 3));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
