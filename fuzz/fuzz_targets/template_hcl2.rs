//! Any texts, separated by NUL, as the files of an HCL2 template: source, variables, variable file, and one in JSON syntax.
#![no_main]

use chrono::DateTime;
use fournil::template::{BuildRequest, ContextFolder, FolderSource, ParseContext, TemplateSource, parse};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["a.pkr.hcl", "variables.pkr.hcl", "a.auto.pkrvars.hcl", "b.pkr.json"];

fuzz_target!(|text: &str| {
    let files = NAMES.into_iter().zip(text.split('\0'));
    let files: Vec<_> = files.map(|(name, text)| (name, text.as_bytes(), false)).collect();
    let folder = ContextFolder::from_files(files.into_iter().chain([("a.sh", &b"#!/bin/sh\n"[..], true)]));
    let mut request =
        BuildRequest::new(TemplateSource::Folder(FolderSource { hcl2_folder: String::new() }));
    request.env.insert("PKR_VAR_a".to_owned(), "a".to_owned());
    let _ = parse(&request, Some(&folder), &ParseContext::at(DateTime::UNIX_EPOCH));
});
