//! Adds to a shader what keeps the record.

use naga::proc::GlobalCtx;
use naga::{
    AddressSpace, Arena, BinaryOperator, Expression, Function, GlobalVariable, Handle, Literal, Module, Span,
    Statement, Type,
};

use super::anatomy::{Anatomy, Block, Site};
use super::operations::{Counts, Operations};
use super::pointer::Variables;
use super::registers;
use super::types::{Place, Types};
use super::{BLOCKS, BYTES};
use crate::engine::device::gpu::rewrite::{Code, Visitor, local_index, variable, visit};
use crate::engine::device::gpu::sanitizers::BINDING;

/// The storage variable that holds the record.
pub(in crate::engine::device::gpu) const NAME: &str = "record_of_workgroup";

/// Turns of each site that the record has room for. One more is written where all further ones go.
pub(super) fn room(anatomy: &Anatomy) -> u32 {
    let words = BYTES as u32 / 4 / anatomy.invocations - BLOCKS;
    words / (anatomy.sites.len() as u32).max(1) - 1
}

/// The word of the first address of a site, counted in words of every invocation.
pub(super) fn first(anatomy: &Anatomy, site: usize) -> u32 {
    BLOCKS + site as u32 * (room(anatomy) + 1)
}

/// The text of a shader whose workgroups have so many invocations, with the functions that keep the record. Word w of
/// invocation i is at w · invocations + i; addresses are 1 more than they are, so that 0 is none. Callees come first;
/// on one line, they leave lines their numbers.
pub(in crate::engine::device::gpu) fn prepared(text: &str, invocations: u32) -> String {
    let functions = format!(
        "
@group(1) @binding({BINDING}) var<storage, read_write> {NAME}: array<u32>;
var<private> recorded_invocation: u32;
var<private> recorded_room: u32;
fn record_access(site: u32, turn: u32, address: u32) {{
    let word = {BLOCKS}u + site * (recorded_room + 1u) + min(turn - 1u, recorded_room);
    {NAME}[word * {invocations}u + recorded_invocation] = address + 1u;
}}
fn record_runs(block: u32, runs: u32) {{
    {NAME}[block * {invocations}u + recorded_invocation] = runs;
}}
"
    );
    // Directives come before all else.
    let directives: usize =
        text.split_inclusive('\n').take_while(|line| line.starts_with("enable ")).map(str::len).sum();
    let (directives, rest) = text.split_at(directives);
    format!("{directives}{} {rest}", functions.replace('\n', " "))
}

/// Makes every part of a [prepared] shader count its runs, and every access leave its address.
///
/// # Errors
/// When it has more parts than can be counted, or accesses that cannot be followed.
pub(in crate::engine::device::gpu) fn instrument(module: &mut Module, text: &str) -> Result<Anatomy, String> {
    let types = Types::new(module)?;
    let counts = Counts::of(&types);
    let context = module.to_ctx();
    let in_workgroup = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    let anatomy = Anatomy {
        invocations: module.entry_points[0].workgroup_size.iter().product(),
        workgroup_bytes: in_workgroup.map(|(_, v)| context.types[v.ty].inner.size(context)).sum(),
        registers: registers::estimate(&types),
        ..Anatomy::default()
    };
    let prelude = Prelude::of(module)?;
    let zero = module.global_expressions.append(Expression::Literal(Literal::U32(0)), Span::UNDEFINED);
    let Module { types, constants, overrides, global_expressions, global_variables, functions, .. } = module;
    let mut recording = Recording {
        context: GlobalCtx { types, constants, overrides, global_expressions },
        variables: global_variables,
        prelude,
        zero,
        counts: &counts,
        place: None,
        text: Text::new(text),
        anatomy,
        turns: Vec::new(),
        runs: Vec::new(),
        failure: None,
    };
    for (handle, function) in functions.iter_mut().filter(|(handle, _)| !prelude.holds(*handle)) {
        recording.begin(Some(handle));
        visit(function, &mut recording);
    }
    recording.begin(None);
    visit(&mut module.entry_points[0].function, &mut recording);
    let Recording { anatomy, runs, failure, .. } = recording;
    match failure {
        Some(message) => return Err(message),
        None if runs.len() > BLOCKS as usize => {
            return Err(format!("has {} parts, and no more than {BLOCKS} can be counted", runs.len()));
        }
        None => {}
    }
    wrap(module, &prelude, &runs, room(&anatomy));
    Ok(anatomy)
}

