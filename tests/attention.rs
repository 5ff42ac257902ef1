//! Fused attention against attention written as matmul → softmax → matmul, and its dropout and derivative
//! against sums and differences that do not share its code.

use std::collections::HashMap;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::{Device, HostData};
use lal::engine::hash::{keep, mask_key, threshold};
use lal::engine::op::{OpError, Var};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::{Init, Parameter, Tape};
use lal::engine::tensor::Spec;
use lal::engine::twin::Elements;
use lal::ops::attention::Attention;
use lal::ops::heads::{MergeHeads, SplitHeads};
use lal::ops::matmul::Matmul;
use lal::ops::softmax::Softmax;

const SEED: u32 = 77;

#[derive(Clone, Copy, Debug)]
struct Extent {
    b: usize,
    t: usize,
    h: usize,
    d: usize,
}

/// Numbers in ±1 that are whole multiples of 2⁻¹², so that a step of 2⁻¹⁰ to either side is exact.
fn numbers(n: usize, salt: usize) -> Vec<f32> {
    (0..n).map(|i| (((i + salt) * 2_654_435_761 % 8191) as f32 - 4095.0) / 4096.0).collect()
}

fn composed(tape: &mut Tape, qkv: Var, e: Extent, causal: bool) -> Result<Var, OpError> {
    let split = |part| SplitHeads { n_head: e.h, part, of: 3 };
    let q = tape.apply_one(split(0), &[qkv])?;
    let k = tape.apply_one(split(1), &[qkv])?;
    let v = tape.apply_one(split(2), &[qkv])?;
    let scale = 1.0 / (e.d as f32).sqrt();
    let scores = Matmul { transpose_b: true, batched: true, scale, ..Matmul::default() };
    let scores = tape.apply_one(scores, &[q, k])?;
    let p = tape.apply_one(Softmax { causal }, &[scores])?;
    let heads = tape.apply_one(Matmul { batched: true, ..Matmul::default() }, &[p, v])?;
    tape.apply_one(MergeHeads { n_head: e.h }, &[heads])
}

/// out and dqkv for Σ out · dout, by the f64 twins.
fn run(
    e: Extent,
    qkv: &[f32],
    dout: &[f32],
    record: impl FnOnce(&mut Tape, Var) -> Result<Var, OpError>,
) -> [Vec<f64>; 2] {
    let mut tape = Tape::new("all");
    let rows = [e.b, e.t, e.h * e.d];
    let x = tape.parameter("qkv", [e.b, e.t, 3 * e.h * e.d], Init::Constant(0.0), Parameter::Outer);
    let upstream = tape.input("dout", Spec::f32(rows));
    let out = record(&mut tape, x).expect("operands fit");
    let gradients = tape.backward(&[(out, upstream)], &HashMap::new()).expect("derivatives exist");
    let plan = Arc::new(Plan::new(&tape, &[out, gradients[&x]]).expect("nothing is overwritten"));
    let mut cpu = Cpu::<f64>::default();
    let id = cpu.load(&plan, 0).expect("memory suffices");
    cpu.write("qkv", qkv).expect("the parameter exists");
    cpu.set_input(id, "dout", HostData::F32(dout)).expect("the input exists");
    cpu.run(id, 0, &Step { seed: SEED, ..Step::default() }).expect("a twin cannot fail");
    let read = |i: usize| match cpu.elements(id, plan.phases[0].results[i]) {
        Elements::Real(x) => x[..[rows.iter().product(), qkv.len()][i]].to_vec(),
        Elements::Index(_) => Vec::new(),
    };
    [read(0), read(1)]
}

fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}[{i}]: {got} is not {want}");
    }
}

#[test]
fn fused_attention_and_its_derivative_equal_the_composition() {
    for (b, t, h, d) in
        [(1, 1, 1, 1), (2, 3, 2, 5), (1, 64, 1, 8), (2, 65, 3, 4), (1, 131, 2, 16), (1, 200, 1, 3)]
    {
        for causal in [false, true] {
            let e = Extent { b, t, h, d };
            let (qkv, dout) = (numbers(b * t * 3 * h * d, 1), numbers(b * t * h * d, 5));
            let attention = Attention { salt: 3, ..Attention::new(h, causal) };
            let fused = run(e, &qkv, &dout, |tape, x| Ok(tape.apply(attention, &[x])?[0]));
            let parts = run(e, &qkv, &dout, |tape, x| composed(tape, x, e, causal));
            // The matmul's scale is rounded to f32 on its way.
            assert_close(&fused[0], &parts[0], 1e-6, &format!("out of {e:?}"));
            assert_close(&fused[1], &parts[1], 1e-5, &format!("dqkv of {e:?}"));
        }
    }
}

/// out by the formula, one probability at a time.
fn by_formula(e: Extent, x: &[f64], causal: bool, p_drop: f32, salt: u32) -> Vec<f64> {
    let (c, mut out) = (e.h * e.d, vec![0.0; e.b * e.t * e.h * e.d]);
    for (b, h) in (0..e.b).flat_map(|b| (0..e.h).map(move |h| (b, h))) {
        let at = |part: usize, t: usize, d: usize| x[(b * e.t + t) * 3 * c + part * c + h * e.d + d];
        for t in 0..e.t {
            let seen = if causal { t + 1 } else { e.t };
            let score = |s: usize| (0..e.d).map(|d| at(0, t, d) * at(1, s, d)).sum::<f64>();
            let p: Vec<_> = (0..seen).map(|s| (score(s) / (e.d as f64).sqrt()).exp()).collect();
            let sum: f64 = p.iter().sum();
            for (s, p) in p.iter().enumerate() {
                let index = ((b * e.h + h) * e.t + t) * e.t + s;
                if keep(mask_key(SEED, salt), index as u32, threshold(p_drop)) {
                    let kept = p / sum / f64::from(1.0 - p_drop);
                    (0..e.d).for_each(|d| out[(b * e.t + t) * c + h * e.d + d] += kept * at(2, s, d));
                }
            }
        }
    }
    out
}

#[test]
fn dropout_follows_the_hash_and_the_derivative_the_differences() {
    for (b, t, h, d, causal) in [(2, 5, 2, 3, true), (1, 67, 1, 2, true), (1, 6, 3, 4, false)] {
        let e = Extent { b, t, h, d };
        let (qkv, dout) = (numbers(b * t * 3 * h * d, 2), numbers(b * t * h * d, 9));
        let attention = Attention { dropout: 0.2, salt: 3, ..Attention::new(h, causal) };
        let fused = run(e, &qkv, &dout, |tape, x| Ok(tape.apply(attention, &[x])?[0]));
        let mut x: Vec<f64> = qkv.iter().map(|&x| x.into()).collect();
        assert_close(&fused[0], &by_formula(e, &x, causal, 0.2, 3), 1e-6, &format!("out of {e:?}"));

        const STEP: f64 = 1.0 / 1024.0;
        let mut loss = |i: usize, by: f64| -> f64 {
            x[i] += by;
            let out = by_formula(e, &x, causal, 0.2, 3);
            x[i] -= by;
            out.iter().zip(&dout).map(|(out, &dout)| out * f64::from(dout)).sum()
        };
        let slopes: Vec<_> =
            (0..qkv.len()).map(|i| (loss(i, STEP) - loss(i, -STEP)) / (2.0 * STEP)).collect();
        assert_close(&fused[1], &slopes, 1e-5, &format!("dqkv of {e:?}"));
    }
}
