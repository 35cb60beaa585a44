--- The commands: their names, what the heads of their files say, how they are called.

local host = require("perilune.host")
local layout = require("perilune.cli.support.layout")
local lfs = require("lfs")
local terminal = require("perilune.base.terminal")

local commands = {}

local folder = host.root .. "/lua/perilune/cli/"

-- Commands without keys: their head is all there is to say.
local head_is_help = { api = true, docs = true, doctor = true, help = true, ops = true }
local alone = {
  "compare",
  "jupyter",
  "pairs",
  "plan",
  "recipes",
  "replay",
  "report",
  "run",
  "runs",
  "stop",
  "store",
  "sweep",
  "watch",
}
for _, name in ipairs(alone) do
  head_is_help[name] = true
end

--- The names of all commands, sorted.
-- @treturn {string,...}
function commands.names()
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
function commands.head(name)
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

--- Writes the help of a command whose head is all there is to say.
-- @tparam string name
-- @treturn boolean false: it is not such a command, and nothing is written
function commands.help(name)
  if not head_is_help[name] then return false end
  local head, width = commands.head(name), terminal.width()
  local about = ("%s: %s"):format(name, head.about)
  local parts = { about, "usage: perilune " .. head.call, head.text ~= "" and head.text or nil }
  for i, text in ipairs(parts) do
    parts[i] = layout.filled(text, width)
  end
  print(table.concat(parts, "\n\n"))
  return true
end

return commands
