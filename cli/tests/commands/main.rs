//! The program's commands against an apiserver in memory: what they send, what they say, and what they end with.

mod apiserver;
mod deletion;
mod changes;
mod waiting;
mod nodes;
mod editing;
mod reading;
mod completion;
