//! Files and batches at Azure: OpenAI's objects at Azure's addresses ("Azure OpenAI batch"), but for the word for chats.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};
use tollgate_domain::Failure;

use super::{Azure, dressed, resource};
use crate::{
    Target,
    files::{Files, Line, built},
    json,
    openai::request::unsendable,
};

/// What lines ask for, in OpenAI's words and in Azure's. Where one is not here they are the same.
const CHATS: (&str, &str) = ("/v1/chat/completions", "/chat/completions");

impl Files for Azure {
    fn request(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<http::Request<Bytes>, Failure> {
        let resource = resource(target);
        let uri = match &target.api_version {
            Some(version) => format!("{resource}/openai{path}?api-version={version}"),
            None => format!("{resource}/openai/v1{path}"),
        };
        dressed(built(method, uri, content_type, body)?, target)
    }

    fn line(&self, _target: &Target, line: &Line<'_>) -> Result<String, Failure> {
        if line.url != CHATS.0 {
            return Ok(line.written.to_owned());
        }
        let url = serde_json::to_string(CHATS.1).unwrap_or_default();
        let edited = json::edit(line.written.as_bytes(), &[("url", Some(url))]).map_err(unsendable)?;
        Ok(String::from_utf8_lossy(&edited).into_owned())
    }

    fn begins(&self, _target: &Target, mut asked: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        rename(&mut asked, CHATS.0, CHATS.1);
        Ok(asked)
    }

    fn told(&self, mut batch: Map<String, Value>) -> Map<String, Value> {
        rename(&mut batch, CHATS.1, CHATS.0);
        batch
    }
}

fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(endpoint) = object.get_mut("endpoint").filter(|endpoint| *endpoint == from) {
        *endpoint = to.into();
    }
}
