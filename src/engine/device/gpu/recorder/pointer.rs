//! Where a pointer leads: a variable in memory, and the bytes from its beginning.

use naga::proc::GlobalCtx;
use naga::{AddressSpace, Arena, Expression, Function, GlobalVariable, Handle, TypeInner};

use super::Space;
use crate::engine::device::gpu::rewrite::Code;

/// A pointer into workgroup or storage memory.
pub(super) struct Pointer {
    pub variable: Handle<GlobalVariable>,
    pub space: Space,
    /// Bytes that are known, and indices with the bytes that each of them counts.
    known: u32,
    indices: Vec<(Handle<Expression>, u32)>,
    /// The type that it points to.
    inner: TypeInner,
}

/// What pointers are looked up in.
pub(super) struct Variables<'a> {
    pub global: &'a Arena<GlobalVariable>,
    pub context: GlobalCtx<'a>,
}

impl Variables<'_> {
    /// Where a pointer of `function` leads; `None` where that is no memory of the device.
    ///
    /// # Errors
    /// When it is an argument of the function: where that leads is known only where the function is called.
    pub fn follow(
        &self,
        function: &Function,
        pointer: Handle<Expression>,
    ) -> Result<Option<Pointer>, String> {
        let (base, index, constant) = match function.expressions[pointer] {
            Expression::GlobalVariable(variable) => return Ok(self.start(variable)),
            Expression::FunctionArgument(place) => {
                let argument = function.arguments.get(place as usize);
                let inner = argument.map(|argument| &self.context.types[argument.ty].inner);
                let is_own = matches!(
                    inner,
                    Some(TypeInner::Pointer { space: AddressSpace::Function | AddressSpace::Private, .. })
                );
                return if is_own {
                    Ok(None)
                } else {
                    Err("accesses memory through a pointer that a function is given: they cannot be recorded"
                        .into())
                };
            }
            Expression::Access { base, index } => (base, Some(index), 0),
            Expression::AccessIndex { base, index } => (base, None, index),
            _ => return Ok(None),
        };
        let Some(mut whole) = self.follow(function, base)? else { return Ok(None) };
        let types = self.context.types;
        let (stride, inner) = match &whole.inner {
            TypeInner::Array { base, stride, .. } => (*stride, types[*base].inner.clone()),
            TypeInner::Struct { members, .. } => {
                let Some(member) = members.get(constant as usize) else { return Ok(None) };
                whole.known += member.offset;
                return Ok(Some(Pointer { inner: types[member.ty].inner.clone(), ..whole }));
            }
            TypeInner::Vector { scalar, .. } => (u32::from(scalar.width), TypeInner::Scalar(*scalar)),
            TypeInner::Matrix { rows, scalar, .. } => {
                let column = TypeInner::Vector { size: *rows, scalar: *scalar };
                (u32::from(scalar.width) * (*rows as u32).next_power_of_two(), column)
            }
            _ => return Ok(None),
        };
        match index {
            Some(index) => whole.indices.push((index, stride)),
            None => whole.known += constant * stride,
        }
        Ok(Some(Pointer { inner, ..whole }))
    }

    fn start(&self, variable: Handle<GlobalVariable>) -> Option<Pointer> {
        let space = match self.global[variable].space {
            AddressSpace::WorkGroup => Space::Workgroup,
            AddressSpace::Storage { .. } => Space::Storage,
            _ => return None,
        };
        let inner = self.context.types[self.global[variable].ty].inner.clone();
        Some(Pointer { variable, space, known: 0, indices: Vec::new(), inner })
    }

    /// Bytes of what a pointer points to.
    pub fn bytes(&self, pointer: &Pointer) -> u32 {
        match pointer.inner {
            TypeInner::Atomic(scalar) => scalar.width.into(),
            ref inner => inner.size(self.context),
        }
    }
}

impl Pointer {
    /// Bytes from the beginning of its variable.
    pub fn address(&self, code: &mut Code) -> Handle<Expression> {
        use naga::BinaryOperator::{Add, Multiply};
        let mut sum = code.word(self.known);
        for &(expr, stride) in &self.indices {
            let left = code.add(Expression::As { expr, kind: naga::ScalarKind::Uint, convert: Some(4) });
            let right = code.word(stride);
            let right = code.add(Expression::Binary { op: Multiply, left, right });
            sum = code.add(Expression::Binary { op: Add, left: sum, right });
        }
        sum
    }
}
