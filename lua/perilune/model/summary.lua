--- A model as text: family, parameters, memory, what is trained, and a line for each kind of block.
--
--     llama model: 134.5M parameters in float32 (513 MiB), reads 2048 tokens
--       model.embed_tokens.weight                     [49152,576]  28.31M
--       model.layers.*.self_attn.q_proj.weight   30 x [576,576]    9.953M
--
-- Parameters of one name but for the number of their layer are one kind.

local format = require("perilune.base.format")

local function size_of(shape)
  local n = 1
  for _, size in ipairs(shape) do
    n = n * size
  end
  return n
end

-- {name, shape, count of them} in the order they first come.
local function kinds_of(entries)
  local kinds, known = {}, {}
  for _, entry in ipairs(entries) do
    local name = entry[1]:gsub("%.%d+%.", ".*.")
    local shape = "[" .. table.concat(entry[2], ",") .. "]"
    local key = name .. shape
    local kind = known[key]
    if not kind then
      kind = { name = name, shape = shape, size = size_of(entry[2]), count = 0 }
      known[key], kinds[#kinds + 1] = kind, kind
    end
    kind.count = kind.count + 1
  end
  return kinds
end

local function head_of(model)
  local all, trained = model:count()
  local bytes = model:memory()
  local parts = {
    ("%s model: %s parameters"):format(
      model.config.model_type or model.spec.family.model_type,
      format.count(all)
    ),
    (" in %s (%s)"):format(model.base and model.base.dtype or model.dtype, format.bytes(bytes)),
  }
  if model.precision ~= "float32" then parts[#parts + 1] = ", products in " .. model.precision end
  if model.config.scalar_head then parts[#parts + 1] = ", scores tokens" end
  if model:context() then parts[#parts + 1] = (", reads %d tokens"):format(model:context()) end
  if model.base then
    parts[#parts + 1] = ("\n  %s of them trained in %s, the others frozen"):format(
      format.count(trained),
      model.dtype
    )
  end
  if model.peft then
    parts[#parts + 1] = ("; adapters of rank %d on %d matrices"):format(model.peft.r, #model.chosen)
  end
  if model.path then parts[#parts + 1] = "\n  from " .. model.path end
  return table.concat(parts)
end

--- The text.
-- @tparam Model model
-- @treturn string
return function(model)
  local rows, lines = {}, { head_of(model) }
  for i, kind in ipairs(kinds_of(model.entries)) do
    rows[i] = {
      kind.name,
      kind.count > 1 and kind.count .. " x" or "",
      kind.shape,
      format.count(kind.count * kind.size),
    }
  end
  local widths = { 0, 0, 0, 0 }
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do
      widths[i] = math.max(widths[i], #text)
    end
  end
  for _, row in ipairs(rows) do
    lines[#lines + 1] = ("  %s  %s %s  %s"):format(
      row[1] .. (" "):rep(widths[1] - #row[1]),
      (" "):rep(widths[2] - #row[2]) .. row[2],
      row[3] .. (" "):rep(widths[3] - #row[3]),
      (" "):rep(widths[4] - #row[4]) .. row[4]
    )
  end
  return table.concat(lines, "\n")
end
