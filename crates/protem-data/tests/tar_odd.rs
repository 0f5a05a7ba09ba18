//! Tar archives that not every program writes: values of pax, sparse members, volumes with a label,
//! ends.

mod made;

use made::{gzip, header, names, photo, tar, tar_of};
use protem_data::{DataError, Encoded, Source};

#[test]
fn values_of_pax_hold_newlines() {
    let mut pax = ::tar::Builder::new(Vec::new());
    let told: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.user.sum", b"\n\x00\n\n9 path=b.png\n"),
        ("path", b"of two\nlines.png"),
        ("comment", b"\n"),
    ];
    pax.append_pax_extensions(told).unwrap();
    let image = photo(0);
    pax.append(&header("short.png", image.len() as u64), &image[..])
        .unwrap();
    let mut bytes = pax.into_inner().unwrap();
    let set = tar_of(bytes.clone()).unwrap();
    assert_eq!(names(&set), ["x.tar/of two\nlines.png"]);
    assert_eq!(set.encoded(0).unwrap(), Encoded::File(image));
    // A length that is not the record's.
    bytes[513] += 1;
    let error = tar_of(bytes).unwrap_err();
    assert!(
        matches!(&error, DataError::Damaged { offset: 0, reason, .. } if reason.contains("record")),
        "{error}"
    );
}

/// What is sound and not read is not told to be damaged.
#[test]
fn sparse_members_are_refused_in_either_format() {
    let pax = |told: &[(&str, &[u8])], name: &str| {
        let mut archive = ::tar::Builder::new(tar(&[("a.png", &photo(0))]));
        archive
            .get_mut()
            .truncate(512 + photo(0).len().next_multiple_of(512));
        archive.append_pax_extensions(told.iter().copied()).unwrap();
        archive.append(&header(name, 3), &b"map"[..]).unwrap();
        archive.into_inner().unwrap()
    };
    let mut gnu = header("hole.png", 0);
    gnu.set_entry_type(::tar::EntryType::GNUSparse);
    gnu.set_cksum();
    let version: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"hole.png"),
        ("GNU.sparse.realsize", b"9000"),
    ];
    let archives = [
        gnu.as_bytes().to_vec(),
        pax(&version, "GNUSparseFile.1/hole.png"),
        pax(&[("GNU.sparse.size", b"9000")], "hole.png"),
    ];
    for bytes in archives {
        let refused = tar_of(bytes).unwrap_err();
        assert!(
            matches!(&refused, DataError::Unsupported { reason, .. } if reason.starts_with("hole.png is a sparse member")),
            "{refused}"
        );
    }
    let refused = tar_of(pax(&[("size", b"9000000000")], "large.png")).unwrap_err();
    assert!(
        matches!(&refused, DataError::Unsupported { reason, .. } if reason.contains("large.png")),
        "{refused}"
    );
}

/// As `tar --label` writes it, with nothing for a size.
#[test]
fn a_volume_may_have_a_label() {
    for size in ["", "no size", "00000000000"] {
        let mut label = header("photos of 2009.png", 0);
        let field = &mut label.as_old_mut().size;
        field.fill(0);
        field[..size.len()].copy_from_slice(size.as_bytes());
        label.set_entry_type(::tar::EntryType::new(b'V'));
        label.set_cksum();
        let archive = tar(&[("a.png", &photo(0)), ("b.png", &photo(1))]);
        let set = tar_of([label.as_bytes(), &archive[..]].concat()).unwrap();
        assert_eq!(names(&set), ["x.tar/a.png", "x.tar/b.png"], "{size}");
        // Without a size it cannot be known where the next member is.
        label.set_entry_type(::tar::EntryType::Regular);
        label.set_cksum();
        let file = tar_of([label.as_bytes(), &archive[..]].concat());
        assert_eq!(file.is_ok(), size.starts_with('0'), "{size}");
    }
}

#[test]
fn what_is_behind_the_end_is_another_archive_or_nothing() {
    let archive = tar(&[("a.png", &photo(0)), ("b.png", &photo(1))]);
    let another = tar(&[("c.png", &photo(2))]);
    let no_sum = header("d.png", 0).as_bytes().map(|b| b | 1);
    let zeros = vec![0; 9000];
    let behind: [(&[&[u8]], usize); 8] = [
        (&[&zeros[..1]], 2),
        (&[&zeros[..700]], 2),
        (&[b"garbage"], 2),
        (&[&[7; 2000]], 2),
        (&[&no_sum], 2),
        (&[&zeros[..512 * 17], &another, &zeros[..100]], 3),
        (&[&another, &[7; 600]], 3),
        (&[&zeros[..100], &another], 2),
    ];
    for (i, (parts, images)) in behind.into_iter().enumerate() {
        let bytes = [&archive[..], &parts.concat()].concat();
        assert_eq!(tar_of(gzip(&bytes)).unwrap().len(), images, "{i} in gzip");
        let set = tar_of(bytes).unwrap();
        assert_eq!(set.len(), images, "{i}");
        assert_eq!(set.encoded(1).unwrap(), Encoded::File(photo(1)));
    }
    // Without its end, or with half of it.
    let end = archive.len() - 1024;
    for cut in [end, end + 100, end + 512, end + 600] {
        assert_eq!(tar_of(archive[..cut].to_vec()).unwrap().len(), 2, "{cut}");
    }
    let second = 512 + photo(0).len().next_multiple_of(512);
    for cut in [
        second + 100,
        second + 511,
        second + 512 + photo(1).len() - 1,
    ] {
        let refused = tar_of(archive[..cut].to_vec()).unwrap_err();
        assert!(
            matches!(refused, DataError::Damaged { offset, .. } if offset == second as u64),
            "{cut}: {refused}"
        );
    }
}

#[test]
fn zeros_behind_a_gzip_stream_are_padding() {
    let [one, two] = [0, 1].map(|i| gzip(&tar(&[(&format!("{i}.png"), &photo(i))])));
    let zeros = vec![0; 100_000];
    for (bytes, images) in [
        ([&one[..], &[0]].concat(), 1),
        ([&one[..], &zeros].concat(), 1),
        ([&one[..], &two, &zeros].concat(), 2),
        ([&one[..], &zeros, &two].concat(), 2),
    ] {
        assert_eq!(tar_of(bytes).unwrap().len(), images);
    }
    for behind in [&b"garbage"[..], b"\0\0garbage", &two[..two.len() - 1]] {
        let refused = tar_of([&one[..], behind].concat());
        assert!(matches!(refused, Err(DataError::Damaged { .. })));
    }
}

/// As of an archive that was added to by `tar -r`.
#[test]
fn of_members_of_one_path_the_last_is_there() {
    let [old, other, new] = [0, 1, 2].map(photo);
    let archive = tar(&[
        ("a/0.png", &old),
        ("a/1.png", &other),
        ("a/0.png", b"torn"),
        ("a/2.png", &old),
        ("a/0.png", &new),
    ]);
    let set = tar_of(archive).unwrap();
    assert_eq!(
        names(&set),
        ["x.tar/a/1.png", "x.tar/a/2.png", "x.tar/a/0.png"]
    );
    let pixels = protem_data::decode(&new).unwrap();
    assert_eq!(set.read(2).unwrap(), pixels);
}
