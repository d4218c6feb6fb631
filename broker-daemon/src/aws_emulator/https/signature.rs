//! Signatures of requests, Version 4: whether there is one, and whole. It is not verified: the emulator has no users.

use hyper::header::{AUTHORIZATION, HeaderMap};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The services that the endpoint of data is signed for.
const SERVICES: [&str; 2] = ["iotdevicegateway", "iotdata"];

/// A request is signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature;

impl Signature {
    /// The signature in the query, or in the header `Authorization`.
    ///
    /// # Errors
    /// What of it is missing, or for another service.
    pub(super) fn find(query: &[(String, String)], headers: &HeaderMap) -> Result<Option<Self>, String> {
        let parameter =
            |name: &str| query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        if let Some(algorithm) = parameter("X-Amz-Algorithm") {
            if algorithm != ALGORITHM {
                return Err(format!("X-Amz-Algorithm is {ALGORITHM}"));
            }
            let names = ["X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Credential"];
            if let Some(missing) = names.into_iter().find(|name| parameter(name).is_none_or(str::is_empty)) {
                return Err(format!("{missing} is missing"));
            }
            return check_scope(parameter("X-Amz-Credential").unwrap_or_default()).map(Some);
        }
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(parts) = authorization.and_then(|value| value.strip_prefix(ALGORITHM)) else {
            return Ok(None);
        };
        let part = |name: &str| {
            let parts = parts.split(',').filter_map(|part| part.trim().split_once('='));
            parts.into_iter().find(|(other, _)| *other == name).map(|(_, value)| value)
        };
        let names = ["SignedHeaders", "Signature", "Credential"];
        if let Some(missing) = names.into_iter().find(|name| part(name).is_none_or(str::is_empty)) {
            return Err(format!("{missing} is missing in Authorization"));
        }
        check_scope(part("Credential").unwrap_or_default()).map(Some)
    }
}

/// `KEY/20260102/REGION/SERVICE/aws4_request`
fn check_scope(credential: &str) -> Result<Signature, String> {
    match credential.split('/').collect::<Vec<_>>().as_slice() {
        [_, _, _, service, "aws4_request"] if SERVICES.contains(service) => Ok(Signature),
        [_, _, _, service, "aws4_request"] => {
            Err(format!("It is signed for the service \"{service}\", and not for {}", SERVICES.join(" or ")))
        }
        _ => Err("The credential is KEY/DATE/REGION/SERVICE/aws4_request".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_query(change: impl Fn(&str) -> Option<String>) -> Result<Option<Signature>, String> {
        let all = [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", "AKID/20260102/local-1/iotdevicegateway/aws4_request"),
            ("X-Amz-Date", "20260102T030405Z"),
            ("X-Amz-SignedHeaders", "host"),
            ("X-Amz-Signature", "00"),
        ];
        let query = all.iter().filter_map(|(name, value)| match change(name) {
            Some(other) if other.is_empty() => None,
            other => Some(((*name).to_owned(), other.unwrap_or_else(|| (*value).to_owned()))),
        });
        Signature::find(&query.collect::<Vec<_>>(), &HeaderMap::new())
    }

    #[test]
    fn aic_net_05_a_signature_is_whole_and_for_the_service() {
        assert_eq!(in_query(|_| None), Ok(Some(Signature)));
        assert_eq!(Signature::find(&[], &HeaderMap::new()), Ok(None));
        for name in ["X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"] {
            let error = in_query(|other| (other == name).then(String::new)).unwrap_err();
            assert_eq!(error, format!("{name} is missing"));
        }
        let with = |name: &'static str, value: &'static str| {
            in_query(move |other| (other == name).then(|| value.to_owned())).unwrap_err()
        };
        assert!(with("X-Amz-Algorithm", "AWS4").contains(ALGORITHM));
        assert!(with("X-Amz-Credential", "a/b/c/s3/aws4_request").contains("\"s3\""));
        assert!(with("X-Amz-Credential", "a/b").contains("KEY/DATE/REGION"));
    }

    #[test]
    fn aic_net_06_a_signature_may_be_in_the_header() {
        let find = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            Signature::find(&[], &headers)
        };
        assert_eq!(find("Bearer x"), Ok(None));
        let whole = "AWS4-HMAC-SHA256 Credential=A/20260102/local-1/iotdata/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(find(whole), Ok(Some(Signature)));
        assert_eq!(
            find("AWS4-HMAC-SHA256 Credential=A/b/c/iotdata/aws4_request"),
            Err("SignedHeaders is missing in Authorization".to_owned())
        );
    }
}
