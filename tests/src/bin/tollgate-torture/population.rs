//! The keys, how their callers behave, and the budgets that cover them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollgate_tests::support::GatewayBuilder;
use tollgate_tests::support::keys::virtual_key;

use crate::evidence::{Budget, Every};
use crate::world::PLAIN;

/// Output limit that the gateway sets where a call under a hard budget names none.
pub(crate) const DEFAULT_CAP: u64 = 64;
/// The longest answer of every model, as configuration says.
pub(crate) const MAX_OUTPUT: u64 = 4_096;
/// A limit that no run reaches: a thousand dollars.
const WIDE: i64 = 1_000_000_000_000;

/// The key that is revoked half-way.
pub(crate) const REVOKED: &str = "revoked";
/// The key whose calls of one model have a budget.
const BY_MODEL: &str = "by-model";
/// The key that has a budget which begins anew in the run.
const BY_MINUTE: &str = "by-minute";

/// How the callers of a key behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// The mix of the whole load.
    Mixed,
    /// Only calls that the provider fails.
    Fails,
    /// Only calls that hang up.
    HangsUp,
    /// Calls with an Idempotency-Key, many of them again.
    Repeats,
    /// Calls without an output limit.
    Uncapped,
    /// Calls with an output limit beyond anything.
    Absurd,
}

/// A key and its caller.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) habit: Habit,
    /// Its team, by name.
    pub(crate) team: &'static str,
    /// Its tag, where it has one.
    pub(crate) tag: Option<&'static str>,
}

/// Teams by name: one that can afford everything, and two that cannot.
pub(crate) const TEAMS: [&str; 3] = ["green", "blue", "grey"];

/// Everybody who calls.
#[derive(Debug, Clone)]
pub(crate) struct Population {
    /// The secret of the key that reads the books.
    pub(crate) admin: String,
    pub(crate) keys: Vec<Key>,
    pub(crate) budgets: Vec<Budget>,
}

impl Population {
    /// So many keys: one of each kind first, then tight and wide ones in turn. Limits that a load of half a minute uses up are `scale` times
    /// as high, so that a longer one is not all refusals. `edge` is a second since 1970, in the run, at which a window ends.
    pub(crate) fn new(count: usize, scale: i64, edge: i64) -> Self {
        use Habit::{Absurd, Fails, HangsUp, Mixed, Repeats, Uncapped};
        // Name, habit, limit in nano-dollars, hard. A call costs about 15,000 and is held at about 70,000.
        let special: [(&str, Habit, i64, bool); 17] = [
            ("tight-a", Mixed, 400_000, true),
            ("wide-a", Mixed, WIDE, true),
            ("soft-a", Mixed, 500_000, false),
            ("fails", Fails, WIDE, true),
            ("hangs-up", HangsUp, WIDE, true),
            ("repeats", Repeats, WIDE, true),
            ("uncapped", Uncapped, 3_000_000, true),
            ("absurd", Absurd, 40_000_000, true),
            ("tight-b", Mixed, 800_000, true),
            ("tight-hangs-up", HangsUp, 1_500_000, true),
            ("tight-fails", Fails, 1_000_000, true),
            ("tight-repeats", Repeats, 1_000_000, true),
            ("soft-b", Mixed, WIDE, false),
            ("nothing", Mixed, 0, true),
            (REVOKED, Mixed, WIDE, true),
            (BY_MODEL, Mixed, WIDE, true),
            (BY_MINUTE, Mixed, WIDE, true),
        ];
        let further = (0..count.saturating_sub(special.len())).map(|at| match at % 3 {
            0 => (format!("tight-{at}"), Mixed, 1_200_000 << (at / 3), true),
            1 => (format!("wide-{at}"), Mixed, WIDE, true),
            _ => (format!("uncapped-{at}"), Uncapped, 2_000_000 << (at / 3), true),
        });
        let special = special.into_iter().map(|(name, habit, limit, hard)| (name.to_owned(), habit, limit, hard));
        let mut population = Population { admin: virtual_key(), keys: Vec::new(), budgets: Vec::new() };
        for (name, habit, limit, hard) in special.chain(further).take(count) {
            let limit = if limit == WIDE { limit } else { limit * scale };
            let (scope, keys) = (format!("key:{name}"), [name.clone()].into());
            population.budgets.push(Budget { hard, ..Budget::over(scope, limit, keys) });
            population.keys.push(Key { name, secret: virtual_key(), habit, team: "", tag: None });
        }
        population.join(scale);
        population.narrow(scale, edge);
        population
    }

    /// Budgets over several keys: teams take turns, a tag is on every third key, everybody is in one organization.
    fn join(&mut self, scale: i64) {
        let all: BTreeSet<String> = self.keys.iter().map(|key| key.name.clone()).collect();
        for (at, key) in self.keys.iter_mut().enumerate() {
            key.team = TEAMS[at % TEAMS.len()];
            key.tag = (at % 3 == 0).then_some("red");
        }
        let mut budget = |scope: String, limit: i64, keys: BTreeSet<String>| {
            self.budgets.push(Budget::over(scope, limit, keys));
        };
        let of =
            |wanted: &dyn Fn(&Key) -> bool| self.keys.iter().filter(|k| wanted(k)).map(|k| k.name.clone()).collect();
        budget("organization".into(), WIDE, all);
        for (team, limit) in TEAMS.into_iter().zip([WIDE, 30_000_000 * scale, 8_000_000 * scale]) {
            budget(format!("team:{team}"), limit, of(&|key| key.team == team));
        }
        budget("tag:red".into(), 60_000_000 * scale, of(&|key| key.tag == Some("red")));
    }

    /// Budgets of one key for some of its calls only: of one model, or of one minute.
    fn narrow(&mut self, scale: i64, edge: i64) {
        let one =
            |name: &str, what: &str, limit| Budget::over(format!("key:{name} {what}"), limit, [name.into()].into());
        let model = Some(PLAIN.to_owned());
        let window = Some(Every { seconds: 60, anchor: edge });
        let known: BTreeSet<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        let narrow = [
            (BY_MODEL, Budget { model, ..one(BY_MODEL, "on one model", 600_000 * scale) }),
            (BY_MINUTE, Budget { window, ..one(BY_MINUTE, "in a minute", 400_000) }),
        ];
        let narrow: Vec<_> = narrow.into_iter().filter(|(key, _)| known.contains(key)).collect();
        self.budgets.extend(narrow.into_iter().map(|(_, budget)| budget));
    }

    /// Writes keys and their budgets into a gateway's configuration.
    pub(crate) fn config(&self, builder: GatewayBuilder) -> GatewayBuilder {
        let mut keys = vec![json!({ "name": "admin", "secret": self.admin, "role": "platform_admin" })];
        for key in &self.keys {
            let own = format!("key:{}", key.name);
            let mut entry = json!({ "name": key.name, "secret": key.secret, "models": ["*"] });
            if let Some(budget) = self.budgets.iter().find(|budget| budget.scope == own) {
                entry["budget_usd"] = dollars(budget.limit).into();
            }
            keys.push(entry);
        }
        builder
            .set("/keys", Value::from(keys))
            .set("/budgets", json!({ "default_output_cap": DEFAULT_CAP, "hold_wait": "1s" }))
    }
}

/// Nano-dollars as configuration wants dollars.
fn dollars(nano: i64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}
