//! The contract: everything generated from `tollgate/v1/*.proto`, and what its comments promise of the messages alone (an answer collected is
//! its events folded).
//!
//! The messages here are the nouns of a completion everywhere inside the gateway; there is no second family of types.

#![allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub, clippy::large_enum_variant)]

mod collect;
pub mod operation;
mod usage;

pub use collect::Collector;

/// Version 1 of the contract.
pub mod v1 {
    use std::fmt;

    tonic::include_proto!("tollgate.v1");

    impl fmt::Debug for CreateKeyResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("CreateKeyResponse")
                .field("key", &self.key)
                .field("secret", &"<hidden>")
                .field("budget_id", &self.budget_id)
                .finish()
        }
    }

    impl fmt::Debug for GetKeyRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("GetKeyRequest").field("id", &self.id).field("secret", &"<hidden>").finish()
        }
    }

    impl fmt::Debug for RotateKeyResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RotateKeyResponse").field("key", &self.key).field("secret", &"<hidden>").finish()
        }
    }

    impl fmt::Debug for RuntimeModel {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RuntimeModel")
                .field("id", &self.id)
                .field("model", &self.model)
                .field("provider", &self.provider)
                .field("kind", &self.kind)
                .field("base_url", &self.base_url)
                .field("api_key", &"<hidden>")
                .field("provider_model", &self.provider_model)
                .finish_non_exhaustive()
        }
    }

    impl Routing {
        /// Its attempts on one line: `deployment;class;milliseconds`, with commas.
        pub fn in_words(&self) -> String {
            let told =
                |a: &Attempt| format!("{};{};{}ms", a.deployment, a.class, (a.end_us - a.start_us).max(0) / 1_000);
            self.attempts.iter().map(told).collect::<Vec<_>>().join(", ")
        }
    }

    impl ErrorReason {
        /// The name that travels in `ErrorInfo.reason`: without the enum's prefix.
        pub fn wire_name(self) -> &'static str {
            let name = self.as_str_name();
            name.strip_prefix("ERROR_REASON_").unwrap_or(name)
        }

        /// The reason that an `ErrorInfo.reason` names.
        pub fn from_wire_name(name: &str) -> Option<Self> {
            Self::from_str_name(&format!("ERROR_REASON_{name}"))
        }
    }
}

/// The encoded descriptor set, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.fds"));

/// `ErrorInfo.domain` of every error that Tollgate makes.
pub const ERROR_DOMAIN: &str = "tollgate.dev";
