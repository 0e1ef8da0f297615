//! Keys in AWS by the key sources of tough, against LocalStack: built with the feature `tough-aws` alone.
//!
//! `tests/servers/with cargo test --features tough-aws --test servers tough_aws::`

use std::fs;

use serde_json::json;

use crate::kms::{home, made, service};
use crate::scene::example;
use crate::shell::shown;

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_of_the_service_signs_by_tough_and_is_the_same_key() {
    let (_, arn) = made("RSA_2048").await;
    let home = home();
    let (ours, theirs) = (format!("awskms:{arn}"), format!("tough-awskms:{arn}"));
    assert_eq!(home.run(&["key", "export", &ours]).fine(), home.run(&["key", "export", &theirs]).fine());
    let [online, targets] = ["online", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &theirs, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    let missing = home.run(&["key", "show", "tough-awskms:alias/none"]);
    missing.refused(1, &["the key source tough-awskms:alias/none failed to give its key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_parameter_store_signs() {
    let home = home();
    let pem = fs::read_to_string(example("rsa")).unwrap();
    let put = json!({"Name": "/wheelseal/root", "Type": "SecureString", "Value": pem, "Overwrite": true});
    service("AmazonSSM", "PutParameter", put).await;
    let uri = "awsssm:/wheelseal/root";
    let file = shown(&example("rsa"));
    assert_eq!(home.run(&["key", "export", uri]).fine(), home.run(&["key", "export", &file]).fine());
    let [online, targets] = ["online", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", uri, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["key", "show", "awsssm:/none"])
        .refused(1, &["the key source awsssm:/none failed to give its key"]);
}
