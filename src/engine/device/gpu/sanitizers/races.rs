//! The race sanitizer: reports two invocations at one element of workgroup memory, one of them writing, without a
//! barrier between them. A driver that runs invocations one after another, or eight in step, never loses such a race.
//!
//! Each element has two shadows: who wrote it last and who read it last, each with the number of barriers that
//! this invocation had passed.

use std::collections::HashMap;
use std::num::NonZeroU32;

use naga::{
    AddressSpace, ArraySize, BinaryOperator, Block, Expression, Function, GlobalVariable, Handle, Literal,
    Module, ScalarKind, Span, Statement, Type, TypeInner,
};

use crate::engine::device::gpu::rewrite::{Code, Visitor, local_index, prepend, variable, visit};

/// Invocations that can be told apart; one number more stands for several of them.
const INVOCATIONS: u32 = 4095;

/// The shadows of an array in workgroup memory.
#[derive(Clone, Copy)]
struct Shadow {
    writes: Handle<GlobalVariable>,
    reads: Handle<GlobalVariable>,
    /// Elements below one index of the outermost array, where arrays are nested; else 1.
    inner: u32,
    report: u32,
}

/// Makes every access of `module` to an array in workgroup memory leave its mark and look at those of others, as
/// far as `room` bytes of workgroup memory suffice. `number` gives what to report for a variable.
pub(super) fn instrument(
    module: &mut Module,
    word: Handle<Type>,
    report: Handle<GlobalVariable>,
    room: u32,
    number: impl Fn(&str) -> u32,
) {
    let shadows = cast_shadows(module, word, room, number);
    if shadows.is_empty() {
        return;
    }
    let [barriers, invocation] = ["barriers", "invocation"].map(|name| {
        module.global_variables.append(variable(name, AddressSpace::Private, word), Span::UNDEFINED)
    });
    let mut races = Races { shadows, report, barriers, invocation };
    let Module { functions, entry_points, .. } = module;
    functions.iter_mut().for_each(|(_, function)| visit(function, &mut races));
    for entry in entry_points {
        visit(&mut entry.function, &mut races);
        begin(&mut entry.function, word, barriers, invocation);
    }
}

/// Shadows for the arrays in workgroup memory, while there is room.
fn cast_shadows(
    module: &mut Module,
    word: Handle<Type>,
    room: u32,
    number: impl Fn(&str) -> u32,
) -> HashMap<Handle<GlobalVariable>, Shadow> {
    let in_workgroup: Vec<_> = (module.global_variables.iter())
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(handle, variable)| (handle, variable.ty, variable.name.clone().unwrap_or_default()))
        .collect();
    let bytes = |ty: Handle<Type>| module.types[ty].inner.size(module.to_ctx());
    let mut left = room.saturating_sub(in_workgroup.iter().map(|(_, ty, _)| bytes(*ty)).sum());
    let mut shadows = HashMap::new();
    for (handle, ty, name) in in_workgroup {
        let Some((outer, below)) = array(module, ty) else { continue };
        let inner = array(module, below).map_or(1, |(inner, _)| inner);
        let elements = outer * inner;
        let Some(size) = NonZeroU32::new(elements).filter(|_| 8 * elements <= left) else {
            continue;
        };
        left -= 8 * elements;
        let marks = TypeInner::Array { base: word, size: ArraySize::Constant(size), stride: 4 };
        let marks = module.types.insert(Type { name: None, inner: marks }, Span::UNDEFINED);
        let mut shadow = |what: &str| {
            let shadow = variable(&format!("{name}_{what}"), AddressSpace::WorkGroup, marks);
            module.global_variables.append(shadow, Span::UNDEFINED)
        };
        let (writes, reads) = (shadow("writes"), shadow("reads"));
        shadows.insert(handle, Shadow { writes, reads, inner, report: number(&name) });
    }
    shadows
}

/// The length of an array and the type of its elements.
fn array(module: &Module, ty: Handle<Type>) -> Option<(u32, Handle<Type>)> {
    match module.types[ty].inner {
        TypeInner::Array { base, size: ArraySize::Constant(size), .. } => Some((size.get(), base)),
        _ => None,
    }
}

/// Notes which invocation this is, and that it has passed one barrier: the one that follows the zeroing of
/// workgroup memory.
fn begin(
    function: &mut Function,
    word: Handle<Type>,
    barriers: Handle<GlobalVariable>,
    invocation: Handle<GlobalVariable>,
) {
    let index = local_index(function, word);
    let mut add = |e| function.expressions.append(e, Span::UNDEFINED);
    let one = add(Expression::Literal(Literal::U32(1)));
    let [barriers, invocation] = [barriers, invocation].map(|v| add(Expression::GlobalVariable(v)));
    let mut body = Block::new();
    body.push(Statement::Store { pointer: invocation, value: index }, Span::UNDEFINED);
    body.push(Statement::Store { pointer: barriers, value: one }, Span::UNDEFINED);
    prepend(function, body);
}

