"""Goldens for the tokenizers: what Hugging Face's `tokenizers` and Google's `sentencepiece` make of
hostile strings, and of tokenizers trained here with every kind of step.

    python make_tokenizers.py small SHARED            writes tests/golden/tokenizers/
    python make_tokenizers.py long SHARED OUT [N]     N strings each (10,000), for `perilune test --long`

SHARED is the folder with text/tinyshakespeare.txt (and, for the long run, tokenizers/gpt2 and
tokenizers/qwen3). Each golden is a folder: tokenizer.json or tokenizer.model, and cases.jsonl with
{"t": text, "i": ids, "o": spans} a line, spans as start, end, start, end ... in characters; "s" marks
that control tokens were looked for. Seeds are fixed. Made with tokenizers 0.23.3, sentencepiece 0.2.3.
"""

import functools
import json
import os
import random
import sys
import unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as cuts
from tokenizers import trainers

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
BLOCKS = [(0x20, 0x7E), (0x20, 0x7E), (0, 0x7F), (0x80, 0x24F), (0x250, 0x36F), (0x370, 0x5FF),
          (0x600, 0x8FF), (0x900, 0x109F), (0x10A0, 0x1FFF), (0x2000, 0x2BFF), (0x2C00, 0x2FFF),
          (0x3000, 0x30FF), (0x3100, 0xA4CF), (0xA4D0, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF),
          (0xF900, 0xFFFF), (0x10000, 0x1FFFF), (0x1F300, 0x1FAFF), (0x20000, 0x323AF),
          (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF)]
SPACES = [" ", "  ", "\n", "\r\n", "\r", "\t", "\n\n", "\u00a0", "\u2028", "\u3000", "\u200b", "\x0b",
          "\x0c", "\x85", "\u180e", "\u2009", "\ufeff", "\u2581"]
ODD = ["'s", "'S", "'ll", "'LL", "'\u017f", "don't", "I'M", "\u2019s", "\u212a", "\u0130", "\u0131",
       "\u1e9e", "\u00df", "\ufb01", "\u2460", "\u00bd", "\u2167", "\u00b2", "\u0663", "\U0001d7d8",
       "123", "1234567", "0.5e-3", "$1,000.00", "e\u0301", "\u00e9", "a\u0300\u0301\u0302\u0327",
       "\u0315\u0316", "q\u0307\u0323", "\u1100\u1161\u11a8", "\uac01", "\u0e33", "\u0f71\u0f72",
       "\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1eb\U0001f1f7",
       "\u2764\ufe0f", "\U0001f999", "\U000e0067", "\u200d", "\ufe0f", "{", "}", "[", "]", "<", ">",
       "|", "_", "__init__", "camelCase", "HTTPServer", "##", "##ing", "</w>", "<0x0A>", "<0xE2>",
       "http://a.b/c?d=e&f#g", "\\n", "\x00", "\x01", "\x7f", "\u00ad", "\u2026", "\u2014", "\u3002",
       "\uff0c", "\uff20", "\uff71", "\u682a\u5f0f", "\u337f", "\u0e44\u0e17\u0e22",
       "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
       "\u0440\u0443\u0441\u0441\u043a\u0438\u0439", "\u03b5\u03bb\u03bb\u03ac\u03c2",
       "\u4e2d\u6587\u5b57\u7b26", "\u65e5\u672c\u8a9e", "\ud55c\uad6d\uc5b4", "\u00c0\u00c9\u00ce",
       "\u0150\u0170", "STRASSE", "\u01c5", "\ufffd", "\U0010ffff", "\ud7ff", "\ue000"]
SIGNS = "abcdefghijklmnopqrstuvwxyz'\u2019ABC 0123456789.,-"


FORMS = [(form, getattr(normalizers, form)()) for form in ("NFC", "NFD", "NFKC", "NFKD")]


@functools.lru_cache(maxsize=None)
def settled(char):
    """Whether the package, whose tables are of several versions of Unicode, and Python agree on it."""
    kind, among = unicodedata.category(char), "a" + char + "\u0323\u0301"
    cut = len(cuts.BertPreTokenizer().pre_tokenize_str("a" + char + "a")) > 1
    cuts_it = kind[0] == "P" or char.isspace() or (char < "\x7f" and kind[0] == "S")
    mark = normalizers.StripAccents().normalize_str(char) == ""
    thin = normalizers.BertNormalizer(False, False, True, False).normalize_str(char) == ""
    return (cut == cuts_it and mark == (kind[0] == "M") and thin == (kind == "Mn") and
            all(normal.normalize_str(among) == unicodedata.normalize(form, among)
                for form, normal in FORMS))


