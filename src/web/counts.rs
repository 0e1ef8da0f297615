//! Counts of what a server did, and how Prometheus reads them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections since the server began.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Connections accepted.
    pub(crate) accepted: Count,
    /// Connections that are open.
    pub(crate) open: Count,
}

/// The text format of Prometheus, version 0.0.4.
#[derive(Debug, Default)]
pub(crate) struct Families(String);

impl Families {
    /// Adds a family: its name without `wheelseal_`, its kind, what it counts, and each value behind its labels.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(&str, u64)]) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP wheelseal_{name} {help}\n# TYPE wheelseal_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "wheelseal_{name}{labels} {value}");
        }
    }

    /// Adds the families of the connections.
    pub(crate) fn traffic(&mut self, traffic: &Traffic) {
        let accepted = [("", traffic.accepted.now())];
        self.family("connections_total", "counter", "Connections accepted.", &accepted);
        self.family("connections", "gauge", "Connections open.", &[("", traffic.open.now())]);
    }

    /// All of it.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
