use serde::{Deserialize, Serialize};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

use super::audit::{Door, Visit};
use super::kept_key::kept_key;
use super::topic_guests::exactly;
use super::topics::{TopicPermit, TopicUse, topic};
use super::{Identity, Principal};
use crate::central::GuessAt;
use crate::config::Channels as Settings;
use crate::domain::{
    ChannelToken, ChannelTokenId, ClientAddress, EventName, Guest, GuestInsert, GuestRights, TenantName,
};
use crate::error::Error;
use crate::store::Store;
use crate::writer::{Anywhere, Batch, Change, Writer};

/// The setting that holds the random part of the key of tokens.
const SETTING: &str = "channel_key";
/// What stands before the colon in the name of a guest who came with a channel's token.
const GUESTS: &str = "channel";
/// The name, in these two parts, of the guest who is whoever has the key.
const PUBLISHER: (&str, &str) = ("channelapi", "publisher");
/// How long the last use of a token may be ago before it is written down anew: of thousands that join, one waits for the disk.
const USE_NOTED_WITHIN: Duration = Duration::from_secs(60);
/// The length of a token, in bytes: the id of its row, and a code that only the key can make.
const TOKEN_BYTES: usize = 32;

/// The channels of ChannelAPI: topics to which the holder of a key gives out tokens.
///
/// A token is not stored. Its row has a serial number, from which it is made again with the key. That has two parts: the one that the
/// operator set, so that whoever reads the database cannot make tokens, and a random one in the database, so that whoever has a token
/// cannot guess the operator's.
pub struct Channels {
    settings: Settings,
    key: hmac::Key,
}

/// Proof that the key of the channels was right.
pub struct ChannelOwner {
    tenant: TenantName,
}

/// Notes that a token is used; issues one, if there is none that lasts and `issue` has a serial for it.
#[derive(Serialize, Deserialize)]
pub(super) struct Use {
    id: ChannelTokenId,
    issue: Option<ChannelToken>,
    /// The token that is used, if it is known.
    serial: Option<u64>,
}

impl Change for Use {
    type Outcome = ChannelToken;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<ChannelToken, Error> {
        let now = batch.now();
        let known = batch.channel_token(&self.id)?.filter(|token| now < token.expires_at());
        let known = known.filter(|token| self.serial.is_none_or(|serial| serial == token.serial));
        match known {
            // What was issued at the same time.
            Some(token) if self.serial.is_none() => Ok(token),
            Some(token) => {
                let used = ChannelToken { used_at: now, ..token };
                batch.put_channel_token(&self.id, &used).map(|()| used)
            }
            None => {
                let issued = self.issue.ok_or(Error::Unauthorized)?;
                let issued = ChannelToken { used_at: now, ..issued };
                batch.put_channel_token(&self.id, &issued).map(|()| issued)
            }
        }
    }
}

impl Channels {
    /// Loads the part of the key that is in the database, or makes and keeps a new one.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read or kept.
    pub async fn load(settings: Settings, store: &Store, writer: &Writer) -> Result<Self, Error> {
        let random = kept_key(SETTING, || crate::random::bytes::<32>().to_vec(), store, writer).await?;
        let random = hmac::Key::new(hmac::HMAC_SHA256, &random);
        let key = hmac::sign(&random, settings.key.expose());
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), settings })
    }

    /// The first half of an HMAC of several parts: each with its length, so that no two lists are the same bytes.
    fn code(&self, parts: [&[u8]; 3]) -> ChannelTokenId {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut code = ChannelTokenId::default();
        let half = code.len();
        // An HMAC-SHA-256 has 32 bytes.
        code.copy_from_slice(&context.sign().as_ref()[..half]);
        code
    }

    fn id(&self, channel: &EventName) -> ChannelTokenId {
        self.code([b"id", self.settings.tenant.as_str().as_bytes(), channel.as_str().as_bytes()])
    }

    fn token(&self, id: &ChannelTokenId, serial: u64) -> [u8; TOKEN_BYTES] {
        let mut token = [0; TOKEN_BYTES];
        let (first, second) = token.split_at_mut(id.len());
        first.copy_from_slice(id);
        second.copy_from_slice(&self.code([b"token", id, &serial.to_be_bytes()]));
        token
    }
}

