//! A stage in a run folder: begun, resumed, or started once more to be verified or profiled.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::path::{Path, PathBuf, absolute};

use super::base::Base;
use super::config::{STAGE, StageConfig};
use super::examples::TALES_HELD_OUT;
use super::lora::LoraOptions;
use super::sft_dataset::FLAWED_TALES;
use super::stage::{Context, OptionsError, Setup, Stage};
use super::stages::Method;
use crate::engine::device::Device;
use crate::engine::device::cpu::Cpu;
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::{ADAPTER_CONFIG, RunFolder};
use crate::run::origin::{Origin, Piece};
use crate::run::resume::{Difference, Kept};
use crate::run::settings::Settings;
use crate::sample::load::described;
use crate::text::corpus::TALES;
use crate::train::trainer::Trainer;

/// A stage whose data are not read yet.
pub struct Job {
    /// The folder of a run that is resumed.
    pub resumed: Option<RunFolder>,
    pub config: StageConfig,
    pub setup: Setup,
    /// `None` where a resumed run does not need it.
    pub base: Option<Base>,
    pub origin: Origin,
}

/// What the user asks for.
pub struct Asked<'a> {
    pub settings: Settings,
    pub model: Option<&'a Path>,
    /// To be merged into the model before.
    pub adapter: Option<&'a Path>,
    pub lora: LoraOptions,
    pub method: Method,
    /// The options of the method that were given and are not by default.
    pub given: &'a BTreeSet<String>,
}

impl Job {
    /// A new run. The data are checked when they are [loaded](Self::load), all else here.
    pub fn begin(asked: Asked) -> anyhow::Result<Self> {
        let Asked { settings, mut method, .. } = asked;
        let mut origin = Origin::default();
        if let Some((part, path)) = method.path() {
            let piece = piece_of(part)(&path.to_string_lossy())?;
            *path = piece.place().into();
            origin.set(part, piece);
        }
        method.check()?;
        let path = asked.model.ok_or(OptionsError::NoModel)?;
        // Numbers outside their range must not be compared with the base's first.
        let settings = settings.over(&Settings::default())?;
        if let Some(flag) = settings.of_texts() {
            return Err(OptionsError::OfTexts(flag).into());
        }
        let base = Base::open_adapted(path, asked.adapter)?;
        let (lora_rank, mut lora) = asked.lora.of(&base)?;
        let mut setup = Setup::new(&base, &*method, &settings)?;
        for (part, path) in [("adapter", asked.adapter), ("lora-init", asked.lora.lora_init.as_deref())] {
            if let Some(path) = path {
                origin.set(part, Piece::of_adapter(path)?);
            }
        }
        let place = |part: &str| origin.part(part).map(|piece| PathBuf::from(piece.place()));
        let adapter = place("adapter");
        if let Some(lora) = &mut lora {
            lora.init = place("lora-init");
        }
        // An absolute path holds wherever the run is resumed from.
        let data = &mut setup.config.data;
        *data = data.take().map(|data| match data.as_str() {
            TALES | FLAWED_TALES => data,
            path => absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(data),
        });
        let weights = Piece::of_model(path)?;
        let config = StageConfig { model: weights.place().into(), adapter, lora_rank, lora, method };
        origin.set("model", weights);
        setup.set_adapters(&config)?;
        setup.init = config.init()?;
        if may_export(&config, &setup, &base) {
            setup.exports = Some(base.modules());
        }
        Ok(Self { resumed: None, config, setup, base: Some(base), origin })
    }

    /// The run in a folder, with what is asked for changed.
    pub fn resume(path: &Path, mut asked: Asked) -> anyhow::Result<Self> {
        let folder = RunFolder::resume(path)?;
        let mut config = StageConfig::read(path)?;
        if discriminant(&config.method) != discriminant(&asked.method) {
            return Err(OptionsError::OtherStage(config.method.name().to_owned()).into());
        }
        // Counts beyond the integers of TOML cannot be compared.
        for method in [&config.method, &asked.method] {
            if toml::Table::try_from(method).is_err() {
                method.check()?;
            }
        }
        let (settings, mut differences) = folder.settings()?.resumed(&asked.settings)?;
        differences.extend(config.method.differences(&asked.method, asked.given));
        let mut setup = Setup::of_run(path, &config, settings)?;
        differences.extend(asked.lora.differences(setup.model.lora, config.lora.as_ref(), &setup.model)?);
        if let (Some(asked), None) = (asked.adapter, &config.adapter) {
            let (flag, asked) = ("--adapter".into(), asked.display().to_string());
            differences.push(Difference { flag, asked, has: "none".into() });
        }
        Kept::unless_none(path, differences)?;

        let mut origin = Origin::read(path)?;
        if let Some(was) = &setup.config.data {
            setup.config.data =
                Some(origin.again("data", was, asked.settings.data.as_deref(), true, data_piece)?);
        }
        let asked_path = asked.method.path().map(|(_, path)| path.clone());
        if let Some((part, path)) = config.method.path() {
            *path = again(&mut origin, part, path, asked_path.as_deref(), true)?;
        }
        config.method.check()?;
        let needs_base = config.method.needs_base() || !folder.has_checkpoint();
        config.model = again(&mut origin, "model", &config.model, asked.model, needs_base)?;
        if let Some(adapter) = &mut config.adapter {
            *adapter = again(&mut origin, "adapter", adapter, asked.adapter, needs_base)?;
        }
        let base = || Base::open_adapted(&config.model, config.adapter.as_deref());
        let base = needs_base.then(base).transpose()?;
        if !folder.has_checkpoint() {
            setup.init = config.init()?;
        }
        Ok(Self { resumed: Some(folder), config, setup, base, origin })
    }

