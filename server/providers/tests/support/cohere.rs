//! As much of Cohere as its rankings are played with.

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::operation::Reranking;
use tollgate_providers::{Chat, Head, Provider, Target, Unary, refusal, rerank};

pub(crate) struct Cohere;

impl Provider for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
    }

    fn base_url(&self) -> Option<&'static str> {
        None
    }

    fn chat(&self) -> Option<&dyn Chat> {
        None
    }

    fn rerank(&self) -> Option<&dyn Unary<Reranking>> {
        Some(&rerank::COHERE)
    }

    fn check(&self, _: &Target) -> Result<http::Request<Bytes>, Failure> {
        Err(Failure::new(Class::InvalidRequest, "is not checked"))
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}
