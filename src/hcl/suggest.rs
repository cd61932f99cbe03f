//! "Did you mean …?": finds the known word nearest to an unknown one.

use std::cell::Cell;

/// Words that are looked through.
const MOST_CANDIDATES: usize = 1000;

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
        .take(MOST_CANDIDATES)
        // So much longer or shorter is too far away, whatever it says.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (distance(&word_lower, &candidate.to_lowercase(), allowed), candidate))
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
    worded(did_you_mean(word, candidates), otherwise)
}

fn worded(near: Option<&str>, otherwise: &str) -> String {
    near.map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

/// Suggestions that are left. Looking for one takes longer than most of what an expression can do, and errors can be made in
/// great numbers, by `try` even without anybody seeing them.
#[derive(Debug)]
pub struct Hints(Cell<u32>);

/// As many errors as a client is told of.
impl Default for Hints {
    fn default() -> Self {
        Self(Cell::new(100))
    }
}

impl Hints {
    /// The candidate nearest to `word`, as long as suggestions are left.
    pub fn did_you_mean<'a>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        self.0.set(self.0.get().checked_sub(1)?);
        did_you_mean(word, candidates)
    }

    /// `did you mean …?` or, if nothing is near or no suggestions are left, the text given.
    pub fn or_did_you_mean<'a>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
        otherwise: &str,
    ) -> String {
        worded(self.did_you_mean(word, candidates), otherwise)
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two words; more than `most` is any number above it.
fn distance(left: &str, right: &str, most: usize) -> usize {
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
        if last.iter().chain(&before_last).all(|distance| *distance > most) {
            return most + 1;
        }
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
        let distance = |left, right| super::distance(left, right, 10);
        assert_eq!((distance("abc", "abc"), distance("abc", "acb"), distance("", "abc")), (0, 1, 3));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(super::distance("kitten", "an elephant", 2), 3);
    }
}
