use rand_chacha::rand_core::SeedableRng;

use super::*;

const LOGITS: [f32; 8] = [1.5, -0.5, 3.0, 0.25, 2.5, -2.0, 2.25, 0.0];
const RECENT: [u32; 4] = [2, 1, 2, 7];

fn considered(strategy: Strategy, logits: &[f32]) -> Vec<Candidate> {
    let mut sampler = Sampler::new(strategy).unwrap();
    sampler.consider(logits, &RECENT).unwrap();
    sampler.candidates(usize::MAX).to_vec()
}

fn plain() -> Strategy {
    Strategy::default()
}

/// Computed by the logits processors of transformers 5.23 with PyTorch 2.15.
#[test]
fn candidates_are_those_of_transformers() {
    let three = vec![(2, 0.481_024_3), (4, 0.291_756), (6, 0.227_219_8)];
    let mixed = Strategy {
        temperature: 0.8,
        top_k: Some(6),
        top_p: Some(0.9),
        min_p: Some(0.15),
        repetition_penalty: 1.5,
    };
    let encouraged = Strategy {
        temperature: 1.3,
        top_k: Some(5),
        top_p: Some(0.95),
        min_p: Some(0.1),
        repetition_penalty: 0.7,
    };
    let cases: [(Strategy, Vec<(u32, f32)>); 8] = [
        (
            plain(),
            vec![
                (2, 0.407_717_6),
                (4, 0.247_293_2),
                (6, 0.192_592_2),
                (0, 0.090_974_1),
                (3, 0.026_064_5),
                (7, 0.020_299_1),
                (1, 0.012_312),
                (5, 0.002_747_2),
            ],
        ),
        (
            Strategy { temperature: 0.5, ..plain() },
            vec![
                (2, 0.606_678_5),
                (4, 0.223_184_6),
                (6, 0.135_368_3),
                (0, 0.030_204_7),
                (3, 0.002_479_4),
                (7, 0.001_503_8),
                (1, 0.000_553_2),
                (5, 0.000_027_5),
            ],
        ),
        (Strategy { top_k: Some(3), ..plain() }, three.clone()),
        (Strategy { top_p: Some(0.8), ..plain() }, three.clone()),
        (Strategy { min_p: Some(0.3), ..plain() }, three),
        (
            Strategy { repetition_penalty: 1.5, ..plain() },
            vec![
                (4, 0.334_383_5),
                (6, 0.260_418_1),
                (2, 0.202_813_8),
                (0, 0.123_012_8),
                (3, 0.035_243_8),
                (7, 0.027_447_9),
                (1, 0.012_965_5),
                (5, 0.003_714_7),
            ],
        ),
        (mixed, vec![(4, 0.391_637_4), (6, 0.286_528_1), (2, 0.209_628_4), (0, 0.112_206)]),
        (encouraged, vec![(2, 0.633_152_1), (4, 0.160_306), (6, 0.132_260_9), (0, 0.074_280_9)]),
    ];
    for (strategy, expected) in cases {
        let candidates = considered(strategy.clone(), &LOGITS);
        let ids: Vec<_> = candidates.iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, expected.iter().map(|&(id, _)| id).collect::<Vec<_>>(), "{strategy:?}");
        for (candidate, (_, probability)) in candidates.iter().zip(expected) {
            assert!((candidate.probability - probability).abs() < 3e-7, "{strategy:?}: {candidate:?}");
        }
    }
}

#[test]
fn greedy_takes_the_greatest_and_of_equals_the_first() {
    let greedy = || Strategy { temperature: 0.0, ..plain() };
    assert_eq!(considered(greedy(), &LOGITS), [Candidate { id: 2, probability: 1.0 }]);
    assert_eq!(considered(greedy(), &[-0.0, 0.0, -1.0])[0].id, 0);
    let penalised = Strategy { repetition_penalty: 2.0, ..greedy() };
    assert_eq!(considered(penalised, &LOGITS)[0].id, 4);
}

#[test]
fn equals_at_an_edge_keep_the_lower_ids() {
    let logits = [1.0; 100];
    for strategy in [Strategy { top_k: Some(25), ..plain() }, Strategy { top_p: Some(0.249), ..plain() }] {
        let ids: Vec<_> = considered(strategy, &logits).iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, (0..25).collect::<Vec<_>>());
    }
}

