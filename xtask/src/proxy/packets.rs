//! As much of the unencrypted MySQL protocol as it takes to tell statements from the rest.
//!
//! Invariant: a message goes out as it came in, byte for byte, except for the server's greeting. It reads and
//! never writes, knows no sockets, and holds at most one message. The lines of a `LOAD DATA LOCAL` are within it as
//! long as they fit into 250 packets: behind those, one would count as a statement.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};

/// One message: a packet, or several where it is longer than a packet can be.
#[derive(Debug)]
pub(super) struct Message {
    wire: Vec<u8>,
    sequence: u8,
    /// The packets' contents without their headers, where there are several.
    joined: Option<Vec<u8>>,
}

impl Message {
    /// The next message; none where the stream ends before it.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Message>> {
        let mut header = [0; HEADER_BYTES];
        if from.read(&mut header[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut header[1..])?;
        let mut message = Message { wire: Vec::new(), sequence: header[3], joined: None };
        while message.append(header, from)? == MAX_PACKET_BYTES {
            let so_far = message.payload().to_vec();
            message.joined = Some(so_far);
            from.read_exact(&mut header)?;
        }
        Ok(Some(message))
    }

    /// The bytes as they travel.
    pub(super) fn wire(&self) -> &[u8] {
        &self.wire
    }

    fn payload(&self) -> &[u8] {
        self.joined.as_deref().unwrap_or(&self.wire[HEADER_BYTES..])
    }

    /// Reads the rest of the packet that begins with this header; returns its length.
    fn append(&mut self, header: [u8; HEADER_BYTES], from: &mut impl Read) -> io::Result<usize> {
        let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        self.wire.extend(header);
        let start = self.wire.len();
        if start + length > MAX_MESSAGE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message is larger than the proxy allows",
            ));
        }
        self.wire.resize(start + length, 0);
        from.read_exact(&mut self.wire[start..])?;
        if let Some(joined) = &mut self.joined {
            joined.extend(&self.wire[start..]);
        }
        Ok(length)
    }
}

/// What is known of the two sides of one connection.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    greeted: bool,
    /// For each command that was not answered yet, oldest first, the text that it prepares, if it does.
    unanswered: VecDeque<Option<String>>,
    prepared: HashMap<u32, String>,
    last_prepared: String,
}

impl Conversation {
    /// Takes note of a message of the client's; returns the text of the statement that it runs, if it does.
    pub(super) fn client_says(&mut self, message: &Message) -> Option<String> {
        // All else are answers within the login.
        if message.sequence != 0 {
            return None;
        }
        let (&command, rest) = message.payload().split_first()?;
        let (mut prepares, mut runs) = (None, None);
        match command {
            COM_QUIT | COM_STMT_SEND_LONG_DATA => return None,
            COM_STMT_CLOSE => {
                self.prepared.remove(&number(rest)?);
                return None;
            }
            COM_QUERY => runs = Some(text(rest)),
            COM_STMT_EXECUTE | COM_STMT_BULK_EXECUTE => runs = Some(self.prepared_text(number(rest)?)),
            COM_STMT_PREPARE => {
                self.last_prepared = text(rest);
                prepares = Some(self.last_prepared.clone());
            }
            _ => {}
        }
        self.unanswered.push_back(prepares);
        runs
    }

    /// Takes note of a message of the server's, and takes the offers out of its greeting that the proxy could
    /// not follow.
    pub(super) fn server_says(&mut self, message: &mut Message) {
        if !self.greeted {
            self.greeted = true;
            withdraw_offers(message);
        } else if message.sequence == 1
            && let Some(Some(prepared)) = self.unanswered.pop_front()
            && let [OK, rest @ ..] = message.payload()
            && let Some(statement) = number(rest)
        {
            self.prepared.insert(statement, prepared);
        }
    }

    fn prepared_text(&self, statement: u32) -> String {
        // MariaDB's clients may execute what they prepared last without having seen its number.
        const LAST: u32 = u32::MAX;
        match self.prepared.get(&statement) {
            Some(text) => text.clone(),
            None if statement == LAST => self.last_prepared.clone(),
            None => format!("statement {statement}, which nobody prepared"),
        }
    }
}

const HEADER_BYTES: usize = 4;
/// A packet of this length is continued by the next one.
const MAX_PACKET_BYTES: usize = 0xff_ffff;
const MAX_MESSAGE_BYTES: usize = 128 << 20;

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
const COM_STMT_CLOSE: u8 = 0x19;
/// MariaDB's own.
const COM_STMT_BULK_EXECUTE: u8 = 0xfa;
/// The first byte of a good answer.
const OK: u8 = 0x00;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_le_bytes)
}

