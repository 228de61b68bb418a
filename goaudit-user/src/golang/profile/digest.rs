//! Fingerprints: of a subject, whatever way it was authenticated, and of the context of a decision.
//!
//! docs/events.md specifies both, so that others can compute them; change it there and here together, or never.

use sha2::{Digest, Sha256};

/// Someone who asks, by the way in which his identity is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A token's claims.
    Jwt {
        /// `sub`
        sub: &'a [u8],
        /// `jti`; empty when the token has none.
        jti: &'a [u8],
    },
    /// A certificate.
    X509 {
        /// Its subject in the form of RFC 4514.
        subject: &'a [u8],
        /// Its subject key identifier, in lower-case hexadecimal; empty when it has none.
        key_id: &'a [u8],
    },
    /// A Kubernetes service account.
    ServiceAccount {
        /// Its namespace.
        namespace: &'a [u8],
        /// Its name.
        name: &'a [u8],
    },
    /// Known by its id only.
    Plain(&'a [u8]),
}

/// What Kubernetes calls a service account as a user.
const SERVICE_ACCOUNT: &[u8] = b"system:serviceaccount:";

impl<'a> Subject<'a> {
    /// Recognises the names of Kubernetes service accounts (`system:serviceaccount:NAMESPACE:NAME`), which also
    /// occur as `sub` of their tokens. Anything else is plain.
    pub fn of(id: &'a [u8]) -> Self {
        let account = id.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| {
            let colon = rest.iter().position(|&byte| byte == b':')?;
            let (namespace, name) = (rest.get(..colon)?, rest.get(colon + 1..)?);
            let whole = !namespace.is_empty() && !name.is_empty() && !name.contains(&b':');
            whole.then_some(Self::ServiceAccount { namespace, name })
        });
        account.unwrap_or(Self::Plain(id))
    }

    /// The first 32 hexadecimal digits of the SHA-256 of the canonical form: the kind, and each part behind a NUL. In
    /// parts a backslash is written `\\` and a NUL `\0`, so that no two subjects have one form.
    pub fn fingerprint(&self) -> String {
        // A token that a service account holds is that service account.
        if let Self::Jwt { sub, jti: b"" } = self
            && let account @ Self::ServiceAccount { .. } = Self::of(sub)
        {
            return account.fingerprint();
        }
        let (kind, parts): (&[u8], &[&[u8]]) = match self {
            Self::Jwt { sub, jti } => (b"jwt", &[sub, jti]),
            Self::X509 { subject, key_id } => (b"x509", &[subject, key_id]),
            Self::ServiceAccount { namespace, name } => (b"k8s-sa", &[namespace, name]),
            Self::Plain(id) => (b"plain", &[id]),
        };
        let mut form = kind.to_vec();
        for part in parts {
            form.push(0);
            for byte in *part {
                match byte {
                    0 => form.extend(b"\\0"),
                    b'\\' => form.extend(b"\\\\"),
                    other => form.push(*other),
                }
            }
        }
        let mut hex = hex(&Sha256::digest(form));
        hex.truncate(32);
        hex
    }
}

/// Domain of [`context_hash`], so that no other use of SHA-256 gives the same value.
const CONTEXT: &[u8] = b"goaudit.context/1\0";

/// SHA-256, in hexadecimal, over what a decision was about. Each value is its length in eight bytes, big-endian, and
/// its bytes; a value that is not known is eight bytes of 0xff. Labels are sorted by key, then by value.
pub fn context_hash(
    policy_version: Option<&[u8]>,
    object: Option<&[u8]>,
    action: Option<&[u8]>,
    labels: &[(String, String)],
) -> String {
    let mut hasher = Sha256::new_with_prefix(CONTEXT);
    let mut add = |value: Option<&[u8]>| match value {
        Some(value) => {
            hasher.update((value.len() as u64).to_be_bytes());
            hasher.update(value);
        }
        None => hasher.update([0xff; 8]),
    };
    [policy_version, object, action].into_iter().for_each(&mut add);
    let mut sorted: Vec<_> = labels.iter().collect();
    sorted.sort();
    for (key, value) in sorted {
        add(Some(key.as_bytes()));
        add(Some(value.as_bytes()));
    }
    hex(&hasher.finalize())
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn fingerprints_are_those_of_the_documentation() {
        // printf 'plain\0alice' | sha256sum | cut -c1-32, and so on.
        let told = [
            Subject::of(b"alice").fingerprint(),
            Subject::of(b"system:serviceaccount:default:builder").fingerprint(),
            Subject::Jwt { sub: b"alice", jti: b"42" }.fingerprint(),
            Subject::X509 { subject: b"CN=alice,O=ops", key_id: b"0a1b" }.fingerprint(),
        ];
        assert_eq!(told, [PLAIN, ACCOUNT, JWT, X509]);
    }

    const PLAIN: &str = "309db2b7c40cfce12d3aa54ee08f9c18";
    const ACCOUNT: &str = "8a67cce244863e23126827bc030f6a46";
    const JWT: &str = "83852560284099fe152ca3a94168469f";
    const X509: &str = "6c47881cf0040771918f5c5177fa7ea4";

    #[test]
    fn a_token_of_a_service_account_is_the_service_account() {
        let sub = b"system:serviceaccount:default:builder";
        assert_eq!(Subject::Jwt { sub, jti: b"" }.fingerprint(), Subject::of(sub).fingerprint());
        for plain in ["system:serviceaccount:a", "system:serviceaccount::b", "system:serviceaccount:a:b:c"] {
            assert_eq!(Subject::of(plain.as_bytes()), Subject::Plain(plain.as_bytes()));
        }
    }

    #[test]
    fn no_two_subjects_have_one_form() {
        let subjects = [
            Subject::Jwt { sub: b"a\0b", jti: b"" },
            Subject::Jwt { sub: b"a", jti: b"b" },
            Subject::Jwt { sub: b"a\\0b", jti: b"" },
            Subject::Jwt { sub: b"a", jti: b"" },
            Subject::X509 { subject: b"a", key_id: b"" },
            Subject::Plain(b"a"),
        ];
        let distinct: BTreeSet<_> = subjects.iter().map(Subject::fingerprint).collect();
        assert_eq!(distinct.len(), subjects.len());
    }

    #[test]
    fn contexts() {
        let labels = [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())];
        let sorted = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        let hash = context_hash(Some(b"v1"), Some(b"/doc"), Some(b"read"), &labels);
        assert_eq!(hash, context_hash(Some(b"v1"), Some(b"/doc"), Some(b"read"), &sorted));
        assert_eq!(hash, HASH);
        let others = [
            context_hash(None, Some(b"/doc"), Some(b"read"), &labels),
            context_hash(Some(b""), Some(b"/doc"), Some(b"read"), &labels),
            context_hash(Some(b"v1"), Some(b"/docr"), Some(b"ead"), &labels),
            context_hash(Some(b"v1"), Some(b"/doc"), Some(b"read"), &[]),
        ];
        assert_eq!(BTreeSet::from(others).len(), 4);
    }

    const HASH: &str = "468501ebcecb33a912b6fa27ca69a07c56e99263b5690585f453524dcbf33bb4";
}