/// What [`prepared`] has added.
#[derive(Clone, Copy)]
struct Prelude {
    word: Handle<Type>,
    invocation: Handle<GlobalVariable>,
    room: Handle<GlobalVariable>,
    on_access: Handle<Function>,
    on_runs: Handle<Function>,
}

impl Prelude {
    fn of(module: &Module) -> Result<Self, String> {
        let missing = || "is not prepared to be recorded".to_owned();
        let function = |name: &str| {
            let named = module.functions.iter().find(|(_, function)| function.name.as_deref() == Some(name));
            named.map(|(handle, _)| handle).ok_or_else(missing)
        };
        let variable = |name: &str| {
            let named =
                module.global_variables.iter().find(|(_, variable)| variable.name.as_deref() == Some(name));
            named.map(|(handle, _)| handle).ok_or_else(missing)
        };
        let invocation = variable("recorded_invocation")?;
        Ok(Self {
            word: module.global_variables[invocation].ty,
            invocation,
            room: variable("recorded_room")?,
            on_access: function("record_access")?,
            on_runs: function("record_runs")?,
        })
    }

    fn holds(&self, function: Handle<Function>) -> bool {
        [self.on_access, self.on_runs].contains(&function)
    }
}

/// Makes a function of the entry point, and an entry point that calls it and then writes the runs of all blocks: it
/// ends in one place, wherever the function returns.
fn wrap(module: &mut Module, prelude: &Prelude, runs: &[Handle<GlobalVariable>], room: u32) {
    let entry = &mut module.entry_points[0];
    let mut whole = std::mem::take(&mut entry.function);
    let given = whole.arguments.clone();
    whole.arguments.iter_mut().for_each(|argument| argument.binding = None);
    whole.name = Some("recorded_main".into());
    let whole = module.functions.append(whole, Span::UNDEFINED);
    entry.function.arguments = given.clone();
    let index = local_index(&mut entry.function, prelude.word);
    let arguments = (0..given.len() as u32)
        .map(|i| entry.function.expressions.append(Expression::FunctionArgument(i), Span::UNDEFINED))
        .collect();
    let mut code = Code::new(&mut entry.function);
    let (invocation, recorded_room) = (prelude.invocation, prelude.room);
    let pointer = code.add(Expression::GlobalVariable(invocation));
    code.push(Statement::Store { pointer, value: index });
    let (pointer, value) = (code.add(Expression::GlobalVariable(recorded_room)), code.word(room));
    code.push(Statement::Store { pointer, value });
    code.push(Statement::Call { function: whole, arguments, result: None });
    for (block, &runs) in runs.iter().enumerate() {
        let arguments = vec![code.word(block as u32), code.read(runs)];
        code.push(Statement::Call { function: prelude.on_runs, arguments, result: None });
    }
    code.push(Statement::Return { value: None });
    let body = code.into_block();
    entry.function.body = body;
}

struct Recording<'a> {
    context: GlobalCtx<'a>,
    variables: &'a mut Arena<GlobalVariable>,
    prelude: Prelude,
    /// What the runs of a block begin with.
    zero: Handle<Expression>,
    counts: &'a Counts,
    /// The function being visited.
    place: Place,
    text: Text<'a>,
    anatomy: Anatomy,
    /// The first block of the function and of each loop around what is being visited.
    turns: Vec<Option<usize>>,
    /// The runs of each block so far.
    runs: Vec<Handle<GlobalVariable>>,
    failure: Option<String>,
}

