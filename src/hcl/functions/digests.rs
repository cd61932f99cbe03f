//! Digests of texts, in hexadecimal: `md5`, `sha1`, `sha256`, `sha512`.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{Answer, Arguments, Function, Parameter};

pub const FUNCTIONS: &[Function] = &[
    digest("md5", hash::<Md5>),
    digest("sha1", hash::<Sha1>),
    digest("sha256", hash::<Sha256>),
    digest("sha512", hash::<Sha512>),
];

const fn digest(name: &'static str, body: fn(&Arguments<'_>) -> Answer) -> Function {
    Function { name, parameters: &[Parameter::Text], rest: None, moves_only: false, body }
}

fn hash<D: Digest>(args: &Arguments<'_>) -> Answer {
    let text = args.text(0);
    // The answer is short, but a long text takes time as often as it is hashed.
    args.room(text.len() / 2)?;
    Ok(hex::encode(D::digest(text)).into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::hcl::{
        Value,
        testing::{evaluate, shown},
    };

    #[test]
    fn digests_are_those_of_the_standards() {
        for (expression, expected) in [
            // RFC 1321, appendix A.5.
            (r#"md5("")"#, "d41d8cd98f00b204e9800998ecf8427e"),
            (r#"md5("message digest")"#, "f96b697d7cb7938d525a2f31aaf161d0"),
            // FIPS 180, the examples for one block.
            (r#"sha1("abc")"#, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (r#"sha256("abc")"#, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                r#"sha512("abc")"#,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            // Other simple values are texts too.
            ("md5(1)", "c4ca4238a0b923820dcc509a6f75849b"),
        ] {
            assert_eq!(evaluate(expression, &BTreeMap::new()), Ok(expected.into()), "{expression}");
        }
        assert_eq!(shown("sha1(null)"), "error: argument 1 of `sha1`: must not be null");
        assert_eq!(shown("sha1([])"), "error: argument 1 of `sha1`: a text is needed, not a list");
    }

    #[test]
    fn hashing_a_long_text_over_and_over_is_bounded() {
        let names = BTreeMap::from([("long".to_owned(), Value::from("x".repeat(1 << 20)))]);
        let answer = evaluate("[for a in split(\"\", substr(long, 0, 1000)): md5(long)]", &names);
        assert!(answer.is_err());
    }
}
