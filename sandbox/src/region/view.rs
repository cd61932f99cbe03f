//! What reading calls have in common: filters, order and pages. A resource is rendered once, as its answer object
//! with a few more members (their names start with `_`) that only filters look at.

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::DateTime;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// A rendered resource and its place in the order of creation.
pub struct View {
    pub sequence: u64,
    pub object: Map<String, Value>,
}

impl View {
    /// The object without what is there for filters only.
    pub fn into_answer(mut self) -> Value {
        self.object.retain(|name, _| !name.starts_with('_'));
        Value::Object(self.object)
    }
}

/// How a filter's values are compared with the resource's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Exact,
    /// Equal, where `*` stands for any text.
    Wildcard,
    /// The same moment, or the same day if only a day is given.
    Date,
    /// Not before this moment.
    Since,
    /// Not after this moment.
    Until,
}

/// A filter of a reading call: its name, where its values are in the view (`Nics[].SubnetId`), how to compare.
pub type Filter = (&'static str, &'static str, Compare);

/// The filters that every kind with tags has.
pub const TAG_FILTERS: [Filter; 3] = [
    ("TagKeys", "Tags[].Key", Compare::Wildcard),
    ("TagValues", "Tags[].Value", Compare::Wildcard),
    ("Tags", "_TagPairs[]", Compare::Wildcard),
];

/// Paging as the client asked for it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Page<'a> {
    pub size: Option<i64>,
    pub token: Option<&'a str>,
}

/// Answers a reading call: what matches the filters, in the order of creation, as far as the page goes.
pub fn read<F: Serialize>(
    name: &str,
    views: Vec<View>,
    known: &[Filter],
    filters: Option<&F>,
    page: Page<'_>,
) -> Result<Value, ApiError> {
    let filters = match filters.map(serde_json::to_value) {
        Some(Ok(Value::Object(filters))) => filters,
        Some(Err(error)) => return Err(ApiError::internal(error.to_string())),
        _ => Map::new(),
    };
    let mut matching: Vec<View> = views.into_iter().filter(|view| matches(view, known, &filters)).collect();
    matching.sort_by_key(|view| view.sequence);

    let after = page.token.map(read_token).transpose()?;
    let mut token = None;
    match page.size {
        // The cloud ignores no token: it wants to know how large the pages of the list are.
        None if after.is_some() => {
            return Err(ApiError::new(4117, "NextPageToken needs ResultsPerPage beside it."));
        }
        None => {}
        Some(size @ 1..=1000) => {
            let size = usize::try_from(size).unwrap_or(1000);
            matching.retain(|view| after.is_none_or(|after| view.sequence > after));
            if matching.len() > size {
                matching.truncate(size);
                token = matching.last().map(|view| write_token(view.sequence));
            }
        }
        Some(size) => {
            return Err(ApiError::new(
                4047,
                format!("ResultsPerPage must be between 1 and 1000, not {size}."),
            ));
        }
    }
    let objects: Vec<Value> = matching.into_iter().map(View::into_answer).collect();
    let mut answer = json!({ name: objects });
    if let Some(token) = token {
        answer["NextPageToken"] = json!(token);
    }
    Ok(answer)
}

/// Whether all filters fit; the values of one list are alternatives. An empty list does not filter.
fn matches(view: &View, known: &[Filter], filters: &Map<String, Value>) -> bool {
    filters.iter().all(|(name, wanted)| {
        let Some((_, path, compare)) = known.iter().find(|(filter, ..)| filter == name) else {
            return false;
        };
        let mut found = Vec::new();
        collect(&view.object, path, &mut found);
        match wanted {
            Value::Array(wanted) if wanted.is_empty() => true,
            Value::Array(wanted) => {
                wanted.iter().any(|wanted| found.iter().any(|value| fits(value, wanted, *compare)))
            }
            wanted => found.iter().any(|value| fits(value, wanted, *compare)),
        }
    })
}

/// Gathers the values at a path; `[]` after a name means each element of that list.
fn collect<'a>(object: &'a Map<String, Value>, path: &str, found: &mut Vec<&'a Value>) {
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    let (name, list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let Some(member) = object.get(name) else { return };
    let items: Vec<&Value> = match member.as_array() {
        Some(items) if list => items.iter().collect(),
        _ => vec![member],
    };
    for item in items {
        match (rest, item) {
            (Some(rest), Value::Object(item)) => collect(item, rest, found),
            (Some(_), _) => {}
            (None, item) => found.push(item),
        }
    }
}