struct Races {
    shadows: HashMap<Handle<GlobalVariable>, Shadow>,
    report: Handle<GlobalVariable>,
    barriers: Handle<GlobalVariable>,
    invocation: Handle<GlobalVariable>,
}

impl Visitor for Races {
    fn after(&mut self, statement: &Statement, code: &mut Code) {
        match statement {
            Statement::Emit(range) => {
                for expression in range.clone() {
                    if let Expression::Load { pointer } = code.function.expressions[expression] {
                        self.mark(code, pointer, false);
                    }
                }
            }
            Statement::Store { pointer, .. } => self.mark(code, *pointer, true),
            Statement::ControlBarrier(_) => self.pass_barrier(code),
            _ => {}
        }
    }
}

/// An index into an array, as the shader has it.
enum Index {
    Known(u32),
    Computed(Handle<Expression>),
}

impl Index {
    fn write(&self, code: &mut Code) -> Handle<Expression> {
        match *self {
            Self::Known(value) => code.word(value),
            Self::Computed(expr) => {
                code.add(Expression::As { expr, kind: ScalarKind::Uint, convert: Some(4) })
            }
        }
    }
}

fn read(code: &mut Code, variable: Handle<GlobalVariable>) -> Handle<Expression> {
    let pointer = code.add(Expression::GlobalVariable(variable));
    code.add(Expression::Load { pointer })
}

fn binary(
    code: &mut Code,
    op: BinaryOperator,
    left: Handle<Expression>,
    right: Handle<Expression>,
) -> Handle<Expression> {
    code.add(Expression::Binary { op, left, right })
}

impl Races {
    /// The array that a pointer leads into, and the indices on the way, outermost first.
    fn path(&self, function: &Function, mut pointer: Handle<Expression>) -> Option<(Shadow, Vec<Index>)> {
        let mut indices = Vec::new();
        loop {
            let (base, index) = match function.expressions[pointer] {
                Expression::Access { base, index } => (base, Index::Computed(index)),
                Expression::AccessIndex { base, index } => (base, Index::Known(index)),
                Expression::GlobalVariable(variable) => {
                    indices.reverse();
                    return self.shadows.get(&variable).map(|shadow| (*shadow, indices));
                }
                _ => return None,
            };
            indices.push(index);
            pointer = base;
        }
    }

    /// `barriers += 1;`
    fn pass_barrier(&self, code: &mut Code) {
        let (now, one) = (read(code, self.barriers), code.word(1));
        let value = binary(code, BinaryOperator::Add, now, one);
        let pointer = code.add(Expression::GlobalVariable(self.barriers));
        code.push(Statement::Store { pointer, value });
    }

    /// Reports marks since the last barrier that others left, and leaves one.
    fn mark(&self, code: &mut Code, pointer: Handle<Expression>, writes: bool) {
        use BinaryOperator::{Add, Equal, GreaterEqual, Less, LogicalAnd, LogicalOr, Multiply, NotEqual};
        let Some((shadow, indices)) = self.path(code.function, pointer) else { return };
        let element = match (indices.as_slice(), shadow.inner) {
            ([index, ..], 1) => index.write(code),
            ([outer, inner, ..], extent) => {
                let (outer, extent) = (outer.write(code), code.word(extent));
                let (row, inner) = (binary(code, Multiply, outer, extent), inner.write(code));
                binary(code, Add, row, inner)
            }
            _ => return,
        };
        let (barriers, invocation) = (read(code, self.barriers), read(code, self.invocation));
        let stride = code.word(INVOCATIONS + 1);
        let first = binary(code, Multiply, barriers, stride);
        let mine = binary(code, Add, first, invocation);
        let [last_write, last_read] = [shadow.writes, shadow.reads].map(|marks| {
            let base = code.add(Expression::GlobalVariable(marks));
            let pointer = code.add(Expression::Access { base, index: element });
            (pointer, code.add(Expression::Load { pointer }))
        });
        let by_another = |code: &mut Code, mark| {
            let now = binary(code, GreaterEqual, mark, first);
            let other = binary(code, NotEqual, mark, mine);
            binary(code, LogicalAnd, now, other)
        };
        let mut meets = by_another(code, last_write.1);
        let (value, pointer) = if writes {
            let read = by_another(code, last_read.1);
            meets = binary(code, LogicalOr, meets, read);
            (mine, last_write.0)
        } else {
            let older = binary(code, Less, last_read.1, first);
            let same = binary(code, Equal, last_read.1, mine);
            let condition = binary(code, LogicalOr, older, same);
            let several = code.word(INVOCATIONS);
            let several = binary(code, Add, first, several);
            (code.add(Expression::Select { condition, accept: mine, reject: several }), last_read.0)
        };
        code.store_if(meets, self.report, shadow.report);
        code.push(Statement::Store { pointer, value });
    }
}
