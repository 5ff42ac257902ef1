//! Numbers and their names: rates at the ends of a schedule, settings as 32-bit numbers, units and legends of pictures,
//! and checkpoints that are kept when a training diverges.

mod support;

use std::fs;
use std::path::Path;

use predicates::str::contains;
use support::{base, events, file, lal, tiny};

const SHAPE: [&str; 8] = ["--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--block-size", "8"];

fn picture(run: &Path) -> String {
    fs::read_to_string(run.join("loss.svg")).unwrap()
}

#[test]
fn the_warm_up_ends_at_the_peak_and_the_run_at_its_lowest_rate() {
    let folder = tempfile::tempdir().unwrap();
    for (schedule, last) in [("constant", 0.25), ("linear", 0.0625), ("cosine", 0.0625), ("wsd", 0.0625)] {
        let mut train = tiny(&["train"], "tales", &folder.path().join(schedule));
        train.args(SHAPE).args(["--steps", "8", "--warmup-steps", "2", "--schedule", schedule]);
        let told = events(train.args(["--learning-rate", "0.25", "--min-learning-rate", "0.0625"]));
        let rates: Vec<_> = told.iter().filter_map(|e| e["learning_rate"].as_f64()).collect();
        assert_eq!(
            (rates.len(), rates[0], rates[1], rates[7]),
            (8, 0.125, 0.25, last),
            "{schedule}: {rates:?}"
        );
    }
}

#[test]
fn settings_that_leave_their_range_as_32_bit_numbers_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for [flag, value] in [
        ["beta1", "0.99999999999"],
        ["beta2", "0.99999999999"],
        ["dropout", "0.99999999999"],
        ["learning-rate", "1e-50"],
        ["learning-rate", "1e39"],
        ["grad-clip", "1e-50"],
        ["weight-decay", "1e39"],
    ] {
        let out = folder.path().join("run");
        let mut train = tiny(&["train"], "tales", &out);
        train.args(SHAPE).args([&format!("--{flag}"), value]);
        train.assert().code(2).stderr(contains(flag.replace('-', "_")));
        assert!(!out.exists());
    }
}

#[test]
fn the_legend_has_the_numbers_of_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // With dropout the losses of steps are others than those of estimates.
    let told = events(tiny(&["train"], "tales", &out).args(SHAPE).args(["--dropout", "0.3"]));
    let last = told.iter().rfind(|e| e["event"] == "eval").unwrap();
    let drawn = |run: &Path| {
        for name in ["train", "val"] {
            let legend = format!("{name} {:.4}", last[format!("{name}_loss")].as_f64().unwrap());
            assert!(picture(run).contains(&legend), "{legend}");
        }
    };
    drawn(&out);
    // A resumed run draws what is in metrics.jsonl.
    fs::remove_file(out.join("loss.svg")).unwrap();
    lal().args(["train", "--device", "cpu", "--quiet", "--resume"]).arg(&out).assert().success();
    drawn(&out);
}

#[test]
fn a_picture_names_what_the_loss_is_a_mean_of() {
    let folder = tempfile::tempdir().unwrap();
    let (base, chats) = base(folder.path());
    let pair =
        |i| format!("{{\"prompt\": \"Say {i}!\", \"chosen\": \"It is {i}.\", \"rejected\": \"No.\"}}\n");
    let pairs = file(folder.path(), "pairs.jsonl", &(0..20).map(pair).collect::<String>());
    let has = |run: &Path, unit: &str| {
        let picture = picture(run);
        assert!(picture.contains(unit), "{unit}");
        assert_eq!(picture.matches("loss").count(), 1, "{unit} is the only one");
    };
    has(&base, "loss (nats per token)");
    for (stage, data, more, unit) in [
        ("sft", &chats, "", "loss (nats per token of the answers)"),
        ("reward", &pairs, "", "loss (nats per pair)"),
        ("dpo", &pairs, "", "loss (nats per pair)"),
        ("dpo", &pairs, "ipo", "squared loss (per pair)"),
    ] {
        let out = folder.path().join(format!("{stage}{more}"));
        let mut command = tiny(&["finetune", stage], data, &out);
        command.args(["--steps", "2", "--model"]).arg(&base);
        if !more.is_empty() {
            command.args(["--loss", more]);
        }
        command.assert().success();
        has(&out, unit);
    }
    for (preset, unit) in
        [("bert-mini", "loss (nats per hidden token)"), ("skipgram", "loss (nats per candidate)")]
    {
        let out = folder.path().join(preset);
        let mut train = tiny(&["train", "--preset", preset], "tales", &out);
        train.args(["--n-embd", "8", "--steps", "2"]).assert().success();
        has(&out, unit);
        // The entropy of the text is no floor of such losses.
        assert!(!picture(&out).contains("floor"));
    }
    let next = folder.path().join("next");
    tiny(&["train"], "tales", &next).args(SHAPE).args(["--steps", "2"]).assert().success();
    assert!(picture(&next).contains("floor"));
}

/// With a rate beyond all reason the first update leaves weights that are finite, in a model without norms whose loss
/// is not: the checkpoint before it is kept, and is a model whose loss can be told.
#[test]
fn a_diverging_run_keeps_a_checkpoint_that_is_finite() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut train = tiny(&["train", "--norm", "none", "--n-layer", "3", "--n-head", "2"], "tales", &out);
    train.args(["--n-embd", "8", "--block-size", "8"]).args(["--steps", "3"]).assert().success();
    let mut resumed = lal();
    resumed.args(["train", "--device", "cpu", "--quiet", "--save-every", "1", "--steps", "40"]);
    resumed.args(["--learning-rate", "1e6", "--resume"]).arg(&out);
    let output = resumed.assert().code(1).get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the checkpoint of step 3 is kept") && said.contains("--learning-rate"), "{said}");
    assert!(!std::fs::read_to_string(out.join("metrics.jsonl")).unwrap().contains("NaN"));
    let mut eval = lal();
    let told = events(eval.args(["eval", "--device", "cpu", "--data", "tales", "--model"]).arg(&out));
    assert!(told.last().unwrap()["val_loss"].as_f64().is_some_and(f64::is_finite), "{said} {told:?}");
}
