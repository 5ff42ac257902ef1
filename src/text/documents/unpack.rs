//! The content of a file as a stream of bytes, decompressed if the file is compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::inputs::{Input, Packing};
use crate::files::open;

/// Text shrinks to a third or a tenth; what grows more than this many times from its file is none.
const MOST_GROWTH: u64 = 250;
/// Up to so many bytes anything may grow.
const GROWS_FREELY: u64 = 1 << 26;

/// The content of a file. How many bytes of the file itself were read is counted in `taken`.
pub struct Unpacked {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    /// Bytes of content that were given.
    pub given: u64,
    packed: bool,
}

impl Unpacked {
    /// Opens a file, and goes to the byte `begin` of its content.
    pub fn open(input: &Input, begin: u64) -> io::Result<Self> {
        let (file, taken) = (open(&input.path)?, Arc::new(AtomicU64::new(0)));
        let mut unpacked =
            Self::new(file, input.packing, &taken, if packs(input.packing) { 0 } else { begin })?;
        if unpacked.packed {
            let skipped = io::copy(&mut Read::by_ref(&mut unpacked).take(begin), &mut io::sink())?;
            if skipped < begin {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(unpacked)
    }

    fn new(mut file: File, packing: Packing, taken: &Arc<AtomicU64>, begin: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(begin))?;
        taken.store(begin, Ordering::Relaxed);
        let counted = BufReader::with_capacity(1 << 18, Counted { file, taken: taken.clone() });
        let inner: Box<dyn Read + Send> = match packing {
            Packing::None => Box::new(counted),
            Packing::Gzip => Box::new(MultiGzDecoder::new(counted)),
            Packing::Zstd => Box::new(Frames::new(counted)),
        };
        Ok(Self { inner, taken: taken.clone(), given: begin, packed: packs(packing) })
    }

    /// Bytes of the file that were read.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

fn packs(packing: Packing) -> bool {
    packing != Packing::None
}

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.given += count as u64;
        if self.packed && self.given > GROWS_FREELY && self.given / MOST_GROWTH > self.taken() {
            let what = format!("it grows to more than {MOST_GROWTH} times its size, which no text does");
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        Ok(count)
    }
}

struct Counted {
    file: File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The frames of a zstd file, one after the other; each is held to the checksum that it may end with.
struct Frames<R: BufRead> {
    source: R,
    decoder: FrameDecoder,
    state: State,
}

/// Where among the frames of a file one is.
enum State {
    Before,
    Inside,
    Between,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), state: State::Before }
    }

    /// Begins the next frame; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        use FrameDecoderError::ReadFrameHeaderError as Header;
        loop {
            if self.source.fill_buf()?.is_empty() {
                return match self.state {
                    State::Before => Err(io::Error::new(ErrorKind::UnexpectedEof, "it is empty")),
                    _ => Ok(false),
                };
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.state = State::Inside;
                    return Ok(true);
                }
                // Not content, such as what `pzstd` notes for itself.
                Err(Header(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let rest = &mut self.source;
                    if io::copy(&mut rest.take(length.into()), &mut io::sink())? < length.into() {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    self.state = State::Between;
                }
                Err(error) => return Err(invalid(error)),
            }
        }
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !matches!(self.state, State::Inside) && !self.begin()? {
                return Ok(0);
            }
            let decoder = &mut self.decoder;
            while decoder.can_collect() == 0 && !decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                decoder.decode_blocks(&mut self.source, one).map_err(invalid)?;
            }
            let count = decoder.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            let wanted = decoder.get_checksum_from_data();
            if wanted.is_some() && wanted != decoder.get_calculated_checksum() {
                return Err(invalid("its checksum is not that of its content"));
            }
            self.state = State::Between;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(folder: &Path, name: &str, bytes: &[u8], begin: u64) -> io::Result<Vec<u8>> {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        let mut all = Vec::new();
        let mut unpacked = Unpacked::open(&Input::new(path), begin)?;
        unpacked.read_to_end(&mut all)?;
        assert_eq!(unpacked.given, begin + all.len() as u64);
        assert_eq!(unpacked.taken(), bytes.len() as u64);
        Ok(all)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    #[test]
    fn all_packings_have_the_same_content_from_any_byte_on() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..300_000u32).flat_map(|i| format!("{} ", i % 977).into_bytes()).collect();
        let (front, back) = content.split_at(content.len() / 3);
        // A frame that is to be skipped: its magic number, its length, and five bytes.
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"hello"].concat();
        for (name, bytes) in [
            ("a.txt", content.clone()),
            ("a.txt.gz", gzip(&content)),
            ("a.txt.zst", zstd(&content)),
            ("two.txt.gz", [gzip(front), gzip(back)].concat()),
            ("two.txt.zst", [skipped.clone(), zstd(front), zstd(back), skipped].concat()),
        ] {
            for begin in [0, 1, 100_000, content.len()] {
                let all = read(folder.path(), name, &bytes, begin as u64).unwrap();
                assert!(all == content[begin..], "{name} from {begin} on");
            }
        }
    }

    /// `printf hello | zstd | xxd` of zstd 1.5, whose frames end with a checksum.
    #[test]
    fn the_reference_s_frame_is_read_and_held_to_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let frame = *b"\x28\xb5\x2f\xfd\x04\x58\x29\x00\x00\x68\x65\x6c\x6c\x6f\xa3\x6d\x9f\x88";
        assert_eq!(read(folder.path(), "h.zst", &frame, 0).unwrap(), b"hello");
        let mut wrong = frame;
        wrong[9] ^= 1;
        let error = read(folder.path(), "h.zst", &wrong, 0).unwrap_err().to_string();
        assert!(error.contains("checksum"), "{error}");
    }

    #[test]
    fn what_is_cut_short_or_damaged_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let content = b"All the world's a stage, and all the men and women merely players. ".repeat(300);
        for (name, bytes) in [("a.gz", gzip(&content)), ("a.zst", zstd(&content))] {
            for length in [0, 1, 3, 10, bytes.len() / 2, bytes.len() - 1] {
                assert!(read(folder.path(), name, &bytes[..length], 0).is_err(), "{name} {length}");
            }
            assert!(read(folder.path(), name, b"no archive at all", 0).is_err(), "{name}");
        }
        let gzip = [gzip(&content), b"more".to_vec()].concat();
        assert!(read(folder.path(), "a.gz", &gzip, 0).is_err());
    }

    #[test]
    fn a_bomb_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = gzip(&vec![b' '; 1 << 27]);
        let read = read(folder.path(), "a.gz", &bytes, 0).map(|content| content.len());
        let error = read.unwrap_err().to_string();
        assert!(error.contains("250 times"), "{error}");
    }
}
