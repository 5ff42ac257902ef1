//! Shaders that report two invocations at one element of workgroup memory, one of them writing, without a barrier
//! between them. A driver that runs invocations one after another, or eight in step, never loses such a race.
//!
//! Each element has two shadows: who wrote it last and who read it last, each with the number of barriers that
//! this invocation had passed.

use std::collections::HashMap;

use naga::{
    AddressSpace, ArraySize, BinaryOperator, Binding, Block, BuiltIn, Expression, Function, FunctionArgument,
    GlobalVariable, Handle, Literal, MemoryDecorations, Module, Span, Statement, Type, TypeInner,
};

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
/// far as `room` bytes of workgroup memory suffice. `name` gives the number to report for a variable.
pub(super) fn watch(
    module: &mut Module,
    word: Handle<Type>,
    report: Handle<GlobalVariable>,
    room: u32,
    name: impl Fn(&str) -> u32,
) {
    let shadows = cast_shadows(module, word, room, name);
    if shadows.is_empty() {
        return;
    }
    let own = |name: &str| variable(name, AddressSpace::Private, word);
    let phase = module.global_variables.append(own("phase"), Span::UNDEFINED);
    let invocation = module.global_variables.append(own("invocation"), Span::UNDEFINED);
    let Module { functions, entry_points, .. } = module;
    let entries = entry_points.iter_mut().map(|entry| &mut entry.function);
    for function in functions.iter_mut().map(|(_, function)| function).chain(entries) {
        let mut body = std::mem::take(&mut function.body);
        Watch { function, shadows: &shadows, report, phase, invocation }.block(&mut body);
        function.body = body;
    }
    for entry in &mut module.entry_points {
        begin(&mut entry.function, word, phase, invocation);
    }
}

fn variable(name: &str, space: AddressSpace, ty: Handle<Type>) -> GlobalVariable {
    let memory_decorations = MemoryDecorations::empty();
    GlobalVariable { name: Some(name.into()), space, binding: None, ty, init: None, memory_decorations }
}

/// Shadows for the arrays in workgroup memory, while there is room.
fn cast_shadows(
    module: &mut Module,
    word: Handle<Type>,
    room: u32,
    name: impl Fn(&str) -> u32,
) -> HashMap<Handle<GlobalVariable>, Shadow> {
    let in_workgroup: Vec<_> = (module.global_variables.iter())
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(handle, variable)| (handle, variable.ty, variable.name.clone().unwrap_or_default()))
        .collect();
    let bytes = |ty: Handle<Type>| module.types[ty].inner.size(module.to_ctx());
    let mut left = room.saturating_sub(in_workgroup.iter().map(|(_, ty, _)| bytes(*ty)).sum());
    let mut shadows = HashMap::new();
    for (handle, ty, variable_name) in in_workgroup {
        let Some((outer, below)) = array(module, ty) else { continue };
        let inner = array(module, below).map_or(1, |(inner, _)| inner);
        let elements = outer * inner;
        let Some(size) = std::num::NonZeroU32::new(elements).filter(|_| 8 * elements <= left) else {
            continue;
        };
        left -= 8 * elements;
        let marks = TypeInner::Array { base: word, size: ArraySize::Constant(size), stride: 4 };
        let marks = module.types.insert(Type { name: None, inner: marks }, Span::UNDEFINED);
        let mut shadow = |what: &str| {
            let shadow = variable(&format!("{variable_name}_{what}"), AddressSpace::WorkGroup, marks);
            module.global_variables.append(shadow, Span::UNDEFINED)
        };
        let (writes, reads) = (shadow("writes"), shadow("reads"));
        shadows.insert(handle, Shadow { writes, reads, inner, report: name(&variable_name) });
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
    phase: Handle<GlobalVariable>,
    invocation: Handle<GlobalVariable>,
) {
    let binding = Some(Binding::BuiltIn(BuiltIn::LocalInvocationIndex));
    let place = function.arguments.iter().position(|argument| argument.binding == binding);
    let place = place.unwrap_or_else(|| {
        function.arguments.push(FunctionArgument { name: Some("index".into()), ty: word, binding });
        function.arguments.len() - 1
    });
    let mut add = |e| function.expressions.append(e, Span::UNDEFINED);
    let index = add(Expression::FunctionArgument(place as u32));
    let one = add(Expression::Literal(Literal::U32(1)));
    let [phase, invocation] = [phase, invocation].map(|v| add(Expression::GlobalVariable(v)));
    let mut body = Block::new();
    body.push(Statement::Store { pointer: invocation, value: index }, Span::UNDEFINED);
    body.push(Statement::Store { pointer: phase, value: one }, Span::UNDEFINED);
    for (statement, span) in std::mem::take(&mut function.body).span_into_iter() {
        body.push(statement, span);
    }
    function.body = body;
}