fn fits(value: &Value, wanted: &Value, compare: Compare) -> bool {
    let (Value::String(value), Value::String(wanted)) = (value, wanted) else {
        // Some numbers are filtered by their text.
        return value == wanted || wanted.as_str().is_some_and(|wanted| is_number_text(value, wanted));
    };
    match compare {
        Compare::Exact => value == wanted,
        Compare::Wildcard => wildcard(wanted, value),
        Compare::Date if wanted.len() == 10 => value.starts_with(wanted.as_str()),
        Compare::Date => moment(value).is_some() && moment(value) == moment(wanted),
        Compare::Since => moment(value) >= moment(wanted),
        Compare::Until => moment(value) <= moment(wanted),
    }
}

fn is_number_text(value: &Value, text: &str) -> bool {
    value.as_i64().is_some_and(|number| text.parse() == Ok(number))
}

fn moment(text: &str) -> Option<i64> {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    DateTime::parse_from_rfc3339(&text)
        .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .ok()
        .map(|time| time.timestamp_millis())
}

/// Whether a text fits a pattern in which `*` stands for any text, also none.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn write_token(sequence: u64) -> String {
    BASE64_STANDARD.encode(format!("after:{sequence}"))
}

fn read_token(token: &str) -> Result<u64, ApiError> {
    BASE64_STANDARD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("after:")?.parse().ok())
        .ok_or_else(|| ApiError::new(4117, "The NextPageToken is not valid."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(sequence: u64, object: Value) -> View {
        View { sequence, object: object.as_object().cloned().unwrap() }
    }

    fn ids(answer: &Value) -> Vec<&str> {
        answer["Things"].as_array().unwrap().iter().map(|thing| thing["Id"].as_str().unwrap()).collect()
    }

    const KNOWN: &[Filter] = &[
        ("Names", "Name", Compare::Wildcard),
        ("Sizes", "Parts[].Size", Compare::Exact),
        ("On", "_On", Compare::Exact),
    ];

    fn things() -> Vec<View> {
        vec![
            view(
                3,
                json!({ "Id": "c", "Name": "Ubuntu-24", "Parts": [{ "Size": 1 }, { "Size": 7 }], "_On": true }),
            ),
            view(1, json!({ "Id": "a", "Name": "Ubuntu-22", "Parts": [], "_On": false })),
            view(2, json!({ "Id": "b", "Name": "Debian", "Parts": [{ "Size": 7 }], "_On": true })),
        ]
    }

    #[test]
    fn values_of_one_filter_are_alternatives_and_filters_add_up() {
        let read = |filters: Value| read("Things", things(), KNOWN, Some(&filters), Page::default()).unwrap();
        assert_eq!(ids(&read(json!({}))), ["a", "b", "c"]);
        assert_eq!(ids(&read(json!({ "Names": ["Ubuntu*"] }))), ["a", "c"]);
        assert_eq!(ids(&read(json!({ "Names": ["*-22", "Debian"] }))), ["a", "b"]);
        assert_eq!(ids(&read(json!({ "Names": ["Ubuntu*"], "Sizes": [7] }))), ["c"]);
        assert_eq!(ids(&read(json!({ "On": false }))), ["a"]);
        assert!(read(json!({ "On": true }))["Things"][0].get("_On").is_none());
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let page = |token: Option<&str>| {
            read::<Value>("Things", things(), KNOWN, None, Page { size: Some(2), token }).unwrap()
        };
        let first = page(None);
        assert_eq!(ids(&first), ["a", "b"]);
        let second = page(first["NextPageToken"].as_str());
        assert_eq!(ids(&second), ["c"]);
        assert!(second.get("NextPageToken").is_none());
    }

    #[test]
    fn a_wrong_token_or_page_size_is_refused() {
        let read = |size, token| {
            read::<Value>("Things", things(), KNOWN, None, Page { size, token }).unwrap_err().code
        };
        assert_eq!(read(Some(2), Some("nonsense")), 4117);
        assert_eq!(read(Some(0), None), 4047);
        assert_eq!(read(None, Some("YWZ0ZXI6MQ==")), 4117);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(wildcard("a*b*c", "aXXbc") && wildcard("*", "") && wildcard("a*", "a"));
        assert!(!wildcard("a*b", "ab-") && !wildcard("ab", "abc") && !wildcard("aa*aa", "aaa"));
    }
}
