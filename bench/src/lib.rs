//! Measurements, as ratios in one run where there is something to compare with. Never part of the tests.

pub mod creates;
pub mod cost;
pub mod scheduling;
pub mod pods;
pub mod cri;
pub mod footprint;
pub mod figures;
