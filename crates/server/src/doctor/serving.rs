//! Checks of the settings of the service, without the database.

use time::OffsetDateTime;

use super::{Check, Finding};
use crate::settings::ServeSettings;
use crate::tls;

/// How long before it expires a certificate should be renewed, in days.
const RENEWAL_DAYS: i64 = 14;

/// The results for these settings.
pub fn examine(settings: &ServeSettings) -> Vec<Check> {
    let certificate = settings.wire.tls.as_ref().map(|files| {
        let expires_at = tls::expiry(files);
        Check::of("tls_certificate", expires_at.map(|at| certificate(at, tls::now())))
    });
    [certificate, Some(Check::of("domains", Ok(domains(settings))))].into_iter().flatten().collect()
}

fn certificate(expires_at: Option<OffsetDateTime>, now: OffsetDateTime) -> Finding {
    let Some(expires_at) = expires_at else {
        return Finding::bad("the TLS certificate does not say until when it is valid: renew it");
    };
    let days = (expires_at - now).whole_days();
    match days {
        _ if expires_at <= now => {
            Finding::bad(format!("the TLS certificate expired at {expires_at}: renew it"))
        }
        days if days < RENEWAL_DAYS => {
            Finding::good(format!("the TLS certificate expires in {days} days: renew it soon"))
        }
        days => Finding::good(format!("the TLS certificate expires in {days} days")),
    }
}

/// If both have the same name, a tunnel can have the address of a host of the mail domain.
fn domains(settings: &ServeSettings) -> Finding {
    let (mail_domain, tunnel_zone) = (&settings.mail_domain, &settings.tunnel_zone);
    if mail_domain == tunnel_zone {
        return Finding::good(format!(
            "mail_domain and tunnel_zone are both {mail_domain}: use two, so that no tunnel is a host of the mail domain"
        ));
    }
    Finding::good(format!("mail of {mail_domain}, tunnels of {tunnel_zone}"))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::ext::NumericalDuration as _;

    use super::certificate;

    #[test]
    fn a_certificate_that_has_expired_fails_and_one_that_soon_will_is_named() {
        let now = OffsetDateTime::UNIX_EPOCH + 1000.days();
        let found = |days: i64| certificate(Some(now + days.days()), now);
        assert!(!found(-1).passed && !found(0).passed);
        assert!(found(3).passed && found(3).text.contains("renew it soon"));
        assert!(found(90).passed && !found(90).text.contains("soon"));
        assert!(!certificate(None, now).passed);
    }
}
