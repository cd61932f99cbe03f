//! Patterns for paths: `*`, `?`, `[a-z]`, `{a,b}`, and `**` for any folders. A pattern becomes a machine that is in many
//! states at once, so that no path takes longer than its length times the pattern's.

/// Characters of a pattern.
const LONGEST: usize = 256;
/// `{…}` within each other.
const DEEPEST: usize = 8;

/// A pattern.
pub(super) struct Glob {
    states: Vec<State>,
}

/// What a state of the machine does. States are named by their place.
enum State {
    /// Takes this character and goes to the next state.
    Take(char),
    /// Takes any character but `/`.
    TakeAny,
    /// Takes one of these characters, or one that is none of them; never `/`.
    TakeOf { is_negated: bool, ranges: Vec<(char, char)> },
    /// Takes any character, `/` too, and stays.
    TakeAll,
    /// Goes to the next state and to this one, without taking anything.
    Fork(usize),
    /// Goes to this state.
    Jump(usize),
}

impl Glob {
    /// Reads a pattern.
    pub(super) fn of(pattern: &str) -> Result<Self, &'static str> {
        let pattern: Vec<char> = pattern.chars().collect();
        if pattern.len() > LONGEST {
            return Err("is too long for a pattern");
        }
        let mut compiler = Compiler { pattern: &pattern, at: 0, states: Vec::new() };
        compiler.sequence(0, true)?;
        Ok(Self { states: compiler.states })
    }

    /// How many states there are.
    pub(super) fn len(&self) -> usize {
        self.states.len() + 1
    }

    /// Whether all of a path fits.
    pub(super) fn fits(&self, path: &str) -> bool {
        // The last state, behind all others, is the one in which the pattern is at its end.
        let mut now = vec![false; self.len()];
        self.enter(&mut now, 0);
        for c in path.chars() {
            let mut next = vec![false; self.len()];
            for (index, state) in self.states.iter().enumerate() {
                if !now.get(index).copied().unwrap_or_default() {
                    continue;
                }
                match state {
                    State::Take(wanted) if c == *wanted => self.enter(&mut next, index + 1),
                    State::TakeAny if c != '/' => self.enter(&mut next, index + 1),
                    State::TakeOf { is_negated, ranges }
                        if c != '/'
                            && ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *is_negated =>
                    {
                        self.enter(&mut next, index + 1);
                    }
                    State::TakeAll => self.enter(&mut next, index),
                    _ => {}
                }
            }
            now = next;
        }
        now.last().copied().unwrap_or_default()
    }

    /// Marks a state and those that it leads to without taking anything.
    fn enter(&self, marked: &mut [bool], state: usize) {
        let mut open = vec![state];
        while let Some(state) = open.pop() {
            let Some(mark) = marked.get_mut(state) else { continue };
            if std::mem::replace(mark, true) {
                continue;
            }
            match self.states.get(state) {
                Some(State::Fork(other)) => open.extend([state + 1, *other]),
                Some(State::Jump(other)) => open.push(*other),
                Some(State::TakeAll) => open.push(state + 1),
                _ => {}
            }
        }
    }
}

struct Compiler<'a> {
    pattern: &'a [char],
    at: usize,
    states: Vec<State>,
}

