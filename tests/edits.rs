//! Mistakes of the kinds that people make, and that `verify --self-test` does not: each must fail some case of
//! its op, and a training step beside the oracle must name the op that was edited.

use std::sync::Arc;

use lal::engine::case::Case;
use lal::engine::device::gpu::shader::source;
use lal::engine::device::gpu::substitute::Substitute;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, DeviceError, HostData};

use lal::engine::dispatch::{Kernel, Operands, Shader, Target};
use lal::engine::step::Step;
use lal::models::config::ModelConfig;
use lal::nn::mlp::FeedForward;
use lal::ops::OPS;
use lal::ops::adamw::AdamW;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::train::plans::{StepShape, training};
use lal::verify::check::{Prepared, specs};
use lal::verify::lockstep::{Departure, Lockstep, Watch};

/// A mistake: what it is, the shader, and each text with what stands in its place.
struct Edit {
    what: &'static str,
    shader: &'static str,
    changes: &'static [(&'static str, &'static str)],
}

const EDITS: &[Edit] = &[
    Edit {
        what: "a wrong stride",
        shader: "softmax/plain",
        changes: &[("let start = row * params.width;", "let start = row * (params.width | 1u);")],
    },
    Edit {
        what: "the largest is not subtracted before exp",
        shader: "softmax/plain",
        changes: &[("exp(x[i] - largest)", "exp(x[i])")],
    },
    Edit {
        what: "scores are not divided by √D",
        shader: "attention/plain",
        changes: &[("        score *= params.scale;\n", "")],
    },
    Edit {
        what: "a variance with n - 1",
        shader: "layer_norm/forward",
        changes: &[("reduce_sum(local, squares) / n", "reduce_sum(local, squares) / (n - 1.0)")],
    },
    Edit {
        what: "β₁ and β₂ swapped",
        shader: "adamw",
        changes: &[
            ("params.beta1 * m[i] + (1.0 - params.beta1)", "params.beta2 * m[i] + (1.0 - params.beta2)"),
            ("params.beta2 * v[i] + (1.0 - params.beta2)", "params.beta1 * v[i] + (1.0 - params.beta1)"),
        ],
    },
    Edit {
        what: "the last term of an odd sum taken twice",
        shader: "matmul/naive",
        changes: &[(
            "    sum *= params.scale;\n",
            "    if params.k % 2u == 1u {
        let l = params.k - 1u;
        let x = a[a_first + select(i * params.a_width + l, l * params.a_width + i, TRANSPOSE_A == 1u)];
        let y = b[b_first + select(l * params.b_width + j, j * params.b_width + l, TRANSPOSE_B == 1u)];
        sum += x * y;
    }
    sum *= params.scale;\n",
        )],
    },
    Edit {
        what: "what dropout keeps is not scaled",
        shader: "dropout",
        changes: &[("x[i] * params.scale", "x[i]")],
    },
    Edit {
        what: "the second tile of keys is not masked",
        shader: "attention/flash",
        changes: &[(
            "if params.causal == 1u {\n        end = min(end, t + 1u);",
            "if params.causal == 1u && s / TILE != 1u {\n        end = min(end, t + 1u);",
        )],
    },
    Edit {
        what: "scores are exchanged without waiting for one another",
        shader: "attention/flash",
        changes: &[(
            "        stage_block(row, col, scores);\n        workgroupBarrier();\n",
            "        stage_block(row, col, scores);\n",
        )],
    },
    Edit {
        what: "a tree of sums with one barrier for all its levels",
        shader: "layer_norm/forward",
        changes: &[(
            "scratch[local] = scratch[local] + scratch[local + half];
        }
        workgroupBarrier();
    }
",
            "scratch[local] = scratch[local] + scratch[local + half];
        }
    }
    workgroupBarrier();
