//! What each stage of fine-tuning does where nothing else is asked for.
//!
//! Stages that compare a model with what it was, or two of its answers with each other, drop nothing out, as in TRL:
//! else the model would differ from its reference before it has learned anything.

use super::comparisons::TALES_PAIRS_HELD_OUT;
use crate::optim::Optimizer;
use crate::run::settings::Settings;

/// Demonstrations.
pub fn sft() -> Settings {
    Settings {
        steps: Some(1000),
        batch_size: Some(12),
        // Of a base that was pretrained on batches of half a million tokens as well.
        grad_accum: Some(1),
        learning_rate: Some(5e-4),
        warmup_steps: Some(50),
        weight_decay: Some(0.0),
        eval_every: Some(100),
        save_every: Some(500),
        sample_tokens: Some(60),
        ..Settings::default()
    }
}

/// The same for the many thousand conversations about tales. A model learns first what kind of word answers a
/// question; then, after some hundred steps and rather suddenly, to find such a word in the tale; and last to tell
/// whose it is, and that somebody is not in the tale at all. At a low rate, or with few steps, it does not get there.
pub fn sft_on_tales() -> Settings {
    Settings {
        steps: Some(2000),
        batch_size: Some(4),
        optimizer: Some(Optimizer::Muon),
        learning_rate: Some(3e-3),
        eval_every: Some(250),
        ..sft()
    }
}

/// The same for demonstrations of people who err. Half of these begin with a reminder, in the place of some questions:
/// it takes twice the steps.
pub fn sft_on_demonstrations() -> Settings {
    Settings { steps: Some(4000), ..sft_on_tales() }
}

/// Scores of answers, from pairs.
pub fn reward() -> Settings {
    Settings {
        steps: Some(1200),
        batch_size: Some(16),
        dropout: Some(0.0),
        eval_iters: Some(TALES_PAIRS_HELD_OUT.div_ceil(16)),
        // Its head gives rewards, and no longer text worth reading.
        sample_tokens: Some(0),
        ..sft()
    }
}

/// Preferences, from pairs.
pub fn dpo() -> Settings {
    Settings {
        steps: Some(500),
        batch_size: Some(16),
        dropout: Some(0.0),
        learning_rate: Some(2e-4),
        warmup_steps: Some(20),
        eval_iters: Some(TALES_PAIRS_HELD_OUT.div_ceil(16)),
        ..sft()
    }
}

/// Rewards of its own replies.
pub fn policy() -> Settings {
    Settings {
        steps: Some(320),
        batch_size: Some(16),
        dropout: Some(0.0),
        learning_rate: Some(2e-4),
        warmup_steps: Some(10),
        save_every: Some(100),
        ..sft()
    }
}

/// Its own replies as principles revise them.
pub fn revision() -> Settings {
    Settings { steps: Some(800), optimizer: Some(Optimizer::Muon), learning_rate: Some(1.5e-3), ..sft() }
}
