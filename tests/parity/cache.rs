//! A row's logits depend neither on a key-value cache nor on the other rows of its batch.

use std::ops::Range;

use nanoscope_transformer::{Gpt, Logits, TokenBatch};

use crate::golden::{self, assert_close, values};

const CACHE_ATOL: f32 = 1e-4;
const ROW_ATOL: f32 = 1e-5;

/// A model of every era with two rows of tokens, each longer than the attention window if there is one.
fn cases() -> Vec<(String, Gpt, Vec<Vec<u32>>)> {
    let golden = golden::all().map(|golden| {
        let mut rows = golden.token_rows();
        if let [row] = rows.as_slice() {
            let backwards = row.iter().rev().copied().collect();
            rows.push(backwards);
        }
        (golden.to_string(), golden.model().gpt, rows)
    });
    let random = golden::unseen().map(|(name, model)| {
        let rows = vec![
            (0..24).map(|i| i * 37 % 300).collect(),
            (0..24).map(|i| (i * 61 + 5) % 300).collect(),
        ];
        (name, model, rows)
    });
    golden.chain(random).collect()
}

fn batch(rows: &[Vec<u32>], columns: Range<usize>) -> TokenBatch {
    let cut: Vec<Vec<u32>> = rows.iter().map(|row| row[columns.clone()].to_vec()).collect();
    TokenBatch::new(&cut).unwrap()
}

/// The positions `columns` of logits `[rows, seq, vocab]`.
fn columns_of(logits: &[f32], rows: usize, seq: usize, columns: Range<usize>) -> Vec<f32> {
    let vocab = logits.len() / (rows * seq);
    let of_row = |row: &[f32]| row[columns.start * vocab..columns.end * vocab].to_vec();
    logits.chunks_exact(seq * vocab).flat_map(of_row).collect()
}

#[test]
fn whole_chunked_and_token_by_token_prefill_give_the_logits_of_a_pass_without_cache() {
    for (name, model, rows) in cases() {
        let (n, seq) = (rows.len(), rows[0].len());
        let full = model.forward(&batch(&rows, 0..seq), Logits::All, &mut ()).unwrap();
        let full = values(full);

        for (way, ends) in [
            ("whole", vec![seq]),
            ("chunked", vec![5, 8, seq]),
            ("token by token", (1..=seq).collect()),
        ] {
            let mut cache = model.cache(n, seq);
            let mut worst = (Vec::new(), Vec::new());
            for end in ends {
                let columns = cache.len()..end;
                let found = model
                    .forward_cached(
                        &batch(&rows, columns.clone()),
                        &mut cache,
                        Logits::All,
                        &mut (),
                    )
                    .unwrap();
                worst.0.extend(values(found));
                worst.1.extend(columns_of(&full, n, seq, columns));
            }
            assert_eq!(cache.len(), seq, "{name}, {way}");
            assert_close(format!("{name}, {way}"), &worst.0, &worst.1, CACHE_ATOL);
        }
    }
}

#[test]
fn the_last_positions_logits_alone_are_the_last_of_all() {
    for (name, model, rows) in cases() {
        let (n, seq) = (rows.len(), rows[0].len());
        let tokens = batch(&rows, 0..seq);
        let all = model.forward(&tokens, Logits::All, &mut ()).unwrap();

        let last = model.forward(&tokens, Logits::Last, &mut ()).unwrap();

        let expected = columns_of(&values(all), n, seq, seq - 1..seq);
        assert_close(name, &values(last), &expected, ROW_ATOL);
    }
}

#[test]
fn a_row_in_a_batch_has_the_logits_it_has_alone() {
    for (name, model, rows) in cases() {
        let tokens = TokenBatch::new(&rows).unwrap();
        let together = values(model.forward(&tokens, Logits::All, &mut ()).unwrap());
        let of_row = together.chunks_exact(together.len() / rows.len());

        for (row, found) in of_row.enumerate() {
            let alone = TokenBatch::new(&rows[row..=row]).unwrap();
            let alone = values(model.forward(&alone, Logits::All, &mut ()).unwrap());
            assert_close(format!("{name}, row {row}"), found, &alone, ROW_ATOL);
        }
    }
}
