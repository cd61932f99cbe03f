//! `bcrypt`, which makes a password's hash, and `rsadecrypt`. Both take time, so both take much of the budget.

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Answer, Arguments, Failure, Function, Parameter, encoding::base64_bytes};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "bcrypt",
        parameters: &[Parameter::Text],
        rest: Some(Parameter::Number),
        moves_only: false,
        body: hash,
    },
    Function {
        name: "rsadecrypt",
        parameters: &[Parameter::Text, Parameter::Text],
        rest: None,
        moves_only: false,
        body: decrypt,
    },
];

/// The cost of a hash if none is given, as in Packer.
const USUAL_COST: u32 = 10;
/// Costs that are possible; one more is twice the time. The highest takes a quarter of a second.
const COSTS: std::ops::RangeInclusive<i64> = 4..=12;
/// Bytes of the budget for each of the 2^cost rounds, so that hashes take no more than a few seconds in all.
const BYTES_A_ROUND: usize = 1024;
/// Bytes of the budget for one decryption, which takes some milliseconds.
const BYTES_A_DECRYPTION: usize = 128 << 10;
/// Bytes of a password; bcrypt does not see any more.
const LONGEST_PASSWORD: usize = 72;
/// Bytes of a key, far more than one of 8192 bits.
const LONGEST_KEY: usize = 64 << 10;

fn hash(args: &Arguments<'_>) -> Answer {
    let cost = match args.len() {
        1 => USUAL_COST,
        2 => Some(args.whole(1)?)
            .filter(|cost| COSTS.contains(cost))
            .and_then(|cost| u32::try_from(cost).ok())
            .ok_or_else(|| Failure::at(1, format!("must be from {} to {}", COSTS.start(), COSTS.end())))?,
        many => return Err(format!("takes 1 or 2 arguments, not {many}").into()),
    };
    let password = args.text(0);
    if password.len() > LONGEST_PASSWORD {
        return Err(Failure::at(0, format!("must not be longer than {LONGEST_PASSWORD} bytes")));
    }
    args.room(BYTES_A_ROUND << cost)?;
    let parts =
        bcrypt::hash_with_result(password, cost).map_err(|_| Failure::from("could not make a hash"))?;
    // The form that Go writes; the hash itself is the same.
    Ok(parts.format_for_version(bcrypt::Version::TwoA).into())
}

fn decrypt(args: &Arguments<'_>) -> Answer {
    args.room(BYTES_A_DECRYPTION)?;
    let ciphertext = base64_bytes(args, 0)?;
    let key = private_key(args.text(1)).map_err(|message| Failure::at(1, message))?;
    // Whatever is wrong, the answer is the same: it must not tell how far a forged text got.
    let failed = || Failure::from("the text could not be decrypted with this key");
    let mut plaintext = vec![0; key.min_output_size()];
    let plaintext = key.decrypt(&ciphertext, &mut plaintext).map_err(|_| failed())?;
    std::str::from_utf8(plaintext).map(Into::into).map_err(|_| failed())
}

/// Reads a private key in PEM.
fn private_key(pem: &str) -> Result<Pkcs1PrivateDecryptingKey, &'static str> {
    const NO_KEY: &str = "is no RSA private key; one of 2048 to 8192 bits in PEM is needed";
    if pem.len() > LONGEST_KEY {
        return Err(NO_KEY);
    }
    let (_, begin) = pem.split_once("-----BEGIN ").ok_or(NO_KEY)?;
    let (label, rest) = begin.split_once("-----").ok_or(NO_KEY)?;
    let (body, _) = rest.split_once("-----END ").ok_or(NO_KEY)?;
    if label.contains("ENCRYPTED") || body.contains("ENCRYPTED") {
        return Err("is a key that is encrypted itself; one without a passphrase is needed");
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| NO_KEY)?;
    let der = match label {
        "RSA PRIVATE KEY" => pkcs8(&der),
        "PRIVATE KEY" => der,
        "OPENSSH PRIVATE KEY" => {
            return Err("is a key in the form of OpenSSH; `ssh-keygen -p -m PEM` makes one in PEM of it");
        }
        _ => return Err(NO_KEY),
    };
    PrivateDecryptingKey::from_pkcs8(&der)
        .ok()
        .and_then(|key| Pkcs1PrivateDecryptingKey::new(key).ok())
        .ok_or(NO_KEY)
}

