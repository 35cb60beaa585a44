/*
** text.h - the tokenizer's inside, shared by the files of engine/text.
**
** One structure serves all models:
**   byte-level BPE     (GPT-2, Llama 3, Qwen): bytes written as printable characters, words cut by
**                      regular expressions, pairs merged by rank;
**   SentencePiece BPE  (llama2.c, Llama 2, Gemma): code points, unknown ones as <0xXX> bytes or as
**                      the unknown token; BPE over characters of any other kind too;
**   Unigram            (T5, XLM-R): the cut of a text into pieces whose scores add up highest;
**   WordPiece          (BERT): the longest piece first, "##" in front of those inside a word;
**   word               one id a word.
** A token has a `name` (its key in the vocabulary: "Ġthe", "▁the", "##ing") and `bytes` (what
** it stands for in text: " the", "ing"). Byte-level models look words up by bytes, all others
** by name.
**
** Text becomes ids in five steps, each with a file: added tokens are looked for (added.c),
** what stands between is normalized (normalizer.c), cut into words (pretok.c), and each word
** given to the model (bpe.c, unigram.c, wordpiece.c); encode.c leads. Where a byte of the
** text at hand comes from in the original text is carried along when somebody wants to know.
**
** Control tokens are all "added tokens" but runs of white space. Ordinary encoding never
** emits one: no merge leads to one, no word equals one. Only PL_ENCODE_SPECIAL looks for them
** in the text.
*/
#ifndef PL_TEXT_TEXT_H
#define PL_TEXT_TEXT_H

#include "base/buffer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

#define XXH_INLINE_ALL /* keys are short */
#include <xxhash.h>

#define PL_TEXT_MAX_STEPS 8
#define PL_TEXT_MAX_TOKEN 4096     /* bytes of one token */
#define PL_TEXT_MAX_FILE (1 << 29) /* bytes of one file */
#define PL_TEXT_JSON_DEPTH 64
#define PL_TEXT_MAX_AFFIX 64 /* bytes of a subword prefix or a word suffix */
#define PL_TEXT_KEEP 65536   /* symbols of work space kept between calls */

/* Parts of a tokenizer.json that are made here: GPT-2's bytes; SentencePiece's "▁" for a
** space, with one in front or not, and back. */
#define PL_TEXT_GPT2                                                                          \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" \
    "true}"
#define PL_TEXT_SPM \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}"
#define PL_TEXT_SPM_PREFIX                                                       \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":" \
    "\"\xE2\x96\x81\"}," PL_TEXT_SPM "]}"
#define PL_TEXT_DECODERS(more)                                                                  \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"       \
    "\"\xE2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}" more \
    "]}"
#define PL_TEXT_SPM_DECODER PL_TEXT_DECODERS("")
#define PL_TEXT_SPM_STRIP \
    PL_TEXT_DECODERS(",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}")

/* Inside a pattern's class: alphabetic characters, marks, decimal digits and connectors. */
#define PL_TEXT_WORD                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}" \
    "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

enum {
    PL__TOK_PRESENT = 1,       /* the id has a token: vocabularies may have holes */
    PL__TOK_ADDED = 2,         /* listed under added_tokens */
    PL__TOK_SPECIAL = 4,       /* dropped by PL_DECODE_SKIP_SPECIAL */
    PL__TOK_BYTE = 8,          /* a <0xXX> token */
    PL__TOK_CONTROL = 16,      /* never from user text */
    PL__TOK_STRIP_LEFT = 32,   /* an added token that swallows the white space before it */
    PL__TOK_STRIP_RIGHT = 64,  /* and behind it */
    PL__TOK_SINGLE_WORD = 128, /* found where no letter stands beside it */
    PL__TOK_NORMALIZED = 256,  /* looked for in the normalized text */
    PL__TOK_CONTINUES = 512    /* no space before it: "##ing" */
};

typedef struct {
    uint32_t name_at, name_length, bytes_at, bytes_length; /* into tok->names, tok->bytes */
    uint16_t flags;
} pl__token;

/* Open addressing over ids; the keys are the tokens' names or bytes. */
typedef struct {
    int32_t *slot; /* -1: empty */
    uint32_t mask;
} pl__map;

/* A pair of neighbours that merges: lower rank first. */
typedef struct {
    int32_t left, right; /* left -1: empty slot */
    int32_t rank, result;
} pl__pair;

