//! What devices show for themselves, sealed in the store.

use ota_cloud::api::{KeyText, ProductSecret, certificate_pem};
use ota_cloud::login::{self, Proof};
use ota_proto::Identity;
use ota_store::audit::AuditKey;
use ota_store::seal::{MasterKey, Ring, SealError};
use ota_store::{Commit, Sealed, SecretId, SecretWrite, Store, StoreError};

use crate::cycle::Cloud;
use crate::error::StartError;
use crate::random;

/// The master keys at hand.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    ring: Ring,
}

impl Keys {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring }
    }

    pub(crate) const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Keys for a store that forgets.
    pub(crate) fn fresh() -> Result<Self, StartError> {
        Ok(Self::new(Ring::new(MasterKey::new(random()?))))
    }

    /// What links the lines of the audit.
    pub(crate) fn audit_key(&self) -> AuditKey {
        self.ring.audit_key()
    }

    /// What signs links of admins, the key to make them with first.
    pub(crate) fn link_keys(&self) -> Vec<[u8; 32]> {
        self.ring.link_keys().map(|key| *key).collect()
    }

    /// What keeps a device's proof, and what forgets it.
    pub(crate) fn sealed(
        &self,
        device: &Identity,
        proof: Option<&Proof>,
    ) -> Result<SecretWrite, StoreError> {
        let place = place(device);
        let Some(proof) = proof else { return Ok(SecretWrite::Remove(place)) };
        let nonce = random().map_err(|why| StoreError::Io { why: why.to_string() })?;
        let sealed = self.ring.seal(nonce, &place, &proof.to_bytes()).map_err(broken)?;
        Ok(SecretWrite::Put(place, sealed))
    }

    /// What keeps the secret of an API key: the vendor's signatures are made with it, so that its
    /// hash is not enough.
    pub(crate) fn sealed_key(&self, text: &KeyText) -> Result<Sealed, StoreError> {
        let place = key_place(text.id());
        let nonce = random().map_err(|why| StoreError::Io { why: why.to_string() })?;
        let secret = text.secret().as_bytes();
        self.ring.seal(nonce, &place, secret).map_err(broken)
    }

    /// The text of an API key whose secret is sealed.
    pub(crate) fn open_key(
        &self,
        id: &str,
        sealed: &Sealed,
    ) -> Result<Option<KeyText>, StoreError> {
        let opened = self.ring.open(&key_place(id), sealed).map_err(broken)?;
        let text = core::str::from_utf8(opened.expose()).ok();
        Ok(text.and_then(|secret| KeyText::from_halves(id, secret)))
    }

    /// What keeps a product's secret.
    pub(crate) fn sealed_product(
        &self,
        id: &str,
        secret: &ProductSecret,
    ) -> Result<SecretWrite, StoreError> {
        let place = product_place(id);
        let nonce = random().map_err(|why| StoreError::Io { why: why.to_string() })?;
        let sealed = self.ring.seal(nonce, &place, secret.expose().as_bytes()).map_err(broken)?;
        Ok(SecretWrite::Put(place, sealed))
    }

    /// What forgets it.
    pub(crate) fn no_product(id: &str) -> SecretWrite {
        SecretWrite::Remove(product_place(id))
    }

    /// A product's secret; none before there is one.
    pub(crate) fn product_secret(
        &self,
        store: &impl Store,
        id: &str,
    ) -> Result<Option<ProductSecret>, StoreError> {
        let Some(bytes) = self.open(store, &product_place(id))? else { return Ok(None) };
        let text = core::str::from_utf8(&bytes).ok();
        let secret = text.and_then(|text| ProductSecret::parse(text).ok());
        let why = || StoreError::Corrupt { why: format!("{id}: no secret of a product") };
        secret.ok_or_else(why).map(Some)
    }

    /// What keeps the answer to a call that may be sent again: there may be a secret in it.
    pub(crate) fn sealed_answer(&self, id: &str, answer: &[u8]) -> Result<SecretWrite, StoreError> {
        let place = answer_place(id);
        let nonce = random().map_err(|why| StoreError::Io { why: why.to_string() })?;
        let sealed = self.ring.seal(nonce, &place, answer).map_err(broken)?;
        Ok(SecretWrite::Put(place, sealed))
    }

    /// What forgets it.
    pub(crate) fn no_answer(id: &str) -> SecretWrite {
        SecretWrite::Remove(answer_place(id))
    }

    /// The answer that was kept.
    pub(crate) fn answer(
        &self,
        store: &impl Store,
        id: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.open(store, &answer_place(id))
    }

    /// What keeps the secret that signs a webhook's deliveries.
    pub(crate) fn sealed_hook(&self, id: &str, secret: &str) -> Result<SecretWrite, StoreError> {
        let place = hook_place(id);
        let nonce = random().map_err(|why| StoreError::Io { why: why.to_string() })?;
        let sealed = self.ring.seal(nonce, &place, secret.as_bytes()).map_err(broken)?;
        Ok(SecretWrite::Put(place, sealed))
    }

    /// That secret.
    pub(crate) fn hook_secret(
        &self,
        store: &impl Store,
        id: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.open(store, &hook_place(id))
    }

    /// The registered device with this client id, and its proof.
    pub(crate) fn find(
        &self,
        cloud: &Cloud,
        client_id: &str,
    ) -> Result<Option<(Identity, Proof)>, StoreError> {
        for device in login::devices_of(client_id, cloud.products()) {
            if let Some(bytes) = self.open(cloud.store(), &place(&device))? {
                let proof = Proof::from_bytes(&bytes);
                let proof = proof.ok_or_else(|| corrupt(&device, "no proof of a device"))?;
                return Ok(Some((device, proof)));
            }
        }
        Ok(None)
    }

    /// The certificate of a device in PEM, if it has one instead of a secret.
    pub(crate) fn certificate(
        &self,
        cloud: &Cloud,
        device: &Identity,
    ) -> Result<Option<String>, StoreError> {
        let bytes = self.open(cloud.store(), &place(device))?;
        Ok(match bytes.as_deref().and_then(Proof::from_bytes) {
            Some(Proof::Certificate(der)) => Some(certificate_pem(&der)),
            _ => None,
        })
    }

    /// Keeps a device's proof.
    pub(crate) fn put(
        &self,
        cloud: &mut Cloud,
        device: &Identity,
        proof: &Proof,
    ) -> Result<(), StoreError> {
        self.seal(cloud.store_mut(), place(device), &proof.to_bytes())
    }

    /// The key that signs the URLs of offers: the given one, the one that is kept, or a fresh one
    /// that is kept from now on. An offer outlives a restart.
    pub(crate) fn url_key(
        &self,
        store: &mut impl Store,
        given: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, StartError> {
        if let Some(key) = given {
            return Ok(key);
        }
        let place = SecretId::new("service", "url key", "1");
        if let Some(key) = self.open(store, &place)? {
            return Ok(key);
        }
        let key: [u8; 32] = random()?;
        self.seal(store, place, &key)?;
        Ok(key.to_vec())
    }

    fn open(&self, store: &impl Store, place: &SecretId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(sealed) = store.read().secret(place)? else { return Ok(None) };
        let opened = self.ring.open(place, &sealed).map_err(broken)?;
        Ok(Some(opened.expose().to_vec()))
    }

    fn seal(
        &self,
        store: &mut impl Store,
        place: SecretId,
        secret: &[u8],
    ) -> Result<(), StoreError> {
        let nonce = random().map_err(|why| StoreError::Io { why: why.to_string() })?;
        let sealed = self.ring.seal(nonce, &place, secret).map_err(broken)?;
        let secrets = vec![SecretWrite::Put(place, sealed)];
        store.commit(&Commit { secrets, ..Commit::default() }).map(drop)
    }
}

/// Where the secret of an API key is.
pub(crate) fn key_place(id: &str) -> SecretId {
    SecretId::new("api key", "secret", id)
}

/// Where the secret of a webhook is.
pub(crate) fn hook_place(id: &str) -> SecretId {
    SecretId::new("webhook", "secret", id)
}

fn place(device: &Identity) -> SecretId {
    let row = format!("{}/{}", device.product_id(), device.device_name());
    SecretId::new("device", "proof", row)
}

fn product_place(id: &str) -> SecretId {
    SecretId::new("product", "secret", id)
}

fn answer_place(id: &str) -> SecretId {
    SecretId::new("call", "answer", id)
}

fn broken(why: SealError) -> StoreError {
    StoreError::Corrupt { why: why.to_string() }
}

fn corrupt(device: &Identity, why: &str) -> StoreError {
    let name = format!("{}/{}", device.product_id(), device.device_name());
    StoreError::Corrupt { why: format!("{name}: {why}") }
}
