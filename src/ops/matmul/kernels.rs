//! The kernels of matmul: which there are, for what, and how one product becomes dispatches.
//!
//! | variant | for |
//! |---|---|
//! | `naive` | reading; a thread per element |
//! | `register` | software adapters: 8×8 per thread, no workgroup memory |
//! | `tiled`, `tiled_tall`, `tiled_large` | GPUs: 64×64, 128×64 and 128×128 per workgroup, staged in workgroup memory |
//! | `split_k`, `split_k_large` | GPUs: few tiles and a long k, as in gradients of weights; two passes |
//! | `gemv` | GPUs: a single row, as in decoding |

use super::tiles::{LARGE, SMALL, TALL, Tile, parts};
use super::{Extents, Matmul};
use crate::ops::prelude::*;

const NAIVE: Shader = shader!("matmul/naive");
const REGISTER: Shader = shader!("matmul/register", "matmul", "store");
const TILED: Shader = shader!("matmul/tiled", "matmul", "store");
const TILED_VECTORS: Shader = shader!("matmul/tiled", "matmul", "store_vectors");
const SPLIT_SUM: Shader = shader!("matmul/split_sum");
const GEMV: Shader = shader!("matmul/gemv");

/// The variants of `matmul/tiled`, and those in parts along k.
const TILES: [(&str, Tile); 3] = [("tiled", SMALL), ("tiled_tall", TALL), ("tiled_large", LARGE)];
const SPLITS: [(&str, Tile); 2] = [("split_k", SMALL), ("split_k_large", LARGE)];

/// Invocations of a workgroup of `gemv`.
const GEMV_SIZE: u32 = 256;

/// All variants that apply, the one to take without measuring last.
pub(super) fn kernels(op: &Matmul, operands: &Operands, target: &Target) -> Vec<Kernel> {
    let product = Product::new(op, operands, target);
    let Extents { m, n, .. } = product.extents;
    let mut kernels = vec![product.kernel("naive", |part| {
        part.dispatch(NAIVE).grid(part.n.len.div_ceil(8), part.m.len.div_ceil(8), part.batch)
    })];
    if product.has_blocks() {
        kernels.push(product.kernel("register", |part| part.register(target)));
    }
    if product.has_blocks() {
        let fits = |tile: Tile| {
            let is_as_large = m > tile.m - 64 && n > tile.n - 64;
            is_as_large
                && tile.stage_bytes() <= target.workgroup_memory
                && tile.threads() <= target.workgroup_size
        };
        for (variant, tile) in TILES.into_iter().filter(|(_, tile)| fits(*tile)) {
            kernels.push(product.kernel(variant, |part| part.tiled(tile, target)));
        }
        for (variant, tile) in SPLITS.into_iter().filter(|(_, tile)| fits(*tile)) {
            kernels.extend(product.split_k(variant, tile, target));
        }
    }
    if m == 1 && GEMV_SIZE <= target.workgroup_size {
        kernels.push(product.kernel("gemv", |part| part.gemv()));
    }
    let best = product.best(&kernels, target);
    kernels.sort_by_key(|kernel| kernel.variant == best);
    kernels
}

/// A range of one extent.
#[derive(Clone, Copy)]
struct Range {
    first: usize,
    len: usize,
}

/// One application of matmul, and how it is cut where an operand does not fit a binding.
struct Product<'a> {
    op: &'a Matmul,
    extents: Extents,
    a_width: usize,
    b_width: usize,
    m_ranges: Vec<Range>,
    n_ranges: Vec<Range>,
    k_ranges: Vec<Range>,
}

/// What one dispatch computes: a part of C, or of the sums in it.
struct Part<'a> {
    product: &'a Product<'a>,
    batch: usize,
    m: Range,
    n: Range,
    k: Range,
}

impl<'a> Product<'a> {
    fn new(op: &'a Matmul, operands: &Operands, target: &Target) -> Self {
        let (a, b) = (operands.in_shape(0), operands.in_shape(1));
        let (extents, _) = op.extents(a, b);
        let Extents { m, n, k, .. } = extents;
        // Each extent is cut where it counts rows of an operand that does not fit.
        let ranges = |rows: usize, widths: &[Option<usize>]| {
            let width = widths.iter().flatten().max();
            let most = width.map_or(rows, |&width| (target.max_binding_bytes / (4 * width as u64)) as usize);
            // 64 rows are a whole number of alignments at any width, so one cut serves several operands.
            let step = if op.batched || rows <= most { rows } else { (most / 64 * 64).max(64) };
            (0..rows).step_by(step).map(|first| Range { first, len: step.min(rows - first) }).collect()
        };
        Self {
            op,
            extents,
            a_width: a.width(),
            b_width: b.width(),
            m_ranges: ranges(m, &[Some(n), (!op.transpose_a).then_some(k)]),
            n_ranges: ranges(n, &[op.transpose_b.then_some(k)]),
            k_ranges: ranges(k, &[op.transpose_a.then_some(m), (!op.transpose_b).then_some(n)]),
        }
    }

