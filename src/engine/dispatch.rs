//! What an op asks of a GPU: shaders, bindings by name, parameters, grid. Knows no GPU API.

use super::tensor::{Shape, Spec};

/// One WGSL file and the shared ones it builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shader {
    /// Its path below `shaders/`, without the ending: `layer_norm/forward`.
    pub name: &'static str,
    pub source: &'static str,
    /// Files of `shaders/common/` whose functions it calls.
    pub common: &'static [&'static str],
    /// The files of `shaders/frames/` that call its functions, `main` among theirs; empty where it has its own.
    pub frame: &'static str,
}

/// The text of a file of `shaders/frames/`.
macro_rules! frame {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/frames/", $name, ".wgsl"))
    };
}

impl Shader {
    /// Its `fn value(x: f32) -> f32`, element by element.
    pub fn unary(self) -> Self {
        Self { frame: concat!(frame!("unary"), "\n", frame!("elements")), ..self }
    }

    /// Its `fn slope(x: f32) -> f32` times dy, element by element: the derivative, under a name of its own.
    pub fn unary_backward(self, name: &'static str) -> Self {
        Self { name, frame: concat!(frame!("unary_backward"), "\n", frame!("elements")), ..self }
    }
}

/// The WGSL file of that name, compiled into the program, with the files of `shaders/common/` it uses.
#[macro_export]
macro_rules! shader {
    ($name:literal $(, $common:literal)*) => {
        $crate::engine::dispatch::Shader {
            name: $name,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            common: &[$(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/common/", $common, ".wgsl"))
            ),*],
            frame: "",
        }
    };
}

/// The operand types of one application.
#[derive(Debug, Clone, Copy)]
pub struct Operands<'a> {
    pub inputs: &'a [Spec],
    pub outputs: &'a [Spec],
}

impl Operands<'_> {
    pub fn in_shape(&self, i: usize) -> Shape {
        self.inputs[i].shape
    }

    pub fn out_shape(&self, i: usize) -> Shape {
        self.outputs[i].shape
    }

    /// The bytes of all operands, each once.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().chain(self.outputs).map(Spec::bytes).sum()
    }
}

/// What a kernel may use of the adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Bytes that one storage binding may span.
    pub max_binding_bytes: u64,
    /// Alignment, in bytes, of the start of a binding.
    pub binding_alignment: u64,
    /// Workgroups along one axis of a grid.
    pub max_grid: u32,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations in one workgroup.
    pub workgroup_size: u32,
    /// A rasteriser on the CPU: workgroup memory is slow, registers are plenty.
    pub software: bool,
    pub extensions: Extensions,
}

/// What shaders may use that not every adapter has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// The type `f16`.
    pub f16: bool,
    /// `subgroupAdd` and its like.
    pub subgroups: bool,
    /// Cooperative matrices, for which WGSL has no words of its own: `enable wgpu_cooperative_matrix`.
    pub matrices: bool,
}

impl Extensions {
    pub const NONE: Self = Self { f16: false, subgroups: false, matrices: false };
    pub const ALL: Self = Self { f16: true, subgroups: true, matrices: true };
}

impl Target {
    /// WebGPU's default limits: what every adapter offers.
    pub const WEBGPU: Self = Self {
        max_binding_bytes: 128 << 20,
        binding_alignment: 256,
        max_grid: 65_535,
        workgroup_memory: 16 << 10,
        workgroup_size: 256,
        software: false,
        extensions: Extensions::NONE,
    };

    /// Splits `rows` rows of `width` elements into ranges (first row, rows) that each fit one binding and
    /// start where a binding may start.
    pub fn row_chunks(&self, rows: usize, width: usize) -> Vec<(usize, usize)> {
        let row_bytes = 4 * width as u64;
        let most = (self.max_binding_bytes / row_bytes.max(1)).max(1) as usize;
        if rows <= most {
            return vec![(0, rows)];
        }
        // The smallest number of rows that is a whole number of alignments.
        let step = (self.binding_alignment / gcd(self.binding_alignment, row_bytes)) as usize;
        let most = (most / step * step).max(step);
        (0..rows).step_by(most).map(|first| (first, most.min(rows - first))).collect()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An operand by its place in the op's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    In(usize),
    Out(usize),
    /// Memory that only the dispatches of one kernel use.
    Scratch,
}

pub use Operand::{In, Out, Scratch};

/// The part of an operand that is bound, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub name: &'static str,
    pub operand: Operand,
    /// First element and number of elements; `None` binds all.
    pub range: Option<(usize, usize)>,
}

/// A value in a shader's `Params`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    U32(u32),
    F32(f32),
}

