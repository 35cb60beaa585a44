/*
** tokenizer.c - fuzz target: tokenizer.json, tokenizer_config.json, vocab.json, merges.txt,
** llama2.c's tok.bin and SentencePiece's tokenizer.model. What loads must encode, decode, be
** saved, and load again as the same. Built with ONLY_KIND every input is one of these files.
*/
#include "fuzz.h"

static const char good[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]},"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"added_tokens\":[{\"id\":3,\"content\":\"<s>\"}]}";
static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                    "vocab.json",     "merges.txt",
                                    "tok.bin",        "tokenizer.model"};

static void use(pl_ctx *ctx, pl_tokenizer *tok)
{
    static const char text[] = "ab <s>  abba\n\xC3\xA9\xFF 12 \xE2\x96\x81 e\xCC\x81!";
    int32_t *ids;
    int64_t n;
    char *back;
    size_t length;
    for (unsigned flags = 0; flags < 2; flags++) {
        static const pl_text_span guarded[] = {{1, 4}, {9, 9}, {9, 12}};
        pl_text_span *spans;
        const pl_encode_options options = {flags ? PL_ENCODE_SPECIAL : 0, guarded, 3, &spans};
        if (pl_tokenizer_encode_with(tok, &ids, &n, text, sizeof text - 1, &options) != PL_OK)
            continue;
        for (int64_t i = 0; i < n; i++)
            if (spans[i].start > spans[i].end || spans[i].end > sizeof text - 1) abort();
        pl_free(ctx, spans);
        if (pl_tokenizer_decode(tok, &back, &length, ids, n, 0) == PL_OK) pl_free(ctx, back);
        pl_free(ctx, ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    make_folder();
#ifdef ONLY_KIND
    const unsigned kind = ONLY_KIND;
#else
    const unsigned kind = data[0] % 6;
#endif
    if (kind == 1) put("tokenizer.json", good, sizeof good - 1);
    if (kind == 2) put("merges.txt", "a b\n", 4);
    if (kind == 3) put("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}", 20);
    put(names[kind], data + 1, size - 1);
    pl_ctx *ctx = pl_ctx_new();
    if (!ctx) abort();
    pl_mem_set_limit(ctx, MOST_MEMORY);
    pl_tokenizer *tok, *again;
    if (pl_tokenizer_load(ctx, &tok, folder) == PL_OK) {
        use(ctx, tok);
        for (size_t i = 2; i < 6; i++) take_away(names[i]);
        if (pl_tokenizer_save(tok, folder, NULL) == PL_OK) {
            if (pl_tokenizer_load(ctx, &again, folder) != PL_OK) {
                fprintf(stderr, "saved, and not to be read: %s\n", pl_error(ctx));
                abort();
            }
            const pl_tokenizer_info a = pl_tokenizer_get_info(tok);
            const pl_tokenizer_info b = pl_tokenizer_get_info(again);
            if (a.kind != b.kind || a.size != b.size || a.unk != b.unk || a.bos != b.bos) abort();
            pl_tokenizer_free(again);
        }
        pl_tokenizer_free(tok);
    }
    pl_ctx_free(ctx);
    for (size_t i = 0; i < 6; i++) take_away(names[i]);
    return 0;
}
