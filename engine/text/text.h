/*
** text.h - the tokenizer's inside, shared by the files of engine/text.
**
** One structure serves three models:
**   byte-level BPE  (GPT-2, Llama 3, Qwen): bytes written as printable characters, words cut by
**                   regular expressions, pairs merged by rank;
**   SentencePiece BPE (llama2.c, Llama 2): code points, unknown ones as <0xXX> bytes, a space in
**                   front, the pair whose merged token has the highest score first;
**   word            one id a white-space separated word.
** A token has a `name` (its key in the vocabulary: "Ġthe", "▁the") and `bytes` (what it stands for
** in text: " the"). Both BPE models use one merge loop: scores become ranks when loading.
**
** Control tokens are all "added tokens" but runs of white space. Ordinary encoding never emits one:
** no merge leads to one, no word equals one. Only PL_ENCODE_SPECIAL looks for them in the text.
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
#define PL_TEXT_KEEP 65536 /* symbols of work space kept between calls */

/* Inside a pattern's class: alphabetic characters, marks, decimal digits and connectors. */
#define PL_TEXT_WORD                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}" \
    "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

enum {
    PL__TOK_PRESENT = 1,     /* the id has a token: vocabularies may have holes */
    PL__TOK_ADDED = 2,       /* listed under added_tokens */
    PL__TOK_SPECIAL = 4,     /* dropped by PL_DECODE_SKIP_SPECIAL */
    PL__TOK_BYTE = 8,        /* a <0xXX> token */
    PL__TOK_CONTROL = 16,    /* never from user text */
    PL__TOK_STRIP_LEFT = 32, /* an added token that swallows the white space before it */
    PL__TOK_STRIP_RIGHT = 64 /* and behind it */
};

typedef struct {
    uint32_t name_at, name_length, bytes_at, bytes_length; /* into tok->names, tok->bytes */
    uint8_t flags;
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

/* One cut of the pre-tokenizer. */
typedef struct {
    pcre2_code *code;
    bool keep_match, keep_gap;
} pl__step;

/* Tokens of different bytes, sorted by them; shorter[i] is the place of the longest other one that
** ids[i] begins with, -1: none. So the tokens that a text begins with are one chain. */
typedef struct {
    int32_t *ids, *shorter;
    int64_t count;
} pl__prefixes;

typedef enum {
    PL__NORMAL_NONE,
    PL__NORMAL_NFC,
    PL__NORMAL_NFD,
    PL__NORMAL_NFKC,
    PL__NORMAL_NFKD
} pl__normal;

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
    bool cut_at_spaces; /* SentencePiece: no token has a space after another character */

    pl__step step[PL_TEXT_MAX_STEPS];
    int n_steps;
    const char *steps_text; /* the pre-tokenizer as tokenizer.json has it, NULL: the kind's own */
    pcre2_general_context *regex_memory;
    pcre2_match_context *regex_context;
    pcre2_jit_stack *regex_stack;
    pcre2_match_data *regex_match;
    pl__normal normal;
    bool prefix_space, prefix_once; /* a space in front; not again behind an added token */

    pl__prefixes added;
    uint8_t added_starts[256]; /* 1: a control token starts with this byte, 2: another added one */

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
    pl__buf normalized, streamed;
};

/* vocab.c ---------------------------------------------------------------------------------- */
pl_tokenizer *pl__tok_new(pl_ctx *ctx, pl_tokenizer_kind kind);
/* Sets token `id`; PL_ERR_FORMAT when the id is taken. Bytes and flags come with the finish. */
pl_status pl__tok_set(pl_tokenizer *tok, int64_t id, const char *name, size_t length,
                      uint8_t flags);
pl_status pl__tok_add_merge(pl_tokenizer *tok, int32_t left, int32_t right, int32_t rank,
                            int32_t result);
/* Names are known: makes the map by name. */
pl_status pl__tok_index_names(pl_tokenizer *tok);
/* The same bit by bit: room for `count` names, then one name that is not there yet. */
pl_status pl__tok_reserve_names(pl_tokenizer *tok, int64_t count);
void pl__tok_index_name(pl_tokenizer *tok, int32_t id);
/* All tokens and their flags are known: makes the bytes of each token, byte ids, the map by bytes
** and the list of added tokens. */
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

/* normalize.c ------------------------------------------------------------------------------ */
/* Appends `text` normalized; invalid bytes pass unchanged. */
pl_status pl__normalize(pl_ctx *ctx, pl__buf *out, const char *text, size_t length,
                        pl__normal form);

/* pretok.c --------------------------------------------------------------------------------- */
extern const char pl__gpt2_pattern[];
/* Adds a cut; `where` names the file for the error text. */
pl_status pl__step_add(pl_tokenizer *tok, const char *pattern, size_t length, bool literal,
                       bool keep_match, bool keep_gap, const char *where);
void pl__steps_free(pl_tokenizer *tok);
/* Cuts text[0..length) into pieces; each byte that is no UTF-8 is a piece. Borrowed. */
pl_status pl__steps_run(pl_tokenizer *tok, const char *text, size_t length, const pl__pieces **out);
pl_status pl__pieces_add(pl_ctx *ctx, pl__pieces *pieces, size_t start, size_t length);

/* bpe.c ------------------------------------------------------------------------------------ */
/* The table of tok->merges; merges into control tokens are left out. */
pl_status pl__pairs_build(pl_tokenizer *tok);
const pl__pair *pl__pairs_get(const pl__pairs *pairs, int32_t left, int32_t right);
/* Appends the ids of one word (byte-level) or of a whole text (SentencePiece). */
pl_status pl__bpe_encode(pl_tokenizer *tok, pl__ids *out, const char *text, size_t length);
void pl__bpe_free(pl_tokenizer *tok);

/* scores.c --------------------------------------------------------------------------------- */
/* Sets tok->merges, of a derived tokenizer, from the scores of its tokens. */
pl_status pl__merges_from_scores(pl_tokenizer *tok, const float *scores);

/* word_cuts.c ------------------------------------------------------------------------------ */
typedef struct {
    const char *name, *pre_tokenizer; /* JSON */
    bool whole_words, adds_bos;
} pl__word_cuts;

/* NULL: not known. */
const pl__word_cuts *pl__word_cuts_find(const char *name);

/* load.c, load_json.c ---------------------------------------------------------------------- */
/* A tokenizer.json already in memory, up to the derivation; `path` for error texts. */
pl_status pl__load_json(pl_ctx *ctx, pl_tokenizer **out, const char *text, size_t length,
                        const char *path);
struct json_object;
/* Takes every member of a {name: id} object as a token. */
pl_status pl__load_vocab(pl_tokenizer *tok, struct json_object *vocab, const char *path);
/* The cuts of a pre-tokenizer in JSON. */
pl_status pl__load_steps_text(pl_tokenizer *tok, const char *json, const char *path);
/* One merge by the names of its parts. */
pl_status pl__load_merge(pl_tokenizer *tok, const char *left, size_t n_left, const char *right,
                         size_t n_right, int64_t rank, const char *path);

#endif
