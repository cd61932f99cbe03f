//! A gate between fournil and the sandbox, which notes every call and can hold one at an exact moment: before it has had
//! its effect, or when it has and the answer is still on its way.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use tokio::{net::TcpListener, sync::oneshot};

use crate::until;

/// Where a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// fournil has sent it, the region has not got it.
    Before,
    /// It had its effect; the answer is on its way.
    After,
}

/// A call that is held at a moment.
pub struct Held {
    /// Comes when the call is there.
    pub reached: oneshot::Receiver<()>,
    /// Lets it go on; dropped, it never does.
    pub go: oneshot::Sender<()>,
}

struct Plan {
    action: String,
    nth: usize,
    moment: Moment,
    seen: usize,
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Ledger {
    calls: Vec<String>,
    plans: Vec<Plan>,
}

/// Passes calls on.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    /// Calls that are with the region.
    under_way: AtomicUsize,
    upstream: String,
    http: reqwest::Client,
    ledger: Mutex<Ledger>,
}

impl Gate {
    /// Opens a gate before the sandbox.
    pub async fn open(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            under_way: AtomicUsize::new(0),
            upstream: upstream.to_owned(),
            http: reqwest::Client::new(),
            ledger: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { shared, address }
    }

    /// What fournil takes for the region.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The actions of all calls so far, in the order in which they came.
    pub fn calls(&self) -> Vec<String> {
        self.shared.ledger().calls.clone()
    }

    /// Waits until the region has answered all calls that are not held, also those whose sender is dead.
    pub async fn until_quiet(&self) {
        until("calls are answered", async || {
            (self.shared.under_way.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }

    /// Holds the `nth` call (from 1, counted from now) of this action.
    pub fn hold(&self, action: &str, nth: usize, moment: Moment) -> Held {
        let (reached, has_reached) = oneshot::channel();
        let (go, may_go) = oneshot::channel();
        let plan = Plan { action: action.to_owned(), nth, moment, seen: 0, reached, go: may_go };
        self.shared.ledger().plans.push(plan);
        Held { reached: has_reached, go }
    }
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call and takes the plan that is for it.
    fn note(&self, action: &str) -> Option<Plan> {
        let mut ledger = self.ledger();
        ledger.calls.push(action.to_owned());
        let mut due = None;
        for (index, plan) in ledger.plans.iter_mut().enumerate().filter(|(_, plan)| plan.action == action) {
            plan.seen += 1;
            if plan.seen == plan.nth {
                due = Some(index);
            }
        }
        due.map(|index| ledger.plans.remove(index))
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // A task of its own: a call that was sent goes on when its sender is killed.
    tokio::spawn(forward(shared, request)).await.unwrap_or_else(|_| refused())
}

async fn forward(shared: Arc<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 8 << 20).await else { return refused() };
    let action = parts.uri.path().rsplit('/').next().unwrap_or_default();
    let (before, after) = match shared.note(action) {
        Some(plan) if plan.moment == Moment::Before => (Some(plan), None),
        plan => (None, plan),
    };
    wait_at(before).await;
    shared.under_way.fetch_add(1, Ordering::SeqCst);
    let answered = send(&shared, &parts, body).await;
    shared.under_way.fetch_sub(1, Ordering::SeqCst);
    wait_at(after).await;
    answered.unwrap_or_else(refused)
}

/// Tells that the call is there and waits until it may go on; without leave it never does.
async fn wait_at(plan: Option<Plan>) {
    let Some(plan) = plan else { return };
    let _ = plan.reached.send(());
    if plan.go.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn send(shared: &Shared, parts: &axum::http::request::Parts, body: Bytes) -> Option<Response> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // All headers as they came, the host too: the signature covers them.
    let request =
        shared.http.post(format!("{}{path}", shared.upstream)).headers(parts.headers.clone()).body(body);
    let answer = request.send().await.ok()?;
    let mut response = Response::builder().status(answer.status());
    for name in ["content-type", "date"] {
        if let Some(value) = answer.headers().get(name) {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(answer.bytes().await.ok()?)).ok()
}

fn refused() -> Response {
    let mut response = Response::new(Body::from("the sandbox is gone"));
    *response.status_mut() = axum::http::StatusCode::BAD_GATEWAY;
    response
}
