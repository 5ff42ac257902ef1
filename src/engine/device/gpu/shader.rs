//! A shader file made ready for one dispatch: constants filled in, parsed, its interface read.

use std::collections::BTreeMap;
use std::fmt::Write;

use naga::{AddressSpace, Module, StorageAccess, TypeInner};

use super::{recorder, slices};
use crate::engine::device::DeviceError;
use crate::engine::dispatch::{Dispatch, Scalar, Shader};

/// Values for a shader's `const` lines.
pub type Constants = [(&'static str, u32)];

/// A parsed shader and what it declares.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub module: Module,
    pub interface: Interface,
}

/// What a shader must be given.
#[derive(Clone, Debug)]
pub struct Interface {
    name: &'static str,
    /// Storage variables of group 0, by name.
    pub storage: BTreeMap<String, StorageSlot>,
    params: Option<Params>,
    /// It uses group 1: the per-step uniform, the report of stray indices, or where a slice begins.
    pub step: bool,
}

/// One storage variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSlot {
    pub binding: u32,
    pub read_only: bool,
    /// Bytes of the smallest binding it accepts: one element.
    pub least_bytes: u64,
}

/// The uniform named `params`.
#[derive(Clone, Debug)]
struct Params {
    binding: u32,
    bytes: u32,
    /// Byte offset and type of each field.
    fields: BTreeMap<String, (u32, ParamType)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParamType {
    U32,
    F32,
}

/// The text of a shader: shared files, then the file itself, then its frame.
pub fn source(shader: &Shader) -> String {
    let own = [&shader.source, &shader.frame].into_iter().filter(|text| !text.is_empty());
    shader.common.iter().chain(own).flat_map(|file| [*file, "\n"]).collect()
}

/// The text of a shader with these constants: what is parsed and compiled.
///
/// # Errors
/// When it has no `const` line for one of them.
pub fn text(shader: &Shader, constants: &Constants) -> Result<String, DeviceError> {
    fill(shader.name, &source(shader), constants)
}

/// The text with its constants replaced.
pub(super) fn fill(name: &str, source: &str, constants: &Constants) -> Result<String, DeviceError> {
    let mut text = String::new();
    let mut missing: Vec<_> = constants.iter().collect();
    for line in source.lines() {
        match constants.iter().find_map(|(name, value)| Some((name, replace(line, name, *value)?))) {
            Some((replaced, line)) => {
                missing.retain(|(name, _)| name != replaced);
                text.push_str(&line);
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    match missing.first() {
        None => Ok(text),
        Some((constant, _)) => Err(fault(name, format!("has no line `const {constant}: … = …;` to replace"))),
    }
}

/// The line with another value if it is `const name: type = …;`.
fn replace(line: &str, name: &str, value: u32) -> Option<String> {
    let kind = line.strip_prefix("const ")?.strip_prefix(name)?.strip_prefix(':')?.split('=').next()?.trim();
    let value = match kind {
        "u32" => format!("{value}u"),
        "i32" => format!("{value}i"),
        "f32" => format!("{value}.0f"),
        "bool" => (value != 0).to_string(),
        _ => return None,
    };
    Some(format!("const {name}: {kind} = {value};"))
}

/// Parses a shader and reads its interface.
///
/// # Errors
/// When the text is not WGSL, declares something that dispatches cannot fill, or has no `const` line for one
/// of the constants.
pub fn parse(shader: &Shader, constants: &Constants) -> Result<Parsed, DeviceError> {
    parse_text(shader.name, &source(shader), constants)
}

/// As [`parse`], of any text that has the shader's interface.
pub fn parse_text(name: &'static str, source: &str, constants: &Constants) -> Result<Parsed, DeviceError> {
    let text = fill(name, source, constants)?;
    let module = naga::front::wgsl::parse_str(&text)
        .map_err(|e| fault(name, e.emit_to_string_with_path(&text, &format!("{name}.wgsl"))))?;
    let interface = Interface::read(name, &module)?;
    Ok(Parsed { module, interface })
}

impl Interface {
    fn read(name: &'static str, module: &Module) -> Result<Self, DeviceError> {
        let mut interface = Self { name, storage: BTreeMap::new(), params: None, step: false };
        for (_, variable) in module.global_variables.iter() {
            let (Some(at), Some(variable_name)) = (&variable.binding, &variable.name) else { continue };
            let inner = &module.types[variable.ty].inner;
            match (variable.space, at.group, variable_name.as_str()) {
                (AddressSpace::Storage { access }, 0, _) => {
                    let slot = StorageSlot {
                        binding: at.binding,
                        read_only: !access.contains(StorageAccess::STORE),
                        least_bytes: inner.size(module.to_ctx()).into(),
                    };
                    interface.storage.insert(variable_name.clone(), slot);
                }
                (AddressSpace::Uniform, 0, "params") => {
                    interface.params = Some(Params::read(name, module, at.binding, inner)?);
                }
                (AddressSpace::Uniform, 1, "step") if at.binding == 0 => interface.step = true,
                (AddressSpace::Uniform, 1, slices::NAME)
                | (AddressSpace::Storage { .. }, 1, recorder::NAME) => {
                    interface.step = true;
                }
                _ => {
                    let message = format!("no dispatch can fill `{variable_name}` of group {}", at.group);
                    return Err(fault(name, message));
                }
            }
        }
        Ok(interface)
    }

    /// The binding of `params`, if the shader has any, and its size in bytes.
    pub fn params(&self) -> Option<(u32, u64)> {
        self.params.as_ref().map(|p| (p.binding, u64::from(p.bytes)))
    }

    /// Checks that a dispatch binds exactly the shader's variables and lays out its parameters as bytes.
    ///
    /// # Errors
    /// When a binding or parameter is missing, superfluous or of another type.
    pub fn pack(&self, dispatch: &Dispatch) -> Result<Vec<u8>, DeviceError> {
        let bound: Vec<_> = dispatch.bindings.iter().map(|b| b.name).collect();
        self.check_names("storage variable", self.storage.keys(), &bound)?;
        let given: Vec<_> = dispatch.params.iter().map(|p| p.0).collect();
        let nothing = BTreeMap::new();
        let fields = self.params.as_ref().map_or(&nothing, |p| &p.fields);
        self.check_names("parameter", fields.keys(), &given)?;

        let mut bytes = vec![0; self.params.as_ref().map_or(0, |p| p.bytes as usize)];
        for (name, value) in &dispatch.params {
            let (offset, kind) = fields[*name];
            let (word, given) = match *value {
                Scalar::U32(x) => (x, ParamType::U32),
                Scalar::F32(x) => (x.to_bits(), ParamType::F32),
            };
            if given != kind {
                return Err(fault(
                    self.name,
                    format!("parameter `{name}` is {kind:?}, but {value:?} was given"),
                ));
            }
            bytes[offset as usize..][..4].copy_from_slice(&word.to_le_bytes());
        }
        Ok(bytes)
    }

    fn check_names<'a>(
        &self,
        what: &str,
        declared: impl Iterator<Item = &'a String> + Clone,
        given: &[&str],
    ) -> Result<(), DeviceError> {
        let mut message = String::new();
        for name in declared.clone().filter(|name| !given.contains(&name.as_str())) {
            // Writing to a string cannot fail.
            let _ = write!(message, "{what} `{name}` is not given by the op; ");
        }
        for (i, name) in given.iter().enumerate() {
            if !declared.clone().any(|d| d == name) {
                let _ = write!(message, "the op gives {what} `{name}`, which it lacks; ");
            } else if given[..i].contains(name) {
                let _ = write!(message, "the op gives {what} `{name}` twice; ");
            }
        }
        if message.is_empty() { Ok(()) } else { Err(fault(self.name, message.trim_end_matches("; ").into())) }
    }
}

impl Params {
    fn read(name: &str, module: &Module, binding: u32, inner: &TypeInner) -> Result<Self, DeviceError> {
        let TypeInner::Struct { members, span } = inner else {
            return Err(fault(name, "`params` is not a struct".into()));
        };
        let mut fields = BTreeMap::new();
        for member in members {
            let field = member.name.clone().unwrap_or_default();
            let kind = match module.types[member.ty].inner {
                TypeInner::Scalar(naga::Scalar::U32) => ParamType::U32,
                TypeInner::Scalar(naga::Scalar::F32) => ParamType::F32,
                _ => return Err(fault(name, format!("parameter `{field}` is neither u32 nor f32"))),
            };
            fields.insert(field, (member.offset, kind));
        }
        Ok(Self { binding, bytes: *span, fields })
    }
}

pub(super) fn fault(shader: &str, message: String) -> DeviceError {
    DeviceError::Shader { shader: shader.into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dispatch::{In, Out};

    const SHADER: Shader = Shader {
        name: "test",
        source: "const TILE: u32 = 64u;
struct Params { len: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(TILE) fn main() { y[0].x = x[params.len] * params.scale; }",
        common: &[],
        frame: "",
    };

    fn dispatch() -> Dispatch {
        Dispatch::new(SHADER).bind("x", In(0)).bind("y", Out(0)).param("scale", 2.0f32).param("len", 7usize)
    }

    fn message(dispatch: Dispatch) -> String {
        parse(&SHADER, &dispatch.constants)
            .and_then(|parsed| parsed.interface.pack(&dispatch))
            .err()
            .map_or(String::new(), |e| e.to_string())
    }

    #[test]
    fn the_interface_of_a_shader_is_read() -> Result<(), DeviceError> {
        let parsed = parse(&SHADER, &[("TILE", 8)])?;
        assert_eq!(parsed.module.entry_points[0].workgroup_size[0], 8);
        let slot = |binding, read_only, least_bytes| StorageSlot { binding, read_only, least_bytes };
        assert_eq!(parsed.interface.storage["x"], slot(0, true, 4));
        assert_eq!(parsed.interface.storage["y"], slot(2, false, 16));
        assert_eq!(parsed.interface.params(), Some((1, 8)));
        let packed = [7u32.to_le_bytes(), 2.0f32.to_le_bytes()].concat();
        assert_eq!(parsed.interface.pack(&dispatch())?, packed);
        Ok(())
    }

    #[test]
    fn a_dispatch_that_does_not_fit_its_shader_is_refused_by_name() {
        assert_eq!(message(dispatch()), "");
        assert!(message(dispatch().constant("TILES", 1)).contains("const TILES"));
        assert!(message(dispatch().bind("z", In(1))).contains("`z`, which it lacks"));
        assert!(message(dispatch().bind("x", In(1))).contains("`x` twice"));
        assert!(message(dispatch().param("first", 1usize)).contains("`first`, which it lacks"));
        assert!(message(Dispatch { params: vec![], ..dispatch() }).contains("`len` is not given"));
        let swapped = Dispatch { params: vec![("scale", 1u32.into()), ("len", 1u32.into())], ..dispatch() };
        assert!(message(swapped).contains("`scale` is F32, but U32(1)"));
    }
}
