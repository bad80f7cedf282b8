//! Writing to the terminal or into a pipe.

use std::fmt::Arguments;
use std::io::Write as _;

/// One line on standard output.
pub fn line(text: Arguments) {
    write(format_args!("{text}\n"));
}

/// Text on standard output as it is. Ends the process, silently, when nobody reads any more, as in
/// `gantry get pods | head -1`.
pub fn write(text: Arguments) {
    bytes(text.to_string().as_bytes());
}

pub fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}
