//! Replaces every secret of a run by a marker, in a stream of bytes and however it is cut into chunks. The spellings a
//! secret is looked for in are the business of `forms`.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, Input, MatchKind};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroize;

use super::forms;

/// What stands in the place of a secret.
pub const MARKER: &str = "<sensitive>";

/// When a stream ends in the middle of a secret, a beginning of at least this many bytes is replaced as well.
const TELLING_BEGINNING: usize = 8;

/// The secrets to be replaced. Clones share them: one that is added is known to all.
///
/// Each is looked for as it is, in base64 (any alignment, with and without padding, URL-safe), hex, percent-encoded,
/// escaped for JSON and XML and quoted for a shell; of a secret of several lines also each line of four characters and
/// more. Secrets of less than three bytes are left alone.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Arc<RwLock<Arc<Needles>>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// Knows these secrets.
    #[must_use]
    pub fn new(secrets: &[SecretString]) -> Self {
        let redactor = Self::default();
        redactor.add(secrets);
        redactor
    }

    /// Adds secrets. Streams that are under way look for them from their next chunk on.
    pub fn add(&self, secrets: &[SecretString]) {
        let added: BTreeSet<_> =
            secrets.iter().flat_map(|secret| forms::of_secret(secret.expose_secret())).collect();
        let mut needles = self.needles.write().unwrap_or_else(PoisonError::into_inner);
        if added.iter().all(|form| needles.forms.binary_search(form).is_ok()) {
            return;
        }
        let forms: BTreeSet<_> = needles.forms.iter().cloned().chain(added).collect();
        *needles = Arc::new(Needles::new(forms.into_iter().collect()));
    }

    /// Replaces the secrets in a text that is complete.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let needles = self.needles();
        if needles.find(text.as_bytes(), 0).is_none() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        replace(&needles, text.as_bytes(), 0, text.len(), &mut out);
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Begins to look through a stream.
    #[must_use]
    pub fn stream(&self) -> RedactStream {
        RedactStream { redactor: self.clone(), held: Vec::new(), replaced: 0 }
    }

    fn needles(&self) -> Arc<Needles> {
        Arc::clone(&self.needles.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks through one stream. Holds back only what may be the beginning of a secret.
pub struct RedactStream {
    redactor: Redactor,
    held: Vec<u8>,
    /// So many of the held bytes are part of a secret for which a marker has been put out; they are still needed to
    /// find one that overlaps with it.
    replaced: usize,
}

impl fmt::Debug for RedactStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is held may be most of a secret.
        f.debug_struct("RedactStream").field("held_bytes", &self.held.len()).finish_non_exhaustive()
    }
}

impl RedactStream {
    /// Appends to `out` what can be told so far.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let needles = self.redactor.needles();
        let joined;
        let text = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.held);
            &joined
        };
        let keep = needles.open_end(text);
        let done = replace(&needles, text, self.replaced, keep, out);
        self.held.extend_from_slice(&text[keep..]);
        self.replaced = done - keep;
    }

    /// Ends the stream. A long beginning of a secret at its very end (its writer was stopped) is replaced too.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let needles = self.redactor.needles();
        let text = std::mem::take(&mut self.held);
        let replaced = std::mem::take(&mut self.replaced);
        let end = needles.open_end(&text);
        let is_telling = text.len() - end >= TELLING_BEGINNING;
        let done = replace(&needles, &text, replaced, if is_telling { end } else { text.len() }, out);
        // One that overlaps with a secret before it has its marker already.
        if is_telling && done == end {
            out.extend_from_slice(MARKER.as_bytes());
        }
    }
}

/// Appends `text[from..until]` to `out`, with each secret that begins there replaced; secrets that overlap get one
/// marker together. Bytes before `from` belong to one that has its marker. Returns how far `text` is done, which is
/// behind `until` where a secret reaches over it.
fn replace(needles: &Needles, text: &[u8], from: usize, until: usize, out: &mut Vec<u8>) -> usize {
    let mut done = from;
    let mut search = 0;
    while let Some((begin, end)) = needles.find(text, search).filter(|(begin, _)| *begin < until) {
        if begin >= done {
            out.extend_from_slice(&text[done..begin]);
            out.extend_from_slice(MARKER.as_bytes());
        }
        done = done.max(end);
        // One byte on, not behind it: a secret that begins within this one must go too.
        search = begin + 1;
    }
    if done < until {
        out.extend_from_slice(&text[done..until]);
        done = until;
    }
    done
}

/// What is searched for.
struct Needles {
    /// All spellings of all secrets, in order.
    forms: Vec<Vec<u8>>,
    search: Search,
    longest: usize,
    /// A bit for each pair of bytes that a spelling begins with: most places are ruled out by it.
    pairs: Box<[u64; 1024]>,
}

enum Search {
    Nothing,
    Forms(AhoCorasick),
    /// The search could not be built, so that everything has to be taken for a secret.
    Everything,
}

impl Default for Needles {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Drop for Needles {
    fn drop(&mut self) {
        self.forms.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl Needles {
    /// `forms` are sorted and at least two bytes long each.
    fn new(forms: Vec<Vec<u8>>) -> Self {
        let search = if forms.is_empty() {
            Search::Nothing
        } else {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&forms)
                .map_or(Search::Everything, Search::Forms)
        };
        let mut pairs = Box::new([0; 1024]);
        for form in &forms {
            if let [first, second, ..] = form[..] {
                let bit = pair(first, second);
                pairs[bit / 64] |= 1_u64 << (bit % 64);
            }
        }
        Self { longest: forms.iter().map(Vec::len).max().unwrap_or(0), forms, search, pairs }
    }

    /// The first place at or behind `from` where a secret begins, and where the longest one there ends.
    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        match &self.search {
            Search::Nothing => None,
            Search::Forms(search) => {
                search.find(Input::new(text).span(from..text.len())).map(|found| (found.start(), found.end()))
            }
            Search::Everything => (from == 0 && !text.is_empty()).then_some((0, text.len())),
        }
    }

    /// Where the end of `text` begins that may go on to be a secret; the length of `text` if nothing may.
    fn open_end(&self, text: &[u8]) -> usize {
        let first = text.len().saturating_sub(self.longest.saturating_sub(1));
        (first..text.len()).find(|begin| self.is_beginning(&text[*begin..])).unwrap_or(text.len())
    }

    /// Whether a spelling begins with `text` and is longer.
    fn is_beginning(&self, text: &[u8]) -> bool {
        if let [first, second, ..] = *text {
            let bit = pair(first, second);
            if self.pairs[bit / 64] & (1 << (bit % 64)) == 0 {
                return false;
            }
        }
        // In order, what begins with the text stands right behind it.
        let next = self.forms.partition_point(|form| form.as_slice() <= text);
        self.forms.get(next).is_some_and(|form| form.starts_with(text))
    }
}

const fn pair(first: u8, second: u8) -> usize {
    (first as usize) << 8 | second as usize
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
