//! Refused arguments and their exit codes.

use crate::{failure, golden, stdout};

#[test]
fn without_arguments_it_shows_commands_to_copy() {
    let text = stdout(&[]);

    assert!(text.contains("nanoscope generate \"Once upon a time"), "{text}");
    assert!(text.contains("nanoscope features dog"), "{text}");
}

#[test]
fn mistakes_are_named_with_what_to_do_and_an_exit_code() {
    let cases: [(&[&str], &str, i32); 22] = [
        (&["generate", "--frobnicate"], "unexpected argument '--frobnicate'", 2),
        (&["generate", "--prompt", ""], "the prompt is empty", 2),
        (&["generate", "--steer", "417"], "`417` is not of the form HOOK:TARGET:OP", 2),
        (
            &["run", "--prompt", "a", "--track", "blocks.2.hook_resid_pst"],
            "did you mean `blocks.2.hook_resid_post`?",
            2,
        ),
        (&["run"], "--prompt", 2),
        (&["generate", "--model", "no/such/folder"], "no/such/folder", 1),
        (&["generate", "--device", "abacus"], "unknown device `abacus`", 2),
        (&["generate", "--temperature", "-1"], "temperature is -1; it must be 0 or more", 2),
        (
            &["generate", "--track", "blocks.9.hook_resid_post"],
            "the model has no blocks.9.hook_resid_post; it has 4 blocks (0 to 3)",
            1,
        ),
        (
            &["generate", "--steer", "blocks.3.hook_resid_post:2048:ablate"],
            "feature 2048 is out of range, the SAE has 2048 (0 to 2047)",
            1,
        ),
        (
            &["run", "--prompt", "a", "--steer", "blocks.3.hook_resid_post:1:ablate@generated"],
            "nothing is generated",
            1,
        ),
        (
            &["run", "--prompt", "a", "--stop-when", "blocks.3.hook_resid_post:1>0"],
            "a run cannot stop when `blocks.3.hook_resid_post:1>0`",
            1,
        ),
        (
            &["generate", "--stop-when", "hook_embed:1"],
            "is not a condition; expected HOOK:FEATURE>T",
            2,
        ),
        (
            &["generate", "--steer", "blocks.3.hook_resid_post:calm:add:1"],
            "needs the vector `calm`; the plan has none",
            1,
        ),
        (&["generate", "--steer-file", "no/such.json"], "could not read no/such.json", 1),
        (
            &["run", "--tokens", "1,5000"],
            "token id 5000 at row 0, position 1 is outside the vocabulary of 4096",
            1,
        ),
        (&["features", "--text", ""], "the text is empty", 2),
        (&["features", "--text-file", "no/such/file"], "could not read no/such/file", 1),
        (&["features", "--top", "0"], "0 is not in 1..", 2),
        (
            &["features", "--near", "2048"],
            "feature 2048 is out of range, the SAE has 2048 (0 to 2047)",
            1,
        ),
        (
            &["features", "--hook", "blocks.3.hook_mlp_out"],
            "no SAE for blocks.3.hook_mlp_out; there are SAEs for blocks.0.hook_resid_post",
            1,
        ),
        (&["features", "--grep", "dog", "--near", "3"], "cannot be used with", 2),
    ];
    for (args, message, code) in cases {
        let (error, found) = failure(args);
        assert!(error.contains(message), "{args:?}: {error}");
        assert!(error.starts_with("error: "), "{args:?}: {error}");
        assert_eq!(found, code, "{args:?}: {error}");
    }
}

#[test]
fn flags_that_would_be_ignored_are_refused() {
    let head = golden("head");
    let sae = golden("head/saes/relu/blocks_2_hook_mlp/best_model.pt");
    let cases: [(&[&str], &str); 10] = [
        (&["convert", &sae, "x", "--to", "nanochat-sae", "--era", "E3"], "--era is for models"),
        (
            &["run", "--model", &head, "--tokens", "1", "--track", "all"],
            "no SAE is loaded to track",
        ),
        (&["generate", "--splice", "reconstruct"], "--steer"),
        (&["features", "--against", "a cake"], "--text"),
        (&["features", "--text", "a", "--against", "b", "--by", "mean"], "--by"),
        (&["features", "--near", "3", "--by", "mean"], "--by"),
        (&["features", "--near", "3", "--keep-special"], "--keep-special is for a text"),
        (&["features", "--grep", "dog", "--special-tokens"], "--special-tokens is for a text"),
        (&["features", "--model", &head, "--near", "3"], "no SAE is loaded"),
        (
            &["features", "--model", &head, "--sae", &sae, "--grep", "dog"],
            "the features of this SAE have no labels",
        ),
    ];
    for (args, message) in cases {
        let (error, _) = failure(args);
        assert!(error.contains(message), "{args:?}: {error}");
    }
}

