//! Shadow traffic: a share of a model's calls is made a second time at another model, apart from the caller.
//!
//! The copy begins once the call is reserved, in a task of its own: it takes nothing of the caller's budgets, limits, latency or answer. It is
//! booked and recorded under the name [`MIRROR`], with the call that it copies in its metadata; budgets of the whole gateway count it, for
//! it costs real money. Tags bind it as they bind the call.

use std::sync::Arc;

use futures::StreamExt;
use tollgate_domain::CallId;
use tollgate_proto::v1::{GatewayOptions, Key, KeyRole, Original};
use tollgate_providers::json;
use tollgate_store::StoredKey;

use crate::{
    Billed, Call, Caller, Pipeline, QuotaCell,
    call::Request,
    permit::{Payers, Permit},
};

/// Who pays for copies: no key of anybody's.
pub const MIRROR: &str = "mirror";
/// So many copies are under way at once; beyond, none is made.
pub(crate) const MOST: usize = 256;

/// The caller's own bytes with another model in them; `None`: they cannot be edited.
fn naming(model: &str, original: Original) -> Option<Original> {
    let model = serde_json::to_string(model).ok()?;
    let body = json::edit(&original.body, &[("model", Some(model))]).ok()?;
    Some(Original { body: body.into(), ..original })
}

impl Pipeline {
    /// Makes a copy of the call, if its model mirrors and the draw falls so.
    pub(crate) fn mirror(self: &Arc<Self>, permit: &Permit, call: &Call) {
        let Some(mirror) = permit.routes.own().and_then(|own| own.mirror.as_ref()) else { return };
        let Request::Completion(request, mode) = &call.request else { return };
        if (self.seeds)(call.id) % 10_000 >= u64::from(mirror.basis_points) {
            return;
        }
        let Ok(place) = self.mirrors.clone().try_acquire_owned() else {
            tracing::debug!(model = call.model(), "too many copies are under way; this call is not mirrored");
            return;
        };
        let mut copied = (**request).clone();
        copied.model = Some(mirror.model.clone());
        copied.original = copied.original.take().and_then(|original| naming(&mirror.model, original));
        let asked = copied.tollgate.take().unwrap_or_default();
        copied.tollgate = Some(GatewayOptions {
            tags: permit.account.tags.clone(),
            region: asked.region,
            no_fallbacks: true,
            metadata: [("mirror_of".to_owned(), call.id.to_string())].into(),
            ..GatewayOptions::default()
        });
        let copy = Call {
            id: CallId::new(),
            action: "completion.mirror",
            credential: None,
            peer: None,
            deadline: None,
            request: Request::Completion(Arc::new(copied), *mode),
            files: None,
            again: None,
            quota: QuotaCell::default(),
            billed: Billed::default(),
            trace: call.trace.of_copy(),
        };
        let routes = permit.table.routes(&mirror.model, Some(&[]), |_| true);
        let key = Key { id: MIRROR.into(), role: KeyRole::Caller as i32, ..Key::default() };
        let permit = Permit {
            caller: Caller::of(Arc::new(StoredKey::new(key, Vec::new()))),
            account: Payers { customer: String::new(), tags: permit.account.tags.clone() },
            routes,
            table: permit.table.clone(),
        };
        let this = self.clone();
        let mirrored = Box::pin(async move {
            let _place = place;
            let mut record = this.open_record(&copy);
            record.draft().named(MIRROR);
            record.of(&permit.caller);
            let passed = match record.try_or_close(this.pass(&permit, &copy).await).await {
                Ok(passed) => passed,
                Err(error) => return tracing::debug!(%error, "a call is not mirrored"),
            };
            let reserved = this.reserve(permit, &copy).await;
            let Ok(reservation) = record.try_or_close(reserved).await else { return };
            match this.send(reservation, passed, copy, record).await {
                Ok(mut reply) => while let Some(Ok(_)) = reply.next().await {},
                Err(error) => tracing::debug!(%error, "a copy of a call failed"),
            }
        });
        let cut = self.settler.cut();
        self.settler.spawn_call(async move {
            cut.run_until_cancelled(mirrored).await;
        });
    }
}
