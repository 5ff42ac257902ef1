//! Part 8 of the series: what its example promises, in a smaller size and with a margin.

use lal::run::settings::Settings;

#[path = "../examples/08_fine_tuning.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod stages;

/// In seconds a small model does not learn to find answers, but every stage moves it to where it should, and the one
/// that nothing holds back goes the furthest.
#[test]
fn every_stage_begins_with_one_model_and_moves_it() {
    let shape = Settings { n_layer: Some(2), n_embd: Some(64), ..Settings::default() };
    let size = stages::Size {
        shape,
        pretraining: 100,
        sft: 100,
        reward: 200,
        dpo: 40,
        policy: 24,
        policy_without_kl: 120,
        revision: 60,
        prompts: 160,
        questions: 40,
        seed: 1,
    };
    let found = stages::run(size).unwrap();
    let [sft, ppo, _, _, revised, free] = &found.outcomes[..] else {
        panic!("{} stages", found.outcomes.len())
    };
    // Of a model from itself.
    let [sft, ppo, revised, free] = [sft, ppo, revised, free].map(|stage| stage.sampled.as_ref().unwrap());
    assert_eq!(sft.kl, 0.0);
    // Guessing is right in half of all pairs.
    assert!(found.reward_model.accuracy > 0.75, "{}", found.reward_model);
    assert!(found.preferred > 0.6, "{}", found.preferred);
    let (first, last) = (found.rewards.first().unwrap()[0], found.rewards.last().unwrap()[0]);
    assert!(last > first, "{first} {last}");
    let (before, spread) = (sft.grades.reward, sft.grades.reward_std);
    let [revised, unheld] = [revised, free].map(|stage| stage.grades.reward);
    assert!(revised > before + 0.5 * spread, "{revised} {before}");
    assert!(unheld > before + spread, "{unheld} {before}");
    assert!(free.kl > 0.5 && free.kl > 4.0 * ppo.kl, "{} {}", free.kl, ppo.kl);
}