    /// One dispatch per part.
    fn kernel(&self, variant: &'static str, dispatch: impl Fn(&Part) -> Dispatch) -> Kernel {
        let mut dispatches = Vec::new();
        for &m in &self.m_ranges {
            for &n in &self.n_ranges {
                for &k in &self.k_ranges {
                    dispatches.push(dispatch(&Part { product: self, batch: self.extents.batch, m, n, k }));
                }
            }
        }
        Kernel::new(variant, dispatches)
    }

    /// Whether operands hold a vector of four, the least that kernels made of blocks bind.
    fn has_blocks(&self) -> bool {
        let Extents { batch, m, n, k } = self.extents;
        batch * m * k >= 4 && batch * k * n >= 4
    }

    /// `tiled` on several parts of k at once into scratch memory, then their sum.
    fn split_k(&self, variant: &'static str, tile: Tile, target: &Target) -> Option<Kernel> {
        let Extents { batch, m, n, k } = self.extents;
        let (steps, splits) = parts(k, tile.splits(self.extents)?);
        let scratch = splits * m * n;
        let whole = [&self.m_ranges, &self.n_ranges, &self.k_ranges].iter().all(|ranges| ranges.len() == 1);
        if batch > 1 || splits < 2 || !whole || 4 * scratch as u64 > target.max_binding_bytes {
            return None;
        }
        let plain = Matmul { scale: 1.0, bias: false, accumulate: false, ..*self.op };
        let partial = Product {
            op: &plain,
            m_ranges: self.m_ranges.clone(),
            n_ranges: self.n_ranges.clone(),
            k_ranges: self.k_ranges.clone(),
            ..*self
        };
        let mut kernel = partial.kernel(variant, |part| part.split(tile, splits, steps, target));
        let sum = Dispatch::new(SPLIT_SUM)
            .bind("partials", Scratch)
            .bind("c", Out(0))
            .param("n", n)
            .param("splits", splits)
            .param("scale", self.op.scale)
            .param("accumulate", self.op.accumulate)
            .param("add_bias", self.op.bias)
            .elements(m * n, target);
        kernel.dispatches.push(self.bind_bias(sum));
        kernel.scratch = scratch;
        Some(kernel)
    }

    /// Binds the bias, or without one an element that is not read.
    fn bind_bias(&self, dispatch: Dispatch) -> Dispatch {
        match self.op.bias {
            true => dispatch.bind("bias", In(2)),
            false => dispatch.bind_part("bias", In(0), 0, 1),
        }
    }

    /// The variant to take without measuring.
    fn best(&self, kernels: &[Kernel], target: &Target) -> &'static str {
        // Workgroup memory pays on a GPU; on a CPU it is one more copy.
        if target.software {
            return "register";
        }
        if self.extents.m == 1 {
            return "gemv";
        }
        let whole = TILES.map(|(variant, tile)| (variant, tile, Some(1)));
        let split = SPLITS.map(|(variant, tile)| (variant, tile, tile.splits(self.extents)));
        let estimates = whole.into_iter().chain(split).filter_map(|(variant, tile, splits)| {
            let is_there = kernels.iter().any(|kernel| kernel.variant == variant);
            // Workgroups share a multiprocessor, so that the last of them cost less than a turn: only where parts save
            // much are they worth their second dispatch.
            let doubt = if splits == Some(1) { 1.0 } else { 1.5 };
            splits.filter(|_| is_there).map(|splits| (variant, doubt * tile.cycles(self.extents, splits)))
        });
        estimates.min_by(|one, other| one.1.total_cmp(&other.1)).map_or("naive", |(variant, _)| variant)
    }
}

