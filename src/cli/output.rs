//! The output flags of every command, and the one place that writes output.

use std::borrow::Cow;
use std::io::{Error, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::bars::{self, Bar};
use super::visible::{visible, visible_json};

/// Results go to standard output, progress and remarks to standard error.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// Print one JSON object per line instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress and no remarks
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more remarks
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// There is more to do than to print: a reader who goes away ends nothing.
    #[arg(skip)]
    outlasts: bool,
}

/// An object under the name that its `event` field has.
#[derive(Serialize)]
struct Named<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

/// Standard output takes no more.
static LOST: AtomicBool = AtomicBool::new(false);
/// A full disk is a failure, unlike a reader that has gone away.
static FAILED: AtomicBool = AtomicBool::new(false);

impl Output {
    /// For verbs that do more than print: once standard output takes no more, they go on without it.
    pub fn outlasting(self) -> Self {
        is_terminal();
        Self { outlasts: true, ..self }
    }

    /// A line of results.
    ///
    /// # Errors
    /// When standard output is closed, unless the verb [outlasts](Self::outlasting) it.
    pub fn line(&self, text: impl AsRef<str>) -> std::io::Result<()> {
        self.write(visible, &format!("{}\n", text.as_ref()))
    }

    /// Results as they come, without a line's end.
    pub fn piece(&self, text: &str) -> std::io::Result<()> {
        self.write(visible, text)
    }

    /// A JSON object with an `event` field, on a line of its own.
    pub fn event(&self, event: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.write(visible_json, &format!("{}\n", serde_json::to_string(event)?))?)
    }

    /// The same for an object without that field.
    pub fn named(&self, event: &str, fields: &impl Serialize) -> anyhow::Result<()> {
        self.event(&Named { event, fields })
    }

    fn write(&self, shown: fn(&str) -> Cow<str>, text: &str) -> std::io::Result<()> {
        let is_terminal = is_terminal();
        if self.outlasts && LOST.load(Ordering::Relaxed) {
            return Ok(());
        }
        let text = if is_terminal { shown(text) } else { Cow::Borrowed(text) };
        let written = bars::aside(|| {
            let mut out = stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        });
        let Err(error) = written else { return Ok(()) };
        let hung_up = is_terminal && error.raw_os_error() == Some(EIO);
        let kind = if hung_up { ErrorKind::BrokenPipe } else { error.kind() };
        let what = format!("cannot write to standard output: {error}");
        if !self.outlasts {
            return Err(Error::new(kind, what));
        }
        LOST.store(true, Ordering::Relaxed);
        if kind != ErrorKind::BrokenPipe {
            FAILED.store(true, Ordering::Relaxed);
            tell(&format!("error: {what}; the rest is done without it"));
        }
        Ok(())
    }

    /// A remark for the person watching.
    pub fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            tell(text.as_ref());
        }
    }

    /// A remark that only `--verbose` shows.
    pub fn detail(&self, text: impl AsRef<str>) {
        if self.verbose {
            self.remark(text);
        }
    }

    /// A bar of this look, if there is a person at a terminal to see it.
    pub fn bar(&self, template: &str) -> Bar {
        if !self.quiet && stderr().is_terminal() { Bar::new(template) } else { Bar::hidden() }
    }

    /// A bar for work of so many parts, called by what they are: `questions`.
    pub fn progress(&self, parts: &str) -> Bar {
        self.bar(&format!("{{bar:24}} {{pos}} of {{len}} {parts}"))
    }
}

/// Whether standard output is a terminal. Asked once: one that has hung up is none any more.
fn is_terminal() -> bool {
    static IS_TERMINAL: OnceLock<bool> = OnceLock::new();
    *IS_TERMINAL.get_or_init(|| stdout().is_terminal())
}

/// What a terminal gives that has hung up.
const EIO: i32 = 5;

/// A line on standard error; if it takes no more, there is no other place to say so.
pub fn tell(text: &str) {
    let text = if stderr().is_terminal() { visible(text) } else { Cow::Borrowed(text) };
    bars::aside(|| {
        let _ = stderr().lock().write_all(format!("{text}\n").as_bytes());
    });
}

/// Whether standard output takes no more: its reader has gone away, or the disk is full.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Whether results were lost to an error, such as a full disk.
pub fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}
