//! The files in which the AWS tools keep profiles: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Read are static keys, session token, region and endpoint. Profiles that assume roles or sign in by a browser are not:
//! export their credentials to the environment instead, as `aws configure export-credentials --format env` does.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of a profile that are used, and the variables they stand for.
const USED: [(&str, &str); 5] = [
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
    ("region", "AWS_REGION"),
    ("endpoint_url", "AWS_ENDPOINT_URL"),
];

/// What the profile says, under the names of the variables. Keys in the environment go before those of a profile that
/// is not asked for by `AWS_PROFILE`.
pub(super) fn read(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let file = |variable: &str, usual: &str| {
        let home = environment.get("HOME").map(|home| PathBuf::from(home).join(".aws").join(usual));
        environment.get(variable).map(PathBuf::from).or(home)
    };
    let profile = environment.get("AWS_PROFILE").map_or("default", String::as_str);
    let mut found = BTreeMap::new();
    for (variable, usual) in [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")] {
        let text = file(variable, usual).and_then(|file| std::fs::read_to_string(file).ok());
        settings(&text.unwrap_or_default(), profile, &mut found);
    }
    // Half of a pair of keys from here and half from there would be a riddle.
    if environment.contains_key("AWS_ACCESS_KEY_ID") {
        found.retain(|name, _| !name.contains("KEY") && !name.contains("TOKEN"));
    }
    found
}

fn settings(text: &str, profile: &str, found: &mut BTreeMap<String, String>) {
    let mut within = false;
    for line in text.lines() {
        if let Some(section) = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let section = section.trim();
            within = section.strip_prefix("profile ").map_or(section, str::trim) == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| within)
            // Indented lines belong to a setting with parts of its own.
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((_, variable)) = USED.iter().find(|(used, _)| *used == name.trim())
        {
            found.insert((*variable).to_owned(), value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-north-1\n[profile other]\nregion=eu-west-3\ns3 =\n  region = no\n\
                          endpoint_url = http://127.0.0.1:1\n";
    const CREDENTIALS: &str = "# keys\n[default]\naws_access_key_id = A\naws_secret_access_key = S\n\
                               [other]\naws_access_key_id=B\naws_secret_access_key=T\naws_session_token = U=\n";

    fn environment(more: &[(&str, &str)]) -> (tempfile::TempDir, BTreeMap<String, String>) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        let mut variables = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        (home, variables)
    }

    fn pairs(found: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
        found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn the_default_profile_is_read_unless_another_is_asked_for() {
        let (_home, variables) = environment(&[]);
        assert_eq!(
            pairs(&read(&variables)),
            [("AWS_ACCESS_KEY_ID", "A"), ("AWS_REGION", "eu-north-1"), ("AWS_SECRET_ACCESS_KEY", "S")]
        );
        let (_home, variables) = environment(&[("AWS_PROFILE", "other")]);
        assert_eq!(
            pairs(&read(&variables)),
            [
                ("AWS_ACCESS_KEY_ID", "B"),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                ("AWS_REGION", "eu-west-3"),
                ("AWS_SECRET_ACCESS_KEY", "T"),
                ("AWS_SESSION_TOKEN", "U=")
            ]
        );
    }

    #[test]
    fn keys_in_the_environment_are_not_mixed_with_those_of_a_file() {
        let (_home, variables) = environment(&[("AWS_ACCESS_KEY_ID", "C")]);
        assert_eq!(pairs(&read(&variables)), [("AWS_REGION", "eu-north-1")]);
    }

    #[test]
    fn without_a_home_there_is_nothing() {
        assert_eq!(read(&BTreeMap::new()), BTreeMap::new());
    }
}
