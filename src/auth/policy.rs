//! The one table of routes: who may use which, and what it is called in the audit. A route that is not in it is for
//! administrators.

use super::Role;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody: it tells nothing about builds.
    Open,
    /// Principals of this role or a higher one.
    From(Role),
}

/// What is known about a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Who may use it.
    pub access: Access,
    /// What the audit calls it; absent: reading, which is not recorded.
    pub action: Option<&'static str>,
}

const OPEN: Access = Access::Open;
const VIEWER: Access = Access::From(Role::Viewer);
const BUILDER: Access = Access::From(Role::Builder);
const ADMIN: Access = Access::From(Role::Admin);

/// Method, pattern, who, action.
#[rustfmt::skip]
pub const ROUTES: &[(&str, &str, Access, Option<&str>)] = &[
    ("GET",    "/",                                OPEN,    None),
    ("GET",    "/dashboard.js",                    OPEN,    None),
    ("GET",    "/dashboard.css",                   OPEN,    None),
    ("GET",    "/docs",                            OPEN,    None),
    ("GET",    "/openapi.yaml",                    OPEN,    None),
    ("GET",    "/healthz",                         OPEN,    None),
    ("GET",    "/livez",                           OPEN,    None),
    ("GET",    "/readyz",                          OPEN,    None),
    ("GET",    "/version",                         OPEN,    None),
    ("GET",    "/metrics",                         VIEWER,  None),
    ("GET",    "/whoami",                          VIEWER,  None),
    ("GET",    "/workers",                         VIEWER,  None),
    ("GET",    "/events",                          VIEWER,  None),
    ("GET",    "/builds",                          VIEWER,  None),
    ("GET",    "/builds/{id}",                     VIEWER,  None),
    ("GET",    "/builds/{id}/logs",                VIEWER,  None),
    ("GET",    "/builds/{id}/steps",               VIEWER,  None),
    ("GET",    "/builds/{id}/artifacts",           VIEWER,  None),
    ("GET",    "/builds/{id}/resources",           VIEWER,  None),
    ("GET",    "/builds/{id}/template",            VIEWER,  None),
    ("GET",    "/builds/{id}/manifest",            VIEWER,  None),
    ("GET",    "/builds/{id}/files",               VIEWER,  None),
    ("GET",    "/builds/{id}/files/{run}/{*path}", VIEWER,  None),
    // It reads the variables of the server's environment that templates may read.
    ("POST",   "/validate",                        BUILDER, None),
    ("POST",   "/builds",                          BUILDER, Some("build.create")),
    ("POST",   "/builds/{id}/cancel",              BUILDER, Some("build.cancel")),
    ("POST",   "/builds/{id}/retry",               BUILDER, Some("build.retry")),
    ("POST",   "/builds/{id}/release",             BUILDER, Some("build.release")),
    ("POST",   "/builds/{id}/cleanup",             BUILDER, Some("build.cleanup")),
    ("DELETE", "/builds/{id}/artifacts",           BUILDER, Some("artifacts.destroy")),
    ("GET",    "/tokens",                          ADMIN,   None),
    ("POST",   "/tokens",                          ADMIN,   Some("token.create")),
    ("DELETE", "/tokens/{name}",                   ADMIN,   Some("token.revoke")),
    ("GET",    "/credentials",                     ADMIN,   None),
    ("GET",    "/credentials/{name}",              ADMIN,   None),
    ("PUT",    "/credentials/{name}",              ADMIN,   Some("credentials.set")),
    ("DELETE", "/credentials/{name}",              ADMIN,   Some("credentials.rm")),
    ("GET",    "/audit",                           ADMIN,   None),
];

/// The rule for a route.
#[must_use]
pub fn rule(method: &str, pattern: &str) -> Rule {
    let method = if method == "HEAD" { "GET" } else { method };
    let found = ROUTES.iter().find(|(other, path, ..)| *other == method && *path == pattern);
    found.map_or(Rule { access: ADMIN, action: None }, |(_, _, access, action)| Rule {
        access: *access,
        action: *action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_for_administrators() {
        for (method, path) in [("GET", "/new"), ("PATCH", "/builds"), ("POST", "/"), ("GET", "/builds/")] {
            assert_eq!(rule(method, path).access, ADMIN, "{method} {path}");
        }
        assert_eq!(rule("HEAD", "/builds").access, VIEWER);
    }

    #[test]
    fn what_changes_something_is_no_viewers_and_is_recorded() {
        for (method, path, access, action) in ROUTES {
            if *method == "GET" {
                assert_eq!(*action, None, "{path}");
                continue;
            }
            assert!(matches!(access, Access::From(role) if *role >= Role::Builder), "{method} {path}");
            assert!(action.is_some() || *path == "/validate", "{method} {path}");
        }
    }

    #[test]
    fn no_route_is_listed_twice() {
        for (index, (method, path, ..)) in ROUTES.iter().enumerate() {
            let again = ROUTES[index + 1..].iter().any(|other| (other.0, other.1) == (*method, *path));
            assert!(!again, "{method} {path}");
        }
    }
}
