//! What can go wrong with a call, in the words of OAPI, and what a user can do about it.
//! Decisions go by the number of the error, since the HTTP status of a family is not the same everywhere.

use std::sync::Arc;

use super::trust;

/// Why a call gave no answer that can be used.
///
/// `maybe_done` is in every variant: this try, or an earlier one of the same call, may have taken effect although no
/// answer said so. After such an error on a creating call, look for the resource before making another.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "fields that need no words: the call, and OAPI's number, words and request id"
)]
pub enum OapiError {
    /// Too many calls, and retrying took longer than allowed. The call was not run.
    #[error("{action} was throttled{}", suffix(*code, request_id.as_ref()))]
    Throttled { action: &'static str, code: Option<u32>, request_id: Option<String>, maybe_done: bool },
    /// OAPI answered with an error.
    #[error("{action} was refused: {kind}{}{}", said(details), suffix(*code, request_id.as_ref()))]
    Refused {
        action: &'static str,
        /// HTTP status.
        status: u16,
        code: Option<u32>,
        /// OAPI's `Type`, such as `InvalidResource`.
        kind: String,
        /// May be empty.
        details: String,
        request_id: Option<String>,
        maybe_done: bool,
    },
    /// The keys, their rights or the signature were not accepted. Never retried: a few bad tries lock the key.
    #[error("{action} was not authorised: {kind}{}{}{}", said(details), suffix(*code, request_id.as_ref()), skewed(*skew))]
    Unauthorized {
        action: &'static str,
        /// HTTP status.
        status: u16,
        code: Option<u32>,
        kind: String,
        details: String,
        request_id: Option<String>,
        /// Seconds by which this machine's clock is ahead of OUTSCALE's (negative: behind), if more than a minute.
        skew: Option<i64>,
        maybe_done: bool,
    },
    /// No connection, or it broke.
    #[error("{action} could not reach the endpoint")]
    Unreachable {
        action: &'static str,
        #[source]
        source: Arc<reqwest::Error>,
        maybe_done: bool,
    },
    /// No answer in time.
    #[error("{action} got no answer in time{}", if *maybe_done { " (it may have taken effect)" } else { "" })]
    TimedOut { action: &'static str, maybe_done: bool },
    /// Something answered, but not in OAPI's words: a gateway's page, a redirect, cut or oversized JSON.
    #[error("{action} got an answer that is not OAPI's (HTTP {status}): {excerpt}")]
    BadAnswer { action: &'static str, status: u16, excerpt: String, maybe_done: bool },
    /// The request could not be written or signed; nothing was sent.
    #[error("{action} could not be sent: {reason}")]
    Unsendable { action: &'static str, reason: String },
}

/// Numbers that mean "stop, and never try these keys again by yourself".
const AUTHORISATION_CODES: [u32; 14] = [1, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 20, 4000, 4120];

impl OapiError {
    /// Whether a number is about keys and rights.
    pub(super) fn is_authorisation_code(code: u32) -> bool {
        AUTHORISATION_CODES.contains(&code)
    }

    /// The call.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Throttled { action, .. }
            | Self::Refused { action, .. }
            | Self::Unauthorized { action, .. }
            | Self::Unreachable { action, .. }
            | Self::TimedOut { action, .. }
            | Self::BadAnswer { action, .. }
            | Self::Unsendable { action, .. } => action,
        }
    }

    /// OAPI's error number, if it told one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Throttled { code, .. } | Self::Refused { code, .. } | Self::Unauthorized { code, .. } => {
                *code
            }
            _ => None,
        }
    }

    /// OAPI's word for the kind of error, if it told one.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Refused { kind, .. } | Self::Unauthorized { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// What OUTSCALE's support asks for.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Throttled { request_id, .. }
            | Self::Refused { request_id, .. }
            | Self::Unauthorized { request_id, .. } => request_id.as_deref(),
            _ => None,
        }
    }

    /// The HTTP status, if something answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. }
            | Self::Unauthorized { status, .. }
            | Self::BadAnswer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The resource does not exist (5000–5999). For a deletion that means done.
    pub fn is_not_found(&self) -> bool {
        self.has_code_in(5000..=5999)
    }

    /// The state of a resource, or another resource, is in the way (6000–6999, 9000–9999, or HTTP 409 without number).
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Refused { code: Some(code), .. } => matches!(code, 6000..=6999 | 9000..=9999),
            Self::Refused { status, code: None, .. } => *status == 409,
            _ => false,
        }
    }

    /// A security group that a VM or rule still uses (9085); passes some 90 s after the VM's end.
    pub fn is_still_in_use(&self) -> bool {
        self.code() == Some(9085)
    }

    /// Another resource has to be removed first (1000–1999).
    pub fn is_dependency(&self) -> bool {
        self.has_code_in(1000..=1999)
    }

    /// The keys or their rights were refused.
    pub fn is_auth(&self) -> bool {
        matches!(self, Self::Unauthorized { .. })
    }

    /// OUTSCALE has no room for this at the moment (10001, 10002); another Subregion or VM type may work.
    pub fn is_capacity(&self) -> bool {
        self.has_code_in(10_001..=10_002)
    }

    /// A quota of the account is used up (10003 and above).
    pub fn is_quota(&self) -> bool {
        self.has_code_in(10_003..=10_999)
    }

    /// Whether the call, or an earlier try of it, may have taken effect although no answer says so.
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Throttled { maybe_done, .. }
            | Self::Refused { maybe_done, .. }
            | Self::Unauthorized { maybe_done, .. }
            | Self::Unreachable { maybe_done, .. }
            | Self::TimedOut { maybe_done, .. }
            | Self::BadAnswer { maybe_done, .. } => *maybe_done,
            Self::Unsendable { .. } => false,
        }
    }

    /// Whether the same call may well work later without anybody doing anything: throttling, broken connections, HTTP 5xx.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::BadAnswer { status, .. } => *status >= 500 || *status < 300,
            Self::Unauthorized { .. } | Self::Unsendable { .. } => false,
        }
    }

    /// Notes that an earlier try of the same call may have taken effect.
    pub(super) fn after_lost_answer(mut self) -> Self {
        match &mut self {
            Self::Throttled { maybe_done, .. }
            | Self::Refused { maybe_done, .. }
            | Self::Unauthorized { maybe_done, .. }
            | Self::Unreachable { maybe_done, .. }
            | Self::TimedOut { maybe_done, .. }
            | Self::BadAnswer { maybe_done, .. } => *maybe_done = true,
            Self::Unsendable { .. } => {}
        }
        self
    }

    /// What the user can do about it, if there is anything to say beyond the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Throttled { .. } => Some(
                "OUTSCALE limits the calls of an account. Lower fournil's pace for it, or bake fewer images at a time."
                    .to_owned(),
            ),
            Self::Unauthorized { skew: Some(skew), .. } => Some(format!(
                "This machine's clock is {} s {} OUTSCALE's; signatures are good for 5 minutes. Set the clock, for example with NTP.",
                skew.unsigned_abs(),
                if *skew > 0 { "ahead of" } else { "behind" },
            )),
            Self::Unauthorized { code, .. } => Some(authorisation_hint(*code).to_owned()),
            Self::Refused { code: Some(code), .. } => refusal_hint(*code).map(str::to_owned),
            Self::Refused { status: 500.., .. } => {
                Some("OUTSCALE had an internal error. If it stays, give the request id to its support.".to_owned())
            }
            Self::Unreachable { source, .. } if trust::explain(source.as_ref()).is_some() => {
                trust::explain(source.as_ref()).map(|why| sentence(&why))
            }
            Self::Unreachable { source, .. } if source.is_connect() => Some(
                "Check the endpoint and the Region, the network and its DNS, and the certificates that are trusted.".to_owned(),
            ),
            Self::BadAnswer { status: 300..=499, .. } => {
                Some("Check that the endpoint is that of the OUTSCALE API (https://api.<region>.outscale.com/api/v1).".to_owned())
            }
            Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::BadAnswer { .. }
            | Self::Unsendable { .. } => None,
        }
    }

    fn has_code_in(&self, codes: std::ops::RangeInclusive<u32>) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if codes.contains(code))
    }
}

