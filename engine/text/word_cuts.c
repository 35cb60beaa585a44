/*
** word_cuts.c - the word cuts that GGUF files name by `tokenizer.ggml.pre`.
**
** A name stands for a pre-tokenizer that llama.cpp has built in. Each is given here in the form of
** tokenizer.json, which is how it is read and how it is saved; several names share one.
*/
#include "text/text.h"

#define BYTES \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}"
#define GPT2 \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define SEQUENCE(items) "{\"type\":\"Sequence\",\"pretokenizers\":[" items "]}"
#define SPLIT(pattern)                                      \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define DIGIT "{\"type\":\"Digits\",\"individual_digits\":true}"

/* Parts of patterns, in JSON: contractions in either case; the white space and symbols that most
** patterns end with. */
#define SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define REST_SLASH \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define WORD SHORT "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}"
/* Words with capitals in front, then words with capitals behind. */
#define LEAD "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?"
#define UPPER "[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define LOWER "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define CASED(tail) LEAD UPPER "*" LOWER "+" tail "|" LEAD UPPER "+" LOWER "*" tail
#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)"

static const char gpt2[] = GPT2;
static const char digits[] = SEQUENCE(DIGIT "," GPT2);
static const char llama3[] = SEQUENCE(SPLIT(WORD "{1,3}" REST) "," BYTES);
static const char qwen2[] = SEQUENCE(SPLIT(WORD REST) "," BYTES);
static const char tekken[] = SEQUENCE(SPLIT(CASED("") "|\\\\p{N}" REST_SLASH) "," BYTES);
static const char gpt4o[] = SEQUENCE(SPLIT(CASED(SHORT "?") "|\\\\p{N}{1,3}" REST_SLASH) "," BYTES);
static const char falcon[] = SEQUENCE(SPLIT("[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|`]+") "," SPLIT(
    GPT2_PATTERN) "," SPLIT("[0-9][0-9][0-9]") "," BYTES);
static const char unnamed[] = SEQUENCE(SPLIT("[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|]+") "," SPLIT(
    GPT2_PATTERN) "," SPLIT("\\\\p{N}+") "," SPLIT("[0-9][0-9][0-9]") "," BYTES);
/* Chinese and Japanese; words with one sign before them. */
#define HAN "[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"
#define SIGNED "[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+"
#define MARKED "|[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+"
#define SYMBOLS "| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
static const char deepseek3[] =
    SEQUENCE(SPLIT("\\\\p{N}{1,3}") "," SPLIT(HAN) "," SPLIT(SIGNED MARKED SYMBOLS) "," BYTES);

static const pl__word_cuts table[] = {
    {"default", unnamed, false, false},
    {"gpt-2", gpt2, false, false},
    {"phi-2", gpt2, false, false},
    {"mpt", gpt2, false, false},
    {"olmo", gpt2, false, false},
    {"jais", gpt2, false, false},
    {"exaone4", gpt2, false, false},
    {"smollm", digits, false, false},
    {"starcoder", digits, false, false},
    {"refact", digits, false, false},
    {"command-r", digits, false, false},
    {"codeshell", digits, false, false},
    {"exaone", digits, false, false},
    {"minerva-7b", digits, false, false},
    {"llama-bpe", llama3, true, true},
    {"llama3", llama3, true, true},
    {"llama-v3", llama3, true, true},
    {"falcon3", llama3, true, true},
    {"falcon-h1", llama3, true, true},
    {"pixtral", llama3, true, true},
    {"lfm2", llama3, true, true},
    {"dbrx", llama3, false, false},
    {"smaug-bpe", llama3, false, false},
    {"glm4", llama3, false, false},
    {"chatglm-bpe", llama3, false, false},
    {"qwen2", qwen2, false, false},
    {"deepseek-r1-qwen", qwen2, false, false},
    {"stablelm2", qwen2, false, false},
    {"megrez", qwen2, false, false},
    {"tekken", tekken, true, true},
    {"gpt-4o", gpt4o, false, false},
    {"llama4", gpt4o, false, false},
    {"deepseek-v3", deepseek3, false, false},
    {"falcon", falcon, false, false},
};

const pl__word_cuts *pl__word_cuts_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}
