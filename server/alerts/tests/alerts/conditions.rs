//! Each condition, from what the gateway sees to what is told.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;
use tollgate_alerts::{
    Alerts, Budget, Condition, ExpiringKey, Facts, LedgerMode, Observer, Options, Rule, Severity, Timing, Turns,
};
use tollgate_domain::timestamp;
use tollgate_proto::v1::{Attempt, AuditRecord, BudgetAlert, ErrorReason, Routing};

use crate::{
    channels::{pagerduty, read_pagerduty},
    support::Receiver,
};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const WEEK: i64 = 7 * 24 * HOUR;
/// When it begins: far enough from the epoch for former weeks.
const BEGIN: i64 = 100 * WEEK;

/// What the gateway knows, as a test wants it.
#[derive(Clone)]
struct World(Arc<Mutex<State>>);

struct State {
    now_us: i64,
    degraded: bool,
    budget: Option<Budget>,
    key: Option<ExpiringKey>,
    /// What each hour that ended so many microseconds ago has cost.
    spent: Vec<(i64, i64)>,
}

#[async_trait]
impl Facts for World {
    fn now_us(&self) -> i64 {
        self.0.lock().now_us
    }

    fn ledger(&self) -> LedgerMode {
        LedgerMode { name: "postgres_gone".into(), degraded: self.0.lock().degraded }
    }

    fn budget(&self, id: &str) -> Option<Budget> {
        self.0.lock().budget.clone().filter(|budget| budget.id == id)
    }

    fn keys_ending_before(&self, us: i64) -> Vec<ExpiringKey> {
        self.0.lock().key.clone().into_iter().filter(|key| key.expire_us < us).collect()
    }

    async fn spent(&self, _: i64, end_us: i64) -> Result<i64, String> {
        let state = self.0.lock();
        let ago = state.now_us - end_us;
        Ok(state.spent.iter().find(|(back, _)| *back == ago).map_or(0, |(_, spent)| *spent))
    }
}

struct Scene {
    world: World,
    observer: Observer,
    pager: Receiver,
}

impl Scene {
    async fn of(condition: Condition) -> Self {
        Self::with(condition, None).await
    }

    async fn with(condition: Condition, turns: Option<Arc<dyn Turns>>) -> Self {
        let state = State { now_us: BEGIN, degraded: false, budget: None, key: None, spent: Vec::new() };
        let world = World(Arc::new(Mutex::new(state)));
        let pager = Receiver::start(read_pagerduty, StatusCode::ACCEPTED, "{}").await;
        let mut rule = Rule::new("rule", condition, Severity::Warning);
        rule.timing = Timing { lasting: Duration::ZERO, settled: Duration::ZERO, cooldown: Duration::ZERO };
        let options = Options {
            source: "gateway-1".into(),
            channels: vec![pagerduty(&pager)],
            rules: vec![rule],
            every: Duration::from_millis(10),
        };
        let (alerts, observer) = Alerts::open(options).unwrap();
        tokio::spawn(alerts.watch(Arc::new(world.clone()), turns));
        Self { world, observer, pager }
    }

    fn is(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.world.0.lock());
    }

    fn call(&self, change: impl FnOnce(&mut AuditRecord)) {
        let attempt = |provider: &str, class: &str| Attempt {
            provider: provider.into(),
            deployment: format!("{provider}/m"),
            class: class.into(),
            ..Attempt::default()
        };
        let mut record = AuditRecord {
            time: Some(timestamp(self.world.now_us())),
            call_id: "call".into(),
            key_id: "key_1".into(),
            model: "fast".into(),
            duration_us: SECOND,
            routing: Some(Routing { attempts: vec![attempt("openai", "ok")], ..Routing::default() }),
            ..AuditRecord::default()
        };
        change(&mut record);
        self.observer.record(&Arc::new(record));
    }

    /// What is told next: its action and, where it begins, its summary.
    async fn tells(&self, nth: usize) -> (String, String) {
        let told = self.pager.takes(nth).await.remove(nth - 1);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&told["event_action"]), text(&told["payload"]["summary"]))
    }
}

fn attempts(classes: &[(&str, &str)]) -> impl FnOnce(&mut AuditRecord) {
    let attempt = |(provider, class): &(&str, &str)| Attempt {
        provider: (*provider).into(),
        deployment: format!("{provider}/m"),
        class: (*class).into(),
        ..Attempt::default()
    };
    let attempts = classes.iter().map(attempt).collect();
    move |record| record.routing = Some(Routing { attempts, ..Routing::default() })
}

