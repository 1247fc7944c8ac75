//! Parts over embedded-hal for which the registry has no driver that is kept.

pub mod arducam;
