//! What a request says in its query and path, checked.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use culex_core::Cursor;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::ApiProblem;

/// Entries of a page where nobody said how many.
const PAGE: usize = 100;
/// Entries of a page at most.
const PAGE_MAX: usize = 1000;

/// The query, decoded.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded("the query", name)?, decoded(name, value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

fn decoded(field: &str, text: &str) -> Result<String, ApiProblem> {
    let text = text.replace('+', " ");
    let text =
        percent_decode_str(&text).decode_utf8().map_err(|_| ApiProblem::of_field(field, "not UTF-8"))?;
    Ok(text.into_owned())
}

impl Parameters {
    /// Refuses parameters that nobody reads, and those that stand twice.
    ///
    /// # Errors
    /// 400.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ApiProblem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(ApiProblem::of_field(name, format!("no such parameter; there is {known}")));
            }
            if name != "filter" && self.0.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(ApiProblem::of_field(name, "this parameter stands twice"));
            }
        }
        Ok(())
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number from `least` to `most`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, ApiProblem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let digits = number.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .map(Some)
            .ok_or_else(|| ApiProblem::of_field(name, format!("a whole number from {least} to {most}")))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, ApiProblem> {
        let parse = |text: &str| text.parse().map_err(|_| ApiProblem::of_field(name, "true or false"));
        self.get(name).map(parse).transpose()
    }

    /// Where a page begins and how long it is.
    ///
    /// # Errors
    /// 400.
    pub(super) fn page(&self) -> Result<(Cursor, usize), ApiProblem> {
        Ok((self.get("after").unwrap_or_default().parse()?, self.limit()?))
    }

    /// How long a page is.
    ///
    /// # Errors
    /// 400.
    pub(super) fn limit(&self) -> Result<usize, ApiProblem> {
        let limit = self.number("limit", 1, PAGE_MAX as u64)?;
        Ok(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE))
    }
}

/// The names in a path, decoded: a `String`, or a tuple of them.
#[derive(Debug)]
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let Path(names) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiProblem::of_field("the path", rejection.body_text()))?;
        Ok(Self(names))
    }
}
