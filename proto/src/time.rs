//! Conversions of `Time` and `MicroTime`. Nothing here reads a clock: the present is an argument.

use crate::meta::v1::{MicroTime, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

macro_rules! conversions {
    ($type:ident, $nanos_of_precision:literal) => {
        impl $type {
            /// Truncated to the type's precision. A time before 1970 becomes 1970.
            pub fn from_system(time: SystemTime) -> Self {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                $type {
                    seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                    nanos: (since.subsec_nanos() / $nanos_of_precision * $nanos_of_precision) as i32,
                }
            }

            /// A time before 1970 reads as 1970.
            pub fn to_system(&self) -> SystemTime {
                let seconds = u64::try_from(self.seconds).unwrap_or(0);
                UNIX_EPOCH
                    + Duration::new(
                        seconds,
                        u32::try_from(self.nanos).unwrap_or(0).min(999_999_999),
                    )
            }

            /// How long ago it was at `now`; zero when it lies in the future.
            pub fn elapsed_at(&self, now: SystemTime) -> Duration {
                now.duration_since(self.to_system()).unwrap_or_default()
            }
        }

        impl From<SystemTime> for $type {
            fn from(time: SystemTime) -> Self {
                Self::from_system(time)
            }
        }
    };
}

conversions!(Time, 1_000_000_000);
conversions!(MicroTime, 1_000);
