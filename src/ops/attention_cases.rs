//! The shapes and forms on which attention and its derivative are checked, and how far their kernels may be off.

use crate::ops::attention::Attention;
use crate::ops::prelude::*;

/// One form of attention on one shape.
#[derive(Clone, Copy, Debug)]
pub struct AttentionForm {
    pub op: Attention,
    pub batch: usize,
    pub time: usize,
    pub width: usize,
    /// Segments that are drawn from; 0 for none at all.
    packed: u32,
}

/// ((B, T, n_head, D), causal, dropout) of plain multi-head attention: on both sides of every tile edge (32 keys,
/// 64 queries, 32 channels); one that small bindings can split; and three blocks of keys, which `one_pass_split` takes in
/// two parts on a rasteriser.
const SHAPES: [([usize; 4], bool, f32); 16] = [
    ([1, 1, 1, 1], true, 0.0),
    ([2, 1, 3, 5], true, 0.2),
    ([1, 2, 1, 1], false, 0.0),
    ([3, 7, 2, 3], true, 0.0),
    ([1, 31, 1, 33], true, 0.0),
    ([1, 33, 2, 31], false, 0.0),
    ([2, 63, 1, 7], true, 0.2),
    ([1, 64, 4, 32], true, 0.0),
    ([1, 65, 1, 64], true, 0.0),
    ([2, 67, 2, 16], false, 0.2),
    ([1, 97, 1, 100], true, 0.0),
    ([1, 131, 1, 8], true, 0.2),
    ([1, 129, 1, 128], false, 0.0),
    ([1, 5, 1, 131], true, 0.0),
    ([11, 8, 4, 1], true, 0.2),
    ([5, 130, 1, 4], true, 0.2),
];

/// ((B, T, n_head, n_kv_head, D), window, dropout, segments) of causal attention: windows of one key, within a tile,
/// across tiles and blocks, as long as the rows and longer; and packed rows.
const WINDOWS: [([usize; 5], usize, f32, u32); 7] = [
    ([2, 9, 2, 2, 3], 1, 0.0, 0),
    ([1, 67, 4, 2, 5], 7, 0.2, 0),
    ([1, 131, 1, 1, 33], 33, 0.0, 0),
    ([2, 130, 2, 1, 8], 64, 0.0, 0),
    ([1, 97, 1, 1, 40], 97, 0.0, 0),
    ([3, 33, 3, 1, 4], 200, 0.0, 0),
    ([9, 70, 2, 2, 1], 35, 0.2, 2),
];

/// ((B, T, n_head, n_kv_head, D), causal, dropout, ALiBi, segments): groups of heads; slopes of a number of heads
/// that is a power of two and of others; segments so many that the first tile holds none of a query's keys; and
/// all of it together, once where small bindings can split it.
const FORMS: [([usize; 5], bool, f32, bool, u32); 11] = [
    ([2, 5, 4, 2, 3], true, 0.0, false, 0),
    ([1, 67, 6, 2, 5], true, 0.2, false, 0),
    ([2, 33, 3, 1, 40], false, 0.0, false, 0),
    ([2, 35, 3, 3, 8], true, 0.0, true, 0),
    ([1, 70, 6, 3, 2], false, 0.0, true, 0),
    ([1, 131, 1, 1, 33], true, 0.0, true, 0),
    ([3, 7, 2, 2, 3], true, 0.0, false, 2),
    ([2, 65, 1, 1, 8], false, 0.2, false, 3),
    ([1, 100, 2, 1, 16], true, 0.0, false, 40),
    ([2, 66, 5, 1, 7], true, 0.2, true, 2),
    ([9, 64, 2, 1, 1], true, 0.0, true, 3),
];

