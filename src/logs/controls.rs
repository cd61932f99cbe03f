//! Takes terminal control sequences out of a stream of bytes: colours, cursor moves, titles, and all control characters
//! but tab, line feed and carriage return. What is shown to readers can then neither steer their terminal nor hide text.

/// Keeps its place between chunks.
#[derive(Debug, Default)]
pub struct ControlFilter {
    state: State,
}

/// Where in a sequence (ECMA-48) the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// Behind ESC.
    Escape,
    /// Behind ESC and intermediate bytes, e.g. `ESC (`.
    Intermediate,
    /// Behind `ESC [`.
    Csi,
    /// In a title, link or device string, which goes to BEL or `ESC \`.
    DeviceString,
    /// Behind ESC in such a string.
    DeviceStringEscape,
    /// Behind 0xC2, which may begin a control character of two bytes (U+0080 to U+009F).
    LatinLead,
}

impl ControlFilter {
    /// Appends to `out` what is left of `bytes`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if self.state == State::Text {
                let plain = rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..plain]);
                rest = &rest[plain..];
                if let Some((&byte, behind)) = rest.split_first() {
                    rest = behind;
                    self.state = match byte {
                        0x1B => State::Escape,
                        0xC2 => State::LatinLead,
                        _ => State::Text,
                    };
                }
            } else if self.swallow(byte, out) {
                rest = &rest[1..];
            }
        }
    }

    /// Ends the stream: what was kept back because it could have become a control character is put out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.state) == State::LatinLead {
            out.push(0xC2);
        }
    }

    /// Takes a byte within a sequence. `false`: it is not part of it and must be looked at again.
    fn swallow(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        let (next, is_part) = match (self.state, byte) {
            (State::Escape, b'[') => (State::Csi, true),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (State::DeviceString, true),
            (State::Escape | State::Intermediate, 0x20..=0x2F) => (State::Intermediate, true),
            (State::Escape | State::Intermediate, 0x30..=0x7E) => (State::Text, true),
            (State::Csi, 0x20..=0x3F) => (State::Csi, true),
            (State::Csi, 0x40..=0x7E) => (State::Text, true),
            (State::DeviceString, 0x07) => (State::Text, true),
            (State::DeviceString, 0x1B) => (State::DeviceStringEscape, true),
            // A string that is never closed must not hide the rest of the log.
            (State::DeviceString, b'\n') => (State::Text, false),
            (State::DeviceString, _) => (State::DeviceString, true),
            (State::DeviceStringEscape, b'\\') => (State::Text, true),
            (State::DeviceStringEscape, _) => (State::Escape, false),
            (State::LatinLead, 0x80..=0x9F) => (State::Text, true),
            (State::LatinLead, _) => {
                out.push(0xC2);
                (State::Text, false)
            }
            // Broken off.
            _ => (State::Text, false),
        };
        self.state = next;
        is_part
    }
}

const fn is_special(byte: u8) -> bool {
    matches!(byte, 0x00..=0x08 | 0x0B | 0x0C | 0x0E..=0x1F | 0x7F | 0xC2)
}

/// The same for a whole text.
#[must_use]
pub fn strip(text: &str) -> String {
    let mut filter = ControlFilter::default();
    let mut out = Vec::with_capacity(text.len());
    filter.push(text.as_bytes(), &mut out);
    filter.finish(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_titles_links_and_bells_are_taken_out() {
        let cases = [
            ("\u{1b}[1;31mred\u{1b}[0m and\u{1b}[K plain", "red and plain"),
            ("\u{1b}]0;title\u{7}shell", "shell"),
            ("\u{1b}]8;;https://example.org\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(B\u{1b}=\u{1b}7a\u{8}\u{7}\0b\u{7f}", "ab"),
            ("tab\there\r\nnext", "tab\there\r\nnext"),
            ("\u{9b}31mé£Â°\u{85}", "31mé£Â°"),
            ("\u{1b}]never closed\nstill here", "\nstill here"),
            ("\u{1b}[12\nafter", "\nafter"),
            ("\u{1b}\u{1b}[mdone", "done"),
        ];
        for (text, expected) in cases {
            assert_eq!(strip(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter_and_nothing_that_steers_a_terminal_is_left(
            chunks in proptest::collection::vec(proptest::collection::vec(
                prop_oneof![Just(0x1B), Just(b'['), Just(b']'), Just(0xC2), Just(b'\n'), any::<u8>()], 0..6), 0..12),
        ) {
            let (mut one, mut many) = (Vec::new(), Vec::new());
            let whole = chunks.concat();
            let mut filter = ControlFilter::default();
            filter.push(&whole, &mut one);
            filter.finish(&mut one);
            for chunk in &chunks {
                filter.push(chunk, &mut many);
            }
            filter.finish(&mut many);
            prop_assert_eq!(&one, &many);
            prop_assert!(one.iter().all(|byte| *byte == 0xC2 || !is_special(*byte)));
        }
    }
}
