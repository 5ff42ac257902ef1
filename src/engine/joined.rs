//! Joined plans: what is done to many tensors one by one is done to all of them at once.
//!
//! An optimiser updates each tensor by itself. On a fast GPU, starting so many kernels takes longer than running them.
//! In a joined plan, tensors that are treated alike lie one after another in one piece of memory, and one node updates
//! a stretch of them, as PyTorch's fused optimisers do. Ops, kernels and twins are the same: only the tensors are longer.
//!
//! Temporaries that are joined, such as gradients, are all there at the end of a step, but not at its beginning. Until
//! one is made, others may use its place.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::early::{PIECE, place_early};
use super::op::Joins;
use super::plan::{Plan, PlanNode, PlanTensor, Storage, UNASSIGNED};
use super::tensor::{Dtype, Spec};

/// How many times its memory a joined plan may take.
const MOST_MEMORY: f64 = 1.02;

/// Nodes that may become one, or one node whose operands may.
struct Group {
    /// In the order they run.
    nodes: Vec<usize>,
    /// Tensors that may lie one after another: of each node one, or the operands.
    columns: Vec<Vec<usize>>,
    /// The number of the operand that each column is.
    inputs: Vec<usize>,
}

/// Where a joined tensor lies.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    arena: usize,
    first: usize,
}

impl Plan {
    /// This plan with its nodes joined, in pieces of memory of at most so many bytes; `None` where nothing can be. For a
    /// GPU alone.
    pub fn joined(&self, most_bytes: u64) -> Option<Self> {
        let groups = groups(self);
        let limit = MOST_MEMORY * self.memory().total() as f64;
        let mut most = usize::try_from(most_bytes / 4).unwrap_or(usize::MAX);
        // Smaller pieces leave more of their memory to others.
        while most >= PIECE {
            let arenas = arenas(self, &groups, most);
            let largest = arenas.iter().map(|arena| len(self, arena)).max()?;
            let plan = Joining::new(self, arenas).join(&groups);
            if plan.memory().total() as f64 <= limit {
                return Some(plan);
            }
            most = largest / 2;
        }
        None
    }
}

/// Elements of these tensors together.
fn len(plan: &Plan, tensors: &[usize]) -> usize {
    tensors.iter().map(|&tensor| plan.tensors[tensor].spec.shape.len()).sum()
}

fn groups(plan: &Plan) -> Vec<Group> {
    let mut groups = Vec::new();
    for phase in &plan.phases {
        // Nodes in a row that may be joined, by what they have in common.
        let mut row: BTreeMap<String, Group> = BTreeMap::new();
        for at in phase.nodes.clone() {
            let node = &plan.nodes[at];
            match node.op.joins() {
                Joins::Applications { shared } => {
                    let common: Vec<_> = shared.iter().map(|&i| node.inputs[i]).collect();
                    let inputs: Vec<_> = (0..node.inputs.len()).filter(|i| !shared.contains(i)).collect();
                    let group = row.entry(format!("{:?} {common:?}", node.op)).or_insert_with(|| Group {
                        nodes: Vec::new(),
                        columns: vec![Vec::new(); inputs.len()],
                        inputs,
                    });
                    group.nodes.push(at);
                    let Group { columns, inputs, .. } = group;
                    columns.iter_mut().zip(inputs).for_each(|(column, i)| column.push(node.inputs[*i]));
                }
                joins => {
                    finish(plan, &mut row, &mut groups);
                    if joins == Joins::Operands && node.inputs.len() > 1 {
                        let columns = vec![node.inputs.clone()];
                        groups.push(Group { nodes: vec![at], columns, inputs: Vec::new() });
                    }
                }
            }
        }
        finish(plan, &mut row, &mut groups);
    }
    groups.iter_mut().for_each(|group| group.keep_alike(plan));
    groups.retain(|group| group.columns.iter().all(|column| column.len() > 1));
    groups
}

