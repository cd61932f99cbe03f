//! Patterns of paths, with the meaning that Go's `filepath.Glob` gives them: `*`, `?` and `[a-z]` within one name.

/// Whether a path fits a pattern. Both are normalised.
#[must_use]
pub fn fits(pattern: &str, path: &str) -> bool {
    let (patterns, names): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    patterns.len() == names.len()
        && patterns.iter().zip(names).all(|(pattern, name)| {
            name_fits(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
        })
}

/// Goes back to the last star when a name does not go on as its pattern does.
fn name_fits(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, in_name));
            at += 1;
            continue;
        }
        match one(&pattern[at.min(pattern.len())..], name[in_name]) {
            Some(taken) => {
                at += taken;
                in_name += 1;
            }
            None => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    in_name = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// How much of the pattern stands for this character; `None`: it does not fit.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', rest @ ..] => {
            let (is_negated, rest) = match rest {
                ['^', rest @ ..] => (true, rest),
                _ => (false, rest),
            };
            let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
            let mut class = &rest[..end];
            let mut is_in = false;
            while let [first, others @ ..] = class {
                (is_in, class) = match others {
                    ['-', last, others @ ..] => (is_in || (*first..=*last).contains(&c), others),
                    _ => (is_in || *first == c, others),
                };
            }
            (is_in != is_negated).then_some(pattern.len() - rest.len() + end + 1)
        }
        ['\\', literal, ..] => (*literal == c).then_some(2),
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_go() {
        for (pattern, path) in [
            ("a", "a"),
            ("*", "a.txt"),
            ("out/*.tgz", "out/a.b.tgz"),
            ("out/*/r?port", "out/x/report"),
            ("[a-c]*", "b1"),
            ("[^a-c]x[]]", "dx]"),
            ("[-a]b", "-b"),
            (r"\*", "*"),
            ("a*b*c", "axxbbyc"),
            ("**", "x"),
            ("a*", "a"),
        ] {
            assert!(fits(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*", "a/b"),
            ("a", "ab"),
            ("out/*", "out"),
            ("[a-c]", "d"),
            ("[^a]", "a"),
            (r"\*", "x"),
            ("a*b*c", "axxbby"),
            ("[a", "a"),
            ("?", ""),
            ("", "a"),
        ] {
            assert!(!fits(pattern, path), "{pattern} {path}");
        }
    }
}