impl Identity {
    /// Authenticates whoever has the key of the channels.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there are no channels; [`Error::AuthKeyIncorrect`], or [`Error::TooManyAttempts`] after too many of those
    /// from one address.
    pub async fn channel_owner(&self, key: &[u8], from: ClientAddress) -> Result<ChannelOwner, Error> {
        let channels = self.channels()?;
        let visit = Visit::at(self.0.store.metrics(), Door::Channels, None, from);
        let guess = async {
            let attempt = self.0.central.attempt(GuessAt::Admin, from).await?;
            let owner = ChannelOwner { tenant: channels.settings.tenant.clone() };
            let is_right = channels.settings.key.matches(key);
            attempt.settle(if is_right { Ok(owner) } else { Err(Error::AuthKeyIncorrect) }).map(|(owner, _)| owner)
        };
        visit.ends(guess.await)
    }

    /// The token of a channel: the same one as before, if that lasts.
    ///
    /// # Errors
    /// [`Error::EventNameInvalid`], [`Error::EventNameReserved`] or [`Error::TopicNotAllowed`] for a name that no channel can have; those
    /// of [`Writer::submit`].
    pub async fn channel_token(&self, _: &ChannelOwner, channel: &str) -> Result<String, Error> {
        let (channels, channel, now) = (self.channels()?, topic(channel)?, self.0.clock.now());
        let id = channels.id(&channel);
        let known = self.0.store.channel_token(&id)?.filter(|token| now < token.expires_at());
        let token = match known {
            Some(token) => token,
            None => {
                let (tenant, serial) = (channels.settings.tenant.clone(), u64::from_be_bytes(crate::random::bytes()));
                let issue = Some(ChannelToken { tenant, channel, serial, used_at: now });
                self.0.writer.submit(Use { id, issue, serial: None }).await?
            }
        };
        Ok(BASE64_URL_SAFE_NO_PAD.encode(channels.token(&id, token.serial)))
    }

    /// Checks a channel's token, and notes its use, so that it lasts for another week.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there are no channels; [`Error::Unauthorized`] for a token that has expired or is none; those of
    /// [`Writer::submit`].
    pub async fn join_channel(&self, token: &str) -> Result<TopicPermit, Error> {
        let (channels, now) = (self.channels()?, self.0.clock.now());
        let shown = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| Error::Unauthorized)?;
        let id = *shown.first_chunk().ok_or(Error::Unauthorized)?;
        let known = self.0.store.channel_token(&id)?.ok_or(Error::Unauthorized)?;
        let is_right = constant_time::verify_slices_are_equal(&channels.token(&id, known.serial), &shown).is_ok();
        if !is_right || now >= known.expires_at() || known.tenant != channels.settings.tenant {
            return Err(Error::Unauthorized);
        }
        if now.since(known.used_at) >= USE_NOTED_WITHIN {
            self.0.writer.submit(Use { id, issue: None, serial: Some(known.serial) }).await?;
        }
        // Not the one of the token, which is the same name once more in memory.
        let (tenant, channel) = (channels.settings.tenant.clone(), known.channel);
        Ok(TopicPermit::new((GUESTS, channel.as_str()), tenant, channel.clone(), TopicUse::Subscribe, None))
    }

    /// Checks that there are channels.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn check_channels(&self) -> Result<(), Error> {
        self.channels().map(drop)
    }

    fn channels(&self) -> Result<&Channels, Error> {
        self.0.settings.channels.as_ref().ok_or(Error::NotFound)
    }
}

impl ChannelOwner {
    /// The guest who is whoever has the key, without a right to any channel yet.
    pub fn guest(&self) -> Principal {
        Guest::new(PUBLISHER, self.tenant.clone(), GuestRights::default(), None).into()
    }

    /// The guest who may insert messages into a channel.
    ///
    /// # Errors
    /// [`Error::EventNameInvalid`], [`Error::EventNameReserved`] or [`Error::TopicNotAllowed`] for a name that no channel can have.
    pub fn publisher(&self, channel: &str) -> Result<(Principal, EventName), Error> {
        let channel = topic(channel)?;
        let rights = GuestRights { insert: GuestInsert::Of(exactly([channel.clone()])), ..GuestRights::default() };
        Ok((Guest::new(PUBLISHER, self.tenant.clone(), rights, None).into(), channel))
    }
}
