//! Part 8 of the series: what its example promises, in a smaller size and with a margin.

use lal::run::settings::Settings;

#[path = "../examples/08_fine_tuning.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod stages;

/// In seconds a small model learns no facts, but it does learn manners, and every stage must say what it changed.
#[test]
fn stages_begin_with_one_model_and_make_it_kinder() {
    let shape = Settings { n_layer: Some(2), n_embd: Some(64), ..Settings::default() };
    let size = stages::Size {
        shape,
        pretraining: 100,
        sft: 100,
        reward: 40,
        dpo: 40,
        policy: 24,
        revision: 60,
        comparisons: 640,
        questions: 40,
        seed: 1,
    };
    let found = stages::run(size).unwrap();
    let names: Vec<&str> = found.outcomes.iter().map(|outcome| outcome.stage).collect();
    println!("{names:?}");
    for o in &found.outcomes {
        println!("{} {:?} {} {} {} {}", o.stage, o.tally, o.violations, o.reward, o.spread, o.kl);
    }
    println!("{} {} {:?}", found.reward_model, found.preferred, found.rewards);
}
