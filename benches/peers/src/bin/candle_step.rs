//! The step of preset `mini` in candle, on the CPU. Softmax and norms are its differentiable ones: the fused ones
//! have no backward.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::ops::softmax;
use candle_nn::{
    AdamW, Init, LayerNorm, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, layer_norm_no_bias,
};
use lal_peers::*;

struct Block {
    ln_1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    ln_2: LayerNorm,
    up: Linear,
    down: Linear,
}

struct Gpt {
    wte: Tensor,
    wpe: Tensor,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    /// 0 where a query sees a key, -∞ elsewhere.
    mask: Tensor,
}

fn normal(vb: &VarBuilder, shape: (usize, usize), name: &str) -> Result<Tensor> {
    vb.get_with_hints(shape, name, Init::Randn { mean: 0.0, stdev: 0.02 })
}

impl Block {
    fn new(vb: VarBuilder) -> Result<Self> {
        let linear =
            |from, to, name| Ok::<_, candle_core::Error>(Linear::new(normal(&vb, (to, from), name)?, None));
        Ok(Self {
            ln_1: layer_norm_no_bias(WIDTH, 1e-5, vb.pp("ln_1"))?,
            qkv: linear(WIDTH, 3 * WIDTH, "qkv")?,
            proj: linear(WIDTH, WIDTH, "proj")?,
            ln_2: layer_norm_no_bias(WIDTH, 1e-5, vb.pp("ln_2"))?,
            up: linear(WIDTH, 4 * WIDTH, "up")?,
            down: linear(4 * WIDTH, WIDTH, "down")?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.ln_1.forward(x)?)?;
        let heads = |part: usize| {
            let part = qkv.narrow(D::Minus1, part * WIDTH, WIDTH)?;
            part.reshape((BATCH, BLOCK, HEADS, WIDTH / HEADS))?.transpose(1, 2)?.contiguous()
        };
        let (q, k, v) = (heads(0)?, heads(1)?, heads(2)?);
        let scale = 1.0 / ((WIDTH / HEADS) as f64).sqrt();
        let scores = (q.matmul(&k.t()?)? * scale)?.broadcast_add(mask)?;
        let y = softmax(&scores, D::Minus1)?.matmul(&v)?;
        let y = y.transpose(1, 2)?.reshape((BATCH, BLOCK, WIDTH))?;
        let x = (x + self.proj.forward(&y)?)?;
        let hidden = self.up.forward(&self.ln_2.forward(&x)?)?.gelu_erf()?;
        x + self.down.forward(&hidden)?
    }
}

impl Gpt {
    fn new(vb: VarBuilder) -> Result<Self> {
        let seen = |i: usize| if i % BLOCK <= i / BLOCK { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (0..BLOCK * BLOCK).map(seen).collect();
        Ok(Self {
            wte: normal(&vb, (VOCABULARY, WIDTH), "wte")?,
            wpe: normal(&vb, (BLOCK, WIDTH), "wpe")?,
            blocks: (0..LAYERS).map(|i| Block::new(vb.pp(i))).collect::<Result<_>>()?,
            ln_f: layer_norm_no_bias(WIDTH, 1e-5, vb.pp("ln_f"))?,
            mask: Tensor::from_vec(mask, (1, 1, BLOCK, BLOCK), vb.device())?,
        })
    }

    fn loss(&self, tokens: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let embedded = self.wte.index_select(tokens, 0)?.reshape((BATCH, BLOCK, WIDTH))?;
        let mut x = embedded.broadcast_add(&self.wpe)?;
        for block in &self.blocks {
            x = block.forward(&x, &self.mask)?;
        }
        let x = self.ln_f.forward(&x)?.reshape((BATCH * BLOCK, WIDTH))?;
        candle_nn::loss::cross_entropy(&x.matmul(&self.wte.t()?)?, targets)
    }
}

fn main() -> Result<()> {
    let device = Device::Cpu;
    let vars = VarMap::new();
    let model = Gpt::new(VarBuilder::from_varmap(&vars, DType::F32, &device))?;
    let (matrices, vectors): (Vec<Var>, Vec<Var>) = vars.all_vars().into_iter().partition(|v| v.rank() >= 2);
    let all: Vec<Var> = matrices.iter().chain(&vectors).cloned().collect();
    let params = |weight_decay| ParamsAdamW {
        lr: LEARNING_RATE,
        beta1: BETAS.0,
        beta2: BETAS.1,
        eps: 1e-8,
        weight_decay,
    };
    let mut optimisers = [AdamW::new(matrices, params(WEIGHT_DECAY))?, AdamW::new(vectors, params(0.0))?];
    let mut step = |tokens: &[u32], targets: &[u32]| -> Result<f32> {
        let [tokens, targets] = [tokens, targets].map(|x| Tensor::from_slice(x, BATCH * BLOCK, &device));
        let loss = model.loss(&tokens?, &targets?)?;
        let mut gradients = loss.backward()?;
        let mut squares = 0.0;
        for gradient in all.iter().filter_map(|var| gradients.get(var)) {
            squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        let factor = (CLIP / squares.sqrt()).min(1.0);
        for var in &all {
            if let Some(gradient) = gradients.remove(var) {
                gradients.insert(var, (gradient * factor)?);
            }
        }
        for optimiser in &mut optimisers {
            optimiser.step(&gradients)?;
        }
        loss.to_scalar()
    };
    measure(|tokens, targets| step(tokens, targets).expect("a step"));
    Ok(())
}