#[test]
fn a_search_takes_no_flag_of_the_other_ways_to_list_features() {
    let searches: [&[&str]; 3] = [&["dog"], &["--promotes", "dog"], &["--fires-on", "dog"]];
    let flags: [&[&str]; 8] = [
        &["--text", "a dog"],
        &["--against", "a cat"],
        &["--by", "mean"],
        &["--special-tokens"],
        &["--keep-special"],
        &["--grep", "dog"],
        &["--near", "3"],
        &["--feature", "3"],
    ];
    for search in searches {
        for flag in flags {
            let args = [&["features"], search, flag].concat();
            let (error, code) = failure(&args);
            assert!(error.contains("cannot be used with"), "{args:?}: {error}");
            assert!(error.contains(flag[0]), "{args:?}: {error}");
            assert_eq!(code, 2, "{args:?}: {error}");
        }
    }
}

#[test]
fn a_file_too_large_to_hold_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len((256 << 20) + 1).unwrap();
    let path = file.path().to_str().unwrap();

    let (error, _) = failure(&["features", "--text-file", path]);

    assert!(error.contains(&format!("{path} has more than 256 MiB")), "{error}");
}

#[test]
fn a_misspelt_name_is_answered_with_the_one_that_is_like_it() {
    let steer = |spec: &str| format!("blocks.3.hook_resid_post:1909:{spec}");
    let (op, rule, scale) = (steer("ad:3"), steer("add:3@generatd"), steer("add:3:nrm"));
    let clause = steer("add:3 with reconstrct");
    let cases: [(&[&str], &str); 14] = [
        (&["generat"], "'generate'"),
        (&["generate", "--promt", "a"], "'--prompt'"),
        (
            &["generate", "--steer", "blocks.3.hook_resid_pst:1:ablate"],
            "`blocks.3.hook_resid_post`?",
        ),
        (
            &["generate", "--stop-when", "blocks.3.hook_resid_pst:1>0"],
            "`blocks.3.hook_resid_post`?",
        ),
        (&["generate", "--sae", "blocks.3.hook_resid_pst=models"], "`blocks.3.hook_resid_post`?"),
        (&["generate", "--steer", &op], "did you mean `add`?"),
        (&["generate", "--steer", &rule], "did you mean `generated`?"),
        (&["generate", "--steer", &scale], "did you mean `norm`?"),
        (&["generate", "--steer", &clause], "did you mean `reconstruct`?"),
        (&["generate", "--device", "cudaa"], "did you mean `cuda`?"),
        (&["generate", "--era", "E1ww"], "did you mean `E1w`?"),
        (&["inspect", ".", "--format", "sae-lens"], "did you mean `saelens`?"),
        (&["convert", "a", "b", "--to", "saelense"], "'saelens'"),
        (&["train", "--architecture", "jumprelu"], "'jump-relu'"),
    ];
    for (args, name) in cases {
        let (error, code) = failure(args);
        assert!(error.contains(name), "{args:?}: {error}");
        assert_eq!(code, 2, "{args:?}");
    }
}

#[test]
fn a_model_that_is_not_there_is_said_not_to_be_in_the_cache_either() {
    let cache = tempfile::tempdir().unwrap();
    let run = |model: &str| {
        let run = crate::nanoscope(&["generate", "--model", model]);
        run.env("HF_HUB_CACHE", cache.path()).failure().stderr
    };

    let error = run("google/gemma-2-2bb");
    let expected = format!(
        "google/gemma-2-2bb: no such file or directory, and no models--google--gemma-2-2bb in Hugging \
         Face's cache at {}; nothing is downloaded",
        cache.path().display()
    );
    assert!(error.contains(&expected), "{error}");
    // A path in a folder that exists is not taken for a name.
    let error = run("models/demoo");
    assert!(error.contains("models/demoo: no such file or directory\n"), "{error}");
}
