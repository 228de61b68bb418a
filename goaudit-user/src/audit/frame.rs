//! Frames: how pieces lie one after another in a segment, and how a reader walks over them.
//!
//! Every length is checked before memory is taken for it, every byte of a frame counts: magic, reserved byte,
//! checksum, padding, length echo. The walk never guesses: at the first bad byte it stops and says so.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::format::{FRAME_ALIGN, FRAME_HEAD_LEN, FRAME_MAGIC, FrameKind, frame_len};

/// The first bytes of a frame.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    magic: [u8; 4],
    kind: u8,
    reserved: u8,
    header_len: U16,
    body_len: U32,
    crc: U32,
}

const _: () = assert!(size_of::<Head>() == FRAME_HEAD_LEN);

/// Appends a frame to `out`.
pub fn encode(kind: FrameKind, header: &[u8], body: &[u8], out: &mut Vec<u8>) {
    debug_assert_eq!(header.len(), kind.header_len());
    debug_assert!(body.len() <= kind.max_body_len());
    let total = frame_len(header.len(), body.len());
    let mut head = Head {
        magic: FRAME_MAGIC,
        kind: kind.code(),
        reserved: 0,
        header_len: U16::new(u16::try_from(header.len()).unwrap_or(u16::MAX)),
        body_len: U32::new(u32::try_from(body.len()).unwrap_or(u32::MAX)),
        crc: U32::new(0),
    };
    head.crc = U32::new(checksum(&head, header, body));
    out.reserve(total);
    let end = out.len() + total;
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    out.resize(end - 4, 0);
    out.extend_from_slice(&u32::try_from(total).unwrap_or(u32::MAX).to_le_bytes());
}

/// CRC-32C over kind, reserved byte, both lengths, header and body.
fn checksum(head: &Head, header: &[u8], body: &[u8]) -> u32 {
    let fields = [head.kind, head.reserved];
    let crc = crc32c::crc32c(&fields);
    let crc = crc32c::crc32c_append(crc, head.header_len.as_bytes());
    let crc = crc32c::crc32c_append(crc, head.body_len.as_bytes());
    let crc = crc32c::crc32c_append(crc, header);
    crc32c::crc32c_append(crc, body)
}

/// A whole, checked frame.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where it begins in its segment.
    pub offset: u64,
    /// What it holds.
    pub kind: FrameKind,
    /// Its header.
    pub header: &'a [u8],
    /// Its body.
    pub body: &'a [u8],
    /// All of it, as it is in the file.
    pub bytes: &'a [u8],
}

impl Frame<'_> {
    /// Where its body lies in its bytes.
    pub fn body_range(&self) -> Range<usize> {
        let begin = FRAME_HEAD_LEN + self.header.len();
        begin..begin + self.body.len()
    }
}

/// What a walk found next.
#[derive(Debug)]
pub enum Step<'a> {
    /// A whole, checked frame.
    Frame(Frame<'a>),
    /// A frame that the caller did not want: only its head and its place are checked.
    Skipped,
    /// The end of the bytes, between two frames.
    End,
    /// No frame begins here.
    Bad(BadFrame),
}

/// Where a walk cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame {
    /// Where the frame should have begun.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
    /// The bytes end before the frame does: what a torn or not yet finished write looks like.
    pub cut_short: bool,
}

/// Walks over the frames of a segment.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    /// Where the source stands; none if it must be asked to seek, which also throws away what it has buffered.
    position: Option<u64>,
    offset: u64,
    end: u64,
    /// Begins with the frame read last.
    buffer: Vec<u8>,
}

impl<R: Read + Seek> FrameReader<R> {
    /// A walk over `source` from `offset`, a frame's beginning; nothing at or after `end` counts.
    pub fn new(source: R, offset: u64, end: u64) -> Self {
        Self { source, position: None, offset, end, buffer: Vec::new() }
    }

    /// Where the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to another frame's beginning.
    pub fn go_to(&mut self, offset: u64) {
        self.offset = offset;
        self.position = None;
    }

    /// Leaves out all that is there.
    pub fn skip_all(&mut self) {
        self.go_to(self.end);
    }

    /// Moves the end, when the file has grown.
    pub fn set_end(&mut self, end: u64) {
        self.end = end;
    }

