//! What no data set of its own shows: damaged files of every kind, and a cache that is shared, damaged, too small or left half.

mod cache;
mod mat;
mod video;
