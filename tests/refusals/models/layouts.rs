//! The folders and dictionaries in which models lie.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nanoscope_checkpoint::{
    CheckpointError, LoadedModel, ModelFiles, inspect, load_tokenizer, load_vector,
};
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use nanoscope_transformer::Gpt;
use serde_json::json;
use tempfile::TempDir;

use crate::files::{Checkpoint, SaeFile, file, fixture, floats, load_model};
use crate::refused;

const WTE: &str = "transformer.wte.weight";
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n";

/// The weights of the golden model as a dictionary, each name with `prefix` in front.
fn weights(prefix: &str) -> Vec<(String, Py)> {
    let tensor = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
        (format!("{prefix}{name}"), Py::Tensor(PyTensor::whole(name, shape)))
    };
    Checkpoint::valid().weights.iter().map(tensor).collect()
}

/// Loads the golden model from a file with this root.
fn from_root(root: &Py) -> Result<LoadedModel, CheckpointError> {
    let golden = Checkpoint::valid();
    let bytes: BTreeMap<_, _> =
        golden.weights.iter().map(|(name, (_, values))| (name.as_str(), floats(values))).collect();
    let storages: Vec<_> = bytes.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let dir = TempDir::new().unwrap();
    golden.write(dir.path());
    fs::write(dir.path().join("model_000001.pt"), torch_zip(&pickle(root), &storages)).unwrap();
    load_model(dir.path(), None)
}

fn optimizer() -> (String, Py) {
    let state = Py::Dict(vec![("exp_avg".to_owned(), Py::Tensor(PyTensor::whole(WTE, &[1])))]);
    ("optimizer".to_owned(), state)
}

#[test]
fn weights_are_found_behind_any_wrappers_and_in_any_dictionary() {
    let expected = Checkpoint::valid().load(None).unwrap();
    let mut prefixes = vec![String::new()];
    for parts in [
        &["module"][..],
        &["_orig_mod"],
        &["module", "_orig_mod"],
        &["_orig_mod", "module"],
        &["model"],
        &["module", "model", "_orig_mod"],
    ] {
        prefixes.push(format!("{}.", parts.join(".")));
    }
    for prefix in &prefixes {
        let loaded = from_root(&Py::Dict(weights(prefix)));
        let loaded = loaded.unwrap_or_else(|error| panic!("{prefix}: {error:?}"));
        assert_eq!(loaded.kind, expected.kind, "{prefix}");
        for dictionary in ["model", "module", "state_dict", "model_state_dict"] {
            let root = Py::Dict(vec![
                ("step".to_owned(), Py::Int(100)),
                (dictionary.to_owned(), Py::Dict(weights(prefix))),
                optimizer(),
            ]);
            let loaded = from_root(&root);
            let loaded = loaded.unwrap_or_else(|error| panic!("{dictionary}, {prefix}: {error:?}"));
            let last =
                |gpt: &Gpt| gpt.weights().pop().unwrap().1.flattened(gpt.device()).into_data();
            let (found, wanted) = (last(&loaded.gpt), last(&expected.gpt));
            assert_eq!((loaded.kind, found), (expected.kind, wanted), "{dictionary}, {prefix}");
        }
    }
}

#[test]
fn weights_that_are_not_one_models_are_refused_by_their_names() {
    refused!(
        "an unknown prefix",
        from_root(&Py::Dict(weights("backbone."))),
        CheckpointError::UnknownPrefix { .. },
        ["model_000001.pt", "`backbone.…`", "module, _orig_mod"]
    );
    refused!(
        "an unknown dictionary",
        from_root(&Py::Dict(vec![("ema".to_owned(), Py::Dict(weights("")))])),
        CheckpointError::UnknownPrefix { .. },
        ["`ema.…`", "state_dict"]
    );
    let two = ["model", "state_dict"];
    refused!(
        "two dictionaries",
        from_root(&Py::Dict(two.map(|key| (key.to_owned(), Py::Dict(weights("")))).into())),
        CheckpointError::SeveralPrefixes { .. },
        ["model_000001.pt", "`model.`, `state_dict.`"]
    );
    let mut more = weights("module.");
    more.push(optimizer());
    refused!(
        "something else beside them",
        from_root(&Py::Dict(more)),
        CheckpointError::UnexpectedTensor { .. },
        ["optimizer.exp_avg"]
    );
    let mut inside = weights("_orig_mod.");
    inside.push(("_orig_mod.extra".to_owned(), Py::Tensor(PyTensor::whole(WTE, &[1]))));
    refused!(
        "something else among them",
        from_root(&Py::Dict(vec![("state_dict".to_owned(), Py::Dict(inside))])),
        CheckpointError::UnexpectedTensor { .. },
        ["state_dict._orig_mod.extra"]
    );
}

fn put(dir: &Path, at: &str) {
    fs::create_dir_all(dir.join(at)).unwrap();
    Checkpoint::valid().write(&dir.join(at));
}

