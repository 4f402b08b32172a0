//! A data set.
