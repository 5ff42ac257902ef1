//! Memory that waits for its tensor: temporaries that are gone before a joined one is made may lie where it will.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use super::plan::{Plan, Storage, UNASSIGNED};
use super::slots::Life;

/// Elements of 256 bytes: where a binding may begin on every adapter.
pub(super) const PIECE: usize = 64;

/// Smaller parts of a slot are not worth a search.
const LEAST_PART: usize = 1024;

/// A slot of joined tensors, and what lies in it when.
struct Shared {
    slot: usize,
    residents: Vec<(Range<usize>, Life)>,
    /// By node, whether it reads one of them, and whether it writes one: a dispatch cannot do both in one buffer.
    uses: HashMap<usize, [bool; 2]>,
}

/// Gives the largest temporaries a place in the slots of joined ones where they can have one.
pub(super) fn place_early(plan: &mut Plan, lives: &[Option<Life>]) {
    let mut shared: Vec<_> = (0..plan.slots.len()).map(|slot| Shared::new(plan, slot, lives)).collect();
    let is_free = |tensor: &usize| {
        lives[*tensor].is_some() && plan.tensors[*tensor].storage == Storage::Slot(UNASSIGNED)
    };
    let mut free: Vec<_> = (0..plan.tensors.len()).filter(is_free).collect();
    free.sort_by_key(|&tensor| Reverse(plan.tensors[tensor].spec.shape.len()));
    let mut touching: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, node) in plan.nodes.iter().enumerate() {
        node.inputs
            .iter()
            .chain(&node.outputs)
            .for_each(|&tensor| touching.entry(tensor).or_default().push(at));
    }
    for tensor in free {
        let (Some(life), nodes) = (lives[tensor], &touching[&tensor]) else { continue };
        let len = plan.tensors[tensor].spec.shape.len();
        for shared in &mut shared {
            if LEAST_PART * len >= plan.slots[shared.slot]
                && shared.allows(plan, tensor, nodes)
                && let Some(first) = shared.room(len, life, plan.slots[shared.slot])
            {
                shared.admit(plan, tensor, nodes, (first..first + len, life));
                plan.tensors[tensor].storage = Storage::Slot(shared.slot);
                plan.tensors[tensor].first = first;
                break;
            }
        }
    }
}

impl Shared {
    fn new(plan: &Plan, slot: usize, lives: &[Option<Life>]) -> Self {
        let mut new = Self { slot, residents: Vec::new(), uses: HashMap::new() };
        for (at, node) in plan.nodes.iter().enumerate() {
            let is_here = |tensor: &usize| plan.tensors[*tensor].storage == Storage::Slot(slot);
            let uses = [node.inputs.iter().any(is_here), node.outputs.iter().any(is_here)];
            new.uses.insert(at, uses);
        }
        for (tensor, held) in plan.tensors.iter().enumerate() {
            if let (Storage::Slot(of), Some(life)) = (&held.storage, lives[tensor])
                && *of == slot
            {
                new.residents.push((held.first..held.first + held.spec.shape.len(), life));
            }
        }
        new
    }

    /// Whether no node would read and write the slot.
    fn allows(&self, plan: &Plan, tensor: usize, nodes: &[usize]) -> bool {
        nodes.iter().all(|at| {
            let [reads, writes] = self.uses[at];
            !(writes || reads && plan.nodes[*at].outputs.contains(&tensor))
        })
    }

    /// Where so many elements are free for a whole life.
    fn room(&self, len: usize, life: Life, slot_len: usize) -> Option<usize> {
        let meets = |(_, other): &&(Range<usize>, Life)| other.0 <= life.1 && life.0 <= other.1;
        let mut taken: Vec<_> = self.residents.iter().filter(meets).map(|(range, _)| range.clone()).collect();
        taken.sort_by_key(|range| range.start);
        let mut first = 0;
        for range in taken {
            if first + len <= range.start {
                break;
            }
            first = first.max(range.end.next_multiple_of(PIECE));
        }
        (first + len <= slot_len).then_some(first)
    }

    fn admit(&mut self, plan: &Plan, tensor: usize, nodes: &[usize], resident: (Range<usize>, Life)) {
        for at in nodes {
            let uses = self.uses.entry(*at).or_default();
            uses[0] |= plan.nodes[*at].inputs.contains(&tensor);
            uses[1] |= plan.nodes[*at].outputs.contains(&tensor);
        }
        self.residents.push(resident);
    }
}
