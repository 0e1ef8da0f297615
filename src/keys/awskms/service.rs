//! Requests to the key service: credentials, signature of the request, time limits, retries, what an error means.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::HttpRequest;
use object_store::{ClientOptions, RetryConfig};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::KmsKey;
use crate::store::amazon_settings;

/// Time for a connection, at most.
const MAX_CONNECT: Duration = Duration::from_secs(10);
/// Time from sending a request until its answer is here, at most. The service answers within some 20 ms.
const MAX_ANSWER: Duration = Duration::from_secs(20);
/// Time to come by credentials, at most: a machine without any would wait long for a metadata service that is not there.
const MAX_CREDENTIALS: Duration = Duration::from_secs(15);
/// Bytes of an answer, at most. A public RSA key of 4,096 bits takes 1 kB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Characters of the service's own words in an error, at most.
const MAX_WORDS: usize = 300;
/// Pauses before each retry. The service allows some 300 signatures each second, and asks for patience above.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(600),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Why the key service gave no signature. Credentials are in none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// The region is unknown.
    #[error("the region is not known: the key is no ARN, and AWS_REGION is not set")]
    NoRegion,
    /// The endpoint of the environment is no URL.
    #[error("the endpoint of the key service is not usable: {reason}")]
    Endpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// No credentials, or none that work.
    #[error("no AWS credentials: {message}")]
    Credentials {
        /// Why there are none.
        message: String,
    },
    /// The service, or the way to it, does not work.
    #[error("the key service does not answer: {message}")]
    Unreachable {
        /// What happened.
        message: String,
    },
    /// The service refused.
    #[error("the key service refused with {kind}: {message}")]
    Refused {
        /// The name of its error.
        kind: String,
        /// Its wording.
        message: String,
    },
    /// The service answered what it should not.
    #[error("the key service gave an answer that makes no sense: {reason}")]
    Nonsense {
        /// What is wrong.
        reason: &'static str,
    },
    /// A key that cannot be used here.
    #[error("the key is of no use here: {reason}")]
    Unsuitable {
        /// Why.
        reason: String,
    },
}

impl KmsError {
    pub(in crate::keys) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoRegion => Some("set AWS_REGION, or give the whole ARN of the key"),
            Self::Endpoint { .. } => {
                Some("AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL are as in http://127.0.0.1:4566")
            }
            Self::Credentials { .. } => {
                Some("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
            }
            Self::Unreachable { .. } => {
                Some("check the network, the region and the endpoint; nothing was changed")
            }
            Self::Refused { kind, .. } => Some(match kind.as_str() {
                "NotFoundException" => "check the key's name, the region and the account",
                "AccessDeniedException" => "the policy must allow kms:GetPublicKey and kms:Sign for this key",
                _ => return None,
            }),
            Self::Unsuitable { .. } => Some("make one with --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY"),
            Self::Nonsense { .. } => None,
        }
    }
}

/// A connection to the service in one region.
pub(super) struct Service {
    client: Client,
    credentials: AwsCredentialProvider,
    region: String,
    endpoint: String,
}

/// Retries where the service asks for patience.
const PATIENCE: usize = PAUSES.len();
/// Retries where the service, or the way to it, does not work: some 3 s.
const FAULTS: usize = 3;

/// Why an attempt failed, and up to how many retries may help.
struct Failed {
    error: KmsError,
    retries: usize,
}

