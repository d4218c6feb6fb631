//! The page for browsers: files of the program, no others.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::Api;

/// Path, type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
];

pub(super) fn router() -> Router<Arc<Api>> {
    let mut router = Router::new();
    for (path, kind, content) in FILES {
        let file = async || ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content);
        router = router.route(path, get(file));
    }
    router
}
