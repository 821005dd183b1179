//! Numbers of bytes, as people write and read them.

use std::fmt;

/// Parses `8MiB`, `512 KiB`, `8MB` or a plain number of bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("not a size: {text:?}; write it like 8MiB, 512KiB or 100000")),
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    size.ok_or_else(|| format!("not a size: {text:?}; write it like 8MiB, 512KiB or 100000"))
}

/// Shows bytes with a unit: `8.0 MiB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        while value >= 1024.0 && units.len() > 0 {
            value /= 1024.0;
            unit = units.next();
        }
        write!(f, "{value:.1} {}", unit.unwrap_or(&""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, want) in [
            ("8MiB", 8 << 20),
            ("8 mib", 8 << 20),
            ("8M", 8 << 20),
            ("512KiB", 512 << 10),
            ("2GiB", 2 << 30),
            ("8MB", 8_000_000),
            ("1", 1),
            ("17b", 17),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for bad in
            ["", "MiB", "8 MiBs", "-1", "1.5MiB", "99999999999999999999", "18446744073709551615k"]
        {
            assert!(parse(bad).unwrap_err().contains("8MiB"), "{bad}");
        }
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (8 << 20, "8.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }
}