/// Takes over the nodes of a row that do not depend on each other and that update something lasting.
fn finish(plan: &Plan, row: &mut BTreeMap<String, Group>, groups: &mut Vec<Group>) {
    let row = std::mem::take(row);
    let nodes = row.values().flat_map(|group| &group.nodes).map(|&at| &plan.nodes[at]);
    let touched = |node: &PlanNode| node.inputs.iter().chain(&node.outputs).copied().collect::<HashSet<_>>();
    let mut times: HashMap<usize, usize> = HashMap::new();
    nodes.clone().flat_map(touched).for_each(|tensor| *times.entry(tensor).or_default() += 1);
    let lasts = |tensor: &usize| matches!(plan.tensors[*tensor].storage, Storage::Persistent { .. });
    let is_alone = |node: &PlanNode| node.outputs.iter().all(|output| times[output] == 1);
    if nodes.clone().all(is_alone) && nodes.clone().all(|node| node.outputs.iter().any(lasts)) {
        groups.extend(row.into_values().filter(|group| group.nodes.len() > 1));
    }
}

impl Group {
    fn joins_operands(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Keeps the members whose tensors can lie one after another: of whole pieces, so that nothing lies between two of
    /// them, and all temporaries or all lasting.
    fn keep_alike(&mut self, plan: &Plan) {
        let kind = |tensor: usize| {
            let PlanTensor { storage, spec, .. } = &plan.tensors[tensor];
            let lasts = match storage {
                Storage::Persistent { .. } => true,
                Storage::Slot(_) => false,
                Storage::Input(_) | Storage::Arena(_) => return None,
            };
            let is_whole =
                spec.dtype == Dtype::F32 && !spec.shape.is_empty() && spec.shape.len().is_multiple_of(PIECE);
            is_whole.then_some(lasts)
        };
        let kinds = |i: usize| self.columns.iter().map(|column| kind(column[i])).collect::<Option<Vec<_>>>();
        let members = self.columns.first().map_or(0, Vec::len);
        let all: Vec<_> = (0..members).map(kinds).collect();
        let Some(first) = all.iter().flatten().next() else {
            return self.columns.iter_mut().for_each(Vec::clear);
        };
        let keeps: Vec<bool> = all.iter().map(|kinds| kinds.as_ref() == Some(first)).collect();
        let nodes = if self.joins_operands() { None } else { Some(&mut self.nodes) };
        for list in self.columns.iter_mut().chain(nodes) {
            let mut keep = keeps.iter();
            list.retain(|_| keep.next() == Some(&true));
        }
        let has_twice = |column: &Vec<usize>| column.iter().collect::<HashSet<_>>().len() < column.len();
        if self.columns.iter().any(has_twice) {
            self.columns.iter_mut().for_each(Vec::clear);
        }
    }
}

/// Tensors that are to lie one after another, in pieces of at most `most` elements. Those of a group lie together, and
/// those of a smaller group within.
fn arenas(plan: &Plan, groups: &[Group], most: usize) -> Vec<Vec<usize>> {
    let mut apart: HashSet<usize> = HashSet::new();
    loop {
        let arenas = arenas_without(plan, groups, most, &apart);
        let mut arena_of = HashMap::new();
        for (arena, tensors) in arenas.iter().enumerate() {
            arena_of.extend(tensors.iter().map(|&tensor| (tensor, arena)));
        }
        // A dispatch cannot read and write one buffer.
        let clashes = |node: &PlanNode| {
            let read = node.inputs.iter().copied().filter(|input| !node.outputs.contains(input));
            let clash = |input: &usize| {
                let arena = arena_of.get(input);
                arena.is_some() && node.outputs.iter().any(|output| arena_of.get(output) == arena)
            };
            read.filter(clash).collect::<Vec<_>>()
        };
        let before = apart.len();
        apart.extend(plan.nodes.iter().flat_map(clashes));
        if apart.len() == before {
            return arenas;
        }
    }
}

fn arenas_without(plan: &Plan, groups: &[Group], most: usize, apart: &HashSet<usize>) -> Vec<Vec<usize>> {
    let columns = |group: usize| groups[group].columns.iter().map(move |column| (group, column));
    let columns: Vec<_> = (0..groups.len()).flat_map(columns).collect();
    // Of each tensor its place in the smallest group that has it.
    let mut order: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let size = |group: usize| groups[group].columns[0].len();
    // The tensors that are connected by groups, by one of them.
    let mut root: HashMap<usize, usize> = HashMap::new();
    for (group, column) in columns {
        let joined: HashSet<_> = column.iter().filter_map(|tensor| root.get(tensor)).copied().collect();
        for root in root.values_mut().filter(|root| joined.contains(root)) {
            *root = column[0];
        }
        for (at, &tensor) in column.iter().enumerate() {
            root.insert(tensor, column[0]);
            let place = order.entry(tensor).or_insert((group, at));
            if size(group) < size(place.0) {
                *place = (group, at);
            }
        }
    }
    let mut components: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &tensor in order.keys().filter(|tensor| !apart.contains(tensor)) {
        components.entry(root[&tensor]).or_default().push(tensor);
    }
    let mut arenas = Vec::new();
    for mut tensors in components.into_values() {
        tensors.sort_by_key(|tensor| order[tensor]);
        let mut arena: Vec<usize> = Vec::new();
        for tensor in tensors {
            if len(plan, &arena) + len(plan, &[tensor]) > most {
                arenas.push(std::mem::take(&mut arena));
            }
            arena.push(tensor);
        }
        arenas.push(arena);
    }
    arenas.retain(|arena| arena.len() > 1);
    arenas
}

/// A plan on its way to being joined.
struct Joining {
    plan: Plan,
    places: HashMap<usize, Place>,
    /// What each arena is.
    storages: Vec<Storage>,
    /// Tensors that stand for several.
    stretches: HashMap<(usize, usize, usize), usize>,
}

impl Joining {
    fn new(plan: &Plan, arenas: Vec<Vec<usize>>) -> Self {
        let mut plan = plan.clone();
        plan.slots.clear();
        for tensor in &mut plan.tensors {
            if matches!(tensor.storage, Storage::Slot(_)) {
                tensor.storage = Storage::Slot(UNASSIGNED);
            }
        }
        let (mut places, mut storages) = (HashMap::new(), Vec::new());
        for (arena, tensors) in arenas.into_iter().enumerate() {
            let is_slot = matches!(plan.tensors[tensors[0]].storage, Storage::Slot(_));
            let mut first = 0;
            for &tensor in &tensors {
                let held = &mut plan.tensors[tensor];
                if is_slot {
                    held.storage = Storage::Slot(plan.slots.len());
                }
                held.first = first;
                places.insert(tensor, Place { arena, first });
                first += held.spec.shape.len();
            }
            storages.push(if is_slot {
                plan.slots.push(first);
                Storage::Slot(plan.slots.len() - 1)
            } else {
                plan.arenas.push(tensors);
                Storage::Arena(plan.arenas.len() - 1)
            });
        }
        Self { plan, places, storages, stretches: HashMap::new() }
    }

