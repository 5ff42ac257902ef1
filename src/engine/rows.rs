//! Loops over rows, spread over the CPU pool and compiled for the processor at hand.

use super::real::Real;

/// Rows are handed to another core only in portions of about this many elements: waking it costs more
/// than a few thousand multiply-adds.
const PORTION: usize = 8 * 1024;

/// Calls `f(row, [out₀[row], out₁[row], …])` for every row of the outputs, each given with its width; the last
/// row may be shorter.
///
/// Rows run in parallel and in no fixed order, so `f` writes nothing but its own rows; inside a row the
/// order is the one written, which keeps results the same for any number of threads. `work` is the number
/// of elements one row touches.
pub fn for_rows<F: Real, const N: usize>(
    outputs: [(&mut [F], usize); N],
    work: usize,
    f: impl Fn(usize, [&mut [F]; N]) + Sync,
) {
    let Some(rows) = outputs.iter().map(|(out, width)| out.len().div_ceil((*width).max(1))).max() else {
        return;
    };
    let portion = (PORTION / work.max(1)).max(1).max(rows.div_ceil(4 * rayon::current_num_threads()));
    split(0, rows, portion, outputs, &f);
}

fn split<F: Real, const N: usize>(
    first: usize,
    rows: usize,
    portion: usize,
    outputs: [(&mut [F], usize); N],
    f: &(impl Fn(usize, [&mut [F]; N]) + Sync),
) {
    if rows <= portion {
        return vectorised(first, rows, outputs, f);
    }
    let half = rows / 2;
    let mut upper = [const { None }; N];
    let mut i = 0;
    let lower = outputs.map(|(out, width)| {
        let (low, high) = out.split_at_mut(half * width);
        upper[i] = Some((high, width));
        i += 1;
        (low, width)
    });
    let upper = upper.map(|half| half.unwrap_or((&mut [], 0)));
    rayon::join(
        || split(first, half, portion, lower, f),
        || split(first + half, rows - half, portion, upper, f),
    );
}

fn vectorised<F: Real, const N: usize>(
    first: usize,
    rows: usize,
    outputs: [(&mut [F], usize); N],
    f: &impl Fn(usize, [&mut [F]; N]),
) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut rest = outputs;
            for row in 0..rows {
                let mut i = 0;
                let out = [const { None::<&mut [F]> }; N].map(|_| {
                    let (out, width) = &mut rest[i];
                    let width = out.len().min(*width);
                    let (head, tail) = std::mem::take(out).split_at_mut(width);
                    *out = tail;
                    i += 1;
                    head
                });
                f(first + row, out);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once_with_its_own_slices() {
        let (mut a, mut b) = (vec![0f32; 1236 * 3 + 2], vec![0f32; 1237]);
        for_rows([(&mut a, 3), (&mut b, 1)], 1000, |row, [a, b]| {
            a.iter_mut().for_each(|x| *x += row as f32);
            b[0] += 1.0;
        });
        assert!(b.iter().all(|&x| x == 1.0));
        assert!((0..a.len()).all(|i| a[i] == (i / 3) as f32));
    }
}
