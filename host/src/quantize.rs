//! From a float graph to int8 operators.
