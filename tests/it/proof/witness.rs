//! A witness as C2SP tlog-witness wants it, which knows some histories and keeps the last checkpoint of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use identity_proof::tree::check_consistency;
use identity_proof::{Checkpoint, CosignerKey, Hash};
use sha2::{Digest as _, Sha256};

use crate::webhooks::receiver::{Reaction, Receiver};

/// The time of all its cosignatures.
pub(super) const TIME: u64 = 1_767_323_100;

/// What it has done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// It has cosigned a checkpoint with as many events.
    Cosigned(u64),
    /// It has said which size it has.
    Conflict(u64),
    /// It has answered with this status.
    Refused(u16),
}

/// The witness, for as long as the process lives.
pub(super) struct Witness {
    name: String,
    public: Vec<u8>,
    receiver: Receiver,
    state: Arc<Mutex<State>>,
}

struct State {
    name: String,
    key: SigningKey,
    /// The verifier keys of the histories that it knows, by origin.
    known: HashMap<String, String>,
    /// Size and root of the last checkpoint of each.
    last: HashMap<String, (u64, Hash)>,
    done: Vec<Done>,
}

impl Witness {
    /// A witness that knows the histories of these verifier keys.
    pub(super) fn new(name: &str, verifier_keys: &[String]) -> Self {
        let key = SigningKey::from_bytes(&[21; 32]);
        let public = [&[4], key.verifying_key().as_bytes().as_slice()].concat();
        let known = verifier_keys.iter().map(|key| (key.split('+').next().unwrap().to_owned(), key.clone()));
        let (known, last, done) = (known.collect(), HashMap::new(), vec![]);
        let state = Arc::new(Mutex::new(State { name: name.to_owned(), key, known, last, done }));
        let shared = Arc::clone(&state);
        let receiver = Receiver::reacting(move |_, request| {
            let (status, body) =
                shared.lock().unwrap().add_checkpoint(std::str::from_utf8(&request.body).unwrap());
            Reaction::Answer(status, body)
        });
        Self { name: name.to_owned(), public, receiver, state }
    }

    /// Its verifier key.
    pub(super) fn key(&self) -> String {
        let id = u32::from_be_bytes(key_id(&self.name, &self.public));
        format!("{}+{id:08x}+{}", self.name, BASE64_STANDARD.encode(&self.public))
    }

    pub(super) fn cosigner(&self) -> CosignerKey {
        CosignerKey::parse(&self.key()).unwrap()
    }

    /// The setting that names it.
    pub(super) fn setting(&self) -> identityd::witnesses::Witness {
        format!("{} {}", self.key(), self.receiver.url()).parse().unwrap()
    }

    pub(super) fn done(&self) -> Vec<Done> {
        self.state.lock().unwrap().done.clone()
    }
}

impl State {
    /// `add-checkpoint`, with the checks in the order of the standard.
    fn add_checkpoint(&mut self, body: &str) -> (u16, String) {
        let judged = self.judge(body);
        self.done.push(match &judged {
            Ok(Checkpoint { size, .. }) => Done::Cosigned(*size),
            Err((409, size)) => Done::Conflict(size.trim_end().parse().unwrap()),
            Err((status, _)) => Done::Refused(*status),
        });
        judged.map_or_else(|refused| refused, |checkpoint| (200, self.cosign(&checkpoint)))
    }

    fn judge(&mut self, body: &str) -> Result<Checkpoint, (u16, String)> {
        let refused = |status: u16| (status, String::new());
        let (head, note) = body.split_once("\n\n").ok_or(refused(400))?;
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").ok_or(refused(400))?.parse().unwrap();
        let proof: Vec<Hash> = lines.map(|line| Hash::parse_hash(line).unwrap()).collect();
        let origin = note.lines().next().unwrap();
        let verifier_key = self.known.get(origin).ok_or(refused(404))?;
        let checkpoint = Checkpoint::open(note, verifier_key).map_err(|_| refused(403))?;
        let (size, root) = self.last.get(origin).copied().unwrap_or_default();
        if old > checkpoint.size {
            return Err(refused(400));
        }
        if old != size {
            return Err((409, format!("{size}\n")));
        }
        let continues = match old {
            0 => proof.is_empty(),
            _ if old == checkpoint.size => proof.is_empty() && root == checkpoint.root,
            _ => check_consistency(&proof, (size, root), (checkpoint.size, checkpoint.root)).is_ok(),
        };
        if !continues {
            return Err(refused(422));
        }
        self.last.insert(origin.to_owned(), (checkpoint.size, checkpoint.root));
        Ok(checkpoint)
    }

    /// A line of a key that nobody knows, and the cosignature.
    fn cosign(&self, Checkpoint { origin, size, root }: &Checkpoint) -> String {
        let text = format!("cosignature/v1\ntime {TIME}\n{origin}\n{size}\n{root}\n");
        let public = [&[4], self.key.verifying_key().as_bytes().as_slice()].concat();
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let bytes = [key_id(&self.name, &public).as_slice(), &TIME.to_be_bytes(), &signature].concat();
        let unknown = BASE64_STANDARD.encode([7; 2432]);
        format!("— {0} {unknown}\n— {0} {1}\n", self.name, BASE64_STANDARD.encode(bytes))
    }
}

fn key_id(name: &str, public: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update("\n").chain_update(public).finalize();
    *hash.first_chunk().unwrap()
}
