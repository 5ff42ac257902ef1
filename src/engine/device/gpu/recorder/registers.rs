//! How many registers an invocation needs: the values that are alive at once.
//!
//! An estimate. Values are followed in the order of the text, functions as if written out where they are called; a
//! compiler may reorder, keep less, or compute something twice.

use std::collections::HashMap;

use naga::{Block, Expression, Handle, Literal, LocalVariable, Statement, TypeInner};

use super::types::{Place, Types};

/// Registers for addresses, built-in values and counters that no value of the text stands for.
const ALWAYS: u32 = 8;

/// 32-bit registers of an invocation of the entry point.
pub(super) fn estimate(types: &Types) -> u32 {
    let mut peaks = HashMap::new();
    for place in types.places() {
        let mut lives =
            Lives { types, place, at: 0, values: HashMap::new(), loops: Vec::new(), calls: Vec::new() };
        lives.block(&types.function(place).body);
        let peak = lives.peak(&peaks);
        peaks.insert(place, peak);
    }
    ALWAYS + peaks[&None]
}

/// What takes registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Value {
    Of(Handle<Expression>),
    Local(Handle<LocalVariable>),
}

/// From when to when each value of a function is needed, in statements.
struct Lives<'a> {
    types: &'a Types<'a>,
    place: Place,
    at: usize,
    values: HashMap<Value, (usize, usize)>,
    /// The ends of each loop.
    loops: Vec<(usize, usize)>,
    calls: Vec<(usize, Place)>,
}

impl Lives<'_> {
    fn block(&mut self, block: &Block) {
        for statement in block {
            self.at += 1;
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    self.at += 1;
                    self.operands(handle);
                    if self.words(Value::Of(handle)) > 0 {
                        self.touch(Value::Of(handle));
                    }
                }
            }
            Statement::Block(inner) => self.block(inner),
            Statement::If { condition, accept, reject } => {
                self.needed(*condition);
                let known = match self.types.expression(self.place, *condition) {
                    Expression::Literal(Literal::Bool(known)) => Some(*known),
                    _ => None,
                };
                // What never runs is left out of the program.
                if known != Some(false) {
                    self.block(accept);
                }
                if known != Some(true) {
                    self.block(reject);
                }
            }
            Statement::Switch { selector, cases } => {
                self.needed(*selector);
                cases.iter().for_each(|case| self.block(&case.body));
            }
            Statement::Loop { body, continuing, break_if } => {
                let begin = self.at;
                self.block(body);
                self.block(continuing);
                break_if.iter().for_each(|&condition| self.needed(condition));
                self.loops.push((begin, self.at));
            }
            Statement::Return { value } => value.iter().for_each(|&value| self.needed(value)),
            Statement::Store { pointer, value } => {
                self.needed(*value);
                self.needed(*pointer);
            }
            Statement::Call { function, arguments, result } => {
                arguments.iter().for_each(|&argument| self.needed(argument));
                self.calls.push((self.at, Some(*function)));
                self.at += 1;
                result.iter().for_each(|&result| self.touch(Value::Of(result)));
            }
            Statement::Atomic { pointer, value, .. } => {
                self.needed(*pointer);
                self.needed(*value);
            }
            _ => {}
        }
    }

    fn operands(&mut self, handle: Handle<Expression>) {
        match self.types.expression(self.place, handle) {
            Expression::Compose { components, .. } => components.iter().for_each(|&part| self.needed(part)),
            &Expression::Access { base, index } => [base, index].into_iter().for_each(|h| self.needed(h)),
            &Expression::AccessIndex { base, .. } => self.needed(base),
            &Expression::Splat { value, .. } => self.needed(value),
            &Expression::Swizzle { vector, .. } => self.needed(vector),
            &Expression::Load { pointer } => self.needed(pointer),
            &Expression::Unary { expr, .. } | &Expression::As { expr, .. } => self.needed(expr),
            &Expression::Binary { left, right, .. } => [left, right].into_iter().for_each(|h| self.needed(h)),
            &Expression::Select { condition, accept, reject } => {
                [condition, accept, reject].into_iter().for_each(|h| self.needed(h));
            }
            &Expression::Relational { argument, .. } => self.needed(argument),
            &Expression::Math { arg, arg1, arg2, arg3, .. } => {
                [Some(arg), arg1, arg2, arg3].into_iter().flatten().for_each(|h| self.needed(h));
            }
            _ => {}
        }
    }

    /// Notes that a value is used here. A part of one keeps the whole, and what was read from a local variable the
    /// variable.
    fn needed(&mut self, handle: Handle<Expression>) {
        match *self.types.expression(self.place, handle) {
            Expression::AccessIndex { base, .. } if !self.is_memory(base) => self.needed(base),
            Expression::Access { base, index } if !self.is_memory(base) => {
                self.needed(base);
                self.needed(index);
            }
            Expression::Splat { value, .. } => self.needed(value),
            Expression::Swizzle { vector, .. } => self.needed(vector),
            Expression::Load { pointer } if !self.is_memory(pointer) => self.needed(pointer),
            Expression::LocalVariable(variable) => self.touch(Value::Local(variable)),
            _ if self.words(Value::Of(handle)) > 0 => self.touch(Value::Of(handle)),
            _ => {}
        }
    }

    /// Whether a pointer leads out of the registers.
    fn is_memory(&self, pointer: Handle<Expression>) -> bool {
        match *self.types.expression(self.place, pointer) {
            Expression::GlobalVariable(_) => true,
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.is_memory(base),
            _ => false,
        }
    }

    fn touch(&mut self, value: Value) {
        let at = self.at;
        self.values.entry(value).and_modify(|(_, last)| *last = at).or_insert((at, at));
    }

    /// Registers of a value; none of what is part of another, of pointers and of what the compiler knows.
    fn words(&self, value: Value) -> u32 {
        let handle = match value {
            Value::Local(variable) => {
                let ty = self.types.function(self.place).local_variables[variable].ty;
                return self.types.module.types[ty].inner.size(self.types.module.to_ctx()) / 4;
            }
            Value::Of(handle) => handle,
        };
        let is_part = match *self.types.expression(self.place, handle) {
            Expression::AccessIndex { base, .. } | Expression::Access { base, .. } => !self.is_memory(base),
            Expression::Load { pointer } => !self.is_memory(pointer),
            Expression::Splat { .. } | Expression::Swizzle { .. } => true,
            _ => self.types.is_constant(self.place, handle),
        };
        match self.types.inner(self.place, handle) {
            _ if is_part => 0,
            TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } => 0,
            // Conditions are flags.
            TypeInner::Scalar(scalar) if scalar.kind == naga::ScalarKind::Bool => 0,
            inner => inner.size(self.types.module.to_ctx()).div_ceil(4),
        }
    }

    fn peak(&self, callees: &HashMap<Place, u32>) -> u32 {
        let mut changes = vec![0i64; self.at + 2];
        for (&value, &(first, mut last)) in &self.values {
            // What a loop was entered with is there until it ends. Inner loops come first.
            for &(begin, end) in &self.loops {
                if first < begin && (begin..end).contains(&last) {
                    last = end;
                }
            }
            let words = i64::from(self.words(value));
            changes[first] += words;
            changes[last + 1] -= words;
        }
        let mut alive = 0;
        let alive: Vec<i64> = changes
            .iter()
            .map(|change| {
                alive += change;
                alive
            })
            .collect();
        let in_calls = self.calls.iter().map(|(at, callee)| alive[*at] + i64::from(callees[callee]));
        in_calls.chain(alive.iter().copied()).max().unwrap_or(0) as u32
    }
}
