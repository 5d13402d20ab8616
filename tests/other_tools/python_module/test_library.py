"""Models, generations, tables and errors of the module `nanoscope`."""

import html.parser
import subprocess
import sys
import threading
import time

import numpy as np
import pandas
import polars
import pytest
from conftest import DEMO, GOLDEN, HOOKS

import nanoscope

DEEPEST = "blocks.3.hook_resid_post"
PROMPT = "There was a big"


def test_a_generation_gives_each_token_with_its_features(demo):
    prompt = demo.encode(PROMPT)
    generation = demo.generate(PROMPT, max_tokens=12, temperature=0, top_logprobs=2)
    steps = list(generation)

    assert len(steps) == 12 and generation.end == "max_tokens"
    assert generation.text == "".join(step.text for step in steps)
    assert [step.position for step in steps] == list(range(len(prompt), len(prompt) + 12))
    for step in steps:
        assert list(step.features) == demo.hook_points
        assert all(features.shape == (1, 2048) for features in step.features.values())
        assert step.top_logprobs[0][0] == step.token_id
        assert step.logprob == step.top_logprobs[0][1] <= 0
    assert generation.prompt_features[DEEPEST].shape == (len(prompt), 2048)
    assert generation.prompt_len == len(prompt)
    assert demo.decode(generation.tokens[len(prompt) :]) == generation.text
    assert np.array_equal(generation.tokens[: len(prompt)], prompt)


def test_a_generation_agrees_with_a_pass_over_the_same_tokens(demo):
    steer = f"{DEEPEST}:1909:add:30%@all"
    generation = demo.generate(PROMPT, max_tokens=8, temperature=0, steer=steer).finish()
    run = demo.run(generation.tokens, steer=[steer], prompt_len=generation.prompt_len)

    for row, step in enumerate(generation.steps, start=generation.prompt_len):
        for hook, features in step.features.items():
            full = run.features[hook].to_dense()[row]
            assert np.allclose(features.to_dense()[0], full, atol=1e-3), hook
    first = generation.prompt_len
    assert np.array_equal(run.logits[0, first - 1 : -1].argmax(-1), generation.tokens[first:])
    [report], [of_run] = generation.applied, run.applied
    assert report["intervention"] == steer
    assert report["positions"] == report["changed"] == of_run["positions"] == first + 8
    assert np.isclose(report["moved"], 0.3, atol=1e-6)


def test_steering_and_stopping_change_a_text(demo):
    plain = demo.generate(PROMPT, max_tokens=20, temperature=0).finish()
    as_dict = {"hook": DEEPEST, "feature": np.int64(1909), "op": "add", "value": 0.3, "scale": "norm"}
    dog = demo.generate(PROMPT, max_tokens=20, temperature=0, steer=as_dict).finish()
    same = demo.generate(PROMPT, max_tokens=20, temperature=0, steer="1909:add:30%").finish()
    # A feature of the fifth token, and the first token on which it is as strong.
    feature, value = plain.steps[4].features[DEEPEST].strongest(0, 1)[0]
    found = [step.features[DEEPEST].to_dense()[0, feature] for step in plain.steps]
    first = next(at for at, activation in enumerate(found) if activation > 0.99 * value)
    condition = {"hook": DEEPEST, "feature": feature, "above": 0.99 * value}
    for stop_when in (condition, f"{DEEPEST}:{feature}>{0.99 * value}"):
        stopped = demo.generate(
            PROMPT, max_tokens=60, temperature=0, track=[DEEPEST], stop_when=stop_when
        ).finish()
        assert stopped.end == "stop_when" and len(stopped.steps) == first + 1

    assert " dog" in dog.text and " dog" not in plain.text
    assert dog.text == same.text
    assert list(stopped.steps[0].features) == [DEEPEST]


def test_a_vector_steers_like_the_decoder_row_it_is(demo):
    row = demo.sae(DEEPEST).weights()["W_dec"][1909]
    by_feature = demo.run("A big", steer=[f"{DEEPEST}:1909:add:5"]).logits
    by_vector = demo.run("A big", steer=[f"{DEEPEST}:mine:add:5"], vectors={"mine": row}).logits

    assert np.allclose(by_feature, by_vector, atol=1e-4)
    assert not np.allclose(by_feature, demo.run("A big").logits, atol=1e-2)


def test_sampling_follows_its_seed(demo):
    def text(seed):
        return demo.generate(PROMPT, max_tokens=16, seed=seed, top_k=50, top_p=0.9).finish().text

    assert text(1) == text(1) != text(2)


def test_a_text_that_is_not_read_to_its_end_stops(demo):
    generation = demo.generate(PROMPT, max_tokens=400, temperature=0)
    next(generation)
    before = threading.active_count()
    del generation

    assert threading.active_count() == before
    assert demo.generate(PROMPT, max_tokens=1).finish().end == "max_tokens"


def test_other_threads_run_while_a_pass_computes(golden_model):
    ids = np.tile(np.arange(64), (64, 1))
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    started = time.perf_counter()
    golden_model.run(ids)
    ended = time.perf_counter()
    stop.set()
    thread.join()

    during = [at for at in ticks if started + 0.1 * (ended - started) < at < ended]
    assert len(during) > 5, f"{len(during)} ticks in {ended - started:.3f} s"


