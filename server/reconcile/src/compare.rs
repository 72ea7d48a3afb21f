//! What differs, and why.

use std::collections::{BTreeMap, HashMap};

use tollgate_domain::{Price, micros, timestamp};
use tollgate_proto::v1::{
    DifferenceCause, InputUsage, LedgerEntry, LedgerEntryKind, OutputUsage, ProposedAdjustment,
    ReconcileInvoiceResponse, ReconciledBucket, Usage,
};

use crate::invoice::{Invoice, Line};

/// Prices of a model in the provider's words: the one in force first.
pub type Prices<'a> = &'a dyn Fn(&str) -> Vec<Price>;

/// Compares an invoice with the entries of its provider. Entries outside the days of the invoice are left aside: it is about those.
pub fn compare(invoice: &Invoice, entries: &[LedgerEntry], prices: Prices<'_>) -> ReconcileInvoiceResponse {
    let days: std::collections::BTreeSet<&str> = invoice.lines.iter().map(|line| line.day.as_str()).collect();
    let (first, last) = (days.first().copied().unwrap_or(""), days.last().copied().unwrap_or(""));
    let mut buckets: BTreeMap<(String, String), Bucket<'_>> = BTreeMap::new();
    for line in &invoice.lines {
        buckets.entry((line.day.clone(), line.model.clone())).or_default().lines.push(line);
    }
    for entry in entries {
        let day = timestamp(entry.settle_time.as_ref().map_or(0, micros)).to_string()[..10].to_owned();
        let within = first <= day.as_str() && day.as_str() <= last;
        // What was corrected already, and what the provider never saw, is not on its invoice.
        let billed =
            matches!(entry.kind(), LedgerEntryKind::Exact | LedgerEntryKind::Estimated | LedgerEntryKind::Recovered);
        let corrected = entry.kind() == LedgerEntryKind::Adjustment;
        if within && (billed || corrected) {
            buckets.entry((day, entry.upstream_model.clone())).or_default().entries.push(entry);
        }
    }
    let mut response = ReconcileInvoiceResponse { clears: true, ..ReconcileInvoiceResponse::default() };
    for ((day, model), bucket) in buckets {
        let mut found = Found::default();
        match bucket.lines.iter().all(|line| line.request_id.is_some()) && !bucket.lines.is_empty() {
            true => bucket.by_request(prices(&model).first(), &mut found),
            false => bucket.in_sum(&prices(&model), &mut found),
        }
        let invoiced = bucket.invoiced();
        let booked = bucket.booked();
        debug_assert_eq!(found.causes.values().sum::<i64>(), invoiced - booked);
        response.invoiced_nano_usd = response.invoiced_nano_usd.saturating_add(invoiced);
        response.booked_nano_usd = response.booked_nano_usd.saturating_add(booked);
        response.clears &= !found.causes.contains_key(UNEXPLAINED);
        response.proposals.extend(found.proposals);
        let tiers: std::collections::BTreeSet<_> = bucket.lines.iter().map(|l| l.tier.as_str()).collect();
        response.buckets.push(ReconciledBucket {
            day,
            model,
            service_tier: tiers.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(","),
            invoiced_requests: bucket.requests().unwrap_or(0),
            booked_requests: bucket.attempts().count() as i64,
            invoiced_nano_usd: invoiced,
            booked_nano_usd: booked,
            causes: found
                .causes
                .into_iter()
                .map(|(cause, amount_nano_usd)| DifferenceCause { cause: cause.to_owned(), amount_nano_usd })
                .collect(),
        });
    }
    response
}

const ESTIMATED: &str = "estimated";
const IN_DOUBT: &str = "in_doubt";
const PRICE_VERSION: &str = "price_version";
const TIER: &str = "tier";
const MISSING_HERE: &str = "missing_here";
const MISSING_THERE: &str = "missing_there";
const ROUNDING: &str = "rounding";
const UNEXPLAINED: &str = "unexplained";

/// Causes of a bucket and what would clear them.
#[derive(Default)]
struct Found {
    causes: BTreeMap<&'static str, i64>,
    proposals: Vec<ProposedAdjustment>,
}

impl Found {
    fn add(&mut self, cause: &'static str, amount: i64) {
        if amount != 0 {
            let sum = self.causes.entry(cause).or_default();
            *sum += amount;
            if *sum == 0 {
                self.causes.remove(cause);
            }
        }
    }

    fn propose(&mut self, attempt_id: &str, cause: &'static str, amount: i64) {
        if amount != 0 {
            let description = format!("{cause}: the invoice says so much more or less than the ledger");
            let attempt_id = attempt_id.to_owned();
            self.proposals.push(ProposedAdjustment {
                attempt_id,
                amount_nano_usd: amount,
                cause: cause.to_owned(),
                description,
            });
        }
    }
}

#[derive(Default)]
struct Bucket<'a> {
    lines: Vec<&'a Line>,
    entries: Vec<&'a LedgerEntry>,
}

