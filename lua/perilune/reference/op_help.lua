--- What an op is, in a few lines, from its row in engine/ops/ops.def.
--
-- The same row makes the op's Lua function, so this text cannot be out of date. `?name` in the REPL
-- and `perilune help name` print it.

local core = require("perilune.core")

local op_help = {}

local rows

local function row_of(name)
  if not rows then
    rows = {}
    for _, row in ipairs(core.ops()) do
      rows[row.name] = row
    end
  end
  return rows[name]
end

-- What the kinds of parameters are called; the others by their own names.
local kinds = {
  axis = "axis, from 1",
  start = "first element taken, from 1",
  stop = "last element taken, from 1",
  enum = "one of",
}

--- What parameters are that the formula of their op does not name.
-- @type {[string]=string}
op_help.meanings = {
  keepdim = "the axis stays, of size 1",
  transpose_a = "a with its last two axes exchanged",
  transpose_b = "b with its last two axes exchanged",
  temperature = "the logits are divided by it",
  softcap = "bound of the logits; 0: none",
  ref_softcap = "bound of the reference's logits; 0: none",
}

--- The default as one would type it.
local function default_of(param)
  local value = param.default
  if param.kind == "enum" then
    return ("%q"):format(value)
  elseif param.kind == "list" then
    return "{...}"
  elseif value == "all" or value == "end" then
    return "nil"
  elseif value == math.huge or value == -math.huge then
    return value > 0 and "math.huge" or "-math.huge"
  end
  return tostring(value)
end

--- How the op is called: y = pl.matmul(a, b, {transpose_a = false})
local function call_of(row)
  local words = {}
  for i, input in ipairs(row.inputs) do
    words[i] = input.optional and "[" .. input.name .. "]" or input.name
  end
  local options = {}
  for i, param in ipairs(row.params) do
    options[i] = ("%s = %s"):format(param.name, default_of(param))
  end
  if #options > 0 then words[#words + 1] = "{" .. table.concat(options, ", ") .. "}" end
  return ("%s = pl.%s(%s)"):format(
    table.concat(row.outputs, ", "),
    row.name,
    table.concat(words, ", ")
  )
end

-- Which inputs may be, or must be, of other dtypes than float32 and float64.
local dtypes = { { "integer", "int32" }, { "any", "or int32" }, { "kept", "or kept" } }

local function add_dtypes(lines, row)
  for _, entry in ipairs(dtypes) do
    local names = {}
    for _, input in ipairs(row.inputs) do
      if input[entry[1]] then names[#names + 1] = input.name end
    end
    if #names > 0 then
      lines[#lines + 1] = ("  %-8s %s"):format(entry[2], table.concat(names, ", "))
    end
  end
end

--- The text of an op.
-- @tparam string name
-- @treturn ?string nil when there is no such op
function op_help.op(name)
  local row = row_of(name)
  if not row then return nil end
  local lines = { call_of(row), "  " .. row.doc, "  shapes   " .. row.shapes }
  add_dtypes(lines, row)
  for _, param in ipairs(row.params) do
    local kind = kinds[param.kind] or param.kind
    if param.choices then
      kind = ('%s "%s"'):format(kind, table.concat(param.choices, '", "'))
    elseif param.default == "all" or param.default == "end" then
      kind = ("%s; nil: %s"):format(kind, param.default == "all" and "all" or "to the end")
    end
    local meaning = not row.doc:find("%f[%w_]" .. param.name .. "%f[^%w_]")
      and op_help.meanings[param.name]
    lines[#lines + 1] = ("  %-8s %s%s"):format(param.name, kind, meaning and ": " .. meaning or "")
  end
  local marks = {}
  if row.flags.method then
    marks[#marks + 1] = ("method: %s:%s(...)"):format(row.inputs[1].name, row.name)
  end
  if row.flags.list then
    marks[#marks + 1] = ("the inputs may be one list: pl.%s({%s, ...})"):format(
      row.name,
      row.inputs[1].name
    )
  end
  if row.flags.nograd then marks[#marks + 1] = "no gradient" end
  if row.flags.fused then marks[#marks + 1] = "fused: pl.twins has it written in primitive ops" end
  if #marks > 0 then lines[#lines + 1] = "  " .. table.concat(marks, "; ") end
  return table.concat(lines, "\n")
end

return op_help
