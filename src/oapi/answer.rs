//! Reads what came back: an answer, or an error in one of the shapes that OUTSCALE's API and its gateways use.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::OapiError;

/// A clock that is off by more than this is named in the error.
const NOTABLE_SKEW_SECONDS: i64 = 60;
/// Characters of a foreign answer that are shown.
const EXCERPT_CHARS: usize = 200;

/// What came back over HTTP.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    /// From the `Date` header.
    pub server_time: Option<DateTime<Utc>>,
    /// From the `Retry-After` header, if it holds seconds.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The answer, or the error that it is. `now` is this machine's time when it came.
    pub fn read<A: DeserializeOwned>(
        &self,
        action: &'static str,
        now: DateTime<Utc>,
    ) -> (Result<A, OapiError>, Option<String>) {
        let parsed = serde_json::from_slice::<Value>(&self.body).ok().filter(Value::is_object);
        let request_id = parsed.as_ref().and_then(request_id);
        let result = match parsed {
            Some(mut answer) if (200..300).contains(&self.status) => {
                drop_nulls(&mut answer);
                serde_json::from_value(answer).map_err(|error| OapiError::BadAnswer {
                    action,
                    status: self.status,
                    excerpt: error.to_string(),
                    maybe_done: true,
                })
            }
            parsed => {
                Err(self.error(action, parsed.as_ref().and_then(Complaint::read), request_id.clone(), now))
            }
        };
        (result, request_id)
    }

    fn error(
        &self,
        action: &'static str,
        complaint: Option<Complaint>,
        request_id: Option<String>,
        now: DateTime<Utc>,
    ) -> OapiError {
        let status = self.status;
        let maybe_done = status >= 500 || (200..300).contains(&status);
        let code = complaint.as_ref().and_then(|complaint| complaint.code);
        // A 503 without number comes from a gateway and may have been run; one with number 6 was not.
        if status == 429 || (matches!(code, Some(6 | 24 | 25)) && status != 401) {
            return OapiError::Throttled { action, code, request_id, maybe_done: false };
        }
        let is_authorisation =
            code.map_or(matches!(status, 401 | 403), OapiError::is_authorisation_code) || status == 401;
        match complaint {
            Some(Complaint { kind, details, .. }) if is_authorisation => {
                let skew = self.skew(now);
                OapiError::Unauthorized {
                    action,
                    status,
                    code,
                    kind,
                    details,
                    request_id,
                    skew,
                    maybe_done: false,
                }
            }
            None if status == 401 => OapiError::Unauthorized {
                action,
                status,
                code,
                kind: "AccessDenied".to_owned(),
                details: self.excerpt(),
                request_id,
                skew: self.skew(now),
                maybe_done: false,
            },
            Some(Complaint { kind, details, .. }) if !(200..300).contains(&status) => {
                OapiError::Refused { action, status, code, kind, details, request_id, maybe_done }
            }
            _ => OapiError::BadAnswer { action, status, excerpt: self.excerpt(), maybe_done },
        }
    }

    /// Seconds by which this machine's clock is ahead of the server's, if that is worth telling.
    fn skew(&self, now: DateTime<Utc>) -> Option<i64> {
        let skew = (now - self.server_time?).num_seconds();
        (skew.abs() > NOTABLE_SKEW_SECONDS).then_some(skew)
    }

    /// The beginning of the body as one line without HTML tags.
    fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let mut plain = String::new();
        let mut in_tag = false;
        for character in text.chars() {
            match character {
                '<' => in_tag = true,
                '>' if in_tag => {
                    in_tag = false;
                    plain.push(' ');
                }
                character if !in_tag => plain.push(if character.is_control() { ' ' } else { character }),
                _ => {}
            }
        }
        let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            return "empty body".to_owned();
        }
        match line.char_indices().nth(EXCERPT_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// An error as the body tells it.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    code: Option<u32>,
    kind: String,
    details: String,
}

