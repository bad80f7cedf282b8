//! What watches that have just begun have not sent yet.
//!
//! A watch sends the state that it began with before it follows the history. A client that does not read would keep
//! that state alive for ever, so it is let go once the history has moved past it: the watch could not go on from it
//! anyway. Until then it costs next to nothing, because every object version in it is still present, or is what a
//! change in the history replaced.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Objects;

/// The states that watches send now.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Vec<Weak<Initial>>>);

/// The state that one watch began with.
#[derive(Debug)]
pub struct Initial {
    pub revision: i64,
    objects: Mutex<Option<Objects>>,
}

impl Initial {
    /// `None` when the history has moved past it.
    pub fn objects(&self) -> Option<Objects> {
        self.objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn let_go(&self) {
        *self.objects.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Shelf {
    pub fn put(&self, revision: i64, objects: Objects) -> Arc<Initial> {
        let initial = Arc::new(Initial {
            revision,
            objects: Mutex::new(Some(objects)),
        });
        self.lock().push(Arc::downgrade(&initial));
        initial
    }

    /// Lets go of the states before `start`, and of those that nobody sends any more.
    pub fn forget_before(&self, start: i64) {
        self.lock().retain(|initial| match initial.upgrade() {
            None => false,
            Some(initial) if initial.revision < start => {
                initial.let_go();
                false
            }
            Some(_) => true,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Initial>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_the_history_has_passed_is_let_go_though_nobody_reads_it() {
        let shelf = Shelf::default();
        let (old, young) = (shelf.put(5, Objects::default()), shelf.put(9, Objects::default()));
        drop(shelf.put(9, Objects::default()));
        shelf.forget_before(5);
        assert!(old.objects().is_some(), "the history goes on from it");
        assert_eq!(shelf.lock().len(), 2);
        shelf.forget_before(6);
        assert!(old.objects().is_none() && young.objects().is_some());
        assert_eq!(shelf.lock().len(), 1);
    }
}