typedef struct {
    pl__pair *slot;
    uint32_t mask;
    int64_t count;
} pl__pairs;

/* Words of bytes to numbers, byte by byte. {0} is an empty one. */
typedef struct {
    int32_t *value; /* of each node, -1: no word ends there; node 0 is the root */
    int64_t count, room;
    struct pl__edge *edge;
    uint32_t mask;
    int32_t root[256]; /* the nodes behind the first byte */
} pl__trie;

/* Where a byte of a changed text comes from: bytes [start, end) of the original one. */
typedef struct {
    uint32_t start, end;
} pl__origin;

/* A changed text; `origin` has an entry a byte when it is traced. */
typedef struct {
    pl__buf text;
    pl__origin *origin;
    size_t origin_room;
    bool traced;
} pl__changed;

typedef enum {
    PL__NORMAL_NONE,
    PL__NORMAL_NFC,
    PL__NORMAL_NFD,
    PL__NORMAL_NFKC,
    PL__NORMAL_NFKD
} pl__normal;

/* One step of the normalizer; which fields count depends on the kind. */
typedef struct {
    enum {
        PL__STEP_FORM,
        PL__STEP_CHARSMAP,
        PL__STEP_NMT,
        PL__STEP_BERT,
        PL__STEP_LOWER,
        PL__STEP_STRIP_MARKS,
        PL__STEP_STRIP,
        PL__STEP_REPLACE,
        PL__STEP_PREPEND
    } kind;
    pl__normal form;
    bool clean, chinese, left, right; /* BERT; STRIP */
    bool longest;                     /* CHARSMAP: the longest match, as SentencePiece takes it */
    pcre2_code *code;                 /* REPLACE */
    char *text;                       /* REPLACE, PREPEND: what is put; CHARSMAP: the map */
    size_t length;
} pl__norm_step;

typedef enum {
    PL__REMOVED,
    PL__ISOLATED,
    PL__MERGED_WITH_PREVIOUS,
    PL__MERGED_WITH_NEXT,
    PL__CONTIGUOUS
} pl__behavior;

/* One step of the pre-tokenizer: a cut, or white space put in front. */
typedef struct {
    enum {
        PL__STEP_CUT,
        PL__STEP_METASPACE, /* "▁" for spaces, and one in front */
        PL__STEP_SPACE,     /* a space in front, where there is none */
        PL__STEP_ALPHABET,  /* bytes as the characters of GPT-2's alphabet, for cuts behind it */
        PL__STEP_BYTES      /* and back */
    } kind;
    pcre2_code *code; /* CUT */
    pl__behavior behavior;
    bool invert;
    bool prefix, first_only, split; /* METASPACE */
} pl__step;

/* Tokens of different bytes, sorted by them; shorter[i] is the place of the longest other one that
** ids[i] begins with, -1: none. So the tokens that a text begins with are one chain. */
typedef struct {
    int32_t *ids, *shorter;
    int64_t count;
} pl__prefixes;

typedef struct {
    uint32_t start, length;
} pl__piece;

typedef struct {
    pl__piece *data;
    int64_t count, room;
} pl__pieces;

struct pl__word_cache;

struct pl_tokenizer {
    pl_ctx *ctx;
    pl_tokenizer_kind kind;

    pl__token *tokens;
    int64_t count, room;
    pl__buf names, bytes;
    pl__map by_name, by_bytes; /* by_bytes: ordinary tokens alone */
    int32_t byte_id[256];      /* -1: none */

    pl__pair *merges; /* in order of rank, for saving */
    int64_t n_merges, merges_room;
    pl__pairs pairs;
    bool whole_words;   /* "ignore_merges": a word that is a token is not merged up to */
    bool cut_at_spaces; /* SentencePiece: no token has a "▁" after another character */
    bool fuse_unk;      /* neighbours that are unknown become one unknown token */
    bool byte_fallback; /* unknown characters become <0xXX> tokens */
    char *word_prefix, *word_suffix; /* of pieces inside a word, at its end; NULL: none */
    int64_t longest_word;            /* WordPiece: a longer word is unknown */

    double *scores; /* Unigram: of the first n_scores ids */
    int64_t n_scores;
    double unk_score;
    bool float_scores; /* sums of scores are rounded to float, as SentencePiece does */
    pl__trie words;

