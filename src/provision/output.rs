//! Outputs that stand between a command and the log: one that remembers the last lines for the error message, and one
//! that collects the little text that a command answers with.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use crate::domain::log::{Output, Stream};

/// How many lines an error keeps.
const LAST_LINES: usize = 5;
/// How many bytes of output are remembered: enough for those lines.
const REMEMBERED: usize = 8 * 1024;
/// How much a command may answer with when its answer is collected.
const ANSWER_LIMIT: usize = 1 << 20;

/// Passes output on as it comes, and remembers its end.
pub(super) struct Remembering<'a> {
    inner: &'a dyn Output,
    end: Mutex<End>,
}

/// The end of the output.
struct End {
    bytes: Vec<u8>,
    /// Whether it begins in the middle of the output, and so perhaps in the middle of a line.
    is_cut: bool,
}

impl<'a> Remembering<'a> {
    pub(super) fn new(inner: &'a dyn Output) -> Self {
        Self { inner, end: Mutex::new(End { bytes: Vec::with_capacity(2 * REMEMBERED), is_cut: false }) }
    }

    /// The last lines that are not empty, oldest first. Only whole lines: half a secret would not be recognised as one.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&end.bytes);
        let whole = if end.is_cut { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        let mut lines: Vec<String> = whole
            .lines()
            // A progress bar overwrites its line; what it wrote last is what was seen.
            .map(|line| line.trim_end().rsplit('\r').next().unwrap_or_default())
            .filter(|line| !line.is_empty())
            .rev()
            .take(LAST_LINES)
            .map(str::to_owned)
            .collect();
        lines.reverse();
        lines
    }

    fn remember(&self, bytes: &[u8]) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = bytes.len().saturating_sub(REMEMBERED);
        end.is_cut |= surplus > 0;
        if surplus > 0 {
            end.bytes.clear();
        }
        end.bytes.extend_from_slice(&bytes[surplus..]);
        // Cut seldom, so that output in small pieces is not moved about for each of them.
        if end.bytes.len() > 2 * REMEMBERED {
            let surplus = end.bytes.len() - REMEMBERED;
            end.bytes.drain(..surplus);
            end.is_cut = true;
        }
    }
}

impl Output for Remembering<'_> {
    fn chunk<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.remember(bytes);
        self.inner.chunk(stream, bytes)
    }

    fn say<'a>(&'a self, line: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.inner.say(line)
    }
}

/// Collects what a command answers on its standard output; the rest is dropped.
#[derive(Default)]
pub(super) struct Answer(Mutex<Vec<u8>>);

impl Answer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output for Answer {
    fn chunk<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        if stream == Stream::Stdout {
            let mut answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let room = ANSWER_LIMIT - answer.len();
            answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        Box::pin(std::future::ready(()))
    }

    fn say<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Output for Nowhere {
        fn chunk<'a>(&'a self, _: Stream, _: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(std::future::ready(()))
        }

        fn say<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_however_the_output_was_cut() {
        let text: String = (0..10_000).map(|line| format!("line {line}\r\n\n")).collect();
        for size in [1, 7, 4096, text.len()] {
            let output = Remembering::new(&Nowhere);
            for chunk in text.as_bytes().chunks(size) {
                output.chunk(Stream::Stderr, chunk).await;
            }
            let expected: Vec<String> = (9_995..10_000).map(|line| format!("line {line}")).collect();
            assert_eq!(output.last_lines(), expected, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_progress_bar_is_remembered_by_its_last_state() {
        let output = Remembering::new(&Nowhere);
        output.chunk(Stream::Stdout, b"10%\r50%\r100%\nE: failed").await;
        assert_eq!(output.last_lines(), ["100%", "E: failed"]);
    }
}
