//! Cuts a stream of bytes into lines as a terminal would leave them: CR LF ends a line, a lone CR starts it anew (only
//! the last state of a progress bar stays), white space at the end goes. Long lines are cut with a visible marker.

/// Keeps the open line between chunks; holds at most one line of the allowed length.
#[derive(Debug)]
pub struct LineCutter {
    limit: usize,
    open: Vec<u8>,
    /// Bytes of the open line beyond the limit.
    cut: u64,
    /// The last byte was a CR: what comes decides whether it ends or restarts the line.
    is_behind_cr: bool,
    /// Something came since the last line end.
    is_begun: bool,
}

impl LineCutter {
    /// For lines of at most `limit` bytes as they come (bytes that are not UTF-8 take three each).
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, open: Vec::new(), cut: 0, is_behind_cr: false, is_begun: false }
    }

    /// Appends to `lines` those that are complete now.
    pub fn push(&mut self, bytes: &[u8], lines: &mut Vec<String>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let text = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
            self.extend(&rest[..text]);
            rest = &rest[text..];
            if let Some((&end, behind)) = rest.split_first() {
                rest = behind;
                self.is_begun = true;
                if end == b'\n' {
                    lines.extend(self.finish());
                } else {
                    self.is_behind_cr = true;
                }
            }
        }
    }

    /// Ends the open line, if anything of it has come.
    pub fn finish(&mut self) -> Option<String> {
        self.is_behind_cr = false;
        if !std::mem::take(&mut self.is_begun) {
            return None;
        }
        let cut = std::mem::take(&mut self.cut);
        let bytes = std::mem::take(&mut self.open);
        let mut line =
            String::from_utf8_lossy(if cut > 0 { whole_characters(&bytes) } else { &bytes }).into_owned();
        if cut > 0 {
            let cut = cut + (bytes.len() - whole_characters(&bytes).len()) as u64;
            line.push_str(&format!("… [line cut: {cut} bytes more]"));
        }
        line.truncate(line.trim_end().len());
        // A NUL never gets here from a command's output, and Postgres could not store it.
        Some(if line.contains('\0') { line.replace('\0', "") } else { line })
    }

    fn extend(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.is_behind_cr) {
            self.open.clear();
            self.cut = 0;
        }
        self.is_begun = true;
        let (kept, cut) = text.split_at(text.len().min(self.limit - self.open.len()));
        self.open.extend_from_slice(kept);
        self.cut += cut.len() as u64;
    }
}

/// Without the beginning of a character at the end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = LineCutter::new(limit);
        let mut lines = Vec::new();
        for chunk in chunks {
            cutter.push(chunk, &mut lines);
        }
        lines.extend(cutter.finish());
        lines
    }

    #[test]
    fn lines_end_at_lf_and_cr_lf() {
        assert_eq!(cut(100, &[b"one\r\ntwo\n\nthr", b"ee \t\nlast"]), ["one", "two", "", "three", "last"]);
        assert_eq!(cut(100, &[b"pty\r", b"\r\nnext\r", b"\n"]), ["pty", "next"]);
        assert_eq!(cut(100, &[b""]), [""; 0]);
    }

    #[test]
    fn only_the_last_state_of_a_progress_bar_stays() {
        assert_eq!(cut(100, &[b"10%\r50%", b"\r", b"100%\ndone\n"]), ["100%", "done"]);
        assert_eq!(cut(100, &[b"50%\r99%\r"]), ["99%"]);
        assert_eq!(cut(4, &[b"very long state\rok\n"]), ["ok"]);
    }

    #[test]
    fn a_line_that_is_too_long_says_how_much_is_missing() {
        assert_eq!(cut(4, &[b"12345", b"67\nnext\n"]), ["1234… [line cut: 3 bytes more]", "next"]);
        assert_eq!(cut(4, &["123é5\n".as_bytes()]), ["123… [line cut: 3 bytes more]"]);
        assert_eq!(cut(4, &[b"1234\n"]), ["1234"]);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(cut(100, &[b"a\xFFb\xE2", b"\x82\xAC\n"]), ["a\u{FFFD}b€"]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter_and_lines_are_bounded(
            chunks in proptest::collection::vec(proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..9), 0..9),
            limit in 1_usize..9,
        ) {
            let whole = chunks.concat();
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let lines = cut(limit, &chunks);
            prop_assert_eq!(&lines, &cut(limit, &[&whole]));
            prop_assert!(lines.iter().all(|line| line.len() <= 3 * limit + 48 && !line.contains(['\n', '\r', '\0'])));
        }
    }
}
