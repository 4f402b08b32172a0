//! Runs Mimus programs on candle.
