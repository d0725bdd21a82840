//! Frames: what is written is read, of the documented bytes, and nothing damaged is accepted.

use decomcam_core::Error;
use decomcam_core::frame::{Frame, HEADER_LEN, Record, frame_len, len};

const SALIENCY: [f32; 6] = [0.0, 1.0, 0.5, -3.0, 2.0, 0.25];
const OSSMS: [f32; 12] = [0.0, 4.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

fn record() -> Record<'static> {
    Record {
        height: 2,
        width: 3,
        class: 281,
        versus: Some(242),
        score: 7.5,
        saliency: &SALIENCY,
        ossms: &OSSMS,
        singular_values: &[5.0, 2.0, 1.0],
        predicted: &[1.0, -0.25],
        measured: &[0.75, 0.125],
        weights: &[1.0, 0.0],
    }
}

fn written(record: &Record) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    record.write(|part| {
        bytes.extend_from_slice(part);
        Ok::<(), Error>(())
    })?;
    Ok(bytes)
}

/// CRC-32 as everybody's `crc32()` computes it: of "123456789" it is 0xcbf43926.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn mend(frame: &mut [u8]) {
    let end = frame.len() - 4;
    let crc = crc32(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn what_is_written_is_read() {
    // One singular value more than parts tells the gap behind the last of them; a layer may have none.
    for (versus, values) in [(Some(242), &[5.0, 2.0, 1.0][..]), (None, &[5.0, 2.0])] {
        let record = Record { versus, singular_values: values, ..record() };
        let bytes = written(&record).unwrap();
        assert_eq!(Some(bytes.len()), len(2, 3, 2));
        assert_eq!(frame_len(&bytes[..HEADER_LEN]), Ok(bytes.len()));
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.height(), frame.width(), frame.class(), frame.versus()), (2, 3, 281, versus));
        assert_eq!(frame.score(), 7.5);
        // Within half a byte, negatives cut off.
        let near = |got: Vec<f32>, want: &[f32], largest: f32| {
            let close = |(got, want): (&f32, &f32)| (got - want.max(0.0)).abs() <= largest / 509.9;
            got.len() == want.len() && got.iter().zip(want).all(close)
        };
        assert!(near(frame.saliency().values().collect(), &SALIENCY, 2.0));
        let parts: Vec<_> = frame.parts().collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].singular_value, parts[1].singular_value), (5.0, 2.0));
        assert_eq!((parts[0].predicted, parts[1].predicted), (1.0, -0.25));
        assert_eq!((parts[0].measured, parts[1].measured), (0.75, 0.125));
        assert_eq!((parts[0].weight, parts[1].weight), (1.0, 0.0));
        assert!(near(parts[0].map.values().collect(), &OSSMS[..6], 4.0));
        assert_eq!(parts[1].map.values().collect::<Vec<_>>(), [0.0; 6]);
        assert_eq!((parts[0].map.largest(), parts[1].map.largest()), (4.0, 0.0));
    }
}

#[test]
fn the_bytes_are_the_documented_ones() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(len(7, 7, 10), Some(771));
    let bytes = written(&record()).unwrap();
    let mut want = b"DCFR\x01\0\x02\0\x03\0\x02\0\x19\x01\0\0\xf2\0\0\0".to_vec();
    want.extend_from_slice(&7.5_f32.to_le_bytes());
    want.extend_from_slice(&2.0_f32.to_le_bytes());
    want.extend_from_slice(&[0, 128, 64, 0, 255, 32]);
    for (numbers, map) in
        [([5.0, 1.0, 0.75, 1.0, 4.0_f32], [0, 255, 0, 64, 128, 191]), ([2.0, -0.25, 0.125, 0.0, 0.0], [0; 6])]
    {
        numbers.iter().for_each(|number| want.extend_from_slice(&number.to_le_bytes()));
        want.extend_from_slice(&map);
    }
    want.extend_from_slice(&crc32(&want).to_le_bytes());
    assert_eq!(bytes, want);
}

