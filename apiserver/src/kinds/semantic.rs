//! Equality as Kubernetes means it: an absent part and an empty one are the same wherever their JSON is.

use serde::Serialize;

pub fn equal<T: PartialEq + Serialize>(a: &T, b: &T) -> bool {
    // The second comparison is needed only where messages differ, which is seldom: most writes change nothing
    // that is compared here.
    a == b || matches!((serde_json::to_value(a), serde_json::to_value(b)), (Ok(a), Ok(b)) if a == b)
}
