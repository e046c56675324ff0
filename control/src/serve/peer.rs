//! Who asks, and what they may: by the credentials of a Unix socket's peer, or by the names in a
//! client's certificate.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What somebody may do. Each may do what those before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Confirm, take back, and stop everything that acts.
    Operate,
    /// Apply policies.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// A name for the history and the audit log: `uid 1000 (ada)`, `ada`.
    pub who: String,
    /// Where from: `unix`, or an address.
    pub from: String,
    /// What they may; none for nothing.
    pub role: Option<Role>,
}

/// Who of this machine has which role, besides root and the daemon's own user, who are admins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// A user's name or number.
    #[serde(default)]
    pub user: Option<String>,
    /// A group's name or number: its members, and those whose first group it is.
    #[serde(default)]
    pub group: Option<String>,
    /// The role.
    pub role: Role,
}

/// Roles of users of this machine.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    grants: Vec<Grant>,
    admins: Vec<u32>,
    passwd: String,
    group: String,
}

/// Names in certificates that give a role: `urn:fermata:role:operate` among the alternative names.
const ROLE_URN: &str = "urn:fermata:role:";
/// And those that give a name: `urn:fermata:name:ada`.
const NAME_URN: &str = "urn:fermata:name:";

/// Longest name taken from a certificate, bytes.
const NAME_BYTES_MAX: usize = 128;

impl Role {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.name() == text)
    }
}

impl Roles {
    /// The roles of `grants`, and `admins` by number. Users and groups are those of /etc/passwd and
    /// /etc/group; others are named by number.
    #[must_use]
    pub fn new(grants: Vec<Grant>, admins: Vec<u32>) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self { grants, admins, passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The peer of a Unix socket.
    #[must_use]
    pub fn of_socket(&self, uid: u32, gid: u32) -> Peer {
        let name = self.user(uid);
        let who = match name {
            Some(name) => format!("uid {uid} ({name})"),
            None => format!("uid {uid}"),
        };
        let granted = self.grants.iter().filter(|grant| self.is_meant(grant, uid, gid, name));
        let granted = granted.map(|grant| grant.role).max();
        let role = if self.admins.contains(&uid) { Some(Role::Admin) } else { granted };
        Peer { who, from: "unix".to_owned(), role }
    }

    fn is_meant(&self, grant: &Grant, uid: u32, gid: u32, name: Option<&str>) -> bool {
        let user =
            grant.user.as_deref().is_some_and(|user| name == Some(user) || user.parse() == Ok(uid));
        let group = grant.group.as_deref().is_some_and(|group| {
            let entry = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let mut entry = entry.filter(|fields| fields.len() > 3);
            let member = entry.find(|fields| fields[0] == group || fields[2] == group);
            let first = group.parse() == Ok(gid)
                || member.as_ref().is_some_and(|fields| fields[2].parse() == Ok(gid));
            first
                || member
                    .is_some_and(|fields| fields[3].split(',').any(|member| Some(member) == name))
        });
        user || group
    }

    fn user(&self, uid: u32) -> Option<&str> {
        let of = |line: &'_ str| -> Option<u32> { line.split(':').nth(2)?.parse().ok() };
        let line = self.passwd.lines().find(|line| of(line) == Some(uid))?;
        line.split(':').next()
    }
}

/// The peer whose certificate has these alternative names; one without a name is known by the
/// certificate's fingerprint.
#[must_use]
pub fn of_certificate<'a>(
    names: impl Iterator<Item = &'a str>,
    fingerprint: &str,
    from: String,
) -> Peer {
    let (mut who, mut role) = (None, None);
    for name in names {
        if let Some(text) = name.strip_prefix(ROLE_URN) {
            role = role.max(Role::parse(text));
        } else if let Some(text) = name.strip_prefix(NAME_URN)
            && (1..=NAME_BYTES_MAX).contains(&text.len())
        {
            who.get_or_insert_with(|| text.to_owned());
        }
    }
    let who = who.unwrap_or_else(|| format!("certificate {}", &fingerprint[..16]));
    Peer { who, from, role }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.who, self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(grants: Vec<Grant>) -> Roles {
        Roles {
            grants,
            admins: vec![0],
            passwd: "root:x:0:0::/:/bin/sh\nada:x:1000:1000::/:/bin/sh\nbob:x:1001:50::/:/x\n"
                .into(),
            group: "staff:x:50:ada\nother:x:60:\n".into(),
        }
    }

    fn grant(user: Option<&str>, group: Option<&str>, role: Role) -> Grant {
        Grant { user: user.map(str::to_owned), group: group.map(str::to_owned), role }
    }

    #[test]
    fn a_stranger_has_no_role_and_root_has_every_one() {
        let roles = roles(Vec::new());
        assert_eq!(roles.of_socket(1000, 1000).role, None);
        assert_eq!(roles.of_socket(4242, 4242).who, "uid 4242");
        assert_eq!(roles.of_socket(0, 0).role, Some(Role::Admin));
    }

    #[test]
    fn members_of_a_group_have_its_role_and_a_user_the_highest() {
        let by_group = roles(vec![
            grant(None, Some("staff"), Role::Read),
            grant(Some("ada"), None, Role::Operate),
        ]);
        assert_eq!(by_group.of_socket(1000, 1000).role, Some(Role::Operate));
        assert_eq!(by_group.of_socket(1001, 50).role, Some(Role::Read), "by the first group");
        assert_eq!(by_group.of_socket(4242, 60).role, None);
        let by_number = roles(vec![grant(None, Some("70"), Role::Read)]);
        assert_eq!(by_number.of_socket(4242, 70).role, Some(Role::Read));
    }

    #[test]
    fn a_certificate_gives_the_role_and_name_it_says_and_no_other() {
        let fingerprint = "0123456789abcdef0123";
        let peer = |names: &[&str]| of_certificate(names.iter().copied(), fingerprint, "a".into());
        let ada = peer(&["urn:fermata:name:ada", "urn:fermata:role:operate"]);
        assert_eq!((ada.who.as_str(), ada.role), ("ada", Some(Role::Operate)));
        let nobody = peer(&["urn:fermata:role:god", "https://x"]);
        assert_eq!((nobody.who.as_str(), nobody.role), ("certificate 0123456789abcdef", None));
    }
}
