//! Dispatches in slices: a long one is cut along its grid, so that no submission takes too long.
//!
//! A slice runs some workgroups of a grid under the numbers that they have in the whole one: which thread computes
//! what stays as it is, and so does every bit.

/// The binding of group 1 that says where a slice begins.
pub(super) const BINDING: u32 = 2;
/// Bytes of the uniform there.
pub(super) const BYTES: u64 = 32;
/// Its name and its fields in WGSL, which no shader uses otherwise.
const DECLARATION: &str = "
struct SliceOfGrid { first: vec3<u32>, groups: vec3<u32> }
@group(1) @binding(2) var<uniform> slice_of_grid: SliceOfGrid;
";
/// The variable in [`DECLARATION`].
pub(super) const NAME: &str = "slice_of_grid";

/// Neighbouring workgroups of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub first: [u32; 3],
    pub groups: [u32; 3],
}

impl Slice {
    /// The workgroups of `grid` from number `at` on, counted along x, then y, then z: as many as make a box, and no
    /// more than `most`.
    pub fn new(grid: [u32; 3], at: u64, most: u64) -> Self {
        let [x, y, z] = grid.map(|groups| u64::from(groups.max(1)));
        let first = [at % x, at / x % y, at / (x * y)];
        let (rows, planes) = (most / x, most / (x * y));
        let groups = match first {
            [0, 0, _] if planes > 0 => [x, y, planes.min(z - first[2])],
            [0, ..] if rows > 0 => [x, rows.min(y - first[1]), 1],
            _ => [most.clamp(1, x - first[0]), 1, 1],
        };
        // Parts of a grid are no larger than it.
        Self { first: first.map(|i| i as u32), groups: groups.map(|n| n as u32) }
    }

    pub fn len(&self) -> u64 {
        self.groups.iter().map(|&n| u64::from(n)).product()
    }

    /// The uniform of a slice of `grid`.
    pub fn bytes(&self, grid: [u32; 3]) -> [u8; BYTES as usize] {
        let ([a, b, c], [x, y, z]) = (self.first, grid);
        bytemuck::cast([a, b, c, 0, x, y, z, 0])
    }
}

/// The text of a shader that runs one slice of its grid; `None` where its `main` does not say which workgroup it is.
pub(super) fn sliced(source: &str) -> Option<String> {
    let main = source.find("fn main(")?;
    let body = main + source[main..].find('{')?;
    let mut header = source[main..body].to_owned();
    let size = source[..main].rsplit_once("@workgroup_size(")?.1.split_once(')')?.0;
    let mut lines = String::new();
    let mut numbered = false;
    for (builtin, whole) in [
        ("workgroup_id", "OWN + slice_of_grid.first".to_owned()),
        ("num_workgroups", "slice_of_grid.groups".to_owned()),
        ("global_invocation_id", format!("OWN + slice_of_grid.first * vec3<u32>({})", three(size))),
    ] {
        let Some((before, after)) = header.split_once(&format!("@builtin({builtin})")) else { continue };
        let (name, rest) = after.split_once(':')?;
        let (name, own) = (name.trim(), format!("{}_of_slice", name.trim()));
        lines += &format!(" let {name} = {};", whole.replace("OWN", &own));
        // On one line, so that all lines keep their numbers.
        header = format!("{before}@builtin({builtin}) {own}:{rest}");
        numbered |= builtin != "num_workgroups";
    }
    numbered.then(|| format!("{}{header}{{{lines}{}{DECLARATION}", &source[..main], &source[body + 1..]))
}

/// The three extents of a workgroup; WGSL lets the last ones be left out.
fn three(size: &str) -> String {
    let given = size.trim_end_matches(',').split(',').count();
    format!("{size}{}", ", 1".repeat(3_usize.saturating_sub(given)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::engine::device::gpu::shader;
    use crate::engine::dispatch::{Operands, Target};
    use crate::ops::OPS;

    #[test]
    fn slices_cover_a_grid_once_and_keep_to_the_most() {
        for grid in [[1, 1, 1], [7, 1, 1], [5, 3, 1], [4, 3, 5], [1, 9, 2], [1, 1, 11]] {
            for most in [1, 2, 3, 4, 6, 7, 12, 13, 1000] {
                let all = grid.iter().map(|&n| u64::from(n)).product();
                let (mut at, mut seen) = (0, HashSet::new());
                while at < all {
                    let slice = Slice::new(grid, at, most);
                    assert!(slice.len() >= 1 && slice.len() <= most, "{slice:?} of {grid:?}");
                    let [xs, ys, zs] = [0, 1, 2].map(|i| slice.first[i]..slice.first[i] + slice.groups[i]);
                    assert!(
                        xs.end <= grid[0] && ys.end <= grid[1] && zs.end <= grid[2],
                        "{slice:?} of {grid:?}"
                    );
                    for z in zs {
                        for y in ys.clone() {
                            seen.extend(xs.clone().map(|x| [x, y, z]));
                        }
                    }
                    at += slice.len();
                    assert_eq!(seen.len() as u64, at, "{slice:?} of {grid:?} runs a workgroup twice");
                }
            }
        }
        assert_eq!(Slice::new([4, 3, 5], 12, 30), Slice { first: [0, 0, 1], groups: [4, 3, 2] });
    }

    #[test]
    fn a_sliced_shader_numbers_its_workgroups_from_the_slice_on() {
        let text = "@compute @workgroup_size(8, 4)
fn main(
    @builtin(global_invocation_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    y[at.x] = groups.x;
}";
        let sliced = sliced(text).unwrap_or_default();
        for line in [
            "@builtin(global_invocation_id) at_of_slice: vec3<u32>",
            "let at = at_of_slice + slice_of_grid.first * vec3<u32>(8, 4, 1);",
            "let groups = slice_of_grid.groups;",
        ] {
            assert!(sliced.contains(line), "{sliced}");
        }
        assert_eq!(super::sliced("@compute @workgroup_size(1)\nfn main() {}"), None);
    }

    #[test]
    fn every_shader_with_a_grid_can_be_sliced() {
        let mut seen = HashSet::new();
        for case in OPS.iter().flat_map(|op| (op.cases)()) {
            let inputs: Vec<_> = case.inputs.iter().map(|input| input.spec).collect();
            let outputs = case.op.infer(&inputs).unwrap_or_else(|e| panic!("{e}"));
            let operands = Operands { inputs: &inputs, outputs: &outputs };
            for dispatch in case.op.kernels(&operands, &Target::WEBGPU).iter().flat_map(|k| &k.dispatches) {
                let name = dispatch.shader.name;
                match sliced(&shader::source(&dispatch.shader)) {
                    Some(text) if seen.insert(name) => {
                        let parsed = shader::parse_text(name, &text, &dispatch.constants);
                        assert!(parsed.is_ok_and(|parsed| parsed.interface.step), "{name}: {text}");
                    }
                    Some(_) => {}
                    None => assert_eq!(dispatch.grid, [1, 1, 1], "{name} cannot be cut"),
                }
            }
        }
        assert!(seen.len() > 50, "{} shaders", seen.len());
    }
}
