//! Interventions and conditions that cannot be parsed, or do not fit the model.

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Condition, Intervention, Op, Plan, PositionRange, Positions, RuntimeError, Sampling, Scale,
    Splice, SyntaxError, Target,
};
use nanoscope_sae::{Sae, SaeError};

use crate::files::small_sae;
use crate::runtime::{D_MODEL, SITE, bare, model, run, steered, tokens};
use crate::{expect_refusal, refused};

#[test]
fn an_intervention_that_cannot_be_applied_is_refused_by_its_text() {
    let model = model();
    for feature in ["8", "18446744073709551615"] {
        let spec = format!("blocks.1.hook_resid_post:{feature}:multiply:2");
        refused!(
            format!("feature {feature}"),
            run(&model, &steered(&spec)),
            RuntimeError::Feature { source: SaeError::FeatureOutOfRange { .. }, .. },
            [&spec, &format!("feature {feature} is out of range"), "(0 to 7)"]
        );
    }
    refused!(
        "feature out of range in the shorthand",
        model.steer(&tokens(&[&[1]]), (SITE, 8), 1.0),
        RuntimeError::Feature { .. },
        ["blocks.1.hook_resid_post:8:multiply:1", "(0 to 7)"]
    );
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for op in [
            Op::Multiply(value),
            Op::Set(value),
            Op::SetIfActive(value),
            Op::Add(value, Scale::Raw),
            Op::Orthogonal(value, Scale::Norm),
        ] {
            let at = Positions::ALL;
            let intervention =
                Intervention { at, ..Intervention::new(SITE, Target::Feature(0), op) };
            let text = intervention.to_string();
            refused!(
                format!("strength {value}"),
                run(&model, &Plan::new().intervene(intervention)),
                RuntimeError::NotFinite { .. },
                [&text, "not finite"]
            );
        }
    }
    let mut other: Intervention = "blocks.1.hook_resid_post:2:ablate".parse().unwrap();
    other.splice = Splice::Reconstruct;
    refused!(
        "mixed splices",
        run(&model, &steered("blocks.1.hook_resid_post:1:ablate").intervene(other)),
        RuntimeError::MixedSplice { .. },
        ["blocks.1.hook_resid_post", "keep-error and reconstruct"]
    );
}

#[test]
fn an_intervention_that_covers_nothing_is_refused_with_the_reason() {
    let model = model();
    let bos = model.tokenizer().unwrap().bos().unwrap();
    let on = |at: &str| steered(&format!("blocks.1.hook_resid_post:1:add:1@{at}"));
    let cases = [
        ("@generated in a run", "generated", vec![1, 2, 3], "nothing is generated"),
        ("range beyond the end", "3..9", vec![1, 2, 3], "there are 3 positions"),
        ("text of special tokens only", "text", vec![bos, bos], "only special tokens"),
        ("last token special", "last", vec![1, bos], "only special tokens"),
    ];
    for (case, at, ids, reason) in cases {
        refused!(
            case,
            model.run(&tokens(&[&ids]), &on(at)),
            RuntimeError::Nowhere { .. },
            ["applied nowhere", &format!("@{at}").replace("@text", "add:1"), reason]
        );
    }
    let sampling = Sampling::greedy(4);
    refused!(
        "range beyond what will be generated",
        model.generate(&[1, 2], &on("6..60"), &sampling),
        RuntimeError::Nowhere { .. },
        ["@6..60", "there are 6 positions"]
    );
    let mut empty: Intervention = "blocks.1.hook_resid_post:1:add:1".parse().unwrap();
    empty.at = Positions::text_in(PositionRange::Range(2..2)).with_special();
    refused!(
        "empty range",
        run(&model, &Plan::new().intervene(empty)),
        RuntimeError::Nowhere { .. },
        ["@2..2+special", "applied nowhere"]
    );
}

fn vectors(plan: Plan, vectors: &[(&str, Vec<f32>)]) -> Plan {
    vectors
        .iter()
        .fold(plan, |plan, (name, values)| plan.vector(name.parse().unwrap(), values.clone()))
}

