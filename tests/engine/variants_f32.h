/*
** variants_f32.h - the float32 variants of what *_cases.h has declared by DECLARE_VARIANT and
** VARIANT, and which of them this machine can run.
*/
DECLARE_VARIANT(f32_plain)
#ifdef __x86_64__
DECLARE_VARIANT(f32_avx2)
DECLARE_VARIANT(f32_avx512)
#endif

static int variant_list(variant out[4])
{
    int n = 0;
    out[n++] = (variant)VARIANT(f32_plain, true);
#ifdef __x86_64__
    out[n++] = (variant)VARIANT(f32_avx2, __builtin_cpu_supports("avx2") != 0);
    out[n++] = (variant)VARIANT(f32_avx512, __builtin_cpu_supports("avx512f") != 0);
#endif
    return n;
}
