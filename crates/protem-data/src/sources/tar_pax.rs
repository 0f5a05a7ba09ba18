//! Extended headers of pax: records `LENGTH KEY=VALUE`, each with a newline behind it.

/// A key and its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of a header. The lengths divide the header: a value may hold any bytes, newlines
/// too.
///
/// # Errors
/// The place of a record that is not as long as it says, or none. Zeros behind the last are padding.
pub(super) fn records(header: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let (mut records, mut rest) = (Vec::new(), header);
    while rest.iter().any(|b| *b != 0) {
        let Some((record, behind)) = record(rest) else {
            let at = header.len() - rest.len();
            return Err(format!(
                "an extended header that has no record LENGTH KEY=VALUE at its byte {at}"
            ));
        };
        records.push(record);
        rest = behind;
    }
    Ok(records)
}

/// The first record, and what lies behind it.
fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let digits = bytes.iter().position(|b| !b.is_ascii_digit())?;
    let len: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (record, behind) = bytes.split_at_checked(len)?;
    let record = record.get(digits..)?.strip_prefix(b" ")?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record
        .iter()
        .position(|b| *b == b'=')
        .filter(|at| *at > 0)?;
    Some(((&record[..equals], &record[equals + 1..]), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_divide_the_header() {
        let header = b"16 path=a\nb.png\n15 k=\x00=1 l=\n\n2\n\0\0";
        let found = records(header).unwrap();
        let expected: [(&[u8], &[u8]); 2] = [(b"path", b"a\nb.png"), (b"k", b"\x00=1 l=\n\n2")];
        assert_eq!(found, expected);
        assert!(records(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_place() {
        let long = format!("{}0 path=a\n", "9".repeat(30));
        let wrong: [&[u8]; 11] = [
            b"8 path=a\n",
            b"11 path=a\n",
            b"0 path=a\n",
            b"1 path=a\n",
            b"2 path=a\n",
            b"+10 path=a\n",
            b"10 path=a ",
            b"10  path=a",
            b"10 path a\n",
            b"6 =ab\n",
            long.as_bytes(),
        ];
        for record in wrong {
            let behind = [&b"6 k=v\n"[..], record].concat();
            let error = records(&behind).unwrap_err();
            assert!(error.contains("at its byte 6"), "{error}: {record:?}");
        }
    }
}