#[tokio::test]
async fn a_provider_that_fails_is_told_of_and_that_it_is_back() {
    let window = Duration::from_secs(300);
    let scene = Scene::of(Condition::ProviderFailures { percent: 50, window, least: 10 }).await;
    (0..5).for_each(|_| scene.call(|_| {}));
    (0..5).for_each(|_| scene.call(attempts(&[("openai", "server_error"), ("anthropic", "ok")])));
    let (action, summary) = scene.tells(1).await;
    assert_eq!((action.as_str(), summary.as_str()), ("trigger", "50 % of 10 attempts at the provider openai failed"));
    scene.is(|state| state.now_us += 400 * SECOND);
    assert_eq!(scene.tells(2).await.0, "resolve");
}

#[tokio::test]
async fn too_many_fallbacks_are_told_of() {
    let window = Duration::from_secs(300);
    let scene = Scene::of(Condition::Fallbacks { percent: 20, window, least: 5 }).await;
    (0..4).for_each(|_| scene.call(|_| {}));
    scene.call(attempts(&[("openai", "timeout"), ("anthropic", "ok")]));
    assert_eq!(scene.tells(1).await.1, "20 % of 5 calls of fast went to another deployment than the first");
}

#[tokio::test]
async fn slow_calls_are_told_of() {
    let slow = Condition::SlowCalls {
        over: Duration::from_secs(30),
        percent: 50,
        window: Duration::from_secs(300),
        least: 2,
        models: vec!["fast".into()],
    };
    let scene = Scene::of(slow).await;
    scene.call(|_| {});
    scene.call(|record| record.duration_us = 31 * SECOND);
    assert_eq!(scene.tells(1).await.1, "50 % of 2 calls of fast took longer than 30s");
}

#[tokio::test]
async fn slow_calls_of_another_model_than_the_rule_names_say_nothing() {
    let slow = Condition::SlowCalls {
        over: Duration::from_secs(30),
        percent: 50,
        window: Duration::from_secs(300),
        least: 2,
        models: vec!["fast".into()],
    };
    let scene = Scene::of(slow).await;
    let slow_one = |model: &'static str| {
        move |record: &mut AuditRecord| {
            record.model = model.into();
            record.duration_us = 31 * SECOND;
        }
    };
    (0..5).for_each(|_| scene.call(slow_one("batch")));
    (0..2).for_each(|_| scene.call(slow_one("fast")));
    // Records are taken in their order, and subjects told in theirs: that of the other would have come first.
    assert_eq!(scene.tells(1).await.1, "100 % of 2 calls of fast took longer than 30s");
    scene.is(|state| state.now_us += 400 * SECOND);
    assert_eq!(scene.tells(2).await.0, "resolve");
    assert_eq!(scene.pager.taken().len(), 2);
}

#[tokio::test]
async fn a_budgets_threshold_is_told_of_until_its_window_is_over() {
    let scene = Scene::of(Condition::BudgetThreshold { from_percent: 80 }).await;
    let budget = |window, spent| {
        Some(Budget { id: "bud_1".into(), name: "team core".into(), window, spent, limit: 10_000_000_000 })
    };
    scene.is(|state| state.budget = budget(1, 8_500_000_000));
    for percent in [50, 80, 100] {
        scene.observer.budget(&BudgetAlert {
            budget_id: "bud_1".into(),
            window: 1,
            percent,
            spent_nano_usd: 8_500_000_000,
            limit_nano_usd: 10_000_000_000,
            ..BudgetAlert::default()
        });
    }
    let (action, summary) = scene.tells(1).await;
    assert_eq!(action, "trigger");
    assert!(summary.starts_with("80 % of the budget team core are spent: 8.5"), "{summary}");
    scene.is(|state| state.budget = budget(2, 0));
    assert_eq!(scene.tells(2).await.0, "resolve");
}

#[tokio::test]
async fn calls_that_a_budget_refuses_are_told_of() {
    let scene = Scene::of(Condition::BudgetExhausted { within: Duration::from_secs(60) }).await;
    scene.call(|record| record.error_reason = ErrorReason::BudgetExhausted as i32);
    assert_eq!(scene.tells(1).await.1, "calls of the key key_1 are refused: a budget of theirs is exhausted");
    scene.is(|state| state.now_us += 120 * SECOND);
    assert_eq!(scene.tells(2).await.0, "resolve");
}

#[tokio::test]
async fn an_hour_that_stands_out_from_former_weeks_is_told_of() {
    let scene = Scene::of(Condition::SpendAnomaly { percent: 300, least: 1_000_000_000, weeks: 3 }).await;
    // It is looked at as soon as it is watched, then every five minutes: so this is there from the start.
    scene.is(|state| {
        state.spent =
            vec![(0, 40_000_000_000), (WEEK, 9_000_000_000), (2 * WEEK, 10_000_000_000), (3 * WEEK, 500_000_000_000)];
    });
    let summary = scene.tells(1).await.1;
    assert!(summary.starts_with("the last hour cost 40"), "{summary}");
    assert!(summary.contains("hour of the week 10"), "{summary}");
}