class Strings:
    """Plain, random and hostile strings; all of Unicode but surrogates and what is unsettled."""

    def __init__(self, seed, corpus, looks):
        self.rng, self.corpus, self.looks = random.Random(seed), corpus, looks
        self.words, self.lines = corpus.split(), corpus.splitlines()

    def char(self):
        while True:
            char = chr(self.rng.randint(*self.rng.choice(BLOCKS)))
            if unicodedata.category(char) not in ("Cs", "Cn") and settled(char):
                return char

    def piece(self):
        rng, k = self.rng, self.rng.random()
        if k < 0.30:
            return rng.choice(self.words)
        if k < 0.45:
            return rng.choice(SPACES) * rng.choice((1, 1, 1, 2, 3, 7))
        if k < 0.60:
            return rng.choice(ODD)
        if k < 0.80:
            return "".join(self.char() for _ in range(rng.choice((1, 1, 2, 5))))
        if k < 0.88:
            look = rng.choice(self.looks)
            at = rng.randint(0, len(look))
            return rng.choice((look, look, look[:at], look[at:]))
        if k < 0.92:
            return self.char() * rng.choice((2, 3, 5, 17, 40))
        if k < 0.96:
            return rng.choice(ODD) * rng.choice((2, 3, 9))
        return "".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 20)))

    def take(self, n, runs):
        rng, looks = self.rng, self.looks
        out = ["", " ", "  ", "\n", "a", "\u2581", " \u2581 ", "\u0301", "\x00", "a\x00b"] + looks
        out += [a + look + b for look in looks[:5] for a, b in (("", look), (" ", " "), ("x", "y"))]
        out += [" " * k for k in (3, 16, 31, 32, 33, 65)] + ["\n" * k for k in (3, 32)]
        if runs:
            out += ["a" * 3000, "ab" * 1500, "\u00e9" * 999, "\U0001f999" * 400, "\u0301" * 500,
                    "1" * 777, "!" * 777, "=" * 300, "\u65e5" * 555, " a" * 600, "\r\n" * 200,
                    " " * 1000, "-" * 1000, "x" + "\u0315\u0316" * 200]
        while len(out) < n:
            k = rng.random()
            at = rng.randrange(len(self.corpus))
            if k < 0.15:
                out.append(rng.choice(self.lines))
            elif k < 0.2:
                out.append(self.corpus[at:at + rng.randint(1, 300)])
            else:
                out.append("".join(self.piece() for _ in range(rng.choice((1, 2, 3, 4, 6, 10, 20)))))
        return out[:n]


def sequence(*steps):
    return cuts.Sequence(list(steps))


def added(tok):
    """One of each kind of added token."""
    tok.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("  ", normalized=False),
                    AddedToken("Moon", single_word=True, normalized=True),
                    AddedToken("<l>", lstrip=True, normalized=False),
                    AddedToken("<r>", rstrip=True, normalized=False)])
    return tok


def train(tok, trainer, text):
    tok.train_from_iterator(text.splitlines(True), trainer)
    return added(tok)


def bpe(text, size, normalizer, pre, decoder, **options):
    tok = Tokenizer(models.BPE(**options))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    tok.decoder = decoder
    bytelevel = isinstance(decoder, decoders.ByteLevel)
    more = {"initial_alphabet": cuts.ByteLevel.alphabet()} if bytelevel else {}
    if options.get("byte_fallback"):
        more["special_tokens"] = SPECIAL + ["<0x%02X>" % b for b in range(256)]
    for key in ("end_of_word_suffix", "continuing_subword_prefix"):
        if options.get(key):
            more[key] = options[key]
    more.setdefault("special_tokens", SPECIAL)
    return train(tok, trainers.BpeTrainer(vocab_size=size, show_progress=False, **more), text)


def not_special(tok):
    """The byte tokens are no added tokens."""
    state = json.loads(tok.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state))


LLAMA = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
FUSED = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                           decoders.Strip(" ", 1, 0)])
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def with_charsmap(tok, shared, work):
    """A Precompiled normalizer in front: the map that sentencepiece calls nmt_nfkc."""
    model = sentencepiece_model(shared, work, "unigram", 300, "nmt_nfkc")
    from sentencepiece import sentencepiece_model_pb2 as pb
    proto = pb.ModelProto()
    proto.ParseFromString(open(model, "rb").read())
    charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    tok.normalizer = normalizers.Sequence([charsmap, normalizers.Replace(Regex(" {2,}"), " ")])
    return tok