def test_a_table_is_a_data_frame_with_the_columns_of_the_program(demo):
    generation = demo.generate(PROMPT, max_tokens=4, temperature=0, track=[DEEPEST]).finish()
    table = pandas.DataFrame(generation.table(top=2))

    assert list(table.columns) == [
        "row", "position", "token_id", "token", "is_prompt", "logprob", "hook", "feature",
        "activation", "label",
    ]  # fmt: skip
    in_prompt = 2 * generation.prompt_len
    assert len(table) == in_prompt + 2 * 4
    assert table.is_prompt.sum() == table.logprob.isna().sum() == in_prompt
    assert set(table.hook) == {DEEPEST}
    assert table.label.map(type).eq(str).all()
    in_polars = polars.DataFrame(generation.table(top=2))
    assert in_polars.columns == list(table.columns)
    assert in_polars["activation"].to_list() == table.activation.tolist()
    step = generation.steps[-1]
    last = table[table.position == step.position]
    assert list(zip(last.feature, last.activation)) == step.features[DEEPEST].strongest(0, 2)
    everything = pandas.DataFrame(demo.run(["A big", "A dog"]).table())
    assert everything.groupby("row").position.max().tolist() == [2, 2]


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_a_notebook_shows_a_heat_map_that_only_draws(demo):
    generation = demo.generate("<script>alert(1)</script>", max_tokens=3, temperature=0)
    for shown in (generation, demo.run("A <b>big</b> dog")):
        parsed = Tags()
        parsed.feed(shown._repr_html_())

        assert set(parsed.tags) == {"div", "svg", "style", "rect", "text", "title"}
        assert "#" in parsed.text and "hook_resid_post" in parsed.text
    assert generation.end == "max_tokens"
    few, many = (demo.run("A dog").heatmap(rows=rows).count("<title>") for rows in (1, 12))
    assert 0 < few < many


def test_without_saes_a_notebook_shows_the_text():
    run = nanoscope.load(DEMO).run("A <b> & c")

    assert run.features == {}
    assert "A &lt;b&gt; &amp; c</pre>" in run._repr_html_()


def test_errors_have_the_texts_of_the_program(demo, tmp_path):
    def text(call):
        with pytest.raises(nanoscope.NanoscopeError) as caught:
            call()
        return str(caught.value)

    nowhere = tmp_path / "nowhere"
    assert "nowhere" in text(lambda: nanoscope.load(nowhere))
    assert "did you mean" in text(lambda: demo.run("a", track=["blocks.3.hook_resid_pots"]))
    assert "it has 4 blocks (0 to 3)" in text(lambda: demo.run("a", track=["blocks.9.hook_resid_post"]))
    assert "no SAE for blocks.0.hook_mlp_out" in text(lambda: demo.run("a", track=["blocks.0.hook_mlp"]))
    assert "unknown operation `boost`" in text(lambda: demo.run("a", steer="1909:boost:3"))
    assert "unknown device `abacus`" in text(lambda: nanoscope.load(device="abacus"))
    assert "unknown dtype `f8`" in text(lambda: nanoscope.load(dtype="f8"))
    assert "top-k" in text(lambda: demo.generate("a", top_k=0))
    assert "one prompt" in text(lambda: demo.generate([[1, 2], [3, 4]]))
    assert "row 1 has" in text(lambda: demo.run(["a", "a big dog"]))
    too_far = text(lambda: demo.run("a", steer=f"{DEEPEST}:99999:add:3"))
    assert "cannot be applied: feature 99999 is out of range, the SAE has 2048" in too_far
    with pytest.raises(nanoscope.FeatureIndexError):
        demo.run("a", steer=f"{DEEPEST}:99999:add:3")
    with pytest.raises(IndexError):
        demo.feature_name(DEEPEST, 99999)
    with pytest.raises(nanoscope.NanoscopeError, match="d_in 256"):
        nanoscope.load(GOLDEN / "head", DEMO / "saes", hook_points=[DEEPEST])


def test_saes_are_given_as_paths_lists_or_by_hook_point():
    folder = GOLDEN / "head/saes/topk"
    by_folder = nanoscope.load(GOLDEN / "head", folder)
    files = sorted(folder.glob("*/best_model.pt"))
    by_list = nanoscope.load(str(GOLDEN / "head"), [str(file) for file in files])
    loaded = nanoscope.load_saes(folder)
    by_dict = nanoscope.load(GOLDEN / "head", loaded)
    elsewhere = nanoscope.load(GOLDEN / "head", {"blocks.0.hook_resid_post": loaded[HOOKS[0]]})
    one = nanoscope.load(GOLDEN / "head", folder, hook_points=[HOOKS[1]])

    assert by_folder.hook_points == by_list.hook_points == by_dict.hook_points == list(loaded)
    assert elsewhere.hook_points == ["blocks.0.hook_resid_post"]
    assert one.hook_points == ["blocks.2.hook_attn_out"]
    a, b = (model.run([1, 2, 3]).features[HOOKS[0]] for model in (by_folder, by_dict))
    assert np.array_equal(a.to_dense(), b.to_dense())


def test_the_demo_comes_with_the_wheel_and_features_have_names():
    demo = nanoscope.load()

    assert demo.hook_points == [f"blocks.{i}.hook_resid_post" for i in range(4)]
    assert "dog" in demo.feature_name(DEEPEST, 1909)
    assert (demo.n_layer, demo.d_model, demo.context_len) == (4, 256, 256)
    assert repr(demo).startswith("Model(n_layer=4, d_model=256")


def test_the_stubs_are_the_module():
    check = [sys.executable, "-m", "mypy.stubtest", "nanoscope", "--ignore-disjoint-bases"]
    done = subprocess.run(check, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_has_a_docstring():
    for name in nanoscope.__all__:
        member = getattr(nanoscope, name)
        assert name == "__version__" or member.__doc__, name
        if isinstance(member, type) and not issubclass(member, Exception):
            for attribute, value in vars(member).items():
                assert attribute.startswith("_") or value.__doc__, f"{name}.{attribute}"