impl Bucket<'_> {
    fn invoiced(&self) -> i64 {
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(line.nano_usd))
    }

    fn booked(&self) -> i64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.cost_nano_usd))
    }

    fn attempts(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().copied().filter(|e| e.kind() != LedgerEntryKind::Adjustment)
    }

    fn of_kind(&self, kind: LedgerEntryKind) -> Vec<&LedgerEntry> {
        self.entries.iter().copied().filter(|e| e.kind() == kind).collect()
    }

    fn requests(&self) -> Option<i64> {
        self.lines.iter().map(|line| line.requests).sum()
    }

    fn tolerance(&self) -> i64 {
        // Half of the last place of each figure, and what rounding up each attempt by itself adds.
        let printed = self.lines.iter().fold(0i64, |sum, line| sum.saturating_add(line.rounding));
        printed.saturating_add(self.entries.len() as i64)
    }

    /// Every line is about one request: each is laid beside its own entry.
    fn by_request(&self, price: Option<&Price>, found: &mut Found) {
        let mut booked: HashMap<&str, &LedgerEntry> = HashMap::new();
        let mut corrected: HashMap<&str, i64> = HashMap::new();
        for entry in &self.entries {
            match entry.kind() {
                LedgerEntryKind::Adjustment => {
                    let sum = corrected.entry(entry.adjusts_attempt_id.as_str()).or_default();
                    *sum = sum.saturating_add(entry.cost_nano_usd);
                }
                _ => _ = booked.insert(entry.upstream_request_id.as_str(), entry),
            }
        }
        for line in &self.lines {
            let Some(entry) = line.request_id.as_deref().and_then(|id| booked.remove(id)) else {
                found.add(MISSING_HERE, line.nano_usd);
                continue;
            };
            let cost = entry.cost_nano_usd + corrected.remove(entry.attempt_id.as_str()).unwrap_or(0);
            let difference = line.nano_usd - cost;
            let interval = (entry.low_nano_usd - cost, entry.high_nano_usd - cost);
            let cause = match entry.kind() {
                LedgerEntryKind::Estimated if within(difference, interval) => ESTIMATED,
                LedgerEntryKind::Recovered if within(difference, interval) => IN_DOUBT,
                _ if difference.abs() <= line.rounding.saturating_add(1) => ROUNDING,
                _ if !line.tier.is_empty() => TIER,
                // The same tokens at another price.
                _ if same_tokens(line.usage.as_ref(), entry.usage.as_ref()) => PRICE_VERSION,
                _ if price.is_some_and(|p| {
                    entry
                        .usage
                        .as_ref()
                        .is_some_and(|u| (p.cost(u).0 - line.nano_usd).abs() <= line.rounding.saturating_add(1))
                }) =>
                {
                    PRICE_VERSION
                }
                _ => UNEXPLAINED,
            };
            found.add(cause, difference);
            if cause != UNEXPLAINED && cause != ROUNDING {
                found.propose(&entry.attempt_id, cause, difference);
            }
        }
        for entry in booked.into_values() {
            let cost = entry.cost_nano_usd + corrected.remove(entry.attempt_id.as_str()).unwrap_or(0);
            // What was never sure to have been billed was not.
            let cause = match entry.kind() {
                LedgerEntryKind::Estimated if entry.low_nano_usd == 0 => ESTIMATED,
                LedgerEntryKind::Recovered if entry.low_nano_usd == 0 => IN_DOUBT,
                _ => MISSING_THERE,
            };
            found.add(cause, -cost);
            found.propose(&entry.attempt_id, cause, -cost);
        }
        // Corrections of entries of other days.
        for amount in corrected.into_values() {
            found.add(UNEXPLAINED, -amount);
        }
    }

    /// Lines are sums over many requests.
    fn in_sum(&self, prices: &[Price], found: &mut Found) {
        let mut left = self.invoiced() - self.booked();
        if self.lines.is_empty() {
            found.add(MISSING_THERE, left);
            self.carry(found, MISSING_THERE, left);
            return;
        }
        if self.entries.is_empty() {
            found.add(MISSING_HERE, left);
            return;
        }
        let mut take = |found: &mut Found, cause, amount: i64| {
            found.add(cause, amount);
            left -= amount;
            left
        };
        if let (Some(price), true) = (prices.first(), self.lines.iter().all(|line| line.usage.is_some())) {
            // With tokens on the invoice, what the price makes of them tells price and quantity apart.
            for line in self.lines.iter().filter(|line| !line.tier.is_empty()) {
                let listed = line.usage.as_ref().map_or(0, |usage| price.cost(usage).0);
                let amount = line.nano_usd - listed;
                take(found, TIER, amount);
                self.carry(found, TIER, amount);
            }
            let mut amount = 0;
            for line in self.lines.iter().filter(|line| line.tier.is_empty()) {
                amount += line.nano_usd - line.usage.as_ref().map_or(0, |usage| price.cost(usage).0);
            }
            for entry in self.of_kind(LedgerEntryKind::Exact) {
                let anew = entry.usage.as_ref().map_or(0, |usage| price.cost(usage).0) - entry.cost_nano_usd;
                amount += anew;
                if anew.abs() > 1 {
                    found.propose(&entry.attempt_id, PRICE_VERSION, anew);
                }
            }
            if amount.abs() > self.tolerance() {
                take(found, PRICE_VERSION, amount);
            }
        } else if let Some(price) = self.other_price(prices) {
            for entry in self.of_kind(LedgerEntryKind::Exact) {
                let amount = entry.usage.as_ref().map_or(0, |usage| price.cost(usage).0) - entry.cost_nano_usd;
                take(found, PRICE_VERSION, amount);
                found.propose(&entry.attempt_id, PRICE_VERSION, amount);
            }
        }
        let more = self.requests().map_or(0, |n| n - self.attempts().count() as i64);
        if more != 0 {
            let cause = if more > 0 { MISSING_HERE } else { MISSING_THERE };
            let rest = take(found, cause, 0);
            let amount = self.missing(more, rest);
            take(found, cause, amount);
            if more < 0 {
                self.carry(found, cause, amount);
            }
        }
        for (kind, cause) in [(LedgerEntryKind::Estimated, ESTIMATED), (LedgerEntryKind::Recovered, IN_DOUBT)] {
            let rest = take(found, cause, 0);
            for (entry, amount) in spread(&self.of_kind(kind), rest) {
                take(found, cause, amount);
                found.propose(&entry.attempt_id, cause, amount);
            }
        }
        let rest = take(found, ROUNDING, 0);
        found.add(if rest.abs() <= self.tolerance() { ROUNDING } else { UNEXPLAINED }, rest);
    }

    /// What of the difference requests make up that only one side has: all of it where nothing else can, else their mean.
    fn missing(&self, more: i64, left: i64) -> i64 {
        let guessed =
            self.entries.iter().any(|e| matches!(e.kind(), LedgerEntryKind::Estimated | LedgerEntryKind::Recovered));
        if !guessed {
            return left;
        }
        let exact = self.of_kind(LedgerEntryKind::Exact);
        let mean = match exact.len() as i64 {
            0 => self.invoiced() / self.requests().unwrap_or(1).max(1),
            n => exact.iter().map(|e| e.cost_nano_usd).sum::<i64>() / n,
        };
        mean.saturating_mul(more)
    }

    /// A price that is known, and at which the entries cost what the invoice says.
    fn other_price<'p>(&self, prices: &'p [Price]) -> Option<&'p Price> {
        if self.attempts().any(|e| e.kind() != LedgerEntryKind::Exact) {
            return None;
        }
        let at = |price: &Price| {
            self.attempts().filter_map(|e| e.usage.as_ref()).map(|usage| price.cost(usage).0).sum::<i64>()
        };
        let booked = self.booked();
        prices.iter().find(|p| at(p) != booked && (at(p) - self.invoiced()).abs() <= self.tolerance())
    }

    /// Proposes a correction that no single entry is known for: the largest carries it.
    fn carry(&self, found: &mut Found, cause: &'static str, amount: i64) {
        let largest = self.attempts().max_by_key(|e| e.cost_nano_usd);
        found.propose(largest.map_or("", |e| &e.attempt_id), cause, amount);
    }
}