def unigram(text, size, pre, **more):
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = pre
    tok.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>",
                                      show_progress=False)
    tok = train(tok, trainer, text)
    if more:
        state = json.loads(tok.to_str())
        state["model"].update(more)
        vocab = state["model"]["vocab"]
        vocab[-256:] = [["<0x%02X>" % b, -20.0] for b in range(256)]
        state["added_tokens"] = [t for t in state["added_tokens"] if t["id"] < len(vocab) - 256]
        tok = Tokenizer.from_str(json.dumps(state))
    return tok


def bert(text, size, **options):
    tok = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tok.normalizer = normalizers.BertNormalizer(**options)
    tok.pre_tokenizer = cuts.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    return train(tok, trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL,
                                                show_progress=False), text)


def words(text, size):
    tok = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tok.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(),
                                           normalizers.StripAccents(), normalizers.Strip()])
    tok.pre_tokenizer = cuts.Whitespace()
    return train(tok, trainers.WordLevelTrainer(vocab_size=size, special_tokens=SPECIAL,
                                                show_progress=False), text)


def trained(text, size, shared, work):
    """Name to tokenizer, one for each kind of model and step."""
    level = decoders.ByteLevel()
    raw = cuts.ByteLevel(add_prefix_space=False, use_regex=False)
    return {
        "gpt2-nfc": bpe(text, size, normalizers.NFC(), cuts.ByteLevel(add_prefix_space=False), level),
        "roberta": bpe(text, size, None, cuts.ByteLevel(add_prefix_space=True), level),
        "llama3": bpe(text, size, None, sequence(cuts.Split(Regex(CL100K), "isolated"), raw), level,
                      ignore_merges=True),
        "cased": bpe(text, size, normalizers.NFKC(),
                     sequence(cuts.Split(Regex(O200K), "removed", invert=True), raw), level),
        "falcon": bpe(text, size, None,
                      sequence(cuts.Punctuation("contiguous"), cuts.ByteLevel(False),
                               cuts.Digits(False), cuts.Split(Regex("[0-9][0-9][0-9]"), "isolated")),
                      level),
        "smollm": bpe(text, size, None, sequence(cuts.Digits(True), cuts.ByteLevel(False)), level),
        "llama2": not_special(bpe(text, size + 256, LLAMA, None, FUSED, byte_fallback=True,
                                  fuse_unk=True, unk_token="<unk>")),
        "mistral": not_special(bpe(text, size + 256, None,
                                   cuts.Metaspace(prepend_scheme="first", split=False), FUSED,
                                   byte_fallback=True, fuse_unk=True, unk_token="<unk>")),
        "clip": bpe(text, size, normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
                    sequence(cuts.WhitespaceSplit(), cuts.Punctuation("merged_with_previous")),
                    decoders.BPEDecoder("</w>"), end_of_word_suffix="</w>", unk_token="<unk>"),
        "prefixed": bpe(text, size, normalizers.NFKD(),
                        sequence(cuts.CharDelimiterSplit(" "), cuts.Punctuation("merged_with_next")),
                        decoders.WordPiece("##", False), continuing_subword_prefix="##",
                        unk_token="<unk>", fuse_unk=True),
        "unigram": unigram(text, size, cuts.Metaspace()),
        "unigram-bytes": unigram(text, size + 256, cuts.Metaspace(prepend_scheme="never"),
                                 byte_fallback=True),
        "t5": with_charsmap(unigram(text, size, sequence(cuts.WhitespaceSplit(), cuts.Metaspace())),
                            shared, work),
        "bert": bert(text, size, lowercase=True),
        "bert-cased": bert(text, size, lowercase=False, strip_accents=False, clean_text=False),
        "words": words(text, size),
    }


def sentencepiece_model(shared, work, kind, size, rule, **more):
    path = os.path.join(work, "sp-%s-%d-%s" % (kind, size, rule))
    sentencepiece.SentencePieceTrainer.train(
        input=os.path.join(shared, "text", "tinyshakespeare.txt"), model_prefix=path,
        model_type=kind, vocab_size=size, normalization_rule_name=rule, minloglevel=2,
        input_sentence_size=20000, num_threads=1, hard_vocab_limit=False, **more)
    forget_places(path + ".model")
    return path + ".model"


