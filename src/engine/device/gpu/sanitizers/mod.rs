//! Shaders rewritten to report what drivers hide: an index beyond the end of an array (see [`bounds`]), and a race in
//! workgroup memory (see [`races`]).

mod bounds;
mod races;

use std::sync::{Mutex, MutexGuard, PoisonError};

use naga::{
    AddressSpace, Block, Expression, Function, GlobalVariable, Handle, Literal, MemoryDecorations, Module,
    Range, ResourceBinding, Scalar, Span, Statement, StorageAccess, Type, TypeInner,
};

/// The binding of group 1 that a report is written to: 0, or one more than the number of a message.
pub(super) const BINDING: u32 = 1;

/// What all shaders may report, by number.
#[derive(Default)]
pub(super) struct Reports(Mutex<Vec<String>>);

impl Reports {
    /// What a report says.
    pub fn message(&self, report: u32) -> Option<String> {
        self.messages().get((report as usize).checked_sub(1)?).cloned()
    }

    /// The report that says this.
    fn number(&self, message: String) -> u32 {
        let mut messages = self.messages();
        messages.push(message);
        messages.len() as u32
    }

    fn messages(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every access of `module` to an array compare its index with the length, and those to workgroup
    /// memory look for others at the same element, as far as `room` bytes of it suffice.
    pub fn instrument(&self, shader: &str, module: &mut Module, room: u32) {
        let inner = TypeInner::Scalar(Scalar::U32);
        let word = module.types.insert(Type { name: None, inner }, Span::UNDEFINED);
        let access = StorageAccess::LOAD | StorageAccess::STORE;
        let report = GlobalVariable {
            binding: Some(ResourceBinding { group: 1, binding: BINDING }),
            ..variable("report", AddressSpace::Storage { access }, word)
        };
        let report = module.global_variables.append(report, Span::UNDEFINED);
        bounds::instrument(module, report, |array| {
            self.number(format!("an index is beyond the end of `{array}` of shaders/{shader}.wgsl"))
        });
        races::instrument(module, word, report, room, |array| {
            self.number(format!(
                "two invocations meet at an element of `{array}` of shaders/{shader}.wgsl, one of them writing, \
                 without a barrier between them"
            ))
        });
    }
}

fn variable(name: &str, space: AddressSpace, ty: Handle<Type>) -> GlobalVariable {
    let memory_decorations = MemoryDecorations::empty();
    GlobalVariable { name: Some(name.into()), space, binding: None, ty, init: None, memory_decorations }
}

/// Adds statements to a shader.
trait Visitor {
    /// Writes what is to follow a statement that holds no others.
    fn after(&mut self, statement: &Statement, code: &mut Code);
}

/// Visits the statements of a function, those in blocks too.
fn visit(function: &mut Function, visitor: &mut impl Visitor) {
    let mut body = std::mem::take(&mut function.body);
    visit_block(&mut body, function, visitor);
    function.body = body;
}

fn visit_block(block: &mut Block, function: &mut Function, visitor: &mut impl Visitor) {
    for (mut statement, span) in std::mem::take(block).span_into_iter() {
        let mut code = Code { function, block: Block::new() };
        match &mut statement {
            Statement::Block(inner) => visit_block(inner, code.function, visitor),
            Statement::If { accept, reject, .. } => {
                visit_block(accept, code.function, visitor);
                visit_block(reject, code.function, visitor);
            }
            Statement::Switch { cases, .. } => {
                cases.iter_mut().for_each(|case| visit_block(&mut case.body, code.function, visitor));
            }
            Statement::Loop { body, continuing, .. } => {
                visit_block(body, code.function, visitor);
                visit_block(continuing, code.function, visitor);
            }
            _ => visitor.after(&statement, &mut code),
        }
        let added = code.block;
        block.push(statement, span);
        block.extend_block(added);
    }
}

/// Statements in the making, and the function whose expressions they use.
struct Code<'a> {
    function: &'a mut Function,
    block: Block,
}

impl Code<'_> {
    fn add(&mut self, expression: Expression) -> Handle<Expression> {
        let is_there = matches!(expression, Expression::Literal(_) | Expression::GlobalVariable(_));
        let handle = self.function.expressions.append(expression, Span::UNDEFINED);
        if !is_there {
            self.push(Statement::Emit(Range::new_from_bounds(handle, handle)));
        }
        handle
    }

    fn push(&mut self, statement: Statement) {
        self.block.push(statement, Span::UNDEFINED);
    }

    fn word(&mut self, value: u32) -> Handle<Expression> {
        self.add(Expression::Literal(Literal::U32(value)))
    }

    /// `if condition { variable = value; }`
    fn store_if(&mut self, condition: Handle<Expression>, variable: Handle<GlobalVariable>, value: u32) {
        let (pointer, value) = (self.add(Expression::GlobalVariable(variable)), self.word(value));
        let mut accept = Block::new();
        accept.push(Statement::Store { pointer, value }, Span::UNDEFINED);
        self.push(Statement::If { condition, accept, reject: Block::new() });
    }
}