    fn join(mut self, groups: &[Group]) -> Plan {
        let mut instead: HashMap<usize, Option<PlanNode>> = HashMap::new();
        for group in groups {
            let rows = self.rows(group);
            if group.joins_operands() {
                let at = group.nodes[0];
                instead.insert(at, Some(self.with_fewer_operands(at, &group.columns[0], &rows)));
                continue;
            }
            for row in rows.iter().filter(|row| row.len() > 1) {
                for &member in row {
                    instead.insert(group.nodes[member], None);
                }
                instead.insert(group.nodes[row[0]], Some(self.one_node(group, row)));
            }
        }
        self.replace(instead);
        let mut lives = self.plan.lives();
        self.share_lives(&mut lives);
        place_early(&mut self.plan, &lives);
        self.plan.assign_slots(&lives);
        self.plan
    }

    /// The members of a group, cut where one does not lie right after another in every column.
    fn rows(&self, group: &Group) -> Vec<Vec<usize>> {
        let mut order: Vec<_> = (0..group.columns[0].len()).collect();
        let place = |column: &[usize], member: usize| self.places.get(&column[member]).copied();
        order.sort_by_key(|&member| place(&group.columns[0], member).map(|place| (place.arena, place.first)));
        let follows = |&before: &usize, &member: &usize| {
            group.columns.iter().all(|column| {
                let after = place(column, before)
                    .map(|place| Place { first: place.first + len(&self.plan, &[column[before]]), ..place });
                after.is_some() && after == place(column, member)
            })
        };
        order.chunk_by(follows).map(<[usize]>::to_vec).collect()
    }

