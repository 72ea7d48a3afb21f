//! A key for these tests alone; it opens nothing.

use serde_json::json;

const PRIVATE: &str = include_str!("rsa_test_key.pem");

/// A service account's credentials file.
pub(crate) fn service_account(token_uri: &str) -> String {
    let file = json!({
        "type": "service_account",
        "client_email": "gateway@p1.iam.gserviceaccount.com",
        "private_key_id": "k-1",
        "private_key": PRIVATE,
        "token_uri": token_uri,
    });
    file.to_string()
}
