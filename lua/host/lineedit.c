/*
** lineedit.c - the module "perilune.lineedit": one edited line from the terminal, by libedit.
**
** libedit's native interface is used, since it lets us add what it lacks: bracketed paste (a pasted
** block arrives as text, its TABs do not complete and its line ends do not run anything) and Ctrl-C
** that drops the line. When standard input is no terminal, or the terminal is dumb, lines are read
** plainly and only the prompt is shown.
**
** The history file is the business of repl.lua; here is only the list in memory.
*/
#include "host.h"

#include <errno.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_MAX 2000

static struct {
    EditLine *el;
    History *history;
    lua_State *L;  /* while a line is read */
    int completer; /* registry reference, or LUA_NOREF */
    char prompt[256];
    bool interrupted;
} le = {.completer = LUA_NOREF};

static char *show_prompt(EditLine *el)
{
    (void)el;
    return le.prompt;
}

/* ---- Input ----------------------------------------------------------------------------------- */

/* One character: 1, 0 at the end of input, -1 on Ctrl-C or an error. */
static int read_char(EditLine *el, wchar_t *out)
{
    (void)el;
    char bytes[MB_LEN_MAX];
    size_t have = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, bytes + have, 1);
        if (n == 0) return 0;
        if (n < 0) {
            if (errno == EINTR && !host_interrupt_pending()) continue; /* the window was resized */
            le.interrupted = host_interrupt_pending();
            return -1;
        }
        mbstate_t state;
        memset(&state, 0, sizeof state);
        size_t used = mbrtowc(out, bytes, ++have, &state);
        if (used == (size_t)-2 && have < sizeof bytes) continue;
        if (used == (size_t)-1 || used == (size_t)-2) *out = L'?'; /* not UTF-8 */
        return 1;
    }
}

/* Bound to ESC [ 2 0 0 ~: takes everything up to ESC [ 2 0 1 ~ as text. Line ends at its end are
** dropped, so that the user sees what was pasted and runs it with Enter. */
static unsigned char paste(EditLine *el, int key)
{
    (void)key;
    static const wchar_t end[] = L"\033[201~";
    size_t end_length = wcslen(end), length = 0, room = 0;
    wchar_t *text = NULL, c;
    unsigned char result = CC_ERROR;
    while (el_wgetc(el, &c) == 1) {
        if (length + 2 > room) {
            room = room ? 2 * room : 1024;
            wchar_t *larger = realloc(text, room * sizeof *text);
            if (!larger) goto done;
            text = larger;
        }
        text[length++] = c == L'\r' ? L'\n' : c;
        if (length >= end_length && wmemcmp(text + length - end_length, end, end_length) == 0) {
            length -= end_length;
            while (length > 0 && text[length - 1] == L'\n') length--;
            text[length] = L'\0';
            result = length == 0 || el_winsertstr(el, text) == 0 ? CC_REFRESH : CC_ERROR;
            goto done;
        }
    }
done:
    free(text);
    return result;
}

/* ---- Completion ------------------------------------------------------------------------------ */

static void list_candidates(lua_State *L, int n)
{
    int widest = 1;
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        int w = (int)luaL_len(L, -1) + 2;
        if (w > widest) widest = w;
        lua_pop(L, 1);
    }
    struct winsize window;
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
    const int room = known ? window.ws_col : 80;
    int columns = room / widest > 0 ? room / widest : 1, rows = (n + columns - 1) / columns;
    putchar('\n');
    for (int row = 0; row < rows; row++) {
        for (int i = row + 1; i <= n; i += rows) {
            lua_rawgeti(L, -1, i);
            printf("%-*s", i + rows <= n ? widest : 0, lua_tostring(L, -1));
            lua_pop(L, 1);
        }
        putchar('\n');
    }
    fflush(stdout);
}

/* completer(text before the cursor) -> text to insert, list of candidates to show or nil. */
static int call_completer(lua_State *L)
{
    EditLine *el = lua_touserdata(L, 1);
    const LineInfo *line = el_line(el);
    lua_rawgeti(L, LUA_REGISTRYINDEX, le.completer);
    lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
    lua_call(L, 1, 2);
    bool shown = lua_istable(L, -1);
    if (shown) list_candidates(L, (int)luaL_len(L, -1));
    lua_pop(L, 1);
    const char *insert = lua_tostring(L, -1);
    if (insert && *insert) el_insertstr(el, insert);
    lua_pushinteger(L, shown ? CC_REDISPLAY : insert && *insert ? CC_REFRESH : CC_REFRESH_BEEP);
    return 1;
}

/* Bound to TAB. A failing completer only beeps: the line being edited matters more. */
static unsigned char complete(EditLine *el, int key)
{
    (void)key;
    if (le.completer == LUA_NOREF) return CC_ERROR;
    lua_State *L = le.L;
    lua_pushcfunction(L, call_completer);
    lua_pushlightuserdata(L, el);
    unsigned char result = CC_ERROR;
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) result = (unsigned char)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return result;
}

