#!/usr/bin/env bash
# playwright.sh - playwright-core, which drives Chromium in the tests of pages.
#
#   playwright.sh --fetch    gets it through npm, where it is not there yet
#   playwright.sh            prints its folder; fails when it has not been fetched
#
# One pinned version of known content, kept in the user's cache: nothing is fetched a second time.
set -euo pipefail

version=1.65.1
sha512=86a3e9cfb6e548c3f1595768784d728814b35ec2a254e77693e9230af994cb00
sha512+=f618f3b60ddf477dc5a7abd34dd061db3590c5819f497c116bf97e7f04ba34ab
folder=${XDG_CACHE_HOME:-${HOME:?}/.cache}/perilune/playwright-core-$version

die() { printf 'perilune test: %s\n' "$*" >&2; exit 1; }

if [[ ${1:-} != --fetch || -d $folder ]]; then
    [[ -d $folder ]] || exit 1
    [[ ${1:-} == --fetch ]] || printf '%s\n' "$folder"
    exit 0
fi
command -v npm >/dev/null || die "playwright-core $version is to be fetched once: npm is missing"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "playwright-core@$version" >npm.log 2>&1) || {
    cat "$work/npm.log" >&2
    die "npm could not fetch playwright-core $version; the tests of pages are left out"
}
sha512sum --status -c <<<"$sha512  $(echo "$work"/*.tgz)" ||
    die "what npm fetched is not the playwright-core $version that is expected; it is not used"
mkdir "$work/package"
tar -xzf "$work"/*.tgz -C "$work/package" --strip-components=1
mkdir -p "${folder%/*}"
mv -T "$work/package" "$folder" 2>/dev/null || [[ -d $folder ]] || die "cannot write $folder"
