//! One end of a channel: opened or accepted, proven, and encrypted (rules C45 to C47).
//!
//! The ends shake hands by Noise, pattern XX as libp2p does it, each with a key of this channel alone that its node key
//! signs for. The lease goes into the prologue: two ends that do not mean the same one find no common key. Frames
//! are counted by the cipher, so that one that is changed, repeated, left out or out of order ends the channel.

use std::time::Duration;

use capability::statements::{Lease, TaskId};
use capability::{CborError, Ed25519, PublicKey, StatementId, Verified};
use mesh_core::{
    ChannelAnswer, ChannelKey, ChannelKeyError, ChannelMessage, ChannelOpen, ChannelRefusal,
    MessageError, Violation,
};
use mesh_net::{ChannelError, IncomingChannel, Pipe};
use snow::{Builder, HandshakeState, TransportState};
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use crate::link::{Link, peer_key};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// What the prologue begins with; the lease's id follows.
const PURPOSE: &[u8] = b"talkoot/1/channel";

/// What handshakes and messages grow by at most: two keys and two tags.
const OVERHEAD: usize = 2 * 32 + 2 * 16;

/// From the first message of the handshake to the last.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// An end that has said nothing for so long says that it is there.
const QUIET: Duration = Duration::from_secs(15);

/// An end that was not heard for so long, four times as long as it may be quiet, has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the other end is waited for after the last word.
const LAST_WORD: Duration = Duration::from_secs(5);

