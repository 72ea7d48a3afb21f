//! The load kit, in small: what it finds out is checked here, what it measures is not.

use serde_json::{Value, json};

#[tokio::test]
async fn every_record_is_accounted_for_behind_a_sink_that_is_stuck() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("sinks.json");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate-load"));
    command.args(["sinks", "--only", "webhook,sentry,stdout", "--rounds", "1", "--unpinned"]);
    command.args(["--callers", "4", "--calls", "60", "--seconds", "10", "--rate", "1000", "--json"]).arg(&report);
    let done = command.kill_on_drop(true).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let rows = told["rows"].as_array().unwrap();
    let cases: Vec<_> =
        rows.iter().map(|row| (row["sink"].as_str().unwrap(), row["receiver"].as_str().unwrap())).collect();
    let expected = [
        ("no sink", "none: the noise"),
        ("sentry", "stalls"),
        ("sentry", "refuses"),
        ("webhook", "stalls"),
        ("webhook", "refuses"),
        ("stdout", "stalls"),
        ("stdout", "refuses"),
        ("webhook", "stalls, disk full"),
    ];
    assert_eq!(cases, expected);
    for row in &rows[1..] {
        let count = |name: &str| row["account"][name].as_u64().unwrap();
        let records = ["sent", "in_memory", "on_disk", "dropped"].map(count).iter().sum::<u64>();
        assert_eq!(
            (json!(records), count("dropped") > 0),
            (row["calls"].clone(), row["receiver"] == "stalls, disk full"),
            "{row}"
        );
    }
}
