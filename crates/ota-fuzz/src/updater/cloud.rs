//! What the cloud and the store may say.

use std::time::Duration;

use ota_proto::{Coding, ContentRange, Digester, Md5, ResponseHead};

use super::slot::{SIZES, VERSIONS};
use super::stale;
use super::world::{World, same};
use crate::input::Input;

pub(super) const TOPIC: &str = "$ota/update/TESTPROD01/dev001";
const URLS: [&str; 7] = [
    "https://a.example/fw?sign=1",
    "https://a.example/fw?sign=2",
    "https://b.example:8443/fw?sign=1",
    "http://a.example/fw?sign=1",
    "ftp://a.example/fw",
    "nonsense",
    "",
];

/// A byte of the image of the version with this number.
pub(super) fn image_byte(version: usize, at: u64) -> u8 {
    (at % 251) as u8 ^ (version as u8 * 37)
}

pub(super) fn digest(version: usize) -> Md5 {
    let mut digester = Digester::new();
    let image: Vec<u8> = (0..SIZES[version]).map(|at| image_byte(version, at)).collect();
    digester.update(&image);
    digester.finish()
}

pub(super) fn reply(world: &mut World, input: &mut Input<'_>) {
    let code = input.pick(&["0", "0", "0", "\"0\"", "1", "-3", "99999999999"]);
    let version = match input.byte() {
        byte @ 0..=3 => String::from(VERSIONS[usize::from(byte)]),
        _ => world.machine.running().as_str().into(),
    };
    world.message(&reply_text(code, &version));
}

pub(super) fn reply_text(code: &str, version: &str) -> String {
    format!(
        r#"{{"result_code":{code},"result_msg":"","type":"report_version_rsp","version":"{version}"}}"#
    )
}

pub(super) fn offer(world: &mut World, input: &mut Input<'_>) {
    let version = input.pick(&[1, 1, 1, 2, 2, 3, 0]);
    let shape = input.byte();
    let mut url = String::from(URLS[0]);
    let (mut size, mut md5, mut more) = (SIZES[version], digest(version), String::new());
    match shape % 16 {
        0..=7 => {}
        8 => url = input.pick(&URLS).into(),
        9 => size = input.number(),
        10 => md5.0[0] ^= 1,
        11 => {
            more = format!(r#","user_defined":"{}""#, "x".repeat(input.number() as usize % 2_000))
        }
        12 => more = format!(r#","fw_type":"{}""#, input.pick(&["mcu", "module", "", "x"])),
        13 => url += &"a".repeat(input.number() as usize % 1_200),
        14 => url = input.pick(&URLS[..4]).into(),
        _ => more = r#","result_code":"0","extra":[{}]"#.into(),
    }
    let digest = if shape == 255 { String::new() } else { format!(r#""md5sum":"{md5}","#) };
    let size = if shape == 254 { String::new() } else { format!(r#""file_size":{size},"#) };
    let version = VERSIONS[version];
    world.message(&format!(
        r#"{{{size}{digest}"type":"update_firmware","url":"{url}","version":"{version}"{more}}}"#
    ));
}

/// Any bytes, or any topic: no effect, or that of a message.
pub(super) fn nonsense(world: &mut World, input: &mut Input<'_>) {
    let topic = input.pick(&[TOPIC, "$ota/report/TESTPROD01/dev001", "", "$ota/update/a/b"]);
    let most = usize::from(input.byte());
    let payload = input.bytes(most);
    let before = world.machine.clone();
    if world.machine.handle_message(world.now, topic, payload).is_err() {
        same(&world.machine, &before, "a refused message");
    }
}

pub(super) fn head(world: &mut World, input: &mut Input<'_>) {
    let shape = input.byte();
    let Some(fetch) = world.fetch.clone() else { return };
    let size = world.machine.progress().map_or(0, |(_, size)| size);
    let whole = fetch.from == 0;
    let mut head = ResponseHead {
        status: if whole { 200 } else { 206 },
        content_length: Some(size.saturating_sub(fetch.from)),
        content_range: (!whole).then_some(ContentRange {
            span: Some((fetch.from, size.wrapping_sub(1))),
            total: Some(size),
        }),
        etag: Some(b"\"1\""),
        ..ResponseHead::default()
    };
    if shape >= 128 {
        wild(&mut head, input, size);
    }
    world.head(&head, stale(input));
}

/// Changes one or more parts of an answer.
fn wild(head: &mut ResponseHead<'_>, input: &mut Input<'_>, size: u64) {
    let parts = input.byte();
    if parts & 1 != 0 {
        head.status = input.pick(&[
            200, 206, 301, 302, 303, 307, 308, 304, 400, 401, 403, 404, 408, 410, 416, 429, 500,
            503, 100, 999, 0,
        ]);
    }
    if parts & 2 != 0 {
        head.content_length = input.flag().then(|| input.number());
    }
    if parts & 4 != 0 {
        let span = input.flag().then(|| (input.number(), input.number()));
        let total = input.pick(&[None, Some(size), Some(0), Some(u64::MAX)]);
        head.content_range = input.flag().then_some(ContentRange { span, total });
    }
    if parts & 8 != 0 {
        head.etag = input.pick(&[None, Some(&b"\"2\""[..]), Some(b"W/\"1\""), Some(b"\xff")]);
    }
    if parts & 16 != 0 {
        head.location = input.pick(&[
            None,
            Some("https://c.example/fw"),
            Some("/moved?x"),
            Some("//d.example/"),
            Some("http://e.example/"),
            Some("../.."),
            Some("\u{0}"),
            Some(""),
        ]);
    }
    if parts & 32 != 0 {
        let after = Duration::from_secs(input.number());
        head.retry_after = input.pick(&[None, Some(after), Some(Duration::MAX)]);
    }
    if parts & 64 != 0 {
        head.coding = Coding::of_label(input.pick(&[
            &b"gzip"[..],
            b"br",
            b"aws-chunked",
            b"identity",
            b"x",
            b"zstd",
            b"",
        ]));
    }
    if parts & 128 != 0 {
        head.content_length = Some(size);
    }
}

pub(super) fn body(world: &mut World, input: &mut Input<'_>) {
    let shape = input.byte();
    let Some(fetch) = world.fetch.clone() else { return };
    let len = 1 + u64::from(input.byte()) * 4;
    // The image of the version on offer, or another one's.
    let version = world.machine.offer().map(|offer| offer.version);
    let version = VERSIONS.iter().position(|name| version.is_some_and(|v| v.as_str() == *name));
    let version = if shape % 8 == 0 { usize::from(shape) % 4 } else { version.unwrap_or(0) };
    let left = SIZES[version].saturating_sub(fetch.at).max(1);
    let len = if shape % 16 == 1 { len } else { len.min(left) };
    let data: Vec<u8> = (0..len).map(|i| image_byte(version, fetch.at + i)).collect();
    world.body(&data, stale(input));
}
