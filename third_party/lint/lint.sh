#!/usr/bin/env bash
# lint.sh - layout of C (clang-format) and Lua (StyLua), and luacheck. Called by ./perilune lint.
#
#   lint.sh [--fix] [FILE...]    FILEs: C and Lua files; without any, all of the checkout
#   lint.sh --has-stylua         exit status: whether StyLua has been fetched
#
# One line a fault on standard output, then a closing line. --fix lays the files out anew first.
# StyLua comes from npm as WebAssembly, in one pinned version of known content, and is kept in the
# user's cache: nothing is fetched a second time.
set -euo pipefail

top=$(cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." && pwd)
stylua_version=2.5.2
stylua_sha512=89872fe43bd893ed83668ee6b36b18e8d350212354fe0960406254f13fca466f
stylua_sha512+=dcb0c8eaa2504a657c9a9268984a02bbf94fde083c33a03b86d13a8b587d9322
stylua=${XDG_CACHE_HOME:-${HOME:?}/.cache}/perilune/stylua-$stylua_version

die() { printf 'perilune lint: %s\n' "$*" >&2; exit 1; }

fetch_stylua() {
    [[ ! -d $stylua ]] || return 0
    command -v npm >/dev/null || die "StyLua $stylua_version is to be fetched once: npm is missing"
    printf 'perilune lint: fetching StyLua %s\n' "$stylua_version" >&2
    (cd "$work" && npm pack --silent "@johnnymorganz/stylua@$stylua_version" >npm.log 2>&1) || {
        cat "$work/npm.log" >&2
        die "npm could not fetch StyLua $stylua_version; it is needed once, later runs are offline"
    }
    sha512sum --status -c <<<"$stylua_sha512  $(echo "$work"/*.tgz)" ||
        die "what npm fetched is not the StyLua $stylua_version that is expected; it is not used"
    mkdir "$work/stylua"
    tar -xzf "$work"/*.tgz -C "$work/stylua" --strip-components=1
    mkdir -p "${stylua%/*}"
    mv -T "$work/stylua" "$stylua" 2>/dev/null || [[ -d $stylua ]] ||
        die "cannot write $stylua"
}

check_c() {
    ((${#c_files[@]})) || return 0
    run() {
        printf '%s\0' "${c_files[@]}" | xargs -0 -n 16 -P "$(nproc)" \
            clang-format "--style=file:$top/.clang-format" "$@" 2>&1 || true # its lines tell
    }
    # A second pass: it does not always agree with itself at once.
    if [[ $fix ]]; then run -i && run -i; fi
    run --dry-run -Werror | sed -nE -e '/^(Error|xargs:|clang-format:)/p' \
        -e 's/^([^ ]+:[0-9]+):[0-9]+: error: .*/\1: not as clang-format lays it out/p' |
        sort -u -t: -k1,1 -k2,2n
    grep -nHE '.{101,}' "${c_files[@]}" | sed -E 's/^([^:]+:[0-9]+):.*/\1: over 100 columns/' || true
}

check_lua() {
    ((${#lua_files[@]})) || return 0
    node "$top/third_party/lint/stylua.cjs" "$stylua" "$top/stylua.toml" ${fix:+--fix} \
        "${lua_files[@]}" 2>&1
}

check_luacheck() {
    ((${#lua_files[@]})) || return 0
    # Its lines of a fault and nothing else: FILE:LINE:COLUMN: TEXT.
    luacheck --config "$top/.luacheckrc" --no-color --codes --formatter plain "${lua_files[@]}" 2>&1 ||
        true
}

fix=
[[ ${1:-} != --has-stylua ]] || { [[ -d $stylua ]]; exit; }
if [[ ${1:-} == --fix ]]; then
    fix=1
    shift
fi
files=()
for file in "$@"; do
    [[ -f $file ]] || die "no such file: $file"
    files+=("$(realpath -s --relative-base="$top" -- "$file")")
done
cd "$top"
((${#files[@]})) || mapfile -t files < <(
    find engine include lua recipes tests docs -path docs/luacats -prune -o \
        \( -name '*.[ch]' -o -name '*.lua' \) -print | LC_ALL=C sort) # luacats/ is generated
c_files=() lua_files=()
for file in "${files[@]}"; do
    case $file in
    *.lua) lua_files+=("$file") ;;
    *.c | *.h) c_files+=("$file") ;;
    *) die "neither C nor Lua: $file" ;;
    esac
done

export LC_ALL=C.UTF-8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in clang-format luacheck node; do
    command -v "$tool" >/dev/null || die "$tool is missing (third_party/packages.txt, section lint)"
done
fetch_stylua
check_c >"$work/c" &
c=$!
check_lua >"$work/lua" # before luacheck, which reads what --fix wrote
check_luacheck >>"$work/lua"
wait "$c"
cat "$work/c" "$work/lua"
faults=$(cat "$work/c" "$work/lua" | wc -l)
if ((faults)); then
    printf 'perilune lint: %d faults in %d files; --fix lays files out\n' "$faults" "${#files[@]}"
    exit 1
fi
printf 'perilune lint: %d files, no fault\n' "${#files[@]}"
