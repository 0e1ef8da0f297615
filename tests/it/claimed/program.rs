//! The commands of maintainers.
