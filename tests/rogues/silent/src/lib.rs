//! A shared library like any other: it says nothing about Mimus.
#![forbid(unsafe_code)]
