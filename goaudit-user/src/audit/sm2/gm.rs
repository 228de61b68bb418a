//! The curve itself, by the `sm2` crate; signatures go over into DER and back.

use der::asn1::UintRef;
use der::{Decode as _, Encode as _, Header, Reader as _, SliceReader, Tag};
use sm2::dsa::signature::{Signer as _, Verifier as _};
use sm2::dsa::{Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::{POINT, USER_ID};
use crate::audit::note::NoteError;

/// A secret key.
pub(super) struct Secret(SigningKey);

impl Secret {
    /// The key of a number; none if it is 0 or too large.
    #[expect(clippy::unnecessary_wraps, reason = "as in a goaudit without `gm`")]
    pub(super) fn new(scalar: &[u8; 32]) -> Result<Option<Self>, NoteError> {
        Ok(SigningKey::from_slice(USER_ID, scalar).ok().map(Self))
    }

    /// The number.
    pub(super) fn bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The public key.
    pub(super) fn point(&self) -> [u8; POINT] {
        let bytes = self.0.verifying_key().to_sec1_bytes();
        // Uncompressed points of this curve have that length.
        bytes.as_ref().try_into().unwrap_or([0; POINT])
    }

    /// Signs; the nonce is made of key and message (RFC 6979 with SM3).
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError> {
        let failed = NoteError::Key("SM2 could not sign");
        let signature: Signature = self.0.try_sign(message).map_err(|_| failed.clone())?;
        encode(&signature).map_err(|_| failed)
    }
}

/// Whether `signature` (DER) of `message` is by the key at this point.
pub(super) fn verifies(point: &[u8; POINT], message: &[u8], signature: &[u8]) -> Result<bool, NoteError> {
    let key = VerifyingKey::from_sec1_bytes(USER_ID, point)
        .map_err(|_| NoteError::Key("no point on the SM2 curve"))?;
    Ok(decode(signature).is_some_and(|signature| key.verify(message, &signature).is_ok()))
}

fn encode(signature: &Signature) -> der::Result<Vec<u8>> {
    let (r, s) = (signature.r_bytes(), signature.s_bytes());
    let (r, s) = (UintRef::new(&r)?, UintRef::new(&s)?);
    let mut bytes = Vec::new();
    Header::new(Tag::Sequence, (r.encoded_len()? + s.encoded_len()?)?)?.encode_to_vec(&mut bytes)?;
    r.encode_to_vec(&mut bytes)?;
    s.encode_to_vec(&mut bytes)?;
    Ok(bytes)
}

/// The signature, if it is in DER and in nothing else: there is one way to write each.
fn decode(bytes: &[u8]) -> Option<Signature> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let (r, s) = reader.sequence(|reader| Ok((scalar(reader)?, scalar(reader)?))).ok()?;
    reader.finish(()).ok()?;
    let signature = Signature::from_scalars(r?, s?).ok()?;
    (encode(&signature).ok()? == bytes).then_some(signature)
}

fn scalar(reader: &mut der::NestedReader<'_, SliceReader<'_>>) -> der::Result<Option<[u8; 32]>> {
    let number = UintRef::decode(reader)?;
    let mut bytes = [0; 32];
    let start = bytes.len().checked_sub(number.as_bytes().len());
    Ok(start
        .and_then(|start| bytes.get_mut(start..))
        .map(|end| end.copy_from_slice(number.as_bytes()))
        .map(|()| bytes))
}
