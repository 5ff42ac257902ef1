//! What `train` and `finetune` share: a model in training gets its folder, its run, and its screen.

use std::path::Path;

use super::device::Opened;
use super::failure::Exit;
use super::interrupt::stop_on_interrupt;
use super::output::Output;
use super::running::{Screen, Verbs, choices, keep_choices, memory_used};
use crate::engine::device::Device;
use crate::run::folder::RunFolder;
use crate::text::tokenizer::Tokenizer;
use crate::train::event::Event;
use crate::train::session::{Ending, Session};
use crate::train::trainer::Trainer;

/// A run that is about to start.
pub struct Launch<'a> {
    pub output: Output,
    /// The run that is resumed; a new one is in `out`, or in runs/PRESET-NAME-N.
    pub resumed: Option<RunFolder>,
    pub out: Option<&'a Path>,
    pub name: &'a str,
    /// For training and for validation.
    pub tokens: [usize; 2],
    pub tokenizer: &'a Tokenizer,
    /// The lowest loss that is possible, where it is known.
    pub floor: Option<f64>,
    pub verbs: Verbs<'a>,
    /// Writes to the folder what the run was made of.
    pub describe: &'a dyn Fn(&Path) -> anyhow::Result<()>,
}

/// Evaluates the model on the device, after so many steps.
pub type Evaluate<'a> = &'a mut dyn FnMut(&mut dyn Device, u64) -> anyhow::Result<()>;

impl Launch<'_> {
    /// Trains to the last step. `evaluate` is called before the first step and after the last.
    pub fn run(self, opened: &mut Opened, trainer: Trainer, evaluate: Evaluate) -> anyhow::Result<Exit> {
        let Self { output, resumed, out, name, tokens, tokenizer, floor, verbs, describe } = self;
        let is_resumed = resumed.is_some();
        let starts = resumed.as_ref().is_none_or(|folder| !folder.has_checkpoint());
        let folder = match (resumed, out) {
            (Some(folder), _) => folder,
            (None, Some(path)) => RunFolder::create(path)?,
            (None, None) => RunFolder::create_numbered(Path::new("runs"), &trainer.config.preset, name)?,
        };
        let start = Event::start(opened.kind(), opened.device().describe(), &trainer, tokens, folder.path());
        let choices = choices(opened)?;
        let note = || -> anyhow::Result<()> {
            keep_choices(choices.as_deref(), &folder)?;
            describe(folder.path())
        };
        // A new run has all that describes it before it has settings; one that is refused is left as it was.
        if !is_resumed {
            note()?;
        }

        let stop = stop_on_interrupt(output, true)?;
        let mut screen = Screen::new(output, &trainer, folder.path(), floor, verbs);
        screen.tell(&start)?;
        let mut session =
            Session::open(opened.device(), trainer, tokenizer, &folder, &stop, is_resumed, floor)?;
        if is_resumed {
            note()?;
        }
        session.remarks().iter().for_each(|remark| screen.remark(remark));
        screen.begin(session.trainer.step);
        let planned = session.trainer.memory().total();
        if starts {
            evaluate(session.device, session.trainer.step)?;
        }
        // The run says that it is done after its model is evaluated.
        let mut done = None;
        let ending = session.run(&mut |event| match event {
            Event::Done { .. } => {
                done = Some(event.clone());
                Ok(())
            }
            _ => screen.tell(event),
        })?;
        if ending == Ending::Finished {
            evaluate(session.device, session.trainer.step)?;
        }
        done.iter().try_for_each(|done| screen.tell(done))?;
        screen.remark(&memory_used(planned, opened));
        Ok(if ending == Ending::Stopped { Exit::Interrupted } else { Exit::Done })
    }
}