/* ---- The module ------------------------------------------------------------------------------ */

static bool is_plain(void)
{
    const char *term = getenv("TERM");
    return !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term || strcmp(term, "dumb") == 0;
}

static bool open_editor(void)
{
    if (le.el) return true;
    if (is_plain()) return false;
    /* UTF-8 for the editor; numbers keep the C locale, which Lua's own number text relies on. */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    HistEvent ev;
    le.el = el_init("perilune", stdin, stdout, stderr);
    le.history = history_init();
    if (!le.el || !le.history) {
        if (le.el) el_end(le.el);
        if (le.history) history_end(le.history);
        le.el = NULL;
        le.history = NULL;
        return false;
    }
    history(le.history, &ev, H_SETSIZE, HISTORY_MAX);
    history(le.history, &ev, H_SETUNIQUE, 1);
    el_set(le.el, EL_PROMPT, show_prompt);
    el_set(le.el, EL_EDITOR, "emacs");
    el_set(le.el, EL_HIST, history, le.history);
    el_set(le.el, EL_GETCFN, read_char);
    el_set(le.el, EL_ADDFN, "pl-complete", "completes a name", complete);
    el_set(le.el, EL_ADDFN, "pl-paste", "takes a bracketed paste", paste);
    el_set(le.el, EL_BIND, "^I", "pl-complete", NULL);
    el_set(le.el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(le.el, EL_BIND, "\\e[200~", "pl-paste", NULL);
    el_set(le.el, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
    el_set(le.el, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
    el_set(le.el, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
    return true;
}

static void drop_newline(const char *text, size_t *n)
{
    if (*n > 0 && text[*n - 1] == '\n') --*n;
}

static int read_plain(lua_State *L)
{
    char *line = NULL;
    size_t room = 0;
    fputs(le.prompt, stdout);
    fflush(stdout);
    ssize_t n = getline(&line, &room, stdin);
    if (n < 0) {
        bool interrupted = host_interrupt_pending();
        clearerr(stdin);
        free(line);
        if (interrupted) lua_pushboolean(L, 0);
        else lua_pushnil(L);
        return 1;
    }
    size_t length = (size_t)n;
    drop_newline(line, &length);
    /* The copy is the only Lua call that can fail here; the line would then leak once, at the
    ** moment the process has no memory left. */
    lua_pushlstring(L, line, length);
    free(line);
    return 1;
}

/*
** read(prompt): the line without its end; nil at the end of input; false after Ctrl-C.
*/
static int l_read(lua_State *L)
{
    const char *prompt = luaL_checkstring(L, 1);
    snprintf(le.prompt, sizeof le.prompt, "%s", prompt);
    bool was = host_interrupt_idle(true);
    int results = 1;
    if (!open_editor()) {
        results = read_plain(L);
    } else {
        le.L = L;
        le.interrupted = false;
        fputs("\033[?2004h", stdout);
        fflush(stdout);
        int n = 0;
        const char *line = el_gets(le.el, &n);
        fputs("\033[?2004l", stdout);
        if (le.interrupted) {
            el_reset(le.el);
            fputs("^C\n", stdout);
            lua_pushboolean(L, 0);
        } else if (!line || n <= 0) {
            lua_pushnil(L);
        } else {
            size_t length = (size_t)n;
            drop_newline(line, &length);
            lua_pushlstring(L, line, length);
        }
        fflush(stdout);
    }
    host_interrupt_idle(was);
    host_interrupt_clear(L);
    return results;
}

/* add(line): remembers it. */
static int l_add(lua_State *L)
{
    const char *line = luaL_checkstring(L, 1);
    HistEvent ev;
    if (open_editor()) history(le.history, &ev, H_ENTER, line);
    return 0;
}

/* completer(f): see call_completer; nil for none. */
static int l_completer(lua_State *L)
{
    if (le.completer != LUA_NOREF) luaL_unref(L, LUA_REGISTRYINDEX, le.completer);
    le.completer = LUA_NOREF;
    if (lua_isnoneornil(L, 1)) return 0;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    le.completer = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* edits(): whether lines are edited, as against read plainly. */
static int l_edits(lua_State *L)
{
    lua_pushboolean(L, open_editor());
    return 1;
}

static int l_close(lua_State *L)
{
    (void)L;
    if (le.el) el_end(le.el);
    if (le.history) history_end(le.history);
    le.el = NULL;
    le.history = NULL;
    le.completer = LUA_NOREF;
    return 0;
}

int luaopen_perilune_lineedit(lua_State *L)
{
    static const luaL_Reg functions[] = {{"read", l_read},           {"add", l_add},
                                         {"completer", l_completer}, {"edits", l_edits},
                                         {"close", l_close},         {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", l_close}, {NULL, NULL}};
    luaL_newlib(L, functions);
    luaL_newlib(L, meta);
    lua_setmetatable(L, -2); /* the terminal is put right again when the state closes */
    return 1;
}