#[test]
fn a_vector_that_is_not_there_or_makes_no_direction_is_refused_by_its_name() {
    let model = model();
    let steered = || steered("blocks.2.hook_mlp_out:calm:add:1");
    refused!(
        "no vectors",
        run(&model, &steered()),
        RuntimeError::NoVector { .. },
        ["blocks.2.hook_mlp_out:calm:add:1", "`calm`", "the plan has none"]
    );
    refused!(
        "other vectors",
        run(&model, &vectors(steered(), &[("glee", vec![1.0; 64]), ("Calm", vec![1.0; 64])])),
        RuntimeError::NoVector { .. },
        ["`calm`", "the plan has glee, Calm"]
    );
    refused!(
        "vector of another width",
        run(&model, &vectors(steered(), &[("calm", vec![1.0; 63])])),
        RuntimeError::VectorWidth { expected: Some(64), found: 63, .. },
        ["`calm` has 63 numbers", "blocks.2.hook_mlp_out has 64"]
    );
    let pattern = Plan::new().intervene("blocks.0.attn.hook_pattern:calm:add:1".parse().unwrap());
    refused!(
        "vector on attention patterns",
        run(&model, &vectors(pattern, &[("calm", vec![1.0; 64])])),
        RuntimeError::VectorWidth { expected: None, .. },
        ["blocks.0.attn.hook_pattern", "no fixed width"]
    );
    let deep = Plan::new().intervene("blocks.9.hook_mlp_out:calm:add:1".parse().unwrap());
    refused!(
        "vector in a block that is not there",
        run(&model, &vectors(deep, &[("calm", vec![1.0; 64])])),
        RuntimeError::NoSuchHook { .. },
        ["blocks.9.hook_mlp_out"]
    );
    // These vectors are invalid whether or not an intervention uses them.
    for zero in [vec![0.0; 64], vec![-0.0; 64], vec![]] {
        refused!(
            "zero vector",
            run(&model, &vectors(Plan::new(), &[("calm", zero)])),
            RuntimeError::ZeroVector { .. },
            ["`calm` is 0", "no direction"]
        );
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![1.0; 64];
        values[5] = value;
        refused!(
            format!("vector with {value}"),
            run(&model, &vectors(Plan::new(), &[("calm", values)])),
            RuntimeError::VectorNotFinite { index: 5, .. },
            ["`calm`", "not finite", "index 5"]
        );
    }
    refused!(
        "two vectors of one name",
        run(&model, &vectors(Plan::new(), &[("calm", vec![1.0]), ("calm", vec![2.0])])),
        RuntimeError::DuplicateVector { .. },
        ["two vectors `calm`"]
    );
    let calm = Target::Vector("calm".parse().unwrap());
    for op in [Op::Multiply(1.0), Op::Set(1.0), Op::SetIfActive(1.0), Op::Ablate] {
        let plan = Plan::new().intervene(Intervention::new(SITE, calm.clone(), op));
        refused!(
            format!("{op} on a vector"),
            run(&model, &vectors(plan, &[("calm", vec![1.0; 64])])),
            RuntimeError::Target { source: SyntaxError::VectorOp { .. }, .. },
            [
                op.name(),
                "`calm` is a vector",
                "add, orthogonal, projection_scale or projection_cap"
            ]
        );
    }
    let denormal = vectors(
        Plan::new().intervene("hook_embed:calm:add:1:unit".parse().unwrap()),
        &[("calm", vec![1e-42; 64])],
    );
    refused!(
        "vector too short to have a unit",
        run(&model, &denormal),
        RuntimeError::NoDirection { .. },
        ["hook_embed:calm:add:1:unit", "no direction"]
    );
}

/// An SAE with `d_in` 64 whose decoder is zero.
fn silent_sae() -> Sae {
    let mut weights = small_sae(D_MODEL).weights();
    weights.w_dec = weights.w_dec.zeros_like();
    Sae::new(small_sae(D_MODEL).config().clone(), weights).unwrap()
}

