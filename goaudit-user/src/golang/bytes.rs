//! Little-endian reading of outside bytes: every access is checked, nothing panics.

/// Longer names do not exist; bounds the work for a hostile file, all of whose functions may share one.
const TEXT_MAX: usize = 1 << 16;

/// Bytes from `address` to the next multiple of `step`, a power of two.
pub(crate) const fn to_aligned(address: u64, step: u64) -> u64 {
    // 0 is one, too, behind the last address.
    address.wrapping_neg() % step
}

/// A run of bytes from a file. Offsets count from its start; anything outside is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Wraps a slice.
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Number of bytes.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The whole run.
    pub(crate) const fn as_slice(&self) -> &'a [u8] {
        self.0
    }

    /// `len` bytes at `offset`.
    pub(crate) fn slice(&self, offset: u64, len: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.0.get(start..end)
    }

    /// Everything from `offset` on.
    pub(crate) fn from(&self, offset: u64) -> Option<Self> {
        self.0.get(usize::try_from(offset).ok()?..).map(Self)
    }

    fn array<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        self.slice(offset, N as u64)?.try_into().ok()
    }

    /// One byte.
    pub(crate) fn u8(&self, offset: u64) -> Option<u8> {
        self.array::<1>(offset).map(|[byte]| byte)
    }

    /// 32 bits.
    pub(crate) fn u32(&self, offset: u64) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// 64 bits.
    pub(crate) fn u64(&self, offset: u64) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// The bytes up to the next zero, without it; none if there are more than `TEXT_MAX` of them.
    pub(crate) fn c_string(&self, offset: u64) -> Option<&'a [u8]> {
        let rest = self.from(offset)?.0;
        let end = memchr::memchr(0, rest.get(..TEXT_MAX).unwrap_or(rest))?;
        rest.get(..end)
    }

    /// An unsigned LEB128 number (Go's `binary.Uvarint`), and the offset behind it.
    pub(crate) fn uvarint(&self, offset: u64) -> Option<(u64, u64)> {
        let mut value = 0_u64;
        let mut at = offset;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(at)?;
            at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some((value, at));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test says so when its own data is wrong")]
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let bytes = Bytes::new(&[1, 0, 0, 0, 2, 0]);
        assert_eq!(bytes.u32(0), Some(1));
        assert_eq!(bytes.u8(4), Some(2));
        assert_eq!(bytes.u32(3), None);
        assert_eq!(bytes.u64(u64::MAX), None);
        assert_eq!(bytes.slice(u64::MAX, 2), None);
        assert_eq!(bytes.c_string(0).unwrap(), &[1]);
        assert_eq!(Bytes::new(b"abc").c_string(0), None);
    }

    #[test]
    fn alignment_at_the_end_of_the_address_space() {
        assert_eq!([0, 1, 15, 16].map(|address| to_aligned(address, 16)), [0, 15, 1, 0]);
        assert_eq!([0, 7].map(|less| to_aligned(u64::MAX - less, 8)), [1, 0]);
    }

    #[test]
    fn a_text_without_end_is_none() {
        let long = [vec![b'a'; TEXT_MAX], vec![0]].concat();
        assert_eq!(Bytes::new(&long).c_string(0), None);
        assert_eq!(Bytes::new(&long).c_string(1).map(<[u8]>::len), Some(TEXT_MAX - 1));
    }

    #[test]
    fn uvarint_is_that_of_go() {
        assert_eq!(Bytes::new(&[0x2c]).uvarint(0), Some((0x2c, 1)));
        assert_eq!(Bytes::new(&[0xac, 0x02]).uvarint(0), Some((300, 2)));
        assert_eq!(Bytes::new(&[0x80; 12]).uvarint(0), None);
        assert_eq!(Bytes::new(&[0x80]).uvarint(0), None);
    }
}
