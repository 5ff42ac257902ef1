//! `lal finetune`: the stages after pretraining.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::adapter::AdapterArgs;
use super::device::DeviceArgs;
use super::failure::Exit;
use super::given::Given;
use super::hub::located_if;
use super::launch::Launch;
use super::output::Output;
use super::running::{Verbs, autotune};
use crate::finetune::base::Base;
use crate::finetune::critique::Violations;
use crate::finetune::job::{Asked, Job};
use crate::finetune::lora::LoraOptions;
use crate::finetune::ppo_options::PpoOptions;
use crate::finetune::report::{Answers, Grades, Report};
use crate::finetune::stage::Context;
use crate::finetune::stages::Method;
use crate::finetune::stages::constitution::ConstitutionOptions;
use crate::finetune::stages::dpo::DpoOptions;
use crate::finetune::stages::reward::RewardOptions;
use crate::finetune::stages::sft::SftOptions;
use crate::run::settings::Settings;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    stage: Stage,
}

#[derive(Debug, Subcommand)]
enum Stage {
    /// Teach a pretrained model to answer, from conversations
    ///
    /// --data is a .jsonl of conversations; or `tales` for questions about the built-in world with right answers, or
    /// `tales-flawed` for imperfect answers, some invented and some rude.
    Sft(Box<StageArgs<SftOptions>>),
    /// Train a reward model to score answers, from pairs of them
    ///
    /// --data is a .jsonl of {"prompt", "chosen", "rejected"}, or `tales` for preferences about the built-in world.
    Reward(Box<StageArgs<RewardOptions>>),
    /// Teach a model to prefer the better of two answers (DPO or IPO)
    ///
    /// --data is a .jsonl of {"prompt", "chosen", "rejected"}, or `tales` for preferences about the built-in world. The
    /// reference is the model itself at the start; it scores the pairs once. Dropout is off unless --dropout turns it
    /// on, as the reference has none.
    Dpo(Box<StageArgs<DpoOptions>>),
    /// Teach a model by rewards of its own answers (PPO or GRPO)
    ///
    /// --data is a .jsonl of conversations, whose last answers are left out, or `tales` for questions about the
    /// built-in world. The program that knows that world gives the rewards, or the model of --reward. Dropout is off
    /// unless --dropout turns it on, as replies are sampled without it.
    Ppo(Box<StageArgs<PpoOptions>>),
    /// Teach a model by principles that its own answers are judged and revised by
    ///
    /// --data is `tales`: a program can judge replies to its questions. First the model's own replies are revised by
    /// the principles, and the revisions learned; then, from that model and with --feedback prefer, it learns to prefer
    /// the better of its replies, with dropout off unless --dropout turns it on.
    Constitution(Box<StageArgs<ConstitutionOptions>>),
}

#[derive(Debug, clap::Args)]
struct StageArgs<T: clap::Args> {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    options: Given<T>,
}

/// The model's sizes and its tokenizer are those of the base.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The model to start from: a folder, a .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL", required_unless_present = "resume")]
    model: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
    #[command(flatten)]
    lora: LoraOptions,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    /// A TOML file of settings, such as another run's config.toml; flags and variables override it
    #[arg(long, env = "LAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run [default: runs/PRESET-STAGE-N]
    #[arg(long, env = "LAL_OUT", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint. --steps, --schedule, --learning-rate,
    /// --min-learning-rate, --warmup-steps, --eval-every, --eval-iters, --sample-tokens, --save-every and the device
    /// may change; --model, --data, --reward and --principles may be moved copies of the same files. Changes are
    /// recorded; everything else stays as in the run
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
}

impl<T: clap::Args> StageArgs<T> {
    fn asked(self, method: fn(T) -> Method) -> (RunArgs, Method, BTreeSet<String>) {
        (self.run, method(self.options.values), self.options.names)
    }
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let (args, method, given) = match args.stage {
        Stage::Sft(args) => args.asked(Method::Sft),
        Stage::Reward(args) => args.asked(Method::Reward),
        Stage::Dpo(args) => args.asked(Method::Dpo),
        Stage::Ppo(args) => args.asked(Method::Ppo),
        Stage::Constitution(args) => args.asked(Method::Constitution),
    };
    let output = output.outlasting();
    let mut job = job(&args, method, &given, output)?;
    let mut stage = job.load()?;
    let mut opened = args.device.open_with(autotune(job.resumed.as_ref(), output)?, output)?;
    let mut bar = None;
    let mut progress = |done, of| {
        bar.get_or_insert_with(|| output.progress("prepared")).at(done as u64, of as u64);
    };
    let Job { resumed, config, setup, base, origin } = &mut job;
    let (device, base) = (opened.device(), base.as_mut());
    let mut context = Context { device, base, reward: None, progress: &mut progress };
    let source = stage.source(setup, &mut context)?;
    let trainer = setup.trainer(source, &mut context)?;
    drop(bar);