    pl__norm_step norm[PL_TEXT_MAX_STEPS];
    int n_norm;
    pl__step step[PL_TEXT_MAX_STEPS];
    int n_steps;
    bool traced; /* some step wants to know where a text begins */
    /* The parts as tokenizer.json has them, to be saved; NULL: none. */
    char *norm_text, *steps_text, *decoder_text;
    pcre2_general_context *regex_memory;
    pcre2_match_context *regex_context;
    pcre2_jit_stack *regex_stack;
    pcre2_match_data *regex_match;
    bool prefix_space; /* some step puts a space in front of a text */

    pl__trie added, added_normalized;  /* those looked for before and after normalizing */
    bool spaces_between, clean_spaces; /* decoding: as WordPiece does */

    int32_t bos, eos, pad, unk; /* -1: none */
    int32_t model_unk;          /* what the model itself writes for the unknown, -1: nothing */
    bool adds_bos, adds_eos;
    char *chat_template;
    bool template_is_file; /* chat_template.jinja, which goes before the config's */
    char *json, *config;   /* the files loaded from, to be saved again; NULL: none */
    size_t json_length, config_length;

    /* work space, kept between calls */
    struct pl__word_cache *cache;
    void *symbols, *heap;
    int64_t symbols_room, heap_room;
    pl__pieces pieces[2];
    pl__changed changed[2], stepped[2]; /* by the normalizer, by the pre-tokenizer */
    void *lattice;
    int64_t lattice_room;
    pl__buf streamed;
};

/* One call of encode. */
typedef struct {
    pl_tokenizer *tok;
    const pl_encode_options *options;
    pl__ids ids;
    pl_text_span *spans; /* NULL unless they are wanted: one an id */
    int64_t spans_room;
    bool wants_spans;
    bool continued; /* nothing is put in front of the text at hand */
    /* The text at hand: changed, or original from byte `base` on. */
    const char *text;
    const pl__origin *origin;
    size_t base;
} pl__run;

/* vocab.c ---------------------------------------------------------------------------------- */
pl_tokenizer *pl__tok_new(pl_ctx *ctx, pl_tokenizer_kind kind);
/* Sets token `id`; PL_ERR_FORMAT when the id is taken. Bytes and flags come with the finish. */
pl_status pl__tok_set(pl_tokenizer *tok, int64_t id, const char *name, size_t length,
                      uint16_t flags);
pl_status pl__tok_add_merge(pl_tokenizer *tok, int32_t left, int32_t right, int32_t rank,
                            int32_t result);
/* Names are known: makes the map by name. */
pl_status pl__tok_index_names(pl_tokenizer *tok);
/* The same bit by bit: room for `count` names, then one name that is not there yet. */
pl_status pl__tok_reserve_names(pl_tokenizer *tok, int64_t count);
void pl__tok_index_name(pl_tokenizer *tok, int32_t id);
/* All tokens and their flags are known: makes the bytes of each token, byte ids and the map by
** bytes. pl__added_list follows. */
pl_status pl__tok_derive(pl_tokenizer *tok);
/* Adds PL__TOK_ADDED | PL__TOK_SPECIAL, before the derivation. */
void pl__tok_make_special(pl_tokenizer *tok, int32_t id);
/* The id for what the vocabulary cannot say, -1: none. Never one that begins, ends or pads: GPT-2
** names its end token as unknown too, and text must not be able to end itself. */
int32_t pl__tok_unknown(const pl_tokenizer *tok);
int32_t pl__tok_by_name(const pl_tokenizer *tok, const char *name, size_t length);
int32_t pl__tok_by_bytes(const pl_tokenizer *tok, const char *bytes, size_t length);

/* Room for `count` ids, to be filled by the caller. */
pl_status pl__prefixes_new(pl_ctx *ctx, pl__prefixes *set, int64_t count);
/* Sorts the ids, drops all but the lowest of those with the same bytes, sets `shorter`. With
** `backwards` bytes are read from the last to the first: "ends with" in place of "begins with".
** Linear in the bytes of all tokens, but for the sorting. */
void pl__prefixes_order(const pl_tokenizer *tok, pl__prefixes *set, bool backwards);
void pl__prefixes_free(pl_ctx *ctx, pl__prefixes *set);

static inline const char *pl__tok_name(const pl_tokenizer *tok, int64_t id)
{
    return tok->names.data + tok->tokens[id].name_at;
}

static inline const char *pl__tok_bytes(const pl_tokenizer *tok, int64_t id)
{
    return tok->bytes.data + tok->tokens[id].bytes_at;
}

