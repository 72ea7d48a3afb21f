use tollgate_domain::Error;
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{ErrorReason, KeyRole};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See which models there are.
    ReadModels,
    /// See the key that acts.
    ReadOwnKey,
    /// See any key.
    ReadKeys,
    /// Make a key.
    CreateKey,
    /// Change a key.
    UpdateKey,
    /// Give a key a new secret.
    RotateKey,
    /// Block a key.
    BlockKey,
    /// Unblock a key.
    UnblockKey,
    /// Revoke a key.
    RevokeKey,
    /// See budget, spend and ledger of the key that acts.
    ReadOwnSpend,
    /// See anybody's.
    ReadSpend,
    /// Make a budget.
    CreateBudget,
    /// Change a budget.
    UpdateBudget,
    /// Take a budget away.
    DeleteBudget,
    /// Read the audit log.
    ReadAudit,
}

impl Action {
    /// Every action, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::ReadModels,
        Self::ReadOwnKey,
        Self::ReadKeys,
        Self::CreateKey,
        Self::UpdateKey,
        Self::RotateKey,
        Self::BlockKey,
        Self::UnblockKey,
        Self::RevokeKey,
        Self::ReadOwnSpend,
        Self::ReadSpend,
        Self::CreateBudget,
        Self::UpdateBudget,
        Self::DeleteBudget,
        Self::ReadAudit,
    ];

    /// The name in audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadModels => "model.read",
            Self::ReadOwnKey | Self::ReadKeys => "key.read",
            Self::CreateKey => "key.create",
            Self::UpdateKey => "key.update",
            Self::RotateKey => "key.rotate",
            Self::BlockKey => "key.block",
            Self::UnblockKey => "key.unblock",
            Self::RevokeKey => "key.revoke",
            Self::ReadOwnSpend | Self::ReadSpend => "spend.read",
            Self::CreateBudget => "budget.create",
            Self::UpdateBudget => "budget.update",
            Self::DeleteBudget => "budget.delete",
            Self::ReadAudit => "audit.read",
        }
    }

    /// The matrix: what a role may do. Denied unless it stands here.
    pub fn allowed_to(self, role: KeyRole) -> bool {
        match role {
            KeyRole::PlatformAdmin => true,
            KeyRole::Caller => matches!(self, Self::ReadModels | Self::ReadOwnKey | Self::ReadOwnSpend),
            KeyRole::Unspecified => false,
        }
    }
}

/// Proof that a caller may do what it asked to.
pub struct Authorized {
    caller: Caller,
}

impl Authorized {
    /// Who acts.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// The one place where rights are decided.
pub fn authorize(caller: Caller, action: Action) -> Result<Authorized, Error> {
    if action.allowed_to(caller.role()) {
        return Ok(Authorized { caller });
    }
    let message = format!("the key's role does not include {}; use an admin key", action.name());
    Err(Error::new(ErrorReason::RoleNotAllowed, message)
        .with("action", action.name())
        .with("role", caller.role().as_str_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_sees_itself_and_changes_nothing() {
        let allowed: Vec<_> = Action::ALL.into_iter().filter(|a| a.allowed_to(KeyRole::Caller)).collect();
        assert_eq!(allowed, [Action::ReadModels, Action::ReadOwnKey, Action::ReadOwnSpend]);
        assert!(Action::ALL.into_iter().all(|a| a.allowed_to(KeyRole::PlatformAdmin)));
        assert!(!Action::ALL.into_iter().any(|a| a.allowed_to(KeyRole::Unspecified)));
    }
}
