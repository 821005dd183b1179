//! Hashes of passwords: argon2id, two at once at most.

use argon2::{Algorithm, Argon2, Params, Version};
use ota_cloud::api::{Code, Problem};

use super::{Api, stopped};
use crate::random;

/// The cost of a new hash: 19 MiB, two passes.
const COST: (u32, u32, u32) = (19_456, 2, 1);
const LEN: usize = 32;

/// The hash of a new password, with its cost and salt.
pub(super) async fn hash(api: &Api, password: String) -> Result<String, Problem> {
    let salt: [u8; 16] = random()
        .map_err(|_| Problem::new(Code::Internal, "the system provides no random numbers"))?;
    let made = alone(api, move || compute(&password, COST, &salt)).await?;
    let made = made.ok_or_else(|| Problem::new(Code::Internal, "the password cannot be hashed"))?;
    let (memory, passes, lanes) = COST;
    Ok(format!("argon2id${memory}${passes}${lanes}${}${}", hex(&salt), hex(&made)))
}

/// Whether the password is the hashed one. Without a hash, of a name that is unknown, it takes as
/// long.
pub(super) async fn is(
    api: &Api,
    password: String,
    hashed: Option<String>,
) -> Result<bool, Problem> {
    let parsed = hashed.as_deref().and_then(parse);
    alone(api, move || {
        let Some((cost, salt, wanted)) = parsed else {
            compute(&password, COST, &[0; 16]);
            return false;
        };
        let made = compute(&password, cost, &salt).unwrap_or_default();
        let differ = made.iter().zip(&wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
        made.len() == LEN && wanted.len() == LEN && differ == 0
    })
    .await
}

async fn alone<T: Send + 'static>(
    api: &Api,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = tokio::time::timeout(api.0.patience, api.0.hashing.acquire()).await;
    let busy = |_| Problem::new(Code::TooMany, "too many people sign in: wait some seconds");
    let _turn = turn.map_err(busy)?.map_err(|_| stopped())?;
    tokio::task::spawn_blocking(run).await.map_err(|_| stopped())
}

fn compute(
    password: &str,
    (memory, passes, lanes): (u32, u32, u32),
    salt: &[u8],
) -> Option<Vec<u8>> {
    let params = Params::new(memory, passes, lanes, Some(LEN)).ok()?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut made = vec![0; LEN];
    argon.hash_password_into(password.as_bytes(), salt, &mut made).ok()?;
    Some(made)
}

type Parsed = ((u32, u32, u32), Vec<u8>, Vec<u8>);

fn parse(text: &str) -> Option<Parsed> {
    let mut parts = text.split('$');
    let (kind, memory, passes) = (parts.next()?, parts.next()?, parts.next()?);
    let (lanes, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let cost = (memory.parse().ok()?, passes.parse().ok()?, lanes.parse().ok()?);
    (kind == "argon2id").then_some((cost, unhex(salt)?, unhex(hash)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_keeps_its_cost_and_salt() {
        let (cost, salt) = ((8, 1, 1), [7; 16]);
        let made = compute("a long password", cost, &salt).unwrap();
        let text = format!("argon2id$8$1$1${}${}", hex(&salt), hex(&made));
        assert_eq!(parse(&text), Some((cost, salt.to_vec(), made.clone())));
        assert_ne!(compute("a long passwore", cost, &salt).unwrap(), made);
        for broken in ["", "argon2id$8$1$1", "scrypt$8$1$1$00$00", "argon2id$8$1$1$0g$00"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