#[test]
fn a_feature_without_a_direction_has_no_unit_and_no_part_to_take_away() {
    let model = bare().with_sae(SITE, silent_sae()).unwrap();
    for op in ["add:1:unit", "add:100%", "orthogonal:1"] {
        let spec = format!("{SITE}:1:{op}");
        refused!(
            format!("{op} along zero"),
            run(&model, &steered(&spec)),
            RuntimeError::NoDirection { .. },
            [&spec, "no direction", "the decoder row is 0"]
        );
    }

    let added = run(&model, &steered(&format!("{SITE}:1:add:1"))).unwrap();
    assert_eq!((added.applied[0].positions, added.applied[0].changed), (3, 0));
}

#[test]
fn a_condition_that_cannot_be_checked_is_refused() {
    let model = model();
    let when = |condition: &str| format!("{SITE}:1:add:1 when {condition}");
    refused!(
        "condition at a point without an SAE",
        run(&model, &steered(&when("hook_embed:1>0"))),
        RuntimeError::NoSae { .. },
        ["no SAE for hook_embed", "blocks.1.hook_resid_post"]
    );
    refused!(
        "condition on a feature that is not there",
        run(&model, &steered(&when("blocks.1.hook_resid_post:8>0"))),
        RuntimeError::ConditionFeature { .. },
        ["blocks.1.hook_resid_post:8>0", "(0 to 7)"]
    );
    let later = HookPoint::MlpOut(2);
    let both = model.with_sae(later, small_sae(D_MODEL)).unwrap();
    let spec = when("blocks.2.hook_mlp_out:1>0");
    refused!(
        "condition at a later point",
        run(&both, &steered(&spec)),
        RuntimeError::ConditionTooLate { .. },
        [&spec, "changes blocks.1.hook_resid_post", "its condition at blocks.2.hook_mlp_out"]
    );
    for above in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let condition = Condition { hook: SITE, feature: 1, above };
        let mut intervention: Intervention = format!("{SITE}:1:add:1").parse().unwrap();
        intervention.when = Some(condition);
        for (case, plan) in [
            ("threshold", Plan::new().intervene(intervention)),
            ("threshold to stop at", Plan::new().stop_when(condition)),
        ] {
            refused!(
                format!("{case} {above}"),
                both.generate(&[1, 2], &plan, &Sampling::greedy(2)),
                RuntimeError::ConditionNotFinite { .. },
                [&condition.to_string(), "not finite"]
            );
        }
    }
    let stop = |text: &str| Plan::new().stop_when(text.parse().unwrap());
    let start = |plan: Plan| both.generate(&[1, 2], &plan, &Sampling::greedy(2));
    refused!(
        "stop at a feature that is not there",
        start(stop("blocks.1.hook_resid_post:8>0")),
        RuntimeError::ConditionFeature { .. },
        ["blocks.1.hook_resid_post:8>0", "(0 to 7)"]
    );
    refused!(
        "stop condition at a point without an SAE",
        start(stop("hook_embed:8>0")),
        RuntimeError::NoSae { .. },
        ["no SAE for hook_embed"]
    );
    refused!(
        "stop in a run",
        run(&both, &stop("blocks.1.hook_resid_post:1>0")),
        RuntimeError::StopInRun { .. },
        ["cannot stop when `blocks.1.hook_resid_post:1>0`", "its tokens are given"]
    );
}

#[test]
fn a_condition_that_holds_nowhere_is_reported_and_no_error() {
    let model = model();
    let run = run(&model, &steered(&format!("{SITE}:1:add:1 when {SITE}:2>1e30"))).unwrap();

    let applied = &run.applied[0];
    assert_eq!((applied.positions, applied.changed, applied.moved), (0, 0, 0.0));
}