    /// The stage of a run folder from its first step, with other settings where some are given; `None` where the run is
    /// no fine-tuning.
    pub fn reopen(folder: &Path, settings: &Settings) -> anyhow::Result<Option<Self>> {
        if !folder.join(STAGE).exists() {
            return Ok(None);
        }
        let config = StageConfig::read(folder)?;
        let (run, origin) = (RunFolder::open(folder)?, Origin::read(folder)?);
        let settings = settings.over(&run.settings()?)?.resolve()?;
        let setup = Setup { init: config.init()?, ..Setup::of_run(folder, &config, settings)? };
        Ok(Some(Self { resumed: None, config, setup, base: None, origin }))
    }

    /// Reads the data, and notes what they are.
    pub fn load(&mut self) -> anyhow::Result<Box<dyn Stage>> {
        let stage = self.setup.load(&*self.config.method)?;
        if let (None, Some(data)) = (&self.resumed, &self.setup.config.data) {
            self.origin.set("data", data_piece(data)?);
        }
        Ok(stage)
    }

    /// The model that a reopened stage began with, about to learn from as much data as `steps` steps need.
    pub fn rerun(&self, device: &mut dyn Device, steps: u64) -> anyhow::Result<Trainer> {
        let Self { config: StageConfig { model, adapter, method, .. }, setup, .. } = self;
        let (mut origin, mut method) = (self.origin.clone(), method.clone());
        if let Some(data) = &setup.config.data {
            origin.again("data", data, None, true, data_piece)?;
        }
        let model = again(&mut origin, "model", model, None, true)?;
        let adapter = adapter.as_ref().map(|adapter| again(&mut origin, "adapter", adapter, None, true));
        let mut base = Base::open_adapted(&model, adapter.transpose()?.as_deref())?;
        if let Some((part, path)) = method.path() {
            again(&mut origin, part, path, None, true)?;
        }
        let mut stage = setup.load(&*method)?;
        stage.truncate((steps as usize).saturating_mul(setup.config.examples_per_step()));
        let (mut cpu, uses_device) = (Cpu::<f32>::default(), method.uses_device());
        // A stage that does not has its batches before the first step, wherever they were computed.
        let source = stage.source(
            setup,
            &mut Context {
                device: if uses_device { &mut *device } else { &mut cpu },
                base: Some(&mut base),
                reward: None,
                progress: &mut |_, _| (),
            },
        )?;
        let mut context = Context { device, base: Some(&mut base), reward: None, progress: &mut |_, _| () };
        setup.trainer(source, &mut context)
    }
}

impl Setup {
    /// The model of a run that was begun.
    fn of_run(folder: &Path, stage: &StageConfig, config: TrainConfig) -> anyhow::Result<Self> {
        let (model, tokenizer) = described(folder)?;
        let model = ModelConfig { dropout: config.model.dropout, ..model };
        let held_out = TALES_HELD_OUT;
        let mut setup = Self { config, model, tokenizer, held_out, exports: None, init: None };
        setup.set_adapters(stage)?;
        if let Some(lora) = stage.lora.as_ref().filter(|_| folder.join(ADAPTER_CONFIG).is_file()) {
            setup.exports = Some(lora.modules()?);
        }
        Ok(setup)
    }

    fn set_adapters(&mut self, stage: &StageConfig) -> anyhow::Result<()> {
        self.model.lora = stage.lora(&self.model)?;
        Ok(self.model.check()?)
    }
}

/// Whether the adapters alone make the trained model of a base that other programs have: it is as it was, without
/// another adapter, new tokens, or the head of a reward model.
fn may_export(config: &StageConfig, setup: &Setup, base: &Base) -> bool {
    let is_whole = config.adapter.is_none() && setup.model.vocab_size == base.config.vocab_size;
    setup.model.lora.is_on() && is_whole && base.is_published() && !matches!(config.method, Method::Reward(_))
}

/// What fine-tuning learns from under this name or path.
pub fn data_piece(data: &str) -> anyhow::Result<Piece> {
    Ok(match data {
        TALES | FLAWED_TALES => Piece::built_in(data),
        path => Piece::of_file(Path::new(path))?,
    })
}

/// How a part of a run is recognised: models by their weights, files by their content.
fn piece_of(part: &str) -> fn(&str) -> anyhow::Result<Piece> {
    match part {
        "model" | "reward" => |folder| Ok(Piece::of_model(Path::new(folder))?),
        "adapter" | "lora-init" => |folder| Ok(Piece::of_adapter(Path::new(folder))?),
        _ => |path| Ok(Piece::of_file(Path::new(path))?),
    }
}

/// [`Origin::again`] of a path.
fn again(
    origin: &mut Origin,
    part: &str,
    was: &Path,
    asked: Option<&Path>,
    needed: bool,
) -> anyhow::Result<PathBuf> {
    let name = |path: &Path| path.to_string_lossy().into_owned();
    Ok(origin.again(part, &name(was), asked.map(name).as_deref(), needed, piece_of(part))?.into())
}
