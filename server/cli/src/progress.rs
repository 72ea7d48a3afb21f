//! Progress of long work, on standard error and on a terminal only.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A bar for so many bytes.
pub(crate) fn bytes(total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{bar:40} {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")
}

/// A count of bytes of which nobody knows how many they will be.
pub(crate) fn bytes_counted() -> ProgressBar {
    styled(ProgressBar::no_length(), "{spinner} {bytes}  {bytes_per_sec}  {elapsed}")
}

/// A count of things of which nobody knows how many they will be: `what` are they?
pub fn counter(what: &'static str) -> ProgressBar {
    styled(ProgressBar::no_length(), "{spinner} {pos} {msg}  {per_sec}  {elapsed}").with_message(what)
}

/// Something that lasts; its message tells how it stands.
pub(crate) fn waiting() -> ProgressBar {
    let bar = styled(ProgressBar::no_length(), "{spinner} {msg}  {elapsed}");
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Moves a bar on with what is read or written.
pub(crate) struct Watched<T> {
    inner: T,
    bar: ProgressBar,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, bar: ProgressBar) -> Self {
        Self { inner, bar }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.bar.inc((buf.filled().len() - before) as u64);
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.bar.inc(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
