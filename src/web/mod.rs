//! What everything that answers HTTP requests needs: what request fields ask for, parts of a file, patience, connections, TLS, counts.
//!
//! | file | what |
//! |---|---|
//! | `negotiate.rs` | forms of a page, codings, entity tags |
//! | `range.rs` | parts of a file |
//! | `patient.rs` | a connection that is given up when the other side takes nothing, or drops |
//! | `pace.rs` | a least speed |
//! | `connections.rs` | TCP: how many, how slow, how they end |
//! | `tls.rs` | a certificate and its key, from files |
//! | `counts.rs` | counts for Prometheus |
//! | `metrics.rs` | who serves nothing but them |

mod connections;
mod counts;
mod metrics;
mod negotiate;
mod pace;
mod patient;
mod range;
mod tls;

pub(crate) use connections::{Bounds, Peer, serve};
pub(crate) use counts::{Count, Families, Traffic};
pub(crate) use metrics::serve_metrics;
pub(crate) use negotiate::{Form, HTML, SIMPLE_JSON, Wanted, form, seen};
pub(crate) use pace::Pace;
pub(crate) use patient::Patient;
pub(crate) use range::{Part, part};
pub use tls::{Tls, TlsError};
