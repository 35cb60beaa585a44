--- `perilune help [NAME]`: the commands in one screen, or what is known of a name.
--
-- NAME is a command or a recipe (their --help), a page of the documentation, which is printed as it
-- stands in docs/, or what ?NAME of the REPL explains: a function, a method, a class, an op
-- (pl.generate, Run:log, matmul). With * in it the names that it fits are listed.

local commands = require("perilune.cli.support.commands")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local host = require("perilune.host")
local layout = require("perilune.cli.support.layout")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")
local terminal = require("perilune.base.terminal")
local topics = require("perilune.reference.topics")

-- The order of the overview; commands that are not named here follow.
local groups = {
  { "To begin", "demo", "run", "recipes", "plan", "sweep", "compare" },
  { "Runs", "runs", "attach", "watch", "stop", "replay", "report" },
  { "Models", "chat", "generate", "merge", "judge", "pairs", "export", "fetch" },
  { "Data", "store" },
  { "Perilune itself", "help", "docs", "doctor", "jupyter", "bench", "ops", "api" },
}

local stock = {
  { "perilune", "the REPL (a script, when standard input is no terminal)" },
  { "perilune FILE [ARGUMENTS]", "a Lua file, as lua5.4 runs it" },
  { "perilune -e CODE", "a piece of Lua; further options of lua5.4: -i -l -v -E -W -- -" },
}

local checkout = {
  { "./perilune build", "builds only" },
  { "./perilune test [--long] [-R NAME]", "builds and tests" },
  { "./perilune lint [--fix]", "layout and static checks" },
}

local environment = "Environment: OMP_NUM_THREADS, PERILUNE_ISA (avx512, avx2, plain), "
  .. "PERILUNE_BF16 (auto, chain, pairs, tiles), PERILUNE_GEMM (auto, own, openblas, split), "
  .. "LUA_PATH, LUA_INIT, NO_COLOR; the manual page has more."

local function overview()
  local width, left, parts = terminal.width(), {}, {}
  for _, name in ipairs(commands.names()) do
    left[name] = commands.head(name)
  end
  local function say(text) parts[#parts + 1] = layout.filled(text, width) end
  local function add(title, rows)
    if #rows == 0 then return end
    parts[#parts + 1] = layout.filled(title, width)
      .. "\n"
      .. table.concat(layout.listing(rows, width), "\n")
  end
  local function row_of(name)
    local head = left[name]
    left[name] = nil
    return { "perilune " .. head.call:gsub(" %[%-%-.*$", ""), (head.about:gsub("`", "")) }
  end
  local about = "Perilune %s: teaches language models from human feedback. Recipes are Lua, the "
    .. "engine is C."
  say(about:format(host.version))
  for _, group in ipairs(groups) do
    local rows = {}
    for i = 2, #group do
      if left[group[i]] then rows[#rows + 1] = row_of(group[i]) end
    end
    add(group[1], rows)
  end
  local rest = {}
  for _, name in ipairs(commands.names()) do
    if left[name] then rest[#rest + 1] = row_of(name) end
  end
  add("Others", rest)
  add("Lua", stock)
  add("In a checkout ./perilune is the same program, built when needed; it adds", checkout)
  local note = "perilune COMMAND --help tells more; perilune help NAME explains a command, a "
    .. "recipe, an op or a page of the documentation."
  say(note)
  say(environment)
  return table.concat(parts, "\n\n")
end

-- The pages of the documentation, by name: in a checkout, or where an installed tree has them.
local function pages()
  local found = {}
  for _, place in ipairs { "/docs", "/../doc/perilune/docs" } do
    local folder = host.root .. place
    if lfs.attributes(folder, "mode") == "directory" then
      for file in lfs.dir(folder) do
        local name = file:match("^([%w-]+)%.md$")
        if name then found[name] = found[name] or folder .. "/" .. file end
      end
    end
  end
  return found
end

local function names_of(map, into)
  for name in pairs(map) do
    into[#into + 1] = name
  end
  return into
end

local function help_of_recipe(path)
  _G.arg = { [0] = path, "--help" }
  neighbours.look_beside(path)
  dofile(path) -- leaves the program after its help
  return 0
end

-- What fits a pattern such as *rank*.
local function list(pattern)
  local rows = {}
  for i, topic in ipairs(topics.search(pattern)) do
    rows[i] = { topic.name, topic.summary or "" }
  end
  if #rows == 0 then
    io.stderr:write(("perilune help: no name fits '%s'\n"):format(format.safe(pattern)))
    return 1
  end
  print(table.concat(layout.listing(rows, terminal.width()), "\n"))
  return 0
end

local function unknown(name, known)
  table.sort(known)
  local text = "perilune help: nothing is named '%s'%s\nNames are those of commands (%s), recipes, "
    .. "pages of the documentation, functions and ops.\n"
  local near = nearest.find(name, known) or topics.near(name)[1]
  local hint = near and ("; did you mean '%s'?"):format(near) or ""
  io.stderr:write(text:format(format.safe(name), hint, table.concat(commands.names(), " ")))
  return 1
end

return function(args)
  local name = args[1]
  if not name then
    print(overview())
    return 0
  elseif args[2] then
    io.stderr:write(("perilune help: one name at a time; '%s' is one too many\n"):format(args[2]))
    return 1
  end
  local known, page = commands.names(), pages()
  for _, recipe in ipairs(neighbours.recipes()) do
    if recipe.name == name then return help_of_recipe(recipe.path) end
    known[#known + 1] = recipe.name
  end
  if name:find("*", 1, true) then return list(name) end
  local topic = not page[name:lower()] and topics.get(name)
  local text = topic and topic.text() or page[name:lower()] and files.read(page[name:lower()])
  if text then
    print((text:gsub("\n$", "")))
    return 0
  end
  return unknown(name, names_of(page, known))
end