fn authorisation_hint(code: Option<u32>) -> &'static str {
    match code {
        Some(4120 | 4000) => {
            "OUTSCALE does not know this access key in this Region. Check the key, and that it belongs to the Region of the endpoint."
        }
        Some(4 | 5 | 7) => {
            "The user of this key lacks the right to make this call. Have its EIM policy allow it."
        }
        Some(11) => "The key is locked after too many bad tries. OUTSCALE's support can unlock it.",
        Some(13) => {
            "The key is locked for some minutes after too many bad tries. Correct the secret key, then wait."
        }
        Some(14) => {
            "An API access rule of the account refuses this machine: its address is not allowed, or it needs a client certificate."
        }
        Some(20) => "The password of the account has expired. Renew it.",
        _ => {
            "Check the secret key, and that the endpoint is reached directly and not under another host name."
        }
    }
}

fn refusal_hint(code: u32) -> Option<&'static str> {
    Some(match code {
        4019 => "Name the device /dev/sda1 for the root, else /dev/sdX or /dev/xvdX with X from b to z.",
        4026 => "An image name has 3 to 128 letters, digits, spaces and _ ( ) / . - characters.",
        4029 | 4202 => "IOPS are for io1 only: at most 13000, and at most 300 per GiB.",
        4032 => "The public key was not understood: it must be RSA, Ed25519 or ECDSA.",
        4078 | 4125 => "The volume must be at least as large as its snapshot, and at most 14901 GiB.",
        4091 => "The same client token was used for a different request.",
        5009 => "This Subregion does not exist in the Region of the endpoint.",
        5023 => "The image does not exist in this Region, or is not shared with this account.",
        5024 => "This VM type does not exist. Use one such as tinav5.c2r4p1.",
        5071 => "The key pair does not exist in this account and Region.",
        5000..=5999 => "The resource does not exist in this account and Region, or is already gone.",
        9015 => {
            "An image of this name exists in the account. Choose another name, or let fournil replace it."
        }
        9008 | 9011 | 9028 => "A resource of this name exists in the account.",
        9003 | 9004 => "The device name or the volume is in use. Choose another device name.",
        9071 => "Volume and VM must be in the same Subregion.",
        9072 => "The VM type does not go with this image or placement.",
        10_001 | 10_002 => {
            "OUTSCALE has no room for this VM type here at the moment. Try another Subregion or VM type, or later."
        }
        10_003..=10_999 => {
            "A quota of the account is used up. Delete what is not needed, or ask OUTSCALE's support for more."
        }
        _ => return None,
    })
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

