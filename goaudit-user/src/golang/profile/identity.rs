//! What a subject's fingerprint is made of: a token's claims, a certificate's subject, a service account, or a name.
//!
//! A profile lists the places where a service may have them (`fingerprint`); the first that is there counts.

use super::digest::{Subject, hex};
use super::distinguished_name::rfc4514;
use super::reading::{Got, Lack, bytes};
use crate::event::go::Value;

/// How a subject proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityKind {
    /// By a token: `sub` and `jti`.
    Token,
    /// By a certificate: its subject as DER, and its subject key identifier.
    Certificate,
    /// It is a Kubernetes service account: namespace and name.
    ServiceAccount,
    /// It is known by its name only.
    Plain,
}

impl IdentityKind {
    /// Each with the keys of its parts in profiles, and whether the second one must be there.
    pub(super) const KEYS: [(Self, &'static str, Option<&'static str>, bool); 4] = [
        (Self::Token, "sub", Some("jti"), false),
        (Self::Certificate, "certificate", Some("key_id"), false),
        (Self::ServiceAccount, "namespace", Some("name"), true),
        (Self::Plain, "plain", None, false),
    ];
}

/// An identity, of whatever its parts are: where they come from, or what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<T> {
    /// What its parts mean.
    pub kind: IdentityKind,
    /// Without this part it is not there.
    pub first: T,
    /// Empty where the subject has none.
    pub second: Option<T>,
}

impl<T> Identity<T> {
    /// The same with other parts.
    pub(super) fn map<U, E>(&self, mut with: impl FnMut(&T) -> Result<U, E>) -> Result<Identity<U>, E> {
        let (first, second) = (with(&self.first)?, self.second.as_ref().map(&mut with).transpose()?);
        Ok(Identity { kind: self.kind, first, second })
    }
}

/// The parts of an identity as they were read.
pub(super) type Found = Identity<Result<Got, Lack>>;

/// The fingerprint of the first identity that is there, or why there is none.
pub(super) fn fingerprint(identities: &[Found]) -> Result<String, String> {
    let mut reasons: Vec<String> = Vec::new();
    for Identity { kind, first, second } in identities {
        let first = match part(first)? {
            Ok(first) if !first.is_empty() || *kind == IdentityKind::Plain => first,
            Ok(_) => {
                reasons.push("it is empty".to_owned());
                continue;
            }
            Err(reason) => {
                reasons.push(reason);
                continue;
            }
        };
        let second = match second {
            Some(second) => second_part(second)?,
            None => Vec::new(),
        };
        return Ok(match kind {
            IdentityKind::Token => Subject::Jwt { sub: &first, jti: &second }.fingerprint(),
            IdentityKind::Certificate => {
                let subject = rfc4514(&first).ok_or("the certificate's subject is no DER-encoded name")?;
                let key_id = hex(&second);
                Subject::X509 { subject: subject.as_bytes(), key_id: key_id.as_bytes() }.fingerprint()
            }
            IdentityKind::ServiceAccount => {
                Subject::ServiceAccount { namespace: &first, name: &second }.fingerprint()
            }
            IdentityKind::Plain => Subject::of(&first).fingerprint(),
        });
    }
    Err(reasons.join("; "))
}

/// A part of an identity. The inner error says why it is not there, the outer one why that cannot be known.
fn part(got: &Result<Got, Lack>) -> Result<Result<Vec<u8>, String>, String> {
    match got {
        Ok(Got { total: Some(_), .. }) => Err(CUT.to_owned()),
        Ok(Got { value: Value::Nil, .. }) => Ok(Err("it is nil".to_owned())),
        Ok(Got { value, .. }) => bytes(value).map(Ok).ok_or_else(|| "its content is not read".to_owned()),
        Err(lack @ (Lack::Beyond | Lack::Nil | Lack::Absent | Lack::OtherType(_))) => Ok(Err(lack.reason())),
        Err(Lack::Told(reason)) => Err(reason.clone()),
    }
}

/// A part that may be absent, but must not be anything else than it should be.
fn second_part(got: &Result<Got, Lack>) -> Result<Vec<u8>, String> {
    match got {
        Err(Lack::OtherType(reason)) => Err(reason.clone()),
        got => part(got).map(Result::unwrap_or_default),
    }
}

/// Two subjects may begin alike.
pub(super) const CUT: &str = "only the beginning of it was taken, and a fingerprint needs all";