impl Part<'_> {
    /// Parameters, bias and switches, which all kernels share.
    fn shared(&self, shader: Shader) -> Dispatch {
        let Product { op, a_width, b_width, extents, .. } = self.product;
        let dispatch = Dispatch::new(shader)
            .constant("TRANSPOSE_B", op.transpose_b.into())
            .param("m", self.m.len)
            .param("n", self.n.len)
            .param("k", self.k.len)
            .param("a_width", *a_width)
            .param("b_width", *b_width)
            .param("c_width", extents.n)
            .param("a_col", if op.transpose_a { self.m.first } else { self.k.first })
            .param("b_col", if op.transpose_b { self.k.first } else { self.n.first })
            .param("c_col", self.n.first)
            .param("scale", op.scale)
            .param("accumulate", op.accumulate || self.k.first > 0)
            .param("add_bias", op.bias && self.k.first == 0);
        self.product.bind_bias(dispatch)
    }

    /// Binds the rows of each operand that this part needs.
    fn bind_rows(&self, dispatch: Dispatch, c: Operand) -> Dispatch {
        let Product { op, a_width, b_width, extents, .. } = self.product;
        let a_rows = if op.transpose_a { self.k } else { self.m };
        let b_rows = if op.transpose_b { self.n } else { self.k };
        let bind = |d: Dispatch, name, operand, rows: Range, width: usize| {
            d.bind_part(name, operand, rows.first * width, rows.len * width * self.batch)
        };
        let dispatch = bind(dispatch, "a", In(0), a_rows, *a_width);
        let dispatch = bind(dispatch, "b", In(1), b_rows, *b_width);
        match c {
            Scratch => dispatch.bind("c", Scratch),
            c => bind(dispatch, "c", c, self.m, extents.n),
        }
    }

    /// For a kernel that reads single elements in any layout.
    fn dispatch(&self, shader: Shader) -> Dispatch {
        let dispatch = self.shared(shader).constant("TRANSPOSE_A", self.product.op.transpose_a.into());
        self.bind_rows(dispatch, Out(0))
    }

    /// For a kernel made of blocks, with its result in `c`.
    fn blocks_into(&self, shader: Shader, c: Operand) -> Dispatch {
        let Product { op, a_width, b_width, .. } = self.product;
        let mut dispatch = self.bind_rows(self.shared(shader), c);
        // What reads vectors finds the same elements under a second name; what does not, the least there is.
        for (name, single, operand, width) in [("a4", "a", In(0), a_width), ("b4", "b", In(1), b_width)] {
            let all = dispatch.bindings.iter().find(|b| b.name == single).and_then(|b| b.range);
            let (first, len) = all.filter(|_| width % 4 == 0).unwrap_or((0, 4));
            dispatch = dispatch.bind_part(name, operand, first, len);
        }
        dispatch
            .constant("TRANSPOSE_A", op.transpose_a.into())
            .param("vectors_a", a_width % 4 == 0)
            .param("vectors_b", b_width % 4 == 0)
    }

    fn register(&self, target: &Target) -> Dispatch {
        let tiles = self.m.len.div_ceil(8) * self.n.len.div_ceil(8);
        let mut dispatch = self
            .blocks_into(REGISTER, Out(0))
            .constant("VECTOR_A", self.product.a_width.is_multiple_of(4).into())
            .constant("VECTOR_B", self.product.b_width.is_multiple_of(4).into())
            .param("k_split", 0usize)
            .groups(tiles.div_ceil(32), target);
        dispatch.grid[2] = self.batch as u32;
        dispatch
    }

    /// Tiles along n and m in a grid.
    fn tiles(&self, tile: Tile, c: Operand, target: &Target) -> Dispatch {
        let has_vectors = self.product.extents.n.is_multiple_of(4);
        self.blocks_into(if has_vectors { TILED_VECTORS } else { TILED }, c)
            .constant("TILE_M", tile.m as u32)
            .constant("TILE_N", tile.n as u32)
            .constant("QUADS", tile.quads as u32)
            .constant("COPIES", tile.copies(target.workgroup_memory))
            .grid(self.n.len.div_ceil(tile.n), self.m.len.div_ceil(tile.m), self.batch)
    }

    fn tiled(&self, tile: Tile, target: &Target) -> Dispatch {
        self.tiles(tile, Out(0), target).param("k_split", 0usize)
    }

    fn split(&self, tile: Tile, splits: usize, steps: usize, target: &Target) -> Dispatch {
        let mut dispatch = self.tiles(tile, Scratch, target).param("k_split", steps);
        dispatch.grid[2] = splits as u32;
        dispatch
    }

    /// Threads lie along k where that is how memory lies, else along columns.
    fn gemv(&self) -> Dispatch {
        let cols = if self.product.op.transpose_b { 8 } else { 32 };
        self.bind_rows(self.shared(GEMV), Out(0)).constant("COLS", cols).grid(
            self.n.len.div_ceil(cols as usize),
            1,
            self.batch,
        )
    }
}