/// All of them.
pub fn forms() -> impl Iterator<Item = AttentionForm> {
    let plain =
        |([b, t, n, d], causal, dropout): ([usize; 4], _, _)| ([b, t, n, n, d], causal, dropout, false, 0);
    let forms = SHAPES.into_iter().map(plain).chain(FORMS).map(
        |([batch, time, n_head, n_kv_head, width], causal, dropout, alibi, packed)| {
            let attention = Attention::new(n_head, causal);
            let op = Attention { n_kv_head, alibi, dropout, salt: 7, ..attention };
            AttentionForm { op, batch, time, width, packed }
        },
    );
    let windows =
        WINDOWS.into_iter().map(|([batch, time, n_head, n_kv_head, width], window, dropout, packed)| {
            // Smaller than 1/√D, so that bounds that assume that hold.
            let scale = Some(0.7 / (width as f32).sqrt());
            let attention = Attention::new(n_head, true);
            let op = Attention { n_kv_head, window, scale, dropout, salt: 7, ..attention };
            AttentionForm { op, batch, time, width, packed }
        });
    forms.chain(windows)
}

impl AttentionForm {
    pub fn qkv(&self) -> Spec {
        Spec::f32([self.batch, self.time, (self.op.n_head + 2 * self.op.n_kv_head) * self.width])
    }

    pub fn out(&self) -> Spec {
        Spec::f32([self.batch, self.time, self.op.n_head * self.width])
    }

    pub fn lse(&self) -> Spec {
        Spec::f32([self.batch, self.op.n_head, self.time])
    }

    /// A case of these operands, and of the segments if there are any.
    pub fn case(&self, op: impl AnyOp, operands: &[Spec], bound: Bound) -> Case {
        let mut operands = operands.to_vec();
        let last = operands.len();
        if self.packed == 0 {
            return Case::new(op, &operands, bound);
        }
        operands.push(Spec::u32([self.batch, self.time]));
        Case::new(op, &operands, bound).with(last, Fill::Index(self.packed))
    }
}

/// Units of rounding of ALiBi's penalty relative to itself: its slope is an exponential of down to 2⁻⁸, charged
/// 4 + 2|x| as any, and then multiplied and subtracted.
const PENALTY: f64 = 22.0;

/// A score is a sum of D products of at most M² over √D: D·M²/√D in magnitude, and rounding walks √D of its
/// units, of which most are far smaller than the largest. The same error, absolute, is the relative one of a
/// probability, to which exp adds 3 + 2|x| units where p|x| stays below 1/e. Probabilities sum to 1, so out
/// inherits it times the largest value; the sum over keys walks √T units more, and dropout scales by 1/(1-p).
///
/// A penalty is off by units of itself. However far they reach, those that matter are not larger than scores can
/// differ, 2√D·M², and a little more: beyond, a probability falls faster than its penalty grows.
pub fn bound([time, width]: [usize; 2], alibi: bool, largest: f64) -> Bound {
    let product = (width as f64).sqrt() * largest * largest;
    let penalty = if alibi { PENALTY * (1.0 + 2.0 * product).min(time as f64) } else { 0.0 };
    let units = 2.0 * (4.0 * product + penalty) + 16.0 + 4.0 * (time as f64).sqrt();
    Bound::new(4.0, 1.25 * units * largest.max(1.0))
}

/// Operands are drawn apart, so p = exp(s - lse) is no probability; lse between 2 and 4 keeps it well below 1.
/// p carries the error of a score of D products, 4√D units as in the forward pass, and 16 of exp and of sums; a
/// penalty x is off by units of itself, of which x e^(-x) ≤ 1/e is left in p.
/// dp and δ are sums of D products, which grow and round by √D and are divided by √D, so that ds is about
/// p times the largest dout, with the relative error of p. Each gradient adds the terms of T positions, of keys
/// those of every head that shares them: their errors walk the root of their number.
pub fn backward_bound(form: &AttentionForm, largest: f64) -> Bound {
    let terms = (form.time * form.op.n_head / form.op.n_kv_head) as f64;
    let penalty = if form.op.alibi { PENALTY / std::f64::consts::E } else { 0.0 };
    Bound::new(4.0, terms.sqrt() * (4.0 * (form.width as f64).sqrt() + penalty + 16.0) * largest)
}
