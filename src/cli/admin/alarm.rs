//! `--within`, `--nagios`, `--prometheus`: what a monitoring system is told, so that expiry never surprises.

use std::fmt::Display;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{ArgGroup, Args};

use crate::cli::exit::{self, SomeFailed};
use crate::cli::output::until;
use crate::cli::{Context, output::Out};
use crate::repository::{Repository, RoleStatus, Status};

/// Exit codes of the Monitoring Plugins guidelines, which `--nagios` follows instead of the program's own.
const WARNING: u8 = 1;
/// What is expired, or does not verify.
const CRITICAL: u8 = 2;
/// What could not be looked at.
const UNKNOWN: u8 = 3;

/// Roles named in one line, at most: a monitoring system cuts long ones.
const NAMED: usize = 10;

/// When to raise the alarm, and in which words.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("words").args(["nagios", "prometheus"])))]
pub(super) struct AlarmArgs {
    /// Fail as well if a role expires within this time, such as 7d or 12h; an online role, if a third of its life is left
    #[arg(long, value_name = "TIME", value_parser = within)]
    within: Option<TimeDelta>,
    /// Fail for claimed projects' roles too; else they are only told, for their maintainers alone can sign them
    #[arg(long)]
    projects: bool,
    /// One line and the exit codes of a Nagios plugin: 0 fine, 1 expires soon, 2 expired or bad, 3 unknown
    #[arg(long, conflicts_with = "json")]
    nagios: bool,
    /// Metrics in Prometheus' text format
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
}

/// What was found, and in whose words it is told.
pub(super) struct Alarm<'a> {
    args: &'a AlarmArgs,
    status: &'a Status,
    /// Roles that expire too soon, or have.
    soon: Vec<&'a RoleStatus>,
    /// Problems that `check` found, if it looked.
    problems: Option<u64>,
    now: DateTime<Utc>,
}

impl AlarmArgs {
    /// Whether a monitoring system reads it, rather than a person.
    pub(super) fn for_machines(&self) -> bool {
        self.nagios || self.prometheus
    }

    /// Whether `check` has to look at expiry dates beyond those that have passed.
    pub(super) fn any(&self) -> bool {
        self.within.is_some() || self.for_machines()
    }

    pub(super) fn judge<'a>(
        &'a self,
        repository: &Repository,
        status: &'a Status,
        problems: Option<u64>,
        now: DateTime<Utc>,
    ) -> Alarm<'a> {
        let within = self.within.unwrap_or(TimeDelta::zero());
        let mut soon = status.expiring(within, &repository.settings().expiry, now);
        let project = status.first_project.as_ref().filter(|_| self.projects);
        soon.extend(project.filter(|role| role.expired || role.expires - now <= within));
        Alarm { args: self, status, soon, problems, now }
    }

    /// An error as a plugin says it.
    pub(super) fn failed(&self, out: &Out, error: anyhow::Error) -> anyhow::Error {
        if !self.nagios {
            return error;
        }
        out.line(format_args!("WHEELSEAL UNKNOWN - {}", one_line(&error)));
        SomeFailed { text: error.to_string(), code: UNKNOWN }.into()
    }
}

