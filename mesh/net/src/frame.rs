//! Frames: an unsigned varint length, then so many bytes (one CBOR item, but that is not looked at here).
//!
//! The varint is LEB128 in its shortest form. The length is checked before anything is allocated, and the buffer grows
//! with what really arrives, so an announced mebibyte costs nothing until it is sent.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use thiserror::Error;

use crate::traffic;

/// The longest frame of calls, custody and reconciliation. A statement is at most 64 KiB.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Three bytes hold 21 bits, enough for any limit up to 2 MiB − 1.
const MAX_LENGTH_BYTES: usize = 3;

#[derive(Debug, Error)]
pub(crate) enum FrameError {
    /// The stream ended where a frame could have started.
    #[error("no frame came")]
    Ended,
    #[error("a frame of {announced} bytes is over the limit of {limit}")]
    TooLarge { announced: usize, limit: usize },
    #[error("a frame's length is not a varint in shortest form")]
    Length,
    #[error("a frame ended early")]
    Truncated,
    #[error("a frame could not be moved")]
    Io(#[source] io::Error),
}

/// Reads the length of the next frame, at most `limit`.
pub(crate) async fn read_length(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<usize, FrameError> {
    let mut length = 0;
    for index in 0..MAX_LENGTH_BYTES {
        let byte = match read_byte(io).await? {
            Some(byte) => usize::from(byte),
            None if index == 0 => return Err(FrameError::Ended),
            None => return Err(FrameError::Truncated),
        };
        length |= (byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return match (byte, index) {
                (0, 1..) => Err(FrameError::Length),
                _ if length > limit => Err(FrameError::TooLarge { announced: length, limit }),
                _ => Ok(length),
            };
        }
    }
    Err(FrameError::Length)
}

/// Reads the `length` bytes of a frame whose length has been read.
pub(crate) async fn read_body(
    io: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> Result<Vec<u8>, FrameError> {
    let mut body = Vec::new();
    let read = io.take(length as u64).read_to_end(&mut body).await.map_err(FrameError::Io)?;
    if read < length {
        return Err(FrameError::Truncated);
    }
    traffic::came(&body);
    Ok(body)
}

/// Reads a whole frame of at most `limit` bytes.
pub(crate) async fn read_frame(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Vec<u8>, FrameError> {
    let length = read_length(io, limit).await?;
    read_body(io, length).await
}

/// Takes the first frame, of at most `limit` bytes, out of what has `come`; `None` if not all of it has.
pub(crate) fn take_frame(come: &mut Vec<u8>, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
    let mut wire = come.as_slice();
    let read = read_frame(&mut wire, limit).now_or_never();
    let taken = come.len() - wire.len();
    match read.expect("bytes that are here are read at once") {
        Ok(frame) => {
            come.drain(..taken);
            Ok(Some(frame))
        }
        Err(FrameError::Ended | FrameError::Truncated) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes `body` as a frame and flushes.
pub(crate) async fn write_frame(
    io: &mut (impl AsyncWrite + Unpin),
    body: &[u8],
    limit: usize,
) -> Result<(), FrameError> {
    if body.len() > limit {
        return Err(FrameError::TooLarge { announced: body.len(), limit });
    }
    let mut frame = Vec::with_capacity(MAX_LENGTH_BYTES + body.len());
    push_length(&mut frame, body.len());
    frame.extend_from_slice(body);
    traffic::went(body);
    io.write_all(&frame).await.map_err(FrameError::Io)?;
    io.flush().await.map_err(FrameError::Io)
}

fn push_length(frame: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
}

async fn read_byte(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<u8>, FrameError> {
    let mut byte = [0];
    let read = io.read(&mut byte).await.map_err(FrameError::Io)?;
    Ok((read == 1).then_some(byte[0]))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;

    fn read(bytes: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
        block_on(read_frame(&mut Cursor::new(bytes), limit))
    }

    #[test]
    fn frames_of_every_length_of_length_come_back() {
        for size in [0, 1, 127, 128, 16_383, 16_384, MAX_FRAME_BYTES] {
            let body = vec![0xa5; size];
            let mut wire = Cursor::new(Vec::new());
            block_on(write_frame(&mut wire, &body, MAX_FRAME_BYTES)).expect("within the limit");
            assert_eq!(read(wire.get_ref(), MAX_FRAME_BYTES).expect("readable"), body);
        }
    }

    #[test]
    fn frames_are_taken_out_of_what_has_come() {
        let mut come = vec![2, b'a', b'b', 0, 3, b'c'];
        let take = |come: &mut Vec<u8>| take_frame(come, 3).expect("frames");
        assert_eq!(take(&mut come), Some(b"ab".to_vec()));
        assert_eq!(take(&mut come), Some(vec![]));
        assert_eq!((take(&mut come), come.as_slice()), (None, &[3, b'c'][..]));
        come.extend(b"de");
        assert_eq!(take(&mut come), Some(b"cde".to_vec()));
        assert_eq!(take(&mut come), None);
        assert!(matches!(take_frame(&mut vec![4], 3), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_body() {
        // 2^20 + 1, and not one byte of body: only the length can have been judged.
        let result = read(&[0x81, 0x80, 0x40], MAX_FRAME_BYTES);
        assert!(matches!(result, Err(FrameError::TooLarge { announced: 1_048_577, .. })));
    }

    #[test]
    fn malformed_lengths_are_told_apart() {
        assert!(matches!(read(&[], 10), Err(FrameError::Ended)));
        assert!(matches!(read(&[0x80], 10), Err(FrameError::Truncated)));
        assert!(matches!(read(&[0x81, 0x00], 10), Err(FrameError::Length)));
        assert!(matches!(read(&[0xff; 8], usize::MAX), Err(FrameError::Length)));
        assert!(matches!(read(&[5, 1, 2], 10), Err(FrameError::Truncated)));
    }

    #[test]
    fn a_body_over_the_limit_is_not_written() {
        let mut wire = Cursor::new(Vec::new());
        let result = block_on(write_frame(&mut wire, &[0; 11], 10));
        assert!(matches!(result, Err(FrameError::TooLarge { announced: 11, limit: 10 })));
        assert!(wire.get_ref().is_empty());
    }
}
