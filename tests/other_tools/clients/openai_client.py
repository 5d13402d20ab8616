"""OpenAI's Python client against the server.

    NANOSCOPE_BINARY=target/debug/nanoscope python tests/other_tools/clients/openai_client.py
"""

import openai

from server import served

HOOK = "blocks.3.hook_resid_post"
DOG = f"{HOOK}:1909:add:27"
PROMPT = "Once upon a time, there was a"


def lists(client):
    models = client.models.list().data
    assert [model.id for model in models] == ["demo"], models
    assert client.models.retrieve("demo").object == "model"


def completes(client):
    answer = client.completions.create(
        model="demo", prompt=PROMPT, max_tokens=12, temperature=0, logprobs=2
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "length" and choice.text.startswith(" "), choice
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert len(choice.logprobs.tokens) == 12 and "".join(choice.logprobs.tokens) == choice.text
    # Greedy: each token is the likeliest.
    for logprob, top in zip(choice.logprobs.token_logprobs, choice.logprobs.top_logprobs):
        assert logprob <= 0 and abs(max(top.values()) - logprob) < 1e-5, (logprob, top)
    return choice.text


def streams(client, expected):
    stream = client.completions.create(
        model="demo",
        prompt=PROMPT,
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"nanoscope": {"track": [HOOK], "top": 4}},
    )
    text, positions, reason, usage, end = "", [], None, None, None
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            text += choice.text
            reason = choice.finish_reason or reason
        own = (chunk.model_extra or {}).get("nanoscope", {})
        if "position" in own:
            positions.append(own["position"])
            features = own["features"][HOOK]
            assert 0 < len(features) <= 4, own
            values = [value for _, value, *_ in features]
            assert values == sorted(values, reverse=True) and min(values) > 0, own
        end = own.get("end", end)
    assert text == expected, (text, expected)
    assert positions == list(range(positions[0], positions[0] + 12)), positions
    assert (reason, end) == ("length", "max_tokens")
    assert usage.completion_tokens == 12 and usage.prompt_tokens == positions[0]


def steers(client, plain):
    steered = client.completions.create(
        model="demo",
        prompt=PROMPT,
        max_tokens=12,
        temperature=0,
        extra_body={"nanoscope": {"steer": [DOG], "compare": True}},
    )
    with_dog, without = steered.choices
    assert "dog" in with_dog.text and without.text == plain, steered
    applied = with_dog.model_extra["nanoscope"]["applied"]
    assert applied[0]["positions"] > 12 and applied[0]["changed"] > 0, applied


def scores(client):
    """The prompt's log probabilities, and values that ask for nothing."""
    answer = client.completions.create(
        model="demo", prompt=PROMPT, max_tokens=0, echo=True, logprobs=1, temperature=0,
        best_of=1, suffix="", logit_bias={}, extra_body={"top_k": -1, "min_p": 0},
    )
    choice = answer.choices[0]
    lists = choice.logprobs
    assert choice.text == PROMPT and answer.usage.completion_tokens == 0, answer
    assert len(lists.token_logprobs) == answer.usage.prompt_tokens and lists.token_logprobs[0] is None
    assert all(logprob <= 0 for logprob in lists.token_logprobs[1:]), lists


def chats(client):
    ask = {"model": "demo", "max_tokens": 8, "seed": 3, "temperature": 0.9}
    messages = [
        {"role": "system", "content": "You tell stories."},
        {"role": "user", "content": "Tell me about a dog."},
    ]
    answer = client.chat.completions.create(
        messages=messages, logprobs=True, top_logprobs=3, n=2, **ask
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    first = answer.choices[0]
    assert first.message.role == "assistant" and first.message.content
    assert all(len(token.top_logprobs) == 3 for token in first.logprobs.content)
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(messages=messages, stream=True, **ask)
        if chunk.choices
    )
    assert text == first.message.content, (text, first)


def refuses(client):
    def refused(kind, **body):
        body = {"model": "demo", "prompt": PROMPT, **body}
        try:
            client.completions.create(**body)
        except kind as error:
            return error
        raise AssertionError(f"{body} was taken")

    error = refused(openai.BadRequestError, extra_body={"nanoscope": {"steer": [f"{HOOK}:99999:add:1"]}})
    assert "99999" in error.message, error.message
    assert refused(openai.BadRequestError, temperature=-1).body["type"] == "invalid_request_error"
    assert refused(openai.NotFoundError, model="gpt-4o").code == "model_not_found"
    refused(openai.BadRequestError, max_tokens=-3)


def needs_the_key(address):
    try:
        openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0).models.list()
    except openai.AuthenticationError as error:
        assert "sesame" not in error.message
    else:
        raise AssertionError("a wrong key was taken")
    openai.OpenAI(base_url=f"{address}/v1", api_key="sesame").models.list()


def main():
    with served() as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none needed", max_retries=0)
        lists(client)
        plain = completes(client)
        streams(client, plain)
        steers(client, plain)
        scores(client)
        chats(client)
        refuses(client)
    with served("--api-key", "sesame") as address:
        needs_the_key(address)
    print(f"the openai client {openai.__version__} for Python is served")


if __name__ == "__main__":
    main()
