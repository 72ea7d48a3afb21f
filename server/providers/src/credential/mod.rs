//! How a provider knows who calls: a key that stays, or something that expires.

pub mod aws;
pub mod entra;
pub mod google;
mod renewed;
pub mod token;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use tollgate_domain::{Class, Failure, Secret};

/// What an operator has to show at a provider.
#[derive(Clone, Debug, Default)]
pub enum Credential {
    /// Nothing: servers that ask for none.
    #[default]
    None,
    /// A key, which the adapter writes where its provider looks for it.
    Key(Secret),
    /// Tokens and signatures, which are made anew and written last.
    Signer(Arc<dyn Signer>),
}

impl Credential {
    /// The key, where it is one.
    pub fn key(&self) -> Option<&Secret> {
        match self {
            Self::Key(secret) => Some(secret),
            Self::None | Self::Signer(_) => None,
        }
    }
}

/// Authorises requests by something that expires.
pub trait Signer: Send + Sync + fmt::Debug {
    /// Writes what authorises `request`: the last step before it is sent. Gets what it takes from wherever it comes from, once for all
    /// calls that wait for it. Fails with `Authentication` when that refuses.
    fn sign<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), Failure>>;

    /// The provider refused what `request` was signed with: forgets it, though not again and again. Whether another signature may
    /// pass.
    fn refused(&self, request: &http::Request<Bytes>) -> bool;
}

/// The credential that is not there: every call fails before anything is sent, and may go elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Absent;

impl Signer for Absent {
    fn sign<'a>(&'a self, _: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), Failure>> {
        // Where it should have come from is the operator's to know: it was told at the start.
        let failure = Failure::new(Class::Authentication, "the gateway has no credential for this provider");
        Box::pin(std::future::ready(Err(failure)))
    }

    fn refused(&self, _: &http::Request<Bytes>) -> bool {
        false
    }
}
