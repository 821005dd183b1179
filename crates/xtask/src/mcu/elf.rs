//! The bytes that a linked program puts into memory.

/// The bytes from the lowest load address to the highest, gaps erased, of a 32-bit little-endian
/// ELF file; and that lowest address.
pub(super) fn image(file: &[u8]) -> Result<(u32, Vec<u8>), String> {
    if file.get(..6) != Some(b"\x7fELF\x01\x01") {
        return Err("not a 32-bit little-endian ELF file".to_owned());
    }
    let (table, size) = (word(file, 28)?, half(file, 42)?);
    let mut parts = Vec::new();
    for index in 0..half(file, 44)? {
        let at = table as usize + index as usize * size as usize;
        let [kind, offset, _, address, length] =
            [0, 4, 8, 12, 16].map(|field| word(file, at + field));
        let length = length? as usize;
        if kind? == 1 && length > 0 {
            let offset = offset? as usize;
            let bytes = file.get(offset..offset + length).ok_or("a segment is cut short")?;
            parts.push((address?, bytes));
        }
    }
    let start = parts.iter().map(|(address, _)| *address).min().ok_or("nothing to load")?;
    let mut image = Vec::new();
    for (address, bytes) in parts {
        let at = (address - start) as usize;
        image.resize(image.len().max(at + bytes.len()), 0xff);
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Ok((start, image))
}

/// A section's address in memory, and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) address: u32,
    pub(super) length: u32,
}

/// The section of this name.
pub(super) fn section(file: &[u8], name: &str) -> Result<Section, String> {
    let (table, size) = (word(file, 32)? as usize, half(file, 46)? as usize);
    let names = word(file, table + half(file, 50)? as usize * size + 16)? as usize;
    for index in 0..half(file, 48)? as usize {
        let at = table + index * size;
        let from = names + word(file, at)? as usize;
        let text = file.get(from..).and_then(|text| text.split(|byte| *byte == 0).next());
        if text == Some(name.as_bytes()) {
            return Ok(Section { address: word(file, at + 12)?, length: word(file, at + 20)? });
        }
    }
    Err(format!("no section {name}"))
}

fn word(file: &[u8], at: usize) -> Result<u32, String> {
    let bytes = file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_le_bytes).ok_or_else(|| "cut short".to_owned())
}

fn half(file: &[u8], at: usize) -> Result<u16, String> {
    let bytes = file.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_le_bytes).ok_or_else(|| "cut short".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_come_together_at_their_load_addresses() {
        let mut file = b"\x7fELF\x01\x01".to_vec();
        file.resize(52 + 64, 0);
        file[28] = 52;
        file[42] = 32;
        file[44] = 2;
        let mut segment = |at: usize, offset: u32, address: u32, length: u32| {
            for (field, value) in [(0, 1), (4, offset), (12, address), (16, length)] {
                file[at + field..at + field + 4].copy_from_slice(&value.to_le_bytes());
            }
        };
        segment(52, 118, 0x104, 2);
        segment(84, 116, 0x100, 2);
        file.extend(b"abcd");
        assert_eq!(image(&file), Ok((0x100, b"ab\xff\xffcd".to_vec())));
        assert!(image(&file[..117]).is_err());
        assert!(image(b"\x7fELF\x02\x01").is_err());
    }
}
