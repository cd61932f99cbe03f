//! Where the API is: from the name of a Region, or from an address in one of the spellings that clients take.

use reqwest::Url;

/// Base address of an OUTSCALE API, without the call's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    url: Url,
}

/// Why an endpoint is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The Region is no name.
    #[error("{0:?} is no Region name (expected something like eu-west-2)")]
    Region(String),
    /// The address cannot be read.
    #[error("{endpoint:?} is no address of an OUTSCALE API: {reason}")]
    Address {
        /// What was given, without user and password.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Last part of the path if the endpoint names none.
const API_PATH: &str = "/api/v1";

impl Endpoint {
    /// The official endpoint of a Region. Regions are not checked against a list, since OUTSCALE adds some.
    pub fn from_region(region: &str) -> Result<Self, EndpointError> {
        let is_name = !region.is_empty()
            && region.len() <= 63
            && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !region.starts_with('-')
            && !region.ends_with('-');
        if !is_name {
            return Err(EndpointError::Region(region.to_owned()));
        }
        let address = format!("https://api.{region}.outscale.com{API_PATH}");
        let url = Url::parse(&address).map_err(|_| EndpointError::Region(region.to_owned()))?;
        Ok(Self { url })
    }

    /// Reads an endpoint as users and profiles write it: with or without `https://`, with or without `/api/v1`, with
    /// slashes at the end, or in the old spelling `outscale.com/oapi/latest`, to which clients prefixed the Region.
    pub fn parse(text: &str, region: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let error = |reason: &str| EndpointError::Address {
            endpoint: without_userinfo(text),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Err(error("it is empty"));
        }
        let address = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&address).map_err(|parse_error| error(&parse_error.to_string()))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(error("only https and http are possible"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("it must not hold a user or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(error("it must not hold a query or fragment"));
        }
        if url.host_str() == Some("outscale.com") {
            return Self::from_region(region);
        }
        let path = match url.path().trim_matches('/') {
            "" | "oapi/latest" => API_PATH.to_owned(),
            path => {
                format!("/{}", path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
            }
        };
        url.set_path(&path);
        Ok(Self { url })
    }

    /// Host name or address without port, in lower case: what an allow-list names.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// What the `Host` header says, and therefore what is signed: the port only if it is not the scheme's own.
    pub fn host_header(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The address of a call.
    pub(super) fn url_of(&self, action: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{action}", self.url.path().trim_end_matches('/')));
        url
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

fn without_userinfo(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…@{host}"),
            None => format!("…@{host}"),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Endpoint::parse(text, "eu-west-2").unwrap().to_string()
    }

    #[test]
    fn a_region_has_its_official_endpoint() {
        let endpoint = Endpoint::from_region("cloudgouv-eu-west-1").unwrap();
        assert_eq!(endpoint.to_string(), "https://api.cloudgouv-eu-west-1.outscale.com/api/v1");
        assert_eq!(endpoint.host(), "api.cloudgouv-eu-west-1.outscale.com");
        assert_eq!(
            endpoint.url_of("ReadVms").as_str(),
            "https://api.cloudgouv-eu-west-1.outscale.com/api/v1/ReadVms"
        );
    }

    #[test]
    fn a_region_cannot_smuggle_another_host_in() {
        for region in ["", "evil.example/", "eu-west-2.evil", "a@b", "-x", "EU-WEST-2", "eu west"] {
            assert_eq!(Endpoint::from_region(region), Err(EndpointError::Region(region.to_owned())));
        }
    }

    #[test]
    fn every_spelling_of_an_endpoint_is_understood() {
        let official = "https://api.eu-west-2.outscale.com/api/v1";
        for text in [
            "api.eu-west-2.outscale.com",
            "api.eu-west-2.outscale.com/api/v1",
            "https://api.eu-west-2.outscale.com",
            "https://api.eu-west-2.outscale.com/",
            "https://api.eu-west-2.outscale.com/api/v1/",
            "https://api.eu-west-2.outscale.com//api//v1//",
            " https://API.eu-west-2.outscale.com:443/api/v1 ",
            "outscale.com/oapi/latest",
            "https://outscale.com/oapi/latest/",
            "outscale.com",
        ] {
            assert_eq!(parsed(text), official, "{text}");
        }
        assert_eq!(parsed("http://127.0.0.1:8090"), "http://127.0.0.1:8090/api/v1");
        assert_eq!(parsed("http://127.0.0.1:8090/api/latest"), "http://127.0.0.1:8090/api/latest");
        assert_eq!(parsed("https://osc.example/oapi/latest"), "https://osc.example/api/v1");
    }

    #[test]
    fn the_signed_host_has_a_port_only_if_the_header_has_one() {
        let host = |text| Endpoint::parse(text, "eu-west-2").unwrap().host_header();
        assert_eq!(host("http://127.0.0.1:8090"), "127.0.0.1:8090");
        assert_eq!(host("http://[::1]:8090"), "[::1]:8090");
        assert_eq!(host("https://x.example:443"), "x.example");
        assert_eq!(host("http://x.example:443"), "x.example:443");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_showing_a_password() {
        for text in
            ["", "ftp://x", "http://", "https://x.example/?a=b", "https://x.example/#f", "http://a b/"]
        {
            assert!(Endpoint::parse(text, "eu-west-2").is_err(), "{text}");
        }
        let error = Endpoint::parse("https://user:hunter2@x.example", "eu-west-2").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
