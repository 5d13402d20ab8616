//! Mirrors of a bucket in memory.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nanoscope_remote::{Location, Mirror, OtherFiles, Progress, Remote, RemoteError, Updated};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt};

const GO_ON: fn(Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());

/// A bucket in memory and the folder of its mirror.
struct Case {
    bucket: Arc<InMemory>,
    dir: tempfile::TempDir,
}

impl Case {
    fn new(objects: &[(&str, &str)]) -> Self {
        let case = Self { bucket: Arc::new(InMemory::new()), dir: tempfile::tempdir().unwrap() };
        for (name, content) in objects {
            case.put(name, content);
        }
        case
    }

    fn put(&self, name: &str, content: &str) {
        let content = content.to_owned().into_bytes();
        wait(self.bucket.put(&name.into(), content.into())).unwrap();
    }

    fn delete(&self, name: &str) {
        wait(self.bucket.delete(&name.into())).unwrap();
    }

    fn objects(&self) -> std::path::PathBuf {
        Mirror::objects(self.dir.path())
    }

    fn update(&self, location: &str) -> Result<Updated, RemoteError> {
        self.update_through(location, self.bucket.clone(), &mut GO_ON.clone())
    }

    fn update_through(
        &self,
        location: &str,
        store: Arc<dyn ObjectStore>,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Updated, RemoteError> {
        let location: Location = location.parse().unwrap();
        let remote = Remote::with_store(&location, store)?;
        let found = remote.list(&|name| name.contains(".txt"), &mut GO_ON.clone())?;
        let mut mirror = Mirror::open(self.dir.path(), &location, &mut GO_ON.clone())?;
        let scratch = mirror.partial();
        mirror.update(&remote, &found.objects, OtherFiles::Delete, &scratch, watch)
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// The names of the files below `dir`, with their contents.
fn files(dir: &Path) -> Vec<(String, String)> {
    fn add(root: &Path, dir: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    add(dir, dir, &mut found);
    found.sort();
    found
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|&(name, content)| (name.to_owned(), content.to_owned())).collect()
}

#[test]
fn the_wanted_objects_below_a_prefix_become_files() {
    let case = Case::new(&[
        ("texts/a.txt", "one"),
        ("texts/b/c.txt", "two"),
        ("texts/picture.png", "no"),
        ("texts2/d.txt", "no"),
        ("e.txt", "no"),
    ]);

    let updated = case.update("s3://bucket/texts").unwrap();

    assert_eq!(files(&case.objects()), owned(&[("a.txt", "one"), ("b/c.txt", "two")]));
    assert_eq!(updated, Updated { downloaded: 2, bytes: 6, unchanged: 0, deleted: 0 });
}

#[test]
fn an_object_that_is_named_is_found_as_one_object() {
    let case = Case::new(&[("texts/a.txt", "one"), ("texts/b.md", "two")]);
    let found = |location: &str| {
        let location: Location = location.parse().unwrap();
        let remote = Remote::with_store(&location, case.bucket.clone()).unwrap();
        let found = remote.list(&|name| name.contains(".txt"), &mut GO_ON.clone()).unwrap();
        (found.is_one_object, found.objects.into_iter().map(|o| o.name).collect::<Vec<_>>())
    };

    // Whatever its name is.
    assert_eq!(found("s3://bucket/texts/b.md"), (true, vec!["b.md".to_owned()]));
    assert_eq!(found("s3://bucket/texts"), (false, vec!["a.txt".to_owned()]));
    assert_eq!(found("s3://bucket"), (false, vec!["texts/a.txt".to_owned()]));
}

#[test]
fn only_what_changed_is_downloaded_again() {
    let case = Case::new(&[("t/a.txt", "one"), ("t/b.txt", "two"), ("t/c/d.txt", "three")]);
    case.update("s3://bucket/t").unwrap();

    let again = case.update("s3://bucket/t").unwrap();
    // Of the same size, so that only the version tells.
    case.put("t/a.txt", "ONE");
    case.delete("t/c/d.txt");
    case.put("t/e.txt", "new");
    let changed = case.update("s3://bucket/t").unwrap();

    assert_eq!(again, Updated { downloaded: 0, bytes: 0, unchanged: 3, deleted: 0 });
    assert_eq!(changed, Updated { downloaded: 2, bytes: 6, unchanged: 1, deleted: 1 });
    let expected = owned(&[("a.txt", "ONE"), ("b.txt", "two"), ("e.txt", "new")]);
    assert_eq!(files(&case.objects()), expected);
    assert!(!case.objects().join("c").exists());
}

#[test]
fn a_file_that_was_damaged_is_downloaded_again() {
    let case = Case::new(&[("t/a.txt", "one"), ("t/b.txt", "two"), ("t/c.txt", "three")]);
    case.update("s3://bucket/t").unwrap();

    fs::write(case.objects().join("a.txt"), "ONE").unwrap();
    fs::remove_file(case.objects().join("b.txt")).unwrap();
    fs::write(case.objects().join("foreign.txt"), "").unwrap();
    let updated = case.update("s3://bucket/t").unwrap();

    assert_eq!(updated, Updated { downloaded: 2, bytes: 6, unchanged: 1, deleted: 1 });
    let expected = owned(&[("a.txt", "one"), ("b.txt", "two"), ("c.txt", "three")]);
    assert_eq!(files(&case.objects()), expected);
}

#[test]
fn an_interrupted_download_goes_on_after_the_files_that_are_whole() {
    let objects: Vec<(String, String)> =
        (0..12).map(|at| (format!("t/{at:02}.txt"), "x".repeat(at + 1))).collect();
    let objects: Vec<(&str, &str)> =
        objects.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    let case = Case::new(&objects);
    let slow = ThrottleConfig {
        wait_get_per_call: Duration::from_millis(150),
        ..ThrottleConfig::default()
    };
    let slow = Arc::new(ThrottledStore::new(Arc::clone(&case.bucket), slow));

    let stop = &mut |progress: Progress| match progress.done {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    let interrupted = case.update_through("s3://bucket/t", slow, stop).unwrap_err();
    let complete = files(&case.objects()).len();
    let resumed = case.update("s3://bucket/t").unwrap();

    assert!(matches!(interrupted, RemoteError::Interrupted), "{interrupted}");
    assert!((1..12).contains(&complete), "{complete}");
    assert_eq!((resumed.unchanged, resumed.downloaded), (complete, 12 - complete));
    assert_eq!(files(&case.objects()).len(), 12);
    assert!(files(&case.dir.path().join("partial")).is_empty());
}

#[test]
fn the_rest_of_a_killed_process_is_removed_and_a_torn_record_is_read_to_its_tear() {
    let case = Case::new(&[("t/a.txt", "one"), ("t/b.txt", "two")]);
    case.update("s3://bucket/t").unwrap();
    fs::write(case.dir.path().join("partial/object-0"), "half").unwrap();
    let record = case.dir.path().join("record.jsonl");
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, &whole[..whole.len() - 20]).unwrap();

    let updated = case.update("s3://bucket/t").unwrap();

    assert_eq!((updated.unchanged, updated.downloaded), (1, 1));
    assert!(files(&case.dir.path().join("partial")).is_empty());
}

#[test]
fn names_that_no_folder_can_hold_are_refused_before_anything_is_downloaded() {
    for names in [["t/a.txt", "t/A.txt"], ["t/a.txt", "t/a.txt/b.txt"]] {
        let case = Case::new(&names.map(|name| (name, "x")));

        let error = case.update("s3://bucket/t").unwrap_err();

        assert!(matches!(error, RemoteError::Collision { .. }), "{error}");
        assert!(error.to_string().contains("a.txt"), "{error}");
        assert!(!case.objects().exists());
    }
}

#[test]
fn a_place_without_what_is_wanted_is_an_error_that_says_so() {
    let case = Case::new(&[("t/a.png", "x"), ("t/b.png", "x")]);
    let error = |location: &str| case.update(location).unwrap_err().to_string();

    assert_eq!(
        error("s3://bucket/t"),
        "s3://bucket/t has nothing to read: none of its 2 objects has a name that is read"
    );
    assert_eq!(error("s3://bucket/missing"), "s3://bucket/missing does not exist");
    let empty = Case::new(&[]).update("s3://bucket").unwrap_err();
    assert_eq!(empty.to_string(), "s3://bucket has nothing to read: it has no object");
}

#[test]
fn an_object_that_changed_after_it_was_found_is_not_kept() {
    let case = Case::new(&[("t/a.txt", "one")]);
    let location: Location = "s3://bucket/t".parse().unwrap();
    let remote = Remote::with_store(&location, case.bucket.clone()).unwrap();
    let found = remote.list(&|_| true, &mut GO_ON.clone()).unwrap();
    case.put("t/a.txt", "longer");

    let mut mirror = Mirror::open(case.dir.path(), &location, &mut GO_ON.clone()).unwrap();
    let scratch = mirror.partial();
    let objects = &found.objects;
    let update = mirror.update(&remote, objects, OtherFiles::Keep, &scratch, &mut GO_ON.clone());
    let error = update.unwrap_err();

    let expected = "s3://bucket/t/a.txt changed while it was downloaded: it had 3 bytes, then 6";
    assert_eq!(error.to_string(), expected);
    assert!(files(&case.objects()).is_empty());
}

#[test]
fn named_objects_are_found_without_a_listing_and_a_missing_one_is_named() {
    let case = Case::new(&[("store/manifest.json", "{}"), ("store/shard", "abc")]);
    let location: Location = "https://example.org/store/".parse().unwrap();
    let remote = Remote::with_store(&location, case.bucket.clone()).unwrap();
    let find = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        remote.find(&names, &mut GO_ON.clone())
    };

    let found = find(&["manifest.json", "shard"]).unwrap();
    let missing = find(&["manifest.json", "other"]).unwrap_err();
    let hostile = find(&["../other"]).unwrap_err();

    assert_eq!(found.iter().map(|object| object.bytes).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(missing.to_string(), "https://example.org/store/other does not exist");
    assert!(matches!(hostile, RemoteError::Name { .. }), "{hostile}");
}

#[test]
fn a_server_that_refuses_the_connection_is_reported_soon() {
    // A port that nothing listens at, because it was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let location: Location = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let began = std::time::Instant::now();

    let remote = Remote::connect(&location).unwrap();
    let error = remote.find(&["a.txt".to_owned()], &mut GO_ON.clone()).unwrap_err();

    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_mirror_that_another_process_has_open_is_waited_for() {
    let case = Case::new(&[]);
    let location: Location = "s3://bucket".parse().unwrap();
    let first = Mirror::open(case.dir.path(), &location, &mut GO_ON.clone()).unwrap();

    let mut calls = 0;
    let error = Mirror::open(case.dir.path(), &location, &mut |_| {
        calls += 1;
        if calls < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    drop(first);

    assert!(matches!(error.unwrap_err(), RemoteError::Interrupted));
    Mirror::open(case.dir.path(), &location, &mut GO_ON.clone()).unwrap();
}
