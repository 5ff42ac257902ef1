//! Bars that show how far things are, always below what is printed.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
/// Those that are drawn. Who prints or draws holds it.
static DRAWN: Mutex<Vec<ProgressBar>> = Mutex::new(Vec::new());

fn drawn() -> MutexGuard<'static, Vec<ProgressBar>> {
    // A thread that panicked while it printed left the list as it was.
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bar on standard error, taken away when it is dropped; or none, where there is no person to see it.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    pub fn hidden() -> Self {
        Self(None)
    }

    /// A bar of this look; see [`ProgressStyle::with_template`].
    pub fn new(template: &str) -> Self {
        let mut drawn = drawn();
        let bar = BARS.add(ProgressBar::no_length());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        drawn.push(bar.clone());
        Self(Some(bar))
    }

    /// So much of it all is done.
    pub fn at(&self, done: u64, of: u64) {
        if let Some(bar) = &self.0 {
            let _drawn = drawn();
            bar.set_length(of);
            bar.set_position(done);
        }
    }

    pub fn say(&self, message: String) {
        if let Some(bar) = &self.0 {
            let _drawn = drawn();
            bar.set_message(message);
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.0.take() {
            let mut drawn = drawn();
            bar.finish_and_clear();
            BARS.remove(&bar);
            drawn.retain(|other| !other.is_finished());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Prints something where the bars stand, and draws them below it. ([`MultiProgress::suspend`] panics where the
/// terminal has hung up.)
pub fn aside<T>(print: impl FnOnce() -> T) -> T {
    let drawn = drawn();
    if !drawn.is_empty() {
        let _ = BARS.clear();
    }
    let result = print();
    drawn.iter().for_each(ProgressBar::tick);
    result
}

/// Takes all bars away for good: the program ends.
pub fn clear_all() {
    let mut drawn = drawn();
    if !drawn.is_empty() {
        let _ = BARS.clear();
        BARS.set_draw_target(ProgressDrawTarget::hidden());
        drawn.clear();
    }
}
