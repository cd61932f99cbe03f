//! Any bytes as a `Last-Event-ID`: refused, or a place that is written and read again as the same.
#![no_main]

use axum::http::{HeaderMap, HeaderValue};
use fournil::api::event_id;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let with = |value: HeaderValue| HeaderMap::from_iter([(event_id::LAST_EVENT_ID, value)]);
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers = with(value);
    if let Ok(Some(line)) = event_id::log_line(&headers) {
        assert!(line >= 0);
        let again = event_id::log_line(&with(HeaderValue::from(line)));
        assert_eq!(again.ok().flatten(), Some(line));
    }
    if let Ok(Some(place)) = event_id::place(&headers) {
        let Ok(value) = HeaderValue::from_str(&place.to_string()) else { panic!("{place} is no header") };
        assert_eq!(event_id::place(&with(value)).ok().flatten(), Some(place));
    }
});
