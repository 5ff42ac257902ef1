//! The step of preset `mini` in burn: on the CPU (`flex`) or, with the feature `wgpu`, on a GPU.

use burn::module::{ModuleVisitor, Param, ParamGroup};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::gelu;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use lal_peers::*;

const NORMAL: Initializer = Initializer::Normal { mean: 0.0, std: 0.02 };

#[derive(Module, Debug)]
struct Block {
    ln_1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    ln_2: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Module, Debug)]
struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
}

fn norm(device: &Device) -> LayerNorm {
    LayerNormConfig::new(WIDTH).with_bias(false).init(device)
}

impl Block {
    fn new(device: &Device) -> Self {
        let linear =
            |from, to| LinearConfig::new(from, to).with_bias(false).with_initializer(NORMAL).init(device);
        Self {
            ln_1: norm(device),
            qkv: linear(WIDTH, 3 * WIDTH),
            proj: linear(WIDTH, WIDTH),
            ln_2: norm(device),
            up: linear(WIDTH, 4 * WIDTH),
            down: linear(4 * WIDTH, WIDTH),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.qkv.forward(self.ln_1.forward(x.clone()));
        let heads = |part: usize| {
            let part = qkv.clone().narrow(2, part * WIDTH, WIDTH);
            part.reshape([BATCH, BLOCK, HEADS, WIDTH / HEADS]).swap_dims(1, 2)
        };
        let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let y = attention(heads(0), heads(1), heads(2), None, None, causal);
        let x = x + self.proj.forward(y.swap_dims(1, 2).reshape([BATCH, BLOCK, WIDTH]));
        let hidden = gelu(self.up.forward(self.ln_2.forward(x.clone())));
        x + self.down.forward(hidden)
    }
}

impl Gpt {
    fn new(device: &Device) -> Self {
        let table = |rows| EmbeddingConfig::new(rows, WIDTH).with_initializer(NORMAL).init(device);
        Self {
            wte: table(VOCABULARY),
            wpe: table(BLOCK),
            blocks: (0..LAYERS).map(|_| Block::new(device)).collect(),
            ln_f: norm(device),
        }
    }

    fn loss(&self, tokens: Tensor<2, Int>, targets: Tensor<1, Int>, device: &Device) -> Tensor<1> {
        let positions = Tensor::<1, Int>::arange(0..BLOCK as i64, device).unsqueeze::<2>();
        let mut x = self.wte.forward(tokens) + self.wpe.forward(positions);
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.ln_f.forward(x).reshape([BATCH * BLOCK, WIDTH]);
        let logits = x.matmul(self.wte.weight.val().transpose());
        CrossEntropyLossConfig::new().init(device).forward(logits, targets)
    }
}

/// Σ g² over all parameters.
struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let squares = gradient.square().sum();
            self.sum = Some(self.sum.take().map_or_else(|| squares.clone(), |sum| sum + squares.clone()));
        }
    }
}

/// Multiplies every gradient with a factor.
struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor.clone().unsqueeze());
        }
    }
}

fn main() {
    let device = match std::env::args().nth(1).as_deref() {
        #[cfg(feature = "wgpu")]
        Some("wgpu") => Device::wgpu(Default::default()),
        Some("flex") => Device::flex(),
        _ => panic!("usage: burn_step flex|wgpu [STEPS] (wgpu needs the feature of that name)"),
    }
    .autodiff();
    let mut model = Some(Gpt::new(&device));
    let adamw = |weight_decay| {
        let (beta_1, beta_2) = (BETAS.0 as f32, BETAS.1 as f32);
        AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(1e-8)
            .with_weight_decay(weight_decay)
    };
    // Vectors, of which there are those of the norms alone, do not decay.
    let mut optimiser: ModuleOptimizer = adamw(WEIGHT_DECAY as f32).init().with_group(
        ParamGroup::from_predicate("gamma"),
        adamw(0.0).build(),
        None,
    );
    measure(|tokens, targets| {
        let mut trained = model.take().expect("a model");
        let ints = |x: &[u32]| x.iter().map(|&x| x as i32).collect::<Vec<_>>();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ints(tokens), [BATCH, BLOCK]), &device);
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ints(targets), [BATCH * BLOCK]), &device);
        let loss = trained.loss(tokens, targets, &device);
        let mut gradients = GradientsParams::from_grads(loss.backward(), &trained);
        let mut squares = Squares { gradients: &gradients, sum: None };
        trained.visit(&mut squares);
        let norm = squares.sum.expect("gradients").sqrt();
        let factor = (norm.recip() * CLIP).clamp_max(1.0);
        trained.visit(&mut Scale { gradients: &mut gradients, factor });
        trained = optimiser.step(LEARNING_RATE, trained, gradients);
        model = Some(trained);
        loss.into_scalar::<f32>()
    });
}