/// Puts a key in the form of PKCS#1 into that of PKCS#8, the only one that can be read: SEQUENCE { 0, rsaEncryption,
/// OCTET STRING }.
fn pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    const VERSION_AND_ALGORITHM: [u8; 18] = [
        0x02, 0x01, 0x00, // INTEGER 0
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let key = tagged(0x04, pkcs1);
    tagged(0x30, &[VERSION_AND_ALGORITHM.as_slice(), &key].concat())
}

/// A DER element: tag, length, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ ..=0x7f) => element.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            element.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            element.extend(length);
        }
    }
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::hcl::{
        Value,
        testing::{evaluate, shown},
    };

    /// Made for these tests with `openssl genrsa -traditional` and `openssl pkcs8 -topk8 -nocrypt`.
    const PKCS1: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEAqWOeqAal4bRuE+UVbxvwCb5ZRGTSBQtrEYpX44QLhR+AvgdQ
V5pdsBpcQmYTlCkTgk/Pg1+mlhbWnbTj79Rt5OdcaGjh/dJ4cmolOdtdmGSf3V+G
qsqJtvkShDWemCXRT+bAg6eH+kuykT0j+LWFS2iyXLIgg8xag0ynDJS06LwbNlsp
gNB3BHgCTv5sHIYXlRMs2t8HcDMJikE25yBOJhj5Y47cSlmJU+DvkxfeNW8qb3IO
G76gMFJtj/4Ly4Tj+OI3qnv3/OaqiwUtDm6iB+d9GtZqU9dPXZ0V/vZJmp+RzSin
xaEL6tpUbSZ2M6Ge6ipF0Z7o+eupbSxIAhzpvQIDAQABAoIBADWRsb1FzPQiUaWt
DyhCV5ldP3HnyJubztKPQ9hKDDKfkeGHApuR0As/aun8yjhS/T566w+LEm3o7xqU
+HkCX3bCzHCgqsfQ5hKZCwjPHTxypjQmX7pnr0HUZ0y0gGFxpE52lW+Nbe10Pxa7
lUK0dWExzSaPlsTXvdBET5gk90man+3ojtgiIopFGpyhhSftMcIloVS/npDmP8+0
cwxxKiNvgPvyj1qgbfKTngojo+AL0GMCidslv5fr8Z4/nr50opbQBY8rJyIXFLsr
9oMmeVnlLPTUTVHu8sYhzDsqeqUIq1Bo6xk2LMN9yf1tRXrFRrlbP7hKoTKGA6pM
O1m+BGkCgYEA04MIg1xSuFWrlwW3Qaz6aTHNdy94cxfgCBZ5A0A+waWiOc76oNUd
XWhAsVJ39RJEkeWiDMkZkoQkbOyEweqhkcbEFBZhC1P2PREAUQftO9gQZlGyArQG
k1nq6/ossFSm4pOK3OplUQk1dHxQDYBpNHm+GsrAG92NgqDoz7sVepcCgYEAzQR3
kjLOlyC8AVZR1xf+L0wuqv44ElmZRxdjeiswa1FiQ6BLRHXBqTP2ZovmQ/NR6wl+
B22szRPdc2hX850cIC2wNG+ot65Fvhrgy+4Je7k7uDi2GlMoZcljoMFjYQFarZTR
Z1NGhpBjXjvL38tFo2Wm+SgXhreJ7GVAjycrbMsCgYA1xjyl2RUW1IEZllRvGCFa
GVVZlfIToOBObhg6IV1TMl86P0stFMGwe87mxkbFQe25Ah7fDUm5HGt+XeuquZJ2
U4iKat4lWSVjhS0FbPR9oIMa4G5XjZmWYOf/Ms2lzv/W3xgQ7m7v2V2Dzg80P49/
zevtN9r7uqo9qddG6ROe5QKBgFuqIaQWX1Qm6KhYZeMb8SRIlZ0SaRObR/MHPA0F
fnKdQqgl5UFIvTvf5c1Xw66h/gBukBDWMqrGtP7CqoBbwJWKl/v56J+npbsn3VaQ
qWDOIyts/86pW6iW8JqRnNNkfZyaqz3dd+z2ZddeOPtosUwrSQqhqFMtgNdXNhRL
WRkdAoGBAJZoDgRbZks1e8XZXeGdummaHr3L7jI3DbxofVQLeURWIGI5Be5fednm
0pdrFCvvR+7h8d2MNM/ooaPFjPUacutsreeCkHEi0uAIF3fjLSYZI7SM2B+wh5td
xxLFxi5Vhg6avjGsI8nNtMXVDZbMlM/El9y47IqaV6iwAbwKgoEr
-----END RSA PRIVATE KEY-----";
    const PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCpY56oBqXhtG4T