/// A greeting: version 10, the server's version ended by a zero, connection number, eight bytes of salt, a zero,
/// and then the lower half of what the server can do. Anything else is an error message and stays as it is.
fn withdraw_offers(greeting: &mut Message) {
    const COMPRESS: u16 = 0x20;
    const SSL: u16 = 0x800;
    const VERSION: u8 = 10;
    let payload = &mut greeting.wire[HEADER_BYTES..];
    if payload.first() != Some(&VERSION) {
        return;
    }
    let Some(version_end) = payload.iter().position(|&byte| byte == 0) else { return };
    let Some(offers) = payload.get_mut(version_end + 1 + 4 + 8 + 1..).and_then(|rest| rest.first_chunk_mut())
    else {
        return;
    };
    *offers = (u16::from_le_bytes(*offers) & !(COMPRESS | SSL)).to_le_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    }

    fn message(sequence: u8, payload: &[u8]) -> Message {
        Message::read(&mut packet(sequence, payload).as_slice()).unwrap().unwrap()
    }

    /// After the greeting.
    fn conversation() -> Conversation {
        Conversation { greeted: true, ..Conversation::default() }
    }

    #[test]
    fn a_message_longer_than_a_packet_is_one_message_and_goes_out_as_it_came_in() {
        for length in [MAX_PACKET_BYTES - 1, MAX_PACKET_BYTES, MAX_PACKET_BYTES + 5, 2 * MAX_PACKET_BYTES] {
            let mut query = vec![b'x'; length];
            query[0] = COM_QUERY;
            let mut wire = Vec::new();
            let whole = length / MAX_PACKET_BYTES;
            for index in 0..=whole {
                let end = length.min((index + 1) * MAX_PACKET_BYTES);
                wire.extend(packet(u8::try_from(index).unwrap(), &query[index * MAX_PACKET_BYTES..end]));
            }
            let mut stream = [wire.clone(), packet(0, &[COM_QUIT])].concat();
            let mut stream = io::Cursor::new(&mut stream);
            let long = Message::read(&mut stream).unwrap().unwrap();
            assert!(long.wire() == wire, "{length}");
            assert_eq!(conversation().client_says(&long).map(|text| text.len()), Some(length - 1));
            assert_eq!(Message::read(&mut stream).unwrap().unwrap().payload(), [COM_QUIT]);
            assert!(Message::read(&mut stream).unwrap().is_none());
        }
    }

    #[test]
    fn a_message_that_ends_early_or_is_too_large_is_an_error() {
        assert!(Message::read(&mut &packet(0, b"abc")[..5]).is_err());
        assert!(Message::read(&mut &packet(0, b"abc")[..2]).is_err());
        let endless = packet(0, &vec![0; MAX_PACKET_BYTES]).repeat(9);
        let error = Message::read(&mut endless.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_login_is_no_statement_and_neither_are_pings() {
        let mut conversation = conversation();
        assert_eq!(conversation.client_says(&message(1, &[COM_QUERY, b'x'])), None);
        for command in [COM_QUIT, 0x0e, 0x02, 0x1f] {
            assert_eq!(conversation.client_says(&message(0, &[command])), None);
        }
        assert_eq!(conversation.client_says(&message(0, &[])), None);
    }

    #[test]
    fn prepared_statements_are_known_by_the_number_that_the_server_gave_them() {
        let mut conversation = conversation();
        let execute = |id: u8| message(0, &[COM_STMT_EXECUTE, id, 0, 0, 0, 0, 1, 0, 0, 0]);
        // Sent without waiting: a query, a statement that is refused, and two that are prepared.
        for sent in [&b"\x03SELECT 1"[..], b"\x16WRONG", b"\x16SELECT ?", b"\x16COMMIT"] {
            conversation.client_says(&message(0, sent));
        }
        for answer in [&[1][..], &[0xff, 1, 4], &[OK, 7, 0, 0, 0, 1, 0], &[OK, 9, 0, 0, 0, 0, 0]] {
            conversation.server_says(&mut message(1, answer));
            conversation.server_says(&mut message(2, &[OK, 5, 0, 0, 0]));
        }
        assert_eq!(conversation.client_says(&execute(7)).unwrap(), "SELECT ?");
        assert_eq!(conversation.client_says(&execute(9)).unwrap(), "COMMIT");
        assert_eq!(
            conversation.client_says(&message(0, &[COM_STMT_EXECUTE, 255, 255, 255, 255])).unwrap(),
            "COMMIT"
        );
        conversation.client_says(&message(0, &[COM_STMT_CLOSE, 7, 0, 0, 0]));
        assert_eq!(conversation.client_says(&execute(7)).unwrap(), "statement 7, which nobody prepared");
    }

    #[test]
    fn encryption_and_compression_are_not_offered() {
        let greeting = |low: u8, high: u8| {
            [b"\x0a10.11.1\0\x01\0\0\0saltsalt\0".as_slice(), &[low, high, 8, 2, 0]].concat()
        };
        let mut greeted = message(0, &greeting(0xfe, 0xff));
        Conversation::default().server_says(&mut greeted);
        assert_eq!(greeted.payload(), greeting(0xde, 0xf7));
        for other in [&b"\xff\x10\x04Too many connections"[..], b"\x0a10.11", b"\x0a\0salt", b""] {
            let mut same = message(0, other);
            Conversation::default().server_says(&mut same);
            assert_eq!(same.payload(), other);
        }
    }
}