impl Compiler<'_> {
    fn peek(&self) -> Option<char> {
        self.pattern.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    /// Everything to the end, or to what ends an alternative within `{…}`.
    fn sequence(&mut self, depth: usize, begins_part: bool) -> Result<(), &'static str> {
        // Whether what follows is the beginning of a part between two `/`.
        let mut begins_part = begins_part;
        while let Some(c) = self.peek() {
            if depth > 0 && matches!(c, ',' | '}') {
                return Ok(());
            }
            self.at += 1;
            let began_part = begins_part;
            begins_part = c == '/';
            match c {
                '*' if began_part && self.peek() == Some('*') => begins_part = self.double_star(),
                '*' => self.star(),
                '?' => self.states.push(State::TakeAny),
                '[' => self.class()?,
                '{' => self.alternatives(depth + 1, began_part)?,
                '\\' => {
                    let escaped = self.next().ok_or("ends with a `\\`")?;
                    self.states.push(State::Take(escaped));
                }
                other => self.states.push(State::Take(other)),
            }
        }
        if depth > 0 { Err("has a `{` that is not closed") } else { Ok(()) }
    }

    /// `*`: any characters within a part.
    fn star(&mut self) {
        let start = self.states.len();
        self.states.push(State::Fork(start + 3));
        self.states.push(State::TakeAny);
        self.states.push(State::Jump(start));
    }

    /// `**` whose first star is taken. Answers whether a part begins behind it.
    fn double_star(&mut self) -> bool {
        self.at += 1;
        match self.peek() {
            // Any folders, none too: `**/`.
            Some('/') => {
                self.at += 1;
                let start = self.states.len();
                self.states.push(State::Fork(start + 6));
                self.states.push(State::TakeAny);
                self.states.push(State::Fork(start + 4));
                self.states.push(State::Jump(start + 1));
                self.states.push(State::Take('/'));
                self.states.push(State::Jump(start));
                true
            }
            // Anything below.
            None | Some(',' | '}') => {
                self.states.push(State::TakeAll);
                false
            }
            // No part of its own, so nothing more than one star.
            Some(_) => {
                self.star();
                false
            }
        }
    }

    /// `[…]` whose first bracket is taken.
    fn class(&mut self) -> Result<(), &'static str> {
        const OPEN: &str = "has a `[` that is not closed";
        let is_negated = matches!(self.peek(), Some('^' | '!'));
        if is_negated {
            self.at += 1;
        }
        let mut ranges = Vec::new();
        loop {
            let from = match self.next().ok_or(OPEN)? {
                ']' if !ranges.is_empty() => break,
                ']' => return Err("has a `[]` with nothing in it"),
                '\\' => self.next().ok_or(OPEN)?,
                other => other,
            };
            let mut to = from;
            if self.peek() == Some('-') && self.pattern.get(self.at + 1).is_some_and(|c| *c != ']') {
                self.at += 1;
                to = match self.next().ok_or(OPEN)? {
                    '\\' => self.next().ok_or(OPEN)?,
                    other => other,
                };
            }
            if to < from {
                return Err("has a range in `[…]` that ends before it begins");
            }
            ranges.push((from, to));
        }
        self.states.push(State::TakeOf { is_negated, ranges });
        Ok(())
    }

    /// `{a,b}` whose first brace is taken.
    fn alternatives(&mut self, depth: usize, begins_part: bool) -> Result<(), &'static str> {
        if depth > DEEPEST {
            return Err("has too many `{` within each other");
        }
        let mut ends = Vec::new();
        loop {
            let fork = self.states.len();
            // Where it leads is known only behind the alternative.
            self.states.push(State::Jump(fork + 1));
            self.sequence(depth, begins_part)?;
            if self.next() != Some(',') {
                // The last one: its end is where all others go on.
                let end = self.states.len();
                for jump in ends {
                    self.set(jump, State::Jump(end));
                }
                return Ok(());
            }
            ends.push(self.states.len());
            self.states.push(State::Jump(0));
            let next = self.states.len();
            self.set(fork, State::Fork(next));
        }
    }

    fn set(&mut self, index: usize, state: State) {
        if let Some(place) = self.states.get_mut(index) {
            *place = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_fit_paths() {
        for (pattern, fitting, others) in [
            ("", vec![""], vec!["a"]),
            ("*", vec!["a", "a.sh", ".hidden", ""], vec!["a/b", "/"]),
            ("*.sh", vec!["a.sh", ".sh"], vec!["a.s", "a/b.sh", "a.shx"]),
            ("a*b*c", vec!["abc", "axbyc", "abbc"], vec!["ab", "a/bc"]),
            ("?.sh", vec!["a.sh", "é.sh"], vec![".sh", "ab.sh", "/.sh"]),
            ("**", vec!["a", "a/b/c"], vec![]),
            ("**/*", vec!["a", "a/b/c"], vec!["a//b"]),
            ("**/a", vec!["a", "x/a", "x/y/a"], vec!["xa", "x/ya"]),
            ("a/**", vec!["a/b", "a/b/c"], vec!["a", "ab", "b/a"]),
            ("a/**/b", vec!["a/b", "a/x/b", "a/x/y/b"], vec!["a/xb", "ab"]),
            ("a**b", vec!["ab", "axxb"], vec!["a/b"]),
            ("**b", vec!["b", "xb"], vec!["x/b"]),
            ("**/**/a", vec!["a", "x/y/a"], vec!["b"]),
            ("[abc]", vec!["a", "c"], vec!["d", "ab", ""]),
            ("[a-cx]", vec!["b", "x"], vec!["d"]),
            ("[^a-c]", vec!["d", "é"], vec!["b", "/"]),
            ("[!a]", vec!["b"], vec!["a"]),
            ("[a-]", vec!["a", "-"], vec!["b"]),
            (r"[\]]", vec!["]"], vec!["\\"]),
            (r"\*", vec!["*"], vec!["a"]),
            ("{a,b}.sh", vec!["a.sh", "b.sh"], vec![".sh", "ab.sh"]),
            ("{a,}x", vec!["ax", "x"], vec!["a"]),
            ("{a{1,2},b/c}", vec!["a1", "a2", "b/c"], vec!["a", "b"]),
            ("{a,b}{1,2}", vec!["a1", "b2"], vec!["a", "ab"]),
            ("{**/a,b}", vec!["a", "x/a", "b"], vec!["x/b"]),
            ("{a}", vec!["a"], vec!["b"]),
            ("a,b}", vec!["a,b}"], vec!["a"]),
            ("{a/**,b}", vec!["a/x/y", "b"], vec!["b/x"]),
        ] {
            let glob = Glob::of(pattern).unwrap();
            for path in fitting {
                assert!(glob.fits(path), "{pattern} {path}");
            }
            for path in others {
                assert!(!glob.fits(path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, expected) in [
            ("[a", "has a `[` that is not closed"),
            ("[a-", "has a `[` that is not closed"),
            ("[", "has a `[` that is not closed"),
            ("[]", "has a `[]` with nothing in it"),
            ("[z-a]", "has a range in `[…]` that ends before it begins"),
            ("{a,b", "has a `{` that is not closed"),
            ("a\\", "ends with a `\\`"),
            (&"{".repeat(200), "has too many `{` within each other"),
            (&"a".repeat(257), "is too long for a pattern"),
        ] {
            assert_eq!(Glob::of(pattern).err(), Some(expected), "{pattern}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let path = "a".repeat(4000);
        for pattern in [
            "*a".repeat(120) + "b",
            "{a,a}".repeat(50) + "b",
            "**/".repeat(80) + "b",
            "{*,**}".repeat(40) + "b",
        ] {
            assert!(!Glob::of(&pattern).unwrap().fits(&path));
        }
    }
}
