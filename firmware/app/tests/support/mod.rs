//! What several contract tests share.

pub(crate) mod log_mel_tables;
