//! Functions of Packer that need another system, with what to do instead.

/// Why a function is known but not to be had, if it is so.
#[must_use]
pub fn refusal(name: &str) -> Option<&'static str> {
    match name {
        "vault" | "consul_key" | "aws_secretsmanager" | "aws_secretsmanager_raw" => {
            Some("asks another system, which is not done here; pass the value as a sensitive variable")
        }
        _ => None,
    }
}
