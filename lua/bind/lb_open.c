/*
** lb_open.c - luaopen_perilune_core: makes the context and opens every part.
*/
#include "lb.h"

int luaopen_perilune_core(lua_State *L);

int luaopen_perilune_core(lua_State *L)
{
    if (pl_threads_get() > PL_MAX_THREADS) /* the run time would die of its own stack */
        return luaL_error(L, "OMP_NUM_THREADS asks for %d threads: there may be 1 to %d",
                          pl_threads_get(), PL_MAX_THREADS);
    lb_make_context(L);
    lb_check(L, pl_isa_check(lb_ctx(L)));
    lb_check(L, pl_bf16_check(lb_ctx(L)));
    pl_count_from(lb_ctx(L), 1);
    lua_newtable(L);
    lb_open_tensor(L);
    lb_open_make(L);
    lb_open_index(L);
    lb_open_show(L);
    lb_open_scope(L);
    lb_open_ops(L);
    lb_open_autograd(L);
    lb_open_train(L);
    lb_open_json(L);
    lb_open_io(L);
    lb_open_weights(L);
    lb_open_text(L);
    lb_open_gen(L);
    lb_open_ragged(L);
    lb_open_system(L);
    lb_open_store(L);
    lb_open_jinja(L);
    lb_open_lines(L);
    lb_open_net(L);
    lb_open_http(L);
    lb_open_profile(L);
    lb_set_string(L, "_VERSION", PL_VERSION);
    return 1;
}