impl Service {
    /// The service that the environment and the key name. Nothing is asked of it yet.
    pub(super) fn new(key: &KmsKey) -> Result<Self, KmsError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::from_settings(key, &amazon_settings(&env::vars_os().filter_map(text).collect()))
    }

    fn from_settings(key: &KmsKey, settings: &BTreeMap<String, String>) -> Result<Self, KmsError> {
        let set = |name: &str| settings.get(name).filter(|value| !value.is_empty()).cloned();
        let region = key.region().map(ToOwned::to_owned);
        let region = region.or_else(|| set("AWS_REGION")).or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.filter(|region| is_region(region)).ok_or(KmsError::NoRegion)?;
        let endpoint = set("AWS_ENDPOINT_URL_KMS").or_else(|| set("AWS_ENDPOINT_URL"));
        let endpoint =
            endpoint.map_or_else(|| Ok(usual_endpoint(&region)), |given| checked_endpoint(&given))?;
        // Another part of the program may have installed the same provider before; then that one stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        let unusable = |error: &dyn Error| KmsError::Endpoint { reason: text_of(error) };
        let client = Client::builder()
            .user_agent(concat!("wheelseal/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(MAX_CONNECT)
            .timeout(MAX_ANSWER)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| unusable(&error))?;
        let credentials = credentials(settings).map_err(|message| KmsError::Credentials { message })?;
        Ok(Self { client, credentials, region, endpoint })
    }

    /// Asks until there is an answer, or asking again makes no sense.
    pub(super) async fn ask<T: DeserializeOwned>(&self, what: &str, request: &Value) -> Result<T, KmsError> {
        let body = request.to_string();
        let mut pauses = PAUSES.into_iter().enumerate();
        let answer = loop {
            let failed = match self.ask_once(what, &body).await {
                Ok(answer) => break answer,
                Err(failed) => failed,
            };
            match pauses.next().filter(|(done, _)| *done < failed.retries) {
                Some((_, pause)) => sleep(pause).await,
                None => return Err(failed.error),
            }
        };
        serde_json::from_slice(&answer)
            .map_err(|_| KmsError::Nonsense { reason: "not the JSON that was expected" })
    }

    async fn ask_once(&self, what: &str, body: &str) -> Result<Vec<u8>, Failed> {
        let for_good = |error| Failed { error, retries: 0 };
        let unreachable = |error: &dyn Error| Failed {
            error: KmsError::Unreachable { message: text_of(error) },
            retries: FAULTS,
        };
        let signed = self.signed(what, body).await.map_err(for_good)?;
        let request =
            self.client.post(&self.endpoint).headers(signed.headers().clone()).body(body.to_owned());
        let mut response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| unreachable(&error))? {
            answer.extend_from_slice(&part);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(for_good(KmsError::Nonsense { reason: "it is too long" }));
            }
        }
        if status.is_success() { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    async fn signed(&self, what: &str, body: &str) -> Result<HttpRequest, KmsError> {
        let bad = |message: String| KmsError::Credentials { message };
        let credential = timeout(MAX_CREDENTIALS, self.credentials.get_credential()).await;
        let credential = credential.map_err(|_| bad("they took too long".to_owned()))?;
        let credential = credential.map_err(|error| bad(text_of(&error)))?;
        let endpoint = |reason: String| KmsError::Endpoint { reason };
        let mut request = HttpRequest::new(body.to_owned().into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.parse().map_err(|_| endpoint("not an address".to_owned()))?;
        let target = HeaderValue::from_str(&format!("TrentService.{what}"));
        let target = target.map_err(|error| endpoint(error.to_string()))?;
        request.headers_mut().insert("x-amz-target", target);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        let authorizer = AwsAuthorizer::new(&credential, "kms", &self.region);
        authorizer.try_authorize(&mut request, None).map_err(|error| bad(text_of(&error)))?;
        Ok(request)
    }
}

/// Credentials as the vendor's tools find them: keys, a profile, a web identity, the machine's or container's role.
fn credentials(settings: &BTreeMap<String, String>) -> Result<AwsCredentialProvider, String> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in settings {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let retry = RetryConfig { max_retries: 2, retry_timeout: MAX_CREDENTIALS, ..RetryConfig::default() };
    let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(2)).with_timeout(MAX_ANSWER);
    // A bucket has to have a name, though none is used.
    let built = builder.with_bucket_name("none").with_retry(retry).with_client_options(options).build();
    built.map(|store| store.credentials().clone()).map_err(|error| text_of(&error))
}

/// A region becomes part of a host name.
pub(super) fn is_region(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&text.len()) && text.chars().all(allowed)
}

fn usual_endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://kms.{region}.{suffix}/")
}

fn checked_endpoint(given: &str) -> Result<String, KmsError> {
    let bad = |reason: &str| KmsError::Endpoint { reason: reason.to_owned() };
    let url = reqwest::Url::parse(given).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("expected http or https, without a query"));
    }
    let slash = if given.ends_with('/') { "" } else { "/" };
    Ok(format!("{given}{slash}"))
}

