//! A provider's invoice beside the ledger: every planted difference is found, named and cleared.

use std::collections::BTreeMap;

use serde_json::json;
use tollgate_client::{Client, reason, v1};
use tollgate_tests::provider::{Cut, Invoice, Step};

use crate::support::{World, hello};

/// What the scripted model costs, in pico-dollars per token.
const INPUT: u64 = 150_000;
const OUTPUT: u64 = 600_000;

struct Case {
    world: World,
    invoice: Invoice,
    finance: Client,
    secret: String,
}

/// Five calls that were answered, and whatever `more` makes of the provider.
async fn case(more: impl AsyncFnOnce(&World)) -> Case {
    let world = World::start().await;
    for _ in 0..5 {
        let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    more(&world).await;
    let calls = world.provider.log().stats().calls as usize;
    let records = world.provider.log().settled(calls).await;
    let secret = world.key(v1::Key { role: v1::KeyRole::Finance as i32, ..Default::default() }).await.secret;
    let finance = Client::connect(&world.gateway.grpc(), &secret).await.unwrap();
    Case { invoice: Invoice::over(&records, INPUT, OUTPUT), world, finance, secret }
}

impl Case {
    async fn compare(&self, csv: String) -> v1::ReconcileInvoiceResponse {
        let asked = v1::ReconcileInvoiceRequest {
            provider: "scripted".into(),
            format: v1::InvoiceFormat::OpenaiCsv as i32,
            csv: csv.into_bytes().into(),
        };
        let compared = self.finance.budgets().reconcile_invoice(asked).await.unwrap().into_inner();
        for bucket in &compared.buckets {
            let causes: i64 = bucket.causes.iter().map(|c| c.amount_nano_usd).sum();
            assert_eq!(causes, bucket.invoiced_nano_usd - bucket.booked_nano_usd, "causes add up: {bucket:?}");
        }
        compared
    }

    /// Causes by name, over all buckets, of the invoice line by line and summed up.
    async fn causes(&self) -> [BTreeMap<String, i64>; 2] {
        let mut both = [BTreeMap::new(), BTreeMap::new()];
        for (causes, csv) in both.iter_mut().zip([self.invoice.csv(9), self.invoice.summed().csv(9)]) {
            for cause in self.compare(csv).await.buckets.into_iter().flat_map(|b| b.causes) {
                *causes.entry(cause.cause).or_default() += cause.amount_nano_usd;
            }
        }
        both
    }
}

fn only(cause: &str, amount: i64) -> [BTreeMap<String, i64>; 2] {
    let one = BTreeMap::from([(cause.to_owned(), amount)]);
    [one.clone(), one]
}

#[tokio::test]
async fn an_invoice_that_agrees_has_no_causes_and_clears() {
    let case = case(async |_| {}).await;
    assert_eq!(case.causes().await, [BTreeMap::new(), BTreeMap::new()]);
    let compared = case.compare(case.invoice.csv(9)).await;
    assert!(compared.clears && compared.proposals.is_empty());
    assert_eq!((compared.buckets[0].invoiced_requests, compared.buckets[0].booked_requests), (5, 5));
}

#[tokio::test]
async fn a_call_around_the_gateway_is_missing_here() {
    let mut case = case(async |_| {}).await;
    let mut stranger = case.invoice.lines[0].clone();
    stranger.request_id = "req_of_somebody_else".into();
    case.invoice.lines.push(stranger.clone());
    assert_eq!(case.causes().await, only("missing_here", stranger.nano_usd));
}

#[tokio::test]
async fn a_call_that_is_not_billed_is_missing_there() {
    let mut case = case(async |_| {}).await;
    let forgotten = case.invoice.lines.pop().unwrap();
    assert_eq!(case.causes().await, only("missing_there", -forgotten.nano_usd));
}

#[tokio::test]
async fn another_price_is_a_price_version_and_its_corrections_clear_it() {
    let mut case = case(async |_| {}).await;
    for line in &mut case.invoice.lines {
        line.nano_usd *= 2;
    }
    let booked: i64 = case.world.entries().await.iter().map(|e| e.cost_nano_usd).sum();
    assert_eq!(case.causes().await, only("price_version", booked));
    let compared = case.compare(case.invoice.csv(9)).await;
    for proposal in &compared.proposals {
        let adjustment = v1::Adjustment {
            attempt_id: proposal.attempt_id.clone(),
            amount_nano_usd: proposal.amount_nano_usd,
            reason: proposal.description.clone(),
            ..Default::default()
        };
        let asked = v1::CreateAdjustmentRequest { adjustment: Some(adjustment), ..Default::default() };
        case.finance.budgets().create_adjustment(asked).await.unwrap();
    }
    let after = case.compare(case.invoice.csv(9)).await;
    assert_eq!((after.invoiced_nano_usd, after.clears), (after.booked_nano_usd, true));
    assert!(after.buckets.iter().all(|b| b.causes.is_empty()), "{after:?}");
}

#[tokio::test]
async fn another_tier_is_a_tier() {
    let mut case = case(async |_| {}).await;
    let line = &mut case.invoice.lines[0];
    line.tier = "priority".into();
    line.nano_usd += 4_000;
    assert_eq!(case.causes().await, only("tier", 4_000));
}

#[tokio::test]
async fn figures_printed_to_fewer_places_are_rounding() {
    let case = case(async |_| {}).await;
    for csv in [case.invoice.csv(7), case.invoice.summed().csv(7)] {
        let compared = case.compare(csv).await;
        assert!(compared.clears);
        assert!(compared.buckets.iter().flat_map(|b| &b.causes).all(|c| c.cause == "rounding"), "{compared:?}");
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_differs_as_an_estimate() {
    let case = case(async |world| {
        world.provider.script("scripted-upstream", [Step::streams(30).then_cuts(20, Cut::Rst)]);
        let caller = world.gateway.caller();
        let stream = caller.stream(&world.v1("chat/completions"), &hello(json!({"stream": true}))).await.unwrap();
        let _ = stream.rest().await;
    })
    .await;
    let cut = case.world.entries().await.into_iter().find(|e| e.kind() == v1::LedgerEntryKind::Estimated).unwrap();
    assert!(cut.cost_nano_usd > 0, "what arrived is never booked at nothing");
    let billed = case.invoice.lines.iter().find(|l| l.request_id == cut.upstream_request_id).unwrap();
    assert_eq!(case.causes().await, only("estimated", billed.nano_usd - cut.cost_nano_usd));
}

#[tokio::test]
async fn a_call_that_a_crash_cut_differs_in_doubt() {
    let mut case = case(async |_| {}).await;
    case.world.provider.script("scripted-upstream", [Step::streams(200).every_ms(20)]);
    let body = hello(json!({"stream": true}));
    let mut stream = case.world.gateway.caller().stream(&case.world.v1("chat/completions"), &body).await.unwrap();
    stream.next().await.unwrap();
    case.world.gateway.kill9();
    case.world.gateway.restart().await;
    case.finance = Client::connect(&case.world.gateway.grpc(), &case.secret).await.unwrap();
    case.invoice = Invoice::over(&case.world.provider.log().settled(6).await, INPUT, OUTPUT);
    let entries = case.world.entries().await;
    let recovered = entries.iter().find(|e| e.kind() == v1::LedgerEntryKind::Recovered).unwrap();
    let exact: i64 = entries.iter().filter(|e| e.kind() == v1::LedgerEntryKind::Exact).map(|e| e.cost_nano_usd).sum();
    let invoiced: i64 = case.invoice.lines.iter().map(|l| l.nano_usd).sum();
    // The provider's id died with the gateway: only sums can be laid beside each other.
    let compared = case.compare(case.invoice.summed().csv(9)).await;
    let causes = &compared.buckets[0].causes;
    assert_eq!(
        (causes[0].cause.as_str(), causes[0].amount_nano_usd),
        ("in_doubt", invoiced - exact - recovered.cost_nano_usd)
    );
    assert_eq!(compared.proposals[0].attempt_id, recovered.attempt_id);
}

#[tokio::test]
async fn what_nothing_explains_is_called_so_and_does_not_clear() {
    let mut case = case(async |_| {}).await;
    let line = &mut case.invoice.lines[0];
    (line.nano_usd, line.input, line.output) = (line.nano_usd + 77_000, line.input + 1, line.output + 3);
    let compared = case.compare(case.invoice.csv(9)).await;
    assert!(!compared.clears);
    assert_eq!(compared.buckets[0].causes[0].cause, "unexplained");
}

#[tokio::test]
async fn a_file_that_is_no_invoice_is_refused_by_line_and_column() {
    let case = case(async |_| {}).await;
    for (csv, format, field) in [
        ("a,b\n1,2\n", v1::InvoiceFormat::OpenaiCsv, "csv"),
        ("start_time,model,amount_value\n2026-11-20,m,x\n", v1::InvoiceFormat::OpenaiCsv, "csv"),
        ("", v1::InvoiceFormat::Unspecified, "format"),
    ] {
        let asked = v1::ReconcileInvoiceRequest {
            provider: "scripted".into(),
            format: format as i32,
            csv: csv.as_bytes().to_vec().into(),
        };
        let status = case.finance.budgets().reconcile_invoice(asked).await.unwrap_err();
        assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
        let details = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
    }
}
