//! How much one address may read in a minute, and that nothing is kept of it.

use super::{Index, Rules, behind_proxy};

fn five(rules: Rules) -> Rules {
    Rules { reads: 5, ..rules }
}

#[tokio::test]
async fn an_address_that_reads_too_much_is_told_when_to_come_again() {
    let index = Index::new(five(behind_proxy())).await;
    let get = |path: &str, who: &str| index.served.get(path, &[&format!("X-Forwarded-For: {who}")]);
    for path in
        ["/simple/", "/simple/alpha/", "/metadata/timestamp.json", "/metadata/1.root.json", "/nothing"]
    {
        assert_ne!(get(path, "203.0.113.5").status, 429, "{path}");
    }
    let refused = get("/simple/alpha/", "203.0.113.5");
    assert_eq!((refused.status, refused.field("retry-after")), (429, "13"));
    assert_eq!(refused.text(), "too many requests from your network: try again in 13 s\n");
    assert_eq!(refused.field("cache-control"), "no-store");
    assert_eq!(get("/healthz", "203.0.113.5").status, 200, "a probe is not counted");
    assert_eq!(get("/simple/alpha/", "203.0.113.6").status, 200, "another address has its own");
    let upload = index.send("beta", "1.0", &["X-Forwarded-For: 203.0.113.5"]);
    assert_eq!(upload.status, 200, "uploads have bounds of their own: {}", upload.text());
    let (events, ..) = index.written();
    assert_eq!(events.len(), 2, "the upload, and its token's first use: {events:?}");
}

#[tokio::test]
async fn what_a_stranger_says_about_addresses_does_not_count() {
    let index = Index::new(five(behind_proxy())).await;
    for number in 0..5 {
        let chain = format!("X-Forwarded-For: 198.51.100.{number}, 203.0.113.5");
        assert_eq!(index.served.get("/simple/alpha/", &[&chain]).status, 200);
    }
    let refused = index.served.get("/simple/alpha/", &["X-Forwarded-For: 198.51.100.9, 203.0.113.5"]);
    assert_eq!(refused.status, 429);
}

#[tokio::test]
async fn this_machine_is_not_counted() {
    let index = Index::new(five(Rules::default())).await;
    for number in 0..20 {
        let field = format!("X-Forwarded-For: 203.0.113.{number}");
        assert_eq!(index.served.get("/simple/alpha/", &[&field]).status, 200);
    }
}
