//! A file of JSON lines as a partition: a line's number, from 0, is its offset.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use keyhawk_events::{Decoded, Decoder, Record};

use super::{BATCH_ROWS, Error, Source};

/// Bytes that are read from a file at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The lines of a file, or of standard input, and the decoder that they go through.
pub struct Lines {
    source: Source,
    reader: Box<dyn BufRead + Send>,
    decoder: Decoder,
    line: i64,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens a file; `-` is standard input. An object is read from here on, ahead.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(source: impl Into<Source>, decoder: Decoder) -> Result<Self, Error> {
        let source = source.into();
        let reader: Box<dyn BufRead + Send> = if let Some(object) = source.object() {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, object.reader()))
        } else if source.path() == Some(Path::new("-")) {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(&source).map_err(|error| unreadable(&source, error))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
        };
        Ok(Lines {
            source,
            reader,
            decoder,
            line: 0,
            buffer: Vec::new(),
        })
    }

    /// Decodes the next lines, and says whether there may be more; empty lines are skipped, and counted
    /// as lines.
    ///
    /// # Errors
    /// A file that cannot be read on.
    pub fn read(&mut self) -> Result<(Decoded, bool), Error> {
        let mut more = true;
        while self.decoder.rows() < BATCH_ROWS {
            self.buffer.clear();
            let read = self.reader.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|error| unreadable(&self.source, error))?;
            if read == 0 {
                more = false;
                break;
            }
            let line = self.buffer.trim_ascii();
            if !line.is_empty() {
                self.decoder.push(Record {
                    payload: Some(line),
                    offset: self.line,
                    record_time_ms: None,
                });
            }
            self.line += 1;
        }
        Ok((self.decoder.finish(), more))
    }

    /// The partition's watermark, in ms since 1970.
    pub fn watermark(&self) -> i64 {
        self.decoder.watermark()
    }
}

fn unreadable(source: &Source, error: io::Error) -> Error {
    match error.downcast::<keyhawk_connectors::Error>() {
        Ok(error) => Error::Store(error),
        Err(error) => Error::Unreadable {
            path: source.as_ref().to_owned(),
            source: error,
        },
    }
}
