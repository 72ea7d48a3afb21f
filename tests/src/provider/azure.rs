//! Azure's addresses of OpenAI's dialect: the deployment in the path counts, and a version of the API must be asked for.

use hyper::Uri;
use serde_json::Value;

/// The deployment that a classic path names: `.../openai/deployments/NAME/OPERATION`.
pub(super) fn deployment(path: &str) -> Option<&str> {
    Some(path.split_once("/openai/deployments/")?.1.split_once('/')?.0)
}

/// What the body says of the model is ignored where the path names it.
pub(super) fn address(path: &str, body: &mut Value) {
    if let (Some(deployment), Value::Object(members)) = (deployment(path), body) {
        members.insert("model".into(), deployment.into());
    }
}

/// Whether keys come in `api-key` here.
pub(super) fn is_here(path: &str) -> bool {
    path.contains("/openai/")
}

/// Whether the address is one: below `/openai/v1` the version of the API may be left out.
pub(super) fn is_found(uri: &Uri) -> bool {
    let names_version =
        uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("api-version=20")));
    !is_here(uri.path()) || uri.path().contains("/openai/v1/") || names_version
}
