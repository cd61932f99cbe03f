//! Reads server-sent events from bytes as they come.

/// The most bytes of one event; a server that sends more is not ours.
const LARGEST_EVENT: usize = 8 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// `id`, if this event has one.
    pub id: Option<String>,
    /// `event`; `message` if there is none.
    pub kind: String,
    /// `data`, lines joined.
    pub data: String,
}

/// Holds what is not a whole event yet.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    event: Event,
    has_data: bool,
    skip_line_feed: bool,
}

impl Decoder {
    /// Takes bytes and gives the events that are whole now; `None` when an event grows beyond all bounds.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_return = std::mem::take(&mut self.skip_line_feed);
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => {
                    self.skip_line_feed = byte == b'\r';
                    let line = std::mem::take(&mut self.bytes);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ => self.bytes.push(byte),
            }
        }
        (self.bytes.len() + self.event.data.len() <= LARGEST_EVENT).then_some(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if event.kind.is_empty() {
                "message".clone_into(&mut event.kind);
            }
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.kind),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments (an empty field), `retry` and whatever else may come.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "retry: 1000\n\n: still here\n\nid: 1\nevent: log\ndata: {\"é\":1}\n\nevent: end\r\ndata:a\r\ndata: b\r\n\r\nid\ndata\n\n";

    fn expected() -> Vec<Event> {
        vec![
            Event { id: Some("1".to_owned()), kind: "log".to_owned(), data: "{\"é\":1}".to_owned() },
            Event { id: None, kind: "end".to_owned(), data: "a\nb".to_owned() },
            Event { id: Some(String::new()), kind: "message".to_owned(), data: String::new() },
        ]
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_the_bytes_are_cut(cuts in prop::collection::vec(1_usize..20, 1..60)) {
            let (mut decoder, mut events, mut rest) = (Decoder::default(), Vec::new(), STREAM.as_bytes());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                events.extend(decoder.push(now).unwrap());
                rest = later;
            }
            prop_assert_eq!(events, expected());
        }
    }

    #[test]
    fn an_unfinished_event_is_no_event_and_an_endless_one_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"data: half").unwrap(), []);
        assert_eq!(decoder.push(&vec![b'x'; LARGEST_EVENT]), None);
    }
}
