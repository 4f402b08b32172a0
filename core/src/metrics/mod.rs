//! Detection metrics on raw scores: exact, ties by half, undefined with its reason instead of a made-up number.