#[test]
fn damaged_frames_are_refused() {
    let bytes = written(&record()).unwrap();
    let refused = |bytes: &[u8]| Frame::parse(bytes).unwrap_err();
    assert_eq!(refused(b""), Error::NotAFrame);
    assert_eq!(refused(&[b'x'; 200]), Error::NotAFrame);
    for cut in [0, 3, HEADER_LEN - 1] {
        assert_eq!(refused(&bytes[..cut]), Error::NotAFrame, "{cut}");
    }
    for cut in [HEADER_LEN, 60, bytes.len() - 1] {
        assert_eq!(refused(&bytes[..cut]), Error::FrameDamaged, "{cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(refused(&longer), Error::FrameDamaged);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let want = if at < 4 {
            Error::NotAFrame
        } else if at == 4 {
            Error::FrameVersion
        } else {
            Error::FrameDamaged
        };
        assert_eq!(refused(&changed), want, "byte {at}");
    }
    // A right checksum over numbers that are none, and over sizes that are not these.
    for at in [HEADER_LEN - 4, HEADER_LEN, HEADER_LEN + 10] {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        mend(&mut changed);
        assert_eq!(refused(&changed), Error::FrameDamaged, "{at}");
    }
    for (at, value) in [(6, 0), (6, 9), (8, 0), (10, 0), (10, 3), (11, 0xff)] {
        let mut changed = bytes.clone();
        changed[at] = value;
        mend(&mut changed);
        assert_eq!(refused(&changed), Error::FrameDamaged, "{at}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_byte() {
    let refused = |record: Record| {
        let sink = |_: &[u8]| -> Result<(), Error> { panic!("a byte was written") };
        record.write(sink).unwrap_err()
    };
    assert_eq!(refused(Record { height: 3, ..record() }), Error::Shape);
    assert_eq!(refused(Record { height: 0, ..record() }), Error::Shape);
    assert_eq!(refused(Record { height: usize::MAX, ..record() }), Error::Shape);
    assert_eq!(refused(Record { saliency: &SALIENCY[1..], ..record() }), Error::Shape);
    assert_eq!(refused(Record { ossms: &OSSMS[1..], ..record() }), Error::Shape);
    assert_eq!(refused(Record { singular_values: &[1.0], ..record() }), Error::Shape);
    assert_eq!(refused(Record { predicted: &[1.0], ..record() }), Error::Shape);
    assert_eq!(refused(Record { measured: &[1.0; 3], ..record() }), Error::Shape);
    assert_eq!(refused(Record { weights: &[], ..record() }), Error::Shape);
    assert_eq!(refused(Record { versus: Some(u32::MAX), ..record() }), Error::Shape);
    assert_eq!(refused(Record { score: f32::NAN, ..record() }), Error::NonFinite);
    assert_eq!(refused(Record { measured: &[1.0, f32::INFINITY], ..record() }), Error::NonFinite);
    assert_eq!((len(0, 1, 1), len(1, 1, 0), len(1 << 10, 1 << 10, 1), len(7, 7, 257)), (None, None, None, None));
    // The largest of each that there is, and one more.
    for (height, width, parts) in [(1 << 8, 1 << 8, 1), (0xffff, 1, 1), (1, 0xffff, 1), (1, 1, 256)] {
        assert_eq!(len(height, width, parts), Some(24 + 4 + height * width + parts * (20 + height * width) + 4));
    }
    assert_eq!((len(1 << 16, 1, 1), len(1, 1 << 16, 1), len(1, 1, 257)), (None, None, None));
    // A sink that fails ends it, with its own error.
    let mut left = 3;
    let result = record().write(|_| {
        left -= 1;
        if left > 0 { Ok(()) } else { Err(Error::Channels) }
    });
    assert_eq!((result, left), (Err(Error::Channels), 0));
}

/// No bytes make it panic, whatever their checksum.
#[test]
fn any_bytes_are_read_or_refused() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let whole = written(&record()).unwrap();
    let (mut read, rounds) = (0, if cfg!(miri) { 50 } else { 20_000 });
    for _ in 0..rounds {
        let mut bytes = whole.clone();
        for _ in 0..next() % 4 {
            let at = next() as usize % bytes.len();
            bytes[at] = next() as u8;
        }
        bytes.truncate(bytes.len() - (next() % 3) as usize * (next() % 20) as usize);
        if bytes.len() > 4 {
            mend(&mut bytes);
        }
        if let Ok(frame) = Frame::parse(&bytes) {
            read += 1;
            let values = frame.parts().flat_map(|part| part.map.values()).chain(frame.saliency().values());
            assert!(values.into_iter().all(f32::is_finite));
        }
    }
    assert!(read > 10);
}