#[test]
fn a_transcoders_condition_is_known_from_the_point_that_it_reads_on() {
    let (read, write) = (HookPoint::Ln2Normalized(1), HookPoint::MlpOut(1));
    let model = model().with_transcoder(read, write, small_sae(D_MODEL)).unwrap();
    let ok = [format!("{read}:1:add:1 when {read}:2>0"), format!("{SITE}:1:add:1 when {read}:2>0")];
    for spec in ok {
        run(&model, &steered(&spec)).unwrap();
    }
    let early = format!("blocks.1.hook_resid_mid:calm:add:1 when {read}:2>0");
    let plan = vectors(steered(&early), &[("calm", vec![1.0; 64])]);
    refused!(
        "condition on what a transcoder reads later",
        run(&model, &plan),
        RuntimeError::ConditionTooLate { .. },
        ["changes blocks.1.hook_resid_mid", "blocks.1.ln2.hook_normalized"]
    );
}

#[test]
fn reconstructing_with_nothing_or_with_two_is_refused() {
    let (read, write) = (HookPoint::Ln2Normalized(1), HookPoint::MlpOut(1));
    let calm = |plan: Plan| vectors(plan, &[("calm", vec![1.0; 64])]);
    let plain = model();
    let spec = "blocks.2.hook_mlp_out:calm:add:1 with reconstruct";
    refused!(
        "vector with reconstruct at a point without an SAE",
        run(&plain, &calm(steered(spec))),
        RuntimeError::NothingToReconstruct { .. },
        [spec, "nothing to reconstruct blocks.2.hook_mlp_out with"]
    );
    let both = plain.with_transcoder(read, write, small_sae(D_MODEL)).unwrap();
    let both = both.with_sae(write, small_sae(D_MODEL)).unwrap();
    for hook in [read, HookPoint::Embed] {
        refused!(
            format!("vector with reconstruct at {hook}, where a transcoder at most reads"),
            run(&both, &calm(steered(&format!("{hook}:calm:add:1 with reconstruct")))),
            RuntimeError::NothingToReconstruct { .. },
            [&hook.to_string(), "no SAE reads and writes it"]
        );
    }
    let first = steered(&format!("{read}:1:add:1 with reconstruct"));
    let second = format!("{write}:1:add:1 with reconstruct").parse().unwrap();
    refused!(
        "two reconstructions of one point",
        run(&both, &first.intervene(second)),
        RuntimeError::TwoReconstructions { .. },
        ["at blocks.1.hook_mlp_out", "blocks.1.ln2.hook_normalized", "one of them"]
    );
    let kept = format!("{write}:1:add:1").parse().unwrap();
    refused!(
        "mixed splices where a transcoder writes",
        run(&both, &steered(&format!("{read}:1:add:1 with reconstruct")).intervene(kept)),
        RuntimeError::MixedSplice { .. },
        ["at blocks.1.hook_mlp_out", "keep-error and reconstruct"]
    );
}

#[test]
fn rows_that_the_batch_does_not_have_are_refused() {
    let model = model();
    let on = |rows: &str| steered(&format!("{SITE}:1:add:1@text[{rows}]"));
    let two = tokens(&[&[1, 2], &[3, 4]]);
    for (rows, row) in [("2", 2), ("0..3", 2), ("7..9", 8), ("18446744073709551614", 0)] {
        let row = if row == 0 { "18446744073709551614".to_owned() } else { format!("row {row}") };
        refused!(
            format!("rows {rows} of two"),
            model.run(&two, &on(rows)),
            RuntimeError::NoSuchRow { batch: 2, .. },
            [&format!("[{rows}]"), &row, "the batch has 2 rows (0 to 1)"]
        );
    }
    refused!(
        "second row of a generation",
        model.generate(&[1, 2], &on("1"), &Sampling::greedy(2)),
        RuntimeError::NoSuchRow { row: 1, batch: 1, .. },
        ["names row 1", "the batch has 1 row (0)"]
    );
    let mut none: Intervention = format!("{SITE}:1:add:1").parse().unwrap();
    none.at = Positions::ALL.in_rows(1..1);
    refused!(
        "no rows at all",
        model.run(&two, &Plan::new().intervene(none)),
        RuntimeError::Nowhere { .. },
        ["it names no rows"]
    );
    model.run(&two, &on("0..2")).unwrap();
}

