//! What everything that answers HTTP requests needs: what request fields ask for, parts of a file, patience.
//!
//! | file | what |
//! |---|---|
//! | `negotiate.rs` | forms of a page, codings, entity tags |
//! | `range.rs` | parts of a file |
//! | `patient.rs` | a connection that is given up when the other side takes nothing, or drops |
//! | `pace.rs` | a least speed |

mod negotiate;
mod pace;
mod patient;
mod range;

pub(crate) use negotiate::{Form, HTML, SIMPLE_JSON, Wanted, form, seen};
pub(crate) use pace::Pace;
pub(crate) use patient::Patient;
pub(crate) use range::{Part, part};
