-- The Lua library and its engine for stock Lua: `luarocks make` in a checkout. The packages of
-- third_party/packages.txt, section "build", have to be there. The program is not part of the rock:
-- `cmake --install` has that.
rockspec_format = "3.0"
package = "perilune"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Teaching language models from human feedback",
  detailed = "Tensors, autograd, fused losses and generation in C; SFT, reward models and PPO in Lua.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4", "luafilesystem >= 1.8" }
build = {
  type = "command",
  build_command = "cmake -S . -B build-rock -DPL_TESTS=OFF && "
    .. "cmake --build build-rock --parallel --target core",
  install_command = [[
    mkdir -p "$(LIBDIR)/perilune" "$(LUADIR)" &&
    cp build-rock/lib/perilune/core.so "$(LIBDIR)/perilune" &&
    cp -R lua/perilune "$(LUADIR)"]],
  copy_directories = { "docs", "recipes" },
}