/// What an error answer says: a name and a message, neither of which is trusted to be short or printable.
fn refusal(status: StatusCode, answer: &[u8]) -> Failed {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let field =
        |names: [&str; 2]| names.iter().find_map(|name| answer.get(name)?.as_str()).unwrap_or_default();
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect::<String>();
    // Some servers write a namespace before the name.
    let kind = field(["__type", "code"]).rsplit('#').next().map(clean).unwrap_or_default();
    let message = clean(field(["message", "Message"]));
    let patience = ["ThrottlingException", "LimitExceededException", "KeyUnavailableException"];
    let retries = if status == StatusCode::TOO_MANY_REQUESTS || patience.contains(&kind.as_str()) {
        PATIENCE
    } else if status.is_server_error() {
        FAULTS
    } else {
        0
    };
    let kind = if kind.is_empty() { status.to_string() } else { kind };
    Failed { error: KmsError::Refused { kind, message }, retries }
}

/// An error with its causes, each once. Addresses in it are those of the endpoint, which is no secret.
fn text_of(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !out.contains(&part) {
            out = format!("{out}: {part}");
        }
        cause = error.source();
    }
    out.chars().take(MAX_WORDS).collect()
}

/// Bytes as the service writes them.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, KmsError> {
    BASE64_STANDARD.decode(text).map_err(|_| KmsError::Nonsense { reason: "not base64" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn place(key: &str, pairs: &[(&str, &str)]) -> Result<(String, String), KmsError> {
        let service = Service::from_settings(&key.parse().unwrap(), &settings(pairs))?;
        Ok((service.region, service.endpoint))
    }

    #[test]
    fn the_region_of_the_key_goes_before_that_of_the_environment() {
        let usual = |region: &str| Ok((region.to_owned(), format!("https://kms.{region}.amazonaws.com/")));
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
        let environment = [("AWS_REGION", "eu-north-1"), ("AWS_DEFAULT_REGION", "us-west-2")];
        assert_eq!(place(arn, &environment), usual("eu-west-1"));
        assert_eq!(place("alias/a", &environment), usual("eu-north-1"));
        assert_eq!(place("alias/a", &environment[1..]), usual("us-west-2"));
        assert_eq!(place("alias/a", &[]), Err(KmsError::NoRegion));
        assert_eq!(place("alias/a", &[("AWS_REGION", "evil.example/")]), Err(KmsError::NoRegion));
        let china = place("alias/a", &[("AWS_REGION", "cn-north-1")]).unwrap();
        assert_eq!(china.1, "https://kms.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn an_endpoint_of_the_environment_is_taken_if_it_is_one() {
        let with = |pairs: &[(&str, &str)]| {
            place("alias/a", &[&[("AWS_REGION", "r")], pairs].concat()).map(|(_, endpoint)| endpoint)
        };
        let both =
            [("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:2/")];
        assert_eq!(with(&both), Ok("http://127.0.0.1:2/".to_owned()));
        assert_eq!(with(&both[..1]), Ok("http://127.0.0.1:1/".to_owned()));
        for bad in ["127.0.0.1", "ftp://x", "http://x/?a", "http://x/#a"] {
            assert!(matches!(with(&[("AWS_ENDPOINT_URL", bad)]), Err(KmsError::Endpoint { .. })), "{bad}");
        }
    }

    #[test]
    fn refusals_are_short_printable_and_tried_again_only_where_that_helps() {
        let told = |status: u16, text: &str| {
            let failed = refusal(StatusCode::from_u16(status).unwrap(), text.as_bytes());
            (failed.error.to_string(), failed.retries)
        };
        let missing = r#"{"__type":"com.amazonaws.kms#NotFoundException","message":"no\u001b[31m key"}"#;
        let text = "the key service refused with NotFoundException: no[31m key".to_owned();
        assert_eq!(told(400, missing), (text, 0));
        let throttled = r#"{"__type":"ThrottlingException","Message":"slow down"}"#;
        assert_eq!(
            [told(400, throttled).1, told(500, "").1, told(429, "x").1, told(403, "").1],
            [5, 3, 5, 0]
        );
        assert_eq!(told(403, "<html>").0, "the key service refused with 403 Forbidden: ");
        let long = format!(r#"{{"__type":"A","message":"{}"}}"#, "b".repeat(5_000));
        assert!(told(400, &long).0.len() < 400);
    }
}
