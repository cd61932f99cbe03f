//! `Last-Event-ID`: where a client goes on whose stream broke off (HTML standard, server-sent events). It comes from whoever
//! reaches us, so nothing is taken that we did not write ourselves in that form.

use axum::http::{HeaderMap, HeaderName};

use super::ApiError;
use crate::store::builds::feed::Place;

/// The header's name.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The line behind which the log of a build goes on; `None`: from the beginning.
///
/// # Errors
/// It is no number of a line.
pub fn log_line(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    read(headers, number, "must be the `id` of an event of this build's log")
}

/// The change behind which the feed of all builds goes on; `None`: from now.
///
/// # Errors
/// It is no place in the feed.
pub fn place(headers: &HeaderMap) -> Result<Option<Place>, ApiError> {
    read(headers, |text| text.parse().ok(), "must be the `id` of an event of this stream")
}

/// A browser that has seen no event with an id sends the header empty or not at all.
fn read<T>(
    headers: &HeaderMap,
    parse: impl FnOnce(&str) -> Option<T>,
    detail: &str,
) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim);
    if text == Some("") {
        return Ok(None);
    }
    let invalid = || ApiError::InvalidHeader { name: "Last-Event-ID", detail: detail.to_owned() };
    text.and_then(parse).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn with(value: &[u8]) -> Option<HeaderMap> {
        let value = HeaderValue::from_bytes(value).ok()?;
        Some(HeaderMap::from_iter([(LAST_EVENT_ID, value)]))
    }

    /// What is accepted is what we write, but for leading zeros and space around it.
    fn check(value: &[u8]) {
        let Some(headers) = with(value) else { return };
        let text = String::from_utf8_lossy(value);
        let plain = |number: &str| number.trim_start_matches('0').to_owned();
        if let Ok(Some(line)) = log_line(&headers) {
            assert_eq!(plain(&line.to_string()), plain(text.trim()));
        }
        if let Ok(Some(place)) = place(&headers) {
            let again = with(place.to_string().as_bytes()).unwrap();
            assert_eq!(super::place(&again).unwrap(), Some(place));
            assert_eq!(place.to_string().rsplit('-').next(), text.trim().rsplit('-').next());
        }
    }

    #[test]
    fn nothing_stands_for_the_beginning() {
        for headers in [HeaderMap::new(), with(b"").unwrap(), with(b" ").unwrap()] {
            assert_eq!(log_line(&headers).unwrap(), None);
            assert_eq!(place(&headers).unwrap(), None);
        }
    }

    #[test]
    fn what_we_write_is_read() {
        assert_eq!(log_line(&with(b"17").unwrap()).unwrap(), Some(17));
        let id = "12-3-0198c5a27d3e7c119e6b3f4a5b6c7d8e";
        assert_eq!(place(&with(id.as_bytes()).unwrap()).unwrap().unwrap().to_string(), id);
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["-1", "+1", "1.0", "0x1", "1 2", "9223372036854775808", "\u{661}", "\u{ff}"] {
            assert!(log_line(&with(text.as_bytes()).unwrap()).is_err(), "{text}");
        }
        let id = "0198c5a27d3e7c119e6b3f4a5b6c7d8e";
        for text in [
            "1",
            "1-2",
            "1-2-3",
            &format!("+1-2-{id}"),
            &format!("1--2-{id}"),
            &format!("1-2-{}", id.to_uppercase()),
            "1-2-0198c5a2-7d3e-7c11-9e6b-3f4a5b6c7d8e",
            &format!("1-2-{{{id}}}"),
            &format!("9223372036854775808-2-{id}"),
        ] {
            assert!(place(&with(text.as_bytes()).unwrap()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            check(&value);
        }

        #[test]
        fn so_is_what_looks_like_an_id(value in "[ 0+-]?[0-9]{0,20}(-[0-9+]{0,20}){0,2}(-[0-9a-fA-F-]{30,36})?") {
            check(value.as_bytes());
        }
    }
}
