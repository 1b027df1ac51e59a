//! A wire with a delay, a rate and a bounded queue, and the loop that carries packets over it between two TUN
//! devices. It stands in for the kernel's netem, which many kernels are built without.
//!
//! Invariant: packets keep their order in each direction; none arrives before its delay is over, nor faster than
//! the rate; what does not fit into the queue is dropped, as a router would. `Direction` reads no clock.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

/// What each direction of a wire does to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// From one end to the other.
    pub delay: Duration,
    /// What passes in a second.
    pub rate_bytes_per_s: u64,
    /// What may wait for its turn.
    pub queue_bytes: u64,
}

/// One direction of a wire; times are those since its beginning.
#[derive(Debug)]
struct Direction {
    wire: Wire,
    busy_until: Duration,
    packets: VecDeque<Packet>,
}

#[derive(Debug)]
struct Packet {
    due: Duration,
    bytes: Vec<u8>,
}

impl Direction {
    fn new(wire: Wire) -> Direction {
        Direction { wire, busy_until: Duration::ZERO, packets: VecDeque::new() }
    }

    /// Takes a packet that arrives at `now`; false when the queue is full and it is lost.
    fn accept(&mut self, now: Duration, bytes: &[u8]) -> bool {
        let begins = self.busy_until.max(now);
        if begins - now > self.time_for(self.wire.queue_bytes) {
            return false;
        }
        self.busy_until = begins + self.time_for(bytes.len() as u64);
        self.packets.push_back(Packet { due: self.busy_until + self.wire.delay, bytes: bytes.to_owned() });
        true
    }

    /// The next packet that has come through by `now`.
    fn take_due(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.packets.pop_front_if(|packet| packet.due <= now).map(|packet| packet.bytes)
    }

    fn next_due(&self) -> Option<Duration> {
        self.packets.front().map(|packet| packet.due)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.wire.rate_bytes_per_s as f64)
    }
}

/// The most that is read from a device before the other one has its turn.
const PACKETS_AT_ONCE: u32 = 64;
const LARGEST_PACKET_BYTES: usize = 65_536;

/// Makes two TUN devices of these names, calls `ready`, and carries packets between them until `end` has
/// something to read or is closed at its other end. The devices go with this call.
///
/// # Errors
/// When a device cannot be made, read or written.
pub fn carry(
    names: [&str; 2],
    wire: Wire,
    end: impl AsFd,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let devices = [open(names[0])?, open(names[1])?];
    let mut directions = [Direction::new(wire), Direction::new(wire)];
    let mut buffer = vec![0; LARGEST_PACKET_BYTES];
    let began = Instant::now();
    ready()?;
    loop {
        for (direction, to) in directions.iter_mut().zip([&devices[1], &devices[0]]) {
            while let Some(packet) = direction.take_due(began.elapsed()) {
                // A device that is full or down loses the packet, as a real link would.
                let _ = to.send(&packet);
            }
        }
        if wait(&devices, &directions, &end, began)? {
            return Ok(());
        }
        for (direction, from) in directions.iter_mut().zip(&devices) {
            read_packets(direction, from, &mut buffer, began)?;
        }
    }
}

/// Waits until a packet is due or can be read; true when it is time to end.
fn wait(
    devices: &[SyncDevice; 2],
    directions: &[Direction; 2],
    end: &impl AsFd,
    began: Instant,
) -> io::Result<bool> {
    const AT_MOST: Duration = Duration::from_secs(1);
    let due = directions.iter().filter_map(Direction::next_due).min();
    let pause = due.map_or(AT_MOST, |due| due.saturating_sub(began.elapsed()).min(AT_MOST));
    let pause = Timespec::try_from(pause).map_err(io::Error::other)?;
    let mut polled = [
        PollFd::new(&devices[0], PollFlags::IN),
        PollFd::new(&devices[1], PollFlags::IN),
        PollFd::new(end, PollFlags::IN),
    ];
    match poll(&mut polled, Some(&pause)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!polled[2].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

fn read_packets(
    direction: &mut Direction,
    from: &SyncDevice,
    buffer: &mut [u8],
    began: Instant,
) -> io::Result<()> {
    for _ in 0..PACKETS_AT_ONCE {
        match from.recv(buffer) {
            Ok(bytes) => {
                direction.accept(began.elapsed(), &buffer[..bytes]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Not switched on yet: its addresses come first, from whoever asked for it.
fn open(name: &str) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name(name)
        .enable(false)
        .build_sync()
        .and_then(|device| device.set_nonblocking(true).map(|()| device));
    device.map_err(|error| io::Error::new(error.kind(), format!("TUN device {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// 1,000 bytes take 1 ms, and 3 ms worth of them may wait.
    fn direction() -> Direction {
        Direction::new(Wire { delay: 20 * MS, rate_bytes_per_s: 1_000_000, queue_bytes: 3000 })
    }

    #[test]
    fn a_packet_arrives_after_its_own_length_and_the_delay_and_not_before() {
        let mut direction = direction();
        assert!(direction.accept(5 * MS, &[7; 1000]));
        assert_eq!(direction.next_due(), Some(26 * MS));
        assert_eq!(direction.take_due(26 * MS - Duration::from_nanos(1)), None);
        assert_eq!(direction.take_due(26 * MS), Some(vec![7; 1000]));
        assert_eq!(direction.take_due(1000 * MS), None);
        assert_eq!(direction.next_due(), None);
    }

    #[test]
    fn packets_that_come_together_keep_their_order_and_the_rate() {
        let mut direction = direction();
        for number in 1..=3 {
            assert!(direction.accept(Duration::ZERO, &vec![number; 1000]));
        }
        for number in 1..=3 {
            let due = 20 * MS + u32::from(number) * MS;
            assert_eq!(direction.next_due(), Some(due));
            assert_eq!(direction.take_due(due), Some(vec![number; 1000]));
            assert_eq!(direction.take_due(due), None);
        }
    }

    #[test]
    fn a_full_queue_loses_the_newest_packet_and_takes_more_when_it_has_drained() {
        let mut direction = direction();
        let accepted = (0..10).filter(|_| direction.accept(Duration::ZERO, &[0; 1000])).count();
        assert_eq!(accepted, 4, "one on the wire, three waiting");
        assert!(!direction.accept(MS / 2, &[0; 1000]));
        assert!(direction.accept(MS, &[0; 1000]));
    }

    #[test]
    fn a_wire_that_was_idle_does_not_catch_up_on_the_time_before() {
        let mut direction = direction();
        assert!(direction.accept(Duration::ZERO, &[0; 1000]));
        assert!(direction.accept(500 * MS, &[1; 1000]));
        assert_eq!(direction.take_due(500 * MS), Some(vec![0; 1000]));
        assert_eq!(direction.next_due(), Some(521 * MS));
    }
}