/// A channel could not be opened, or is over before its time.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The stream.
    #[error(transparent)]
    Network(#[from] ChannelError),
    /// A broker, or the volunteer, says no.
    #[error(transparent)]
    Refused(#[from] ChannelRefusal),
    /// The header makes no sense.
    #[error("the answer to the question for a channel")]
    Header(#[from] MessageError),
    /// The home names the lease of another task, or of another home.
    #[error("the home broker named a lease that is none of its own for this task")]
    Lease,
    /// The other end is not whom the channel is to.
    #[error("the other end of the channel is not proven")]
    Proof(#[from] ChannelKeyError),
    /// Somebody on the way has changed, repeated, left out or reordered what was sent; or made it up.
    #[error(
        "what came over the channel is not what the other end sent: a broker on the way has interfered with it"
    )]
    Tampered,
    /// What was decrypted is no message.
    #[error("the other end of the channel talks nonsense")]
    Nonsense(#[from] CborError),
    /// The other end does not keep the rules.
    #[error("the other end of the channel")]
    Violation(#[from] Violation),
    /// Nothing came any more, not even that the other end is there.
    #[error("the other end of the channel has fallen silent")]
    Silent,
}

/// One end of a channel.
#[derive(Debug)]
pub struct Session {
    pipe: Pipe,
    cipher: TransportState,
    /// When the other end was heard last.
    heard: Instant,
    /// When this end said something last.
    said: Instant,
}

/// Whose the two ends are, and what the channel is about.
struct Ends {
    lease: StatementId,
    other: PublicKey,
}

impl Link {
    /// Opens a channel to whoever works on `task`, by asking `home`, which must be its home broker.
    pub async fn open_channel(
        &self,
        home: PublicKey,
        task: TaskId,
    ) -> Result<(Session, Verified<Lease>), SessionError> {
        let header = ChannelOpen::Task(task).encode();
        let opened = self.net().open_channel(peer_key(home), &header).await?;
        let lease = match ChannelAnswer::decode(&opened.answer, &Ed25519)? {
            ChannelAnswer::Open(lease) => lease,
            ChannelAnswer::Refused(refusal) => return Err(refusal.into()),
        };
        if lease.signer() != home || lease.task != task {
            return Err(SessionError::Lease);
        }
        let ends = Ends { lease: lease.id(), other: lease.volunteer };
        let shaken = timeout(HANDSHAKE_TIMEOUT, self.begin(opened.pipe, &ends)).await;
        Ok((shaken.map_err(|_| SessionError::Silent)??, lease))
    }

    /// Accepts a channel about `lease`, which this node holds, from `master`, who signed its offer.
    pub async fn accept_channel(
        &self,
        incoming: IncomingChannel,
        lease: &Verified<Lease>,
        master: PublicKey,
    ) -> Result<Session, SessionError> {
        let pipe = incoming.accept(&ChannelAnswer::Open(lease.clone()).encode()).await?;
        let ends = Ends { lease: lease.id(), other: master };
        let shaken = timeout(HANDSHAKE_TIMEOUT, self.respond(pipe, &ends)).await;
        shaken.map_err(|_| SessionError::Silent)?
    }

    async fn begin(&self, mut pipe: Pipe, ends: &Ends) -> Result<Session, SessionError> {
        let (mut noise, key) = noise(ends.lease, |builder| builder.build_initiator())?;
        pipe.writer.write(&write(&mut noise, &[])?).await?;
        let proof = read(&mut noise, &next(&mut pipe).await?)?;
        self.check(&noise, &proof, ends)?;
        pipe.writer.write(&write(&mut noise, &self.prove(key, ends))?).await?;
        Session::new(pipe, noise)
    }

    async fn respond(&self, mut pipe: Pipe, ends: &Ends) -> Result<Session, SessionError> {
        let (mut noise, key) = noise(ends.lease, |builder| builder.build_responder())?;
        read(&mut noise, &next(&mut pipe).await?)?;
        pipe.writer.write(&write(&mut noise, &self.prove(key, ends))?).await?;
        let proof = read(&mut noise, &next(&mut pipe).await?)?;
        self.check(&noise, &proof, ends)?;
        Session::new(pipe, noise)
    }

    fn prove(&self, key: [u8; 32], ends: &Ends) -> Vec<u8> {
        let key = ChannelKey { lease: ends.lease, key };
        let proof = key.prove(ends.other, self.next_nonce(), self.now().wall, self.signer());
        proof.envelope().as_bytes().to_vec()
    }

    fn check(&self, noise: &HandshakeState, proof: &[u8], ends: &Ends) -> Result<(), SessionError> {
        let key = noise.get_remote_static().and_then(|key| key.try_into().ok());
        let key = ChannelKey { lease: ends.lease, key: key.ok_or(SessionError::Tampered)? };
        Ok(key.check(proof, ends.other, self.key(), self.now().wall, &Ed25519)?)
    }
}

impl Session {
    fn new(pipe: Pipe, noise: HandshakeState) -> Result<Self, SessionError> {
        let cipher = noise.into_transport_mode().map_err(tampered)?;
        let now = Instant::now();
        Ok(Self { pipe, cipher, heard: now, said: now })
    }

    /// Says `message`. A call that is dropped leaves a channel that is broken.
    pub async fn send(&mut self, message: &ChannelMessage) -> Result<(), SessionError> {
        let plain = message.encode();
        let mut frame = vec![0; plain.len() + OVERHEAD];
        let length = self.cipher.write_message(&plain, &mut frame).map_err(tampered)?;
        self.pipe.writer.write(&frame[..length]).await?;
        self.said = Instant::now();
        Ok(())
    }

    /// What the other end says next. May be dropped at any time: nothing is lost.
    pub async fn receive(&mut self) -> Result<ChannelMessage, SessionError> {
        let frame = timeout_at(self.heard + SILENCE, self.pipe.reader.next()).await;
        let frame = frame.map_err(|_| SessionError::Silent)??.ok_or(ChannelError::Lost)?;
        let mut plain = vec![0; frame.len()];
        let length = self.cipher.read_message(&frame, &mut plain).map_err(tampered)?;
        self.heard = Instant::now();
        Ok(ChannelMessage::decode(&plain[..length])?)
    }

    /// When it is time to say [`ChannelMessage::Here`], if nothing else is said before.
    pub fn quiet_until(&self) -> Instant {
        self.said + QUIET
    }

    /// Ends the channel after the last word, `why`; returns when the other end has taken it, or has gone.
    pub async fn bye(mut self, why: &str) -> Result<(), SessionError> {
        self.send(&ChannelMessage::Bye(why.to_owned())).await?;
        let Pipe { mut reader, writer } = self.pipe;
        writer.close().await?;
        let rest = async { while let Ok(Some(_)) = reader.next().await {} };
        // It may have gone before: then it needs no last word.
        let _ = timeout(LAST_WORD, rest).await;
        Ok(())
    }
}

/// A handshake that is to begin, and our public key in it.
fn noise(
    lease: StatementId,
    build: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>,
) -> Result<(HandshakeState, [u8; 32]), SessionError> {
    let builder = || Builder::new(PATTERN.parse().expect("a pattern that snow knows"));
    let pair = builder().generate_keypair().map_err(tampered)?;
    let prologue = [PURPOSE, lease.as_bytes().as_slice()].concat();
    let noise = builder().local_private_key(&pair.private).and_then(|it| it.prologue(&prologue));
    let noise = noise.and_then(build).map_err(tampered)?;
    Ok((noise, pair.public.try_into().expect("X25519 keys have 32 bytes")))
}

fn write(noise: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, SessionError> {
    let mut message = vec![0; payload.len() + OVERHEAD];
    let length = noise.write_message(payload, &mut message).map_err(tampered)?;
    message.truncate(length);
    Ok(message)
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, SessionError> {
    let mut payload = vec![0; message.len()];
    let length = noise.read_message(message, &mut payload).map_err(tampered)?;
    payload.truncate(length);
    Ok(payload)
}

async fn next(pipe: &mut Pipe) -> Result<Vec<u8>, SessionError> {
    Ok(pipe.reader.next().await?.ok_or(ChannelError::Lost)?)
}

/// The cipher fails on nothing but what comes: our own side gives it sound keys and enough room.
fn tampered(_: snow::Error) -> SessionError {
    SessionError::Tampered
}
