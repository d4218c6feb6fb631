//! The page for browsers: files of the program, no others, and nothing from anywhere else.
//!
//! `page.js` is the wiring, `client.js` asks the API, `chart.js` draws with uPlot, `glance.js` shows how the broker is, `text.js`
//! has the words, of which there is one file a language. Everything that the page keeps is bounded.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::Api;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const WORDS: &str = "application/json";

/// Path, type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", STYLE, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/client.js", SCRIPT, include_str!("page/client.js")),
    ("/glance.js", SCRIPT, include_str!("page/glance.js")),
    ("/text.js", SCRIPT, include_str!("page/text.js")),
    ("/lang/en.json", WORDS, include_str!("page/lang/en.json")),
    ("/lang/pt.json", WORDS, include_str!("page/lang/pt.json")),
    // uPlot 1.6.32, MIT licence.
    ("/uplot/uPlot.iife.min.js", SCRIPT, include_str!("page/uplot/uPlot.iife.min.js")),
    ("/uplot/uPlot.min.css", STYLE, include_str!("page/uplot/uPlot.min.css")),
    ("/uplot/LICENSE", "text/plain; charset=utf-8", include_str!("page/uplot/LICENSE")),
];

pub(super) fn router() -> Router<Arc<Api>> {
    let mut router = Router::new();
    for (path, kind, content) in FILES {
        let file = async || ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content);
        router = router.route(path, get(file));
    }
    router
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn content(path: &str) -> &'static str {
        FILES.iter().find(|(known, ..)| *known == path).unwrap().2
    }

    fn words(language: &str) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(content(&format!("/lang/{language}.json"))).unwrap()
    }

    #[test]
    fn every_word_is_there_in_every_language() {
        let (english, portuguese) = (words("en"), words("pt"));
        let keys = |words: &serde_json::Map<_, _>| words.keys().cloned().collect::<BTreeSet<String>>();
        assert_eq!(keys(&english), keys(&portuguese));
        let html = content("/");
        let used = html.split("data-t=\"").skip(1).chain(html.split("data-label=\"").skip(1));
        for key in used.map(|rest| rest.split('"').next().unwrap()) {
            assert!(english.contains_key(key), "{key}");
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (path, _, content) in FILES.iter().filter(|(path, ..)| !path.starts_with("/uplot/")) {
            assert!(!content.contains("http://") && !content.contains("https://"), "{path}");
        }
    }
}
