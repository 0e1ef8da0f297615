//! The one integration binary: what is tested is the library's public face and the built program.

mod anchor;
mod architecture;
mod backup;
mod bad_input;
mod behaviour;
mod cli;
mod client;
mod concurrency;
mod end_to_end;
mod faults;
mod fsck;
mod golden;
mod group;
mod keys;
mod memory;
mod program;
mod readme;
mod scene;
mod serve;
mod shell;
mod simulator;
mod stream;
mod upkeep;
mod upkeep_check;
mod upkeep_gc;
