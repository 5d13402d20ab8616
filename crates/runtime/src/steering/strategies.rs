//! Strategies for property tests.

use nanoscope_hooks::HookPoint;
use proptest::prelude::*;

use crate::{Condition, Intervention, Op, Plan, PositionRange, Positions, Scale, Splice, Target};

fn hook() -> impl Strategy<Value = HookPoint> {
    (0_usize..40)
        .prop_flat_map(|layer| prop::sample::select(HookPoint::all(layer + 1).collect::<Vec<_>>()))
}

fn number() -> impl Strategy<Value = f32> {
    prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL
}

/// Any valid condition.
pub(crate) fn condition() -> impl Strategy<Value = Condition> {
    (hook(), any::<usize>(), number()).prop_map(|(hook, feature, above)| Condition {
        hook,
        feature,
        above,
    })
}

fn on_direction() -> impl Strategy<Value = Op> {
    let scale = || prop::sample::select(Scale::ALL.to_vec());
    prop_oneof![
        (number(), scale()).prop_map(|(value, scale)| Op::Add(value, scale)),
        (number(), scale()).prop_map(|(value, scale)| Op::Orthogonal(value, scale)),
        number().prop_map(Op::ProjectionScale),
        number().prop_map(Op::ProjectionCap),
    ]
}

fn what() -> impl Strategy<Value = (Target, Op)> {
    let on_value = prop_oneof![
        number().prop_map(Op::Multiply),
        number().prop_map(Op::Set),
        number().prop_map(Op::SetIfActive),
        Just(Op::Ablate),
    ];
    let name = "[A-Za-z_][A-Za-z0-9_-]{0,8}";
    prop_oneof![
        (any::<usize>(), on_value).prop_map(|(index, op)| (Target::Feature(index), op)),
        (any::<usize>(), on_direction()).prop_map(|(index, op)| (Target::Feature(index), op)),
        (name, on_direction()).prop_map(|(name, op)| (Target::Vector(name.parse().unwrap()), op)),
    ]
}

fn at() -> impl Strategy<Value = Positions> {
    let range = || (0_usize..1000, 1_usize..1000).prop_map(|(from, len)| from..from + len);
    let span = prop_oneof![
        Just(PositionRange::Prompt),
        Just(PositionRange::Generated),
        Just(PositionRange::Last),
        Just(PositionRange::Whole),
        range().prop_map(PositionRange::Range),
    ];
    (span, any::<bool>(), prop::option::of(range())).prop_map(|(span, special, rows)| {
        let at = Positions::text_in(span);
        let at = if special { at.with_special() } else { at };
        rows.map_or(at.clone(), |rows| at.in_rows(rows))
    })
}

/// Any valid intervention.
pub(crate) fn intervention() -> impl Strategy<Value = Intervention> {
    let splice = prop::sample::select(vec![Splice::KeepError, Splice::Reconstruct]);
    (hook(), what(), at(), prop::option::of(condition()), splice).prop_map(
        |(hook, (target, op), at, when, splice)| Intervention {
            hook,
            target,
            op,
            at,
            when,
            splice,
        },
    )
}

/// Any well-formed plan; a given model may reject it.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let hooks = || prop::collection::btree_set(hook(), 0..3);
    let name = "[A-Za-z_][A-Za-z0-9_-]{0,8}";
    let vectors = prop::collection::btree_map(name, prop::collection::vec(number(), 0..4), 0..3);
    let steering = (prop::collection::vec(intervention(), 0..3), vectors);
    let stop_when = prop::collection::vec(condition(), 0..3);
    (hooks(), any::<bool>(), hooks(), any::<bool>(), steering, stop_when).prop_map(
        |(track, track_all, capture, capture_tracked, (interventions, vectors), stop_when)| Plan {
            track,
            track_all,
            capture,
            capture_tracked,
            interventions,
            vectors: vectors
                .into_iter()
                .map(|(name, values)| (name.parse().unwrap(), values))
                .collect(),
            stop_when,
        },
    )
}
