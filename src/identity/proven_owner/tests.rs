//! Guards what a user does to the password and to the second factor: no sequence of calls does it without what it takes.

use proptest::prelude::*;
use serde_json::{Value, json};
use totp_rs::Builder;

use crate::error::Error;
use crate::identity::Principal;
use crate::identity::tests::{House, device, local, read, written};

#[derive(Clone, Copy, Debug)]
enum What {
    Login,
    ChangePassword,
    Begin,
    Confirm,
    End,
}

#[derive(Clone, Copy, Debug)]
enum Code {
    None,
    Wrong,
    Spent,
    Right,
}

/// Something that somebody tries.
#[derive(Clone, Copy, Debug)]
struct Try {
    what: What,
    /// By a sign-in that a later act has ended, if there is one.
    is_stale: bool,
    has_password: bool,
    code: Code,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let what = prop_oneof![
        1 => Just(What::Login),
        1 => Just(What::ChangePassword),
        1 => Just(What::Begin),
        3 => Just(What::Confirm),
        1 => Just(What::End),
    ];
    let code =
        prop_oneof![1 => Just(Code::None), 1 => Just(Code::Wrong), 1 => Just(Code::Spent), 3 => Just(Code::Right)];
    let one = (what, prop::bool::weighted(0.2), prop::bool::weighted(0.7), code);
    let one = one.prop_map(|(what, is_stale, has_password, code)| Try { what, is_stale, has_password, code });
    let on = [What::Begin, What::Confirm];
    let on = on.map(|what| Try { what, is_stale: false, has_password: true, code: Code::Right });
    (prop::bool::weighted(0.7), prop::collection::vec(one, 4..14))
        .prop_map(move |(is_on, tries)| on.into_iter().filter(|_| is_on).chain(tries).collect())
}

/// What is so after some tries.
struct Model {
    house: House,
    /// All passwords that there were; the last one counts.
    passwords: Vec<String>,
    current: Principal,
    stale: Option<Principal>,
    is_on: bool,
    /// Whether a secret was begun since, and whether one was ever confirmed: its step is spent, and another takes half a minute.
    is_begun: bool,
    was_on: bool,
    codes: Vec<String>,
    spent: Option<String>,
}

impl Model {
    async fn new() -> Self {
        let house = House::with_password("password number 0").await;
        let current = house.principal();
        let passwords = vec!["password number 0".to_owned()];
        let (codes, spent) = (Vec::new(), None);
        Self { house, passwords, current, stale: None, is_on: false, is_begun: false, was_on: false, codes, spent }
    }

    fn password(&self) -> &str {
        &self.passwords[self.passwords.len() - 1]
    }

    /// Does it, and returns whether it worked, and whether it should have.
    async fn try_it(&mut self, Try { what, is_stale, has_password, code }: Try) -> (bool, bool) {
        let stale = self.stale.as_ref().filter(|_| is_stale);
        let (by, is_in) = (stale.unwrap_or(&self.current).clone(), stale.is_none());
        let mut body = json!({ "username": "zoe" });
        body["password"] = json!(if has_password { self.password() } else { "a wrong password" });
        let shown = match code {
            Code::None => None,
            Code::Wrong => Some("aaaa-aaaa-aaaa-aaaa"),
            Code::Spent => Some(self.spent.as_deref().unwrap_or("aaaa-aaaa-aaaa-aaaa")),
            Code::Right => Some(self.codes.last().map_or("aaaa-aaaa-aaaa-aaaa", String::as_str)),
        };
        if let Some(shown) = shown {
            body["recovery_code"] = json!(shown);
        }
        let has_code = matches!(code, Code::Right) && !self.codes.is_empty();
        let is_proven = has_password && (!self.is_on || has_code);
        let identity = &self.house.identity;
        match what {
            What::Login => {
                let done = identity.login(read(&body), device()).await.is_ok();
                self.spend(is_proven);
                (done, is_proven)
            }
            What::ChangePassword => {
                let new = format!("password number {}", self.passwords.len());
                body["new_password"] = json!(new);
                let done = identity.change_password(&by, read(&body), device()).await;
                let should = is_in && is_proven;
                if should {
                    self.passwords.push(new);
                    self.spend(true);
                    // Whoever begins two-factor shows the password, which is another one now.
                    self.is_begun = false;
                }
                if let Ok(tokens) = &done {
                    self.sign_in(&written(tokens));
                }
                (done.is_ok(), should)
            }
            What::Begin => {
                let done = identity.begin_two_factor(&by, read(&body), local()).await.is_ok();
                let should = is_in && has_password && !self.is_on;
                self.is_begun |= should;
                (done, should)
            }
            What::Confirm => {
                let user = self.house.store.user(&self.house.username).unwrap().unwrap();
                let pending = user.pending_totp.filter(|_| matches!(code, Code::Right));
                let totp = pending.map(|pending| Builder::new().with_secret(pending.secret.expose().to_vec()));
                let now = self.house.clock.now().as_secs();
                let totp = totp.map_or("none".to_owned(), |app| app.build_noncompliant().generate(now).to_string());
                let done = identity.confirm_two_factor(&by, read(&json!({ "totp": totp })), device()).await;
                let should = is_in && self.is_begun && matches!(code, Code::Right) && !self.is_on;
                if should {
                    (self.is_on, self.was_on, self.is_begun) = (true, true, false);
                }
                if let Ok(confirmed) = &done {
                    let confirmed = written(confirmed);
                    self.codes = serde_json::from_value(confirmed["recovery_codes"].clone()).unwrap();
                    self.sign_in(&confirmed);
                }
                (done.is_ok(), should)
            }
            What::End => {
                let done = identity.end_two_factor(&by, read(&body), local()).await.is_ok();
                let should = is_in && is_proven && self.is_on;
                if should {
                    self.spend(true);
                    (self.is_on, self.codes) = (false, Vec::new());
                }
                (done, should)
            }
        }
    }

    fn spend(&mut self, is_spent: bool) {
        if is_spent && self.is_on {
            self.spent = self.codes.pop();
        }
    }

    fn sign_in(&mut self, answer: &Value) {
        let principal = self.house.identity.bearer(answer["jwt"].as_str().unwrap()).unwrap();
        self.stale = Some(std::mem::replace(&mut self.current, principal));
    }

    /// What is answered to a sign-in with a password alone.
    async fn login(&self, password: &str) -> Result<(), Error> {
        let body = json!({ "username": "zoe", "password": password });
        self.house.identity.login(read(&body), device()).await.map(drop)
    }
}

proptest! {
    // Each case hashes some twenty passwords.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_changes_the_password_or_the_second_factor_without_what_it_takes(tries in tries()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new().await;
            for one in tries {
                if model.was_on && matches!(one.what, What::Confirm) {
                    continue;
                }
                let (worked, should) = model.try_it(one).await;
                prop_assert_eq!(worked, should, "{:?}", one);
            }
            let alone = if model.is_on { Err(Error::TotpRequired) } else { Ok(()) };
            prop_assert_eq!(model.login(model.password()).await, alone);
            if let Some((_, [.., before])) = model.passwords.split_last() {
                prop_assert_eq!(model.login(before).await, Err(Error::Unauthorized));
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
