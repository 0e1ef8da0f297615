//! Repositories with a transparency log: nothing is published that is not logged first.

mod policy;
