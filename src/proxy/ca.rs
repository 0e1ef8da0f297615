//! Certificates for the hosts of verified indexes, by a CA that exists for one run.
//!
//! Its private key is made in memory and never leaves it; when all certificates are signed, it is dropped. Who trusts the CA
//! trusts it for these hosts and for a day: that is written in it (RFC 5280, 4.2.1.10).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike, NaiveTime, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;

/// How long all certificates are good.
const LIFE: Duration = Duration::from_hours(24);
/// How far clocks may be apart: certificates are good from so long ago.
const SLACK: Duration = Duration::from_mins(5);
/// Characters of a line in PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// Why there are no certificates.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("making a certificate: {0}")]
pub struct CaError(pub String);

impl CaError {
    fn new(reason: &impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// A CA whose work is done.
pub(super) struct Ca {
    /// Its certificate, as PEM.
    pub(super) pem: String,
    /// TLS for each host.
    pub(super) hosts: BTreeMap<String, Arc<ServerConfig>>,
}

impl Ca {
    /// Makes a CA, and one certificate for each host.
    pub(super) fn new(hosts: &BTreeSet<String>, now: DateTime<Utc>) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(|error| CaError::new(&error))?;
        let issuer = CertifiedIssuer::self_signed(authority(hosts, now), key);
        let issuer = issuer.map_err(|error| CaError::new(&error))?;
        let certified = hosts.iter().map(|host| Ok((host.clone(), Arc::new(server(host, &issuer, now)?))));
        let hosts = certified.collect::<Result<_, CaError>>()?;
        Ok(Self { pem: pem(issuer.as_ref().der()), hosts })
    }
}

/// A certificate in PEM.
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut lines = vec!["-----BEGIN CERTIFICATE-----"];
    let mut rest = text.as_str();
    while let Some((line, more)) = rest.split_at_checked(PEM_LINE) {
        lines.push(line);
        rest = more;
    }
    lines.extend(Some(rest).filter(|rest| !rest.is_empty()));
    lines.push("-----END CERTIFICATE-----\n");
    lines.join("\n")
}

fn authority(hosts: &BTreeSet<String>, now: DateTime<Utc>) -> CertificateParams {
    let mut params = params("wheelseal, for one run", now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.name_constraints = Some(constraints(hosts));
    params
}

/// These hosts alone. A kind of name that is not permitted at all must be excluded: what no subtree speaks of is free.
fn constraints(hosts: &BTreeSet<String>) -> NameConstraints {
    let (mut permitted, mut excluded) = (Vec::new(), Vec::new());
    let (mut names, mut addresses) = (false, false);
    for host in hosts {
        permitted.push(match host.parse() {
            Ok(IpAddr::V4(address)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(address.octets(), 32))
            }
            Ok(IpAddr::V6(address)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(address.octets(), 128))
            }
            Err(_) => GeneralSubtree::DnsName(host.clone()),
        });
        match host.parse::<IpAddr>() {
            Ok(_) => addresses = true,
            Err(_) => names = true,
        }
    }
    if !addresses {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)));
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)));
    }
    if !names {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

fn server(
    host: &str,
    issuer: &CertifiedIssuer<'_, KeyPair>,
    now: DateTime<Utc>,
) -> Result<ServerConfig, CaError> {
    let key = KeyPair::generate().map_err(|error| CaError::new(&error))?;
    let names = CertificateParams::new(vec![host.to_owned()]).map_err(|error| CaError::new(&error))?;
    let mut params = params("wheelseal", now);
    params.subject_alt_names = names.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer).map_err(|error| CaError::new(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| CaError::new(&error))?.with_no_client_auth();
    let chain = vec![certificate.der().clone()];
    let config = config.with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let mut config = config.map_err(|error| CaError::new(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn params(name: &str, now: DateTime<Utc>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let day = [now.month(), now.day()].map(|number| u8::try_from(number).unwrap_or(1));
    let [month, day] = day;
    let midnight = date_time_ymd(now.year(), month, day);
    let since = now.time().signed_duration_since(NaiveTime::MIN).to_std().unwrap_or_default();
    params.not_before = midnight + since - SLACK;
    params.not_after = midnight + since + LIFE;
    params
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{Error, RootCertStore};

    use super::*;

    fn now() -> DateTime<Utc> {
        "2030-01-01T12:00:00Z".parse().unwrap()
    }

    /// What a client says, so long after, of a certificate for `host` that was signed by the CA of a run for `hosts`.
    fn verified(hosts: &[&str], host: &str, after: TimeDelta) -> Result<(), Error> {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = || KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(authority(&hosts, now()), key()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.as_ref().der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let mut leaf = params("wheelseal", now());
        leaf.subject_alt_names = CertificateParams::new(vec![host.to_owned()]).unwrap().subject_alt_names;
        let leaf = leaf.signed_by(&key(), &issuer).unwrap();
        let seconds = u64::try_from((now() + after).timestamp()).unwrap();
        let (name, time) = (ServerName::try_from(host).unwrap(), Duration::from_secs(seconds));
        let verifier = verifier.build().unwrap();
        verifier.verify_server_cert(leaf.der(), &[], &name, &[], UnixTime::since_unix_epoch(time)).map(drop)
    }

    #[test]
    fn who_has_the_key_of_the_ca_can_speak_for_no_other_host() {
        for (hosts, host, good) in [
            (&["index.test"][..], "index.test", true),
            (&["index.test"], "evil.test", false),
            (&["index.test"], "test", false),
            (&["index.test"], "127.0.0.1", false),
            (&["index.test"], "::1", false),
            (&["127.0.0.1"], "127.0.0.1", true),
            (&["127.0.0.1"], "127.0.0.2", false),
            (&["127.0.0.1"], "index.test", false),
            (&["::1"], "::1", true),
            (&["::1"], "::2", false),
            (&["index.test", "127.0.0.1"], "127.0.0.1", true),
            (&["index.test", "127.0.0.1"], "evil.test", false),
        ] {
            let found = verified(hosts, host, TimeDelta::zero());
            assert_eq!(found.is_ok(), good, "{hosts:?}, {host}: {found:?}");
            if let Err(error) = found {
                assert!(error.to_string().contains("NameConstraintViolation"), "{error}");
            }
        }
    }

    #[test]
    fn certificates_are_good_for_a_day_and_some_minutes_before() {
        for (minutes, good) in [(-6, false), (-4, true), (24 * 60 - 1, true), (24 * 60 + 1, false)] {
            let found = verified(&["index.test"], "index.test", TimeDelta::minutes(minutes));
            assert_eq!(found.is_ok(), good, "{minutes}: {found:?}");
        }
    }
}
