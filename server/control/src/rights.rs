//! Nobody gains by minting, changing or moving what they could not grant.

use tollgate_domain::{Error, Violation};
use tollgate_pipeline::{Directory, allows};
use tollgate_proto::v1::{ErrorReason, Key, KeyRole, Priority, RateLimits};

use crate::Actor;

fn exceeded(field: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorReason::RightsExceeded, message).with("field", field)
}

/// Roles that a role may give to a key.
fn grants(role: KeyRole) -> &'static [KeyRole] {
    use KeyRole::*;
    match role {
        PlatformAdmin => &[PlatformAdmin, OrganizationAdmin, TeamAdmin, Member, Finance, Auditor, Caller],
        OrganizationAdmin => &[OrganizationAdmin, TeamAdmin, Member, Finance, Auditor, Caller],
        TeamAdmin => &[TeamAdmin, Member, Caller],
        Member => &[Caller],
        _ => &[],
    }
}

/// Checks that a key as it would be lies within what `actor` may grant.
pub(crate) fn check_key(actor: &Actor, own: &Key, key: &Key, directory: &Directory) -> Result<(), Error> {
    let role = match key.role() {
        KeyRole::Unspecified => KeyRole::Caller,
        role => role,
    };
    if !grants(actor.role).contains(&role) {
        return Err(exceeded(
            "key.role",
            format!("a key of your role cannot make a key of the role {}", role.as_str_name()),
        ));
    }
    let place_missing = match role {
        KeyRole::OrganizationAdmin => key.organization_id.is_empty().then_some("organization_id"),
        KeyRole::TeamAdmin => key.team_id.is_empty().then_some("team_id"),
        KeyRole::Member => key.user_id.is_empty().then_some("user_id"),
        _ => None,
    };
    if let Some(field) = place_missing {
        return Err(Error::invalid_field(
            format!("key.{field}"),
            format!("is needed by a key of the role {}", role.as_str_name()),
        ));
    }
    if actor.role == KeyRole::PlatformAdmin || tollgate_planted::bug("rights_unchecked") {
        return Ok(());
    }
    let team = directory.team(&key.team_id);
    let organization = directory.organization(&key.organization_id);
    let bounds = [
        team.as_ref().map(|t| ("team", &t.models)),
        organization.as_ref().map(|o| ("organization", &o.models)),
        (actor.role == KeyRole::Member).then_some(("key", &own.models)),
    ];
    for (place, bound) in bounds.into_iter().flatten().filter(|(place, b)| !b.is_empty() || *place == "key") {
        if let Some(model) = key.models.iter().find(|m| !allows(bound, m)) {
            return Err(exceeded("key.models", format!("the {place} may not use {model:?}; it may use {bound:?}")));
        }
    }
    let limits = [team.as_ref().and_then(|t| t.limits.as_ref()), organization.as_ref().and_then(|o| o.limits.as_ref())];
    for bound in limits.into_iter().flatten() {
        within_limits(key.limits.as_ref(), bound)?;
    }
    let rank = |p: Priority| if p == Priority::Unspecified { Priority::Standard as i32 } else { p as i32 };
    let bound = team.as_ref().map_or(Priority::Standard, |t| t.priority());
    if key.priority() != Priority::Unspecified && rank(key.priority()) < rank(bound) {
        return Err(exceeded("key.priority", format!("the team's priority is {}", bound.as_str_name())));
    }
    Ok(())
}

fn within_limits(limits: Option<&RateLimits>, bound: &RateLimits) -> Result<(), Error> {
    let Some(limits) = limits else { return Ok(()) };
    for (field, limit, bound) in [
        ("requests_per_minute", limits.requests_per_minute, bound.requests_per_minute),
        ("requests_per_day", limits.requests_per_day, bound.requests_per_day),
        ("tokens_per_minute", limits.tokens_per_minute, bound.tokens_per_minute),
        ("concurrent_requests", limits.concurrent_requests, bound.concurrent_requests),
    ] {
        if let (Some(limit), Some(bound)) = (limit, bound)
            && limit > bound
        {
            return Err(exceeded(
                "key.limits",
                format!("{field} is {limit}, beyond the {bound} of its team or organization"),
            ));
        }
    }
    Ok(())
}

/// Limits that are none.
pub(crate) fn check_limits(limits: Option<&RateLimits>, field: &str, violations: &mut Vec<Violation>) {
    let Some(limits) = limits else { return };
    for (name, limit) in [
        ("requests_per_minute", limits.requests_per_minute),
        ("requests_per_day", limits.requests_per_day),
        ("tokens_per_minute", limits.tokens_per_minute),
        ("concurrent_requests", limits.concurrent_requests),
    ] {
        if limit.is_some_and(|limit| !(1..=1_000_000_000_000).contains(&limit)) {
            let description = "must be 1 to 1000000000000".to_owned();
            violations.push(Violation { field: format!("{field}.{name}"), description });
        }
    }
}