fn within(difference: i64, (low, high): (i64, i64)) -> bool {
    low <= difference && difference <= high
}

fn same_tokens(a: Option<&Usage>, b: Option<&Usage>) -> bool {
    let tokens = |usage: &Usage| -> (InputUsage, OutputUsage) {
        (usage.input.unwrap_or_default(), usage.output.unwrap_or_default())
    };
    a.zip(b).is_some_and(|(a, b)| {
        let ((ai, ao), (bi, bo)) = (tokens(a), tokens(b));
        (ai.total, ai.cached_read, ai.cache_write_5m, ai.cache_write_1h, ao.total)
            == (bi.total, bi.cached_read, bi.cache_write_5m, bi.cache_write_1h, bo.total)
    })
}

/// Spreads `amount` over entries, each within what it says of itself; what does not fit is left out.
fn spread<'e>(entries: &[&'e LedgerEntry], amount: i64) -> Vec<(&'e LedgerEntry, i64)> {
    let room = |e: &LedgerEntry| match amount.signum() {
        1 => (e.high_nano_usd - e.cost_nano_usd).max(0),
        _ => (e.cost_nano_usd - e.low_nano_usd).max(0),
    };
    let total: i128 = entries.iter().map(|e| i128::from(room(e))).sum();
    if total == 0 || amount == 0 {
        return Vec::new();
    }
    let wanted = i128::from(amount.unsigned_abs()).min(total);
    let mut left = wanted;
    let mut parts = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let last = i + 1 == entries.len();
        let part = if last { left } else { wanted * i128::from(room(entry)) / total };
        let part = part.min(i128::from(room(entry))).min(left);
        left -= part;
        parts.push((*entry, i64::try_from(part).unwrap_or(i64::MAX) * amount.signum()));
    }
    // What rounding left over goes where there is room still.
    for (entry, part) in &mut parts {
        let more = left.min(i128::from(room(entry)) - i128::from(part.unsigned_abs()));
        *part += i64::try_from(more).unwrap_or(0) * amount.signum();
        left -= more;
    }
    parts
}
