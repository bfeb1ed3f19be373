//! The flags of sign-up.

use clap::{Args, ValueEnum};

use crate::domain::{NewTenantName, TenantName};

/// Flags of sign-up.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct SignUpFlags {
    /// Who may sign up: nobody, people with an invite, or everybody.
    #[arg(long, env = "BROKER_SIGNUP", value_enum, default_value_t = Signup::Closed)]
    pub signup: Signup,
    /// Tenant of people who sign up without an invite, and of invites of admins that name none.
    #[arg(long, env = "BROKER_SIGNUP_TENANT")]
    pub signup_tenant: Option<String>,
}

/// Who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signup {
    /// Nobody. Only admins create users.
    Closed,
    /// People with an invite.
    Invite,
    /// Everybody.
    Open,
}

/// Settings of sign-up.
#[derive(Clone, Debug)]
pub struct SignUps {
    /// Who may sign up.
    pub signup: Signup,
    /// The tenant of people who sign up without an invite, and of invites of admins that name none.
    pub tenant: Option<TenantName>,
}

impl TryFrom<SignUpFlags> for SignUps {
    type Error = String;

    fn try_from(SignUpFlags { signup, signup_tenant }: SignUpFlags) -> Result<Self, String> {
        let parse = |tenant: String| {
            // A tenant of an earlier version may have another name, but nobody should sign up there unseen.
            let parsed = NewTenantName::parse(&tenant).map(|parsed| parsed.get().clone());
            parsed.map_err(|error| format!("signup_tenant {tenant:?}: {error}"))
        };
        let tenant = signup_tenant.map(parse).transpose()?;
        match (signup, &tenant) {
            (Signup::Open, None) => {
                Err("signup is open, and signup_tenant is not set: set it to the tenant of people who sign up"
                    .to_owned())
            }
            (Signup::Closed, Some(_)) => {
                Err("signup_tenant is set, and signup is closed: set signup to open or invite".to_owned())
            }
            _ => Ok(Self { signup, tenant }),
        }
    }
}