#[tokio::test]
async fn a_ledger_that_goes_without_its_store_is_told_of() {
    let scene = Scene::of(Condition::LedgerDegraded).await;
    scene.is(|state| state.degraded = true);
    assert_eq!(scene.tells(1).await.1, "the ledger is in the mode postgres_gone");
    scene.is(|state| state.degraded = false);
    assert_eq!(scene.tells(2).await.0, "resolve");
}

#[tokio::test]
async fn a_key_that_ends_soon_is_told_of_until_it_is_renewed() {
    let scene = Scene::of(Condition::KeyExpiring { within: Duration::from_secs(3_600) }).await;
    let key = |expire_us| Some(ExpiringKey { id: "key_1".into(), name: "ci".into(), expire_us });
    scene.is(|state| state.key = key(BEGIN + HOUR / 2));
    let summary = scene.tells(1).await.1;
    assert!(summary.starts_with("the key ci (key_1) ends at 19"), "{summary}");
    scene.is(|state| state.key = key(BEGIN + 100 * HOUR));
    assert_eq!(scene.tells(2).await.0, "resolve");
}

/// Where two replicas meet, with time as a test wants it.
#[derive(Default)]
struct Meeting {
    now_us: i64,
    /// Who may tell what, and until when.
    claims: BTreeMap<String, (&'static str, i64)>,
    /// Who asked, and when.
    asked: Vec<(&'static str, i64)>,
}

struct Claimant {
    name: &'static str,
    meeting: Arc<Mutex<Meeting>>,
}

#[async_trait]
impl Turns for Claimant {
    async fn is_ours(&self, what: &str, how_long: Duration) -> bool {
        let mut meeting = self.meeting.lock();
        let now_us = meeting.now_us;
        meeting.asked.push((self.name, now_us));
        let is_others = |(owner, until): &(&str, i64)| *owner != self.name && *until > now_us;
        if meeting.claims.get(what).is_some_and(is_others) {
            return false;
        }
        let until_us = now_us + i64::try_from(how_long.as_micros()).unwrap();
        meeting.claims.insert(what.to_owned(), (self.name, until_us));
        true
    }
}

/// Two replicas that see a degraded ledger; the first tells it.
struct Replicas {
    meeting: Arc<Mutex<Meeting>>,
    first: Scene,
    second: Scene,
}

impl Replicas {
    async fn start() -> Self {
        let meeting = Arc::new(Mutex::new(Meeting { now_us: BEGIN, ..Meeting::default() }));
        let claimant = |name| Some(Arc::new(Claimant { name, meeting: meeting.clone() }) as Arc<dyn Turns>);
        let first = Scene::with(Condition::LedgerDegraded, claimant("first")).await;
        let second = Scene::with(Condition::LedgerDegraded, claimant("second")).await;
        first.is(|state| state.degraded = true);
        assert_eq!(first.tells(1).await.0, "trigger");
        second.is(|state| state.degraded = true);
        let replicas = Self { meeting, first, second };
        replicas.asks("second").await;
        replicas
    }

    /// Time passes, for all of them.
    fn passes(&self, seconds: i64) {
        self.meeting.lock().now_us += seconds * SECOND;
        for scene in [&self.first, &self.second] {
            scene.is(|state| state.now_us += seconds * SECOND);
        }
    }

    /// Waits until this one has asked whether it is to tell, at the time that it is now.
    async fn asks(&self, who: &str) {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let has_asked = {
                let meeting = self.meeting.lock();
                meeting.asked.iter().any(|(name, at_us)| *name == who && *at_us == meeting.now_us)
            };
            if has_asked {
                return;
            }
            assert!(Instant::now() < until, "{who} does not ask");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn what_one_replica_tells_no_other_does_however_long_it_goes_on() {
    let replicas = Replicas::start().await;
    // Ten times as long as a claim lasts that is not renewed.
    for _ in 0..20 {
        replicas.passes(30);
        replicas.asks("first").await;
        replicas.asks("second").await;
    }
    assert!(replicas.second.pager.taken().is_empty());
    assert_eq!(replicas.first.pager.taken().len(), 1);
    replicas.second.is(|state| state.degraded = false);
    replicas.first.is(|state| state.degraded = false);
    assert_eq!(replicas.first.tells(2).await.0, "resolve");
    assert!(replicas.second.pager.taken().is_empty(), "its end is told by who told it");
}

#[tokio::test]
async fn what_the_replica_that_told_it_sees_no_more_is_told_by_one_that_still_does() {
    let replicas = Replicas::start().await;
    replicas.first.is(|state| state.degraded = false);
    assert_eq!(replicas.first.tells(2).await.0, "resolve");
    replicas.passes(120);
    assert_eq!(replicas.second.tells(1).await.0, "trigger", "it still fails there");
    replicas.second.is(|state| state.degraded = false);
    assert_eq!(replicas.second.tells(2).await.0, "resolve");
}