def forget_places(path):
    """Takes the paths of this machine out of a model: they are no part of a golden."""
    model = sentencepiece_model_pb2.ModelProto()
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    model.trainer_spec.ClearField("input")
    model.trainer_spec.ClearField("model_prefix")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def with_long(shared):
    """The real byte-level tokenizers of SHARED."""
    folder = os.path.join(shared, "tokenizers", "gpt2")
    vocab = json.load(open(os.path.join(folder, "encoder.json"), encoding="utf-8"))
    merges = [tuple(line.split()) for line in open(os.path.join(folder, "vocab.bpe"),
                                                   encoding="utf-8").read().splitlines()[1:]]
    gpt2 = Tokenizer(models.BPE(vocab, merges))
    gpt2.pre_tokenizer = cuts.ByteLevel(add_prefix_space=False)
    gpt2.decoder = decoders.ByteLevel()
    gpt2.add_special_tokens(["<|endoftext|>"])
    qwen = Tokenizer.from_file(os.path.join(shared, "tokenizers", "qwen3", "tokenizer.json"))
    return {"gpt2": gpt2, "qwen3": qwen}


def write_cases(folder, cases):
    with open(os.path.join(folder, "cases.jsonl"), "w", encoding="utf-8") as out:
        for case in cases:
            out.write(json.dumps(case, separators=(",", ":")) + "\n")


def golden(folder, tok, texts):
    os.makedirs(folder, exist_ok=True)
    state = json.loads(tok.to_str())
    state["post_processor"] = None  # it would trim the spans
    plain = Tokenizer.from_str(json.dumps(state))
    plain.encode_special_tokens = True
    special = Tokenizer.from_str(json.dumps(state))
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
        out.write(tok.to_str())
    cases = []
    for text in texts:
        made = special.encode(text, add_special_tokens=False)
        cases.append({"t": text, "s": True, "i": made.ids,
                      "o": [x for span in made.offsets for x in span],
                      "d": special.decode(made.ids, skip_special_tokens=False)})
    write_cases(folder, cases)


def golden_model(folder, model, texts):
    os.makedirs(folder, exist_ok=True)
    data = open(model, "rb").read()
    open(os.path.join(folder, "tokenizer.model"), "wb").write(data)
    sp = sentencepiece.SentencePieceProcessor(model_proto=data)
    write_cases(folder, [{"t": t, "i": sp.encode(t), "d": sp.decode(sp.encode(t))} for t in texts])


def main():
    mode, shared = sys.argv[1], sys.argv[2]
    here = os.path.dirname(os.path.abspath(__file__))
    long = mode == "long"
    out = sys.argv[3] if long else os.path.join(here, "tokenizers")
    count = int(sys.argv[4]) if len(sys.argv) > 4 else (10000 if long else 120)
    corpus = open(os.path.join(shared, "text", "tinyshakespeare.txt"), encoding="utf-8").read()
    corpus = corpus[:400000 if long else 60000]
    work = os.path.join("/tmp", "perilune-tokenizers")
    os.makedirs(work, exist_ok=True)
    looks = SPECIAL + ["<tool>", "<l>", "<r>", "Moon", "moon", "Moons", " Moon "]
    texts = Strings(11, corpus, looks).take(count, long)
    toks = trained(corpus, 3000 if long else 300, shared, work)
    for name, tok in toks.items():
        golden(os.path.join(out, name), tok, texts)
    if long:
        for name, tok in with_long(shared).items():
            looks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "<tool_call>"]
            golden(os.path.join(out, name), tok, Strings(12, corpus, looks).take(count, True))
    sized = 3000 if long else 400
    kinds = [("bpe", "identity", {"byte_fallback": True, "remove_extra_whitespaces": False}),
             ("bpe", "nmt_nfkc", {}), ("unigram", "nmt_nfkc", {}),
             ("unigram", "nfkc_cf", {"byte_fallback": True}),
             ("unigram", "identity", {"add_dummy_prefix": False})]
    for kind, rule, more in kinds:
        if not long and (kind, rule) in (("bpe", "nmt_nfkc"), ("unigram", "nfkc_cf")):
            continue
        size = sized + (256 if more.get("byte_fallback") else 0)
        model = sentencepiece_model(shared, work, kind, size, rule, **more)
        golden_model(os.path.join(out, "sp-%s-%s" % (kind, rule)), model, texts)
    print(tokenizers.__version__, sentencepiece.__version__, sorted(os.listdir(out)))


main()