fn said(details: &str) -> String {
    if details.is_empty() { String::new() } else { format!(": {details}") }
}

fn suffix(code: Option<u32>, request_id: Option<&String>) -> String {
    match (code, request_id) {
        (Some(code), Some(id)) => format!(" (code {code}, request {id})"),
        (Some(code), None) => format!(" (code {code})"),
        (None, Some(id)) => format!(" (request {id})"),
        (None, None) => String::new(),
    }
}

fn skewed(skew: Option<i64>) -> String {
    match skew {
        Some(skew) if skew > 0 => format!("; this machine's clock is {skew} s ahead of OUTSCALE's, set it"),
        Some(skew) => {
            format!("; this machine's clock is {} s behind OUTSCALE's, set it", skew.unsigned_abs())
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<u32>) -> OapiError {
        OapiError::Refused {
            action: "CreateVms",
            status,
            code,
            kind: "InvalidResource".to_owned(),
            details: "The ImageId 'ami-1' doesn't exist.".to_owned(),
            request_id: Some("r1".to_owned()),
            maybe_done: false,
        }
    }

    #[test]
    fn the_number_decides_the_family_and_not_the_status() {
        assert!(refused(400, Some(5023)).is_not_found());
        assert!(!refused(404, Some(4104)).is_not_found());
        assert!(refused(400, Some(6007)).is_conflict());
        assert!(refused(409, Some(9085)).is_still_in_use());
        assert!(refused(409, None).is_conflict());
        assert!(!refused(409, Some(10_001)).is_conflict());
        assert!(refused(400, Some(10_002)).is_capacity());
        assert!(!refused(400, Some(10_002)).is_quota());
        assert!(refused(400, Some(10_042)).is_quota());
        assert!(refused(424, Some(1004)).is_dependency());
    }

    #[test]
    fn a_message_names_action_kind_details_number_and_request() {
        assert_eq!(
            refused(400, Some(5023)).to_string(),
            "CreateVms was refused: InvalidResource: The ImageId 'ami-1' doesn't exist. (code 5023, request r1)"
        );
        assert!(refused(400, Some(5023)).hint().unwrap().contains("not shared"));
    }

    #[test]
    fn a_skewed_clock_is_named_in_seconds_with_its_direction() {
        let error = |skew| OapiError::Unauthorized {
            action: "ReadVms",
            status: 401,
            code: Some(1),
            kind: "AccessDenied".to_owned(),
            details: String::new(),
            request_id: None,
            skew: Some(skew),
            maybe_done: false,
        };
        assert_eq!(
            error(-400).to_string(),
            "ReadVms was not authorised: AccessDenied (code 1); this machine's clock is 400 s behind OUTSCALE's, set it"
        );
        assert!(error(400).hint().unwrap().contains("400 s ahead of"));
    }

    #[test]
    fn an_error_fits_a_result_without_boxing() {
        assert!(std::mem::size_of::<OapiError>() <= 128);
    }
}
