//! Shaders rewritten as parsed modules: statements added to those that are there.

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, FunctionArgument, GlobalVariable, Handle,
    Literal, MemoryDecorations, Range, Span, Statement, Type,
};

pub(super) fn variable(name: &str, space: AddressSpace, ty: Handle<Type>) -> GlobalVariable {
    let memory_decorations = MemoryDecorations::empty();
    GlobalVariable { name: Some(name.into()), space, binding: None, ty, init: None, memory_decorations }
}

/// The `local_invocation_index` of an entry point, which is given it where it has not asked for it.
pub(super) fn local_index(function: &mut Function, word: Handle<Type>) -> Handle<Expression> {
    let binding = Some(Binding::BuiltIn(BuiltIn::LocalInvocationIndex));
    let place = function.arguments.iter().position(|argument| argument.binding == binding);
    let place = place.unwrap_or_else(|| {
        function.arguments.push(FunctionArgument { name: Some("index".into()), ty: word, binding });
        function.arguments.len() - 1
    });
    function.expressions.append(Expression::FunctionArgument(place as u32), Span::UNDEFINED)
}

/// Puts statements before those of a function.
pub(super) fn prepend(function: &mut Function, mut first: Block) {
    for (statement, span) in std::mem::take(&mut function.body).span_into_iter() {
        first.push(statement, span);
    }
    function.body = first;
}

/// Adds statements to a shader.
pub(super) trait Visitor {
    /// Writes what is to come before statements that hold no others and run one after the other. The last of them may
    /// leave the block.
    fn before(&mut self, _run: &[(Statement, Span)], _code: &mut Code) {}

    /// What is visited next is the body of a loop, until [`end_loop`](Self::end_loop).
    fn begin_loop(&mut self) {}

    fn end_loop(&mut self) {}

    /// Writes what is to follow a statement that holds no others.
    fn after(&mut self, statement: &Statement, code: &mut Code);
}

/// Visits the statements of a function, those in blocks too.
pub(super) fn visit(function: &mut Function, visitor: &mut impl Visitor) {
    let mut body = std::mem::take(&mut function.body);
    visit_block(&mut body, function, visitor);
    function.body = body;
}

fn visit_block(block: &mut Block, function: &mut Function, visitor: &mut impl Visitor) {
    let mut statements: Vec<_> = std::mem::take(block).span_into_iter().collect();
    for run in statements.chunk_by_mut(|(a, _), (b, _)| !holds_others(a) && !holds_others(b)) {
        let mut code = Code::new(function);
        if !holds_others(&run[0].0) {
            visitor.before(run, &mut code);
        }
        block.extend_block(code.into_block());
        for (statement, span) in run {
            let mut code = Code::new(function);
            match statement {
                Statement::Block(inner) => visit_block(inner, code.function, visitor),
                Statement::If { accept, reject, .. } => {
                    visit_block(accept, code.function, visitor);
                    visit_block(reject, code.function, visitor);
                }
                Statement::Switch { cases, .. } => {
                    cases.iter_mut().for_each(|case| visit_block(&mut case.body, code.function, visitor));
                }
                Statement::Loop { body, continuing, .. } => {
                    visitor.begin_loop();
                    visit_block(body, code.function, visitor);
                    visit_block(continuing, code.function, visitor);
                    visitor.end_loop();
                }
                _ => visitor.after(statement, &mut code),
            }
            let added = code.into_block();
            block.push(statement.clone(), *span);
            block.extend_block(added);
        }
    }
}

fn holds_others(statement: &Statement) -> bool {
    use Statement::{Block, If, Loop, Switch};
    matches!(statement, Block(_) | If { .. } | Switch { .. } | Loop { .. })
}

/// Statements in the making, and the function whose expressions they use.
pub(super) struct Code<'a> {
    pub function: &'a mut Function,
    block: Block,
}

impl<'a> Code<'a> {
    pub fn new(function: &'a mut Function) -> Self {
        Self { function, block: Block::new() }
    }

    pub fn into_block(self) -> Block {
        self.block
    }

    pub fn add(&mut self, expression: Expression) -> Handle<Expression> {
        let is_there = matches!(expression, Expression::Literal(_) | Expression::GlobalVariable(_));
        let handle = self.function.expressions.append(expression, Span::UNDEFINED);
        if !is_there {
            self.push(Statement::Emit(Range::new_from_bounds(handle, handle)));
        }
        handle
    }

    pub fn push(&mut self, statement: Statement) {
        self.block.push(statement, Span::UNDEFINED);
    }

    /// What a variable holds.
    pub fn read(&mut self, variable: Handle<GlobalVariable>) -> Handle<Expression> {
        let pointer = self.add(Expression::GlobalVariable(variable));
        self.add(Expression::Load { pointer })
    }

    pub fn word(&mut self, value: u32) -> Handle<Expression> {
        self.add(Expression::Literal(Literal::U32(value)))
    }

    /// `if condition { variable = value; }`
    pub fn store_if(&mut self, condition: Handle<Expression>, variable: Handle<GlobalVariable>, value: u32) {
        let (pointer, value) = (self.add(Expression::GlobalVariable(variable)), self.word(value));
        let mut accept = Block::new();
        accept.push(Statement::Store { pointer, value }, Span::UNDEFINED);
        self.push(Statement::If { condition, accept, reject: Block::new() });
    }
}
