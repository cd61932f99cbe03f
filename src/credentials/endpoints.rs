//! Which API endpoints a request may name. Without a limit a template could make fournil call any address that its
//! machine reaches, and sign calls to a stranger's host with the operator's keys.

use std::{fmt, net::IpAddr, str::FromStr};

use reqwest::Url;

/// The cloud's own hosts, allowed always.
const OUTSCALE: &str = "outscale.com";

/// An endpoint that was read and has one meaning: what was checked is what will be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no API endpoint: {why}; write for example `https://api.eu-west-2.outscale.com/api/v1`")]
pub struct InvalidEndpoint {
    text: String,
    why: &'static str,
}

impl EndpointUrl {
    /// Reads an endpoint with or without scheme; `scheme` is used where there is none.
    ///
    /// # Errors
    /// The text is no URL of http or https, or it holds a user, a query or a fragment.
    pub fn parse(text: &str, scheme: &str) -> Result<Self, InvalidEndpoint> {
        let trimmed = text.trim();
        let refused = |why| {
            // A password could stand in it.
            let text = trimmed.rsplit('@').next().unwrap_or_default().to_owned();
            InvalidEndpoint { text, why }
        };
        let whole =
            if trimmed.contains("://") { trimmed.to_owned() } else { format!("{scheme}://{trimmed}") };
        let url = Url::parse(&whole).map_err(|_| refused("it is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("only http and https are possible"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refused("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it holds a user name"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("it holds a query or a fragment"));
        }
        Ok(Self(url))
    }

    /// The host in lower case, without brackets and final dot.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.host_str().unwrap_or_default();
        host.trim_end_matches('.').trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, also where it is not written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    /// Whether it is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Whether it is one of OUTSCALE's, at the usual port.
    #[must_use]
    pub fn is_outscale(&self) -> bool {
        self.0.port().is_none() && (self.host() == OUTSCALE || self.host().ends_with(".outscale.com"))
    }

    /// Whether both are the same host and port.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.host() == other.host() && self.port() == other.port()
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// One entry of `allowed_endpoints`: `host`, `host:port`, `host:*` or `*.domain`. Without a port it means that of the
/// scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    subdomains: bool,
    port: PortPattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortPattern {
    Usual,
    Any,
    This(u16),
}

impl HostPattern {
    /// Whether the endpoint is one of those.
    #[must_use]
    pub fn matches(&self, endpoint: &EndpointUrl) -> bool {
        let host = match endpoint.host().strip_suffix(&self.host) {
            Some("") => !self.subdomains,
            Some(rest) => self.subdomains && rest.ends_with('.'),
            None => false,
        };
        host && match self.port {
            PortPattern::Usual => endpoint.0.port().is_none(),
            PortPattern::Any => true,
            PortPattern::This(port) => endpoint.port() == Some(port),
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{text}` is no host; write `api.example.org`, `*.example.org`, `127.0.0.1:8090` or `host:*`"
            )
        };
        let text = text.trim();
        if text.contains('/') {
            return Err(refused());
        }
        // `[::1]:8090` and `[::1]`; a bare `::1` has colons that separate no port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => PortPattern::Usual,
            Some("*") => PortPattern::Any,
            Some(port) => PortPattern::This(port.parse().map_err(|_| refused())?),
        };
        let (host, subdomains) = match host.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (host, false),
        };
        let host =
            host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let is_address = host.parse::<IpAddr>().is_ok();
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !(is_address || is_name) || (subdomains && is_address) {
            return Err(refused());
        }
        Ok(Self { host, subdomains, port })
    }
}

/// What the operator allows besides OUTSCALE's own hosts and the endpoint that the operator has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedEndpoints {
    /// `allowed_endpoints` of the configuration.
    pub hosts: Vec<HostPattern>,
    /// Whether a request with keys of its own may name this machine: so while fournil serves this machine only, whose
    /// users reach its ports without fournil's help.
    pub loopback: bool,
}

impl AllowedEndpoints {
    /// Whether the operator's list or OUTSCALE's domain covers the endpoint.
    #[must_use]
    pub fn covers(&self, endpoint: &EndpointUrl) -> bool {
        endpoint.is_outscale() || self.hosts.iter().any(|pattern| pattern.matches(endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> EndpointUrl {
        EndpointUrl::parse(text, "https").unwrap()
    }

    #[test]
    fn endpoints_are_read_with_and_without_scheme_and_path() {
        for (text, expected) in [
            ("https://api.eu-west-2.outscale.com/api/v1", "https://api.eu-west-2.outscale.com/api/v1"),
            ("api.eu-west-2.outscale.com/api/v1/", "https://api.eu-west-2.outscale.com/api/v1"),
            (" http://127.0.0.1:8090 ", "http://127.0.0.1:8090"),
            ("HTTPS://API.Example.ORG", "https://api.example.org"),
        ] {
            assert_eq!(endpoint(text).to_string(), expected);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "file:///etc/passwd",
            "https://me:hunter2@api.outscale.com",
            "https://a.org?x",
            "https://a.org#x",
        ] {
            let error = EndpointUrl::parse(text, "https").unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn lookalikes_of_outscale_are_strangers() {
        assert!(endpoint("api.eu-west-2.outscale.com").is_outscale());
        assert!(endpoint("outscale.com/oapi/latest").is_outscale());
        assert!(endpoint("https://API.outscale.com./").is_outscale());
        for text in [
            "notoutscale.com",
            "outscale.com.evil.org",
            "https://evil.org/.outscale.com",
            "https://evil.org\\.outscale.com",
            "api.outscale.com:8443",
        ] {
            assert!(!endpoint(text).is_outscale(), "{text}");
        }
    }

    #[test]
    fn patterns_match_hosts_ports_and_subdomains() {
        for (pattern, text, expected) in [
            ("api.example.org", "https://api.example.org/api/v1", true),
            ("api.example.org", "https://api.example.org:8443", false),
            ("api.example.org:8443", "https://api.example.org:8443", true),
            ("api.example.org:443", "https://api.example.org", true),
            ("api.example.org:*", "http://api.example.org:1", true),
            ("*.example.org", "https://a.b.example.org", true),
            ("*.example.org", "https://example.org", false),
            ("*.example.org", "https://badexample.org", false),
            ("example.org", "https://a.example.org", false),
            ("127.0.0.1:8090", "http://127.0.0.1:8090", true),
            ("127.0.0.1:8090", "http://2130706433:8090", true),
            ("[::1]:8090", "http://[::1]:8090", true),
            ("::1", "http://[::1]", true),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&endpoint(text)), expected, "{pattern} and {text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_as_a_pattern() {
        for text in ["", "https://a.org", "a b", "a.org:x", "*.127.0.0.1", "*"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
