//! What is in a blob, for people.
