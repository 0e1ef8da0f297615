//! A server that looks at who asks.

use std::sync::Arc;

use super::Stage;
use crate::client::wire::{Asked, Part, Wire, not_found, ok, reply};

/// What a server says to somebody who asks for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Here it is; a part, if only that was asked for.
    Come,
    /// The same, always whole.
    ComeWhole,
    /// Who are you?
    Who,
    /// There is nothing for you.
    Nothing,
    /// A page on which people can log in.
    Welcome,
}

/// A stage whose server decides by the path, and by what it is shown.
pub(super) async fn stage(says: impl Fn(&str, &str) -> Says + Send + Sync + 'static) -> Stage {
    let mut stage = Stage::new().await;
    let root = stage.scene.root();
    stage.wire = Arc::new(Wire::start(move |asked: &Asked| {
        let path = asked.path().trim_start_matches('/');
        let said = says(path, &login(asked));
        let whole = match said {
            Says::Who => return reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b""),
            Says::Nothing => return reply("403 Forbidden", "", b""),
            Says::Welcome => return ok(b"<!doctype html><title>Log in</title>"),
            Says::Come => false,
            Says::ComeWhole => true,
        };
        let Ok(bytes) = std::fs::read(root.join(path)) else { return not_found() };
        if whole || !asked.head.to_lowercase().contains("\r\nrange: bytes=0-0\r\n") {
            ok(&bytes)
        } else {
            first(&bytes)
        }
    }));
    stage
}

fn first(bytes: &[u8]) -> Vec<Part> {
    let range = format!("Content-Range: bytes 0-0/{}\r\n", bytes.len());
    reply("206 Partial Content", &range, &bytes[..1])
}

/// What a request showed; nothing, if it showed none.
fn login(asked: &Asked) -> String {
    let fields = asked.head.lines().filter_map(|line| line.split_once(": "));
    let mut logins = fields.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    logins.next().map(|(_, value)| value.to_owned()).unwrap_or_default()
}