impl Visitor for Recording<'_> {
    fn before(&mut self, run: &[(Statement, Span)], code: &mut Code) {
        let mut block = Block::default();
        for (statement, span) in run {
            let mut add = |span: Span, operations: Operations| {
                if operations != Operations::default() {
                    *block.lines.entry(self.text.line(span)).or_default() += operations;
                }
            };
            match statement {
                Statement::Emit(range) => {
                    for expression in range.clone() {
                        let span = code.function.expressions.get_span(expression);
                        add(span, self.counts.of_expression(self.place, expression));
                    }
                }
                Statement::ControlBarrier(_) => {
                    add(*span, Operations { barriers: 1, ..Operations::default() })
                }
                _ => {}
            }
        }
        let runs = GlobalVariable {
            init: Some(self.zero),
            ..variable(&format!("runs_{}", self.runs.len()), AddressSpace::Private, self.prelude.word)
        };
        let runs = self.variables.append(runs, Span::UNDEFINED);
        let (left, right) = (code.read(runs), code.word(1));
        let value = code.add(Expression::Binary { op: BinaryOperator::Add, left, right });
        let pointer = code.add(Expression::GlobalVariable(runs));
        code.push(Statement::Store { pointer, value });
        if let Some(turn @ None) = self.turns.last_mut() {
            *turn = Some(self.runs.len());
        }
        self.runs.push(runs);
        self.anatomy.blocks.push(block);
    }

    fn begin_loop(&mut self) {
        self.turns.push(None);
    }

    fn end_loop(&mut self) {
        self.turns.pop();
    }

    fn after(&mut self, statement: &Statement, code: &mut Code) {
        match statement {
            Statement::Emit(range) => {
                for expression in range.clone() {
                    if let Expression::Load { pointer } = code.function.expressions[expression] {
                        self.access(code, pointer, code.function.expressions.get_span(expression), false);
                    }
                }
            }
            Statement::Store { pointer, .. } | Statement::Atomic { pointer, .. } => {
                self.access(code, *pointer, code.function.expressions.get_span(*pointer), true);
            }
            Statement::WorkGroupUniformLoad { pointer, .. } => {
                self.access(code, *pointer, code.function.expressions.get_span(*pointer), false);
            }
            _ => {}
        }
    }
}

impl Recording<'_> {
    fn begin(&mut self, place: Place) {
        self.place = place;
        self.turns = vec![None];
    }

    fn access(&mut self, code: &mut Code, pointer: Handle<Expression>, span: Span, writes: bool) {
        let variables = Variables { global: self.variables, context: self.context };
        let followed = match variables.follow(code.function, pointer) {
            Ok(Some(followed)) => followed,
            Ok(None) => return,
            Err(message) => return self.failure = Some(message),
        };
        // Statements that follow each other are of the block that was begun last.
        let block = self.anatomy.blocks.len() - 1;
        let site = Site {
            line: self.text.line(span),
            expression: self.text.at(span),
            variable: variables.global[followed.variable].name.clone().unwrap_or_default(),
            space: followed.space,
            writes,
            bytes: variables.bytes(&followed),
            block,
            turn: self.turns.last().copied().flatten().unwrap_or(block),
        };
        let number = code.word(self.anatomy.sites.len() as u32);
        let arguments = vec![number, code.read(self.runs[site.turn]), followed.address(code)];
        code.push(Statement::Call { function: self.prelude.on_access, arguments, result: None });
        self.anatomy.sites.push(site);
    }
}

/// A shader's text, and where its lines begin.
struct Text<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(ends).collect() }
    }

    /// The line of a span's beginning, from 1 on.
    fn line(&self, span: Span) -> usize {
        let start = span.to_range().map_or(0, |range| range.start);
        self.lines.partition_point(|&begin| begin <= start)
    }

    /// The text of a span, on one line.
    fn at(&self, span: Span) -> String {
        let text = span.to_range().and_then(|range| self.text.get(range)).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
