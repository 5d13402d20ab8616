//! A TCP stream with a write timeout, and detection of a client's disconnect.
//!
//! An answer that is not streamed is written at its end, and HTTP does not notice before then that
//! the client has disconnected. This stream does, so the row of the batch is freed at once.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Sleep, sleep};

/// Pause between two looks at a stream.
const PAUSE: Duration = Duration::from_millis(50);
/// Time from the end of a client's requests to the first interim response; each later one waits twice as
/// long.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// The size in bytes of a socket's send buffer. The system's own grows to megabytes, and a third of it must be
/// read before more can be written: for a slow client longer than a timeout.
const SEND_BUFFER: usize = 128 << 10;
/// The interim response that every client skips.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A TCP stream whose writes fail if the peer does not read for `timeout`.
#[derive(Debug)]
pub(crate) struct TimeoutStream {
    watched: Arc<Watched>,
    write: OwnedWriteHalf,
    timeout: Duration,
    /// Runs while a write is pending.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The part of a stream that [`peer_closed`](Self::peer_closed) looks at.
#[derive(Debug)]
pub(crate) struct Watched {
    read: OwnedReadHalf,
    /// True if nothing was written since the last bytes of a request.
    unanswered: AtomicBool,
    /// False if the client's version of HTTP does not have interim responses.
    has_interim: AtomicBool,
}

impl TimeoutStream {
    /// Wraps `stream`. Returns the stream, and the part of it to watch.
    pub(crate) fn new(stream: TcpStream, timeout: Duration) -> (Self, Arc<Watched>) {
        // Without it, only slow clients are worse off.
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let (read, write) = stream.into_split();
        let (unanswered, has_interim) = (AtomicBool::new(false), AtomicBool::new(true));
        let watched = Arc::new(Watched { read, unanswered, has_interim });
        (Self { watched: Arc::clone(&watched), write, timeout, deadline: None }, watched)
    }

    /// Passes on the result of a write, or times out if it has been pending for too long.
    fn check_timeout<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl Watched {
    /// Notes whether the client's version of HTTP has interim responses.
    pub(crate) fn set_has_interim(&self, has_interim: bool) {
        self.has_interim.store(has_interim, Ordering::Relaxed);
    }

    /// Waits until the peer closes the connection. HTTP would only notice when there is something to
    /// write, and an answer that is not streamed is written at its end.
    ///
    /// A peer that ends its requests may still read the answer or may be gone; TCP shows the same. After
    /// [`FIRST_PROBE`] an interim response finds out: a client that reads skips it (RFC 9110, section
    /// 15.2), and the system of one that is gone resets the connection.
    pub(crate) async fn peer_closed(&self) {
        loop {
            match self.read.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => sleep(PAUSE).await,
                Ok(_) => break,
                Err(_) => return,
            }
        }
        let stream: &TcpStream = self.read.as_ref();
        let (ended, mut probe) = (Instant::now(), FIRST_PROBE);
        // Reading the error clears it.
        while matches!(stream.take_error(), Ok(None)) {
            if ended.elapsed() >= probe {
                probe *= 2;
                let may_write = self.unanswered.load(Ordering::Relaxed)
                    && self.has_interim.load(Ordering::Relaxed);
                if may_write
                    && stream.try_write(INTERIM).is_err_and(|e| e.kind() != ErrorKind::WouldBlock)
                {
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream: &TcpStream = self.watched.read.as_ref();
        loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    if read > 0 {
                        self.watched.unanswered.store(true, Ordering::Relaxed);
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watched.unanswered.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.write).poll_write(context, bytes);
        self.check_timeout(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watched.unanswered.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.write).poll_write_vectored(context, slices);
        self.check_timeout(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_steadily_but_slowly_gets_all_of_a_long_answer() {
        const LEN: usize = 4 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (mut stream, _watched) = TimeoutStream::new(stream, Duration::from_secs(2));
        let written = tokio::spawn(async move { stream.write_all(&vec![7; LEN]).await });

        // 400 kB a second: a third of the system's own buffer takes longer than the timeout.
        let (mut read, mut part) = (0, vec![0; 20 << 10]);
        while read < LEN {
            sleep(Duration::from_millis(50)).await;
            match client.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }

        written.await.unwrap().unwrap();
        assert_eq!(read, LEN);
    }
}
