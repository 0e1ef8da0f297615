//! Text read in pieces of whole lines, which any number of threads take in turn. Gzip is taken apart on the way.

use std::io::{BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// Bytes read at once; a line may not be longer.
const PIECE: usize = 1024 * 1024;
/// How a gzip file begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Lines that are being read.
pub(super) struct Input {
    from: Box<dyn Read + Send>,
    /// The start of a line whose end was not read yet.
    carry: Vec<u8>,
    /// Lines handed out.
    lines: u64,
}

/// Some whole lines.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Their bytes; each line ends with a line feed, but perhaps the very last.
    pub(super) bytes: Vec<u8>,
    /// The number of the first line, from 1.
    pub(super) first: u64,
}

impl Input {
    /// Lines of a file or stream; of a gzip file those that are compressed in it.
    pub(super) fn new(mut from: impl Read + Send + 'static) -> std::io::Result<Self> {
        let mut start = Vec::new();
        (&mut from).take(2).read_to_end(&mut start)?;
        let compressed = start == GZIP;
        let whole = Cursor::new(start).chain(from);
        let from: Box<dyn Read + Send> =
            if compressed { Box::new(MultiGzDecoder::new(BufReader::new(whole))) } else { Box::new(whole) };
        Ok(Self { from, carry: Vec::new(), lines: 0 })
    }

    /// Fills `piece` with the next lines; `false` at the end. A line longer than a piece is an error.
    pub(super) fn next(&mut self, piece: &mut Piece) -> std::io::Result<bool> {
        piece.bytes.clear();
        piece.bytes.append(&mut self.carry);
        let room = PIECE.saturating_sub(piece.bytes.len());
        (&mut self.from).take(u64::try_from(room).unwrap_or(0)).read_to_end(&mut piece.bytes)?;
        if piece.bytes.len() >= PIECE {
            let end = piece.bytes.iter().rposition(|byte| *byte == b'\n').map(|last| last + 1);
            let Some(end) = end else {
                let text = format!("line {} is longer than {PIECE} bytes", self.lines.saturating_add(1));
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
            };
            self.carry.extend_from_slice(piece.bytes.get(end..).unwrap_or_default());
            piece.bytes.truncate(end);
        }
        piece.first = self.lines.saturating_add(1);
        // Counted in bytes that cannot overflow, so that the compiler can count many at once.
        let few = |bytes: &[u8]| usize::from(bytes.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>());
        let ends = piece.bytes.chunks(usize::from(u8::MAX)).map(few).sum::<usize>();
        let unended = usize::from(piece.bytes.last().is_some_and(|last| *last != b'\n'));
        self.lines = self.lines.saturating_add(u64::try_from(ends + unended).unwrap_or(0));
        Ok(!piece.bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// All pieces: the number of their first line, and their text.
    fn pieces(from: Vec<u8>) -> std::io::Result<Vec<(u64, String)>> {
        let (mut input, mut piece) = (Input::new(Cursor::new(from))?, Piece::default());
        let mut all = Vec::new();
        while input.next(&mut piece)? {
            all.push((piece.first, String::from_utf8(piece.bytes.clone()).unwrap()));
        }
        Ok(all)
    }

    #[test]
    fn long_text_comes_in_pieces_of_whole_lines_with_their_numbers() {
        let text = (1..=200_000).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let all = pieces(text.as_bytes().to_vec()).unwrap();
        assert!(all.len() > 2);
        for (first, lines) in &all {
            assert!(lines.starts_with(&format!("line {first}\n")), "{first}");
        }
        assert_eq!(all.into_iter().map(|(_, lines)| lines).collect::<String>(), text);
    }

    #[test]
    fn gzip_is_taken_apart() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"a\nb\n").unwrap();
        assert_eq!(pieces(encoder.finish().unwrap()).unwrap(), [(1, "a\nb\n".to_owned())]);
        assert_eq!(pieces(Vec::new()).unwrap(), []);
        assert_eq!(pieces(b"x".to_vec()).unwrap(), [(1, "x".to_owned())]);
        assert!(pieces(b"\x1f\x8bno gzip at all".to_vec()).is_err());
    }

    #[test]
    fn an_endless_line_is_refused() {
        let refused = pieces(vec![b'a'; PIECE + 1]).unwrap_err();
        assert_eq!(refused.to_string(), "line 1 is longer than 1048576 bytes");
    }
}
