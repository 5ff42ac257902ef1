//! The kernel of attention_backward that computes the probabilities once: by blocks of keys, each with all its queries.

use crate::ops::attention_common::Extent;
use crate::ops::heads::batch_ranges;
use crate::ops::prelude::*;

const ONE_PASS: Shader = shader!("attention/one_pass", "hash", "step", "alibi", "segments", "products");
const SUM: Shader = shader!("attention/one_pass_sum");

/// Bytes of workgroup memory and invocations of its workgroups.
const MEMORY: u32 = (2 * 2 * 16 * 16 + 32) * 16;
const SIZE: u32 = 128;
/// Keys of a block.
const SIDE: usize = 64;

/// Workgroups that keep a large GPU busy, and a rasteriser on the CPU.
const ENOUGH_WORKGROUPS: usize = 512;
const ENOUGH_OF_SOFTWARE: usize = 8;

/// A dispatch with the settings of attention and the segments of so many items of the batch, from one on.
pub(super) type Described<'a> = dyn Fn(Shader, (usize, usize)) -> Dispatch + 'a;

/// The kernels, where heads are made of whole vectors and a workgroup has the memory: with all keys of a head in one
/// workgroup, and in several if a head's keys are many and heads few.
pub(super) fn one_pass(e: &Extent, packed: bool, target: &Target, described: &Described) -> Vec<Kernel> {
    if !e.width.is_multiple_of(4) || MEMORY > target.workgroup_memory || SIZE > target.workgroup_size {
        return Vec::new();
    }
    let splits = splits(e, target);
    let mut kernels = vec![Kernel { variant: "one_pass", ..in_splits(1, e, packed, target, described) }];
    if splits > 1 {
        kernels.push(in_splits(splits, e, packed, target, described));
    }
    kernels
}

fn in_splits(splits: usize, e: &Extent, packed: bool, target: &Target, described: &Described) -> Kernel {
    let [qkv, out, lse] = [e.time * e.row(), e.time * e.channels(), e.time * e.n_head];
    let partials = if splits > 1 { splits * out } else { 0 };
    let mut widths = vec![qkv, out, lse];
    widths.extend(packed.then_some(e.time));
    widths.extend((splits > 1).then_some(partials));
    let mut dispatches = Vec::new();
    for (first, n) in batch_ranges(target, e.batch, &widths) {
        let bind_partials = |dispatch: Dispatch| match splits {
            1 => dispatch.bind_part("partials", Scratch, 0, 4),
            _ => dispatch.bind_part("partials", Scratch, first * partials, n * partials),
        };
        let heads = n * e.n_kv_head;
        let dispatch = described(ONE_PASS, (first, n))
            .bind_part("qkv", In(0), first * qkv, n * qkv)
            .bind_part("out", In(1), first * out, n * out)
            .bind_part("lse", In(2), first * lse, n * lse)
            .bind_part("dout", In(3), first * out, n * out)
            .bind_part("dqkv", Out(0), first * qkv, n * qkv)
            .param("heads", heads)
            .param("width", e.width)
            .param("splits", splits)
            .groups(heads * splits, target);
        dispatches.push(bind_partials(dispatch));
        if splits > 1 {
            let sum = Dispatch::new(SUM)
                .bind_part("dqkv", Out(0), first * qkv, n * qkv)
                .param("item", out)
                .param("splits", splits)
                .param("out_row", e.channels())
                .param("qkv_row", e.row())
                .elements(n * out, target);
            dispatches.push(bind_partials(sum));
        }
    }
    Kernel { scratch: (e.batch * partials).max(4), ..Kernel::new("one_pass_split", dispatches) }
}

/// Into how many parts the blocks of keys of a head go: as many as fill the device, if their sums fit a binding.
fn splits(e: &Extent, target: &Target) -> usize {
    let most = target.max_binding_bytes / (4 * (e.time * e.channels()).max(1) as u64);
    let enough = if target.software { ENOUGH_OF_SOFTWARE } else { ENOUGH_WORKGROUPS };
    let wanted = enough.div_ceil(e.batch * e.n_kv_head);
    wanted.min(e.time.div_ceil(SIDE)).min(most as usize).max(1)
}
