//! The OpenAPI document.

use crate::api::openapi_yaml;

/// A reader for the small part of YAML that the document needs: mappings by indentation.
fn lines_below<'a>(yaml: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let start = format!("{key}:");
    yaml.lines()
        .skip_while(move |line| *line != start)
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
}

#[test]
fn the_document_is_the_same_every_time() {
    assert_eq!(openapi_yaml(), openapi_yaml());
    assert!(openapi_yaml().starts_with("openapi: 3.1"));
}

#[test]
fn every_route_of_the_contract_is_described() {
    let yaml = openapi_yaml();
    let paths: Vec<_> = lines_below(&yaml, "paths")
        .filter(|line| line.starts_with("  /") || line.starts_with("  '/"))
        .map(|line| line.trim().trim_end_matches(':').trim_matches('\''))
        .collect();
    for path in [
        "/",
        "/builds",
        "/builds/{id}",
        "/builds/{id}/cancel",
        "/builds/{id}/retry",
        "/builds/{id}/logs",
        "/builds/{id}/steps",
        "/builds/{id}/artifacts",
        "/builds/{id}/resources",
        "/builds/{id}/template",
        "/builds/{id}/manifest",
        "/builds/{id}/files",
        "/builds/{id}/files/{run}/{path}",
        "/validate",
        "/events",
        "/workers",
        "/tokens",
        "/tokens/{name}",
        "/whoami",
        "/audit",
        "/healthz",
        "/livez",
        "/readyz",
        "/version",
        "/metrics",
        "/openapi.yaml",
        "/docs",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
}

#[test]
fn every_operation_has_a_name_and_every_answer_a_description() {
    let yaml = openapi_yaml();
    let paths: Vec<_> = lines_below(&yaml, "paths").collect();
    let operations = paths.iter().filter(|line| {
        matches!(line.trim(), "get:" | "post:" | "put:" | "delete:")
            && line.starts_with("    ")
            && !line.starts_with("     ")
    });
    let mut names: Vec<_> =
        paths.iter().filter_map(|line| line.trim().strip_prefix("operationId: ")).collect();
    assert_eq!(names.len(), operations.count());
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "names are unique");
    for (index, line) in paths.iter().enumerate() {
        let is_status = line.starts_with("        '") && line.ends_with("':");
        if is_status {
            assert!(
                paths[index + 1].trim().starts_with("description: "),
                "{line} of {:?}",
                paths.get(index + 1)
            );
        }
    }
}

#[test]
fn who_may_use_a_route_is_described() {
    let yaml = openapi_yaml();
    assert!(yaml.contains("scheme: bearer"));
    let paths: Vec<_> = lines_below(&yaml, "paths").collect();
    let operations = paths.iter().filter(|line| line.trim().starts_with("operationId: ")).count();
    let secured = paths.iter().filter(|line| line.trim() == "- bearer: []").count();
    // The dashboard, the documents, health and the version are open.
    assert_eq!(operations - secured, 7);
}

#[test]
fn every_reference_leads_somewhere() {
    let yaml = openapi_yaml();
    let schemas: Vec<_> = lines_below(&yaml, "components")
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        .map(|line| line.trim().trim_end_matches(':'))
        .collect();
    let references = yaml.lines().filter_map(|line| line.split_once("#/components/schemas/"));
    for (_, name) in references {
        let name = name.trim_matches(['\'', '"']);
        assert!(schemas.contains(&name), "{name} is not in {schemas:?}");
    }
}
