//! Packing what has files and what has none.

mod made;

use made::{fixture, photo};
use protem_data::{Encoded, PackConfig, PackError, inspect, open, pack, png};
use std::fs;

const ALL: PackConfig = PackConfig {
    images: 1000,
    bytes: u64::MAX,
    leave_out: false,
};

#[test]
fn pixels_become_pngs_and_stay_the_same() {
    let root = tempfile::tempdir().unwrap();
    let set = open(format!("{}?split=train", fixture("cifar10").display())).unwrap();
    let out = root.path().join("shards");
    let packed = pack(&*set, &out, ALL, &|_| true).unwrap();
    assert_eq!(
        (packed.images, packed.shards, packed.labelled),
        (5, 1, true)
    );
    assert_eq!(
        packed.bytes,
        fs::metadata(out.join("shard-000000.tar")).unwrap().len()
    );
    let again = open(&out).unwrap();
    assert_eq!(again.classes(), set.classes());
    for i in 0..set.len() {
        assert_eq!(
            (again.label(i), again.read(i).unwrap()),
            (set.label(i), set.read(i).unwrap())
        );
    }
    assert_eq!(again.name(4), "shard-000000.tar/00000004.png");
}

#[test]
fn an_image_that_is_gone_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.png"), photo(0)).unwrap();
    fs::write(root.path().join("list.txt"), "a.png\ngone.png\n").unwrap();
    let set = open(root.path().join("list.txt")).unwrap();
    let out = root.path().join("out");
    let refused = pack(&*set, &out, ALL, &|_| true);
    assert!(matches!(refused, Err(PackError::Image { name, .. }) if name == "gone.png"));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    let stopped = pack(&*set, &out, ALL, &|done| done < 1);
    assert!(matches!(stopped, Err(PackError::Stopped)));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    let others = PackConfig {
        leave_out: true,
        ..ALL
    };
    let part = root.path().join("part");
    let packed = pack(&*set, &part, others, &|_| true).unwrap();
    assert_eq!((packed.images, &*packed.left_out[0].name), (1, "gone.png"));
    assert_eq!(open(&part).unwrap().len(), 1);
    // An empty folder may be filled; a file may not be replaced.
    fs::create_dir(&out).unwrap();
    fs::write(root.path().join("list.txt"), "a.png\n").unwrap();
    let set = open(root.path().join("list.txt")).unwrap();
    // By another name, which a folder cannot be renamed to.
    let packed = pack(&*set, &out.join("."), ALL, &|_| true).unwrap();
    assert_eq!((packed.images, open(&out).unwrap().len()), (1, 1));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
    let file = root.path().join("a.png");
    assert!(matches!(
        pack(&*set, &file, ALL, &|_| true),
        Err(PackError::Occupied(_))
    ));
}

#[test]
fn what_a_killed_packing_left_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let set = open("generated:images=3,size=8").unwrap();
    let out = root.path().join("out");
    let left = |name: &str, of: Option<&str>| {
        let folder = root.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("shard-000000.tar"), "torn").unwrap();
        let lock = of.map(|of| {
            fs::write(folder.join(".lock"), of).unwrap();
            fs::File::open(folder.join(".lock")).unwrap()
        });
        (folder, lock)
    };
    let (killed, _) = left(".packing-killed", Some("out"));
    let (under_way, lock) = left(".packing-under-way", Some("out"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let (within, _) = left("out/.packing-within", Some("out"));
    let stay = [
        left(".packing-other", Some("other")).0,
        left(".packing-unknown", None).0,
        left("kept", Some("out")).0,
    ];
    let packed = pack(&*set, &out, ALL, &|_| {
        assert!(!killed.exists() && !within.exists() && under_way.exists());
        true
    });
    assert_eq!(packed.unwrap().images, 3);
    assert!(stay.iter().all(|folder| folder.exists()));
    // One that is under way is left alone by the next, and its lock is no part of the set.
    fs::remove_dir_all(&out).unwrap();
    drop(lock);
    pack(&*set, &out, ALL, &|done| {
        if done == 1 {
            assert!(!under_way.exists());
            let others = pack(&*set, &out, ALL, &|_| true);
            assert_eq!(others.unwrap().images, 3);
            fs::remove_dir_all(&out).unwrap();
        }
        true
    })
    .unwrap();
    let names = fs::read_dir(&out).unwrap().count();
    assert_eq!(names, 3, "a shard, names.txt, classnames.txt");
}

#[test]
fn equal_images_are_found_by_their_bytes() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
    write("a.png", &photo(0));
    write("b.png", &photo(1));
    write("c.png", &photo(0));
    write("d.png", &photo(1));
    write("e.png", &photo(0));
    write("f.png", &photo(2));
    let found = inspect(&*open(root.path()).unwrap(), &|_| ());
    assert_eq!(found.duplicates, [vec![0, 2, 4], vec![1, 3]]);
    assert_eq!(
        (found.images, found.unlabelled, found.width.unwrap().median),
        (6, 6, 9)
    );
    let set = open("generated:images=20,size=8").unwrap();
    let found = inspect(&*set, &|_| ());
    assert_eq!(found.formats["pixels"], 20);
    let Encoded::Pixels(image) = set.encoded(0).unwrap() else {
        panic!("no files")
    };
    assert_eq!(protem_data::decode(&png(&image)).unwrap(), image);
}
