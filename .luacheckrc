-- luacheck lua recipes tests
std = "lua54"
max_line_length = 100
exclude_files = { "build*", "runs" }
ignore = {
  "211/scope", "211/step", "211/frame", "211/micro", "211/iteration", "211/guard",
  -- (held for their <close> alone)
  "58.", -- not (a < b) is meant: true for NaN as well
}
files["tests"] = { std = "lua54+busted" }
