//! Their errors: the name tells more than the status.

use tollgate_domain::{Class, Failure};

use super::wire;
use crate::{Head, json::Object, refusal};

/// Reads a refusal. Its name is in a header, or in the body.
pub(super) fn read(head: &Head, body: &[u8]) -> Failure {
    let told = head.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status = head.status.as_u16();
    match serde_json::from_slice::<wire::Error>(body) {
        Ok(error) => {
            let inner = error.name.unwrap_or_default();
            let name = bare(if told.is_empty() { &inner } else { told });
            let object = flat(&name, &error.message.unwrap_or_default());
            named(name, refusal::classify(status, &head.headers, &object))
        }
        Err(_) => named(bare(told), refusal::classify(status, &head.headers, body)),
    }
}

/// Reads an error that came where an answer should.
pub(super) fn in_band(name: &str, message: &str) -> Failure {
    let name = bare(name);
    let object = flat(&name, message);
    named(name, refusal::in_band(200, &object, false))
}

/// Reads an exception's content.
pub(super) fn exception(name: &str, payload: &[u8]) -> Failure {
    let error: wire::Error = serde_json::from_slice(payload).unwrap_or_default();
    let name = if name.is_empty() { error.name.as_deref().unwrap_or_default() } else { name };
    in_band(name, error.message.as_deref().unwrap_or_default())
}

/// The shape that the common classification reads.
fn flat(name: &str, message: &str) -> Vec<u8> {
    let mut object = Object::default();
    object.field("message", message).field("type", name);
    object.finish().into_bytes()
}

/// `com.amazon.service#ThrottlingException:http://...` and `throttlingException` as `ThrottlingException`.
fn bare(name: &str) -> String {
    let name = name.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// What the text says of the call itself stays; else the name decides, and where it is not known, the status did.
fn named(name: String, failure: Failure) -> Failure {
    use Class::*;
    let class = match (name.as_str(), failure.class) {
        (_, told @ (ContextLength | ContentFilter | RequestTooLarge)) | ("ValidationException", told @ NotFound) => {
            told
        }
        ("ValidationException", _) => InvalidRequest,
        ("ThrottlingException" | "TooManyRequestsException", _) => RateLimit,
        ("ModelNotReadyException" | "ServiceUnavailableException" | "ServiceUnavailable", _) => Overloaded,
        ("ModelTimeoutException", _) => Timeout,
        ("ModelErrorException" | "ModelStreamErrorException" | "InternalServerException" | "InternalFailure", _) => {
            ServerError
        }
        ("ServiceQuotaExceededException", _) => QuotaExceeded,
        ("ResourceNotFoundException", _) => NotFound,
        // A Bedrock API key that is wrong or has expired is refused as if it lacked a right.
        ("AccessDeniedException", _) if failure.message.to_lowercase().contains("api key") => Authentication,
        ("AccessDeniedException" | "OptInRequired", _) => Permission,
        (
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignatureException"
            | "IncompleteSignature"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "RequestExpired"
            | "MissingAuthenticationTokenException"
            | "MissingAuthenticationToken",
            _,
        ) => Authentication,
        (_, told) => told,
    };
    let native_code = if name.is_empty() { failure.native_code } else { name };
    // A signature that does not match is answered with all that should have been signed, session token and all.
    let message = match failure.message.split_once("The Canonical String") {
        Some((why, _)) => why.trim().to_owned(),
        None => failure.message,
    };
    Failure { class, native_code, message, ..failure }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn told(status: u16, name: &str, body: &str) -> Failure {
        let mut headers = HeaderMap::new();
        if !name.is_empty() {
            headers.insert("x-amzn-errortype", name.parse().unwrap());
        }
        read(&Head { status: StatusCode::from_u16(status).unwrap(), headers }, body.as_bytes())
    }

    #[test]
    fn the_name_is_found_in_the_header_and_in_the_body_and_decides() {
        let header = told(403, "ExpiredTokenException:http://internal/", r#"{"Message":"it has expired"}"#);
        assert_eq!((header.class, header.native_code.as_str()), (Class::Authentication, "ExpiredTokenException"));
        assert_eq!(header.message, "it has expired");
        let body = told(400, "", r#"{"__type":"com.amazon.bedrock#ServiceQuotaExceededException","message":"x"}"#);
        assert_eq!((body.class, body.native_code.as_str()), (Class::QuotaExceeded, "ServiceQuotaExceededException"));
        let model = told(424, "ModelErrorException", r#"{"message":"x","originalStatusCode":400}"#);
        assert_eq!((model.class, model.status), (Class::ServerError, 424));
        assert_eq!(told(403, "AccessDeniedException", r#"{"message":"no access"}"#).class, Class::Permission);
        let key = told(403, "AccessDeniedException", r#"{"message":"Please make sure your API Key is valid."}"#);
        assert_eq!(key.class, Class::Authentication);
        assert_eq!(told(404, "ResourceNotFoundException", "{}").class, Class::NotFound);
        assert_eq!(told(502, "", "<html>").class, Class::ServerError);
        assert_eq!(
            in_band("validationException", "Input is too long for requested model.").class,
            Class::ContextLength
        );
        assert_eq!(in_band("validationException", "malformed").class, Class::InvalidRequest);
    }

    #[test]
    fn a_refused_signature_does_not_tell_what_was_signed() {
        let body = r#"{"message":"It does not match.\n\nThe Canonical String for this request should have been\n'POST\nx-amz-security-token:FwoG'"}"#;
        let failure = told(403, "InvalidSignatureException", body);
        assert_eq!((failure.class, failure.message.as_str()), (Class::Authentication, "It does not match."));
    }
}
