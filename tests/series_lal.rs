//! The last part of the series: what its example promises, in a smaller size and with a margin.

use lal::run::settings::Settings;

#[path = "../examples/09_lal.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod arc;

/// In seconds a small model learns what kind of word comes next and what kind of answer is wanted, though not yet to
/// find the answer in the tale.
#[test]
fn a_model_of_tales_learns_to_answer() {
    let steps = |steps| Settings { steps: Some(steps), warmup_steps: Some(10), ..Settings::default() };
    let small = Settings { n_layer: Some(2), n_embd: Some(64), ..steps(100) };
    let finetuning = Settings { learning_rate: Some(1.5e-3), ..steps(100) };
    let size = arc::Size { pretraining: small, finetuning, conversations: 1500, questions: 30 };
    let found = arc::run(size).unwrap();
    // Single words, without regard to what precedes them, take more than 5 nats.
    assert!(found.floor < found.val_loss && found.val_loss < 3.0, "{} {}", found.floor, found.val_loss);
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&found.losses[..5]), mean(&found.losses[95..]));
    assert!(last < 0.25 * first, "{first} {last}");
    assert_eq!(found.before, 0.0);
    // Whatever is asked, the model no longer tells on: it answers in a sentence, and ends.
    assert!(found.said[1].ends_with('.') && found.said[1].len() < 40, "{:?}", found.said);
    assert_eq!(found.talk.len(), 3);
}
