//! The pickle reader accepts Python's pickles, refuses those that would run code, and never panics.

use std::path::Path;
use std::{fs, iter};

use nanoscope_checkpoint::pickle::{Pickle, PickleError, Value, read_pickle};
use proptest::prelude::*;

const ENCODING: &str = "tiktoken.core.Encoding";

fn real_pickle() -> Vec<u8> {
    let path = "../../tests/fixtures/tokenizers/golden_old/tokenizer.pkl";
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[track_caller]
fn read(bytes: &[u8]) -> Pickle<'_> {
    read_pickle(bytes, &[ENCODING]).unwrap()
}

#[track_caller]
fn refusal(bytes: &[u8]) -> PickleError {
    read_pickle(bytes, &[ENCODING]).unwrap_err()
}

/// Formats the pickle's result as Python would print it.
fn show(pickle: &Pickle<'_>, value: &Value<'_>) -> String {
    let list = |ids: &[_]| {
        let items: Vec<_> = ids.iter().map(|&id| show(pickle, pickle.get(id))).collect();
        items.join(", ")
    };
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Bytes(value) => format!("b\"{}\"", value.escape_ascii()),
        Value::Text(value) => format!("{value:?}"),
        Value::Tuple(items) => format!("({})", list(items)),
        Value::List(items) => format!("[{}]", list(items)),
        Value::Set(items) => format!("{{{}}}", list(items)),
        Value::Dict(pairs) => {
            let items: Vec<_> = pairs.iter().map(|&(key, value)| list(&[key, value])).collect();
            format!("{{{}}}", items.join("; "))
        }
        Value::Global(name) => name.clone(),
        Value::Object(object) => {
            let ids: Vec<_> = [object.class, object.args].into_iter().chain(object.state).collect();
            format!("object({})", list(&ids))
        }
        Value::Persistent(id) => format!("persistent({})", list(&[*id])),
    }
}

#[track_caller]
fn assert_reads(bytes: &[u8], expected: &str) {
    let pickle = read(bytes);
    assert_eq!(show(&pickle, pickle.root()), expected);
}

#[test]
fn what_python_writes_is_read_in_every_protocol_from_1_on() {
    // pickle.dumps([1, -2, 300, 70000, 2**40, -1, None, True, 1.5, "é", b"a", (1, 2, 3, 4), {"k": []}])
    // of Python 3.11, without the bytes in protocols 1 and 2, where they need a function.
    let list = "[1, -2, 300, 70000, 1099511627776, -1099511627776, None, true, 1.5, \"é\"";
    let tail = "(1, 2, 3, 4), {\"k\", []}]";
    assert_reads(PROTOCOL_1, "[1, -2, 300, 70000, None, 1.5, \"é\", (1, 2, 3, 4), {\"k\", []}]");
    assert_reads(PROTOCOL_2, &format!("{list}, {tail}"));
    assert_reads(PROTOCOL_3, &format!("{list}, b\"a\", {tail}"));
    assert_reads(PROTOCOL_4, &format!("{list}, b\"a\", {tail}"));
    assert_reads(PROTOCOL_5, &format!("{list}, b\"a\", {tail}"));
}

