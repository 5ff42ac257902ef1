//! Compiled shaders, each once.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;
use wgpu::{
    BindGroupLayout, BindGroupLayoutEntry, BindingType, BufferBindingType, ErrorFilter, ShaderStages,
};

use super::context::{Context, describe};
use super::recorder::{self, Part, Recorded};
use super::sanitizers::{self, Reports};
use super::shader::{self, Interface, Parsed, fault};
use super::slices;
use super::substitute::Substitute;
use crate::engine::device::DeviceError;
use crate::engine::dispatch::{Dispatch, Shader};
use crate::engine::step::Step;

/// A shader ready to be dispatched.
pub(super) struct Pipeline {
    key: Key,
    pub interface: Interface,
    /// The layout of group 0.
    pub layout: BindGroupLayout,
    pub pipeline: wgpu::ComputePipeline,
    /// What it records, on a device that is there to record.
    pub recorded: Option<Recorded>,
}

type Key = (Shader, Vec<(&'static str, u32)>);

/// All pipelines of a device, by shader and constants.
pub(super) struct Pipelines {
    compiled: HashMap<Key, Arc<Pipeline>>,
    /// Those that run [slices](super::slices) of a grid.
    sliced: HashMap<Key, Arc<Pipeline>>,
    /// The layout of group 1: the per-step uniform, where sanitizers report, and where a slice begins.
    pub step_layout: BindGroupLayout,
    /// What sanitizers report, on a device that runs them.
    pub watched: Option<Reports>,
    /// Bounds checks and bounded loops, for shaders that are not yet trusted.
    checked: bool,
    /// All shaders run one workgroup at a time and record what it does.
    records: bool,
    substitute: Option<Substitute>,
}

impl Pipelines {
    pub fn new(context: &Context, checked: bool, watched: bool, records: bool) -> Self {
        let mut step = vec![buffer_entry(0, BufferBindingType::Uniform, size_of::<Step>() as u64)];
        if let BindingType::Buffer { has_dynamic_offset, .. } = &mut step[0].ty {
            *has_dynamic_offset = true;
        }
        if watched || records {
            let report = BufferBindingType::Storage { read_only: false };
            step.push(buffer_entry(sanitizers::BINDING, report, size_of::<u32>() as u64));
        }
        step.push(buffer_entry(slices::BINDING, BufferBindingType::Uniform, slices::BYTES));
        Self {
            compiled: HashMap::new(),
            sliced: HashMap::new(),
            step_layout: layout(context, "step", &step),
            watched: watched.then(Reports::default),
            checked,
            records,
            substitute: None,
        }
    }

    /// Compiles other text for a shader from now on.
    pub fn substitute(&mut self, substitute: Option<Substitute>) {
        let touched = [self.substitute.as_ref(), substitute.as_ref()].map(|s| s.map(|s| s.shader));
        self.compiled.retain(|(shader, _), _| !touched.contains(&Some(shader.name)));
        self.sliced.retain(|(shader, _), _| !touched.contains(&Some(shader.name)));
        self.substitute = substitute;
    }

    /// Compiles what the dispatches need and is not there yet, on all cores.
    pub fn compile(&mut self, context: &Context, dispatches: &[&Dispatch]) -> Result<(), DeviceError> {
        let mut missing: Vec<Key> = Vec::new();
        for dispatch in dispatches {
            let key = key(dispatch);
            if !self.compiled.contains_key(&key) && !missing.contains(&key) {
                missing.push(key);
            }
        }
        let fresh: Vec<_> = missing
            .into_par_iter()
            .map(|key| Ok((key.clone(), Arc::new(self.build(context, &key, false)?))))
            .collect::<Result<_, DeviceError>>()?;
        self.compiled.extend(fresh);
        Ok(())
    }

    /// The pipeline of a dispatch.
    pub fn get(&mut self, context: &Context, dispatch: &Dispatch) -> Result<Arc<Pipeline>, DeviceError> {
        let key = key(dispatch);
        if let Some(pipeline) = self.compiled.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.build(context, &key, false)?);
        self.compiled.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// The pipeline that runs slices of the grid of another; few launches are long enough to need one.
    pub fn sliced(&mut self, context: &Context, whole: &Pipeline) -> Result<Arc<Pipeline>, DeviceError> {
        if let Some(pipeline) = self.sliced.get(&whole.key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.build(context, &whole.key, true)?);
        self.sliced.insert(whole.key.clone(), pipeline.clone());
        Ok(pipeline)
    }

    fn build(&self, context: &Context, key: &Key, sliced: bool) -> Result<Pipeline, DeviceError> {
        let (shader, constants) = key;
        let substitute = self.substitute.as_ref().filter(|s| s.shader == shader.name);
        let mut text = substitute.map_or_else(|| shader::source(shader), |s| s.text.clone());
        text = shader::fill(shader.name, &text, constants)?;
        let whole = self.records.then(|| text.clone());
        if sliced || self.records {
            // A shader that does not ask which workgroup it is has only one: it is its own slice.
            text = slices::sliced(&text).unwrap_or(text);
        }
        let Parsed { mut module, mut interface } = shader::parse_text(shader.name, &text, &[])?;
        let mut recorded = None;
        if let Some(whole) = whole {
            let invocations = module.entry_points[0].workgroup_size.iter().product();
            text = recorder::prepared(&text, invocations);
            module = shader::parse_text(shader.name, &text, &[])?.module;
            let anatomy =
                recorder::instrument(&mut module, &text).map_err(|message| fault(shader.name, message))?;
            let lines = Part::lines(shader);
            recorded = Some(Recorded { text: whole, lines, anatomy: Arc::new(anatomy) });
            interface.step = true;
        }
        if let Some(reports) = &self.watched {
            let room = context.device.limits().max_compute_workgroup_storage_size;
            reports.instrument(shader.name, &mut module, room);
            interface.step = true;
        }
        let built = context.caught(ErrorFilter::Validation, || {
            context.caught(ErrorFilter::Internal, || self.create(context, shader.name, module, &interface))
        });
        match built {
            Ok(Ok((layout, pipeline))) => {
                Ok(Pipeline { key: key.clone(), interface, layout, pipeline, recorded })
            }
            Ok(Err(error)) | Err(error) => Err(fault(shader.name, describe(&error))),
        }
    }

    fn create(
        &self,
        context: &Context,
        name: &str,
        module: naga::Module,
        interface: &Interface,
    ) -> (BindGroupLayout, wgpu::ComputePipeline) {
        let device = &context.device;
        let storage = interface.storage.values().map(|slot| {
            let kind = BufferBindingType::Storage { read_only: slot.read_only };
            buffer_entry(slot.binding, kind, slot.least_bytes)
        });
        let params =
            interface.params().map(|(binding, size)| buffer_entry(binding, BufferBindingType::Uniform, size));
        let layout = layout(context, name, &storage.chain(params).collect::<Vec<_>>());
        let groups = [Some(&layout), Some(&self.step_layout)];
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: if interface.step { &groups } else { &groups[..1] },
            immediate_size: 0,
        });
        let checks = if self.checked {
            wgpu::ShaderRuntimeChecks::checked()
        } else {
            wgpu::ShaderRuntimeChecks::unchecked()
        };
        let description = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module)),
        };
        // SAFETY: the shaders are this crate's own; `verify` and the tests run every one of them against its
        // twin and check that none writes beyond its tensors.
        let module = unsafe { device.create_shader_module_trusted(description, checks) };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes its workgroup memory before reading it, but not its shadows.
                zero_initialize_workgroup_memory: self.watched.is_some(),
                ..Default::default()
            },
            cache: None,
        });
        (layout, pipeline)
    }
}

fn key(dispatch: &Dispatch) -> Key {
    (dispatch.shader, dispatch.constants.clone())
}

fn buffer_entry(binding: u32, ty: BufferBindingType, least_bytes: u64) -> BindGroupLayoutEntry {
    BindGroupLayoutEntry {
        binding,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            // Known here, it need not be checked at every dispatch.
            min_binding_size: std::num::NonZero::new(least_bytes),
        },
        count: None,
    }
}

fn layout(context: &Context, label: &str, entries: &[BindGroupLayoutEntry]) -> BindGroupLayout {
    context.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries })
}