    let name = config.method.name();
    let again = format!("finetune {name}");
    let next = match config.method {
        Method::Reward(_) => "next: lal finetune ppo --model DIR --reward RUN",
        _ => "next: lal chat --model RUN",
    };
    let launch = Launch {
        output,
        resumed: resumed.take(),
        out: args.out.as_deref(),
        name,
        tokens: stage.tokens(),
        tokenizer: &setup.tokenizer,
        floor: None,
        verbs: Verbs { again: &again, next },
        describe: &|folder| {
            config.write(folder)?;
            config.describe_adapter(setup, folder)?;
            Ok(origin.write(folder)?)
        },
    };
    launch.run(&mut opened, trainer, &mut |device, step| {
        let bar = output.progress("questions answered");
        let mut progress = |done, of| bar.at(done as u64, of as u64);
        let mut context = Context { device, base: None, reward: None, progress: &mut progress };
        let report = stage.evaluate(setup, &mut context)?;
        drop(bar);
        tell(step, &report, output)
    })
}

fn job(args: &RunArgs, method: Method, given: &BTreeSet<String>, output: Output) -> anyhow::Result<Job> {
    let settings = match &args.config {
        Some(file) => args.settings.over(&Settings::from_file(file)?)?,
        None => args.settings.clone(),
    };
    let drops_out = settings.dropout.is_some();
    let model = located_if(args.model.clone(), output)?;
    let asked = Asked {
        settings,
        model: model.as_deref(),
        adapter: args.adapter.folder(),
        lora: args.lora.clone(),
        method,
        given,
    };
    if let Some(path) = &args.resume {
        return Job::resume(path, asked);
    }
    let job = Job::begin(asked)?;
    let now = job.setup.config.model.dropout;
    if let Some(Base { config: base, .. }) =
        job.base.as_ref().filter(|base| !drops_out && base.config.dropout != now)
    {
        output.remark(format!("dropout is {now} in this stage, {} in the base: see --help", base.dropout));
    }
    Ok(job)
}

/// Figures of a report, and the step after which they hold.
#[derive(Serialize)]
struct AtStep<'a, T> {
    step: u64,
    #[serde(flatten)]
    figures: &'a T,
}

fn tell(step: u64, report: &Report, output: Output) -> anyhow::Result<()> {
    let Report { answers, violations, calibration } = report;
    if output.json {
        if let Some(figures) = answers {
            output.named("answers", &AtStep { step, figures })?;
        }
        if let Some(figures) = violations {
            output.named("violations", &AtStep { step, figures })?;
        }
        if let Some(figures) = calibration {
            output.named("calibration", &AtStep { step, figures })?;
        }
        return Ok(());
    }
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    if let Some(Answers { questions, exact_match, grades }) = answers {
        let share = percent(*exact_match);
        output.line(format!("step {step}: exact match on {questions} held-out questions: {share}"))?;
        if let Some(Grades { accuracy, honesty, kindness, reward, .. }) = grades {
            let [accuracy, honesty, kindness] = [accuracy, honesty, kindness].map(|share| percent(*share));
            output.line(format!(
                "  accuracy {accuracy}, honesty {honesty}, kindness {kindness}, reward {reward:.2}"
            ))?;
        }
    }
    if let Some(found @ Violations { replies, violating, by_principle }) = violations {
        let share = percent(found.share());
        output.line(format!("step {step}: {violating} of {replies} replies violate a principle, {share}"))?;
        let each: Vec<String> = by_principle.iter().map(|(name, count)| format!("{name} {count}")).collect();
        output.line(format!("  {}", each.join(", ")))?;
    }
    if let Some(calibration) = calibration {
        output.line(format!("step {step}: {calibration}"))?;
    }
    Ok(())
}