",
        )],
    },
    Edit {
        what: "added to where it should be stored",
        shader: "layer_norm/sums",
        changes: &[("    total[column] = sum;", "    total[column] += sum;")],
    },
    Edit {
        what: "stored where it should be added to",
        shader: "embedding/backward",
        changes: &[("var sum = dtable[row + c];", "var sum = 0.0;")],
    },
    Edit {
        what: "the derivative of x³ without its 3",
        shader: "gelu_backward",
        changes: &[("0.134145", "0.044715")],
    },
    Edit {
        what: "the exact form's derivative for the tanh form",
        shader: "gelu_backward",
        changes: &[("if TANH == 1u {\n        let t ", "if TANH == 7u {\n        let t ")],
    },
    Edit {
        what: "a gradient that forgets what runs through the variance",
        shader: "layer_norm/backward",
        changes: &[(" - (x[first + i] - m) * r * mean_gx", "")],
    },
    Edit {
        what: "a gradient without its row's weight",
        shader: "cross_entropy/gradient",
        changes: &[("w * (p - select(", "1.0 * (p - select(")],
    },
    Edit {
        what: "keys and values swapped",
        shader: "attention_cached",
        changes: &[
            ("t * row + d] = qkv[new_key + d]", "t * row + d] = qkv[new_key + row + d]"),
            (
                "values[cache + t * row + d] = qkv[new_key + row + d]",
                "values[cache + t * row + d] = qkv[new_key + d]",
            ),
        ],
    },
    Edit {
        what: "queries see the key after their own",
        shader: "attention_cached",
        changes: &[("let seen = t + 1u;", "let seen = t + 2u;")],
    },
    Edit { what: "the last digits of 0.044715 left out", shader: "gelu", changes: &[("0.044715", "0.0447")] },
    Edit {
        what: "a little something added before the logarithm",
        shader: "cross_entropy/loss",
        changes: &[("log(sum)", "log(sum + 1e-6)")],
    },
    Edit {
        what: "epsilon beside the root instead of below it",
        shader: "rms_norm",
        changes: &[
            ("f32(params.width) + params.eps)", "f32(params.width)) + params.eps)"),
            ("1.0 / sqrt(", "1.0 / (sqrt("),
        ],
    },
    Edit {
        what: "epsilon below the root instead of beside it",
        shader: "adamw",
        changes: &[(
            "(sqrt(square / step.correction2) + params.eps)",
            "sqrt(square / step.correction2 + params.eps)",
        )],
    },
    Edit {
        what: "places counted anew in the middle of a sequence where a tensor is bound in parts",
        shader: "rope",
        changes: &[("(params.first + i / params.row) % params.time", "(i / params.row) % params.time")],
    },
    Edit {
        what: "rows by whole sixteens",
        shader: "column_sum",
        changes: &[("row < params.rows;", "row < max(params.rows / 16u * 16u, 1u);")],
    },
    Edit {
        what: "two threads store one sum",
        shader: "column_sum",
        changes: &[("if local.y == 0u &&", "if local.y < 2u &&")],
    },
    Edit {
        what: "the hyperbolic tangent of the cell before",
        shader: "lstm_cell/backward",
        changes: &[("stable_tanh(f * c[at] + i * g)", "stable_tanh(c[at])")],
    },
    Edit {
        what: "the bias left out of a product that is added to a sum",
        shader: "matmul/tiled",
        changes: &[("if params.add_bias == 1u", "if params.add_bias == 1u && params.accumulate == 0u")],
    },
    Edit {
        what: "a stage put where the one before it is read",
        shader: "matmul/tiled",
        changes: &[(
            "let first = stage % COPIES * DEPTH * A_QUADS",
            "let first = (stage + 1u) % COPIES * DEPTH * A_QUADS",
        )],
    },
    Edit {
        what: "rows of queries counted by key heads",
        shader: "attention/flash_keys",
        changes: &[("let at = b * params.n_head + h;", "let at = b * params.n_kv_head + h;")],
    },
    Edit {
        what: "slopes of heads beyond a power of two",
        shader: "attention/flash",
        changes: &[("(h - params.alibi_heads) + 1u", "(h - params.alibi_heads) + 2u")],
    },
    Edit {
        what: "ln(1 + exp(x)) as it is written",
        shader: "logistic_loss/loss",
        changes: &[("max(x, 0.0) + log(1.0 + exp(-abs(x)))", "log(1.0 + exp(x))")],
    },
    Edit {
        what: "blocks that overlap by one",
        shader: "grad_norm/squares",
        changes: &[("var i = block * BLOCK + local", "var i = max(block * BLOCK, 1u) - 1u + local")],
    },
];

/// Opens a GPU that shows stray accesses; `None` where tests may go without one.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    match Gpu::open(GpuOptions { poison: true, ..options }) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

/// The shaders of all kernels of a case.
fn shaders(case: &Case, target: &Target) -> Vec<Shader> {
    let (inputs, outputs) = specs(case).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
    let kernels = case.op.kernels(&Operands { inputs: &inputs, outputs: &outputs }, target);
    kernels.iter().flat_map(|kernel| &kernel.dispatches).map(|dispatch| dispatch.shader).collect()
}

/// The shader with the mistake in it.
fn edited(edit: &Edit, shader: &Shader) -> Substitute {
    let mut text = source(shader);
    for (from, to) in edit.changes {
        assert!(text.contains(from), "{}: shaders/{}.wgsl has no {from:?}", edit.what, edit.shader);
        text = text.replace(from, to);
    }
    Substitute { shader: shader.name, text }
}

/// The case and what failed on it, if it runs the shader and something did.
fn failure(edit: &Edit, case: &Case, gpu: &mut Gpu) -> Option<(String, String)> {
    let target = gpu.target().clone();
    let shader = *shaders(case, &target).iter().find(|shader| shader.name == edit.shader)?;
    let prepared = Prepared::new(case.clone()).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
    gpu.substitute(Some(edited(edit, &shader)));
    let uses = |kernel: &Kernel| {
        kernel.dispatches.iter().any(|d| d.shader == shader) && prepared.fits(kernel, &target)
    };
    let failed = prepared.check(gpu, uses).into_iter().find_map(|check| check.failure);
    gpu.substitute(None);
    failed.map(|message| (case.name(), message))
}

