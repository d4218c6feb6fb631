//! Who decides about a CONNECT.

use super::{Decision, Login};

/// Decides whether a client may come in. A closure that takes a [`Login`] is one, and so is a type with state of its own:
///
/// ```
/// use culex_core::Broker;
/// use culex_core::hooks::{Authenticator, Decision, Login};
///
/// struct Tokens(Vec<Box<[u8]>>);
///
/// impl Authenticator for Tokens {
///     async fn authenticate(&self, login: Login) -> Decision {
///         match login.user_name() {
///             Some("token") => self.0.iter().any(|token| login.password() == Some(token)).into(),
///             _ => Decision::NotMine,
///         }
///     }
/// }
///
/// let builder = Broker::builder()
///     .authenticate(Tokens(vec![Box::from(b"secret".as_slice())]))
///     .authenticate(|login: Login| async move { login.user_name().is_none() });
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// What it says of this client. [`Decision::NotMine`] leaves it to the next authenticator.
    fn authenticate(&self, login: Login) -> impl Future<Output = Decision> + Send;
}

impl<H, F> Authenticator for H
where
    H: Fn(Login) -> F + Send + Sync + 'static,
    F: Future<Output: Into<Decision>> + Send,
{
    async fn authenticate(&self, login: Login) -> Decision {
        self(login).await.into()
    }
}
