//! The operator's and the programs' view as HTTP and JSON: publish and receive, what is there, and the means to end or
//! reload it.
//!
//! One set of handlers for every way in ([`Door`]): the control socket ([`crate::control`]), whose peer is the owner of the
//! broker, and the network ([`crate::http`]). `routes` is the one table of what there is and who may use it;
//! `openapi.json` describes it for programs, and a test compares the two.

mod bridges;
mod caller;
mod dead_letters;
mod idempotency;
mod lists;
mod live;
mod messages;
mod page;
mod parameters;
mod payload;
mod problem;
mod prometheus;
mod publisher;
mod slowest;
mod stream;
mod system;
#[cfg(test)]
mod tests;
mod view;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Json, Router};
use culex_core::{Admin, Broker};
use serde_json::Value;
use tokio::sync::Mutex;

pub use self::caller::{Door, PeerAddress, Role};
pub use self::live::Live;
pub(crate) use self::live::{Counts, Held};
pub use self::problem::ApiProblem;

use self::idempotency::Idempotency;
use self::publisher::Publisher;
use self::slowest::Slowest;
use crate::bridge::Bridges;
use crate::integration::Integrations;
use crate::reload::Reloader;

/// The description for programs, OpenAPI 3.1.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// What the handlers need.
#[derive(Debug)]
pub struct Api {
    broker: Broker,
    admin: Admin,
    reloader: Arc<Reloader>,
    integrations: Integrations,
    bridges: Option<Bridges>,
    started: Instant,
    live: Arc<Live>,
    publisher: Publisher,
    idempotency: Idempotency,
    /// The number of the next stream.
    streams: AtomicU64,
    slowest: Slowest,
    /// When the broker was last asked for a sign of life, and what came of it.
    probed: Mutex<Option<(tokio::time::Instant, Result<(), ApiProblem>)>>,
}

impl Api {
    /// For this broker; `live` is what the reloader keeps up to date.
    pub fn new(broker: Broker, reloader: Arc<Reloader>, live: Arc<Live>, integrations: Integrations) -> Self {
        Self {
            admin: broker.admin(),
            publisher: Publisher::new(broker.clone()),
            broker,
            reloader,
            started: Instant::now(),
            live,
            integrations,
            bridges: None,
            idempotency: Idempotency::default(),
            streams: AtomicU64::new(0),
            slowest: Slowest::default(),
            probed: Mutex::new(None),
        }
    }

    /// With its bridges.
    #[must_use]
    pub fn bridges(mut self, bridges: Bridges) -> Self {
        self.bridges = Some(bridges);
        self
    }

    pub(crate) const fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

type Answer = Result<Json<Value>, ApiProblem>;

/// Who may use a route: everybody, or whoever has a role.
type Needs = Option<Role>;

/// What is at a path for a method.
struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the description"))]
    method: Method,
    path: &'static str,
    needs: Needs,
    methods: MethodRouter<Arc<Api>>,
}

impl Route {
    fn get<T: 'static>(path: &'static str, needs: Needs, handler: impl Handler<T, Arc<Api>>) -> Self {
        Self::new(Method::GET, MethodFilter::GET, path, needs, handler)
    }

    fn put<T: 'static>(path: &'static str, needs: Needs, handler: impl Handler<T, Arc<Api>>) -> Self {
        Self::new(Method::PUT, MethodFilter::PUT, path, needs, handler)
    }

    fn post<T: 'static>(path: &'static str, needs: Needs, handler: impl Handler<T, Arc<Api>>) -> Self {
        Self::new(Method::POST, MethodFilter::POST, path, needs, handler)
    }

    fn delete<T: 'static>(path: &'static str, needs: Needs, handler: impl Handler<T, Arc<Api>>) -> Self {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, needs, handler)
    }

    fn new<T: 'static>(
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        needs: Needs,
        handler: impl Handler<T, Arc<Api>>,
    ) -> Self {
        Self { method, path, needs, methods: on(filter, handler) }
    }
}

