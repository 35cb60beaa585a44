--- cli: the program's commands, a file each, named after its command: a function of the arguments
-- that gives the exit status (an integer), or true, false or nothing.
--
-- The head of such a file is for users too: it begins with how the command is called and what it
-- does, "`perilune store FILE`: what a store holds", which `perilune help` lists; of commands that
-- have no --help of their own it is their --help. The host (lua/host/main.c) knows this module
-- alone; the options of stock Lua and the REPL are its own.
--
-- May use: base, config, model, data, store, run, show, bench, reference.

local format = require("perilune.base.format")
local host = require("perilune.host")
local layout = require("perilune.cli.support.layout")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")
local terminal = require("perilune.base.terminal")

local cli = {}

local folder = host.root .. "/lua/perilune/cli/"

-- Commands without keys: their head is all there is to say.
local head_is_help = { api = true, docs = true, doctor = true, help = true, ops = true }
for _, name in ipairs { "plan", "recipes", "report", "run", "store" } do
  head_is_help[name] = true
end

--- The names of all commands, sorted.
-- @treturn {string,...}
function cli.names()
  local names = {}
  for file in lfs.dir(folder) do
    local name = file:match("^(%w+)%.lua$")
    if name and name ~= "init" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- What the head of a command says: how it is called, what it does, all else.
-- @tparam string name
-- @treturn {call=string,about=string,text=string} text may be ""
function cli.head(name)
  local lines = {}
  for line in io.lines(folder .. name .. ".lua") do
    local text = line:match("^%-%-%-? ?(.*)$")
    if not text then break end
    lines[#lines + 1] = text
  end
  local first, text = (table.concat(lines, "\n") .. "\n"):match("^(.-)\n\n(.*)$")
  first = first or table.concat(lines, " ")
  local call, about = first:gsub("\n", " "):match("^`perilune (.-)`: (.-)%.?%s*$")
  return { call = call or name, about = about or first, text = text or "" }
end

local function show_head(name)
  local head, width = cli.head(name), terminal.width()
  local about = ("%s: %s"):format(name, head.about)
  local parts = { about, "usage: perilune " .. head.call, head.text ~= "" and head.text or nil }
  for i, text in ipairs(parts) do
    parts[i] = layout.filled(text, width)
  end
  print(table.concat(parts, "\n\n"))
  return 0
end

--- Runs a command. Where --help or -h stands among the arguments, whatever else is wrong with them,
-- its help is written and nothing done.
-- @tparam string name
-- @tparam {string,...} args
-- @treturn any the exit status, or true, false or nil
function cli.run(name, args)
  for i, word in ipairs(args) do
    if word == "--" then break end
    if (word == "--help" or word == "-h") and (name ~= "run" or i == 1) then
      if head_is_help[name] then return show_head(name) end
      args = { "--help" }
      break
    end
  end
  local status = require("perilune.cli." .. name)(args)
  return status
end

-- The entry of a folder that was probably meant by a name; folders end in "/".
local function nearest_entry(place, name, wanted)
  local names, stems = {}, {}
  for entry in lfs.dir(place) do
    local mode = lfs.attributes(place .. "/" .. entry, "mode")
    if (mode == "directory") == (wanted == "directory") and entry:sub(1, 1) ~= "." then
      names[#names + 1] = entry
      stems[entry] = true
    end
  end
  return stems[name .. ".lua"] and name .. ".lua" or nearest.find(name, names)
end

--- The path that was probably meant by one that is not there: each part of it that does not exist
-- is replaced by its nearest neighbour.
-- @tparam string path
-- @tparam ?string place the folder that it starts from (default: the current one)
-- @treturn ?string nil when nothing is near
function cli.nearest_path(path, place)
  place = path:sub(1, 1) == "/" and "/" or place or "."
  local parts, found = {}, path:sub(1, 1) == "/" and "" or nil
  for part in path:gmatch("[^/]+") do
    parts[#parts + 1] = part
  end
  for i, part in ipairs(parts) do
    local wanted = i < #parts and "directory" or "file"
    if lfs.attributes(place, "mode") ~= "directory" then return nil end
    if lfs.attributes(place .. "/" .. part, "mode") ~= wanted then
      part = nearest_entry(place, part, wanted)
    end
    if not part then return nil end
    place, found = place .. "/" .. part, found and found .. "/" .. part or part
  end
  return found
end

local function hint_of(path)
  return path and ("; did you mean '%s'?"):format(format.safe(path)) or ""
end

--- Says that there is no such recipe, on standard error, and which are meant or there.
-- @tparam string asked
-- @treturn integer the exit status
function cli.no_recipe(asked)
  local names = {}
  for i, recipe in ipairs(neighbours.recipes()) do
    names[i] = recipe.name
  end
  local meant = cli.nearest_path(asked)
    or nearest.find(asked, names)
    or cli.nearest_path(asked, host.root)
  local rest = meant and hint_of(meant)
    or ("; recipes are %s, or the path of a Lua file"):format(table.concat(names, ", "))
  local text = "perilune run: there is no recipe '%s'%s\n"
  io.stderr:write(text:format(format.safe(asked), rest))
  return 1
end

--- Says that there is no such command or script, on standard error, and what is near.
-- @tparam string asked
-- @treturn integer the exit status
function cli.no_command(asked)
  if asked:find("[./]") then
    local text = "perilune: cannot open %s: there is no such file%s\n"
    io.stderr:write(text:format(format.safe(asked), hint_of(cli.nearest_path(asked))))
    return 1
  end
  local known = cli.names()
  local meant = nearest.find(asked, known) or cli.nearest_path(asked)
  local text = "perilune: no command or script is named '%s'%s\ncommands: %s; "
    .. "'perilune help' explains\n"
  io.stderr:write(text:format(format.safe(asked), hint_of(meant), table.concat(known, " ")))
  return 1
end

return cli
