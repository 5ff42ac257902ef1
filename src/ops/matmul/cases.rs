//! The shapes that matmul is checked on.

use super::Matmul;
use crate::ops::prelude::*;

/// (m, n, k): ones, primes, vectors, sizes around every tile edge, a k that is worth splitting, with sums for more
/// workgroups than a folded grid is wide, 257 rows of 64 in each operand, to be bound in parts, and a k that is summed in
/// two runs. The last two fit bindings of 256 elements in parts of 64 rows: of k where A is transposed, which begin
/// inside the rows of a transposed B, and of n, inside those of C.
const EXTENTS: [(usize, usize, usize); 18] = [
    (1, 1, 1),
    (1, 65, 33),
    (67, 1, 5),
    (3, 5, 129),
    (17, 64, 16),
    (64, 63, 65),
    (65, 64, 15),
    (70, 129, 17),
    (128, 66, 8),
    (2, 257, 64),
    (132, 260, 36),
    (1, 33, 300),
    (68, 19, 389),
    (2, 64, 257),
    (257, 64, 12),
    (3, 5, 4099),
    (4, 2, 128),
    (1, 130, 4),
];

/// Those that are also scaled, biased, added to a sum and batched: on and off every edge, for every variant, and with
/// k bound in parts, of which one alone adds the bias.
const IN_FULL: [(usize, usize, usize); 7] =
    [(17, 64, 16), (70, 129, 17), (1, 33, 300), (68, 19, 389), (3, 5, 4099), (4, 2, 128), (1, 130, 4)];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (m, n, k) in EXTENTS {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if transpose_a { [k, m] } else { [m, k] };
            let b = if transpose_b { [n, k] } else { [k, n] };
            let plain = Matmul { transpose_a, transpose_b, ..Matmul::default() };
            let operands = [Spec::f32(a), Spec::f32(b), Spec::f32([n]), Spec::f32([m, n])];
            // A product of k terms in ±1; four units each, as fused and separate rounding differ.
            let bound = Bound::sum(k + 2, 1.0);
            cases.push(Case::new(plain, &operands[..2], bound));
            if IN_FULL.contains(&(m, n, k)) {
                let scaled = Matmul { scale: 0.3, bias: true, ..plain };
                cases.push(Case::new(scaled, &operands[..3], bound));
                let all = Matmul { bias: true, accumulate: true, ..plain };
                cases.push(Case::new(all, &operands, bound));
                let batched = Matmul { batched: true, ..plain };
                let triple = |[rows, width]: [usize; 2]| Spec::f32([3, rows, width]);
                cases.push(Case::new(batched, &[triple(a), triple(b)], bound));
            }
        }
    }
    cases
}