impl Complaint {
    /// OAPI's own shape, or problem JSON (RFC 9457).
    fn read(body: &Value) -> Option<Self> {
        match body.get("Errors").and_then(Value::as_array).filter(|errors| !errors.is_empty()) {
            Some(errors) => {
                let first = errors.first()?;
                let details: Vec<_> = errors
                    .iter()
                    .filter_map(|error| text(error, "Details"))
                    .filter(|text| !text.is_empty())
                    .collect();
                Some(Self {
                    code: number(first.get("Code")),
                    kind: text(first, "Type").unwrap_or("error without type").to_owned(),
                    details: details.join("; "),
                })
            }
            None => {
                let kind = text(body, "title").or_else(|| text(body, "type"))?.to_owned();
                let details = text(body, "detail").unwrap_or_default().to_owned();
                Some(Self { code: number(body.get("code")), kind, details })
            }
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// OAPI writes error numbers as strings, its mock as numbers.
fn number(value: Option<&Value>) -> Option<u32> {
    match value? {
        Value::String(digits) => digits.trim().parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()),
        _ => None,
    }
}

fn request_id(body: &Value) -> Option<String> {
    let context = body.get("ResponseContext").and_then(|context| text(context, "RequestId"));
    context.or_else(|| text(body, "request_id")).map(str::to_owned)
}

/// A field that is null says the same as one that is not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oapi::types::{Done, ReadVmsAnswer};

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, server_time: None, retry_after: None, body: body.as_bytes().to_vec() }
    }

    fn error_of(reply: &Reply) -> OapiError {
        reply.read::<Done>("ReadVms", Utc::now()).0.unwrap_err()
    }

    fn oapi(status: u16, code: Value) -> Reply {
        let body = json!({
            "Errors": [{"Type": "T", "Details": "", "Code": code}, {"Type": "U", "Details": "more", "Code": "1"}],
            "ResponseContext": {"RequestId": "r1"},
        });
        reply(status, &body.to_string())
    }

    #[test]
    fn the_number_may_be_a_string_or_a_number() {
        for code in [json!("5063"), json!(5063)] {
            let error = error_of(&oapi(400, code));
            assert!(error.is_not_found());
            assert_eq!(error.code(), Some(5063));
            assert_eq!(error.request_id(), Some("r1"));
            assert!(!error.may_have_taken_effect());
            assert!(error.to_string().contains("more"));
        }
    }

    #[test]
    fn problem_json_is_understood_too() {
        let body = json!({"type": "about:blank", "title": "Bad gateway", "status": 502, "detail": "upstream is away"});
        let error = error_of(&reply(502, &body.to_string()));
        assert_eq!(error.to_string(), "ReadVms was refused: Bad gateway: upstream is away");
        assert!(error.is_transient() && error.may_have_taken_effect());
    }

    #[test]
    fn a_gateways_page_is_shown_as_one_short_line() {
        let page = format!("<html>\n<h1>504 Gateway Time-out</h1>{}</html>", "x".repeat(1000));
        let OapiError::BadAnswer { status: 504, excerpt, maybe_done: true, .. } =
            error_of(&reply(504, &page))
        else {
            panic!("another error");
        };
        assert!(excerpt.starts_with("504 Gateway Time-out x"));
        assert!(excerpt.chars().count() <= EXCERPT_CHARS + 1);
        assert!(error_of(&reply(502, "")).to_string().ends_with("empty body"));
    }

    #[test]
    fn throttling_is_told_from_a_broken_gateway() {
        assert!(matches!(error_of(&oapi(503, json!("6"))), OapiError::Throttled { code: Some(6), .. }));
        assert!(matches!(error_of(&oapi(429, json!("24"))), OapiError::Throttled { code: Some(24), .. }));
        assert!(matches!(error_of(&reply(429, "slow down")), OapiError::Throttled { code: None, .. }));
        let gateway = error_of(&reply(503, "busy"));
        assert!(matches!(gateway, OapiError::BadAnswer { .. }) && gateway.may_have_taken_effect());
    }

    #[test]
    fn refused_keys_are_known_by_number_or_status() {
        for reply in
            [oapi(400, json!("4120")), oapi(401, json!("1")), oapi(403, json!("8")), reply(401, "no")]
        {
            assert!(error_of(&reply).is_auth(), "{reply:?}");
        }
        assert!(!error_of(&oapi(400, json!("4104"))).is_auth());
        assert!(!error_of(&reply(403, "<h1>blocked by a proxy</h1>")).is_auth());
    }

    #[test]
    fn a_skewed_clock_is_told_only_if_it_is_notable() {
        let now = Utc::now();
        let skew = |seconds| {
            let reply = Reply {
                server_time: Some(now - chrono::TimeDelta::seconds(seconds)),
                ..oapi(401, json!("1"))
            };
            match reply.read::<Done>("ReadVms", now).0.unwrap_err() {
                OapiError::Unauthorized { skew, .. } => skew,
                other => panic!("{other}"),
            }
        };
        assert_eq!(skew(400), Some(400));
        assert_eq!(skew(-400), Some(-400));
        assert_eq!(skew(59), None);
    }

    #[test]
    fn a_success_that_is_not_oapis_json_may_have_taken_effect() {
        for body in ["", "<html>hello</html>", "[]", r#"{"Vms": 3}"#, r#"{"Vms": [{"State": "running"}"#] {
            let error = reply(200, body).read::<ReadVmsAnswer>("ReadVms", Utc::now()).0.unwrap_err();
            assert!(
                matches!(error, OapiError::BadAnswer { status: 200, maybe_done: true, .. }),
                "{body}: {error}"
            );
        }
    }
}
