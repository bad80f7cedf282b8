//! What every implementation of [`Store`](crate::Store) must do, as tests.