    /// The source, to ask for its size.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> io::Result<Step<'_>> {
        self.next_wanted(|_, _| true)
    }

    /// The next frame, its body only if `wanted` says so from kind and header (which are not yet checked).
    pub fn next_wanted(&mut self, wanted: impl FnOnce(FrameKind, &[u8]) -> bool) -> io::Result<Step<'_>> {
        let left = self.end.saturating_sub(self.offset);
        let standing = self.position.take();
        if left == 0 {
            return Ok(Step::End);
        }
        let bad = |what, cut_short| Ok(Step::Bad(BadFrame { offset: self.offset, what, cut_short }));
        if left < FRAME_HEAD_LEN as u64 {
            return bad("the bytes end within a frame's head", true);
        }
        match standing.and_then(|at| i64::try_from(self.offset.checked_sub(at)?).ok()) {
            Some(0) => {}
            Some(ahead) => self.source.seek_relative(ahead)?,
            None => {
                self.source.seek(SeekFrom::Start(self.offset))?;
            }
        }
        let mut head = Head::new_zeroed();
        self.source.read_exact(head.as_mut_bytes())?;
        let (kind, header_len, body_len) = match check_head(&head) {
            Ok(parts) => parts,
            Err(what) => return bad(what, false),
        };
        let total = frame_len(header_len, body_len);
        if total as u64 > left {
            return bad("the bytes end within a frame", true);
        }
        let body_at = FRAME_HEAD_LEN + header_len;
        let (place, header) = room(&mut self.buffer, body_at).split_at_mut(FRAME_HEAD_LEN);
        place.copy_from_slice(head.as_bytes());
        self.source.read_exact(header)?;
        if !wanted(kind, header) {
            self.position = Some(self.offset + body_at as u64);
            self.offset += total as u64;
            return Ok(Step::Skipped);
        }
        let (_, rest) = room(&mut self.buffer, total).split_at_mut(body_at);
        self.source.read_exact(rest)?;
        let (bytes, _) = self.buffer.split_at(total);
        let (_, rest) = bytes.split_at(FRAME_HEAD_LEN);
        let (header, rest) = rest.split_at(header_len);
        let (body, trailer) = rest.split_at(body_len);
        if let Err(what) = check_rest(&head, header, body, trailer, total) {
            return bad(what, false);
        }
        let offset = self.offset;
        self.offset += total as u64;
        self.position = Some(self.offset);
        Ok(Step::Frame(Frame { offset, kind, header, body, bytes }))
    }

    /// Looks for a whole, checked frame that begins at or after `from`, and moves there if there is one.
    ///
    /// The way to tell a torn tail (nothing follows) from damage in the middle (something does). Frames begin at
    /// multiples of [`FRAME_ALIGN`], so only those places are tried.
    pub fn find_next(&mut self, from: u64) -> io::Result<bool> {
        const WINDOW: usize = 1 << 16;
        let mut start = from.next_multiple_of(FRAME_ALIGN as u64);
        let mut window = vec![0; WINDOW];
        while start < self.end {
            let len = usize::try_from(self.end - start).unwrap_or(usize::MAX).min(WINDOW);
            self.source.seek(SeekFrom::Start(start))?;
            let Some(part) = window.get_mut(..len) else { break };
            self.source.read_exact(part)?;
            for (index, place) in part.chunks(FRAME_ALIGN).enumerate() {
                if !place.starts_with(&FRAME_MAGIC) {
                    continue;
                }
                self.offset = start + (index * FRAME_ALIGN) as u64;
                let found = self.offset;
                let whole = matches!(self.next_frame()?, Step::Frame(_));
                self.position = None;
                if whole {
                    self.offset = found;
                    return Ok(true);
                }
            }
            start += len as u64;
        }
        Ok(false)
    }
}

/// The first `len` bytes of a buffer, which only grows: clearing it for each frame takes as long as reading.
fn room(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer.split_at_mut(len).0
}

fn check_head(head: &Head) -> Result<(FrameKind, usize, usize), &'static str> {
    if head.magic != FRAME_MAGIC {
        return Err("no frame begins here");
    }
    let kind = FrameKind::from_code(head.kind).ok_or("frame of an unknown kind")?;
    if head.reserved != 0 {
        return Err("reserved byte of a frame is not zero");
    }
    if usize::from(head.header_len.get()) != kind.header_len() {
        return Err("frame header of a wrong length");
    }
    let body_len = usize::try_from(head.body_len.get()).map_err(|_| "frame too long")?;
    if body_len > kind.max_body_len() {
        return Err("frame too long");
    }
    Ok((kind, kind.header_len(), body_len))
}

fn check_rest(
    head: &Head,
    header: &[u8],
    body: &[u8],
    trailer: &[u8],
    total: usize,
) -> Result<(), &'static str> {
    if checksum(head, header, body) != head.crc.get() {
        return Err("checksum of a frame does not match");
    }
    let Some((padding, echo)) = trailer.split_last_chunk::<4>() else {
        return Err("frame without its length echo");
    };
    if padding.iter().any(|byte| *byte != 0) {
        return Err("padding of a frame is not zero");
    }
    if u32::from_le_bytes(*echo) as usize != total {
        return Err("length echo of a frame does not match");
    }
    Ok(())
}
