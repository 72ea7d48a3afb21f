//! Mail by SMTP.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use tollgate_domain::Secret;

use super::{Messenger, SendError};
use crate::{Notice, notice::rfc3339};

/// How a line to the server is kept private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// It begins in the clear and changes to TLS before anything is said; a server that does not offer that is not used. Usually port 587.
    #[default]
    StartTls,
    /// TLS from the first byte. Usually port 465.
    Tls,
    /// In the clear: within one machine or a network that is trusted.
    None,
}

/// Mail.
#[derive(Clone, Debug)]
pub struct Email {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the line is kept private.
    pub security: SmtpSecurity,
    /// File of authorities to trust besides the usual ones, PEM.
    pub ca: Option<PathBuf>,
    /// Name and password; `None`: the server asks for none.
    pub login: Option<(String, Secret)>,
    /// The sender: `Tollgate <alerts@example.org>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

impl Email {
    pub(super) fn open(self) -> Result<Mailer, String> {
        let mailbox = |text: &String, setting: &str| {
            text.parse::<Mailbox>().map_err(|e| format!("{setting}: {text:?} is no address: {e}"))
        };
        let to = self.to.iter().map(|to| mailbox(to, "to")).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err("to: names nobody".into());
        }
        if self.security == SmtpSecurity::None && self.login.is_some() {
            tracing::warn!(host = self.host, "alerts by mail: the password goes to the server in the clear");
        }
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .timeout(Some(Duration::from_secs(20)))
            .tls(self.tls()?);
        if let Some((name, password)) = &self.login {
            builder = builder.credentials(Credentials::new(name.clone(), password.expose().to_owned()));
        }
        Ok(Mailer { transport: builder.build(), from: mailbox(&self.from, "from")?, to })
    }

    fn tls(&self) -> Result<Tls, String> {
        if self.security == SmtpSecurity::None {
            return Ok(Tls::None);
        }
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(path) = &self.ca {
            let told = |e: &dyn std::fmt::Display| format!("ca: {}: {e}", path.display());
            let pem = std::fs::read(path).map_err(|e| told(&e))?;
            parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|e| told(&e))?);
        }
        let parameters = parameters.build().map_err(|e| e.to_string())?;
        Ok(match self.security {
            SmtpSecurity::Tls => Tls::Wrapper(parameters),
            _ => Tls::Required(parameters),
        })
    }
}

pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    fn message(&self, notice: &Notice) -> Result<Message, lettre::error::Error> {
        let mut builder =
            Message::builder().from(self.from.clone()).subject(notice.headline()).message_id(None).date_now();
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.header(ContentType::TEXT_PLAIN).body(text(notice))
    }
}

fn text(notice: &Notice) -> String {
    let mut lines = vec![
        notice.summary.clone(),
        String::new(),
        format!("state:    {}", notice.state.name()),
        format!("severity: {}", notice.severity.name()),
        format!("rule:     {}", notice.rule),
        format!("since:    {}", rfc3339(notice.since_us)),
        format!("gateway:  {}", notice.source),
    ];
    lines.extend(notice.details.iter().map(|(name, figure)| format!("{name}: {figure}")));
    lines.join("\r\n") + "\r\n"
}

#[async_trait]
impl Messenger for Mailer {
    async fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let message =
            self.message(notice).map_err(|e| SendError { message: e.to_string(), later: false, after: None })?;
        let sent = self.transport.send(message).await;
        sent.map(drop).map_err(|e| SendError { message: e.to_string(), later: !e.is_permanent(), after: None })
    }
}
