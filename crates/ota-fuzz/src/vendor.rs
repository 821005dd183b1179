//! The vendor's API: a head that claims a signature, a query, a body. No bytes panic; what
//! decodes as a query decodes alike as JSON; a claim verifies only by the key.

use ota_cloud::vendor::{Action, Claim, OldClaim, Params, Request, reply};

/// Any bytes: lines of a head up to an empty one, then the name of an action, then parameters.
pub fn vendor(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, rest) = text.split_once("\n\n").unwrap_or(("", &text));
    let headers: Vec<_> = head.lines().filter_map(|line| line.split_once(':')).collect();
    let (name, body) = rest.split_once('\n').unwrap_or((rest, ""));
    let request = Request { method: "POST", query: body, headers: &headers };
    let now = request.header("x-tc-timestamp").and_then(|text| text.parse().ok());
    match Claim::read(&request, now.unwrap_or(1_700_000_000)) {
        Ok(claim) => {
            assert!(!claim.secret_id.is_empty());
            assert!(claim.verify(&request, [0; 32], b"a key nobody has").is_err());
        }
        Err(error) => drop(reply("id", Err(&error))),
    }
    if let Ok(claim) = OldClaim::read("POST", "host:80", body, 1_700_000_000) {
        assert!(claim.verify(b"a key nobody has").is_err());
        assert!(!claim.secret_id().is_empty() && !claim.action().is_empty());
    }
    for params in [Params::from_json(body.as_bytes()), Params::from_query(body)] {
        let Ok(params) = params else { continue };
        for known in Action::NAMES.iter().copied().chain([name]) {
            if let Err(error) = Action::decode(known, &params) {
                let answer = reply("id", Err(&error));
                let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap();
                assert_eq!(parsed["Response"]["RequestId"], "id");
            }
        }
    }
}
