//! The metadata service of the OUTSCALE VM that fournil runs on: which VM it is, and what its role is given. The layout is
//! that of EC2, in plain HTTP and without a session token.

use std::time::Duration;

/// Where a VM finds its metadata.
pub const DEFAULT_URL: &str = "http://169.254.169.254";

/// The service is on the VM's own host: what takes longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Values are ids, names, and small JSON.
const LARGEST_VALUE: usize = 64 * 1024;

/// Why the metadata service does not tell.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Nobody answers there.
    #[error(
        "the metadata service at {url} cannot be reached: fournil does not run on an OUTSCALE VM, or `metadata_url` \
         (FOURNIL_METADATA_URL) names the wrong address"
    )]
    Unreachable {
        /// What was asked.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// It has no such value.
    #[error("the metadata service has nothing at {url} (status 404)")]
    Absent {
        /// What was asked.
        url: String,
    },
    /// It answers with something else.
    #[error("the metadata service answers {url} with {what}")]
    Odd {
        /// What was asked.
        url: String,
        /// The answer, without its content.
        what: String,
    },
}

/// Reads the metadata of this VM. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MetadataService {
    http: reqwest::Client,
    url: String,
}

impl MetadataService {
    /// The service at this URL, without a final slash: [`DEFAULT_URL`] on a VM.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            // It is a link-local address: no proxy leads there, and nothing it says leads elsewhere.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// The id of this VM, `i-…`.
    ///
    /// # Errors
    /// Nobody answers, or not with the id of a VM.
    pub async fn vm_id(&self) -> Result<String, MetadataError> {
        let path = "meta-data/instance-id";
        let id = self.get(path).await?.trim().to_owned();
        let is_id = id.strip_prefix("i-").is_some_and(|digits| {
            (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if !is_id {
            return Err(MetadataError::Odd { url: self.url_of(path), what: "no id of a VM".to_owned() });
        }
        Ok(id)
    }

    /// The value at a path below `/latest/`.
    ///
    /// # Errors
    /// Nobody answers, there is no such value, or it is too large or no text.
    pub async fn get(&self, path: &str) -> Result<String, MetadataError> {
        let url = self.url_of(path);
        let unreachable = |source| MetadataError::Unreachable { url: url.clone(), source };
        let odd = |what: String| MetadataError::Odd { url: url.clone(), what };
        let mut answer = self.http.get(&url).send().await.map_err(unreachable)?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Err(MetadataError::Absent { url }),
            status => return Err(odd(format!("status {status}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > LARGEST_VALUE {
                return Err(odd(format!("more than {LARGEST_VALUE} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| odd("what is no text".to_owned()))
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}/latest/{path}", self.url)
    }
}

#[cfg(test)]
mod tests {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

    use super::*;

    async fn service(answer: ResponseTemplate) -> (MockServer, MetadataService) {
        let server = MockServer::start().await;
        Mock::given(path("/latest/meta-data/instance-id")).respond_with(answer).mount(&server).await;
        let service = MetadataService::new(&format!("{}/", server.uri())).unwrap();
        (server, service)
    }

    #[tokio::test]
    async fn the_vm_is_told() {
        let (_server, service) = service(ResponseTemplate::new(200).set_body_string("i-0a1b2c3d\n")).await;
        assert_eq!(service.vm_id().await.unwrap(), "i-0a1b2c3d");
        let error = service.get("meta-data/nothing").await.unwrap_err();
        assert!(matches!(error, MetadataError::Absent { .. }), "{error}");
    }

    #[tokio::test]
    async fn odd_answers_are_refused() {
        for (answer, word) in [
            (ResponseTemplate::new(200).set_body_string("<html>log in</html>"), "no id of a VM"),
            (ResponseTemplate::new(200).set_body_string("i-../../x"), "no id of a VM"),
            (ResponseTemplate::new(200).set_body_bytes([0xff, 0xfe]), "no text"),
            (ResponseTemplate::new(200).set_body_bytes(vec![b'a'; LARGEST_VALUE + 1]), "more than"),
            (ResponseTemplate::new(302).insert_header("Location", "http://127.0.0.1:1/"), "status 302"),
        ] {
            let (_server, service) = service(answer).await;
            let error = service.vm_id().await.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[tokio::test]
    async fn a_machine_elsewhere_is_told_so() {
        let service = MetadataService::new("http://127.0.0.1:1").unwrap();
        let error = service.vm_id().await.unwrap_err().to_string();
        assert!(error.contains("FOURNIL_METADATA_URL"), "{error}");
    }
}
