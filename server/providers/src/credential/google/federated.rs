//! Workload identity federation: another issuer's token, kept fresh in a file, is exchanged for Google's (RFC 8693), and that one, where
//! the file says so, for a service account's.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, header};
use serde_json::{Map, Value, json};
use tollgate_domain::{Class, Failure};

use super::{Fields, SCOPE, Unusable, without};
use crate::{
    credential::token::{self, Token},
    transport::Transport,
};

const TOKEN_URL: &str = "https://sts.googleapis.com/v1/token";

pub(super) struct Federated {
    audience: String,
    subject_token_type: String,
    token_url: String,
    file: PathBuf,
    /// The member of the file that is the token; `None`: the file is the token.
    member: Option<String>,
    impersonation_url: Option<String>,
}

impl Federated {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, Unusable> {
        let source = fields.object("credential_source")?;
        let Ok(file) = source.text("file") else {
            return Err(Unusable("credential_source of the credentials file must name a file".into()));
        };
        let member = match source.object("format") {
            Ok(format) if format.text("type") == Ok("json") => {
                Some(format.text("subject_token_field_name")?.to_owned())
            }
            _ => None,
        };
        Ok(Self {
            audience: fields.text("audience")?.to_owned(),
            subject_token_type: fields.text("subject_token_type")?.to_owned(),
            token_url: fields.text("token_url").unwrap_or(TOKEN_URL).to_owned(),
            file: file.into(),
            member,
            impersonation_url: fields.text("service_account_impersonation_url").ok().map(str::to_owned),
        })
    }

    pub(super) async fn fetch(&self, transport: &Transport) -> Result<Token, Failure> {
        let subject_token = self.subject_token().await?;
        let form = token::form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &self.audience),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", &self.subject_token_type),
            ("subject_token", &subject_token),
        ]);
        let exchanged = token::ask(transport, &self.token_url, &[], Some(form)).await;
        let exchanged = exchanged.map_err(|failure| without(failure, &[&subject_token]))?;
        match &self.impersonation_url {
            None => Ok(exchanged),
            Some(url) => {
                let given = impersonate(transport, url, &exchanged).await;
                given.map_err(|failure| without(failure, &[exchanged.secret.expose()]))
            }
        }
    }

    /// Read anew each time: whoever issues it renews it there.
    async fn subject_token(&self) -> Result<String, Failure> {
        let unreadable = |why: &str| {
            Failure::new(Class::Authentication, format!("the token in {} cannot be read: {why}", self.file.display()))
        };
        let text = tokio::fs::read_to_string(&self.file).await.map_err(|e| unreadable(&e.to_string()))?;
        let token = match &self.member {
            None => text.trim().to_owned(),
            Some(member) => {
                let object: Map<String, Value> =
                    serde_json::from_str(&text).map_err(|_| unreadable("it is no JSON"))?;
                let token = object.get(member).and_then(Value::as_str);
                token.ok_or_else(|| unreadable(&format!("{member} is missing")))?.to_owned()
            }
        };
        Ok(token)
    }
}

/// The token of the service account, good for an hour.
async fn impersonate(transport: &Transport, url: &str, token: &Token) -> Result<Token, Failure> {
    let body = json!({"scope": [SCOPE], "lifetime": "3600s"}).to_string();
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", token.secret.expose()))
        .body(Bytes::from(body));
    let request = request.map_err(|_| {
        Failure::new(Class::Authentication, "service_account_impersonation_url cannot be asked with this token")
    })?;
    token::given(transport, request).await
}
