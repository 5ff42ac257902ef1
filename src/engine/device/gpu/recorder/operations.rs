//! What the expressions of a shader cost a GPU, by the unit that computes them.
//!
//! Counted is the text as it is written. A compiler leaves some of it out (what is computed twice, what a loop does not
//! change) and adds some (loops, addresses).

use std::collections::HashMap;
use std::ops::AddAssign;

use naga::{BinaryOperator, Expression, Handle, MathFunction, TypeInner, UnaryOperator};
use serde::Serialize;

use super::fusion::Fused;
use super::types::{Place, Types};

/// Operations of one invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Of floating point, in one step: `fma`, and a product that is added.
    pub multiply_adds: u64,
    /// Other sums and products of floating point.
    pub floats: u64,
    /// Exponentials, logarithms, roots, reciprocals: the special-function unit's.
    pub special: u64,
    /// Integers, comparisons, choices, addresses.
    pub integers: u64,
    pub barriers: u64,
}

impl AddAssign for Operations {
    fn add_assign(&mut self, other: Self) {
        *self += (other, 1);
    }
}

/// So many times the same.
impl AddAssign<(Self, u64)> for Operations {
    fn add_assign(&mut self, (other, times): (Self, u64)) {
        self.multiply_adds += times * other.multiply_adds;
        self.floats += times * other.floats;
        self.special += times * other.special;
        self.integers += times * other.integers;
        self.barriers += times * other.barriers;
    }
}

/// What each expression of a module costs, where it costs anything.
pub(super) struct Counts(HashMap<(Place, Handle<Expression>), Operations>);

/// Integer operations of a division by a number that is not known, and by one that is.
const DIVISION: u64 = 16;
const DIVISION_BY_CONSTANT: u64 = 3;

impl Counts {
    pub fn of(types: &Types) -> Self {
        let fused = Fused::of(types);
        let mut counts = HashMap::new();
        for place in types.places() {
            for (handle, _) in types.function(place).expressions.iter() {
                let at = (place, handle);
                let cost = if fused.free.contains(&at) {
                    Operations::default()
                } else if fused.sums.contains(&at) {
                    Operations { multiply_adds: types.components(place, handle), ..Operations::default() }
                } else {
                    Of { types, place }.cost(handle)
                };
                if cost != Operations::default() {
                    counts.insert(at, cost);
                }
            }
        }
        Self(counts)
    }

    pub fn of_expression(&self, place: Place, expression: Handle<Expression>) -> Operations {
        self.0.get(&(place, expression)).copied().unwrap_or_default()
    }
}

/// A function, to be asked what its expressions cost.
struct Of<'a> {
    types: &'a Types<'a>,
    place: Place,
}

impl Of<'_> {
    fn cost(&self, handle: Handle<Expression>) -> Operations {
        let n = self.n(handle);
        let multiply_adds = |n| Operations { multiply_adds: n, ..Operations::default() };
        let floats = |n| Operations { floats: n, ..Operations::default() };
        let integers = |n| Operations { integers: n, ..Operations::default() };
        let special = |special, floats| Operations { special, floats, ..Operations::default() };
        let nothing = Operations::default();
        match *self.types.expression(self.place, handle) {
            _ if self.known(handle) => nothing,
            Expression::Binary { left, right, .. } if self.known(left) && self.known(right) => nothing,
            Expression::Binary { op, left, right } => self.binary(op, [left, right], n),
            Expression::Unary { op, .. } => match op {
                UnaryOperator::Negate if self.float(handle) => nothing,
                _ => integers(n),
            },
            Expression::Select { .. } | Expression::Relational { .. } => integers(n),
            Expression::As { convert: Some(_), .. } => integers(n),
            Expression::Access { base, index } => match self.inner(base) {
                TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } if self.known(index) => nothing,
                TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } => integers(1),
                // A part of a value in registers, chosen at run time.
                _ => integers(self.n(base)),
            },
            Expression::Math { fun, arg, .. } => match fun {
                MathFunction::Fma => multiply_adds(n),
                MathFunction::Dot if self.float(arg) => multiply_adds(self.n(arg)),
                MathFunction::Mix => multiply_adds(2 * n),
                MathFunction::Abs | MathFunction::Transpose if self.float(arg) => nothing,
                MathFunction::Clamp => integers(2 * n),
                MathFunction::Abs | MathFunction::Min | MathFunction::Max | MathFunction::Sign => integers(n),
                MathFunction::Exp2 | MathFunction::Log2 | MathFunction::InverseSqrt | MathFunction::Tanh => {
                    special(n, 0)
                }
                MathFunction::Exp | MathFunction::Log | MathFunction::Sqrt => special(n, n),
                MathFunction::Sin | MathFunction::Cos => special(n, n),
                MathFunction::Pow => special(2 * n, n),
                MathFunction::Length | MathFunction::Distance => special(1, self.n(arg)),
                MathFunction::Normalize => special(1, 2 * n),
                _ if self.float(handle) => floats(n),
                _ => integers(n),
            },
            _ => nothing,
        }
    }

    fn binary(&self, op: BinaryOperator, [left, right]: [Handle<Expression>; 2], n: u64) -> Operations {
        use BinaryOperator::{Add, Divide, Modulo, Multiply, Subtract};
        let float = self.float(left) || self.float(right);
        let mut operations = Operations::default();
        match (op, self.inner(left), self.inner(right)) {
            (
                Multiply,
                TypeInner::Matrix { columns, .. },
                TypeInner::Matrix { .. } | TypeInner::Vector { .. },
            ) => {
                operations.multiply_adds = n * *columns as u64;
            }
            (Multiply, TypeInner::Vector { size, .. }, TypeInner::Matrix { .. }) => {
                operations.multiply_adds = n * *size as u64;
            }
            (Add | Subtract | Multiply, ..) if float => operations.floats = n,
            (Divide | Modulo, ..) if float => (operations.special, operations.floats) = (n, n),
            (Divide | Modulo, ..) if self.types.is_power_of_two(self.place, right) => operations.integers = n,
            (Divide | Modulo, ..) if self.known(right) => operations.integers = n * DIVISION_BY_CONSTANT,
            (Divide | Modulo, ..) => operations.integers = n * DIVISION,
            _ => operations.integers = n,
        }
        operations
    }

    fn inner(&self, handle: Handle<Expression>) -> &TypeInner {
        self.types.inner(self.place, handle)
    }

    fn n(&self, handle: Handle<Expression>) -> u64 {
        self.types.components(self.place, handle)
    }

    fn float(&self, handle: Handle<Expression>) -> bool {
        self.types.is_float(self.place, handle)
    }

    fn known(&self, handle: Handle<Expression>) -> bool {
        self.types.is_constant(self.place, handle)
    }
}
