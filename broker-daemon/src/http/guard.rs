//! What a browser could be made to do by the pages of others, and what keeps it from it.
//!
//! A name that leads here by DNS rebinding is not one of ours, so `Host` must be an IP address, `localhost`, or allowed. A
//! page of another origin says so in `Origin`. Nothing of what is answered is run, framed or kept by a browser.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::api::{ApiProblem, Live};

/// Of every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];
/// What pages of other origins that are allowed may send.
const METHODS: &str = "GET, POST, PUT, DELETE";
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key";

/// The routes, behind these checks.
pub(super) fn guarded(router: Router, live: &Arc<Live>, has_users: bool) -> Router {
    let live = Arc::clone(live);
    router.layer(from_fn(move |request: Request, next: Next| {
        let live = Arc::clone(&live);
        async move { answer(&live, has_users, request, next).await }
    }))
}

async fn answer(live: &Live, has_users: bool, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let is_programs = !parts.headers.contains_key("sec-fetch-mode")
        || parts.headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    let mut response = match check(live, &parts) {
        Err(problem) => problem.into_response(),
        Ok(origin) if parts.method == Method::OPTIONS && origin.is_some() => {
            allowed(StatusCode::NO_CONTENT.into_response(), origin)
        }
        Ok(origin) => allowed(next.run(Request::from_parts(parts, body)).await, origin),
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = |text| HeaderValue::from_static(text);
        let headers = response.headers_mut();
        headers.append(header::WWW_AUTHENTICATE, challenge("Bearer realm=\"culex\""));
        // A browser would ask by itself what the page asks for.
        if has_users && is_programs {
            headers.append(header::WWW_AUTHENTICATE, challenge("Basic realm=\"culex\", charset=\"UTF-8\""));
        }
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    let digit = usize::from(response.status().as_u16() / 100);
    if let Some(cell) = live.counts.answers.get(digit.saturating_sub(1)) {
        cell.fetch_add(1, Ordering::Relaxed);
    }
    response
}

/// What a page of another origin has to be told.
fn allowed(mut response: Response, origin: Option<HeaderValue>) -> Response {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        headers.insert(policy, HeaderValue::from_static("cross-origin"));
    }
    response
}

/// Whether this request is meant for us, and does not come from the page of somebody else. Gives the origin, if it is
/// another one that is allowed.
fn check(live: &Live, parts: &Parts) -> Result<Option<HeaderValue>, ApiProblem> {
    let settings = live.settings();
    let said = single(&parts.headers, &header::HOST)?;
    let host = match (parts.uri.authority(), said) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host,
        (None, None) => return Err(ApiProblem::of_field("Host", "this header is missing")),
    };
    let is_allowed = |allowed: &String| {
        allowed == "*" || allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name_of(host))
    };
    if !is_own(name_of(host)) && !settings.allow_hosts.iter().any(is_allowed) {
        let what = format!(
            "{} is not a name of this computer that is allowed; add it to allow_hosts under [http]",
            host.escape_debug()
        );
        return Err(ApiProblem::new(StatusCode::MISDIRECTED_REQUEST, what));
    }
    let Some(origin) = single(&parts.headers, &header::ORIGIN)? else { return Ok(None) };
    let scheme = if live.tls().is_some() { "https" } else { "http" };
    if origin.eq_ignore_ascii_case(&format!("{scheme}://{host}")) {
        return Ok(None);
    }
    if settings.allow_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        return Ok(HeaderValue::from_str(origin).ok());
    }
    let what = format!(
        "web pages of {} may not use this API; add it to allow_origins under [http]",
        origin.escape_debug()
    );
    Err(ApiProblem::new(StatusCode::FORBIDDEN, what))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiProblem> {
    let mut values = headers.get_all(name).iter();
    let wrong = || ApiProblem::of_field(name.as_str(), "this header stands once, and is text");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| wrong()),
        (Some(_), Some(_)) => Err(wrong()),
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Names that only lead here if they are meant to.
fn is_own(name: &str) -> bool {
    let unbracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || unbracketed
            .map_or_else(|| name.parse::<std::net::Ipv4Addr>().is_ok(), |name| name.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpSettings;

    fn decide(host: &str, origin: &str, settings: &HttpSettings) -> u16 {
        let live = Live::default();
        live.replace(Some(settings), None, None);
        let mut request = Request::builder().uri("/").header("host", host);
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let (parts, _) = request.body(axum::body::Body::empty()).unwrap().into_parts();
        check(&live, &parts).map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn only_names_that_cannot_be_rebound_or_are_allowed() {
        let allow_hosts = vec!["broker.example.org".to_owned()];
        let settings = HttpSettings { allow_hosts, ..HttpSettings::default() };
        for (host, expected) in [
            ("localhost", 200),
            ("LocalHost:9883", 200),
            ("127.0.0.1:9883", 200),
            ("192.0.2.7", 200),
            ("[::1]:9883", 200),
            ("[::1]", 200),
            ("broker.example.org", 200),
            ("broker.example.org:80", 200),
            ("Broker.Example.Org", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("localhost.evil.example:9883", 421),
            ("", 421),
            ("[evil]", 421),
            ("2130706433", 421),
        ] {
            assert_eq!(decide(host, "", &settings), expected, "{host}");
        }
    }

    #[test]
    fn only_pages_of_the_same_origin_or_allowed_ones() {
        let allow_origins = vec!["https://good.example".to_owned()];
        let settings = HttpSettings { allow_origins, ..HttpSettings::default() };
        for (origin, expected) in [
            ("http://127.0.0.1:9883", 200),
            ("https://good.example", 200),
            ("https://127.0.0.1:9883", 403),
            ("http://127.0.0.1:80", 403),
            ("http://127.0.0.1", 403),
            ("http://localhost:9883", 403),
            ("null", 403),
            ("https://evil.example", 403),
            ("https://good.example.evil", 403),
        ] {
            assert_eq!(decide("127.0.0.1:9883", origin, &settings), expected, "{origin}");
        }
    }
}