    /// The tensor that stands for some members of a column.
    fn stretch(&mut self, column: &[usize], row: &[usize]) -> usize {
        let tensors: Vec<_> = row.iter().map(|&member| column[member]).collect();
        let Place { arena, first } = self.places[&tensors[0]];
        let len = len(&self.plan, &tensors);
        *self.stretches.entry((arena, first, len)).or_insert_with(|| {
            let storage = self.storages[arena].clone();
            self.plan.tensors.push(PlanTensor { storage, spec: Spec::f32([len]), first });
            self.plan.tensors.len() - 1
        })
    }

    /// The node that does the work of several.
    fn one_node(&mut self, group: &Group, row: &[usize]) -> PlanNode {
        let mut node = self.plan.nodes[group.nodes[row[0]]].clone();
        for (column, &i) in group.columns.iter().zip(&group.inputs) {
            node.inputs[i] = self.stretch(column, row);
            node.in_specs[i] = self.plan.tensors[node.inputs[i]].spec;
        }
        for (output, input) in node.op.in_place() {
            (node.outputs[output], node.out_specs[output]) = (node.inputs[input], node.in_specs[input]);
        }
        node
    }

    /// The node with operands that stand for several.
    fn with_fewer_operands(&mut self, at: usize, column: &[usize], rows: &[Vec<usize>]) -> PlanNode {
        let mut node = self.plan.nodes[at].clone();
        node.inputs.retain(|input| !column.contains(input));
        for row in rows {
            node.inputs.push(if row.len() > 1 { self.stretch(column, row) } else { column[row[0]] });
        }
        node.in_specs = node.inputs.iter().map(|&input| self.plan.tensors[input].spec).collect();
        node
    }

    /// Puts other nodes in the place of some, or none.
    fn replace(&mut self, mut instead: HashMap<usize, Option<PlanNode>>) {
        let mut nodes = Vec::with_capacity(self.plan.nodes.len());
        let old = std::mem::take(&mut self.plan.nodes);
        let mut before = Vec::with_capacity(old.len() + 1);
        for (at, node) in old.into_iter().enumerate() {
            before.push(nodes.len());
            nodes.extend(instead.remove(&at).unwrap_or(Some(node)));
        }
        before.push(nodes.len());
        for phase in &mut self.plan.phases {
            phase.nodes = before[phase.nodes.start]..before[phase.nodes.end];
        }
        self.plan.nodes = nodes;
    }

    /// Tensors live as long as what stands for them, which has no life of its own.
    fn share_lives(&self, lives: &mut [Option<(usize, usize)>]) {
        for (&(arena, first, len), &stretch) in &self.stretches {
            let Some((_, end)) = lives[stretch].take() else { continue };
            let is_within =
                |place: &Place| place.arena == arena && (first..first + len).contains(&place.first);
            for (&tensor, _) in self.places.iter().filter(|(_, place)| is_within(place)) {
                if let Some(life) = &mut lives[tensor] {
                    life.1 = life.1.max(end);
                }
            }
        }
    }
}