/// One function in the making.
struct Watch<'a> {
    function: &'a mut Function,
    shadows: &'a HashMap<Handle<GlobalVariable>, Shadow>,
    report: Handle<GlobalVariable>,
    phase: Handle<GlobalVariable>,
    invocation: Handle<GlobalVariable>,
}

/// An index into an array, as the shader has it.
enum Index {
    Known(u32),
    Computed(Handle<Expression>),
}

impl Watch<'_> {
    fn block(&mut self, block: &mut Block) {
        let mut watched = Block::new();
        for (mut statement, span) in std::mem::take(block).span_into_iter() {
            match &mut statement {
                Statement::Emit(range) => {
                    let pointers: Vec<_> = range.clone().filter_map(|e| self.loaded(e)).collect();
                    watched.push(statement, span);
                    for pointer in pointers {
                        self.mark(&mut watched, pointer, false);
                    }
                    continue;
                }
                Statement::Store { pointer, .. } => {
                    let pointer = *pointer;
                    watched.push(statement, span);
                    self.mark(&mut watched, pointer, true);
                    continue;
                }
                Statement::ControlBarrier(_) => {
                    watched.push(statement, span);
                    self.next_phase(&mut watched);
                    continue;
                }
                Statement::Block(inner) => self.block(inner),
                Statement::If { accept, reject, .. } => {
                    self.block(accept);
                    self.block(reject);
                }
                Statement::Switch { cases, .. } => {
                    cases.iter_mut().for_each(|case| self.block(&mut case.body));
                }
                Statement::Loop { body, continuing, .. } => {
                    self.block(body);
                    self.block(continuing);
                }
                _ => {}
            }
            watched.push(statement, span);
        }
        *block = watched;
    }

    fn loaded(&self, expression: Handle<Expression>) -> Option<Handle<Expression>> {
        match self.function.expressions[expression] {
            Expression::Load { pointer } => Some(pointer),
            _ => None,
        }
    }

    /// The array that a pointer leads into, and the indices on the way, outermost first.
    fn path(&self, mut pointer: Handle<Expression>) -> Option<(Shadow, Vec<Index>)> {
        let mut indices = Vec::new();
        loop {
            match self.function.expressions[pointer] {
                Expression::Access { base, index } => {
                    indices.push(Index::Computed(index));
                    pointer = base;
                }
                Expression::AccessIndex { base, index } => {
                    indices.push(Index::Known(index));
                    pointer = base;
                }
                Expression::GlobalVariable(variable) => {
                    indices.reverse();
                    return self.shadows.get(&variable).map(|shadow| (*shadow, indices));
                }
                _ => return None,
            }
        }
    }

    fn add(&mut self, to: &mut Block, expression: Expression) -> Handle<Expression> {
        let is_there = matches!(expression, Expression::Literal(_) | Expression::GlobalVariable(_));
        let handle = self.function.expressions.append(expression, Span::UNDEFINED);
        if !is_there {
            to.push(Statement::Emit(naga::Range::new_from_bounds(handle, handle)), Span::UNDEFINED);
        }
        handle
    }

    fn word(&mut self, to: &mut Block, value: u32) -> Handle<Expression> {
        self.add(to, Expression::Literal(Literal::U32(value)))
    }

    fn read(&mut self, to: &mut Block, variable: Handle<GlobalVariable>) -> Handle<Expression> {
        let pointer = self.add(to, Expression::GlobalVariable(variable));
        self.add(to, Expression::Load { pointer })
    }

    fn binary(
        &mut self,
        to: &mut Block,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Handle<Expression> {
        self.add(to, Expression::Binary { op, left, right })
    }

    fn index(&mut self, to: &mut Block, index: &Index) -> Handle<Expression> {
        match *index {
            Index::Known(value) => self.word(to, value),
            Index::Computed(expr) => {
                self.add(to, Expression::As { expr, kind: naga::ScalarKind::Uint, convert: Some(4) })
            }
        }
    }

    /// `phase += 1;`
    fn next_phase(&mut self, to: &mut Block) {
        let (now, one) = (self.read(to, self.phase), self.word(to, 1));
        let value = self.binary(to, BinaryOperator::Add, now, one);
        let pointer = self.add(to, Expression::GlobalVariable(self.phase));
        to.push(Statement::Store { pointer, value }, Span::UNDEFINED);
    }

    /// Reports marks of this phase that others left, and leaves one.
    fn mark(&mut self, to: &mut Block, pointer: Handle<Expression>, writes: bool) {
        use BinaryOperator::{Add, Equal, GreaterEqual, Less, LogicalAnd, LogicalOr, Multiply, NotEqual};
        let Some((shadow, indices)) = self.path(pointer) else { return };
        let place = match (indices.as_slice(), shadow.inner) {
            ([index, ..], 1) => self.index(to, index),
            ([outer, inner, ..], extent) => {
                let (outer, extent) = (self.index(to, outer), self.word(to, extent));
                let (row, inner) = (self.binary(to, Multiply, outer, extent), self.index(to, inner));
                self.binary(to, Add, row, inner)
            }
            _ => return,
        };
        let (phase, invocation) = (self.read(to, self.phase), self.read(to, self.invocation));
        let stride = self.word(to, INVOCATIONS + 1);
        let first = self.binary(to, Multiply, phase, stride);
        let mine = self.binary(to, Add, first, invocation);
        let [last_write, last_read] = [shadow.writes, shadow.reads].map(|marks| {
            let base = self.add(to, Expression::GlobalVariable(marks));
            let pointer = self.add(to, Expression::Access { base, index: place });
            (pointer, self.add(to, Expression::Load { pointer }))
        });
        let mut by_another = |this: &mut Self, mark| {
            let now = this.binary(to, GreaterEqual, mark, first);
            let other = this.binary(to, NotEqual, mark, mine);
            this.binary(to, LogicalAnd, now, other)
        };
        let mut meets = by_another(self, last_write.1);
        let (mark, pointer) = if writes {
            let read = by_another(self, last_read.1);
            meets = self.binary(to, LogicalOr, meets, read);
            (mine, last_write.0)
        } else {
            let older = self.binary(to, Less, last_read.1, first);
            let same = self.binary(to, Equal, last_read.1, mine);
            let condition = self.binary(to, LogicalOr, older, same);
            let several = self.word(to, INVOCATIONS);
            let several = self.binary(to, Add, first, several);
            (self.add(to, Expression::Select { condition, accept: mine, reject: several }), last_read.0)
        };
        let value = self.word(to, shadow.report);
        let report = self.add(to, Expression::GlobalVariable(self.report));
        let mut accept = Block::new();
        accept.push(Statement::Store { pointer: report, value }, Span::UNDEFINED);
        to.push(Statement::If { condition: meets, accept, reject: Block::new() }, Span::UNDEFINED);
        to.push(Statement::Store { pointer, value: mark }, Span::UNDEFINED);
    }
}
