//! The generated types, a module per API group and version.

macro_rules! package {
    ($group:ident, $version:ident, $package:literal) => {
        pub mod $group {
            pub mod $version {
                #![allow(clippy::all, unused_qualifications)]
                #[allow(unused_imports)]
                use crate::json::Fields as _;
                tonic::include_proto!($package);
                include!(concat!(env!("OUT_DIR"), "/", $package, ".json.rs"));
            }
        }
    };
}

package!(meta, v1, "gantry.meta.v1");
package!(core, v1, "gantry.core.v1");
package!(apps, v1, "gantry.apps.v1");
package!(autoscaling, v1, "gantry.autoscaling.v1");
package!(coordination, v1, "gantry.coordination.v1");
package!(discovery, v1, "gantry.discovery.v1");
package!(networking, v1, "gantry.networking.v1");
package!(policy, v1, "gantry.policy.v1");
package!(scheduling, v1, "gantry.scheduling.v1");

/// Services and their own messages, which have no JSON form beyond protobuf's.
macro_rules! service_package {
    ($group:ident, $version:ident, $package:literal) => {
        pub mod $group {
            pub mod $version {
                #![allow(clippy::all, unused_qualifications)]
                tonic::include_proto!($package);
            }
        }
    };
}

service_package!(api, v1, "gantry.api.v1");
service_package!(node, v1, "gantry.node.v1");
service_package!(scheduler, v1, "gantry.scheduler.v1");
