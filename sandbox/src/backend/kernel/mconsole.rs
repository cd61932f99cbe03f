//! User-mode Linux's control protocol: a datagram with a command, and one or more with what came of it.

use std::{
    fs::File,
    io,
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    time::Duration,
};

use crate::backend::{blocking, net::Network};

/// The machine answers while it handles an interrupt; only an overloaded host lets it take long.
const PATIENCE: Duration = Duration::from_secs(30);
const MAGIC: u32 = 0xcafe_babe;
const VERSION: u32 = 2;
const DATA: usize = 512;

/// Runs a command on the machine whose socket is `name` in `folder`, and answers what it says.
pub(super) async fn ask(network: &Network, folder: &Path, name: &str, command: &str) -> io::Result<String> {
    // Names of this kind belong to a network, and the machine answers from within its own.
    let socket = network
        .run(|| {
            let own = SocketAddr::from_abstract_name(format!("sandbox-{}", uuid::Uuid::new_v4()))?;
            UnixDatagram::bind_addr(&own)
        })
        .await?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let folder = File::open(folder)?;
    // The folder's own path may be longer than a socket's address can be.
    let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    let request = request(command)?;
    blocking(move || {
        socket.connect(path)?;
        drop(folder);
        socket.send(&request)?;
        let mut text = String::new();
        loop {
            let mut buffer = [0; DATA + 12];
            let length = socket.recv(&mut buffer)?;
            let reply = parse(&buffer[..length])?;
            text.push_str(&reply.text);
            match (reply.more, reply.failed) {
                (true, _) => {}
                (false, true) => return Err(io::Error::other(text.trim().to_owned())),
                (false, false) => return Ok(text),
            }
        }
    })
    .await
}

struct Reply {
    failed: bool,
    more: bool,
    text: String,
}

fn request(command: &str) -> io::Result<Vec<u8>> {
    // The kernel wants an end of the text within its buffer.
    if command.len() >= DATA {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is too long"));
    }
    let length = u32::try_from(command.len()).map_err(io::Error::other)?;
    let mut request = Vec::with_capacity(DATA + 12);
    for word in [MAGIC, VERSION, length] {
        request.extend(word.to_ne_bytes());
    }
    request.extend(command.as_bytes());
    request.resize(DATA + 12, 0);
    Ok(request)
}

fn parse(bytes: &[u8]) -> io::Result<Reply> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
        word.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the machine's answer is cut off"))
    };
    let (error, more, length) = (word(0)?, word(4)?, word(8)?);
    let text = &bytes[12..];
    let text = &text[..text.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
    let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
    Ok(Reply { failed: error != 0, more: more != 0, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_sent_and_an_answer_read() {
        let sent = request("version").expect("a request");
        assert_eq!(sent.len(), DATA + 12);
        assert_eq!((&sent[8..12], &sent[12..20]), (&7u32.to_ne_bytes()[..], &b"version\0"[..]));
        assert!(request(&"x".repeat(DATA)).is_err());

        let mut answer = Vec::new();
        for word in [1u32, 0, 4] {
            answer.extend(word.to_ne_bytes());
        }
        answer.extend(b"busy and more");
        let reply = parse(&answer).expect("a reply");
        assert!(reply.failed && !reply.more);
        assert_eq!(reply.text, "busy");
        assert!(parse(&answer[..10]).is_err());
    }
}
