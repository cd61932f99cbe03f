//! Any text as a JSON template.
#![no_main]

use chrono::DateTime;
use fournil::template::{BuildRequest, ContextFolder, ParseContext, TemplateSource, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let folder = ContextFolder::from_files([("a.sh", &b"#!/bin/sh\n"[..], true)]);
    let mut request = BuildRequest::new(TemplateSource::Text(text.to_owned()));
    request.template_path = Some("template.json".to_owned());
    request.env.insert("A".to_owned(), "a".to_owned());
    let _ = parse(&request, Some(&folder), &ParseContext::at(DateTime::UNIX_EPOCH));
});