/// Every route.
fn routes() -> Vec<Route> {
    const ANYBODY: Needs = None;
    const CLIENT: Needs = Some(Role::Client);
    const VIEWER: Needs = Some(Role::Viewer);
    const ADMIN: Needs = Some(Role::Admin);
    vec![
        Route::post("/api/v1/publish", CLIENT, messages::publish),
        Route::post("/api/v1/publish/batch", CLIENT, messages::publish_batch),
        Route::get("/api/v1/topics/{*topic}", CLIENT, messages::get),
        Route::put("/api/v1/topics/{*topic}", CLIENT, messages::put),
        Route::get("/api/v1/stream", CLIENT, stream::stream),
        Route::get("/api/v1/retained", CLIENT, lists::retained),
        Route::get("/api/v1/me", CLIENT, system::me),
        Route::get("/api/v1/status", VIEWER, system::status),
        Route::get("/api/v1/metrics", VIEWER, system::metrics),
        Route::get("/api/v1/clients", VIEWER, lists::clients),
        Route::get("/api/v1/clients/{client_id}", VIEWER, lists::session),
        Route::delete("/api/v1/clients/{client_id}", ADMIN, lists::disconnect),
        Route::get("/api/v1/sessions", VIEWER, lists::sessions),
        Route::get("/api/v1/sessions/{client_id}", VIEWER, lists::session),
        Route::delete("/api/v1/sessions/{client_id}", ADMIN, lists::end_session),
        Route::get("/api/v1/sessions/{client_id}/subscriptions", VIEWER, lists::subscriptions_of),
        Route::get("/api/v1/subscriptions", VIEWER, lists::subscriptions),
        Route::get("/api/v1/bridges", VIEWER, bridges::list),
        Route::get("/api/v1/bridges/{name}", VIEWER, bridges::one),
        Route::post("/api/v1/bridges/{name}/pause", ADMIN, bridges::pause),
        Route::post("/api/v1/bridges/{name}/resume", ADMIN, bridges::resume),
        Route::get("/api/v1/webhooks", VIEWER, lists::webhooks),
        Route::get("/api/v1/dead-letters", ADMIN, dead_letters::list),
        Route::delete("/api/v1/dead-letters", ADMIN, dead_letters::purge),
        Route::post("/api/v1/dead-letters/replay", ADMIN, dead_letters::replay),
        Route::get("/api/v1/dead-letters/{kind}/{name}/{id}", ADMIN, dead_letters::show),
        Route::get("/api/v1/listeners", VIEWER, system::listeners),
        Route::get("/api/v1/config", ADMIN, system::config),
        Route::post("/api/v1/reload", ADMIN, system::reload),
        Route::get("/api/v1/openapi.json", ANYBODY, system::openapi),
        Route::get("/healthz", ANYBODY, system::healthz),
        Route::get("/readyz", ANYBODY, system::readyz),
        Route::get("/metrics", VIEWER, system::exposition),
    ]
}

/// Every route, for those who come through this door.
pub fn router(api: Arc<Api>, door: Door) -> Router {
    let door = Arc::new(door);
    let mut router = page::router();
    for Route { path, needs, methods, .. } in routes() {
        let (api, door) = (Arc::clone(&api), Arc::clone(&door));
        let admit = move |request: Request, next: Next| {
            let (api, door) = (Arc::clone(&api), Arc::clone(&door));
            async move { Ok::<_, Infallible>(admit(&api, &door, needs, request, next).await) }
        };
        router = router.route(path, methods.route_layer(from_fn(admit)));
    }
    router
        .fallback(async || ApiProblem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiProblem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path has other methods; see the header Allow",
            )
        })
        .with_state(api)
}

/// Lets a request through if its caller may use the route.
async fn admit(api: &Api, door: &Door, needs: Needs, mut request: Request, next: Next) -> Response {
    let Some(role) = needs else { return next.run(request).await };
    let peer = request.extensions().get().map(|PeerAddress(address)| *address);
    let caller = match door.identify(&api.live, request.headers(), peer).await {
        Ok(caller) => caller,
        Err(problem) => {
            if problem.status() == StatusCode::UNAUTHORIZED {
                api.live.counts.unauthorized.fetch_add(1, Ordering::Relaxed);
            }
            return problem.into_response();
        }
    };
    if caller.role() < role {
        let who = if role == Role::Admin { "admins" } else { "viewers or admins" };
        let what = format!(
            "this needs another role: {who} under [http] names the users who have it; `culex ctl` does it for the owner"
        );
        return ApiProblem::new(StatusCode::FORBIDDEN, what).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}
