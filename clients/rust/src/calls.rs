//! How calls are made: deadlines, repetition, pages.

use std::{future::Future, time::Duration};

use futures::Stream;
use tonic::{Request, Response, Status};

use crate::Error;

/// How often a call is made that may be repeated, and how long is waited before the second time; each time twice as long.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A message on its way, with its deadline.
pub(crate) fn request<T>(message: T, timeout: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    request
}

/// Makes a call once.
pub(crate) async fn once<R>(answer: impl Future<Output = Result<Response<R>, Status>>) -> Result<R, Error> {
    Ok(answer.await?.into_inner())
}

/// Makes a call that may safely be repeated: it reads, or it has a request id. Repeated where the gateway did not take it.
pub(crate) async fn safe<R, F, A>(call: F) -> Result<R, Error>
where
    F: Fn() -> A,
    A: Future<Output = Result<Response<R>, Status>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match once(call()).await {
            Err(error) if error.may_pass_later() => {
                let told = error.retry_after.filter(|after| *after <= LONGEST_PAUSE).unwrap_or_default();
                // Up to half of it more, so that many clients do not come back at once.
                tokio::time::sleep(told.max(pause).mul_f64(rand::random_range(1.0..1.5))).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    once(call()).await
}

/// All items of a list, page by page as they are asked for. `fetch` takes the token of a page and gives its items and the next token.
pub(crate) fn pages<T, F, A>(fetch: F) -> impl Stream<Item = Result<T, Error>> + Send
where
    T: Send,
    F: Fn(String) -> A + Send,
    A: Future<Output = Result<(Vec<T>, String), Error>> + Send,
{
    async_stream::try_stream! {
        let mut token = String::new();
        loop {
            let (items, next) = fetch(token).await?;
            for item in items {
                yield item;
            }
            if next.is_empty() {
                break;
            }
            token = next;
        }
    }
}

/// An id for a call that makes something: the same id makes it once.
pub(crate) fn request_id(given: String) -> String {
    if given.is_empty() { uuid::Uuid::new_v4().to_string() } else { given }
}

/// A sub-client: the service's own client behind the short methods.
macro_rules! sub_client {
    ($(#[$doc:meta])* $name:ident: $service:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            stub: $service<$crate::Transport>,
            timeout: Option<std::time::Duration>,
        }

        impl $name {
            pub(crate) fn new(client: &$crate::Client) -> Self {
                Self { stub: $crate::stub!(client, $service), timeout: client.timeout }
            }
        }

        impl std::ops::Deref for $name {
            type Target = $service<$crate::Transport>;

            fn deref(&self) -> &Self::Target {
                &self.stub
            }
        }

        impl std::ops::DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.stub
            }
        }
    };
}

/// Makes a call of the stub with the deadline of admin calls: `safe` may be repeated, `once` not.
macro_rules! call {
    ($how:ident, $self:expr, $rpc:ident, $message:expr) => {{
        let message = $message;
        let timeout = Some($self.timeout.unwrap_or($crate::connect::ADMIN_TIMEOUT).min($crate::connect::ADMIN_TIMEOUT));
        $crate::calls::call!(@$how, $self, $rpc, message, timeout)
    }};
    (@safe, $self:expr, $rpc:ident, $message:ident, $timeout:ident) => {
        $crate::calls::safe(|| {
            let (mut stub, request) = ($self.stub.clone(), $crate::calls::request($message.clone(), $timeout));
            async move { stub.$rpc(request).await }
        })
        .await
    };
    (@once, $self:expr, $rpc:ident, $message:ident, $timeout:ident) => {
        $crate::calls::once({
            let (mut stub, request) = ($self.stub.clone(), $crate::calls::request($message, $timeout));
            async move { stub.$rpc(request).await }
        })
        .await
    };
}

/// All items of a list RPC: of the response's field, page by page.
macro_rules! listed {
    ($self:expr, $rpc:ident, $filter:expr, $items:ident) => {{
        let (this, filter) = ($self.clone(), $filter);
        $crate::calls::pages(move |page_token| {
            let (this, mut message) = (this.clone(), filter.clone());
            message.page_token = page_token;
            async move {
                let page = $crate::calls::call!(safe, this, $rpc, message)?;
                Ok((page.$items, page.next_page_token))
            }
        })
    }};
}

pub(crate) use {call, listed, sub_client};
