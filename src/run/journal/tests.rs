use std::fs;

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

/// Half a character, zeros, half a line, and what is no metric: what can be read is kept, in its order.
#[test]
fn a_damaged_journal_is_repaired() {
    let run = tempfile::tempdir().unwrap();
    let spoil = |name: &str, parts: &[&[u8]]| fs::write(run.path().join(name), parts.concat()).unwrap();
    let (one, two) = (b"{\"step\":1}\n", b"{\"step\":2,\"loss\":4.0}\n");
    spoil(
        METRICS,
        &[
            one,
            b"nonsense\n[1]\n{\"step\":9,\"te\xff\n",
            &[0; 40],
            b"\n{\"step\":7}\n",
            two,
            b"{\"st",
            &[0; 8],
        ],
    );
    let text = "=== after step 2\na caf\u{e9}\n\n=== after step 4\nb\n\n";
    let (before, after) = text.as_bytes().split_at(text.find("\n\n").unwrap());
    spoil(SAMPLES, &[before, b"\xc3", after, &[0; 100]]);
    let mut journal = Journal::open(run.path(), 3).unwrap();
    let [metrics, samples] = &journal.remarks[..] else { panic!("{:?}", journal.remarks) };
    assert!(metrics.contains("metrics.jsonl") && metrics.contains("5 lines"), "{metrics}");
    assert!(samples.contains("samples.txt") && samples.contains("101 bytes"), "{samples}");
    journal.metric(&json!({"step": 3})).unwrap();
    let read = |name: &str| fs::read(run.path().join(name)).unwrap();
    assert_eq!(read(METRICS), [&one[..], two, b"{\"step\":3}\n"].concat());
    assert_eq!(String::from_utf8(read(SAMPLES)).unwrap(), "=== after step 2\na caf\u{e9}\n\n");
    assert_eq!(read_metrics(run.path()).unwrap().len(), 3);
    assert!(Journal::open(run.path(), 3).unwrap().remarks.is_empty());
}

/// The last line of a killed process is no damage.
#[test]
fn half_a_line_at_the_end_is_passed_over_without_a_remark() {
    let run = tempfile::tempdir().unwrap();
    fs::write(run.path().join(METRICS), "{\"step\":1}\n{\"step\"").unwrap();
    assert!(Journal::open(run.path(), 1).unwrap().remarks.is_empty());
    assert_eq!(fs::read_to_string(run.path().join(METRICS)).unwrap(), "{\"step\":1}\n");
}

#[cfg(unix)]
#[test]
fn what_is_linked_to_is_read_and_not_written() {
    let run = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let outer = |name: &str| elsewhere.path().join(name);
    let own = |name: &str| run.path().join(name);
    for (name, text) in [(METRICS, "{\"step\":1}\n"), (SAMPLES, "=== after step 1\na\n\n")] {
        fs::write(outer(name), text).unwrap();
    }
    std::os::unix::fs::symlink(outer(METRICS), own(METRICS)).unwrap();
    fs::hard_link(outer(SAMPLES), own(SAMPLES)).unwrap();
    let mut journal = Journal::open(run.path(), 1).unwrap();
    journal.metric(&json!({"step": 2})).unwrap();
    journal.sample(2, "b").unwrap();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!(read(own(METRICS)), read(outer(METRICS)) + "{\"step\":2}\n");
    assert_eq!(read(own(SAMPLES)), read(outer(SAMPLES)) + "=== after step 2\nb\n\n");
}