#[test]
fn an_edited_shader_fails_a_case() {
    let whole = GpuOptions { checked: true, ..GpuOptions::default() };
    let parts = GpuOptions { max_grid: Some(3), max_binding_bytes: Some(1 << 10), ..whole.clone() };
    let Some(mut gpus) = [whole, parts].map(gpu).into_iter().collect::<Option<Vec<_>>>() else { return };
    let mut cases: Vec<_> = OPS.iter().flat_map(|op| (op.cases)()).collect();
    // Attention with a window last: a software driver compiles each anew, which takes seconds.
    let has_window = |name: &str| name.contains("window: ") && !name.contains("window: 0");
    cases.sort_by_key(|case| {
        let size: usize = case.inputs.iter().map(|input| input.spec.shape.len()).sum();
        (has_window(&case.name()), size)
    });
    let mut missed = Vec::new();
    for edit in EDITS {
        let found = gpus.iter_mut().find_map(|gpu| cases.iter().find_map(|case| failure(edit, case, gpu)));
        match found {
            Some((_, message)) if message.starts_with("shader ") => panic!("{}: {message}", edit.what),
            Some((case, message)) => println!("{}: {message}\n    on {case}", edit.what),
            None => missed.push(edit.what),
        }
    }
    assert!(missed.is_empty(), "not found: {}", missed.join("; "));
}

/// One training step of a small model beside the oracle.
fn first_departure(substitute: Option<(&'static str, Shader)>) -> Option<Option<Departure>> {
    let mut gpu = gpu(GpuOptions::default())?;
    let edit = |(what, shader)| {
        let edit = EDITS.iter().find(|edit| edit.what == what);
        edited(edit.unwrap_or_else(|| panic!("there is no edit {what:?}")), &shader)
    };
    gpu.substitute(substitute.map(edit));
    let config =
        ModelConfig { bias: true, feed_forward: FeedForward::GeluTanh, ..ModelConfig::gpt(17, 7, 2, 3, 12) };
    let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let rule = OptimizerConfig { optimizer: Optimizer::AdamW, adamw };
    let shape = StepShape::pretraining(&config, 2, 1);
    let plan = Arc::new(training(&config, shape, &rule).unwrap_or_else(|e| panic!("{e}")));
    let mut beside = Lockstep::device(&mut gpu, Watch::Every);
    let id = beside.load(&plan, 42).unwrap_or_else(|e| panic!("{e}"));
    let rows = shape.batch_size * config.block_size;
    let tokens: Vec<u32> = (0..rows as u32).map(|i| i * 5 % 17).collect();
    let weights = vec![1.0 / rows as f32; rows];
    let inputs = [
        ("weights", HostData::F32(&weights)),
        ("tokens", HostData::U32(&tokens)),
        ("targets", HostData::U32(&tokens)),
    ];
    for (name, data) in inputs {
        beside.set_input(id, name, data).unwrap_or_else(|e| panic!("{e}"));
    }
    let step = Step { learning_rate: 1e-3, correction1: 0.1, correction2: 0.01, ..Step::default() };
    beside.run(id, plan.phase("step"), &step).unwrap_or_else(|e| panic!("{e}"));
    assert!(beside.hook.checks.len() > 50, "only {} nodes were watched", beside.hook.checks.len());
    Some(beside.hook.departure)
}

#[test]
fn a_step_beside_the_oracle_names_the_node_of_an_edited_shader() {
    let Some(departure) = first_departure(None) else { return };
    assert!(departure.is_none(), "{}", departure.map_or_else(String::new, |d| d.check.to_string()));

    let shader = |name: &str| {
        let mut all = OPS.iter().flat_map(|op| (op.cases)()).flat_map(|case| shaders(&case, &Target::WEBGPU));
        all.find(|shader| shader.name == name).unwrap_or_else(|| panic!("there is no shader {name:?}"))
    };
    for (what, name, op, node) in [
        ("the derivative of x³ without its 3", "gelu_backward", "gelu_backward", "transformer.h.1.mlp"),
        (
            "a gradient that forgets what runs through the variance",
            "layer_norm/backward",
            "layer_norm_backward",
            "transformer.ln_f",
        ),
        ("stored where it should be added to", "embedding/backward", "embedding_backward", "transformer"),
        ("β₁ and β₂ swapped", "adamw", "adamw", "adamw"),
        ("epsilon below the root instead of beside it", "adamw", "adamw", "adamw"),
        ("rows by whole sixteens", "column_sum", "column_sum", "transformer.h.1.mlp"),
        ("two threads store one sum", "column_sum", "column_sum", "transformer.h.1.mlp"),
    ] {
        let Some(Some(departure)) = first_departure(Some((what, shader(name)))) else {
            panic!("{what}: every node stayed within its bound");
        };
        println!("{what}: {}", departure.check);
        assert_eq!(departure.check.op, op, "{what}: {}", departure.check);
        assert!(departure.check.case.contains(node), "{what}: {}", departure.check);
    }
}