#[test]
fn an_experiments_checkpoint_is_found_from_every_level() {
    let dir = TempDir::new().unwrap();
    let base = dir.path();
    put(base, "experiments/one/d2/sft");
    put(base, "experiments/one/d2/base");
    put(base, "experiments/one/d12/sft");
    put(base, "experiments/one/d12/rl");
    fs::create_dir_all(base.join("experiments/one/d30/base")).unwrap();
    fs::create_dir_all(base.join("experiments/none/logs")).unwrap();
    fs::create_dir_all(base.join("tokenizer")).unwrap();
    fs::create_dir_all(base.join("experiments/one/tokenizer")).unwrap();
    let pickled = fixture("golden/old/tokenizer/tokenizer.pkl");
    fs::copy(pickled, base.join("experiments/one/tokenizer/tokenizer.pkl")).unwrap();

    for (from, found) in [
        // Base comes first among the sources, then the deepest tag.
        ("", "d2/base"),
        ("experiments", "d2/base"),
        ("experiments/one", "d2/base"),
        ("experiments/one/d2", "d2/base"),
        ("experiments/one/d2/sft", "d2/sft"),
        ("experiments/one/d12", "d12/sft"),
    ] {
        let files = ModelFiles::find(&base.join(from)).unwrap();
        let folder = base.join("experiments/one").join(found);
        assert_eq!(files.weights, folder.join("model_000001.pt"), "{from}");
        let tokenizer = files.tokenizer.unwrap();
        assert!(tokenizer.ends_with("experiments/one/tokenizer"), "{}", tokenizer.display());
    }
    load_model(base, None).unwrap();
    assert_eq!(inspect(base, None).unwrap().len(), 1);
}

#[test]
fn several_experiments_are_listed_instead_of_chosen_from() {
    let dir = TempDir::new().unwrap();
    let base = dir.path();
    put(base, "experiments/one/d2/base");
    put(base, "experiments/two/d4/sft");
    let folders = ["experiments/one/d2/base", "experiments/two/d4/sft"];
    for from in ["", "experiments"] {
        refused!(
            format!("two experiments, from `{from}`"),
            ModelFiles::find(&base.join(from)),
            CheckpointError::SeveralModels { .. },
            ["has several models", folders[0], folders[1]]
        );
    }
    ModelFiles::find(&base.join("experiments/two")).unwrap();

    let dir = TempDir::new().unwrap();
    let base = dir.path();
    put(base, "experiments/one/d2/base");
    put(base, "base_checkpoints/d2");
    refused!(
        "an experiment beside the old layout",
        ModelFiles::find(base),
        CheckpointError::SeveralModels { .. },
        ["base_checkpoints/d2", "experiments/one/d2/base"]
    );
}

#[test]
fn a_folder_without_what_belongs_in_it_does_not_count() {
    let dir = TempDir::new().unwrap();
    let base = dir.path();
    put(base, "base_checkpoints/d4");
    fs::create_dir_all(base.join("base_checkpoints/d20")).unwrap();
    fs::create_dir_all(base.join("tokenizer")).unwrap();

    let files = ModelFiles::find(base).unwrap();

    assert!(files.weights.ends_with("d4/model_000001.pt"), "{}", files.weights.display());
    assert_eq!(files.tokenizer, None);
    load_model(base, None).unwrap();
    refused!(
        "the empty folder of a tokenizer",
        load_tokenizer(&base.join("tokenizer")),
        CheckpointError::NoTokenizer { .. },
        ["tokenizer.pkl"]
    );
}

#[test]
fn a_git_lfs_pointer_is_called_one_in_the_place_of_every_file() {
    let model = |name: &str| {
        let dir = TempDir::new().unwrap();
        Checkpoint::valid().write(dir.path());
        fs::write(dir.path().join(name), LFS).unwrap();
        load_model(dir.path(), None)
    };
    for name in ["model_000001.pt", "meta_000001.json"] {
        refused!(name, model(name), CheckpointError::LfsPointer { .. }, [name, "git lfs pull"]);
    }
    for (folder, name) in [
        ("hf/single", "model.safetensors"),
        ("hf/single", "config.json"),
        ("hf/sharded", "model-00002-of-00004.safetensors"),
        ("hf/sharded", "model.safetensors.index.json"),
    ] {
        let dir = TempDir::new().unwrap();
        for entry in fs::read_dir(fixture(folder)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        fs::write(dir.path().join(name), LFS).unwrap();
        let found = load_model(dir.path(), None);
        refused!(name, found, CheckpointError::LfsPointer { .. }, [name, "git lfs pull"]);
    }
    for name in ["tokenizer.pkl", "tokenizer.json"] {
        let (dir, _path) = file(name, LFS);
        let found = load_tokenizer(dir.path());
        refused!(name, found, CheckpointError::LfsPointer { .. }, [name]);
    }
    for name in ["v.safetensors", "v.npz", "v.npy", "v.gguf", "v.bin"] {
        let (_dir, path) = file(name, LFS);
        let found = load_vector(&path, None, None);
        refused!(name, found, CheckpointError::LfsPointer { .. }, [name]);
    }
    for name in ["labels.json", "explanations.jsonl"] {
        let (dir, path) = file("best_model.pt", &SaeFile::valid().bytes());
        fs::write(dir.path().join(name), LFS).unwrap();
        let found = nanoscope_checkpoint::load_sae(&path, &crate::files::device());
        refused!(name, found, CheckpointError::LfsPointer { .. }, [name]);
    }
}

#[test]
fn an_old_configuration_with_floats_and_an_infinite_loss_loads() {
    let mut checkpoint = Checkpoint::with_config("n_embd", json!(64.0));
    checkpoint.meta.as_mut().unwrap()["val_bpb"] = json!("@");
    let n_embd = Checkpoint::valid().meta.unwrap()["model_config"]["n_embd"].as_f64().unwrap();
    checkpoint.meta.as_mut().unwrap()["model_config"]["n_embd"] = json!(n_embd);
    let dir = TempDir::new().unwrap();
    checkpoint.write(dir.path());
    let path = dir.path().join("meta_000001.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"@\"", "Infinity");
    assert!(text.contains("Infinity") && text.contains(&format!("{n_embd:?}")), "{text}");
    fs::write(&path, text).unwrap();

    load_model(dir.path(), None).unwrap();
}