5RVvG/AJvllEZNIFC2sRilfjhAuFH4C+B1BXml2wGlxCZhOUKROCT8+DX6aWFtad
tOPv1G3k51xoaOH90nhyaiU5212YZJ/dX4aqyom2+RKENZ6YJdFP5sCDp4f6S7KR
PSP4tYVLaLJcsiCDzFqDTKcMlLTovBs2WymA0HcEeAJO/mwchheVEyza3wdwMwmK
QTbnIE4mGPljjtxKWYlT4O+TF941bypvcg4bvqAwUm2P/gvLhOP44jeqe/f85qqL
BS0ObqIH530a1mpT109dnRX+9kman5HNKKfFoQvq2lRtJnYzoZ7qKkXRnuj566lt
LEgCHOm9AgMBAAECggEANZGxvUXM9CJRpa0PKEJXmV0/cefIm5vO0o9D2EoMMp+R
4YcCm5HQCz9q6fzKOFL9PnrrD4sSbejvGpT4eQJfdsLMcKCqx9DmEpkLCM8dPHKm
NCZfumevQdRnTLSAYXGkTnaVb41t7XQ/FruVQrR1YTHNJo+WxNe90ERPmCT3SZqf
7eiO2CIiikUanKGFJ+0xwiWhVL+ekOY/z7RzDHEqI2+A+/KPWqBt8pOeCiOj4AvQ
YwKJ2yW/l+vxnj+evnSiltAFjysnIhcUuyv2gyZ5WeUs9NRNUe7yxiHMOyp6pQir
UGjrGTYsw33J/W1FesVGuVs/uEqhMoYDqkw7Wb4EaQKBgQDTgwiDXFK4VauXBbdB
rPppMc13L3hzF+AIFnkDQD7BpaI5zvqg1R1daECxUnf1EkSR5aIMyRmShCRs7ITB
6qGRxsQUFmELU/Y9EQBRB+072BBmUbICtAaTWerr+iywVKbik4rc6mVRCTV0fFAN
gGk0eb4aysAb3Y2CoOjPuxV6lwKBgQDNBHeSMs6XILwBVlHXF/4vTC6q/jgSWZlH
F2N6KzBrUWJDoEtEdcGpM/Zmi+ZD81HrCX4HbazNE91zaFfznRwgLbA0b6i3rkW+
GuDL7gl7uTu4OLYaUyhlyWOgwWNhAVqtlNFnU0aGkGNeO8vfy0WjZab5KBeGt4ns
ZUCPJytsywKBgDXGPKXZFRbUgRmWVG8YIVoZVVmV8hOg4E5uGDohXVMyXzo/Sy0U
wbB7zubGRsVB7bkCHt8NSbkca35d66q5knZTiIpq3iVZJWOFLQVs9H2ggxrgbleN
mZZg5/8yzaXO/9bfGBDubu/ZXYPODzQ/j3/N6+032vu6qj2p10bpE57lAoGAW6oh
pBZfVCboqFhl4xvxJEiVnRJpE5tH8wc8DQV+cp1CqCXlQUi9O9/lzVfDrqH+AG6Q
ENYyqsa0/sKqgFvAlYqX+/non6eluyfdVpCpYM4jK2z/zqlbqJbwmpGc02R9nJqr
Pd137PZl1144+2ixTCtJCqGoUy2A11c2FEtZGR0CgYEAlmgOBFtmSzV7xdld4Z26
aZoevcvuMjcNvGh9VAt5RFYgYjkF7l952ebSl2sUK+9H7uHx3Yw0z+iho8WM9Rpy
62yt54KQcSLS4AgXd+MtJhkjtIzYH7CHm13HEsXGLlWGDpq+Mawjyc20xdUNlsyU
z8SX3LjsippXqLABvAqCgSs=
-----END PRIVATE KEY-----";
    /// "a secret word", encrypted with that key by `openssl pkeyutl`.
    const CIPHERTEXT: &str = "gk9m38n7ODIS1iGZsOOt5nh/wTczZeDAY5U8ZQOF1ga/I86uBn7bP57xOTseV1DbXJr3x5jMDwd2reXn6Lwynt6ViZmy9IN57xyiGbUL+J3zkIS/9rbnwNrOgU3i3oQXYCykWCef/9xb0LAy6ezH21PeHvtrE/aTSPWRLv0Z5rjb8ccFV/Bx+qqTHf++X8w3jyfeAz8BQH5TnyARex3i4eh5RcCVk39lf1flfeEnP5A5D9puZrZzmui35bey0IbjkBMgUqdFkC64fLiWGetycY2Io1QJS3OPf9cSVZ81LRtVydGLi7R1AdZGF4gElQQ4gvoCc9PC1NaN4V8HYec80w==";

    fn decrypted(ciphertext: &str, key: &str) -> Result<Value, Vec<String>> {
        let names = BTreeMap::from([("text", ciphertext), ("key", key)]);
        let names = names.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        evaluate("rsadecrypt(text, key)", &names)
    }

    #[test]
    fn a_text_is_decrypted_with_a_key_in_either_form() {
        for key in [PKCS1, PKCS8, &PKCS1.replace('\n', "\r\n"), &format!("made by hand\n{PKCS1}\n")] {
            assert_eq!(decrypted(CIPHERTEXT, key), Ok("a secret word".into()));
        }
    }

    #[test]
    fn a_failed_decryption_says_nothing_but_that_it_failed() {
        let failed = Err(vec!["`rsadecrypt`: the text could not be decrypted with this key".to_owned()]);
        let forged = CIPHERTEXT.replacen(|c: char| c.is_ascii_uppercase(), "z", 1);
        for text in ["", "AAAA", &forged, &format!("{CIPHERTEXT}{CIPHERTEXT}").replace("==", "AA")] {
            assert_eq!(decrypted(text, PKCS1), failed, "{text}");
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        let wrong = |message: &str| Err(vec![format!("argument 2 of `rsadecrypt` {message}")]);
        let no_key = "is no RSA private key; one of 2048 to 8192 bits in PEM is needed";
        let swapped = PKCS1.replace("RSA PRIVATE", "PRIVATE");
        let public = PKCS1.replace("RSA PRIVATE", "PUBLIC");
        let cut = PKCS1.replacen("\nM", "\n", 1);
        for key in [
            "",
            "x",
            "-----BEGIN RSA PRIVATE KEY-----",
            &swapped,
            &public,
            &cut,
            &"-----BEGIN ".repeat(99_999),
        ] {
            assert_eq!(decrypted(CIPHERTEXT, key), wrong(no_key));
        }
        let locked = PKCS1.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1);
        assert_eq!(
            decrypted(CIPHERTEXT, &locked),
            wrong("is a key that is encrypted itself; one without a passphrase is needed")
        );
        let ssh = PKCS1.replace("RSA PRIVATE", "OPENSSH PRIVATE");
        assert_eq!(
            decrypted(CIPHERTEXT, &ssh),
            wrong("is a key in the form of OpenSSH; `ssh-keygen -p -m PEM` makes one in PEM of it")
        );
        assert_eq!(decrypted("%", PKCS1), Err(vec!["argument 1 of `rsadecrypt` is no base64".to_owned()]));
    }

    #[test]
    fn the_hash_of_a_password_fits_it() {
        let value = evaluate(r#"bcrypt("correct horse", 4)"#, &BTreeMap::new()).unwrap();
        let hash = value.as_text().unwrap();
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        assert!(bcrypt::verify("correct horse", hash).unwrap());
        assert!(!bcrypt::verify("wrong horse", hash).unwrap());
        assert_eq!(shown(r#"length(bcrypt(join("", [for i in range(72): "x"]), 4))"#), "60");
    }

    #[test]
    fn costs_and_passwords_have_bounds() {
        for (expression, expected) in [
            (r#"bcrypt("x", 3)"#, "argument 2 of `bcrypt` must be from 4 to 12"),
            (r#"bcrypt("x", 13)"#, "argument 2 of `bcrypt` must be from 4 to 12"),
            (r#"bcrypt("x", 4.5)"#, "argument 2 of `bcrypt` must be a whole number"),
            (r#"bcrypt("x", 4, 4)"#, "`bcrypt`: takes 1 or 2 arguments, not 3"),
        ] {
            assert_eq!(shown(expression), format!("error: {expected}"), "{expression}");
        }
        let names = BTreeMap::from([("long".to_owned(), Value::from("x".repeat(73)))]);
        assert_eq!(
            evaluate("bcrypt(long, 4)", &names).unwrap_err(),
            ["argument 1 of `bcrypt` must not be longer than 72 bytes"]
        );
    }
}
