//! A server that follows a script, and commands run against it with their output in memory.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use clap::Parser;
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::{
    cli::{Cli, Command},
    client::{Outcome, Terminal, run},
    testing::PATIENCE,
};

/// What arrived at the server.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

type Answer = Box<dyn FnOnce() -> Response + Send>;
type Script = Vec<(String, VecDeque<Answer>)>;

/// Answers each request for a path with the next of its answers.
#[derive(Clone, Default)]
pub struct Fake {
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    pub fn answer(self, route: &str, answer: impl FnOnce() -> Response + Send + 'static) -> Self {
        let mut script = self.script.lock().unwrap();
        match script.iter_mut().find(|(known, _)| known == route) {
            Some((_, answers)) => answers.push_back(Box::new(answer)),
            None => script.push((route.to_owned(), VecDeque::from([Box::new(answer) as Answer]))),
        }
        drop(script);
        self
    }

    pub fn json(self, route: &str, status: u16, body: Value) -> Self {
        self.answer(route, move || {
            let status = StatusCode::from_u16(status).unwrap();
            let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
            (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
        })
    }

    /// A connection that carries the lines and then breaks.
    pub fn torn(self, lines: Vec<String>) -> Self {
        self.answer(LOGS, move || {
            let pieces = stream::iter(lines.into_iter().map(|line| Ok(Bytes::from(line))));
            // A pause in which what was written leaves; otherwise the error overtakes it.
            let broken = stream::once(async {
                tokio::task::yield_now().await;
                Err(io::Error::other("torn"))
            });
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces.chain(broken)))
                .into_response()
        })
    }

    /// A connection that carries the lines and ends in peace.
    pub fn whole(self, lines: Vec<String>) -> Self {
        self.answer(LOGS, move || {
            ([(header::CONTENT_TYPE, "text/event-stream")], lines.concat()).into_response()
        })
    }

    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    pub fn seen(&self, route: &str) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| is_route(route, &seen.method, &seen.uri))
            .cloned()
            .collect()
    }
}

fn is_route(route: &str, method: &Method, uri: &str) -> bool {
    let path = uri.split('?').next().unwrap_or_default();
    route
        .split_once(' ')
        .is_some_and(|(wanted, wanted_path)| wanted == method.as_str() && wanted_path == path)
}

async fn serve(State(fake): State<Fake>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let uri = parts.uri.to_string();
    let seen = Seen { method: parts.method.clone(), uri: uri.clone(), headers: parts.headers, body };
    fake.seen.lock().unwrap().push(seen);
    let answer = {
        let mut script = fake.script.lock().unwrap();
        let answers = script.iter_mut().find(|(route, _)| is_route(route, &parts.method, &uri));
        answers.and_then(|(_, answers)| answers.pop_front())
    };
    match answer {
        Some(answer) => answer(),
        None => (StatusCode::NOT_FOUND, format!("no answer for {} {uri}", parts.method)).into_response(),
    }
}

pub const POST: &str = "POST /builds";
pub const GET: &str = "GET /builds/0198f0c2-0000-7000-8000-00000000000a";
pub const LOGS: &str = "GET /builds/0198f0c2-0000-7000-8000-00000000000a/logs";
pub const CANCEL: &str = "POST /builds/0198f0c2-0000-7000-8000-00000000000a/cancel";

#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

pub struct Ran {
    pub outcome: Outcome,
    pub out: String,
    pub err: String,
}

pub struct Running {
    pub task: tokio::task::JoinHandle<Outcome>,
    pub interrupt: mpsc::Sender<()>,
    pub out: Memory,
    pub err: Memory,
}

impl Running {
    /// Waits until the command has printed this.
    pub async fn has_printed(&self, text: &str) {
        let printed = async {
            while !self.out.text().contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, printed).await.expect("it was not printed");
    }

    pub async fn ended(self) -> Ran {
        let outcome = timeout(PATIENCE, self.task).await.expect("the command goes on").unwrap();
        Ran { outcome, out: self.out.text(), err: self.err.text() }
    }
}

pub fn start(arguments: &[&str]) -> Running {
    let Command::Client(command) = Cli::try_parse_from([&["fournil"], arguments].concat()).unwrap().command
    else {
        panic!("no command of a client")
    };
    let (out, err) = (Memory::default(), Memory::default());
    let terminal = Terminal::new(out.clone(), err.clone());
    let (interrupt, interrupts) = mpsc::channel(2);
    let task = tokio::spawn(async move { run(command, &terminal, interrupts).await });
    Running { task, interrupt, out, err }
}

pub async fn ran(arguments: &[&str]) -> Ran {
    start(arguments).ended().await
}
