"""Makes the goldens of tests/lua/jinja_spec.lua: what Python's jinja2, configured as transformers
does, makes of the templates here and of those that stand outside the repository.

    TZ=UTC python make_jinja.py [FOLDER]    # transformers 5.23.0, jinja2 3.1.6, xxhash 3

expected_expressions.json   for each template of expressions.json its text, or false: refused
expected_conversations.json for each template of templates/ and each of conversations.json, without
                            and with a generation prompt: the text and its generated stretches
                            (in characters), or false
expected_models.json        the same for the templates of FOLDER (templates/*.jinja, and
                            tokenizers/*/tokenizer_config.json): XXH3-128 of template and text alone
"""
import datetime
import glob
import json
import os
import sys

import transformers.utils.chat_template_utils as chat
import xxhash

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = 1749988800
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


chat.datetime = Fixed


def render(template, values):
    try:
        compiled = chat._compile_jinja_template(template)
        out, generated = [], []
        with compiled.environment.activate_tracker(out, generated):
            for block in compiled.generate(**values):
                out.append(block)
        return "".join(out), generated
    except Exception:
        return False


def read(name):
    with open(os.path.join(HERE, name), newline="", encoding="utf-8") as file:
        return file.read()


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=0, sort_keys=True)
        file.write("\n")


CONVERSATIONS = json.loads(read("conversations.json"))


def on_conversations(template, keep):
    found = []
    for conversation in CONVERSATIONS:
        for prompt in (False, True):
            values = dict(TOKENS, messages=conversation["messages"], documents=None,
                          tools=conversation.get("tools"), add_generation_prompt=prompt)
            values.update(conversation.get("chat_template_kwargs", {}))
            result = render(template, values)
            found.append(result and keep(*result))
    return found


def hashed(text, *_):
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8"))


def main():
    cases = json.loads(read("expressions.json"))
    values = dict(cases["values"], **cases["trusted"])
    texts = [render(template, values) for template in cases["templates"]]
    write("expected_expressions.json", [text and text[0] for text in texts])
    own = {}
    for path in sorted(glob.glob(os.path.join(HERE, "templates", "*.jinja"))):
        name = os.path.basename(path)
        own[name] = on_conversations(read(path), lambda text, marks: {"text": text, "marks": marks})
    write("expected_conversations.json", own)
    if len(sys.argv) < 2:
        return
    outside = {}
    for path in sorted(glob.glob(sys.argv[1] + "/templates/*.jinja")):
        with open(path, newline="", encoding="utf-8") as file:
            outside["templates/" + os.path.basename(path)] = file.read()
    for path in sorted(glob.glob(sys.argv[1] + "/tokenizers/*/tokenizer_config.json")):
        with open(path, encoding="utf-8") as file:
            template = json.load(file).get("chat_template")
        if template:
            outside[os.path.relpath(path, sys.argv[1])] = template
    write("expected_models.json", {
        name: {"template": hashed(text), "texts": on_conversations(text, hashed)}
        for name, text in outside.items()
    })


if __name__ == "__main__":
    main()