#[test]
fn a_text_that_is_no_intervention_is_refused_with_the_part() {
    let parse = str::parse::<Intervention>;
    let form = ["", ":", "417", "hook_embed:1", "hook_embed:1:add:1:raw:2"];
    for text in form {
        refused!(format!("spec `{text}`"), parse(text), SyntaxError::Form { .. }, [text, "HOOK:"]);
    }
    for (text, found) in [
        ("blocks.1.hook_resid_pots:1:ablate", "did you mean `blocks.1.hook_resid_post`?"),
        (":1:ablate", "unknown hook point ``"),
    ] {
        refused!(format!("spec `{text}`"), parse(text), SyntaxError::Hook { .. }, [text, found]);
    }
    for feature in ["", "-1", "+1", "1.5", "1x", "ü", "18446744073709551616"] {
        let text = format!("hook_embed:{feature}:ablate");
        refused!(
            format!("spec `{text}`"),
            parse(&text),
            SyntaxError::Target { .. },
            [&format!("`{feature}` is not a feature index")]
        );
    }
    for op in ["", "boost", "ABLATE"] {
        let text = format!("hook_embed:1:{op}");
        refused!(
            format!("spec `{text}`"),
            parse(&text),
            SyntaxError::Op { .. },
            [op, "ablate, add"]
        );
    }
    for op in ["add", "add:", "set:nan", "multiply:1e39", "set_if_active:-inf", "ablate:1"] {
        let text = format!("hook_embed:1:{op}");
        let says = if op == "ablate:1" { "takes no value" } else { "needs a finite number" };
        refused!(
            format!("spec `{text}`"),
            parse(&text),
            SyntaxError::Value { .. },
            [op.split(':').next().unwrap(), says]
        );
    }
    for (variant, text, says) in [
        ("Scale", "hook_embed:1:add:1:big", "expected raw, unit, norm"),
        ("Scale", "hook_embed:1:add:1:", "expected raw, unit, norm"),
        ("NoScale", "hook_embed:1:set:1:unit", "`set` takes no scale"),
        ("VectorOp", "hook_embed:calm:multiply:2", "`calm` is a vector"),
        ("VectorOp", "hook_embed:calm:ablate", "`calm` is a vector"),
        ("Rows", "hook_embed:1:ablate@all[]", "`[]` is not a range of batch rows"),
        ("Rows", "hook_embed:1:ablate@all[1..1]", "[A] or [A..B]"),
        ("Rows", "hook_embed:1:ablate@all[18446744073709551615]", "is not a range of batch rows"),
        ("Condition", "hook_embed:1:ablate when", "HOOK:FEATURE>T"),
        ("Condition", "hook_embed:1:ablate when hook_embed>3", "HOOK:FEATURE>T"),
        ("Threshold", "hook_embed:1:ablate when hook_embed:1>", "the threshold ``"),
        ("Threshold", "hook_embed:1:ablate when hook_embed:1>1e39", "the threshold `1e39`"),
        (
            "ConditionFeature",
            "hook_embed:1:ablate when hook_embed:calm>1",
            "`calm` is not a feature",
        ),
        ("Hook", "hook_embed:1:ablate when hook_resid:1>1", "unknown hook point `hook_resid`"),
        ("Splice", "hook_embed:1:ablate with", "expected `with reconstruct`"),
        ("Splice", "hook_embed:1:ablate with keep-error", "unknown clause `with keep-error`"),
        ("Splice", "hook_embed:1:ablate with reconstruct when hook_embed:1>1", "`with reconstruct"),
    ] {
        let is = |error: &SyntaxError| format!("{error:?}").starts_with(&format!("{variant} "));
        expect_refusal(&format!("spec `{text}`"), || parse(text), is, &[says]);
    }
    for at in ["", "now", "5", "5..", "..5", "5..5", "9..2", "-1..2", "all+special", "0..1..2"] {
        let text = format!("hook_embed:1:ablate@{at}");
        refused!(
            format!("spec `{text}`"),
            parse(&text),
            SyntaxError::Positions { .. },
            [&format!("`{at}` is not a position rule"), "generated"]
        );
    }
}
