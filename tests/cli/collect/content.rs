//! The contents of a store.

use half::{bf16, f16};
use nanoscope_corpus::{ActivationBatch, ActivationSource, ActivationStore, Origins};
use nanoscope_hooks::HookPoint;
use safetensors::SafeTensors;
use serde_json::Value;

use super::{Bench, CONTEXT, MODEL};
use crate::nanoscope;

const BOS: u32 = 4087;

fn all(store: &mut ActivationStore) -> Vec<(ActivationBatch, Origins)> {
    (0..store.len())
        .map(|shard| (store.segment(shard).unwrap(), store.origins(shard).unwrap()))
        .collect()
}

#[test]
fn activations_are_those_that_run_captures_at_the_same_tokens_to_the_bit() {
    let bench = Bench::new(12);
    let hooks = ["blocks.0.attn.hook_z", "blocks.1.hook_mlp_out", "ln_final.hook_normalized"];
    bench.collect("out", &["--hook", hooks[0], "--hook", hooks[1], "--hook", hooks[2]]);
    // The first store has no rows of special tokens; the second has all tokens of a context.
    bench.collect("kept", &["--keep-special"]);
    let mut kept = ActivationStore::open(&bench.path("kept")).unwrap();
    let mut store = ActivationStore::open(&bench.path("out")).unwrap();

    let points: Vec<HookPoint> = store.points().iter().map(|(point, _)| *point).collect();
    assert!(points.is_sorted() && points.len() == 4);
    let (mut compared, mut specials) = (0, 0);
    for (shard, (rows, origins)) in all(&mut store).into_iter().enumerate() {
        let whole = kept.origins(shard as u64).unwrap();
        assert!(whole.tokens.len().is_multiple_of(CONTEXT));
        let context = &whole.tokens[..CONTEXT];
        specials += whole.tokens.iter().filter(|&&id| id == BOS).count();
        let positions: Vec<usize> = (0..CONTEXT).filter(|&at| context[at] != BOS).collect();
        let number = whole.contexts[0];
        let own = origins.contexts.iter().take_while(|&&context| context == number).count();
        assert_eq!(own, positions.len());

        let file = bench.path("run.safetensors");
        let ids: Vec<String> = context.iter().map(ToString::to_string).collect();
        nanoscope(&["run", "--model", MODEL, "--tokens", &ids.join(","), "--out"])
            .args([&file])
            .args(points.iter().flat_map(|p| ["--capture".to_owned(), p.to_string()]))
            .success();
        let bytes = std::fs::read(&file).unwrap();
        let captured = SafeTensors::deserialize(&bytes).unwrap();
        for (at, (&point, &(_, width))) in points.iter().zip(store.points()).enumerate() {
            let values = captured.tensor(&point.to_string()).unwrap();
            let values: Vec<u32> =
                values.data().as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
            assert_eq!(values.len(), CONTEXT * width, "{point}");
            for (row, &position) in positions.iter().enumerate() {
                assert_eq!(origins.positions[row] as usize, position);
                assert_eq!(origins.tokens[row], context[position]);
                let found = rows.at[at][row * width..][..width].iter().map(|v| v.to_bits());
                let expected = &values[position * width..][..width];
                assert!(found.eq(expected.iter().copied()), "{point}, shard {shard}, row {row}");
                compared += width;
            }
        }
    }
    assert!(compared > 90_000 && specials == 13, "{compared} numbers, {specials} specials");
}

#[test]
fn sixteen_bits_are_the_thirty_two_rounded() {
    let bench = Bench::new(6);
    bench.collect("f32", &[]);
    let mut full = ActivationStore::open(&bench.path("f32")).unwrap();
    let bf16 = |value| bf16::from_f32(value).to_f32();
    let f16 = |value| f16::from_f32(value).to_f32();
    for (dtype, round) in [("bf16", &bf16 as &dyn Fn(f32) -> f32), ("f16", &f16)] {
        bench.collect(dtype, &["--dtype", dtype]);
        let mut store = ActivationStore::open(&bench.path(dtype)).unwrap();
        assert_eq!(store.settings().bytes_per_row(), 2 * 256 + 24);
        for ((found, origins), (expected, of_full)) in
            all(&mut store).into_iter().zip(all(&mut full))
        {
            let expected: Vec<f32> = expected.at[0].iter().map(|&value| round(value)).collect();
            assert!(found.at[0] == expected, "{dtype}");
            assert_eq!(origins, of_full);
        }
    }
}

#[test]
fn documents_and_contexts_are_counted_through_all_files() {
    let bench = Bench::new(6);
    let summary: Value = serde_json::from_str(&bench.collect("out", &["--json"])).unwrap();
    let mut store = ActivationStore::open(&bench.path("out")).unwrap();

    let origins: Vec<Origins> = all(&mut store).into_iter().map(|(_, origins)| origins).collect();
    let documents: Vec<u64> = origins.iter().flat_map(|o| o.documents.clone()).collect();
    let contexts: Vec<u64> = origins.iter().flat_map(|o| o.contexts.clone()).collect();

    assert!(documents.is_sorted() && documents[0] == 0 && documents.last() == Some(&6));
    assert!(contexts.is_sorted() && contexts[0] == 0);
    let text = &store.settings().text;
    assert_eq!(contexts.last(), Some(&(text.contexts - 1)));
    assert_eq!(store.settings().rows, documents.len() as u64);
    let names: Vec<&str> = text.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!((names, text.documents), (vec!["a.txt", "b.jsonl"], 7));
    assert_eq!(summary["rows"], store.settings().rows);
    assert_eq!(summary["tokens"], text.contexts * CONTEXT as u64);
    assert_eq!((&summary["documents"], &summary["made"]), (&7.into(), &store.len().into()));
}

#[test]
fn of_a_store_only_the_points_that_are_wanted_are_read() {
    let bench = Bench::new(4);
    bench.collect("out", &["--hook", "hook_embed"]);
    let both = ActivationStore::open(&bench.path("out")).unwrap().segment(0).unwrap();

    let store = ActivationStore::open(&bench.path("out")).unwrap();
    let one = store.select(&[HookPoint::ResidPost(1)]).unwrap().segment(0).unwrap();
    assert_eq!((one.at.len(), &one.at[0]), (1, &both.at[1]));

    let store = ActivationStore::open(&bench.path("out")).unwrap();
    let error = store.select(&[HookPoint::ResidPost(2)]).unwrap_err().to_string();
    let says = "has no activations at blocks.2.hook_resid_post (found `hook_embed`, \
                `blocks.1.hook_resid_post`)";
    assert!(error.ends_with(says), "{error}");
}