#[test]
fn single_instructions_make_what_python_makes() {
    let cases: [(&[u8], &str); 22] = [
        (b"N.", "None"),
        (b"\x88.", "true"),
        (b"\x89.", "false"),
        (b"J\xfe\xff\xff\xff.", "-2"),
        (b"M\x2c\x01.", "300"),
        (b"\x8a\x00.", "0"),
        (b"\x8a\x01\x80.", "-128"),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "-9223372036854775808"),
        (b"\x8b\x02\x00\x00\x00\xff\x7f.", "32767"),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5"),
        (b"B\x01\x00\x00\x00a.", "b\"a\""),
        (b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", "b\"a\""),
        (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "b\"a\""),
        (b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "\"a\""),
        (b"(K\x01K\x02l.", "[1, 2]"),
        (b"(K\x01K\x02d.", "{1, 2}"),
        (b"(K\x01\x91.", "{1}"),
        (b"\x8f(K\x01K\x02\x90.", "{1, 2}"),
        (b"K\x01K\x022\x87.", "(1, 2, 2)"),
        (b"K\x01(K\x02K\x0310\x29.", "()"),
        (b"K\x01q\x05h\x05\x86.", "(1, 1)"),
        (b"K\x07r\x00\x00\x01\x00j\x00\x00\x01\x00\x86.", "(7, 7)"),
    ];
    for (bytes, expected) in cases {
        let pickle = read(bytes);
        assert_eq!(show(&pickle, pickle.root()), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_allowed_class_is_named_and_not_made() {
    let object = format!("object({ENCODING}, (1), {{}})");

    assert_reads(b"ctiktoken.core\nEncoding\nK\x01\x85\x81}b.", &object);
    assert_reads(b"\x8c\x0dtiktoken.core\x8c\x08Encoding\x93K\x01\x85R}b.", &object);
    assert_reads(b"(K\x01itiktoken.core\nEncoding\n}b.", &object);
    assert_reads(b"(ctiktoken.core\nEncoding\nK\x01o}b.", &object);
}

#[test]
fn a_container_may_hold_itself_and_shares_what_is_stored_once() {
    let pickle = read(b"]\x94h\x00a.");
    let Value::List(items) = pickle.root() else {
        panic!();
    };
    assert_eq!(pickle.get(items[0]), pickle.root());

    // Forty doublings: a tree would exceed any memory.
    let doubling: Vec<u8> = iter::once(b"N".as_slice())
        .chain(iter::repeat_n(b"2\x86".as_slice(), 40))
        .chain([b".".as_slice()])
        .flatten()
        .copied()
        .collect();
    let mut value = read(&doubling).root().clone();
    let pickle = read(&doubling);
    let mut depth = 0;
    while let Value::Tuple(items) = &value {
        depth += 1;
        value = pickle.get(items[0]).clone();
    }
    assert_eq!(depth, 40);
}

#[test]
fn a_million_levels_are_read_and_dropped() {
    let deep: Vec<u8> =
        iter::once(b')').chain(iter::repeat_n(0x85, 1_000_000)).chain([b'.']).collect();

    drop(read(&deep));

    let marks = vec![b'('; 1_000_000];
    assert!(matches!(refusal(&marks), PickleError::Truncated { .. }));
}

#[test]
fn a_call_is_refused_by_name_however_it_is_written() {
    let named = "posix.system";
    let attacks: [(&str, &[u8]); 12] = [
        ("GLOBAL and REDUCE", b"cposix\nsystem\n\x8c\x02id\x85R."),
        ("GLOBAL alone", b"cposix\nsystem\n."),
        ("thrown away", b"cposix\nsystem\n0N."),
        ("thrown away with a mark", b"(cposix\nsystem\n1N."),
        ("in a container", b"](cposix\nsystem\ne."),
        ("STACK_GLOBAL", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."),
        ("long counts", b"X\x05\x00\x00\x00posix\x8d\x06\0\0\0\0\0\0\0system\x93\x8c\x02id\x85R."),
        ("by memo", b"\x8c\x06system\x940\x8c\x05posix\x94h\x00\x93."),
        ("INST", b"(\x8c\x02idiposix\nsystem\n."),
        ("OBJ", b"(cposix\nsystem\n\x8c\x02ido."),
        ("NEWOBJ", b"cposix\nsystem\n\x8c\x02id\x85\x81."),
        ("after a sound object", b"ctiktoken.core\nEncoding\n)\x81cposix\nsystem\n0."),
    ];
    for (way, attack) in attacks {
        let error = refusal(attack);
        let PickleError::ForbiddenGlobal { name, .. } = &error else {
            panic!("{way}: {error}");
        };
        assert_eq!(name, named, "{way}");
        assert!(error.to_string().starts_with("the pickle refers to posix.system at byte "));
    }
}

#[test]
fn other_ways_to_code_are_refused_too() {
    let names = [
        (b"cos\nsystem\n.".as_slice(), "os.system"),
        (b"cbuiltins\neval\n.", "builtins.eval"),
        (b"ccopyreg\n_reconstructor\n.", "copyreg._reconstructor"),
        (b"ctiktoken\ncore.Encoding\n.", "tiktoken.core.Encoding"),
        (b"ctiktoken.core\nEncoding.__init__\n.", "tiktoken.core.Encoding.__init__"),
        (b"ctiktoken.core.Encoding\n\n.", "tiktoken.core.Encoding."),
        (b"c\n\n.", "."),
        (b"c\x1b[31m\n\"\n.", "\\u{1b}[31m.\\\""),
    ];
    for (attack, expected) in names {
        let error = refusal(attack);
        assert!(
            matches!(&error, PickleError::ForbiddenGlobal { name, offset: 0 } if name == expected),
            "{expected}: {error:?}"
        );
    }
    let opcodes = [
        (b"\x82\x01.".as_slice(), "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Pos.system\n.", "PERSID"),
        (b"Q.", "BINPERSID"),
        (b"ctiktoken.core\nEncoding\n)}\x92.", "NEWOBJ_EX"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\x98.", "READONLY_BUFFER"),
        (b"S'id'\n.", "STRING"),
        (b"T\x00\x00\x00\x00.", "BINSTRING"),
        (b"U\x00.", "SHORT_BINSTRING"),
        (b"Vid\n.", "UNICODE"),
        (b"I1\n.", "INT"),
        (b"L1L\n.", "LONG"),
        (b"F1\n.", "FLOAT"),
        (b"g0\n.", "GET"),
        (b"p0\n.", "PUT"),
    ];
    for (attack, expected) in opcodes {
        let error = refusal(attack);
        assert!(
            matches!(&error, PickleError::UnsupportedOpcode { opcode, .. } if *opcode == expected),
            "{expected}: {error:?}"
        );
    }
}

#[test]
fn a_very_long_name_is_cut_in_the_message() {
    let attack = [b"c".as_slice(), &[b'm'; 5000], b"\n", &[b'n'; 5000], b"\n."].concat();

    let text = refusal(&attack).to_string();

    assert!(text.len() < 250, "{text}");
    assert!(text.contains("mmm....nnn"), "{text}");
}

#[test]
fn every_way_to_be_broken_has_its_own_message() {
    let cases: [(&[u8], &str); 26] = [
        (b"", "the pickle ends inside or before STOP at byte 0"),
        (b"N", "the pickle ends inside or before STOP at byte 1"),
        (b"N\x8c\x05abc", "the pickle ends inside or before SHORT_BINUNICODE at byte 1"),
        (
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
            "the pickle ends inside or before BINBYTES8 at byte 0",
        ),
        (b"B\xff\xff\xff\xff.", "the pickle ends inside or before BINBYTES at byte 0"),
        (b"cposix", "the pickle ends inside or before GLOBAL at byte 0"),
        (
            b"\x80\x04\x95\x09\x00\x00\x00\x00\x00\x00\x00N.",
            "the pickle ends inside or before FRAME at byte 2",
        ),
        (b"\x80\x06N.", "unknown pickle protocol 6 (expected 0 to 5)"),
        (b"N\xff.", "byte 1 of the pickle is 0xff, which is not an opcode"),
        (b"Vid\n.", "the pickle uses UNICODE at byte 0, which is not supported"),
        (b".", "the pickle has too few values for STOP at byte 0"),
        (b"0N.", "the pickle has too few values for POP at byte 0"),
        (b"N\x86.", "the pickle has too few values for TUPLE2 at byte 1"),
        (b"N(\x85.", "the pickle has too few values for TUPLE1 at byte 2"),
        (b"](a.", "the pickle has too few values for APPEND at byte 2"),
        (b"(o.", "the pickle has too few values for OBJ at byte 1"),
        (b"Nt.", "the pickle has no mark for TUPLE at byte 1"),
        (b"}NNa.", "APPEND at byte 3 of the pickle has None as operand, expected a list"),
        (
            b"NNb.",
            "BUILD at byte 2 of the pickle has None as operand, expected an object without a state",
        ),
        (
            b"N)R.",
            "REDUCE at byte 2 of the pickle has None as operand, expected a class or function",
        ),
        (
            b"K\x01N\x93.",
            "STACK_GLOBAL at byte 3 of the pickle has an int as operand, expected a str",
        ),
        (b"}(Nu.", "SETITEMS at byte 3 of the pickle has a key without a value"),
        (b"h\x03.", "BINGET at byte 0 of the pickle fetches value 3, which was not stored"),
        (
            b"\x8c\x01\xff.",
            "the string of SHORT_BINUNICODE at byte 0 of the pickle is not valid UTF-8",
        ),
        (
            b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
            "the integer of LONG1 at byte 0 of the pickle does not fit 64 bits",
        ),
        (b"NN(.", "the pickle has too few values for STOP at byte 3"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(bytes).to_string(), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_left_over_is_an_error() {
    assert_eq!(
        refusal(b"NN.").to_string(),
        "the pickle leaves 1 values or marks in addition to its result"
    );
    assert_eq!(refusal(b"N.N.").to_string(), "2 bytes follow the end of the pickle");
    assert_eq!(
        refusal(b"ctiktoken.core\nEncoding\n)\x81NbNb.").to_string(),
        "BUILD at byte 29 of the pickle has an object as operand, expected an object without a state"
    );
}

#[test]
fn every_truncation_of_a_real_pickle_is_an_error() {
    let bytes = real_pickle();
    for length in 0..bytes.len() {
        assert!(read_pickle(&bytes[..length], &[ENCODING]).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_pickle(&bytes, &[ENCODING]);
    }

    #[test]
    fn arbitrary_instructions_are_no_panic(
        opcodes in prop::collection::vec(prop::sample::select(
            b"(.0122NNKMh}]})tlduesaboRqr\x81\x85\x86\x87\x88\x8a\x8c\x8f\x90\x91\x93\x94\x95".to_vec()
        ), 0..80)
    ) {
        let _ = read_pickle(&opcodes, &[ENCODING]);
    }

    #[test]
    fn changes_of_a_real_pickle_are_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = real_pickle();
        for (index, byte) in changes {
            let place = index.index(bytes.len());
            bytes[place] ^= byte;
        }
        let _ = read_pickle(&bytes, &[ENCODING]);
        let _ = read_pickle(&bytes[..length.index(bytes.len())], &[ENCODING]);
    }
}

/// Written by Python in protocol 1.
const PROTOCOL_1: &[u8] = b"]q\x00(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00NG?\xf8\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00\xc3\xa9q\x01(K\x01K\x02K\x03K\x04tq\x02}q\x03X\x01\x00\x00\x00kq\x04]q\x05se.";

/// Written by Python in protocol 2.
const PROTOCOL_2: &[u8] = b"\x80\x02]q\x00(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xffN\x88G?\xf8\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00\xc3\xa9q\x01(K\x01K\x02K\x03K\x04tq\x02}q\x03X\x01\x00\x00\x00kq\x04]q\x05se.";

/// Written by Python in protocol 3.
const PROTOCOL_3: &[u8] = b"\x80\x03]q\x00(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xffN\x88G?\xf8\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00\xc3\xa9q\x01C\x01aq\x02(K\x01K\x02K\x03K\x04tq\x03}q\x04X\x01\x00\x00\x00kq\x05]q\x06se.";

/// Written by Python in protocol 4.
const PROTOCOL_4: &[u8] = b"\x80\x04\x95L\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xffN\x88G?\xf8\x00\x00\x00\x00\x00\x00\x8c\x02\xc3\xa9\x94C\x01a\x94(K\x01K\x02K\x03K\x04t\x94}\x94\x8c\x01k\x94]\x94se.";

/// Written by Python in protocol 5.
const PROTOCOL_5: &[u8] = b"\x80\x05\x95L\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xffN\x88G?\xf8\x00\x00\x00\x00\x00\x00\x8c\x02\xc3\xa9\x94C\x01a\x94(K\x01K\x02K\x03K\x04t\x94}\x94\x8c\x01k\x94]\x94se.";
