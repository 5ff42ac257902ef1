//! Which sums and products a compiler makes one multiply-add of, also where a function that is called gives the
//! product.

use std::collections::HashSet;

use naga::{BinaryOperator, Block, Expression, Handle, MathFunction, Statement, TypeInner, UnaryOperator};

use super::types::{Place, Types};

/// An expression of a function.
type At = (Place, Handle<Expression>);

/// Sums and products that are one operation together.
#[derive(Default)]
pub(super) struct Fused {
    /// Sums that are a multiply-add of each element.
    pub sums: HashSet<At>,
    /// What takes no operation of its own: products of those sums, and sums that a product of matrices begins with.
    pub free: HashSet<At>,
}

impl Fused {
    /// All of a module.
    pub fn of(types: &Types) -> Self {
        let mut fused = Self::default();
        for place in types.places() {
            for (sum, expression) in types.function(place).expressions.iter() {
                let &Expression::Binary { op, left, right } = expression else { continue };
                let adds = matches!(op, BinaryOperator::Add | BinaryOperator::Subtract);
                if !adds || !types.is_float(place, sum) {
                    continue;
                }
                if [left, right].into_iter().any(|side| is_sum_of_products(types, place, side)) {
                    fused.free.insert((place, sum));
                    continue;
                }
                // Of two products one is added to the other.
                let products = products(types, place, left).or_else(|| products(types, place, right));
                if let Some(products) = products {
                    fused.sums.insert((place, sum));
                    fused.free.extend(products);
                }
            }
        }
        fused
    }
}

/// The products, element by element, that a value consists of; `None` where it holds anything else.
fn products(types: &Types, place: Place, value: Handle<Expression>) -> Option<Vec<At>> {
    match types.expression(place, value) {
        Expression::Binary { op: BinaryOperator::Multiply, .. } => {
            (!is_sum_of_products(types, place, value)).then(|| vec![(place, value)])
        }
        Expression::Unary { op: UnaryOperator::Negate, expr } => products(types, place, *expr),
        Expression::Compose { components, .. } => all(types, place, components),
        Expression::CallResult(callee) => {
            let mut returned = Vec::new();
            returns(&types.function(Some(*callee)).body, &mut returned);
            all(types, Some(*callee), &returned)
        }
        _ => None,
    }
}

/// Products of matrices, of a matrix and a vector, and of vectors: a chain of multiply-adds for each element.
fn is_sum_of_products(types: &Types, place: Place, value: Handle<Expression>) -> bool {
    match types.expression(place, value) {
        Expression::Binary { op: BinaryOperator::Multiply, left, right } => {
            match (types.inner(place, *left), types.inner(place, *right)) {
                (TypeInner::Matrix { .. }, other) | (other, TypeInner::Matrix { .. }) => {
                    !matches!(other, TypeInner::Scalar(_))
                }
                _ => false,
            }
        }
        Expression::Math { fun: MathFunction::Dot, .. } => true,
        _ => false,
    }
}

fn all(types: &Types, place: Place, values: &[Handle<Expression>]) -> Option<Vec<At>> {
    let all: Option<Vec<_>> = values.iter().map(|&value| products(types, place, value)).collect();
    all.map(|all| all.concat())
}

/// What a function returns.
fn returns(block: &Block, found: &mut Vec<Handle<Expression>>) {
    for statement in block {
        match statement {
            Statement::Return { value } => found.extend(value),
            Statement::Block(inner) => returns(inner, found),
            Statement::If { accept, reject, .. } => {
                returns(accept, found);
                returns(reject, found);
            }
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| returns(&case.body, found)),
            Statement::Loop { body, continuing, .. } => {
                returns(body, found);
                returns(continuing, found);
            }
            _ => {}
        }
    }
}
