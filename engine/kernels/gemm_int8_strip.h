/*
** gemm_int8_strip.h - a strip of rows by registers, once for each instruction: STRIP_NAME names
** its functions, STRIP_TARGET is their attribute, STRIP_DOT(kind, sums, words of W, four numbers of
** x) adds to sums. gemm_int8_step.h includes this file.
*/
/* Of up to four rows, whose sums do not wait for each other. */
static inline __attribute__((always_inline)) STRIP_TARGET void
STRIP_NAME(piece)(const piece_kind kind, const int rows, const w_piece *w, const x_piece *x,
                  int64_t first, reg *s)
{
    enum { HALF = WORDS / 2 };
    ireg sum[2][4];
    UNROLL
    for (int i = 0; i < rows; i++) {
        sum[0][i] = (ireg){0} + x->start[0][first + i];
        sum[1][i] = (ireg){0} + x->start[1][first + i];
    }
    UNROLL
    for (int u = 0; u < WORDS; u++) {
        const int half = kind == TWO_SCALES ? u / HALF : 0;
        UNROLL
        for (int i = 0; i < rows; i++)
            sum[half][i] = STRIP_DOT(kind, sum[half][i], w->word[u], x->four[first + i][u]);
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        const float scale = x->scale[first + i];
        s[i] = r_fma(__builtin_convertvector(sum[0][i], reg), w->scale[0] * scale, s[i]);
        if (kind == TWO_SCALES)
            s[i] = r_fma(__builtin_convertvector(sum[1][i], reg), w->scale[1] * scale, s[i]);
        if (kind == WITH_LEAST) s[i] = r_fma(x->sum[first + i] - (reg){0}, w->least, s[i]);
    }
}

static inline __attribute__((always_inline)) STRIP_TARGET void
STRIP_NAME(rows)(const piece_kind kind, const int rows, const strip_args *g, int64_t first)
{
    const r_count n = r_first(g->cols);
    float *y = g->y + first * g->ldy;
    reg s[STRIP];
    UNROLL
    for (int i = 0; i < rows; i++)
        s[i] = r_load_n(y + i * g->ldy, r_first(g->acc && first + i < g->rows ? g->cols : 0));
    for (int64_t p = 0; p < g->pieces; p++) {
        const x_piece *x = g->x + p;
        const w_piece *w = g->w + p;
        UNROLL
        for (int i = 0; i < rows; i += 4)
            STRIP_NAME(piece)(kind, least(4, rows - i), w, x, first + i, s + i);
    }
    const reg bias = g->bias ? r_load_n(g->bias, n) : (reg){0};
    UNROLL
    for (int i = 0; i < rows; i++)
        if (first + i < g->rows) r_store_n(y + i * g->ldy, g->bias ? s[i] + bias : s[i], n);
}

static inline __attribute__((always_inline)) STRIP_TARGET void
STRIP_NAME(strip)(const piece_kind kind, const strip_args *g)
{
#if defined(__AVX512F__)
    if (g->rows > 12) STRIP_NAME(rows)(kind, 16, g, 0);
    else if (g->rows > 8) STRIP_NAME(rows)(kind, 12, g, 0);
    else if (g->rows > 4) STRIP_NAME(rows)(kind, 8, g, 0);
    else if (g->rows > 2) STRIP_NAME(rows)(kind, 4, g, 0);
    else if (g->rows > 1) STRIP_NAME(rows)(kind, 2, g, 0);
    else STRIP_NAME(rows)(kind, 1, g, 0);
#else
    for (int64_t i = 0; i < g->rows; i += 4) {
        if (g->rows - i > 2) STRIP_NAME(rows)(kind, 4, g, i);
        else if (g->rows - i > 1) STRIP_NAME(rows)(kind, 2, g, i);
        else STRIP_NAME(rows)(kind, 1, g, i);
    }
#endif
}

static STRIP_TARGET void STRIP_NAME(any)(const piece_kind kind, const strip_args *g)
{
    if (kind == WITH_LEAST) STRIP_NAME(strip)(WITH_LEAST, g);
    else if (kind == TWO_SCALES) STRIP_NAME(strip)(TWO_SCALES, g);
    else if (kind == WIDE) STRIP_NAME(strip)(WIDE, g);
    else STRIP_NAME(strip)(ONE_SCALE, g);
}

#undef STRIP_NAME
#undef STRIP_TARGET
#undef STRIP_DOT
