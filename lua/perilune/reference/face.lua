--- The library and its modules as text, for who looks at them at the prompt: `pl` by rooms, a
-- module one line a function, with the first sentence of its doc comment.

local core = require("perilune.core")
local format = require("perilune.base.format")
local public = require("perilune.reference.public")
local terminal = require("perilune.base.terminal")

local face = {}

local FACE <const> = (...):match("^%w+")
local INDENT <const> = 12

-- What rooms are for, as the prompt's reader asks.
local rooms = {
  { "base", "files, numbers, text" },
  { "config", "hyper-parameters" },
  { "model", "models, tokenizers" },
  { "ingest", "other people's files" },
  { "rules", "what becomes of rows" },
  { "store", "SQLite" },
  { "human", "labelers" },
  { "data", "rows as token ids" },
  { "learn", "losses, rollouts" },
  { "run", "runs and their folders" },
  { "show", "curves, reports" },
}

local function add_names(lines, label, names, width)
  table.sort(names)
  for i, line in ipairs(format.wrap(table.concat(names, " "), width - INDENT)) do
    lines[#lines + 1] = format.pad(i == 1 and label or "", INDENT) .. line
  end
end

--- The library: ops, functions, then the modules of each room.
-- @tparam table library the face itself
-- @tparam {[string]=string} modules where each public module lives
-- @treturn string
function face.library(library, modules)
  local width = terminal.width()
  local lines = { "Perilune: ?name helps, print(pl.data) lists a module." }
  local ops, functions, by_room, is_op = {}, {}, {}, {}
  for i, row in ipairs(core.ops()) do
    ops[i], is_op[row.name] = row.name, true
  end
  for name, value in next, library do
    if type(value) == "function" and not is_op[name] then functions[#functions + 1] = name end
  end
  for name, path in pairs(modules) do
    local room = path:match("^%w+%.(%w+)")
    by_room[room] = by_room[room] or {}
    table.insert(by_room[room], name)
  end
  add_names(lines, "ops", ops, width)
  add_names(lines, "functions", functions, width)
  for _, room in ipairs(rooms) do
    local names = by_room[room[1]]
    if names then
      add_names(lines, room[1], names, width - #room[2] - 2)
      lines[#lines] = format.pad(lines[#lines], width - #room[2]) .. room[2]
    end
  end
  return table.concat(lines, "\n")
end

local function first_sentence(text)
  text = (text or ""):gsub("\n", " ")
  local sentence = (text:match("^(.-[.:;])%s") or text):gsub("[:;]$", "")
  return sentence
end

local function call_of(member)
  local names = {}
  for i, param in ipairs(member.item.params) do
    names[i] = param.name
  end
  if member.item.kind ~= "function" then return member.name end
  return ("%s(%s)"):format(member.name, table.concat(names, ", "))
end

local read

--- A module: its head, then its functions and values.
-- @tparam string name as in `pl.<name>`
-- @treturn string
function face.module(name)
  local width = terminal.width()
  read = read or public.read()
  for _, module in ipairs(read.modules) do
    if module.name == name then
      local lines, wide = { ("pl.%s: %s"):format(name, first_sentence(module.head)) }, 0
      for _, member in ipairs(module.members) do
        wide = math.max(wide, #call_of(member))
      end
      wide = math.min(wide, width // 2)
      for _, member in ipairs(module.members) do
        local call = format.pad("  " .. call_of(member), wide + 2)
        lines[#lines + 1] = format.truncate(call .. "  " .. first_sentence(member.item.text), width)
      end
      lines[1] = format.truncate(lines[1], width)
      return table.concat(lines, "\n")
    end
  end
  return FACE .. "." .. name
end

return face
