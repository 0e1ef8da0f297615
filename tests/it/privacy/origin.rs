//! Where a request comes from: who is believed about it, and what becomes of it.

use std::collections::BTreeSet;

use axum::http::HeaderName;
use wheelseal::journal::{Address, AddressHash, Event, Kind, Minute};

use super::{Index, Rules, behind_proxy, journal, key_file};

/// The hash, country and city of the one upload that was sent with these header lines.
async fn origin_of(rules: Rules, lines: &[&str]) -> (Option<AddressHash>, String, String, tempfile::TempDir) {
    let index = Index::new(rules).await;
    assert_eq!(index.send("beta", "1.0", lines).status, 200);
    let (events, folder, _) = index.written();
    let upload: &Event = events.iter().find(|event| event.kind() == Kind::Upload).unwrap();
    let origin = upload.origin.clone();
    let text = |value: Option<String>| value.unwrap_or_default();
    let city = text(origin.city.map(|city| city.to_string()));
    (origin.address, text(origin.country.map(|country| country.to_string())), city, folder)
}

fn hash_of(folder: &tempfile::TempDir, ip: &str) -> Option<AddressHash> {
    key_file(folder.path()).keys().unwrap().unwrap().hash(&Address::of(ip.parse().unwrap()))
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_what_stands_left_of_the_client_is_not() {
    let chain = "X-Forwarded-For: 198.51.100.9, 203.0.113.7, 10.1.1.1";
    let (address, country, city, folder) =
        origin_of(behind_proxy(), &[chain, "X-Country: PT", "X-City: São João"]).await;
    assert_eq!(
        (address, country.as_str(), city.as_str()),
        (hash_of(&folder, "203.0.113.7"), "PT", "São João")
    );
}

#[tokio::test]
async fn lines_of_the_chain_count_together_and_ports_do_not() {
    let lines = ["X-Forwarded-For: 198.51.100.9", "X-Forwarded-For: [2001:db8:7::5]:4711, 10.1.1.1:80"];
    let (address, _, _, folder) = origin_of(behind_proxy(), &lines).await;
    assert_eq!(address, hash_of(&folder, "2001:db8:7::"), "the first 64 bits count");
}

/// Else what a stranger puts there would hide where he comes from.
#[tokio::test]
async fn whatever_stands_left_of_the_client_does_not_hide_it() {
    let long = "1".repeat(9_000);
    for left in ["\"", "é", "for=\"", "10.1.1.9, 10.1.1.9", ",,,", &long] {
        let chain = format!("X-Forwarded-For: {left}, 203.0.113.7, 10.1.1.1");
        let (address, _, _, folder) = origin_of(behind_proxy(), &[&chain]).await;
        assert_eq!(address, hash_of(&folder, "203.0.113.7"), "{left:.9}");
    }
}

#[tokio::test]
async fn forwarded_is_read_as_rfc_7239_has_it() {
    let mut rules = behind_proxy();
    rules.visitors.address = Some(HeaderName::from_static("forwarded"));
    let lines =
        ["Forwarded: for=198.51.100.9, For=\"[2001:db8:7::5]:80\";proto=https, for=10.1.1.1;by=10.1.1.2"];
    let (address, _, _, folder) = origin_of(rules, &lines).await;
    assert_eq!(address, hash_of(&folder, "2001:db8:7::5"));
}

#[tokio::test]
async fn headers_of_others_are_not_looked_at() {
    let mut rules = behind_proxy();
    rules.visitors.trusted = vec!["10.0.0.0/8".parse().unwrap()];
    let lines = ["X-Forwarded-For: 203.0.113.7", "X-Country: PT", "X-City: Lisboa"];
    let (address, country, city, folder) = origin_of(rules, &lines).await;
    assert_eq!((address, country.as_str(), city.as_str()), (hash_of(&folder, "127.0.0.1"), "", ""));
}

#[tokio::test]
async fn what_is_no_address_country_or_city_is_nothing() {
    for (chain, country, city) in [
        ("jane@example.org", "pt", "12"),
        ("unknown", "PRT", "a@b"),
        ("203.0.113.7, _hidden", "P1", "x<y"),
        ("203.0.113.7 evil", "", ""),
    ] {
        let lines =
            [format!("X-Forwarded-For: {chain}"), format!("X-Country: {country}"), format!("X-City: {city}")];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (address, country, city, _) = origin_of(behind_proxy(), &lines).await;
        assert_eq!((address, country.as_str(), city.as_str()), (None, "", ""), "{lines:?}");
    }
    let twice = ["X-Forwarded-For: 203.0.113.7", "X-Country: PT", "X-Country: DE"];
    assert_eq!(origin_of(behind_proxy(), &twice).await.1, "");
}

#[tokio::test]
async fn a_hash_of_the_proxys_own_is_hashed_again() {
    let mut rules = behind_proxy();
    rules.visitors.hash = Some(HeaderName::from_static("x-hash"));
    let digits = "0123456789abcdef0123456789abcdef";
    let header = format!("X-Hash: {digits}");
    let (address, _, _, folder) = origin_of(rules, &[&header, "X-Forwarded-For: 203.0.113.7"]).await;
    let own = Address::hashed(&hex::decode(digits).unwrap());
    assert_eq!(address, key_file(folder.path()).keys().unwrap().unwrap().hash(&own));
    assert!(!address.unwrap().to_string().contains(&digits[..8]));
    for bad in ["X-Hash: 203.0.113.7", "X-Hash: 0123", "X-Other: 1"] {
        let mut rules = behind_proxy();
        rules.visitors.hash = Some(HeaderName::from_static("x-hash"));
        let (address, ..) = origin_of(rules, &[bad, "X-Forwarded-For: 203.0.113.7"]).await;
        assert_eq!(address, None, "{bad}: the address itself does not count instead");
    }
}

#[tokio::test]
async fn an_address_that_is_shut_out_uploads_nothing_until_that_is_over() {
    let index = Index::new(behind_proxy()).await;
    let (bad, good) = (["X-Forwarded-For: 203.0.113.7"], ["X-Forwarded-For: 203.0.113.8"]);
    assert_eq!(index.send("beta", "1.0", &bad).status, 200);
    let now = crate::scene::now();
    let hash = key_file(index.folder.path()).current(now).unwrap();
    let hash = hash.hash(&Address::of("203.0.113.7".parse().unwrap())).unwrap();
    let until = |days: i64| Minute::of(now + chrono::TimeDelta::days(days));
    let block = |days| wheelseal::journal::Block { address: hash.clone(), until: until(days) };
    index.journal().block(block(1), now).unwrap();
    // A new key does not let it in: the old one is kept for as long as the block needs it.
    let keys = key_file(index.folder.path());
    keys.rotate(now).unwrap();
    index.journal().expire(&wheelseal::journal::Retention::default(), Some(&keys), now).unwrap();
    let refused = index.send("beta", "1.1", &bad);
    let text = String::from_utf8(refused.body).unwrap();
    assert_eq!(
        (refused.status, text.as_str()),
        (403, "uploads from your network are not taken at the moment: ask the index's admins\n")
    );
    assert_eq!(index.send("beta", "1.1", &good).status, 200);
    assert_eq!(index.served.get("/simple/beta/", &bad).status, 200, "reading goes on");
    index.journal().block(block(0), now).unwrap();
    assert_eq!(index.send("beta", "1.2", &bad).status, 200, "it is over");
    index.journal().block(block(1), now).unwrap();
    index.journal().unblock(&hash, now).unwrap();
    assert_eq!(index.send("beta", "1.3", &bad).status, 200);
    let (events, folder, _) = index.written();
    let words: BTreeSet<_> =
        events.iter().map(|event| format!("{} {}", event.kind_word(), event.what())).collect();
    assert!(words.contains("refusal blocked") && words.contains("block unblocked"), "{words:?}");
    assert!(journal(folder.path()).blocks().unwrap().is_empty());
}

/// For short lines above.
trait KindWord {
    fn kind_word(&self) -> &'static str;
}

impl KindWord for Event {
    fn kind_word(&self) -> &'static str {
        wheelseal::journal::Word::word(self.kind())
    }
}
