use serde_json::json;

use super::*;

#[test]
fn a_resumed_journal_goes_back_to_its_checkpoint() {
    let run = tempfile::tempdir().unwrap();
    let write = |journal: &mut Journal, steps: std::ops::RangeInclusive<u64>| {
        for step in steps {
            journal.metric(&json!({"event": "step", "step": step, "loss": 4.0})).unwrap();
            journal.sample(step, &format!("text of {step}\n=== or so")).unwrap();
        }
        journal.sync().unwrap();
    };
    write(&mut Journal::open(run.path(), 0).unwrap(), 1..=5);
    let unbroken = [METRICS, SAMPLES].map(|name| fs::read_to_string(run.path().join(name)).unwrap());
    // Killed in the middle of a line.
    let half = run.path().join(METRICS);
    fs::write(&half, unbroken[0].clone() + "{\"event\":\"st").unwrap();
    write(&mut Journal::open(run.path(), 3).unwrap(), 4..=5);
    let resumed = [METRICS, SAMPLES].map(|name| fs::read_to_string(run.path().join(name)).unwrap());
    assert_eq!(resumed, unbroken);
    assert_eq!(read_metrics(run.path()).unwrap()[4]["step"], 5);
}

#[test]
fn a_spoilt_journal_is_named_by_line() {
    let run = tempfile::tempdir().unwrap();
    fs::write(run.path().join(METRICS), "{\"step\":1}\nnonsense\n").unwrap();
    let error = Journal::open(run.path(), 9).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl, line 2"), "{error}");
}
