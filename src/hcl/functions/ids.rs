//! Identifiers: `uuidv4`, `uuidv5`.

use uuid::Uuid;

use super::{Failure, Function, Parameter};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "uuidv4",
        parameters: &[],
        rest: None,
        moves_only: false,
        body: |_| Ok(Uuid::new_v4().to_string().into()),
    },
    Function {
        name: "uuidv5",
        parameters: &[Parameter::Text, Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| {
            let namespace = match args.text(0) {
                "dns" => Uuid::NAMESPACE_DNS,
                "url" => Uuid::NAMESPACE_URL,
                "oid" => Uuid::NAMESPACE_OID,
                "x500" => Uuid::NAMESPACE_X500,
                other => Uuid::parse_str(other).map_err(|_| {
                    Failure::at(0, "must be a UUID, or one of \"dns\", \"url\", \"oid\" and \"x500\"")
                })?,
            };
            let name = args.text(1);
            args.room(name.len() / 8)?;
            Ok(Uuid::new_v5(&namespace, name.as_bytes()).to_string().into())
        },
    },
];

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn names_have_one_identifier_in_each_namespace() {
        for (expression, expected) in [
            // The example of RFC 9562, appendix A.4.
            (r#"uuidv5("dns", "www.example.com")"#, r#""2ed6657d-e927-568b-95e1-2665a8aea6a2""#),
            (
                r#"uuidv5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com")"#,
                r#""2ed6657d-e927-568b-95e1-2665a8aea6a2""#,
            ),
            (r#"uuidv5("url", "https://www.terraform.io/")"#, r#""9db6f67c-dd95-5ea0-aa5b-e70e5c5f7cf5""#),
            (r#"uuidv5("oid", "1.3.6.1.4")"#, r#""af9d40a5-7a36-5c07-b23a-851cd99fbfa5""#),
            (r#"uuidv5("x500", "CN=Example,C=GB")"#, r#""84e09961-4aa4-57f8-95b7-03edb1073253""#),
            (
                r#"uuidv5("somewhere", "x")"#,
                "error: argument 1 of `uuidv5` must be a UUID, or one of \"dns\", \"url\", \"oid\" and \"x500\"",
            ),
        ] {
            assert_eq!(shown(expression), expected, "{expression}");
        }
    }

    #[test]
    fn random_identifiers_are_of_version_4_and_differ() {
        assert_eq!(shown("uuidv4() == uuidv4()"), "false");
        let shown = shown("uuidv4()");
        let uuid = uuid::Uuid::parse_str(shown.trim_matches('"')).unwrap();
        assert_eq!(uuid.get_version_num(), 4);
    }
}