/* For tables in memory alone: nothing that is written depends on them. */
static inline uint32_t pl__text_hash(const char *data, size_t length)
{
    return (uint32_t)XXH3_64bits(data, length);
}

static inline uint32_t pl__pair_hash(int32_t left, int32_t right)
{
    const int32_t pair[2] = {left, right};
    return (uint32_t)XXH3_64bits(pair, sizeof pair);
}

/* GPT-2's printable alphabet: byte to code point, and back (-1: not of the alphabet). */
uint32_t pl__alphabet_char(unsigned byte);
int pl__alphabet_byte(uint32_t code);

/* trie.c ----------------------------------------------------------------------------------- */
/* The first value of two equal words stays. */
pl_status pl__trie_add(pl_ctx *ctx, pl__trie *trie, const char *word, size_t length, int32_t value);
/* The node one byte further, -1: none. */
int32_t pl__trie_step(const pl__trie *trie, int32_t node, unsigned char byte);
void pl__trie_free(pl_ctx *ctx, pl__trie *trie);

/* changed.c -------------------------------------------------------------------------------- */
/* Appends bytes that all come from `origin`. */
pl_status pl__changed_add(pl_ctx *ctx, pl__changed *out, const char *bytes, size_t length,
                          pl__origin origin);
/* Appends bytes [start, start + length) of another text, as they are. */
pl_status pl__changed_copy(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t start,
                           size_t length);
/* Where bytes [start, end), at least one, come from; nowhere in particular when it is not
** traced. */
pl__origin pl__changed_origin(const pl__changed *text, size_t start, size_t end);
void pl__changed_empty(pl__changed *text, bool traced);
void pl__changed_free(pl_ctx *ctx, pl__changed *text);

/* normalize.c ------------------------------------------------------------------------------ */
/* Appends `from` normalized; invalid bytes pass unchanged. */
pl_status pl__normalize(pl_ctx *ctx, pl__changed *out, const pl__changed *from, pl__normal form);

/* charsmap.c ------------------------------------------------------------------------------- */
/* PL_ERR_FORMAT unless the map is whole. */
pl_status pl__charsmap_check(pl_ctx *ctx, const char *map, size_t size, const char *path);
/* Appends `from` mapped: the longest match at each place, or the shortest one of each grapheme. */
pl_status pl__charsmap_run(pl_ctx *ctx, pl__changed *out, const pl__changed *from, const char *map,
                           size_t size, bool longest);

/* normalizer.c ----------------------------------------------------------------------------- */
/* PL_ERR_FORMAT when there are too many; the step's memory is the tokenizer's from now on, or
** freed. */
pl_status pl__norm_add(pl_tokenizer *tok, pl__norm_step step, const char *where);
/* Whether the steps leave this text as it is. */
bool pl__norm_leaves(const pl_tokenizer *tok, const char *text, size_t length);
/* Runs all steps over `text` in place of it; *out is one of tok->changed. `base` is where `text`
** begins in the original. */
pl_status pl__norm_run(pl_tokenizer *tok, const char *text, size_t length, size_t base, bool traced,
                       bool continued, pl__changed **out);
void pl__norm_free(pl_tokenizer *tok);
/* Rust's \w and White_Space. */
bool pl__is_word_char(uint32_t code);
bool pl__is_white(uint32_t code);

/* pretok.c --------------------------------------------------------------------------------- */
extern const char pl__gpt2_pattern[];
/* Compiles a pattern; `where` names the file for the error text. */
pl_status pl__regex_new(pl_tokenizer *tok, pcre2_code **out, const char *pattern, size_t length,
                        bool literal, const char *where);
/* The next match at or behind `at`; *found false when there is none. */
pl_status pl__regex_find(pl_tokenizer *tok, const pcre2_code *code, const char *text, size_t length,
                         size_t at, size_t *from, size_t *to, bool *found);
/* Adds a cut. */
pl_status pl__step_add(pl_tokenizer *tok, const char *pattern, size_t length, bool literal,
                       pl__behavior behavior, bool invert, const char *where);
