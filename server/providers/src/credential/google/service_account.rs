//! A service account's key: what it signs is exchanged for a token (RFC 7523).

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tollgate_domain::{Class, Failure};

use super::{Fields, SCOPE, TOKEN_URI, Unusable, without};
use crate::{
    credential::token::{self, Token},
    transport::Transport,
};

/// For how long an assertion is good, in seconds: the most that is taken.
const LIFETIME: u64 = 3_600;

pub(super) struct ServiceAccount {
    email: String,
    token_uri: String,
    header: Header,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    scope: &'static str,
    iat: u64,
    exp: u64,
}

impl ServiceAccount {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, Unusable> {
        let email = fields.text("client_email")?.to_owned();
        let key = EncodingKey::from_rsa_pem(fields.text("private_key")?.as_bytes());
        let key = key.map_err(|_| Unusable("private_key of the credentials file is no RSA key in PEM".into()))?;
        let token_uri = fields.text("token_uri").unwrap_or(TOKEN_URI).to_owned();
        let key_id = fields.text("private_key_id").ok().map(str::to_owned);
        Ok(Self { email, token_uri, header: Header { kid: key_id, ..Header::new(Algorithm::RS256) }, key })
    }

    pub(super) async fn fetch(&self, transport: &Transport) -> Result<Token, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims {
            iss: &self.email,
            sub: &self.email,
            aud: &self.token_uri,
            scope: SCOPE,
            iat: now,
            exp: now + LIFETIME,
        };
        let assertion = jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map_err(|_| Failure::new(Class::Authentication, "private_key of the credentials file cannot sign"))?;
        let form =
            token::form(&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)]);
        let given = token::ask(transport, &self.token_uri, &[], Some(form)).await;
        given.map_err(|failure| without(failure, &[&assertion]))
    }
}
