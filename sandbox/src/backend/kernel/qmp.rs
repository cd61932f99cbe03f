//! QEMU's control protocol: a JSON object a line, questions answered in order, events in between.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, broadcast, mpsc, watch},
};

/// How long QEMU may take for an answer; it answers at once, unless this machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS_KEPT: usize = 64;

/// A connection.
#[derive(Debug)]
pub(super) struct Qmp {
    /// One question at a time.
    line: Mutex<Line>,
    events: broadcast::Sender<Event>,
    was_shut_down: Arc<AtomicBool>,
    closed: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Line {
    writer: OwnedWriteHalf,
    answers: mpsc::UnboundedReceiver<Value>,
}

/// What QEMU tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The guest restarted its machine.
    GuestReset,
    /// A device is gone from the machine.
    DeviceDeleted(String),
}

impl Qmp {
    /// Greets. `on_event` is called for every event.
    pub async fn connect(
        stream: std::os::unix::net::UnixStream,
        on_event: impl Fn(&Event) + Send + 'static,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let (answer, answers) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (close, closed) = watch::channel(false);
        let was_shut_down = Arc::new(AtomicBool::new(false));
        let reading = Reading {
            lines: BufReader::new(reader).lines(),
            answer,
            events: events.clone(),
            was_shut_down: Arc::clone(&was_shut_down),
        };
        tokio::spawn(async move {
            reading.run(on_event).await;
            close.send_replace(true);
        });
        let qmp = Self { line: Mutex::new(Line { writer, answers }), events, was_shut_down, closed };
        qmp.ask("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Runs a command.
    pub async fn ask(&self, command: &str, arguments: Value) -> io::Result<Value> {
        let mut line = self.line.lock().await;
        let mut question = json!({ "execute": command, "arguments": arguments }).to_string();
        question.push('\n');
        line.writer.write_all(question.as_bytes()).await?;
        let late =
            |_elapsed| io::Error::new(io::ErrorKind::TimedOut, format!("QEMU does not answer to {command}"));
        let gone = || {
            io::Error::new(io::ErrorKind::BrokenPipe, format!("QEMU ended before it answered to {command}"))
        };
        let answer =
            tokio::time::timeout(PATIENCE, line.answers.recv()).await.map_err(late)?.ok_or_else(gone)?;
        if let Some(error) = answer.get("error") {
            let reason = error["desc"].as_str().unwrap_or("no reason given");
            return Err(io::Error::other(format!("QEMU refused {command}: {reason}")));
        }
        Ok(answer.get("return").cloned().unwrap_or_default())
    }

    /// Removes a device; returns when the machine has let go of it.
    pub async fn delete_device(&self, id: &str) -> io::Result<()> {
        let mut events = self.events.subscribe();
        self.ask("device_del", json!({ "id": id })).await?;
        let deleted = async {
            loop {
                match events.recv().await {
                    Ok(Event::DeviceDeleted(device)) if device == id => return Ok(()),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => {
                        return Err(io::Error::other("QEMU has ended"));
                    }
                }
            }
        };
        let late =
            |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "the machine does not let go of the device");
        tokio::time::timeout(PATIENCE, deleted).await.map_err(late)?
    }

    /// Whether the guest switched its machine off. Asked after the process has ended.
    pub async fn was_shut_down(&self) -> bool {
        // What it said last may not have been read yet.
        let mut closed = self.closed.clone();
        let _ = tokio::time::timeout(PATIENCE, closed.wait_for(|closed| *closed)).await;
        self.was_shut_down.load(Ordering::Acquire)
    }
}

struct Reading {
    lines: Lines<BufReader<OwnedReadHalf>>,
    answer: mpsc::UnboundedSender<Value>,
    events: broadcast::Sender<Event>,
    was_shut_down: Arc<AtomicBool>,
}

impl Reading {
    async fn run(mut self, on_event: impl Fn(&Event)) {
        while let Ok(Some(line)) = self.lines.next_line().await {
            let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
            if message.get("return").is_some() || message.get("error").is_some() {
                let _ = self.answer.send(message);
                continue;
            }
            let data = &message["data"];
            let by_guest = data["guest"].as_bool() == Some(true);
            let event = match message["event"].as_str() {
                Some("SHUTDOWN") => {
                    self.was_shut_down.fetch_or(by_guest, Ordering::AcqRel);
                    continue;
                }
                Some("RESET") if by_guest => Event::GuestReset,
                Some("DEVICE_DELETED") => match data["device"].as_str() {
                    Some(device) => Event::DeviceDeleted(device.to_owned()),
                    None => continue,
                },
                _ => continue,
            };
            on_event(&event);
            let _ = self.events.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    /// Plays QEMU: sends a line for each line that it gets, and the greeting first.
    fn play(stream: StdStream, script: &'static [&'static str]) {
        std::thread::spawn(move || {
            use std::io::{BufRead, Write};
            let mut lines = std::io::BufReader::new(stream.try_clone().expect("a stream")).lines();
            let mut stream = stream;
            writeln!(stream, "{{\"QMP\": {{}}}}").expect("greeted");
            for reply in script {
                lines.next().expect("a question").expect("a line");
                writeln!(stream, "{reply}").expect("answered");
            }
        });
    }

    #[tokio::test]
    async fn answers_and_events_are_told_apart() {
        let (ours, theirs) = StdStream::pair().expect("a pair");
        play(
            theirs,
            &[
                r#"{"return": {}}"#,
                r#"{"error": {"class": "GenericError", "desc": "no such device"}}"#,
                "{\"return\": {}}\n{\"event\": \"DEVICE_DELETED\", \"data\": {\"path\": \"x\"}}\n{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"vol-1\"}}",
                "{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\n{\"return\": {\"status\": \"running\"}}",
            ],
        );
        let (tell, told) = std::sync::mpsc::channel();
        let qmp = Qmp::connect(ours, move |event| drop(tell.send(event.clone()))).await.expect("connected");
        let refused = qmp.ask("device_del", json!({ "id": "vol-0" })).await.expect_err("refused");
        assert_eq!(refused.to_string(), "QEMU refused device_del: no such device");
        qmp.delete_device("vol-1").await.expect("deleted");
        let status = qmp.ask("query-status", json!({})).await.expect("a status");
        assert_eq!(status["status"], "running");
        assert!(qmp.was_shut_down().await);
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            [Event::DeviceDeleted("vol-1".to_owned()), Event::GuestReset]
        );
    }
}