impl From<usize> for Scalar {
    /// # Panics
    /// Above 2³², where WGSL has no index.
    fn from(x: usize) -> Self {
        Self::U32(u32::try_from(x).unwrap_or_else(|_| panic!("{x} does not fit a 32-bit index")))
    }
}

impl From<u32> for Scalar {
    fn from(x: u32) -> Self {
        Self::U32(x)
    }
}

impl From<f32> for Scalar {
    fn from(x: f32) -> Self {
        Self::F32(x)
    }
}

impl From<bool> for Scalar {
    fn from(x: bool) -> Self {
        Self::U32(x.into())
    }
}

/// One launch of one shader.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub shader: Shader,
    /// Values for `const NAME` lines of the file: tile sizes, switches.
    pub constants: Vec<(&'static str, u32)>,
    pub bindings: Vec<Binding>,
    pub params: Vec<(&'static str, Scalar)>,
    /// Workgroups along x, y, z.
    pub grid: [u32; 3],
}

impl Dispatch {
    pub fn new(shader: Shader) -> Self {
        Self { shader, constants: Vec::new(), bindings: Vec::new(), params: Vec::new(), grid: [1; 3] }
    }

    /// Replaces the file's `const name: … = …;`.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// Binds all of an operand to the shader's variable of that name.
    pub fn bind(mut self, name: &'static str, operand: Operand) -> Self {
        self.bindings.push(Binding { name, operand, range: None });
        self
    }

    /// Binds `len` elements from `first` on.
    pub fn bind_part(mut self, name: &'static str, operand: Operand, first: usize, len: usize) -> Self {
        self.bindings.push(Binding { name, operand, range: Some((first, len)) });
        self
    }

    pub fn param(mut self, name: &'static str, value: impl Into<Scalar>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x as u32, y as u32, z as u32];
        self
    }

    /// A grid of `groups` workgroups that shaders number as `group.x + group.y * groups.x`, for counts that
    /// may exceed one axis.
    pub fn groups(self, groups: usize, target: &Target) -> Self {
        let x = groups.clamp(1, target.max_grid as usize);
        self.grid(x, groups.div_ceil(x).max(1), 1)
    }

    /// One workgroup for each of `rows` rows, whose invocations share its `width` elements in the shader's
    /// `fn each_row(row: u32, local: u32)`.
    pub fn rows(mut self, rows: usize, width: usize, target: &Target) -> Self {
        self.shader.frame = frame!("rows");
        self.row_groups(rows, width, target)
    }

    /// As [`rows`](Self::rows), for a shader that has a `main` of its own. More invocations share a row of a large
    /// vocabulary, or one that has the device to itself.
    pub fn row_groups(self, rows: usize, width: usize, target: &Target) -> Self {
        let few = rows < 64 && width > 256;
        let workgroup = if few || width > 1024 { WIDE as u32 } else { 64 };
        let sized = self.constant("WORKGROUP", workgroup).groups(rows, target);
        sized.param("rows", rows).param("width", width)
    }

    /// One invocation for each of `len` elements: the shader's `fn each_element(i: u32)`. Workgroups smaller than these
    /// start more slowly than a large GPU can write what they compute.
    pub fn elements(mut self, len: usize, target: &Target) -> Self {
        if self.shader.frame.is_empty() {
            self.shader.frame = frame!("elements");
        }
        self.constant("WORKGROUP", WIDE as u32).groups(len.div_ceil(WIDE), target).param("len", len)
    }
}

/// Invocations of a large workgroup: as many as every adapter allows.
const WIDE: usize = 256;

/// One way to compute an op: a few dispatches in order.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `plain`, `tiled`, …: its name in reports and in the tuning file.
    pub variant: &'static str,
    pub dispatches: Vec<Dispatch>,
    /// Elements of scratch memory that the dispatches share.
    pub scratch: usize,
}

impl Kernel {
    pub fn new(variant: &'static str, dispatches: Vec<Dispatch>) -> Self {
        Self { variant, dispatches, scratch: 0 }
    }

    /// The only kernel of an op that needs no variants.
    pub fn plain(dispatches: Vec<Dispatch>) -> Vec<Self> {
        vec![Self::new("plain", dispatches)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_all_rows_and_start_aligned() {
        let target = Target { max_binding_bytes: 10_000, ..Target::WEBGPU };
        for (rows, width) in [(1, 1), (50_257, 7), (1000, 65), (3, 4096), (129, 128)] {
            let chunks = target.row_chunks(rows, width);
            let mut next = 0;
            for (first, n) in chunks {
                assert_eq!((first, first * width * 4 % 256), (next, 0));
                next += n;
            }
            assert_eq!(next, rows);
        }
    }
}