impl Alarm<'_> {
    /// Tells a machine, if one reads.
    pub(super) fn tell(&self, context: &Context) {
        if self.args.nagios {
            context.out.line(self.nagios());
        }
        if self.args.prometheus {
            self.prometheus().into_iter().for_each(|line| context.out.line(line));
        }
    }

    /// The outcome of the command.
    pub(super) fn outcome(&self) -> anyhow::Result<()> {
        let expired = self.soon.iter().filter(|role| role.expired).count();
        let bad = self.problems.unwrap_or(0) > 0;
        let (text, code) = match (bad, expired, self.soon.len()) {
            (false, 0, 0) => return Ok(()),
            (true, ..) => (format!("{} problem(s)", self.problems.unwrap_or(0)), exit::INTEGRITY),
            (false, 0, soon) => (format!("{soon} role(s) expire soon: {}", self.names()), exit::EXPIRED),
            (false, expired, _) => (format!("expired: {expired} role(s)"), exit::EXPIRED),
        };
        let code = match (self.args.nagios, bad || expired > 0) {
            (false, _) => code,
            (true, true) => CRITICAL,
            (true, false) => WARNING,
        };
        Err(SomeFailed { text, code }.into())
    }

    fn names(&self) -> String {
        let more = self.soon.len().saturating_sub(NAMED);
        let named = self.soon.iter().take(NAMED).map(|role| self.left(role));
        let more = (more > 0).then(|| format!("{more} more"));
        named.chain(more).collect::<Vec<_>>().join(", ")
    }

    fn left(&self, role: &RoleStatus) -> String {
        if role.expired {
            return format!("{} has expired", role.role);
        }
        format!("{} in {}", role.role, until(role.expires, self.now))
    }

    /// One line: the state, what is wrong, and after a bar how many seconds each role has left.
    fn nagios(&self) -> String {
        let expired = self.soon.iter().any(|role| role.expired);
        let problems = self.problems.unwrap_or(0);
        let state = match (problems > 0 || expired, self.soon.is_empty()) {
            (true, _) => "CRITICAL",
            (false, false) => "WARNING",
            (false, true) => "OK",
        };
        let mut says = Vec::new();
        if problems > 0 {
            says.push(format!("{problems} problem(s)"));
        }
        if !self.soon.is_empty() {
            says.push(format!("expires: {}", self.names()));
        }
        if says.is_empty() {
            let first = self.status.every().min_by_key(|role| role.expires);
            says.extend(first.map(|role| format!("first to expire: {}", self.left(role))));
        }
        let data = self.status.every().map(|role| format!("'{}'={}s", role.role, self.seconds(role)));
        format!("WHEELSEAL {state} - {} | {}", says.join("; "), data.collect::<Vec<_>>().join(" "))
    }

    fn seconds(&self, role: &RoleStatus) -> i64 {
        (role.expires - self.now).num_seconds()
    }

    /// The exposition format, version 0.0.4.
    fn prometheus(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut gauge = |name: &str, help: &str, values: Vec<(Option<&str>, String)>| {
            lines.push(format!("# HELP wheelseal_{name} {help}"));
            lines.push(format!("# TYPE wheelseal_{name} gauge"));
            for (role, value) in values {
                let label = role.map(|role| format!("{{role=\"{}\"}}", escaped(role))).unwrap_or_default();
                lines.push(format!("wheelseal_{name}{label} {value}"));
            }
        };
        let roles = |value: fn(&RoleStatus) -> i64| {
            self.status.every().map(|role| (Some(role.role.as_str()), value(role).to_string())).collect()
        };
        gauge(
            "role_expires_timestamp_seconds",
            "When the role's metadata expires; of bins, buckets and projects, the first.",
            roles(|role| role.expires.timestamp()),
        );
        gauge(
            "role_version",
            "Version of the role's metadata.",
            roles(|role| i64::try_from(role.version).unwrap_or(i64::MAX)),
        );
        gauge(
            "role_signatures",
            "Keys that signed it.",
            roles(|role| i64::try_from(role.signed_by.len()).unwrap_or(i64::MAX)),
        );
        gauge(
            "role_threshold",
            "Keys that must sign it.",
            roles(|role| i64::try_from(role.threshold).unwrap_or(i64::MAX)),
        );
        let soon = self.soon.len().to_string();
        gauge("roles_expiring", "Roles that expire sooner than they should, or have.", vec![(None, soon)]);
        gauge("targets", "Target files.", vec![(None, self.status.targets.to_string())]);
        gauge("projects", "Projects with a page.", vec![(None, self.status.projects.to_string())]);
        gauge("claimed_projects", "Claimed projects.", vec![(None, self.status.claimed.to_string())]);
        let expired = self.status.expired_projects.to_string();
        gauge("claimed_projects_expired", "Claimed projects whose role has expired.", vec![(None, expired)]);
        if let Some(problems) = self.problems {
            gauge("problems", "What a client would refuse.", vec![(None, problems.to_string())]);
        }
        lines
    }
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// An error in one line without the bar, which has a meaning of its own there.
fn one_line(error: &impl Display) -> String {
    error.to_string().replace(['\n', '|'], " ")
}

/// `90m`, `12h`, `7d`, `2w`.
fn within(text: &str) -> Result<TimeDelta, String> {
    let wrong = || format!("{text:?} is no time: a number and m, h, d or w, such as 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u32 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let minutes: i64 = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        _ => return Err(wrong()),
    };
    TimeDelta::try_minutes(minutes.saturating_mul(number.into())).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(within("7d"), Ok(TimeDelta::days(7)));
        assert_eq!(within("90m"), Ok(TimeDelta::minutes(90)));
        assert_eq!(within("12h"), Ok(TimeDelta::hours(12)));
        assert_eq!(within("2w"), Ok(TimeDelta::weeks(2)));
        for wrong in ["", "7", "d", "-1d", "1y", "7 d", "1.5d", "7dd", "99999999999d", "7δ"] {
            assert!(within(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_a_line() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(one_line(&"a|b\nc"), "a b c");
    }
}
