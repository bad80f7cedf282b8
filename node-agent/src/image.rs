//! Images: names, when to pull, and the import of archives.

pub mod reference;
pub mod policy;
pub mod credentials;
pub mod tar;
pub mod archive;
pub mod content;
pub mod import;
