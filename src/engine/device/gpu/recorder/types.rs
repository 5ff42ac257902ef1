//! The functions of a module with the types of their expressions.

use std::collections::HashMap;

use naga::front::Typifier;
use naga::proc::ResolveContext;
use naga::{Expression, Function, Handle, Literal, Module, ScalarKind, TypeInner};

/// A function of a module; `None` for the entry point.
pub(super) type Place = Option<Handle<Function>>;

pub(super) struct Types<'a> {
    pub module: &'a Module,
    of: HashMap<Place, Typifier>,
}

impl<'a> Types<'a> {
    pub fn new(module: &'a Module) -> Result<Self, String> {
        let mut types = Self { module, of: HashMap::new() };
        for place in types.places() {
            let function = types.function(place);
            let context = ResolveContext::with_locals(module, &function.local_variables, &function.arguments);
            let mut known = Typifier::new();
            if let Some((last, _)) = function.expressions.iter().next_back() {
                known.grow(last, &function.expressions, &context).map_err(|error| error.to_string())?;
            }
            types.of.insert(place, known);
        }
        Ok(types)
    }

    /// All functions, callees before callers.
    pub fn places(&self) -> Vec<Place> {
        self.module.functions.iter().map(|(handle, _)| Some(handle)).chain([None]).collect()
    }

    pub fn function(&self, place: Place) -> &'a Function {
        place.map_or(&self.module.entry_points[0].function, |handle| &self.module.functions[handle])
    }

    pub fn expression(&self, place: Place, handle: Handle<Expression>) -> &'a Expression {
        &self.function(place).expressions[handle]
    }

    pub fn inner(&self, place: Place, handle: Handle<Expression>) -> &TypeInner {
        self.of[&place].get(handle, &self.module.types)
    }

    /// Numbers that a value consists of; 1 where it is a pointer.
    pub fn components(&self, place: Place, handle: Handle<Expression>) -> u64 {
        match *self.inner(place, handle) {
            TypeInner::Vector { size, .. } => size as u64,
            TypeInner::Matrix { columns, rows, .. } => columns as u64 * rows as u64,
            _ => 1,
        }
    }

    pub fn is_float(&self, place: Place, handle: Handle<Expression>) -> bool {
        match self.inner(place, handle) {
            TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => scalar.kind == ScalarKind::Float,
            inner => matches!(inner, TypeInner::Matrix { .. }),
        }
    }

    /// Whether the compiler knows the value.
    pub fn is_constant(&self, place: Place, handle: Handle<Expression>) -> bool {
        match self.expression(place, handle) {
            Expression::Literal(_) | Expression::Constant(_) | Expression::ZeroValue(_) => true,
            Expression::Splat { value, .. } => self.is_constant(place, *value),
            Expression::Compose { components, .. } => {
                components.iter().all(|&part| self.is_constant(place, part))
            }
            _ => false,
        }
    }

    /// Whether it is known to be a power of two.
    pub fn is_power_of_two(&self, place: Place, handle: Handle<Expression>) -> bool {
        match *self.expression(place, handle) {
            Expression::Literal(Literal::U32(value)) => value.is_power_of_two(),
            Expression::Constant(constant) => {
                let init = self.module.constants[constant].init;
                let value = &self.module.global_expressions[init];
                matches!(value, Expression::Literal(Literal::U32(value)) if value.is_power_of_two())
            }
            Expression::Splat { value, .. } => self.is_power_of_two(place, value),
            _ => false,
        }
    }
}
