//! Byte layouts: what is encoded is parsed again, where the specification says it stands.

use proptest::prelude::*;
use zerocopy::FromBytes as _;

use crate::audit::batch::{BatchBuilder, BatchContext, BatchKind, Events, PayloadReader};
use crate::audit::chain::{Chain, parse_batch_header};
use crate::audit::format::{BATCH_HEADER_LEN, BatchHeader, FrameKind, SEED_LEN, SEGMENT_HEADER_LEN};
use crate::audit::frame::{self, FrameReader, Step};
use crate::audit::merkle::{Frontier, root};
use crate::audit::salt::{event_leaf, fill_salts};
use crate::audit::segment::SegmentHeader;

fn header(batches: u64) -> SegmentHeader {
    let mut frontier = Frontier::default();
    (0..batches).for_each(|n| frontier.push([n as u8; 32]));
    SegmentHeader {
        log_id: [1; 16],
        segment_no: 2,
        first_seq: 3,
        host_id: [4; 16],
        boot_id: [5; 16],
        created_realtime_ns: 6,
        prev_seg_hash: [7; 32],
        frontier,
    }
}

#[test]
fn the_segment_header_stands_where_the_specification_says() {
    let bytes = header(3).encode();
    assert_eq!(bytes.len(), SEGMENT_HEADER_LEN);
    assert_eq!(&bytes[..16], b"GOAUDSEG\x01\x00\x00\x10\x01\x01\x01\x00");
    for (at, expected) in
        [(16, 1), (32, 2), (40, 3), (48, 3), (56, 4), (72, 5), (88, 6), (96, 7), (128, 2), (132, 0)]
    {
        assert_eq!(bytes[at], expected, "at {at}");
    }
    assert_eq!(bytes[168..200], [2; 32]);
    assert!(bytes[200..4092].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[4092..], crc32c::crc32c(&bytes[..4092]).to_le_bytes());
}

#[test]
fn salts_are_the_published_keystream() {
    // RFC 8439, appendix A.1, test vector 1: key, nonce and counter of zeros.
    let mut salts = Vec::new();
    fill_salts(&[0; SEED_LEN], 2, &mut salts);
    assert_eq!(
        salts,
        [
            0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28,
            0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7
        ]
    );
    // The first salts do not depend on how many there are.
    let mut more = Vec::new();
    fill_salts(&[0; SEED_LEN], 4096, &mut more);
    assert_eq!(more[..32], salts);
}

proptest! {
    #[test]
    fn segment_headers_come_back(batches in 0_u64..3000) {
        let header = header(batches);
        prop_assert_eq!(SegmentHeader::parse(&header.encode()).unwrap(), header);
    }

    #[test]
    fn frames_come_back(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6)) {
        let mut bytes = Vec::new();
        for body in &bodies {
            frame::encode(FrameKind::Checkpoint, &[], body, &mut bytes);
            prop_assert_eq!(bytes.len() % 8, 0);
        }
        let mut frames = FrameReader::new(std::io::Cursor::new(&bytes), 0, bytes.len() as u64);
        for body in &bodies {
            let Step::Frame(frame) = frames.next_frame().unwrap() else { panic!("no frame") };
            prop_assert_eq!(frame.body, &body[..]);
        }
        prop_assert!(matches!(frames.next_frame().unwrap(), Step::End));
    }

    #[test]
    fn batches_come_back_and_hash_to_their_root(
        events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..50),
        seed in any::<[u8; 32]>()
    ) {
        let mut builder = BatchBuilder::new().unwrap();
        builder.begin(&seed, 1000);
        for (n, event) in events.iter().enumerate() {
            builder.push(event, 50 + n as u64);
        }
        let context = BatchContext {
            boot_id: [1; 16], instance: 0, urgent: false, after_restart: false, lost_events: 0, lost_cause: 0,
            kind: BatchKind::Events, hmac_tail: None,
        };
        let chain = Chain::new([9; 16]);
        let (header, stored) = builder.seal(&context, &chain).unwrap();
        let header = parse_batch_header(zerocopy::IntoBytes::as_bytes(&header), stored.len()).unwrap();
        chain.check(&header).unwrap();
        let mut plain = Vec::new();
        let mut payloads = PayloadReader::new().unwrap();
        payloads.open(&header, stored, &mut plain).unwrap();
        payloads.check_root(&header, &plain).unwrap();
        prop_assert_eq!(Events::new(&plain).collect::<Vec<_>>(), events.iter().map(Vec::as_slice).collect::<Vec<_>>());
        // The root, step by step as the specification says.
        let mut salts = Vec::new();
        fill_salts(&seed, events.len(), &mut salts);
        let leaves: Vec<_> = events.iter().zip(salts.chunks(16)).map(|(event, salt)| event_leaf(salt, event)).collect();
        prop_assert_eq!(header.batch_root, root(&leaves));
        prop_assert_eq!(header.realtime_first_ns.get(), 1050);
        prop_assert_eq!(header.boottime_last_ns.get(), 49 + events.len() as u64);
    }

    #[test]
    fn random_bytes_are_no_header(bytes in prop::collection::vec(any::<u8>(), BATCH_HEADER_LEN)) {
        prop_assert!(parse_batch_header(&bytes, 0).is_err());
        let header = BatchHeader::read_from_bytes(&bytes).unwrap();
        let mut plain = Vec::new();
        prop_assert!(PayloadReader::new().unwrap().open(&header, &bytes, &mut plain).is_err());
        prop_assert!(SegmentHeader::parse(&bytes).is_err());
    }
}
