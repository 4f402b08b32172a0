//! Trees made for each test: what loads, and the error of what does not.
