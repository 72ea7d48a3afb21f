//! Support for black-box tests: virtual keys, a plain HTTP client, and the built gateway as a process.

mod builder;
pub mod gateway;
pub mod http;
pub mod keys;

pub use builder::GatewayBuilder;
pub use gateway::Gateway;
