use std::time::Duration;

/// What a provider says is left of one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests or tokens.
    pub remaining: u64,
    /// Of how many; `None`: it does not say.
    pub limit: Option<u64>,
    /// Until the limit is whole again; `None`: it does not say.
    pub resets_in: Option<Duration>,
}

/// What a provider says is left of its limits, in the head of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Of requests; `None`: it says nothing of them.
    pub requests: Option<Left>,
    /// Of tokens; `None`: it says nothing of them.
    pub tokens: Option<Left>,
}

impl Headroom {
    /// Whether it says nothing at all.
    pub fn is_untold(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}
