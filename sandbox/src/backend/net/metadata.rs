//! The metadata service of one VM: a small HTTP/1.1 server on 169.254.169.254 inside the VM's network, so that
//! who asks is known by where the question came from.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};

use crate::backend::Metadata;

/// How long a client inside the VM may take for its question.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_REQUEST: u64 = 16 * 1024;

/// A running service; it ends when this is dropped.
#[derive(Debug)]
pub struct MetadataService {
    task: AbortHandle,
}

impl MetadataService {
    /// Serves on a listener that was made in the VM's network.
    pub fn start(listener: TcpListener, metadata: Arc<dyn Metadata>) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(async move {
            let mut requests = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            let metadata = Arc::clone(&metadata);
                            requests.spawn(async move {
                                let _ = tokio::time::timeout(PATIENCE, answer(stream, metadata.as_ref())).await;
                            });
                        }
                        // Out of descriptors: the next client may be luckier.
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    },
                    Some(_) = requests.join_next() => {}
                }
            }
        });
        Ok(Self { task: task.abort_handle() })
    }
}

impl Drop for MetadataService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, metadata: &dyn Metadata) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader.take(LONGEST_REQUEST)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|header| !header.is_empty()) {}

    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match method {
        "GET" | "HEAD" => match path_below_version(target).map(|path| metadata.get(&path)) {
            Some(Some(body)) => ("200 OK", body),
            Some(None) => ("404 Not Found", b"404 - Not Found\n".to_vec()),
            None => ("200 OK", b"latest\n".to_vec()),
        },
        _ => ("405 Method Not Allowed", b"405 - Method Not Allowed\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nServer: sandbox\r\nConnection: close\r\n\r\n",
        body.len()
    );
    writer.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        writer.write_all(&body).await?;
    }
    writer.shutdown().await
}

/// `/latest/meta-data/` → `meta-data`; dated versions (`/2009-04-04/…`) are all the same. `None` is the list of versions.
pub fn path_below_version(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (_version, rest) = parts.split_first()?;
    Some(rest.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Instance;

    impl Metadata for Instance {
        fn get(&self, path: &str) -> Option<Vec<u8>> {
            (path == "meta-data/instance-id").then(|| b"i-1".to_vec())
        }
    }

    async fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let _service = MetadataService::start(listener, Arc::new(Instance)).expect("a service");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn it_answers_what_it_knows_and_404_otherwise() {
        let known = ask("GET //latest/meta-data/instance-id/?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(known.starts_with("HTTP/1.1 200 OK\r\n") && known.ends_with("\r\n\r\ni-1"), "{known}");
        assert!(ask("GET /2009-04-04/meta-data/instance-id HTTP/1.0\r\n\r\n").await.ends_with("i-1"));
        assert!(ask("GET /latest/user-data HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(ask("PUT /latest/api/token HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
        let head = ask("HEAD /latest/meta-data/instance-id HTTP/1.1\r\n\r\n").await;
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
