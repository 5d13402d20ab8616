#!/bin/sh
# A RUSTC_WRAPPER that counts the branches of our own crates, which is what steers libFuzzer.
# Stable compilers take these options; only the sanitizers need a nightly one.
rustc=$1
shift
case " $* " in
*"--crate-name nanoscope"* | *" fuzz_targets/"*)
    exec "$rustc" "$@" -Copt-level=2 -Ccodegen-units=1 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table
    ;;
esac
exec "$rustc" "$@"
