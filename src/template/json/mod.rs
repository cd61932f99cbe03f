//! Packer's JSON templates: which keys they have, how they select and combine, and what plan comes out.

mod builders;
mod plan;
mod post_processors;
mod problem;
mod provisioners;
pub mod reader;
pub mod redact;
mod var_files;
mod variables;

pub use builders::comma_separated;
pub use plan::plan;
pub use problem::invalid_template;

/// A name as a part of a JSON pointer.
pub fn pointer_token(name: &str) -> String {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1") } else { name.to_owned() }
}

/// Whether these bytes are a JSON template.
pub fn looks_like_template(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).ok();
    text.and_then(|text| reader::read(text).ok()).is_some_and(|node| node.get("builders").is_some())
}

/// Whether these bytes were meant as a JSON template, though they may be broken.
pub fn mentions_builders(data: &[u8]) -> bool {
    String::from_utf8_lossy(data).contains("\"builders\"")
}