/* Adds any step, which takes the code. */
pl_status pl__step_put(pl_tokenizer *tok, pl__step step, const char *where);
void pl__steps_free(pl_tokenizer *tok);
/* Cuts the run's text, `length` bytes, into words; each byte that is no UTF-8 is one. May
** change the run's text. Borrowed. */
pl_status pl__steps_run(pl__run *run, size_t length, const pl__pieces **out);
pl_status pl__pieces_add(pl_ctx *ctx, pl__pieces *pieces, size_t start, size_t length);

/* bpe.c ------------------------------------------------------------------------------------ */
/* The table of tok->merges; merges into control tokens are left out. */
pl_status pl__pairs_build(pl_tokenizer *tok);
const pl__pair *pl__pairs_get(const pl__pairs *pairs, int32_t left, int32_t right);
/* Appends the ids of bytes [start, start + length) of the run's text: a word, or all of it. */
pl_status pl__bpe_encode(pl__run *run, size_t start, size_t length);
void pl__bpe_free(pl_tokenizer *tok);

/* unigram.c, wordpiece.c: the same. */
pl_status pl__unigram_encode(pl__run *run, size_t start, size_t length);
/* The scores are set: the trie of pieces and the unknown's score. */
pl_status pl__unigram_derive(pl_tokenizer *tok, bool bytes_are_pieces);
pl_status pl__wordpiece_encode(pl__run *run, size_t start, size_t length);

/* added.c ---------------------------------------------------------------------------------- */
/* The tries of added tokens, for a derived tokenizer with its normalizer. */
pl_status pl__added_list(pl_tokenizer *tok);
/* Gives each stretch between added tokens to `between`, and their ids to the run. `text` is the
** original from `base` on, or a changed one with its origins. */
typedef pl_status pl__between(pl__run *run, const char *text, size_t length, size_t base,
                              const pl__origin *origin);
pl_status pl__added_split(pl__run *run, const pl__trie *set, const char *text, size_t length,
                          size_t base, const pl__origin *origin, pl__between *between);

/* emit.c ----------------------------------------------------------------------------------- */
/* Appends an id that stands for bytes [start, end) of the run's text. */
pl_status pl__emit(pl__run *run, int32_t id, size_t start, size_t end);

/* scores.c --------------------------------------------------------------------------------- */
/* Sets tok->merges, of a derived tokenizer, from the scores of its first n tokens. */
pl_status pl__merges_from_scores(pl_tokenizer *tok, const double *scores, int64_t n);

/* word_cuts.c ------------------------------------------------------------------------------ */
typedef struct {
    const char *name, *pre_tokenizer; /* JSON */
    bool whole_words, adds_bos;
} pl__word_cuts;

/* NULL: not known. */
const pl__word_cuts *pl__word_cuts_find(const char *name);

/* spm.c ------------------------------------------------------------------------------------ */
/* A tokenizer.model already in memory, up to the derivation; `scores` says what merges first. */
pl_status pl__load_spm(pl_ctx *ctx, pl_tokenizer **out, const char *data, size_t size,
                       const char *path);

/* load.c, load_json.c ---------------------------------------------------------------------- */
/* A tokenizer.json already in memory, up to the derivation; `path` for error texts. */
pl_status pl__load_json(pl_ctx *ctx, pl_tokenizer **out, const char *text, size_t length,
                        const char *path);
struct json_object;
/* load_steps.c: the parts of a tokenizer.json, each NULL or an object. The decoder says what
** tokens stand for and comes before the derivation. */
pl_status pl__load_normalizer(pl_tokenizer *tok, struct json_object *thing, const char *path);
pl_status pl__load_steps(pl_tokenizer *tok, struct json_object *thing, const char *path);
pl_status pl__load_post(pl_tokenizer *tok, struct json_object *thing, const char *path);
pl_status pl__load_decoder(pl_tokenizer *tok, struct json_object *thing, const char *path);
/* The same from JSON text, "null" for none, which is copied to be saved. */
pl_status pl__load_parts(pl_tokenizer *tok, const char *normalizer, const char *steps,
                         const char *decoder, const char *path);
/* One added token {content, lstrip, ...}. */
pl_status pl__load_added_token(pl_tokenizer *tok, int64_t id, struct json_object *item,
                               const char *path);
/* Takes every member of a {name: id} object as a token. */
pl_status pl__load_vocab(pl_tokenizer *tok, struct json_object *vocab, const char *path);
/* One merge by the names of its parts. */
pl_status pl__load_merge(pl_tokenizer *tok, const char *left, size_t n_left, const char *right,
                         size_t n_right, int64_t rank, const char *path);

#endif
