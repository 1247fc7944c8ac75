//! Ranges of activations on calibration data.
