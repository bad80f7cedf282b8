//! Nodes by number. A copy shares all that neither changes afterwards, and finding a node is two steps: decisions look
//! at hundreds of them each.

use super::NodeInfo;
use std::sync::Arc;

/// So many nodes are copied (by reference) for the first of them that changes after a copy was made; and a copy of all
/// costs one reference for so many.
const PIECE: usize = 64;

type Piece = [Option<Arc<NodeInfo>>; PIECE];

#[derive(Clone, Debug, Default)]
pub struct Slots {
    pieces: Vec<Arc<Piece>>,
}

impl Slots {
    pub fn get(&self, slot: u32) -> Option<&Arc<NodeInfo>> {
        let index = slot as usize;
        self.pieces.get(index / PIECE)?[index % PIECE].as_ref()
    }

    /// The place of a slot, which is made where there is none.
    pub fn get_mut(&mut self, slot: u32) -> &mut Option<Arc<NodeInfo>> {
        let index = slot as usize;
        while self.pieces.len() <= index / PIECE {
            self.pieces.push(Arc::new(std::array::from_fn(|_| None)));
        }
        &mut Arc::make_mut(&mut self.pieces[index / PIECE])[index % PIECE]
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.pieces.iter().flat_map(|piece| piece.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_what_does_not_change() {
        let mut slots = Slots::default();
        for slot in [0, 1, 200] {
            *slots.get_mut(slot) = Some(Arc::default());
        }
        let copy = slots.clone();
        *slots.get_mut(1) = None;
        assert_eq!((slots.iter().count(), copy.iter().count()), (2, 3));
        assert!(Arc::ptr_eq(&slots.pieces[3], &copy.pieces[3]));
        assert!(slots.get(1_000_000).is_none());
    }
}