/// The cold never overflows, and the smallest nucleus or share leaves one.
#[test]
fn extremes_leave_something_to_draw() {
    let logits = [3e38, -3e38, 1.0];
    for strategy in [
        Strategy { temperature: 1e-40, ..plain() },
        Strategy { top_p: Some(1e-9), ..plain() },
        Strategy { min_p: Some(1.0), ..plain() },
        Strategy { top_k: Some(1), ..plain() },
        Strategy { repetition_penalty: 1e-30, top_k: Some(1), ..plain() },
    ] {
        let candidates = considered(strategy, &logits);
        assert_eq!(candidates[0].probability, 1.0, "{candidates:?}");
        assert!(candidates[1..].iter().all(|candidate| candidate.probability == 0.0), "{candidates:?}");
    }
    assert_eq!(considered(Strategy { top_k: Some(99), ..plain() }, &logits).len(), 3);
}

#[test]
fn draws_are_as_frequent_as_probable_and_repeat_with_their_seed() {
    let mut sampler = Sampler::new(plain()).unwrap();
    let mut draw = |seed, n: u32| -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| sampler.next(&LOGITS, &[], &mut rng).unwrap()).collect()
    };
    assert_eq!(draw(7, 100), draw(7, 100));
    assert_ne!(draw(7, 100), draw(8, 100));
    let drawn = draw(1, 100_000);
    for candidate in considered(plain(), &LOGITS) {
        let count = drawn.iter().filter(|&&id| id == candidate.id).count() as f32;
        let spread = (1e5 * candidate.probability).sqrt();
        assert!((count - 1e5 * candidate.probability).abs() < 4.0 * spread, "{candidate:?}: {count}");
    }
}

#[test]
fn to_ask_for_the_candidates_changes_no_draw() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 7919 % 1000) as f32 / 500.0).collect();
    let draw = |ask| {
        let mut sampler = Sampler::new(plain()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        (0..100)
            .map(|_| {
                sampler.consider(&logits, &[]).unwrap();
                if ask {
                    let top = sampler.candidates(5);
                    assert!(top.len() == 5 && top.is_sorted_by(|a, b| a.probability >= b.probability));
                }
                sampler.draw(&mut rng)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(true), draw(false));
}

#[test]
fn logits_that_are_not_numbers_are_named() {
    let mut sampler = Sampler::new(plain()).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = sampler.consider(&[0.0, value], &[]).unwrap_err().to_string();
        assert!(error.contains("token 1"), "{error}");
    }
    assert_eq!(sampler.consider(&[], &[]), Err(StrategyError::Empty));
}

#[test]
fn values_outside_their_range_are_named() {
    for (strategy, flag) in [
        (Strategy { temperature: -0.1, ..plain() }, "--temperature -0.1"),
        (Strategy { temperature: f32::NAN, ..plain() }, "--temperature NaN"),
        (Strategy { top_k: Some(0), ..plain() }, "--top-k 0"),
        (Strategy { top_p: Some(0.0), ..plain() }, "--top-p 0"),
        (Strategy { top_p: Some(1.5), ..plain() }, "--top-p 1.5"),
        (Strategy { min_p: Some(-1.0), ..plain() }, "--min-p -1"),
        (Strategy { repetition_penalty: 0.0, ..plain() }, "--repetition-penalty 0"),
    ] {
        let error = Sampler::new(strategy).unwrap_err().to_string();
        assert!(error.starts_with(flag) && error.contains("range: "), "{error}");
    }
}

#[test]
fn a_device_draws_what_needs_no_memory_of_the_text() {
    let rule = |strategy| Sampler::new(strategy).unwrap().rule(8);
    let all = rule(plain()).unwrap();
    assert_eq!((all.known, all.top_k, all.top_p, all.min_p), (8, 8, 1.0, 0.0));
    let greedy = rule(Strategy { top_p: Some(0.2), ..Strategy::greedy() }).unwrap();
    assert_eq!((greedy.top_k, greedy.temperature, greedy.top_p), (1, 1.0, 1.0));
    // Below the least normal number a device may read 0.
    for other in [Strategy { repetition_penalty: 1.1, ..plain() }, Strategy { temperature: 1e-40, ..plain() }]
    {
        assert_eq!(rule(other), None);
    }
    assert_eq!(Sampler::new(plain()).unwrap().rule((1 << 24) + 1), None);
}
