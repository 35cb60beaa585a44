--- What a sum of models' weights asks of them: one function of the weights, whatever these are.
--
-- Weights of one shape are not enough: with another base of rotary positions or another number of
-- heads the same numbers are another model, and their mean is none of either's.

local mixing = {}

-- What of a spec says how a model was begun, or how long its texts may be.
local elsewhere = { context = true, family = true, init_std = true }

local function shown(value)
  if type(value) == "table" then return "a list" end
  return value == nil and "nothing" or tostring(value)
end

-- Ways of writing what `kind` says, which differ between a config.json and a GGUF file.
local written = { rope_type = true, type = true }

local SLACK <const> = 1e-6 -- in parts of a number: GGUF files hold them in float32

local function same(key, a, b)
  if a == b or type(a) == "userdata" or type(a) == "function" then return true end
  if type(a) == "number" and type(b) == "number" then
    return math.abs(a - b) <= SLACK * math.max(math.abs(a), math.abs(b))
  end
  if key == "partial_rotary_factor" then return (a or 1) == (b or 1) end
  return not a and not b
end

-- The first key in which two tables differ, with both values; keys in order.
local function first_difference(a, b, skipped, place)
  local keys, seen = {}, {}
  for _, one in ipairs { a, b } do
    for key in pairs(one) do
      if not seen[key] and not skipped[key] then keys[#keys + 1] = key end
      seen[key] = true
    end
  end
  table.sort(keys, function(x, y) return tostring(x) < tostring(y) end)
  for _, key in ipairs(keys) do
    local mine, theirs, where = a[key], b[key], place .. tostring(key)
    if type(mine) == "table" and type(theirs) == "table" then
      local name, one, other = first_difference(mine, theirs, written, where .. ".")
      if name then return name, one, other end
    elseif not same(key, mine, theirs) then
      return where, mine, theirs
    end
  end
end

--- Why the weights of two models cannot be added; nil when they can.
-- @tparam Model a
-- @tparam Model b
-- @tparam string name of a
-- @treturn ?string "differs in WHAT: VALUE, where NAME has VALUE", to stand behind b's name
function mixing.misfit(a, b, name)
  local text = "differs in %s: %s, where " .. name:gsub("%%", "%%%%") .. " has %s"
  for _, key in ipairs {
    "scalar_head",
    "score_heads",
    "score_likelihood_coef",
    "score_likelihood_reference",
  } do
    if (a.config[key] or false) ~= (b.config[key] or false) then
      return text:format(key, shown(b.config[key]), shown(a.config[key]))
    end
  end
  local key, mine, theirs = first_difference(a.spec, b.spec, elsewhere, "")
  if key then return text:format(key, shown(theirs), shown(mine)) end
end

--- What is taken from the scores of the sum.
-- @tparam {Model,...} models with scalar heads
-- @tparam {number,...} shares
-- @treturn ?number `score_bias` of its config; nil where no model has one
-- @treturn ?{number,...} `score_biases`; nil where no model has any
function mixing.biases(models, shares)
  local one, many
  for i, model in ipairs(models) do
    local config = model.config
    if config.score_bias then one = (one or 0) + shares[i] * config.score_bias end
    for k, bias in ipairs(config.score_biases or {}) do
      many = many or {}
      many[k] = (many[k] or 0) + shares[i] * bias
    end
  end
  for k = 1, many and (models[1].config.score_heads or 1) or 0 do
    many[k] = many[k] or 0
  end
  return one, many
end

return mixing
