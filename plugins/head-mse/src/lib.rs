//! Mean squared error.
