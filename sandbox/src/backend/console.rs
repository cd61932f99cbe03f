//! What a VM writes to its console: the last 64 KiB of it, as `ReadConsoleOutput` gives it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{io::AsyncReadExt, net::unix::pipe};

const KEPT: usize = 64 * 1024;

/// The end of a VM's output; it survives restarts.
#[derive(Debug, Default)]
pub struct Console {
    text: Mutex<VecDeque<u8>>,
}

impl Console {
    /// A pipe's end to write to; what arrives is kept until the last writer closes it.
    pub fn writer(self: &Arc<Self>) -> io::Result<io::PipeWriter> {
        let (reader, writer) = io::pipe()?;
        let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let console = Arc::clone(self);
        tokio::spawn(async move {
            let mut buffer = vec![0; 8 * 1024];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                console.append(&buffer[..length]);
            }
        });
        Ok(writer)
    }

    /// Adds a line of the sandbox's own.
    pub fn note(&self, line: &str) {
        self.append(format!("[sandbox] {line}\n").as_bytes());
    }

    /// All that is kept.
    pub fn read(&self) -> Vec<u8> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn append(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend(bytes);
        let excess = text.len().saturating_sub(KEPT);
        text.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_64_kib_are_kept() {
        let console = Console::default();
        console.append(b"first");
        console.append(&vec![b'x'; KEPT]);
        console.append(b"last");
        let text = console.read();
        assert_eq!(text.len(), KEPT);
        assert!(text.starts_with(b"xxx") && text.ends_with(b"xlast"));
    }
}
