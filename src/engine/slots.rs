//! Memory of temporaries: which of them share a slot.

use std::cmp::Reverse;

use super::plan::{Plan, Storage, UNASSIGNED};
use super::tensor::Dtype;

/// The first node that writes a temporary and the last that touches it.
pub(super) type Life = (usize, usize);

impl Plan {
    /// The life of each tensor; `None` of those that are no temporaries.
    pub(super) fn lives(&self) -> Vec<Option<Life>> {
        let mut lives: Vec<Option<Life>> = vec![None; self.tensors.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for &tensor in node.inputs.iter().chain(&node.outputs) {
                if matches!(self.tensors[tensor].storage, Storage::Slot(_)) {
                    lives[tensor].get_or_insert((at, at)).1 = at;
                }
            }
        }
        for &result in self.phases.iter().flat_map(|phase| &phase.results) {
            if let Some(life) = &mut lives[result] {
                life.1 = self.nodes.len();
            }
        }
        lives
    }

    /// Gives each temporary without a slot one that is free for its whole life: the smallest that fits, else the
    /// largest, enlarged, else a new one.
    pub(super) fn assign_slots(&mut self, lives: &[Option<Life>]) {
        let mut born: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut dies: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len() + 1];
        for (tensor, life) in lives.iter().enumerate() {
            if let Some((first, last)) = *life {
                born[first].push(tensor);
                dies[last].push(tensor);
            }
        }
        let size = |plan: &Self, tensor: usize| plan.tensors[tensor].spec.shape.len();
        let mut free: Vec<usize> = Vec::new();
        let mut assigned = vec![false; self.tensors.len()];
        let (mut live, mut most_live) = (0, 0);
        for (born, dies) in born.iter_mut().zip(&dies) {
            born.sort_by_key(|&tensor| Reverse(size(self, tensor)));
            for &tensor in born.iter() {
                debug_assert_eq!(self.tensors[tensor].spec.dtype, Dtype::F32);
                let need = size(self, tensor);
                live = usize::saturating_add(live, need);
                if self.tensors[tensor].storage != Storage::Slot(UNASSIGNED) {
                    continue;
                }
                let slots = &mut self.slots;
                let fits = free.iter().copied().filter(|&s| slots[s] >= need).min_by_key(|&s| slots[s]);
                let chosen = fits.or_else(|| free.iter().copied().max_by_key(|&s| slots[s]));
                let slot = chosen.unwrap_or_else(|| {
                    slots.push(0);
                    slots.len() - 1
                });
                free.retain(|&s| s != slot);
                slots[slot] = slots[slot].max(need);
                self.tensors[tensor].storage = Storage::Slot(slot);
                assigned[tensor] = true;
            }
            most_live = most_live.max(live);
            for &tensor in dies {
                live = live.saturating_sub(size(self, tensor));
                if let (Storage::Slot(slot), true) = (&self.tensors[tensor].storage, assigned[tensor]) {
                    free.push(*slot);
                }
            }
        }
        self.least_slot_elements = most_live;
    }
}
